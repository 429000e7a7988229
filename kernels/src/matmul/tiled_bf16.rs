//! Products of many tokens and weights of bf16, on a processor that multiplies tiles of them.
//!
//! Error of a product, with u = 2⁻²⁴: that of its f32 sums is at most (32 + ⌈columns / 512⌉) u Σ
//! |w| |x| except for terms of u², over many columns about half of the bound for vectors of sixteen
//! lanes. It consists of 15 roundings in a chain of sixteen, one where two chains are added, 15
//! where sixteen of these are, one where low parts are added to the high ones, and one for each 512
//! columns; the low parts' own sums are rounded up to 47 times, but are below 2⁻⁷ of the whole.
//! Activations are exact ([`super::parts`]), so only the values that tiles treat as zero add to it:
//! weights below 2⁻¹²⁶, with at most 2⁻¹²⁶ |x| for each, and 2⁻¹⁹⁰ (|w| + 4) max |x|, or the
//! smallest number of f32 if that is greater.
//!
//! A sum that is not finite is computed again without tiles: a part of an infinite value may be
//! NaN, and a large weight may overflow with scaled activations.

use super::matvec::MatVec;
use super::parts::Parts;
use crate::Matrix;
use crate::isa::{Isa, Kernel};
use crate::pool::SharedMut;
use crate::tiles::TILE;
use crate::tiles::bf16::{Bf16Sums, Bf16Tiles, ROWS, STEP, WeightStep};

/// Number of steps of columns whose sums stay in tiles: 512 columns, of which 32 rows fill 32 KiB
/// of the first-level cache.
const CHUNK: usize = 16;
/// Number of tiles of tokens per load of weights: 128 tokens, whose totals are 16 KiB.
const BLOCK: usize = 8;
/// Largest number of rows of weights in a call.
pub(crate) const PIECE: usize = ROWS;

type Totals = [[f32; TILE]; ROWS];

/// y`[n, rows of the whole]` = x`[n, cols]` · Wᵀ, for the rows that `w` holds: at most [`PIECE`],
/// of bf16.
pub(crate) struct TiledBf16<'a, 'y> {
    pub tiles: Bf16Tiles,
    pub w: Matrix<'a>,
    pub x: &'a [f32],
    /// Parts of `x`.
    pub parts: &'a Parts,
    /// Whole result, `[n, stride]`; this call writes columns `first_row..first_row + w.rows()`.
    pub y: &'a SharedMut<'y, f32>,
    pub stride: usize,
    pub first_row: usize,
}

impl Kernel for TiledBf16<'_, '_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let session = self.tiles.begin();
        let tiles = (self.x.len() / self.w.cols()).div_ceil(TILE);
        let (mut weights, mut sums) = ([const { WeightStep::ZERO }; CHUNK], Bf16Sums::ZERO);
        for first in (0..tiles).step_by(BLOCK) {
            let mut totals = [[[0.0; TILE]; ROWS]; BLOCK];
            let totals = &mut totals[..BLOCK.min(tiles - first)];
            for start in (0..self.parts.steps()).step_by(CHUNK) {
                let steps = CHUNK.min(self.parts.steps() - start);
                self.bring(start, &mut weights[..steps]);
                for (tile, totals) in totals.iter_mut().enumerate() {
                    let x = &self.parts.tile(first + tile)[start..][..steps];
                    session.multiply(&weights[..steps], x, &mut sums);
                    add(isa, &sums, totals);
                }
            }
            for (tile, totals) in totals.iter().enumerate() {
                self.put(isa, (first + tile) * TILE, totals);
            }
        }
    }
}

impl TiledBf16<'_, '_> {
    /// Copies some steps of weights next to each other: in the matrix they are often multiples of 4
    /// KiB apart, and would share the same lines of the cache. Fills columns beyond the last with
    /// zeros; never changes rows beyond the last.
    #[inline(always)]
    fn bring(&self, start: usize, to: &mut [WeightStep]) {
        for r in 0..self.w.rows() {
            let (whole, rest) = self.w.row(r)[start * 2 * STEP..].as_chunks();
            for (to, from) in to.iter_mut().zip(whole) {
                to.0[r] = *from;
            }
            if let Some(to) = to.get_mut(whole.len()) {
                to.0[r] = [0; 2 * STEP];
                to.0[r][..rest.len()].copy_from_slice(rest);
            }
        }
    }

    /// Writes the totals of sixteen tokens, as far as they exist.
    #[inline(always)]
    fn put<I: Isa>(&self, isa: I, first: usize, totals: &Totals) {
        let x = self.x.chunks_exact(self.w.cols()).enumerate().skip(first).take(TILE);
        for (token, x) in x {
            let scale = self.parts.scale(token);
            // SAFETY: rows `first_row..first_row + w.rows()` of every token belong to this call
            // alone.
            let y = unsafe { self.y.slice(token * self.stride + self.first_row, self.w.rows()) };
            for ((r, y), totals) in y.iter_mut().enumerate().zip(totals) {
                *y = totals[token - first] * scale;
                if !y.is_finite() {
                    MatVec { w: self.w.slice_rows(r, 1), x, y: std::slice::from_mut(y) }.run(isa);
                }
            }
        }
    }
}

/// Adds the sums of some steps.
#[inline(always)]
fn add<I: Isa>(isa: I, sums: &Bf16Sums, totals: &mut Totals) {
    let parts = sums.high.as_flattened().chunks_exact(I::LANES).zip(sums.low.as_flattened().chunks_exact(I::LANES));
    for (totals, (high, low)) in totals.as_flattened_mut().chunks_exact_mut(I::LANES).zip(parts) {
        let sum = isa.add(isa.load(high), isa.load(low));
        isa.store(isa.add(isa.load(totals), sum), totals);
    }
}

#[cfg(test)]
mod tests {
    use crate::matmul::{Scratch, matmul};
    use crate::{BlockType, Matrix, Pool, Simd};
    use half::bf16;

    /// Deterministic numbers in ±[2^least, 2^(least + span)), uniform in their exponent.
    fn spread(len: usize, seed: u32, least: i32, span: i32) -> Vec<f32> {
        let numbers = (0..len as u32).map(|i| {
            let bits = (i ^ seed << 20).wrapping_mul(0x9e37_79b9) ^ (i.wrapping_mul(0x85eb_ca6b) >> 11);
            let size =
                2f64.powi(least + (bits >> 4 & 0xffff) as i32 % span) * (1.0 + f64::from(bits >> 8) / 2f64.powi(24));
            (if bits & 1 == 0 { size } else { -size }) as f32
        });
        numbers.collect()
    }

    /// Error bound that the module documentation states for a product.
    fn allowed(w: &[f32], x: &[f32]) -> f64 {
        let (unit, least) = (2f64.powi(-24), 2f64.powi(-126));
        let most = x.iter().fold(0.0, |most: f64, x| most.max(f64::from(x.abs())));
        let lost = |w: f64, x: f64| if w.abs() < least { least * x.abs() } else { 0.0 };
        let terms = w.iter().zip(x).map(|(w, x)| (f64::from(*w), f64::from(*x)));
        let sums = (33 + w.len().div_ceil(512)) as f64 * unit;
        terms.map(|(w, x)| sums * (w * x).abs() + lost(w, x) + 2f64.powi(-190) * (w.abs() + 4.0) * most).sum::<f64>()
            + f64::from(f32::from_bits(1))
    }

    fn assert_close(simd: Simd, (rows, cols, n): (usize, usize, usize), w: &[f32], x: &[f32]) {
        let (bytes, w) = as_bf16(w);
        let matrix = Matrix::new(BlockType::BF16, rows, cols, &bytes).unwrap();
        let mut y = vec![f32::NAN; n * rows];
        matmul(&Pool::new(2), simd, &matrix, x, n, &mut y, &mut Scratch::default());
        for (i, y) in y.into_iter().enumerate() {
            let (w, x) = (&w[i % rows * cols..][..cols], &x[i / rows * cols..][..cols]);
            let expected: f64 = w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
            let (off, most) = ((f64::from(y) - expected).abs(), allowed(w, x));
            let at = format!("{} {rows}x{cols} n={n}, place {i}", simd.name());
            assert!(off <= most, "{at}: {y:e} is not {expected:e}, off by {off:e} of {most:e}");
        }
    }

    fn as_bf16(values: &[f32]) -> (Vec<u8>, Vec<f32>) {
        let values: Vec<bf16> = values.iter().map(|value| bf16::from_f32(*value)).collect();
        (
            values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            values.iter().map(|value| value.to_f32()).collect(),
        )
    }

    fn tiled() -> impl Iterator<Item = Simd> {
        Simd::with_and_without_tiles().into_iter().filter(|simd| simd.bf16_tiles().is_some())
    }

    #[test]
    fn odd_shapes() {
        for simd in tiled() {
            for rows in [1, 16, 31, 33, 65] {
                for (cols, n) in [(1, 2), (31, 15), (32, 16), (33, 17), (511, 3), (513, 130), (1100, 33)] {
                    assert_close(simd, (rows, cols, n), &spread(rows * cols, 1, -6, 8), &spread(n * cols, 2, -6, 8));
                }
            }
        }
    }

    #[test]
    fn numbers_of_every_size_are_within_the_bound() {
        let (rows, cols, n) = (5, 600, 6);
        // Exponents of weights, then of activations: ordinary ones, both ends of the range of f32,
        // all sizes at once, and those that overflow once activations are scaled up.
        let cases = [
            ((-10, 12), (-10, 20)),
            ((-10, 12), (-149, 12)),
            ((-10, 12), (-149, 260)),
            ((-10, 10), (105, 12)),
            ((-133, 8), (-20, 30)),
            ((-133, 8), (100, 25)),
            ((-133, 240), (-126, 20)),
            ((60, 60), (-120, 40)),
            ((-60, 60), (-140, 180)),
        ];
        for simd in tiled() {
            for ((w, w_span), (x, x_span)) in cases {
                let (w, x) = (spread(rows * cols, 3, w, w_span), spread(n * cols, 4, x, x_span));
                assert_close(simd, (rows, cols, n), &w, &x);
            }
            // Sums that cancel except for a small rest, and only zeros.
            let mut x = spread(n * cols, 5, -20, 40);
            let mut w = spread(rows * cols, 6, -8, 8);
            w.as_chunks_mut::<2>().0.iter_mut().for_each(|pair| pair[1] = pair[0]);
            x.as_chunks_mut::<2>().0.iter_mut().for_each(|pair| pair[1] = -pair[0] * (1.0 + f32::EPSILON));
            assert_close(simd, (rows, cols, n), &w, &x);
            assert_close(simd, (rows, cols, n), &vec![0.0; rows * cols], &x);
            assert_close(simd, (rows, cols, n), &w, &vec![-0.0; n * cols]);
        }
    }

    /// Non-finite numbers on either side give the same results as without tiles.
    #[test]
    fn what_is_not_finite_is_as_without_tiles() {
        let (rows, cols, n) = (3, 70, 4);
        let (infinite, tiny) = (f32::INFINITY, 2f32.powi(-130));
        let bad =
            [(0.0, infinite), (tiny, infinite), (1.0, -infinite), (infinite, tiny), (-infinite, 1.0), (infinite, 0.0)];
        let undefined = [(f32::NAN, 1.0), (0.5, f32::NAN), (0.5, f32::from_bits(0x7f80_0001)), (infinite, infinite)];
        let plain = Simd::named("portable").unwrap();
        for simd in tiled() {
            for (bad_w, bad_x) in bad.into_iter().chain(undefined) {
                let (mut w, mut x) = (spread(rows * cols, 7, -3, 4), spread(n * cols, 8, -3, 4));
                (w[cols + 9], x[2 * cols + 9]) = (bad_w, bad_x);
                let (bytes, _) = as_bf16(&w);
                let matrix = Matrix::new(BlockType::BF16, rows, cols, &bytes).unwrap();
                let product = |simd| {
                    let mut y = vec![0.0; n * rows];
                    matmul(&Pool::new(1), simd, &matrix, &x, n, &mut y, &mut Scratch::default());
                    y
                };
                for (i, (y, plain)) in product(simd).into_iter().zip(product(plain)).enumerate() {
                    let same =
                        if plain.is_finite() { y.is_finite() } else { y == plain || y.is_nan() && plain.is_nan() };
                    assert!(same, "{} {bad_w} * {bad_x}, place {i}: {y} is not {plain}", simd.name());
                }
            }
        }
    }

    /// A token's products are bit-identical for any other tokens, if there are any.
    #[test]
    fn neighbours_change_no_bit() {
        let (rows, cols, n) = (40, 700, 150);
        let (bytes, _) = as_bf16(&spread(rows * cols, 9, -8, 9));
        let matrix = Matrix::new(BlockType::BF16, rows, cols, &bytes).unwrap();
        let x = spread(n * cols, 10, -8, 12);
        let (simd, mut scratch) = (tiled().last().unwrap(), Scratch::default());
        let mut product = |threads, x: &[f32]| {
            let mut y = vec![0.0; x.len() / cols * rows];
            matmul(&Pool::new(threads), simd, &matrix, x, x.len() / cols, &mut y, &mut scratch);
            y
        };
        let pairs: Vec<f32> = x.chunks(2 * cols).flat_map(|x| product(1, x)).collect();
        assert_eq!(product(3, &x), pairs);
    }
}
