//! Operations that pass over vectors once or twice.

use crate::isa::{Isa, Kernel, exp, sigmoid, silu};
use crate::{Simd, reference};

/// Allocates `len` zeros in mapped memory. `vec![0.0; len]` is mapped only at first access: in the
/// middle of an answer, and after the bytes were counted.
pub fn zeros(len: usize) -> Vec<f32> {
    let mut zeros = std::hint::black_box(Vec::with_capacity(len));
    zeros.resize(len, 0.0);
    zeros
}

/// Number of values summed in f32 lanes before they are added up in f64.
const STRETCH: usize = 1024;

/// y`[n, dim]` = x / sqrt(mean(x²) + eps) · weight, row by row; weight`[dim]`. Panics if the
/// lengths disagree.
pub fn rms_norm(simd: Simd, x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    assert!(x.len() == y.len() && x.len().is_multiple_of(weight.len().max(1)), "x and y are [n, {}]", weight.len());
    match simd.is_reference() {
        _ if weight.is_empty() => {}
        true => reference::rms_norm(x, weight, eps, y),
        false => simd.run(RmsNorm { x, weight, eps, y }),
    }
}

/// y *= gate / (1 + exp(-gate)), value by value. Panics if the lengths disagree.
pub fn silu_mul(simd: Simd, gate: &[f32], y: &mut [f32]) {
    assert_eq!(gate.len(), y.len(), "gate and y have one length");
    match simd.is_reference() {
        true => reference::silu_mul(gate, y),
        false => simd.run(SiluMul { gate, y }),
    }
}

/// y *= 1 / (1 + exp(-gate)), value by value. Panics if the lengths disagree.
pub fn sigmoid_mul(simd: Simd, gate: &[f32], y: &mut [f32]) {
    assert_eq!(gate.len(), y.len(), "gate and y have one length");
    match simd.is_reference() {
        true => reference::sigmoid_mul(gate, y),
        false => simd.run(SigmoidMul { gate, y }),
    }
}

/// y += x, value by value. Panics if the lengths disagree.
pub fn add(simd: Simd, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "x and y have one length");
    match simd.is_reference() {
        true => reference::add(x, y),
        false => simd.run(Add { x, y }),
    }
}

/// Maps two slices in whole vectors, with their tails padded by zeros: `$body` reads `$a` and `$b`
/// as vectors and gives one, which is stored to `$to`. (A macro, because a closure cannot be forced
/// to inline.)
macro_rules! map_vectors {
    ($isa:ident, $a:ident = $from_a:expr, $b:ident = $from_b:expr, $to:expr => $body:expr) => {{
        let (from_a, from_b, to): (&[f32], &[f32], &mut [f32]) = ($from_a, $from_b, $to);
        let (mut vectors_a, mut vectors_b) = (from_a.chunks_exact(I::LANES), from_b.chunks_exact(I::LANES));
        let mut vectors = to.chunks_exact_mut(I::LANES);
        for ((a, b), to) in (&mut vectors_a).zip(&mut vectors_b).zip(&mut vectors) {
            let ($a, $b) = ($isa.load(a), $isa.load(b));
            $isa.store($body, to);
        }
        let rest = vectors.into_remainder();
        if !rest.is_empty() {
            let ($a, $b) =
                ($isa.load(&padded(vectors_a.remainder(), 0.0)), $isa.load(&padded(vectors_b.remainder(), 0.0)));
            let mut last = [0.0; 16];
            $isa.store($body, &mut last);
            rest.copy_from_slice(&last[..rest.len()]);
        }
    }};
}

pub(crate) use map_vectors;

/// Multiplies `$to` value by value with `$body` of the slice `$from`, which it reads as vectors
/// `$a`.
macro_rules! multiply_vectors {
    ($isa:ident, $to:expr, $a:ident = $from:expr => $body:expr) => {{
        let (from, to): (&[f32], &mut [f32]) = ($from, $to);
        let (mut vectors_a, mut vectors) = (from.chunks_exact(I::LANES), to.chunks_exact_mut(I::LANES));
        for (a, to) in (&mut vectors_a).zip(&mut vectors) {
            let $a = $isa.load(a);
            $isa.store($isa.mul($isa.load(to), $body), to);
        }
        let $a = $isa.load(&padded(vectors_a.remainder(), 0.0));
        let mut last = [0.0; 16];
        $isa.store($body, &mut last);
        for (to, factor) in vectors.into_remainder().iter_mut().zip(last) {
            *to *= factor;
        }
    }};
}

/// Pads `tail` with `filling` to a vector of any variant.
#[inline(always)]
pub(crate) fn padded(tail: &[f32], filling: f32) -> [f32; 16] {
    let mut vector = [filling; 16];
    vector[..tail.len()].copy_from_slice(tail);
    vector
}

struct RmsNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    y: &'a mut [f32],
}

impl Kernel for RmsNorm<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let dim = self.weight.len();
        for (x, y) in self.x.chunks_exact(dim).zip(self.y.chunks_exact_mut(dim)) {
            norm_row(isa, x, self.weight, self.eps, y);
        }
    }
}

/// y = x / sqrt(mean(x²) + eps) · weight
#[inline(always)]
pub(crate) fn norm_row<I: Isa>(isa: I, x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    let mean = sum_of_squares(isa, x) / x.len() as f64;
    let scale = isa.splat((1.0 / (mean + f64::from(eps)).sqrt()) as f32);
    map_vectors!(isa, x = x, w = weight, y => isa.mul(isa.mul(x, scale), w));
}

/// x = x · by
#[inline(always)]
pub(crate) fn scale<I: Isa>(isa: I, by: f32, x: &mut [f32]) {
    let mut vectors = x.chunks_exact_mut(I::LANES);
    for x in &mut vectors {
        isa.store(isa.mul(isa.load(x), isa.splat(by)), x);
    }
    for x in vectors.into_remainder() {
        *x *= by;
    }
}

#[inline(always)]
pub(crate) fn sum_of_squares<I: Isa>(isa: I, x: &[f32]) -> f64 {
    let mut total = 0.0;
    for x in x.chunks(STRETCH) {
        let mut sum = isa.zero();
        let mut vectors = x.chunks_exact(I::LANES);
        for x in &mut vectors {
            let x = isa.load(x);
            sum = isa.mul_add(x, x, sum);
        }
        let x = isa.load(&padded(vectors.remainder(), 0.0));
        total += f64::from(isa.sum(isa.mul_add(x, x, sum)));
    }
    total
}

/// x = exp(x - max); returns the sum of the results.
#[inline(always)]
pub(crate) fn exp_from<I: Isa>(isa: I, max: f32, x: &mut [f32]) -> f32 {
    let (max, mut sum) = (isa.splat(max), isa.zero());
    let mut vectors = x.chunks_exact_mut(I::LANES);
    for x in &mut vectors {
        let e = exp(isa, isa.sub(isa.load(x), max));
        sum = isa.add(sum, e);
        isa.store(e, x);
    }
    let rest = vectors.into_remainder();
    if !rest.is_empty() {
        let mut last = padded(rest, f32::NEG_INFINITY);
        let e = exp(isa, isa.sub(isa.load(&last), max));
        sum = isa.add(sum, e);
        isa.store(e, &mut last);
        rest.copy_from_slice(&last[..rest.len()]);
    }
    isa.sum(sum)
}

/// Returns the largest of some values; ignores NaN, and returns -∞ for no values.
#[inline(always)]
pub(crate) fn largest<I: Isa>(isa: I, x: &[f32]) -> f32 {
    let mut most = isa.splat(f32::NEG_INFINITY);
    let mut vectors = x.chunks_exact(I::LANES);
    for x in &mut vectors {
        most = isa.max(isa.load(x), most);
    }
    isa.largest(isa.max(isa.load(&padded(vectors.remainder(), f32::NEG_INFINITY)), most))
}

struct SiluMul<'a> {
    gate: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for SiluMul<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        multiply_vectors!(isa, self.y, gate = self.gate => silu(isa, gate));
    }
}

struct SigmoidMul<'a> {
    gate: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for SigmoidMul<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        multiply_vectors!(isa, self.y, gate = self.gate => sigmoid(isa, gate));
    }
}

struct Add<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Add<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let mut vectors = self.y.chunks_exact_mut(I::LANES);
        let mut from = self.x.chunks_exact(I::LANES);
        for (y, x) in (&mut vectors).zip(&mut from) {
            isa.store(isa.add(isa.load(y), isa.load(x)), y);
        }
        for (y, x) in vectors.into_remainder().iter_mut().zip(from.remainder()) {
            *y += x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: [usize; 12] = [0, 1, 7, 8, 15, 16, 31, 32, 33, 255, 257, 3001];

    fn values(len: usize, seed: f32) -> Vec<f32> {
        (0..len).map(|i| ((i as f32 + 1.0) * seed).sin() * 12.0).collect()
    }

    fn assert_close(what: &str, simd: Simd, y: &[f32], expected: &[f32]) {
        for (i, (y, e)) in y.iter().zip(expected).enumerate() {
            let near = (y - e).abs() <= 1e-6 * e.abs() + 1e-30;
            assert!(near, "{what} {} value {i} of {}: {y} is not {e}", simd.name(), expected.len());
        }
    }

    #[test]
    fn every_variant_at_every_length() {
        for simd in Simd::available() {
            for len in LENGTHS {
                let (x, w) = (values(len, 0.7), values(len, 1.3));
                let (mut y, mut expected) = (w.clone(), w.clone());
                add(simd, &x, &mut y);
                reference::add(&x, &mut expected);
                assert_close("add", simd, &y, &expected);
                (y, expected) = (w.clone(), w.clone());
                silu_mul(simd, &x, &mut y);
                reference::silu_mul(&x, &mut expected);
                assert_close("silu_mul", simd, &y, &expected);
                (y, expected) = (w.clone(), w.clone());
                sigmoid_mul(simd, &x, &mut y);
                reference::sigmoid_mul(&x, &mut expected);
                assert_close("sigmoid_mul", simd, &y, &expected);
                rms_norm(simd, &x, &w, 1e-6, &mut y);
                if len > 0 {
                    reference::rms_norm(&x, &w, 1e-6, &mut expected);
                }
                assert_close("rms_norm", simd, &y, &expected);
            }
        }
    }

    #[test]
    fn rows_are_normed_one_by_one() {
        for simd in Simd::available() {
            let (x, w) = (values(3 * 33, 0.3), values(33, 2.1));
            let (mut y, mut expected) = (vec![0.0; 99], vec![0.0; 99]);
            rms_norm(simd, &x, &w, 1e-5, &mut y);
            reference::rms_norm(&x, &w, 1e-5, &mut expected);
            assert_close("rms_norm", simd, &y, &expected);
        }
    }

    #[test]
    fn extremes() {
        for simd in Simd::available() {
            let mut y = [1.0; 4];
            silu_mul(simd, &[-1000.0, 1000.0, -90.0, 0.0], &mut y);
            assert!(y[0].abs() < 1e-30 && y[1] == 1000.0 && y[2].abs() < 1e-30 && y[3] == 0.0, "{} {y:?}", simd.name());
            let mut y = [1.0; 4];
            sigmoid_mul(simd, &[-1000.0, 1000.0, -90.0, 0.0], &mut y);
            assert!(y[0] < 1e-30 && y[1] == 1.0 && y[2] < 1e-30 && y[3] == 0.5, "{} {y:?}", simd.name());
        }
    }
}
