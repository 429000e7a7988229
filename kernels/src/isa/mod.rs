//! Vector operations of a processor. A kernel is written once, over [`Isa`], and compiled for each
//! variant.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
pub(crate) use portable::Portable;

use half::f16;

/// A kernel that runs on any variant. `run` and everything it calls must be `#[inline(always)]`, so
/// that they are compiled inside [`Isa::enter`], where the instructions of the variant are enabled.
/// A closure cannot be forced to inline: if it stays a function, each operation of [`Isa`] in it
/// becomes a call.
pub trait Kernel {
    type Out;
    fn run<I: Isa>(self, isa: I) -> Self::Out;
}

/// Vector operations of a variant. A value of this type proves that the machine has the
/// instructions, which makes the operations safe.
pub trait Isa: Copy + Send + Sync {
    /// Number of values in a vector of f32; divides 16.
    const LANES: usize;
    /// Number of vector registers.
    const REGISTERS: usize;
    /// Vector of [`Isa::LANES`] values.
    type Floats: Copy;
    /// Vector of [`Isa::LANES`] integers of 32 bits.
    type Ints: Copy;
    /// Vector of [`Isa::LANES`] quads of unsigned bytes.
    type Quads: Copy;
    /// Sums of products of [`Isa::LANES`] quads, in as many parts as the processor computes.
    type QuadSums: Copy;
    /// Number of tokens multiplied by a vector of weights together: as many as have their sums in
    /// registers. A power of two.
    const TOKENS: usize;

    /// Runs `kernel` with the instructions of this variant enabled.
    fn enter<K: Kernel>(self, kernel: K) -> K::Out;

    fn splat(self, value: f32) -> Self::Floats;
    /// Loads the first [`Isa::LANES`] values of `from`, which must have as many.
    fn load(self, from: &[f32]) -> Self::Floats;
    /// Loads [`Isa::LANES`] values at `from`.
    ///
    /// # Safety
    /// The values must be inside one live slice.
    unsafe fn load_at(self, from: *const f32) -> Self::Floats;
    /// Loads values stored as little-endian f32, two or four bytes each, at any alignment.
    fn load_f32(self, from: &[u8]) -> Self::Floats;
    fn load_f16(self, from: &[u8]) -> Self::Floats;
    fn load_bf16(self, from: &[u8]) -> Self::Floats;
    /// Loads the first [`Isa::LANES`] halves of `from`.
    fn load_halves(self, from: &[f16]) -> Self::Floats;
    fn store(self, value: Self::Floats, to: &mut [f32]);
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn sub(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn div(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// Computes `a * b + c`, rounded once if the machine can.
    fn mul_add(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// Returns the larger; `b` if one of them is NaN.
    fn max(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// Returns the smaller; `b` if one of them is NaN.
    fn min(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// Rounds to the nearest integer, ties to even, for values within ±2²²: the limit of the
    /// portable method.
    fn round(self, a: Self::Floats) -> Self::Floats;
    /// Computes 2ⁿ for integers n from -126 to 127.
    fn exp2_whole(self, n: Self::Floats) -> Self::Floats;
    /// Returns `value`, but 0 where `x < limit`.
    fn zero_below(self, value: Self::Floats, x: Self::Floats, limit: f32) -> Self::Floats;
    fn sum(self, a: Self::Floats) -> f32;
    /// Computes the sums of four vectors.
    fn sum4(self, a: [Self::Floats; 4]) -> [f32; 4];
    fn largest(self, a: Self::Floats) -> f32;

    fn f16_to_f32(self, bits: u16) -> f32;
    /// Stores `a` as integers in the first [`Isa::LANES`] of `to`; they must fit 16 bits.
    fn store_rounded(self, a: Self::Floats, to: &mut [i16]);
    fn to_floats(self, a: Self::Ints) -> Self::Floats;
    /// Loads [`Isa::LANES`] unsigned bytes as f32.
    fn load_u8(self, from: &[u8]) -> Self::Floats;
    /// Loads [`Isa::LANES`] signed bytes as f32.
    fn load_i8(self, from: &[u8]) -> Self::Floats;

    /// Loads `4 · LANES` bytes at `from`.
    ///
    /// # Safety
    /// The bytes must be inside one live slice.
    unsafe fn load_quads(self, from: *const u8) -> Self::Quads;
    /// # Safety
    /// `to` must point at `4 · LANES` writable bytes.
    unsafe fn store_quads(self, a: Self::Quads, to: *mut u8);
    /// Computes `(a >> n) & mask` in each byte; `mask` must not select bits that come from the
    /// neighbouring byte (`mask <= 255 >> n`).
    fn quads_right(self, a: Self::Quads, n: u32, mask: u8) -> Self::Quads;
    /// Computes `(a << n) & mask` in each byte; `mask` must not select bits that come from the
    /// neighbouring byte (`mask >= 1 << n`).
    fn quads_left(self, a: Self::Quads, n: u32, mask: u8) -> Self::Quads;
    fn quads_or(self, a: Self::Quads, b: Self::Quads) -> Self::Quads;
    /// Arranges four activations, each at most [`MOST`] in size, for [`Isa::add_quads`].
    #[inline(always)]
    fn quad(self, x: [i16; 4]) -> [i16; 4] {
        [x[0], x[2], x[1], x[3]]
    }
    /// Creates sums that begin with `start` in each lane.
    fn start_quads(self, start: i32) -> Self::QuadSums;
    /// Computes `sums + Σ w · x` over the quad of each lane, with the same quad at `x` for all
    /// lanes, arranged by [`Isa::quad`].
    ///
    /// # Safety
    /// `x` must point at a quad.
    unsafe fn add_quads(self, w: Self::Quads, x: *const i16, sums: Self::QuadSums) -> Self::QuadSums;
    /// Adds the sums of both.
    fn join_quads(self, a: Self::QuadSums, b: Self::QuadSums) -> Self::QuadSums;
    fn sum_quads(self, sums: Self::QuadSums) -> Self::Ints;
    /// Computes `start + 256 · high + low`, of the first [`Isa::LANES`] of each.
    fn sum_bytes(self, high: &[i32], low: &[i32], start: i32) -> Self::Ints;
    /// Prefetches the memory at `from`, which need not exist, into the second-level cache: it
    /// allows enough outstanding lines to keep the memory busy, which the first level does not.
    fn prefetch(self, from: *const u8);

    #[inline(always)]
    fn zero(self) -> Self::Floats {
        self.splat(0.0)
    }
}

/// Largest activation as an integer of 16 bits: 127 · 256 + 127, so that both its bytes can be
/// signed.
pub(crate) const MOST: i16 = 32639;

/// Computes eˣ within 2 units in the last place; 0 below -87.3, and at most e⁸⁸ above.
///
/// eˣ = 2ⁿ eʳ with n = round(x / ln 2), |r| <= ln 2 / 2; the polynomial and the split of ln 2 are
/// those of Cephes' `expf`.
#[inline(always)]
pub(crate) fn exp<I: Isa>(isa: I, x: I::Floats) -> I::Floats {
    const LOWEST: f32 = -87.3;
    const COEFFICIENTS: [f32; 6] = [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_6e-1, 0.5];
    let bounded = isa.min(isa.splat(88.0), isa.max(isa.splat(LOWEST), x));
    let n = isa.round(isa.mul(bounded, isa.splat(std::f32::consts::LOG2_E)));
    let r = isa.mul_add(n, isa.splat(-0.693_359_4), bounded);
    let r = isa.mul_add(n, isa.splat(2.121_944_4e-4), r);
    let mut p = isa.splat(COEFFICIENTS[0]);
    for c in &COEFFICIENTS[1..] {
        p = isa.mul_add(p, r, isa.splat(*c));
    }
    let p = isa.mul_add(isa.mul(p, r), r, isa.add(r, isa.splat(1.0)));
    isa.zero_below(isa.mul(p, isa.exp2_whole(n)), x, LOWEST)
}

/// 1 / (1 + e⁻ˣ)
#[inline(always)]
pub(crate) fn sigmoid<I: Isa>(isa: I, x: I::Floats) -> I::Floats {
    isa.div(isa.splat(1.0), one_plus_exp_of_minus(isa, x))
}

/// x / (1 + e⁻ˣ)
#[inline(always)]
pub(crate) fn silu<I: Isa>(isa: I, x: I::Floats) -> I::Floats {
    isa.div(x, one_plus_exp_of_minus(isa, x))
}

#[inline(always)]
fn one_plus_exp_of_minus<I: Isa>(isa: I, x: I::Floats) -> I::Floats {
    isa.add(isa.splat(1.0), exp(isa, isa.sub(isa.zero(), x)))
}
