//! The gated delta rule (Yang et al., "Gated Delta Networks", 2024): linear attention with a
//! recurrent state of fixed size.
//!
//! Each value head keeps a matrix S`[key_dim, value_dim]`. A token decays it, corrects the value
//! that it holds for the token's key, and reads it with the query:
//! ```text
//! S ← e^g S;   u = β (v - Sᵀ k);   S ← S + k uᵀ;   o = Sᵀ q
//! ```
//! Unrolled over a chunk that begins with the state S₀, with Gᵢ = g₁ + … + gᵢ:
//! ```text
//! uᵢ = βᵢ (vᵢ - e^Gᵢ S₀ᵀ kᵢ - Σ_{j<i} e^(Gᵢ-Gⱼ) (kⱼ·kᵢ) uⱼ)
//! oᵢ =          e^Gᵢ S₀ᵀ qᵢ + Σ_{j≤i} e^(Gᵢ-Gⱼ) (kⱼ·qᵢ) uⱼ
//! S  =          e^Gₙ S₀     + Σ_{j≤n} e^(Gₙ-Gⱼ) kⱼ uⱼᵀ
//! ```
//! A chunk is [`CHUNK`] positions of the sequence, counted from its beginning, independent of how
//! the sequence is divided into calls: S₀ is unchanged until the chunk is complete, and k, u and G
//! of its tokens are kept beside it. This has three effects. A single token and a token among many
//! use the same sums in the same order, so results are bit-identical for every division. Rollback
//! within the chunk only removes entries. And a decode step reads S once and does not write it:
//! with 128 x 128 values and 32 positions that is 64 KiB + 16 KiB on average + 6 KiB for the
//! folding, where a step that reads and writes S moves 128 KiB.
//!
//! Differences of G are taken before the exponential and never exceed 0, and G is summed in f64, so
//! a head that decays completely at each token (G of some thousands) neither overflows nor loses
//! the contributions of the next tokens.

mod position;
mod prefetch;
mod product;
mod scratch;
mod state;
#[cfg(test)]
mod tests;
mod token;

use crate::conv::{ConvState, HeadLayout, SharedRows, bring_to_length, convolve};
use crate::isa::{Isa, Kernel};
use crate::pool::{SharedMut, lock};
use crate::{Pool, Simd};
pub(crate) use position::ChunkPosition;
use prefetch::Prefetch;
use product::{Rows, multiply};
pub use scratch::DeltaScratch;
use scratch::HeadScratch;
pub use state::DeltaState;
use state::{Fold, fade};
use token::{Token, gated_norm, log_decay, sigmoid};

/// Number of positions that share a base state S₀. With more of them a step reads more entries,
/// with fewer it folds more often: a step moves 82, 86 or 99 KiB of a head of 128 x 128 with chunks
/// of 16, 32 or 64, and prefill multiplies longer rows with larger chunks.
pub const CHUNK: usize = 32;

/// Alignment of the rows of S in values: whole vectors of every variant.
const WIDEST: usize = 16;
/// Least log decay of one token: e⁻⁸⁸ is below the normal numbers of f32, and -∞ minus -∞ would be
/// NaN.
const LOWEST_DECAY: f64 = -88.0;
/// Bound above which ln(1 + eˣ) is computed as x.
const SOFTPLUS_IS_LINEAR: f64 = 20.0;

/// Outputs of a layer's projections for `n` tokens.
#[derive(Clone, Copy)]
pub struct DeltaInput<'a> {
    /// Inputs of the convolution q | k | v `[n, channels]`
    pub raw: &'a [f32],
    /// Gate of the output `[n, value_heads, value_dim]`
    pub z: &'a [f32],
    /// Input of the decay `[n, value_heads]`
    pub a: &'a [f32],
    /// Input of the write strength `[n, value_heads]`
    pub b: &'a [f32],
}

/// Small weights of a layer, without its projections.
#[derive(Clone, Copy)]
pub struct DeltaWeights<'a> {
    /// Taps `[taps, channels]`, that of the newest token last
    pub taps: &'a [f32],
    /// Decay rate -exp(A_log) `[value_heads]`
    pub rate: &'a [f32],
    /// Bias of the decay's input `[value_heads]`
    pub dt_bias: &'a [f32],
    /// Weight of the output norm `[value_dim]`
    pub norm: &'a [f32],
    pub norm_eps: f32,
}

/// Destination for a copy of a layer's state at one border, if the tokens cross it.
pub struct Keep<'a> {
    pub border: usize,
    /// Copy of [`ConvState::border_rows`].
    pub rows: &'a mut [f32],
    /// Copy of [`DeltaState::base`].
    pub base: &'a mut [f32],
}

/// out`[n, value_heads, value_dim]` = norm(o) · silu(z) for the next `n` tokens, where
/// - mixed = silu(Σⱼ `taps[j] · raw[t + j - (taps - 1)]`), in which queries and keys are divided by
///   sqrt(Σ² + 1e-6), and queries by sqrt(key_dim) as well, gives q, k and v;
/// - β = σ(b), g = rate · softplus(a + dt_bias) and the rule give o;
/// - norm(o) = o / sqrt(mean(o²) + eps) · norm.
///
/// Reads the state in one pass: key heads run in parallel, each with its value heads. Panics if the
/// lengths or the positions of the two states disagree.
#[allow(clippy::too_many_arguments)]
pub fn delta_rule(
    pool: &Pool,
    simd: Simd,
    input: &DeltaInput,
    weights: &DeltaWeights,
    (conv, state): (&mut ConvState, &mut DeltaState),
    keep: Option<Keep>,
    scratch: &mut DeltaScratch,
    out: &mut [f32],
) {
    let (heads, place) = (state.heads, state.place);
    let n = input.a.len() / heads.value_heads;
    assert_eq!((conv.channels(), conv.place()), (heads.channels(), place), "the convolution is of another layer");
    check(&heads, n, conv.before(), input, weights);
    assert_eq!(out.len(), n * heads.value_width(), "out is [{n}, {}]", heads.value_width());
    let (mut no_rows, mut no_base) = ([], []);
    let keep = keep.unwrap_or(Keep { border: usize::MAX, rows: &mut no_rows, base: &mut no_base });
    let sizes = (conv.border_rows().len(), state.base.len());
    assert!(
        keep.border == usize::MAX || (keep.rows.len(), keep.base.len()) == sizes,
        "what is kept has the size of the memory"
    );
    let rooms = scratch.rooms(&heads, conv.before() + 1, pool.threads());
    let ahead = Prefetch {
        heads,
        stride: state.stride,
        chunk: CHUNK,
        entries: place.entries(),
        taps: conv.before() + 1,
        weights: weights.taps.as_ptr().addr(),
        rows: conv.border_rows().as_ptr().addr(),
        base: state.base.as_ptr().addr(),
        keys: state.keys.as_ptr().addr(),
        errors: state.errors.as_ptr().addr(),
    };
    let shared = Shared {
        input,
        weights,
        heads,
        stride: state.stride,
        n,
        place,
        ahead,
        keep_border: keep.border,
        keep_rows: SharedMut::new(keep.rows),
        keep_base: SharedMut::new(keep.base),
        rows: conv.share(),
        base: SharedMut::new(&mut state.base),
        keys: SharedMut::new(&mut state.keys),
        errors: SharedMut::new(&mut state.errors),
        decays: SharedMut::new(&mut state.decays),
        out: SharedMut::new(out),
    };
    rooms.iter().for_each(|room| lock(room).asked = None);
    pool.run(heads.key_heads, |key_head, worker| {
        simd.run(OfKeyHead { shared: &shared, key_head, room: &mut lock(&rooms[worker]) });
    });
    conv.advance(n);
    state.place = place.after(n);
}

/// Panics if the lengths disagree.
fn check(heads: &HeadLayout, n: usize, before: usize, input: &DeltaInput, weights: &DeltaWeights) {
    assert_eq!(input.raw.len(), n * heads.channels(), "raw is [{n}, {}]", heads.channels());
    assert_eq!((input.a.len(), input.b.len()), (n * heads.value_heads, n * heads.value_heads), "a and b");
    assert_eq!(input.z.len(), n * heads.value_width(), "z is [{n}, {}]", heads.value_width());
    assert_eq!(weights.taps.len(), (before + 1) * heads.channels(), "taps are [{}, {}]", before + 1, heads.channels());
    assert_eq!((weights.rate.len(), weights.dt_bias.len()), (heads.value_heads, heads.value_heads), "rate and dt_bias");
    assert_eq!(weights.norm.len(), heads.value_dim, "norm");
}

/// Data shared by all tasks of one call. Every key head has its own part of each shared slice.
struct Shared<'a> {
    input: &'a DeltaInput<'a>,
    weights: &'a DeltaWeights<'a>,
    heads: HeadLayout,
    stride: usize,
    n: usize,
    /// Position before the first token.
    place: ChunkPosition,
    ahead: Prefetch,
    keep_border: usize,
    keep_rows: SharedMut<'a, f32>,
    keep_base: SharedMut<'a, f32>,
    rows: SharedRows<'a>,
    base: SharedMut<'a, f32>,
    keys: SharedMut<'a, f32>,
    errors: SharedMut<'a, f32>,
    decays: SharedMut<'a, f64>,
    out: SharedMut<'a, f32>,
}

struct OfKeyHead<'a> {
    shared: &'a Shared<'a>,
    key_head: usize,
    room: &'a mut HeadScratch,
}

impl Kernel for OfKeyHead<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) {
        let Shared { place, n, .. } = *self.shared;
        self.ask(isa, self.key_head);
        self.gather_taps();
        let (mut done, mut first, mut border) = (0, place.entries(), place.border);
        while done < n {
            if first == CHUNK {
                (first, border) = (0, border + CHUNK);
                self.turn(border == self.shared.keep_border);
                self.fold(isa, border == self.shared.keep_border);
            }
            let count = (CHUNK - first).min(n - done);
            self.mix(isa, done, first, count);
            self.tokens(isa, done, first, count);
            (done, first) = (done + count, first + count);
        }
    }
}

impl OfKeyHead<'_> {
    /// Prefetches the state of a key head, if that has not been done.
    #[inline(always)]
    fn ask<I: Isa>(&mut self, isa: I, key_head: usize) {
        if self.room.asked != Some(key_head) {
            self.room.asked = Some(key_head);
            self.shared.ahead.ask(isa, key_head);
        }
    }

    fn gather_taps(&mut self) {
        let Shared { heads, weights, .. } = self.shared;
        let width = self.room.width;
        for (row, taps) in self.room.taps.chunks_exact_mut(width).zip(weights.taps.chunks_exact(heads.channels())) {
            let mut at = 0;
            for part in heads.parts_of(self.key_head) {
                row[at..at + part.len()].copy_from_slice(&taps[part.clone()]);
                at += part.len();
            }
        }
    }

    /// Copies the last rows of the full chunk to the place before the next chunk.
    fn turn(&mut self, keep: bool) {
        let Shared { heads, rows, keep_rows, .. } = self.shared;
        for row in 0..rows.before {
            for part in heads.parts_of(self.key_head) {
                // SAFETY: these channels belong to this key head, which has one task; and the two
                // rows differ.
                let (to, from) = unsafe { (rows.row(row, part.clone()), rows.row(CHUNK + row, part.clone())) };
                to.copy_from_slice(from);
                if keep {
                    // SAFETY: as above.
                    unsafe { keep_rows.slice(row * heads.channels() + part.start, part.len()) }.copy_from_slice(to);
                }
            }
        }
    }

    /// S₀ ← S at the end of the full chunk.
    #[inline(always)]
    fn fold<I: Isa>(&mut self, isa: I, keep: bool) {
        let Shared { heads, stride, base, keys, errors, decays, .. } = *self.shared;
        let (size, key_size) = (heads.key_dim * stride, heads.key_dim * CHUNK);
        // SAFETY: these keys belong to this key head, which has one task.
        let keys = unsafe { keys.slice(self.key_head * key_size, key_size) };
        for value_head in heads.value_heads_of(self.key_head) {
            // SAFETY: these parts belong to this key head, which has one task.
            let (base, errors, decays) = unsafe {
                let errors = errors.slice(value_head * CHUNK * stride, CHUNK * stride);
                (base.slice(value_head * size, size), errors, decays.slice(value_head * CHUNK, CHUNK))
            };
            let (keys, room) = (&*keys, &mut *self.room);
            Fold { base, keys, errors, decays, stride, room }.run(isa);
            if keep {
                // SAFETY: as above; it has the size of the base.
                unsafe { self.shared.keep_base.slice(value_head * size, size) }.copy_from_slice(base);
            }
        }
    }

    /// Computes q, k and v of tokens `done..done + count` of the call, which are entries `first..`
    /// of the chunk. Keeps their input rows.
    #[inline(always)]
    fn mix<I: Isa>(&mut self, isa: I, done: usize, first: usize, count: usize) {
        let Shared { heads, input, rows, .. } = self.shared;
        let HeadScratch { width, taps, raw, mixed, .. } = &mut *self.room;
        let (width, channels) = (*width, heads.channels());
        for (row, to) in raw.chunks_exact_mut(width).take(rows.before + count).enumerate() {
            let mut at = 0;
            for part in heads.parts_of(self.key_head) {
                // SAFETY: these channels belong to this key head, which has one task.
                let remembered = unsafe { rows.row(first + row, part.clone()) };
                if row >= rows.before {
                    let new = (done + row - rows.before) * channels;
                    remembered.copy_from_slice(&input.raw[new + part.start..new + part.end]);
                }
                to[at..at + part.len()].copy_from_slice(remembered);
                at += part.len();
            }
        }
        convolve(isa, &raw[..(rows.before + count) * width], taps, width, &mut mixed[..count * width]);
        let query_length = 1.0 / (heads.key_dim as f64).sqrt();
        for mixed in mixed.chunks_exact_mut(width).take(count) {
            let (query, key) = mixed[..2 * heads.key_dim].split_at_mut(heads.key_dim);
            bring_to_length(isa, query_length, query);
            bring_to_length(isa, 1.0, key);
        }
    }

    /// Computes the errors u and the outputs o of these tokens, after they are mixed.
    #[inline(always)]
    fn tokens<I: Isa>(&mut self, isa: I, done: usize, first: usize, count: usize) {
        let Shared { heads, stride, base, keys, .. } = *self.shared;
        let (key_dim, width) = (heads.key_dim, self.room.width);
        // SAFETY: these keys belong to this key head, which has one task.
        let keys = unsafe { keys.slice(self.key_head * key_dim * CHUNK, key_dim * CHUNK) };
        for (t, mixed) in self.room.mixed.chunks_exact(width).take(count).enumerate() {
            for (entry, &k) in keys.chunks_exact_mut(CHUNK).zip(&mixed[key_dim..2 * key_dim]) {
                entry[first + t] = k;
            }
        }
        let columns = (first + count).next_multiple_of(WIDEST);
        let HeadScratch { mixed, dots, .. } = &mut *self.room;
        // Rows k₀ q₀ k₁ q₁ …: a decode step uses the first two.
        let rows = Rows { x: mixed, of: [key_dim, 0], step: width, len: key_dim, pairs: count };
        multiply(isa, &rows, keys, CHUNK, columns, None, false, dots);
        for (group, value_head) in heads.value_heads_of(self.key_head).enumerate() {
            // SAFETY: this part belongs to this key head, which has one task.
            let base = unsafe { base.slice(value_head * key_dim * stride, key_dim * stride) };
            let HeadScratch { mixed, reads, .. } = &mut *self.room;
            let rows = Rows { x: mixed, of: [key_dim, 0], step: width, len: key_dim, pairs: count };
            multiply(isa, &rows, base, stride, stride, None, done == 0, reads);
            if done + count == self.shared.n {
                // Each thread is given consecutive heads.
                self.ask(isa, self.key_head + 1);
            }
            for t in 0..count {
                self.token(isa, (value_head, group), done + t, first + t, t);
            }
        }
    }

    /// Computes uᵢ and oᵢ of one head, for token `at` of the call, entry `i` of the chunk, pair `t`
    /// of the products.
    #[inline(always)]
    fn token<I: Isa>(&mut self, isa: I, (value_head, group): (usize, usize), at: usize, i: usize, t: usize) {
        let Shared { input, weights, heads, stride, errors, decays, out, .. } = *self.shared;
        // SAFETY: these parts belong to this key head, which has one task.
        let (errors, decays) = unsafe {
            let errors = errors.slice(value_head * CHUNK * stride, CHUNK * stride);
            (errors, decays.slice(value_head * CHUNK, CHUNK))
        };
        let gate = at * heads.value_heads + value_head;
        let beta = sigmoid(input.b[gate]);
        let before = if i == 0 { 0.0 } else { decays[i - 1] };
        decays[i] = before + log_decay(weights.rate[value_head], input.a[gate] + weights.dt_bias[value_head]);

        let HeadScratch { width, mixed, dots, reads, row, normed, .. } = &mut *self.room;
        let (left, carried) = fade(isa, &decays[..=i]);
        let value_dim = heads.value_dim;
        let v = t * *width + 2 * heads.key_dim + group * value_dim;
        row[..value_dim].copy_from_slice(&mixed[v..][..value_dim]);
        let (k_dots, q_dots) = dots[2 * t * CHUNK..][..2 * CHUNK].split_at(CHUNK);
        let (mut k_parts, mut q_parts) = ([0.0; CHUNK], [0.0; CHUNK]);
        for j in 0..=i {
            (k_parts[j], q_parts[j]) = (left[j] * k_dots[j], left[j] * q_dots[j]);
        }
        let token = Token { i, stride, beta, carried, k_parts: &k_parts, q_parts: &q_parts };
        token.correct_and_read(isa, &reads[2 * t * stride..][..2 * stride], errors, row);
        row[value_dim..].fill(0.0);

        let place = at * heads.value_width() + value_head * value_dim;
        // SAFETY: the result of this head and token belongs to this task.
        let out = unsafe { out.slice(place, value_dim) };
        gated_norm(isa, &row[..value_dim], &input.z[place..][..value_dim], weights, normed, out);
    }
}
