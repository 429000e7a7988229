//! What a kernel may ask of a processor. A kernel is written once, over [`Isa`], and compiled for
//! each variant.

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

/// A piece of work that can run on any variant. `run` and all it calls must be `#[inline(always)]`,
/// so that they are compiled inside [`Isa::enter`], where the instructions of the variant are
/// allowed. A closure cannot be made to inline: one that calls operations of [`Isa`] and stays a
/// function makes a call of each instruction.
pub trait Kernel {
    type Out;
    fn run<I: Isa>(self, isa: I) -> Self::Out;
}

/// The vector operations of a variant. A value of this type proves that the machine has the
/// instructions, which makes the operations safe.
pub trait Isa: Copy + Send + Sync {
    /// Values in a vector of f32; divides 16.
    const LANES: usize;
    /// Vectors that the processor holds in registers.
    const REGISTERS: usize;
    /// [`Isa::LANES`] values.
    type Floats: Copy;
    /// [`Isa::LANES`] whole numbers of 32 bits.
    type Ints: Copy;
    /// [`Isa::LANES`] quads of unsigned bytes.
    type Quads: Copy;
    /// [`Isa::LANES`] sums of products of quads, in whatever parts the processor makes them.
    type QuadSums: Copy;
    /// Tokens that meet a vector of weights together: as many as their sums fit in registers. A
    /// power of two.
    const TOKENS: usize;

    /// Runs `kernel` where the instructions of this variant are allowed.
    fn enter<K: Kernel>(self, kernel: K) -> K::Out;

    fn splat(self, value: f32) -> Self::Floats;
    /// The first [`Isa::LANES`] values of `from`, which must have as many.
    fn load(self, from: &[f32]) -> Self::Floats;
    /// [`Isa::LANES`] values at `from`.
    ///
    /// # Safety
    /// They must be inside one living slice.
    unsafe fn load_at(self, from: *const f32) -> Self::Floats;
    /// Values stored as little-endian f32, two or four bytes each, at any alignment.
    fn load_f32(self, from: &[u8]) -> Self::Floats;
    fn load_f16(self, from: &[u8]) -> Self::Floats;
    fn load_bf16(self, from: &[u8]) -> Self::Floats;
    /// The first [`Isa::LANES`] halves of `from`.
    fn load_halves(self, from: &[f16]) -> Self::Floats;
    fn store(self, value: Self::Floats, to: &mut [f32]);
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn sub(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn div(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`, rounded once where the machine can.
    fn mul_add(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// The larger; `b` if one of them is NaN.
    fn max(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The smaller; `b` if one of them is NaN.
    fn min(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// To the nearest whole number, of two the even one, for values within ±2²²: a portable sum has
    /// no more room.
    fn round(self, a: Self::Floats) -> Self::Floats;
    /// 2ⁿ for whole n from -126 to 127.
    fn exp2_whole(self, n: Self::Floats) -> Self::Floats;
    /// `value`, but 0 where `x < limit`.
    fn zero_below(self, value: Self::Floats, x: Self::Floats, limit: f32) -> Self::Floats;
    fn sum(self, a: Self::Floats) -> f32;
    /// The sums of four vectors.
    fn sum4(self, a: [Self::Floats; 4]) -> [f32; 4];
    fn largest(self, a: Self::Floats) -> f32;

    fn f16_to_f32(self, bits: u16) -> f32;
    /// The first [`Isa::LANES`] of `to` become `a` in whole numbers, which must fit 16 bits.
    fn store_rounded(self, a: Self::Floats, to: &mut [i16]);
    fn to_floats(self, a: Self::Ints) -> Self::Floats;
    /// [`Isa::LANES`] unsigned bytes as f32.
    fn load_u8(self, from: &[u8]) -> Self::Floats;
    /// [`Isa::LANES`] signed bytes as f32.
    fn load_i8(self, from: &[u8]) -> Self::Floats;

    /// `4 · LANES` bytes at `from`.
    ///
    /// # Safety
    /// They must be inside one living slice.
    unsafe fn load_quads(self, from: *const u8) -> Self::Quads;
    /// # Safety
    /// At `to` must be room for `4 · LANES` bytes.
    unsafe fn store_quads(self, a: Self::Quads, to: *mut u8);
    /// `(a >> n) & mask` in each byte; `mask` must not ask for bits that come from the neighbour
    /// (`mask <= 255 >> n`).
    fn quads_right(self, a: Self::Quads, n: u32, mask: u8) -> Self::Quads;
    /// `(a << n) & mask` in each byte; `mask` must not ask for bits that come from the neighbour
    /// (`mask >= 1 << n`).
    fn quads_left(self, a: Self::Quads, n: u32, mask: u8) -> Self::Quads;
    fn quads_or(self, a: Self::Quads, b: Self::Quads) -> Self::Quads;
    /// Four activations, each at most [`MOST`] in size, in the form that [`Isa::add_quads`] wants
    /// them.
    #[inline(always)]
    fn quad(self, x: [i16; 4]) -> [i16; 4] {
        [x[0], x[2], x[1], x[3]]
    }
    /// Sums that begin with `start` in each lane.
    fn start_quads(self, start: i32) -> Self::QuadSums;
    /// `sums + Σ w · x` over the quad of each lane, with the quad at `x` for all, which
    /// [`Isa::quad`] made.
    ///
    /// # Safety
    /// A quad must be there.
    unsafe fn add_quads(self, w: Self::Quads, x: *const i16, sums: Self::QuadSums) -> Self::QuadSums;
    /// The sums of both.
    fn join_quads(self, a: Self::QuadSums, b: Self::QuadSums) -> Self::QuadSums;
    fn sum_quads(self, sums: Self::QuadSums) -> Self::Ints;
    /// `start + 256 · high + low`, of the first [`Isa::LANES`] of each.
    fn sum_bytes(self, high: &[i32], low: &[i32], start: i32) -> Self::Ints;
    /// Asks for the memory at `from`, which need not exist, to come into the second-level cache: so
    /// many lines can be on their way there that memory is kept busy, which is not so of the first
    /// level.
    fn prefetch(self, from: *const u8);

    #[inline(always)]
    fn zero(self) -> Self::Floats {
        self.splat(0.0)
    }
}

/// The largest activation in whole numbers of 16 bits: 127 · 256 + 127, so that both its bytes can
/// be signed.
pub(crate) const MOST: i16 = 32639;

/// eˣ, within 2 units in the last place; 0 below -87.3, and no more than e⁸⁸ above.
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
