//! The gated delta rule (Yang et al., "Gated Delta Networks", 2024): attention with a memory of fixed size.
//!
//! Each value head keeps a matrix S`[key_dim, value_dim]`. A token lets it fade, corrects what it recalls for the
//! token's key, and reads it:
//! ```text
//! S ← e^g S;   u = β (v - Sᵀ k);   S ← S + k uᵀ;   o = Sᵀ q
//! ```
//! Unrolled over a chunk that begins with the memory S₀, with Gᵢ = g₁ + … + gᵢ, that is
//! ```text
//! uᵢ = βᵢ (vᵢ - e^Gᵢ S₀ᵀ kᵢ - Σ_{j<i} e^(Gᵢ-Gⱼ) (kⱼ·kᵢ) uⱼ)
//! oᵢ =          e^Gᵢ S₀ᵀ qᵢ + Σ_{j≤i} e^(Gᵢ-Gⱼ) (kⱼ·qᵢ) uⱼ
//! S  =          e^Gₙ S₀     + Σ_{j≤n} e^(Gₙ-Gⱼ) kⱼ uⱼᵀ
//! ```
//! Here a chunk is [`CHUNK`] positions of the sequence, counted from its beginning, however the sequence is cut into
//! calls: S₀ stays as it is until the chunk is over, and k, u and G of its tokens are kept beside it. Three things
//! follow. A token alone and a token among many go through the same sums in the same order, so a result is the same to
//! the bit for every cut. Within the chunk one goes back by forgetting entries. And a decoding step reads S once and
//! does not write it: with 128 x 128 values and 32 positions that is 64 KiB + 16 KiB on average + 6 KiB for the
//! folding, where a step that reads and writes S moves 128 KiB.
//!
//! Differences of G are taken before the exponential and never exceed 0, and G is summed in f64, so a head that forgets
//! everything at each token (G of some thousands) neither overflows nor loses what the next tokens say.

mod place;
mod product;
mod state;
#[cfg(test)]
mod tests;

use crate::conv::HeadLayout;
use crate::elementwise::{map_vectors, norm_row, padded};
use crate::isa::{Isa, Kernel, silu};
use crate::pool::{SharedMut, lock};
use crate::{Pool, Simd};
pub(crate) use place::Place;
use product::{Rows, multiply};
pub use state::DeltaState;
use state::{Fold, fade};
use std::sync::Mutex;

/// Positions that share a base memory. More of them make a step read more entries, fewer fold more often: a step moves
/// 82, 86 or 99 KiB of a head of 128 x 128 with chunks of 16, 32 or 64, and a prompt multiplies longer rows.
pub const CHUNK: usize = 32;

/// Rows of S are padded to whole vectors of every variant.
const WIDEST: usize = 16;
/// Log decay of one token at least: e⁻⁸⁸ is no normal number any more, and -∞ minus -∞ would be NaN.
const LOWEST_DECAY: f64 = -88.0;
/// Above this ln(1 + eˣ) is x.
const SOFTPLUS_IS_LINEAR: f64 = 20.0;

/// What a layer makes of `n` tokens before the rule, as [`mix_heads`](crate::mix_heads) and projections leave it.
#[derive(Clone, Copy)]
pub struct DeltaInput<'a> {
    /// q | k | v `[n, channels]`: q and k of each head of length 1, q divided by sqrt(key_dim).
    pub mixed: &'a [f32],
    /// `[n, value_heads, value_dim]`
    pub z: &'a [f32],
    /// `[n, value_heads]`
    pub a: &'a [f32],
    /// `[n, value_heads]`
    pub b: &'a [f32],
}

/// The few numbers of a layer that stand behind its projections.
#[derive(Clone, Copy)]
pub struct DeltaWeights<'a> {
    /// -exp(A_log) `[value_heads]`
    pub rate: &'a [f32],
    /// `[value_heads]`
    pub dt_bias: &'a [f32],
    /// `[value_dim]`
    pub norm: &'a [f32],
    pub norm_eps: f32,
}

/// Where S₀ of one border is to be kept as well, if the tokens cross it.
pub struct Keep<'a> {
    pub border: usize,
    pub base: &'a mut [f32],
}

/// Room that [`delta_rule`] works in; one for each thread, made when it is first needed.
#[derive(Default)]
pub struct DeltaScratch {
    rooms: Vec<Mutex<Room>>,
}

impl DeltaScratch {
    fn rooms(&mut self, heads: &HeadLayout, threads: usize) -> &[Mutex<Room>] {
        let fits = |room: &Mutex<Room>| lock(room).heads == Some(*heads);
        if self.rooms.len() < threads || !self.rooms.iter().all(fits) {
            self.rooms = (0..threads).map(|_| Mutex::new(Room::new(heads))).collect();
        }
        &self.rooms
    }
}

struct Room {
    heads: Option<HeadLayout>,
    /// kⱼ·kᵢ and kⱼ·qᵢ `[CHUNK, 2, CHUNK]`
    dots: Vec<f32>,
    /// S₀ᵀ kᵢ and S₀ᵀ qᵢ `[CHUNK, 2, stride]`
    reads: Vec<f32>,
    /// Keys times what is left of them at the end of the chunk `[key_dim, CHUNK]`
    faded: Vec<f32>,
    /// One token's v, then o `[stride]`
    row: Vec<f32>,
    /// o normed `[value_dim]`
    normed: Vec<f32>,
}

impl Room {
    fn new(heads: &HeadLayout) -> Room {
        let stride = heads.value_dim.next_multiple_of(WIDEST);
        Room {
            heads: Some(*heads),
            dots: vec![0.0; 2 * CHUNK * CHUNK],
            reads: vec![0.0; 2 * CHUNK * stride],
            faded: vec![0.0; heads.key_dim * CHUNK],
            row: vec![0.0; stride],
            normed: vec![0.0; heads.value_dim],
        }
    }
}

/// out`[n, value_heads, value_dim]` = norm(o) · silu(z) for the next `n` tokens of `state`; with
/// β = σ(b), g = rate · softplus(a + dt_bias), norm(o) = o / sqrt(mean(o²) + eps) · norm.
///
/// Key heads run in parallel, each with its value heads. Panics if the lengths disagree.
#[allow(clippy::too_many_arguments)]
pub fn delta_rule(
    pool: &Pool,
    simd: Simd,
    input: &DeltaInput,
    weights: &DeltaWeights,
    state: &mut DeltaState,
    keep: Option<Keep>,
    scratch: &mut DeltaScratch,
    out: &mut [f32],
) {
    let heads = state.heads;
    let n = input.a.len() / heads.value_heads;
    assert_eq!(input.mixed.len(), n * heads.channels(), "mixed is [{n}, {}]", heads.channels());
    assert_eq!((input.a.len(), input.b.len()), (n * heads.value_heads, n * heads.value_heads), "a and b");
    assert_eq!((input.z.len(), out.len()), (n * heads.value_width(), n * heads.value_width()), "z and out");
    assert_eq!((weights.rate.len(), weights.dt_bias.len()), (heads.value_heads, heads.value_heads), "rate and dt_bias");
    assert_eq!(weights.norm.len(), heads.value_dim, "norm");
    let mut nowhere = [];
    let keep = keep.unwrap_or(Keep { border: usize::MAX, base: &mut nowhere });
    assert!(keep.base.is_empty() || keep.base.len() == state.base.len(), "what is kept has the size of the base");
    let (rooms, first) = (scratch.rooms(&heads, pool.threads()), state.place.entries());
    let shared = Shared {
        input,
        weights,
        heads,
        stride: state.stride,
        n,
        border: state.place.border,
        first,
        keep_border: keep.border,
        keep: SharedMut::new(keep.base),
        base: SharedMut::new(&mut state.base),
        keys: SharedMut::new(&mut state.keys),
        errors: SharedMut::new(&mut state.errors),
        decays: SharedMut::new(&mut state.decays),
        out: SharedMut::new(out),
    };
    pool.run(heads.key_heads, |key_head, worker| {
        simd.run(OfKeyHead { shared: &shared, key_head, room: &mut lock(&rooms[worker]) });
    });
    state.place = state.place.after(n);
}

/// What all tasks of one call see. Every key head has its own part of each shared slice.
struct Shared<'a> {
    input: &'a DeltaInput<'a>,
    weights: &'a DeltaWeights<'a>,
    heads: HeadLayout,
    stride: usize,
    n: usize,
    border: usize,
    /// Entries of the chunk before the first token.
    first: usize,
    keep_border: usize,
    keep: SharedMut<'a, f32>,
    base: SharedMut<'a, f32>,
    keys: SharedMut<'a, f32>,
    errors: SharedMut<'a, f32>,
    decays: SharedMut<'a, f64>,
    out: SharedMut<'a, f32>,
}

struct OfKeyHead<'a> {
    shared: &'a Shared<'a>,
    key_head: usize,
    room: &'a mut Room,
}

impl Kernel for OfKeyHead<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) {
        let (mut done, mut first, mut border) = (0, self.shared.first, self.shared.border);
        while done < self.shared.n {
            if first == CHUNK {
                (first, border) = (0, border + CHUNK);
                self.fold(isa, border == self.shared.keep_border);
            }
            let count = (CHUNK - first).min(self.shared.n - done);
            self.tokens(isa, done, first, count);
            (done, first) = (done + count, first + count);
        }
    }
}

impl OfKeyHead<'_> {
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
                unsafe { self.shared.keep.slice(value_head * size, size) }.copy_from_slice(base);
            }
        }
    }

    /// Tokens `done..done + count` of the call, which are entries `first..` of the chunk.
    #[inline(always)]
    fn tokens<I: Isa>(&mut self, isa: I, done: usize, first: usize, count: usize) {
        let Shared { heads, stride, input, base, keys, .. } = *self.shared;
        let (key_dim, channels) = (heads.key_dim, heads.channels());
        let mixed = &input.mixed[done * channels..];
        let (q_at, k_at) = (self.key_head * key_dim, heads.key_width() + self.key_head * key_dim);
        // SAFETY: these keys belong to this key head, which has one task.
        let keys = unsafe { keys.slice(self.key_head * key_dim * CHUNK, key_dim * CHUNK) };
        for t in 0..count {
            for (entry, &k) in keys.chunks_exact_mut(CHUNK).zip(&mixed[t * channels + k_at..][..key_dim]) {
                entry[first + t] = k;
            }
        }
        // Rows k₀ q₀ k₁ q₁ …: a decoding step is the first two.
        let rows = Rows { x: mixed, of: [k_at, q_at], step: channels, len: key_dim, pairs: count };
        let columns = (first + count).next_multiple_of(WIDEST);
        multiply(isa, &rows, keys, CHUNK, columns, None, &mut self.room.dots);
        for value_head in heads.value_heads_of(self.key_head) {
            // SAFETY: this part belongs to this key head, which has one task.
            let base = unsafe { base.slice(value_head * key_dim * stride, key_dim * stride) };
            multiply(isa, &rows, base, stride, stride, None, &mut self.room.reads);
            for t in 0..count {
                self.token(isa, value_head, done + t, first + t, t);
            }
        }
    }

    /// uᵢ and oᵢ of one head, for token `at` of the call, entry `i` of the chunk, pair `t` of the products.
    #[inline(always)]
    fn token<I: Isa>(&mut self, isa: I, value_head: usize, at: usize, i: usize, t: usize) {
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

        let Room { dots, reads, row, normed, .. } = &mut *self.room;
        let (left, carried) = fade(isa, &decays[..=i]);
        let value_dim = heads.value_dim;
        let v = at * heads.channels() + 2 * heads.key_width() + value_head * value_dim;
        row[..value_dim].copy_from_slice(&input.mixed[v..][..value_dim]);
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

/// What is known of a token before its error.
struct Token<'a> {
    i: usize,
    stride: usize,
    beta: f32,
    carried: f32,
    /// e^(Gᵢ-Gⱼ) (kⱼ·kᵢ)
    k_parts: &'a [f32; CHUNK],
    /// e^(Gᵢ-Gⱼ) (kⱼ·qᵢ)
    q_parts: &'a [f32; CHUNK],
}

impl Token<'_> {
    /// Writes uᵢ behind those before it, and oᵢ to `row`, which holds vᵢ.
    #[inline(always)]
    fn correct_and_read<I: Isa>(&self, isa: I, reads: &[f32], errors: &mut [f32], row: &mut [f32]) {
        let mut at = 0;
        while at + 4 * I::LANES <= self.stride {
            self.columns::<I, 4>(isa, at, reads, errors, row);
            at += 4 * I::LANES;
        }
        while at < self.stride {
            self.columns::<I, 1>(isa, at, reads, errors, row);
            at += I::LANES;
        }
    }

    #[inline(always)]
    fn columns<I: Isa, const V: usize>(&self, isa: I, at: usize, reads: &[f32], errors: &mut [f32], row: &mut [f32]) {
        let Token { i, stride, beta, carried, k_parts, q_parts } = *self;
        let (mut recalled, mut read) = ([isa.zero(); V], [isa.zero(); V]);
        for v in 0..V {
            let column = at + v * I::LANES;
            recalled[v] = isa.mul(isa.splat(carried), isa.load(&reads[column..]));
            read[v] = isa.mul(isa.splat(carried), isa.load(&reads[stride + column..]));
        }
        for (j, u) in errors.chunks_exact(stride).enumerate().take(i) {
            let (k_part, q_part) = (isa.splat(k_parts[j]), isa.splat(q_parts[j]));
            for v in 0..V {
                let u = isa.load(&u[at + v * I::LANES..]);
                recalled[v] = isa.mul_add(k_part, u, recalled[v]);
                read[v] = isa.mul_add(q_part, u, read[v]);
            }
        }
        for v in 0..V {
            let column = at + v * I::LANES;
            let value = isa.load(&row[column..]);
            let u = isa.mul(isa.splat(beta), isa.sub(value, recalled[v]));
            isa.store(u, &mut errors[i * stride + column..]);
            isa.store(isa.mul_add(isa.splat(q_parts[i]), u, read[v]), &mut row[column..]);
        }
    }
}

/// out = o / sqrt(mean(o²) + eps) · norm · silu(z)
#[inline(always)]
fn gated_norm<I: Isa>(isa: I, o: &[f32], z: &[f32], weights: &DeltaWeights, normed: &mut [f32], out: &mut [f32]) {
    norm_row(isa, o, weights.norm, weights.norm_eps, normed);
    map_vectors!(isa, z = z, o = normed, out => isa.mul(silu(isa, z), o));
}

/// g = rate · ln(1 + eˣ), from [`LOWEST_DECAY`] to 0: a memory never grows by itself.
fn log_decay(rate: f32, x: f32) -> f64 {
    let x = f64::from(x);
    let softplus = if x > SOFTPLUS_IS_LINEAR { x } else { x.exp().ln_1p() };
    (f64::from(rate) * softplus).clamp(LOWEST_DECAY, 0.0)
}

fn sigmoid(x: f32) -> f32 {
    (1.0 / (1.0 + f64::from(-x).exp())) as f32
}
