//! Activations split into parts of bf16, for a processor that multiplies tiles of them.
//!
//! Rounded to bf16 an activation would keep 8 of its 24 significant bits. So it is split, not
//! rounded, into three numbers of 8 bits each: x = h + m + l, exactly, with |m| < 2⁻⁷ |x| and |l| <
//! 2⁻¹⁵ |x|, all of the same sign. The tiles treat subnormal numbers as zeros, so each token is
//! first multiplied by the power of two that brings its largest value to [2⁶⁴, 2⁶⁵), or by 2¹²⁶ if
//! that is less: far from both ends of the range of f32. The remaining loss of an activation is
//! below 2⁻¹²⁶, which is 2⁻¹⁹⁰ of the token's largest, or 2⁻²⁵². A value that is not finite stays
//! so in some part.

use crate::isa::{Isa, Kernel};
use crate::pool::SharedMut;
use crate::tiles::TILE;
use crate::tiles::bf16::{PAIRS, PARTS, STEP, TokenStep};
use crate::{Pool, Simd};

/// Exponent of the largest value of a token after scaling.
const LIFT: i32 = 64;
/// Largest exponent of a factor whose inverse is not subnormal.
const MOST_LIFT: i32 = 126;
const BIAS: i32 = 127;

/// Activations x`[tokens, cols]` split into parts.
#[derive(Default)]
pub(crate) struct Parts {
    /// Whether they belong to the x that is being multiplied.
    fresh: bool,
    steps: usize,
    /// Steps of each tile, `[tile][step]`. Surplus tokens of a last tile hold arbitrary values: no
    /// token affects the sums of another.
    data: Vec<TokenStep>,
    /// Factors for the sums of each token.
    scales: Vec<f32>,
}

impl Parts {
    /// Splits x`[n, cols]`, unless that was done since [`Parts::clear`].
    pub fn take(&mut self, pool: &Pool, simd: Simd, x: &[f32], cols: usize) {
        if std::mem::replace(&mut self.fresh, true) {
            return;
        }
        let (tiles, steps) = ((x.len() / cols).div_ceil(TILE), cols.div_ceil(STEP));
        self.steps = steps;
        if self.data.len() < tiles * steps {
            self.data.resize(tiles * steps, TokenStep::ZERO);
        }
        self.scales.resize(self.scales.len().max(tiles * TILE), 0.0);
        let (data, scales) = (SharedMut::new(&mut self.data), SharedMut::new(&mut self.scales));
        pool.run(tiles, |tile, _| {
            // SAFETY: each tile is given to one task.
            let (data, scales) = unsafe { (data.slice(tile * steps, steps), scales.slice(tile * TILE, TILE)) };
            let x = &x[tile * TILE * cols..];
            simd.run(Take { x: &x[..x.len().min(TILE * cols)], cols, data, scales });
        });
    }

    /// Marks them as belonging to no activations.
    pub fn clear(&mut self) {
        self.fresh = false;
    }

    /// Returns the steps of a tile of tokens.
    pub fn tile(&self, tile: usize) -> &[TokenStep] {
        &self.data[tile * self.steps..][..self.steps]
    }

    pub fn steps(&self) -> usize {
        self.steps
    }

    pub fn scale(&self, token: usize) -> f32 {
        self.scales[token]
    }
}

/// Splitting of one tile.
struct Take<'a> {
    x: &'a [f32],
    cols: usize,
    data: &'a mut [TokenStep],
    scales: &'a mut [f32],
}

impl Kernel for Take<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) {
        for (t, (x, scale)) in self.x.chunks_exact(self.cols).zip(self.scales).enumerate() {
            let exponent = lift(x);
            *scale = power_of_two(-exponent);
            let (whole, rest) = x.as_chunks::<STEP>();
            let mut last = [0.0; STEP];
            last[..rest.len()].copy_from_slice(rest);
            for (step, x) in self.data.iter_mut().zip(whole.iter().chain([&last])) {
                put(x, power_of_two(exponent), t, step);
            }
        }
    }
}

/// Exponent of the power of two that a token is multiplied by: from -64 to 126.
#[inline(always)]
fn lift(x: &[f32]) -> i32 {
    // Compared as integers, so that non-finite values are the largest.
    let most = x.iter().fold(0, |most, x| (x.to_bits() & 0x7fff_ffff).max(most));
    (LIFT + BIAS - (most >> 23) as i32).min(MOST_LIFT)
}

/// Computes 2ⁿ for n from -126 to 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + BIAS) as u32) << 23)
}

/// Writes `factor * x` in parts as token `t` of a step.
#[inline(always)]
fn put(x: &[f32; STEP], factor: f32, t: usize, step: &mut TokenStep) {
    let mut rest = [0.0; STEP];
    for (rest, x) in rest.iter_mut().zip(x) {
        *rest = factor * x;
    }
    for part in &mut step.0[..PARTS] {
        let mut pairs = [0; PAIRS];
        for (pair, rest) in pairs.iter_mut().zip(rest.as_chunks_mut::<2>().0) {
            let [first, second] = [rest[0].to_bits() & 0xffff_0000, rest[1].to_bits() & 0xffff_0000];
            *pair = first >> 16 | second;
            *rest = [rest[0] - f32::from_bits(first), rest[1] - f32::from_bits(second)];
        }
        for (tokens, pair) in part.iter_mut().zip(pairs) {
            tokens[t] = pair;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums the parts of value `col` of token `t`.
    fn sum(parts: &Parts, t: usize, col: usize) -> f64 {
        let step = &parts.tile(t / TILE)[col / STEP];
        let halves = step.0.map(|part| part[col % STEP / 2][t % TILE] >> (16 * (col % 2)) << 16);
        halves.into_iter().map(|bits| f64::from(f32::from_bits(bits))).sum::<f64>() * f64::from(parts.scale(t))
    }

    #[test]
    fn parts_make_the_whole() {
        let pool = Pool::new(2);
        for cols in [1, 31, 32, 33, 70] {
            // From the smallest subnormal number to the largest of all, in tokens of similar
            // magnitudes and in one of all magnitudes.
            let any = |i: u32| f32::from_bits(i.wrapping_mul(0x9e37_79b9));
            let value = |t: u32, col: u32| match t {
                0 => f32::MAX,
                1 => -f32::from_bits(1),
                2 => 0.0,
                3 => Some(any(col)).filter(|x| x.is_finite()).unwrap_or(f32::MIN),
                _ => f32::from_bits((any(1000 * t + col).to_bits() & 0x807f_ffff) | (t % 18 * 14 + 1) << 23),
            };
            let x: Vec<f32> = (0..37 * cols).map(|i| value((i / cols) as u32, (i % cols) as u32)).collect();
            for simd in Simd::available() {
                let mut parts = Parts::default();
                parts.take(&pool, simd, &x, cols);
                for (i, x) in x.iter().enumerate() {
                    let (t, col) = (i / cols, i % cols);
                    let (off, whole) = ((sum(&parts, t, col) - f64::from(*x)).abs(), f64::from(*x).abs());
                    let most = if t == 3 { 2f64.powi(128 - 190) } else { 0.0 };
                    assert!(off <= most, "{} token {t} of {cols}: {whole:e} is off by {off:e}", simd.name());
                }
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::from_bits(0x7f80_0001)] {
            let mut parts = Parts::default();
            parts.take(&Pool::new(1), Simd::detect(), &[1.0, bad], 2);
            assert!(!sum(&parts, 0, 1).is_finite(), "{bad}");
            assert_eq!(sum(&parts, 0, 0), 1.0);
        }
    }

    #[test]
    fn they_are_kept_until_they_are_cleared() {
        let (pool, simd, mut parts) = (Pool::new(1), Simd::detect(), Parts::default());
        for (x, cleared, expected) in [(3.0, false, 3.0), (5.0, false, 3.0), (7.0, true, 7.0)] {
            if cleared {
                parts.clear();
            }
            parts.take(&pool, simd, &[x], 1);
            assert_eq!(sum(&parts, 0, 0), expected);
        }
    }
}
