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

use crate::conv::HeadLayout;
use crate::elementwise::{map_vectors, padded, sum_of_squares};
use crate::isa::{Isa, Kernel, exp};
use crate::pool::{SharedMut, lock};
use crate::{Pool, Simd};
use std::sync::Mutex;

/// Positions that share a base memory. More of them make a step read more entries, fewer fold more often; from 16 to 64
/// the traffic of a step differs by a tenth.
pub const CHUNK: usize = 32;

/// Rows of S are padded to whole vectors of every variant.
const WIDEST: usize = 16;
/// Log decay of one token at least: e⁻⁸⁸ is no normal number any more, and -∞ minus -∞ would be NaN.
const LOWEST_DECAY: f64 = -88.0;
/// Above this ln(1 + eˣ) is x.
const SOFTPLUS_IS_LINEAR: f64 = 20.0;

/// What one DeltaNet layer remembers: S₀ at `border`, and the entries of the chunk since.
#[derive(Clone)]
pub struct DeltaState {
    heads: HeadLayout,
    /// Values from a row of S to the next.
    stride: usize,
    /// The position that `base` belongs to; a multiple of [`CHUNK`].
    border: usize,
    len: usize,
    /// S₀ `[value_heads, key_dim, stride]`
    base: Vec<f32>,
    /// k `[key_heads, key_dim, CHUNK]`
    keys: Vec<f32>,
    /// u `[value_heads, CHUNK, stride]`
    errors: Vec<f32>,
    /// G `[value_heads, CHUNK]`
    decays: Vec<f64>,
}

impl DeltaState {
    /// The memory before the first token.
    ///
    /// Panics if the size overflows; see [`DeltaState::planned_bytes`].
    pub fn new(heads: HeadLayout) -> DeltaState {
        DeltaState::planned_bytes(&heads).expect("a memory that fits in the machine's");
        let HeadLayout { key_heads, value_heads, key_dim, value_dim, .. } = heads;
        let stride = value_dim.next_multiple_of(WIDEST);
        DeltaState {
            stride,
            border: 0,
            len: 0,
            base: vec![0.0; value_heads * key_dim * stride],
            keys: vec![0.0; key_heads * key_dim * CHUNK],
            errors: vec![0.0; value_heads * CHUNK * stride],
            decays: vec![0.0; value_heads * CHUNK],
            heads,
        }
    }

    /// Bytes that [`DeltaState::new`] takes; `None` if they overflow.
    pub fn planned_bytes(heads: &HeadLayout) -> Option<usize> {
        let HeadLayout { key_heads, value_heads, key_dim, .. } = *heads;
        let errors = heads.value_dim.checked_next_multiple_of(WIDEST)?.checked_mul(value_heads)?.checked_mul(CHUNK)?;
        let keys = key_heads.checked_mul(key_dim)?.checked_mul(CHUNK)?;
        let floats = DeltaState::base_len(heads)?.checked_add(errors)?.checked_add(keys)?;
        floats.checked_mul(size_of::<f32>())?.checked_add(value_heads.checked_mul(CHUNK * size_of::<f64>())?)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let floats = self.base.len() + self.keys.len() + self.errors.len();
        floats * size_of::<f32>() + self.decays.len() * size_of::<f64>()
    }

    /// Values of S₀ of all heads, padding included; `None` if they overflow.
    pub fn base_len(heads: &HeadLayout) -> Option<usize> {
        let stride = heads.value_dim.checked_next_multiple_of(WIDEST)?;
        heads.value_heads.checked_mul(heads.key_dim)?.checked_mul(stride)
    }

    /// Positions so far.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The position that [`DeltaState::base`] belongs to: how far back [`DeltaState::truncate`] reaches.
    pub fn border(&self) -> usize {
        self.border
    }

    /// S₀ of all heads, for a later [`DeltaState::set_base`].
    pub fn base(&self) -> &[f32] {
        &self.base
    }

    /// Forgets what came after the first `len` positions, to the bit as if it had never been. Panics below the border.
    pub fn truncate(&mut self, len: usize) {
        assert!(self.border <= len, "position {len} is before the border {}", self.border);
        self.len = self.len.min(len);
    }

    /// Goes to the border `position`, where `base` was what [`DeltaState::base`] gave.
    ///
    /// Panics if `position` is no border, or if `base` has another size.
    pub fn set_base(&mut self, position: usize, base: &[f32]) {
        assert!(position.is_multiple_of(CHUNK), "{position} is no border of chunks of {CHUNK}");
        self.base.copy_from_slice(base);
        (self.border, self.len) = (position, position);
    }

    /// Back to before the first token.
    pub fn clear(&mut self) {
        self.base.fill(0.0);
        (self.border, self.len) = (0, 0);
    }

    /// S after the last position, `[value_heads, key_dim, value_dim]`: for comparisons, not for speed.
    pub fn dense(&self, simd: Simd) -> Vec<f32> {
        let mut folded = self.clone();
        let mut room = Room::new(&self.heads);
        for value_head in 0..self.heads.value_heads {
            let (key_head, size) = (self.heads.key_head(value_head), self.heads.key_dim * self.stride);
            simd.run(Fold {
                base: &mut folded.base[value_head * size..][..size],
                keys: &self.keys[key_head * self.heads.key_dim * CHUNK..][..self.heads.key_dim * CHUNK],
                errors: &self.errors[value_head * CHUNK * self.stride..][..CHUNK * self.stride],
                decays: &self.decays[value_head * CHUNK..][..self.len - self.border],
                stride: self.stride,
                room: &mut room,
            });
        }
        folded.base.chunks_exact(self.stride).flat_map(|row| &row[..self.heads.value_dim]).copied().collect()
    }
}

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
    /// Keys times what is left of them at the end of the chunk `[key_dim, CHUNK]`, an odd row padded with another
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
    let (rooms, first) = (scratch.rooms(&heads, pool.threads()), state.len - state.border);
    let shared = Shared {
        input,
        weights,
        heads,
        stride: state.stride,
        n,
        border: state.border,
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
    state.len += n;
    state.border = border_after(state.border, first + n);
}

/// The border of the chunk that holds the last of `entries` positions since `border`: a chunk is folded when the next
/// one begins, not when it is full.
pub(crate) fn border_after(border: usize, entries: usize) -> usize {
    border + entries.saturating_sub(1) / CHUNK * CHUNK
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

/// e^(Gᵢ - Gⱼ) for all j, and e^Gᵢ; `decays` ends with Gᵢ.
#[inline(always)]
fn fade<I: Isa>(isa: I, decays: &[f64]) -> ([f32; CHUNK], f32) {
    let last = decays[decays.len() - 1];
    let mut left = [0.0f32; CHUNK];
    for (left, decay) in left.iter_mut().zip(decays) {
        *left = (last - decay) as f32;
    }
    for left in left.chunks_exact_mut(I::LANES) {
        isa.store(exp(isa, isa.load(left)), left);
    }
    let mut carried = [0.0; WIDEST];
    isa.store(exp(isa, isa.splat(last as f32)), &mut carried);
    (left, carried[0])
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
    let mean = sum_of_squares(isa, o) / o.len() as f64;
    let scale = isa.splat((1.0 / (mean + f64::from(weights.norm_eps)).sqrt()) as f32);
    map_vectors!(isa, o = o, w = weights.norm, normed => isa.mul(isa.mul(o, scale), w));
    let one = isa.splat(1.0);
    map_vectors!(isa, z = z, o = normed, out => {
        let e = exp(isa, isa.sub(isa.zero(), z));
        isa.mul(isa.div(z, isa.add(one, e)), o)
    });
}

/// base ← e^Gₙ base + Σⱼ e^(Gₙ-Gⱼ) kⱼ uⱼᵀ over the entries that `decays` has.
struct Fold<'a> {
    /// `[key_dim, stride]`
    base: &'a mut [f32],
    /// `[key_dim, CHUNK]`
    keys: &'a [f32],
    /// `[CHUNK, stride]`
    errors: &'a [f32],
    decays: &'a [f64],
    stride: usize,
    room: &'a mut Room,
}

impl Kernel for Fold<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let entries = self.decays.len();
        if entries == 0 {
            return;
        }
        let (left, carried) = fade(isa, self.decays);
        let faded = &mut self.room.faded;
        for (faded, keys) in faded.chunks_exact_mut(CHUNK).zip(self.keys.chunks_exact(CHUNK)) {
            for j in 0..CHUNK {
                faded[j] = keys[j] * left[j];
            }
        }
        let key_dim = self.keys.len() / CHUNK;
        let rows = Rows { x: faded, of: [0, CHUNK], step: 2 * CHUNK, len: entries, pairs: key_dim / 2 };
        multiply(isa, &rows, self.errors, self.stride, self.stride, Some(carried), self.base);
        if !key_dim.is_multiple_of(2) {
            let last = key_dim - 1;
            let row = &faded[last * CHUNK..][..entries];
            let out = &mut self.base[last * self.stride..];
            let work = Tile { isa, rows: [row], w: self.errors, stride: self.stride, scale: Some(carried) };
            for at in (0..self.stride).step_by(I::LANES) {
                work.columns::<1>(at, out, self.stride);
            }
        }
    }
}

/// Rows of a left factor, two by two: row 2p + s begins at `of[s] + p * step`.
struct Rows<'a> {
    x: &'a [f32],
    of: [usize; 2],
    step: usize,
    len: usize,
    pairs: usize,
}

impl<'a> Rows<'a> {
    #[inline(always)]
    fn row(&self, row: usize) -> &'a [f32] {
        &self.x[self.of[row % 2] + row / 2 * self.step..][..self.len]
    }
}

/// out`[rows, stride]` = scale · out + rows · w`[len, stride]`, in the first `columns` columns; without a scale, what was
/// in `out` is not read. Each value is one chain of multiply-adds in the order of `len`, whatever the tile.
#[inline(always)]
fn multiply<I: Isa>(
    isa: I,
    rows: &Rows,
    w: &[f32],
    stride: usize,
    columns: usize,
    scale: Option<f32>,
    out: &mut [f32],
) {
    let mut at = 0;
    while at < columns {
        let vectors = match (columns - at) / I::LANES {
            0 | 1 => 1,
            2 | 3 => 2,
            _ => 4,
        };
        let mut row = 0;
        while row < 2 * rows.pairs {
            let out = &mut out[row * stride..];
            let four = I::REGISTERS >= 32 && row + 4 <= 2 * rows.pairs;
            if four {
                let rows = [rows.row(row), rows.row(row + 1), rows.row(row + 2), rows.row(row + 3)];
                Tile { isa, rows, w, stride, scale }.columns_of(vectors, at, out);
                row += 4;
            } else {
                let rows = [rows.row(row), rows.row(row + 1)];
                Tile { isa, rows, w, stride, scale }.columns_of(vectors, at, out);
                row += 2;
            }
        }
        at += vectors * I::LANES;
    }
}

struct Tile<'a, I, const R: usize> {
    isa: I,
    rows: [&'a [f32]; R],
    w: &'a [f32],
    stride: usize,
    scale: Option<f32>,
}

impl<I: Isa, const R: usize> Tile<'_, I, R> {
    #[inline(always)]
    fn columns_of(&self, vectors: usize, at: usize, out: &mut [f32]) {
        match vectors {
            1 => self.columns::<1>(at, out, self.stride),
            2 => self.columns::<2>(at, out, self.stride),
            _ => self.columns::<4>(at, out, self.stride),
        }
    }

    /// `V` vectors of columns from `at` on.
    #[inline(always)]
    fn columns<const V: usize>(&self, at: usize, out: &mut [f32], out_stride: usize) {
        let Tile { isa, rows, w, stride, scale } = *self;
        let len = rows[0].len();
        assert!(rows.iter().all(|row| row.len() == len) && w.len() >= len * stride && at + V * I::LANES <= stride);
        let mut sums = [[isa.zero(); V]; R];
        if let Some(scale) = scale {
            for (r, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = isa.mul(isa.splat(scale), isa.load(&out[r * out_stride + at + v * I::LANES..]));
                }
            }
        }
        for d in 0..len {
            let mut vectors = [isa.zero(); V];
            for (v, vector) in vectors.iter_mut().enumerate() {
                // SAFETY: row d of w is inside it, and so are columns at.. + V vectors, as was asserted.
                *vector = unsafe { isa.load_at(w.as_ptr().add(d * stride + at + v * I::LANES)) };
            }
            for (sums, row) in sums.iter_mut().zip(rows) {
                // SAFETY: each row has `len` values, as was asserted.
                let x = isa.splat(unsafe { *row.as_ptr().add(d) });
                for (sum, vector) in sums.iter_mut().zip(vectors) {
                    *sum = isa.mul_add(x, vector, *sum);
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                isa.store(sum, &mut out[r * out_stride + at + v * I::LANES..]);
            }
        }
    }
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

#[cfg(test)]
mod tests;
