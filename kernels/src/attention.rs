//! Attention over a cache of keys and values, with several query heads per key head (GQA).

mod eight;

use crate::elementwise::{exp_from, largest, scale};
use crate::isa::{Isa, Kernel};
use crate::kv::{KEY_BLOCK, KvCache, KvElement, SEGMENT};
use crate::pool::SharedMut;
use crate::{Pool, Simd, reference};

/// Shape of an attention operation, its scale and its mask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Number of query heads; a multiple of `kv_heads`. Query head `h` reads key head `h / (heads /
    /// kv_heads)`.
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Factor of the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Whether a token attends only to itself and earlier positions.
    pub causal: bool,
}

/// Number of positions whose scores are held at a time, all in one segment of the cache.
const POSITIONS: usize = 128;
const _: () = assert!(SEGMENT.is_multiple_of(POSITIONS));
/// Number of queries that a thread processes at a time; all of one key head, so that they share its
/// reads.
const ROWS: usize = 8;

/// A cache of keys and values that attention can read: a [`KvCache`] or a
/// [`KvCache8`](crate::KvCache8).
pub trait KeyValues: Tiles {
    /// Number of positions that fit.
    fn capacity(&self) -> usize;
    /// Whether the heads match `shape`.
    fn is_for(&self, shape: &AttentionShape) -> bool;
    /// Reads key and value of one head and position.
    fn load(&self, head: usize, position: usize, key: &mut [f32], value: &mut [f32]);
}

/// A block of sixteen positions to score for R queries.
pub struct Block<'a, const R: usize> {
    pub head: usize,
    /// First position, a multiple of sixteen.
    pub position: usize,
    pub q: [&'a [f32]; R],
    pub scale: f32,
    /// Index of the first position in [`Scores`].
    pub at: usize,
}

pub(crate) use tiles::Tiles;
mod tiles {
    use super::{Block, Isa, Scores};

    /// The two products of attention, for a few rows at a time. Sealed: other crates cannot add
    /// types that no kernel can read.
    pub trait Tiles: Sync {
        /// scores`[r]` = scale · q`[r]` · K
        fn score<I: Isa, const R: usize>(&self, isa: I, block: &Block<R>, scores: &mut Scores<R>);

        /// outs`[r]` += weights`[r]` · V, for the positions of `span` (the first, and their
        /// number), all in one segment.
        fn add_values<I: Isa, const R: usize>(
            &self,
            isa: I,
            head: usize,
            span: (usize, usize),
            weights: &Scores<R>,
            outs: &mut [&mut [f32]; R],
        );
    }
}

/// out`[n, heads, head_dim]` = softmax(scale · q · Kᵀ) · V for queries q`[n, heads, head_dim]`, the
/// first of which is at position `start`. The keys and values of positions `0..start + n` must have
/// been stored.
///
/// Panics if the lengths disagree, or if a position is beyond the cache.
#[allow(clippy::too_many_arguments)]
pub fn attention<C: KeyValues>(
    pool: &Pool,
    simd: Simd,
    shape: &AttentionShape,
    q: &[f32],
    cache: &C,
    start: usize,
    out: &mut [f32],
) {
    let token = shape.heads * shape.head_dim;
    assert!(shape.kv_heads > 0 && shape.heads.is_multiple_of(shape.kv_heads), "{shape:?}");
    assert!(q.len() == out.len() && token > 0 && q.len().is_multiple_of(token), "q and out are [n, {token}]");
    assert!(cache.is_for(shape), "the cache is of this shape");
    let n = q.len() / token;
    assert!(start + n <= cache.capacity(), "position {} of {}", start + n, cache.capacity());
    if simd.is_reference() {
        return reference::attention(shape, q, cache, start, out);
    }
    let out = SharedMut::new(out);
    let rows = shape.heads / shape.kv_heads * n;
    let tiles = rows.div_ceil(ROWS);
    pool.run(shape.kv_heads * tiles, |i, _| {
        // The last tokens attend to most positions, so their queries go first and the threads
        // finish together.
        let (kv_head, first) = (i % shape.kv_heads, (tiles - 1 - i / shape.kv_heads) * ROWS);
        let rows = first..rows.min(first + ROWS);
        simd.run(Attend { shape, q, cache, start, n, kv_head, rows, out });
    });
}

/// Attention of some queries of one key head. Row `r` is query head `kv_head * group + r % group`
/// of token `r / group`.
struct Attend<'a, 'o, C> {
    shape: &'a AttentionShape,
    q: &'a [f32],
    cache: &'a C,
    start: usize,
    n: usize,
    kv_head: usize,
    rows: std::ops::Range<usize>,
    out: SharedMut<'o, f32>,
}

impl<C: KeyValues> Kernel for Attend<'_, '_, C> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        // A vector of scores for each row and its operands stay in registers.
        let most = ROWS.min(I::REGISTERS / 4);
        let mut row = self.rows.start;
        while row < self.rows.end {
            let count = most.min(self.rows.end - row);
            // Counts that exceed the registers of the variant are never compiled: `most` is a
            // constant.
            match count {
                1 => self.tile::<I, 1>(isa, row),
                2 => self.tile::<I, 2>(isa, row),
                3 if most >= 3 => self.tile::<I, 3>(isa, row),
                4 if most >= 4 => self.tile::<I, 4>(isa, row),
                5 if most >= 5 => self.tile::<I, 5>(isa, row),
                6 if most >= 6 => self.tile::<I, 6>(isa, row),
                7 if most >= 7 => self.tile::<I, 7>(isa, row),
                _ => self.tile::<I, 8>(isa, row),
            }
            row += count;
        }
    }
}

/// Scores of some rows for [`POSITIONS`] positions; later the weights of those positions.
pub(crate) type Scores<const R: usize> = [[f32; POSITIONS]; R];

impl<C: KeyValues> Attend<'_, '_, C> {
    /// Offset of a row's query in `q`, and of its result in `out`.
    #[inline(always)]
    fn place(&self, row: usize) -> usize {
        let group = self.shape.heads / self.shape.kv_heads;
        (row / group * self.shape.heads + self.kv_head * group + row % group) * self.shape.head_dim
    }

    /// Number of positions that a row attends to.
    #[inline(always)]
    fn seen(&self, row: usize) -> usize {
        let token = row / (self.shape.heads / self.shape.kv_heads);
        self.start + if self.shape.causal { token + 1 } else { self.n }
    }

    /// Online softmax (Milakov and Gimelshein 2018): the sums so far are scaled down whenever a
    /// larger score appears.
    #[inline(always)]
    fn tile<I: Isa, const R: usize>(&self, isa: I, row: usize) {
        let mut scores = [[0.0; POSITIONS]; R];
        let (mut max, mut sum) = ([f32::NEG_INFINITY; R], [0.0; R]);
        let mut outs: [&mut [f32]; R] = std::array::from_fn(|r| {
            // SAFETY: the result of a row belongs to the one task that has the row, and here to one
            // slice.
            unsafe { self.out.slice(self.place(row + r), self.shape.head_dim) }
        });
        for out in &mut outs {
            out.fill(0.0);
        }
        let mut q = [&[][..]; R];
        for (r, q) in q.iter_mut().enumerate() {
            *q = &self.q[self.place(row + r)..][..self.shape.head_dim];
        }
        let end = self.seen(row + R - 1);
        for first in (0..end).step_by(POSITIONS) {
            let count = POSITIONS.min(end - first);
            for block in (0..count).step_by(KEY_BLOCK) {
                let (head, position, scale) = (self.kv_head, first + block, self.shape.scale);
                self.cache.score(isa, &Block { head, position, q, scale, at: block }, &mut scores);
            }
            for r in 0..R {
                let (seen, unseen) =
                    scores[r][..count].split_at_mut(count.min(self.seen(row + r).saturating_sub(first)));
                unseen.fill(0.0);
                let larger = max[r].max(largest(isa, seen));
                let kept = (max[r] - larger).exp();
                sum[r] = sum[r] * kept + exp_from(isa, larger, seen);
                max[r] = larger;
                scale(isa, kept, outs[r]);
            }
            self.cache.add_values(isa, self.kv_head, (first, count), &scores, &mut outs);
        }
        for (out, sum) in outs.iter_mut().zip(sum) {
            scale(isa, 1.0 / sum, out);
        }
    }
}

impl<E: KvElement> KeyValues for KvCache<E> {
    fn capacity(&self) -> usize {
        self.capacity()
    }

    fn is_for(&self, shape: &AttentionShape) -> bool {
        self.is_for(shape.kv_heads, shape.head_dim)
    }

    fn load(&self, head: usize, position: usize, key: &mut [f32], value: &mut [f32]) {
        self.load(head, position, key, value);
    }
}

impl<E: KvElement> Tiles for KvCache<E> {
    #[inline(always)]
    fn score<I: Isa, const R: usize>(&self, isa: I, block: &Block<R>, scores: &mut Scores<R>) {
        let keys = self.key_block(block.head, block.position);
        for lane in (0..KEY_BLOCK).step_by(I::LANES) {
            let mut sums = [isa.zero(); R];
            for (i, keys) in keys.chunks_exact(KEY_BLOCK).enumerate().take(block.q[0].len()) {
                let keys = E::load(isa, &keys[lane..]);
                for (sum, q) in sums.iter_mut().zip(&block.q) {
                    *sum = isa.mul_add(isa.splat(q[i]), keys, *sum);
                }
            }
            for (scores, sum) in scores.iter_mut().zip(sums) {
                isa.store(isa.mul(sum, isa.splat(block.scale)), &mut scores[block.at + lane..]);
            }
        }
    }

    #[inline(always)]
    fn add_values<I: Isa, const R: usize>(
        &self,
        isa: I,
        head: usize,
        (first, count): (usize, usize),
        weights: &Scores<R>,
        outs: &mut [&mut [f32]; R],
    ) {
        let d = outs[0].len();
        let values = self.values(head, first, count);
        let mut at = 0;
        while at + 2 * I::LANES <= d {
            add_columns::<I, E, R, 2>(isa, at, values, weights, outs);
            at += 2 * I::LANES;
        }
        while at + I::LANES <= d {
            add_columns::<I, E, R, 1>(isa, at, values, weights, outs);
            at += I::LANES;
        }
        for (out, weights) in outs.iter_mut().zip(weights) {
            for (column, out) in out.iter_mut().enumerate().skip(at) {
                for (weight, values) in weights.iter().zip(values.chunks_exact(d)) {
                    *out += weight * values[column].to_f32();
                }
            }
        }
    }
}

/// Adds V vectors of columns from `at` on.
#[inline(always)]
fn add_columns<I: Isa, E: KvElement, const R: usize, const V: usize>(
    isa: I,
    at: usize,
    values: &[E],
    weights: &Scores<R>,
    outs: &mut [&mut [f32]; R],
) {
    let mut sums = [[isa.zero(); V]; R];
    for (position, values) in values.chunks_exact(outs[0].len()).enumerate().take(POSITIONS) {
        let mut vectors = [isa.zero(); V];
        for (v, vector) in vectors.iter_mut().enumerate() {
            *vector = E::load(isa, &values[at + v * I::LANES..]);
        }
        for (sums, weights) in sums.iter_mut().zip(weights) {
            let weight = isa.splat(weights[position]);
            for (sum, vector) in sums.iter_mut().zip(vectors) {
                *sum = isa.mul_add(weight, vector, *sum);
            }
        }
    }
    for (out, sums) in outs.iter_mut().zip(sums) {
        for (v, sum) in sums.into_iter().enumerate() {
            let out = &mut out[at + v * I::LANES..];
            isa.store(isa.add(isa.load(out), sum), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KvCache8;
    use half::f16;

    fn noise(len: usize, seed: f32) -> Vec<f32> {
        (0..len).map(|i| ((i as f32 + 1.0) * seed).sin()).collect()
    }

    fn stored(shape: &AttentionShape, positions: usize) -> [Vec<f32>; 2] {
        let len = positions * shape.kv_heads * shape.head_dim;
        [noise(len, 1.7), noise(len, 0.9)]
    }

    fn filled<E: KvElement>(shape: &AttentionShape, positions: usize) -> KvCache<E> {
        let mut cache = KvCache::new(shape.kv_heads, shape.head_dim, positions);
        let [keys, values] = stored(shape, positions);
        cache.store(0, &keys, &values);
        cache
    }

    fn filled8(shape: &AttentionShape, positions: usize) -> KvCache8 {
        let mut cache = KvCache8::new(shape.kv_heads, shape.head_dim, positions);
        let [keys, values] = stored(shape, positions);
        cache.store(0, &keys, &values);
        cache
    }

    fn assert_attends(pool: &Pool, simd: Simd, shape: &AttentionShape, cache: &impl KeyValues, start: usize, n: usize) {
        let q: Vec<f32> = noise(n * shape.heads * shape.head_dim, 0.37).iter().map(|q| q * 3.0).collect();
        let (mut out, mut expected) = (vec![f32::NAN; q.len()], vec![f32::NAN; q.len()]);
        attention(pool, simd, shape, &q, cache, start, &mut out);
        reference::attention(shape, &q, cache, start, &mut expected);
        for (i, (y, e)) in out.iter().zip(&expected).enumerate() {
            // A score of some thousand has an error of some ten-thousandths.
            assert!(
                (y - e).abs() < 2e-6_f32.max(1e-5 * shape.scale),
                "{} {shape:?} {start}+{n} value {i}: {y} is not {e}",
                simd.name()
            );
        }
    }

    #[test]
    fn every_variant_follows_the_definition() {
        let pool = Pool::new(3);
        for simd in Simd::available() {
            for (heads, kv_heads, head_dim) in [(14, 2, 64), (9, 3, 64), (4, 4, 20), (8, 1, 37), (2, 1, 128)] {
                for causal in [true, false] {
                    let scale = 1.0 / (head_dim as f32).sqrt();
                    let shape = AttentionShape { heads, kv_heads, head_dim, scale, causal };
                    for (start, n) in [(0, 1), (1, 1), (15, 2), (31, 1), (127, 3), (128, 1), (255, 2), (0, 33)] {
                        let end = start + n;
                        assert_attends(&pool, simd, &shape, &filled::<f16>(&shape, end), start, n);
                        assert_attends(&pool, simd, &shape, &filled::<f32>(&shape, end), start, n);
                        assert_attends(&pool, simd, &shape, &filled8(&shape, end), start, n);
                    }
                }
            }
        }
    }

    #[test]
    fn one_pass_equals_steps() {
        let shape = AttentionShape { heads: 6, kv_heads: 2, head_dim: 32, scale: 0.2, causal: true };
        assert_steps(&shape, &filled::<f16>(&shape, 150));
        assert_steps(&shape, &filled8(&shape, 150));
    }

    fn assert_steps(shape: &AttentionShape, cache: &impl KeyValues) {
        let (pool, simd, token) = (Pool::new(2), Simd::detect(), 6 * 32);
        let q = noise(150 * token, 0.31);
        let (mut whole, mut step) = (vec![0.0; q.len()], vec![0.0; token]);
        attention(&pool, simd, shape, &q, cache, 0, &mut whole);
        for t in 0..150 {
            attention(&pool, simd, shape, &q[t * token..][..token], cache, t, &mut step);
            for (i, (a, b)) in step.iter().zip(&whole[t * token..]).enumerate() {
                assert!((a - b).abs() < 1e-6, "token {t} value {i}: {a} is not {b}");
            }
        }
    }

    #[test]
    fn more_threads_change_nothing() {
        let shape = AttentionShape { heads: 6, kv_heads: 2, head_dim: 32, scale: 0.2, causal: true };
        let (cache, cache8, q) = (filled::<f16>(&shape, 140), filled8(&shape, 140), noise(40 * 6 * 32, 0.31));
        let both = |threads| {
            let (pool, mut out, mut out8) = (Pool::new(threads), vec![0.0; q.len()], vec![0.0; q.len()]);
            attention(&pool, Simd::detect(), &shape, &q, &cache, 100, &mut out);
            attention(&pool, Simd::detect(), &shape, &q, &cache8, 100, &mut out8);
            (out, out8)
        };
        let alone = both(1);
        assert!([2, 5].into_iter().all(|threads| both(threads) == alone));
    }

    /// A weight of 0 for a masked token times infinity would be NaN.
    #[test]
    fn what_is_too_large_for_halves_does_not_reach_the_tokens_before_it() {
        let shape = AttentionShape { heads: 4, kv_heads: 2, head_dim: 32, scale: 0.2, causal: true };
        let [keys, mut values] = stored(&shape, 20);
        let (token, q) = (2 * 32, noise(20 * 4 * 32, 0.31));
        values[19 * token..][..3].copy_from_slice(&[1e9, -1e9, f32::INFINITY]);
        let (mut cache, mut cache8) = (KvCache::<f16>::new(2, 32, 20), KvCache8::new(2, 32, 20));
        cache.store(0, &keys, &values);
        cache8.store(0, &keys, &values);
        for simd in Simd::available() {
            let (mut out, mut out8) = (vec![0.0; q.len()], vec![0.0; q.len()]);
            attention(&Pool::new(1), simd, &shape, &q, &cache, 0, &mut out);
            attention(&Pool::new(1), simd, &shape, &q, &cache8, 0, &mut out8);
            assert!(out.iter().chain(&out8).all(|value| value.is_finite()), "{}", simd.name());
            let seen = |out: &[f32]| out[..19 * 4 * 32].iter().all(|value| value.abs() <= 1.1);
            assert!(seen(&out) && seen(&out8), "{}", simd.name());
        }
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let shape = AttentionShape { heads: 1, kv_heads: 1, head_dim: 16, scale: 100.0, causal: true };
        for simd in Simd::available() {
            assert_attends(&Pool::new(1), simd, &shape, &filled::<f32>(&shape, 300), 299, 1);
        }
    }
}
