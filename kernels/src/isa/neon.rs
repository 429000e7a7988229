//! 128-bit vectors of Arm with dot products of bytes, used in pairs: the lanes and registers of
//! AVX2. Cortex-A75 and -A76 (2018), Neoverse N1 (2019), Apple A13 (2019), M1 (2020) and later;
//! with I8MM Neoverse V1 and N2, Apple M2 (2022) and later.
//!
//! The dot products are assembly, because their intrinsics are not stable in Rust 1.95.

use super::{Isa, Kernel};
use half::f16;
use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

/// Proof that the processor has the dot products of FEAT_DotProd; and, if `I8MM` is set, those of
/// FEAT_I8MM, which multiply unsigned by signed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neon<const I8MM: bool>(());

impl<const I8MM: bool> Neon<I8MM> {
    pub(crate) const NEEDS: &'static str = if I8MM { "FEAT_DotProd or FEAT_I8MM" } else { "FEAT_DotProd" };

    pub(crate) fn detect() -> Option<Neon<I8MM>> {
        let has = cfg!(target_endian = "little")
            && is_aarch64_feature_detected!("dotprod")
            && (!I8MM || is_aarch64_feature_detected!("i8mm"));
        has.then_some(Neon(()))
    }
}

#[target_feature(enable = "neon,dotprod")]
fn inside<const I8MM: bool, K: Kernel>(isa: Neon<I8MM>, kernel: K) -> K::Out {
    kernel.run(isa)
}

#[target_feature(enable = "neon,dotprod,i8mm")]
fn inside_i8mm<const I8MM: bool, K: Kernel>(isa: Neon<I8MM>, kernel: K) -> K::Out {
    kernel.run(isa)
}

/// Quads of unsigned bytes.
#[derive(Clone, Copy)]
pub(crate) struct Quads {
    codes: [uint8x16_t; 2],
    /// Whether a code may be above 127. Known at compile time, because masks are constants.
    eight_bits: bool,
}

/// Sums for the high and for the low bytes of the activations.
#[derive(Clone, Copy)]
pub(crate) struct QuadSums {
    high: [int32x4_t; 2],
    low: [int32x4_t; 2],
    /// Negated correction for both, if codes of eight bits were made signed.
    lacking: int32x2_t,
}

/// Computes `sum + Σ w · x` over the four bytes of each lane, with four bytes of `x`: those of half
/// `HALF`, for all lanes.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn dot_signed<const HALF: i32>(mut sum: int32x4_t, w: int8x16_t, x: int8x8_t) -> int32x4_t {
    // SAFETY: the instruction only computes.
    unsafe {
        asm!("sdot {sum:v}.4s, {w:v}.16b, {x:v}.4b[{half}]", sum = inout(vreg) sum, w = in(vreg) w, x = in(vreg) x,
            half = const HALF, options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

/// Computes [`dot_signed`] for unsigned `w`.
#[target_feature(enable = "neon,i8mm")]
#[inline]
fn dot_unsigned<const HALF: i32>(mut sum: int32x4_t, w: uint8x16_t, x: int8x8_t) -> int32x4_t {
    // SAFETY: the instruction only computes.
    unsafe {
        asm!("usdot {sum:v}.4s, {w:v}.16b, {x:v}.4b[{half}]", sum = inout(vreg) sum, w = in(vreg) w, x = in(vreg) x,
            half = const HALF, options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

/// Computes `sum - 128 · Σ x` over the four bytes of each half.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn less_128(mut sum: int32x2_t, x: int8x8_t) -> int32x2_t {
    // SAFETY: the instruction only computes.
    unsafe {
        asm!("sdot {sum:v}.2s, {w:v}.8b, {x:v}.8b", sum = inout(vreg) sum, w = in(vreg) vdup_n_s8(-128),
            x = in(vreg) x, options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

/// Evaluates the expression for both registers, with 0 and with 1. (A closure for `array::from_fn`
/// cannot be forced to inline.)
macro_rules! both {
    ($i:ident => $value:expr) => {
        [
            {
                let $i = 0;
                $value
            },
            {
                let $i = 1;
                $value
            },
        ]
    };
}

/// Shifts by `$n`, which is a constant after inlining, as the instruction requires.
macro_rules! shifted {
    ($shift:ident, $a:expr, $n:expr) => {
        match $n {
            0 => $a,
            1 => $shift::<1>($a),
            2 => $shift::<2>($a),
            3 => $shift::<3>($a),
            4 => $shift::<4>($a),
            5 => $shift::<5>($a),
            6 => $shift::<6>($a),
            _ => $shift::<7>($a),
        }
    };
}

// SAFETY of every block below: `self` exists, so the processor has the instructions; loads and
// stores are checked against the length of their slice.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<const I8MM: bool> Isa for Neon<I8MM> {
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    type Floats = [float32x4_t; 2];
    type Ints = [int32x4_t; 2];
    type Quads = Quads;
    type QuadSums = QuadSums;
    /// Sums are in sixteen registers, totals in eight.
    const TOKENS: usize = 4;

    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Out {
        unsafe { if I8MM { inside_i8mm(self, kernel) } else { inside(self, kernel) } }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Floats {
        unsafe { [vdupq_n_f32(value); 2] }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::Floats {
        let from = &from[..8];
        unsafe { self.load_at(from.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn load_at(self, from: *const f32) -> Self::Floats {
        unsafe { both!(i => vld1q_f32(from.add(4 * i))) }
    }

    #[inline(always)]
    fn load_f32(self, from: &[u8]) -> Self::Floats {
        let from = &from[..32];
        unsafe { both!(i => vreinterpretq_f32_u8(vld1q_u8(from.as_ptr().add(16 * i)))) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[u8]) -> Self::Floats {
        let from = &from[..16];
        unsafe {
            let halves = vreinterpretq_f16_u8(vld1q_u8(from.as_ptr()));
            [vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)]
        }
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u8]) -> Self::Floats {
        let from = &from[..16];
        unsafe {
            let upper = vreinterpretq_u16_u8(vld1q_u8(from.as_ptr()));
            let wide = [vmovl_u16(vget_low_u16(upper)), vmovl_high_u16(upper)];
            both!(i => vreinterpretq_f32_u32(vshlq_n_u32::<16>(wide[i])))
        }
    }

    #[inline(always)]
    fn load_halves(self, from: &[f16]) -> Self::Floats {
        let from = &from[..8];
        unsafe { self.load_f16(std::slice::from_raw_parts(from.as_ptr().cast(), 16)) }
    }

    #[inline(always)]
    fn store(self, value: Self::Floats, to: &mut [f32]) {
        let to = &mut to[..8];
        unsafe {
            vst1q_f32(to.as_mut_ptr(), value[0]);
            vst1q_f32(to.as_mut_ptr().add(4), value[1]);
        }
    }

    #[inline(always)]
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { both!(i => vaddq_f32(a[i], b[i])) }
    }

    #[inline(always)]
    fn sub(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { both!(i => vsubq_f32(a[i], b[i])) }
    }

    #[inline(always)]
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { both!(i => vmulq_f32(a[i], b[i])) }
    }

    #[inline(always)]
    fn div(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { both!(i => vdivq_f32(a[i], b[i])) }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        unsafe { both!(i => vfmaq_f32(c[i], a[i], b[i])) }
    }

    /// Compares, because the instruction for the maximum returns NaN for any NaN.
    #[inline(always)]
    fn max(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { both!(i => vbslq_f32(vcgtq_f32(a[i], b[i]), a[i], b[i])) }
    }

    #[inline(always)]
    fn min(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { both!(i => vbslq_f32(vcltq_f32(a[i], b[i]), a[i], b[i])) }
    }

    #[inline(always)]
    fn round(self, a: Self::Floats) -> Self::Floats {
        unsafe { both!(i => vrndnq_f32(a[i])) }
    }

    #[inline(always)]
    fn exp2_whole(self, n: Self::Floats) -> Self::Floats {
        unsafe {
            let exponents = both!(i => vaddq_s32(vcvtnq_s32_f32(n[i]), vdupq_n_s32(127)));
            both!(i => vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponents[i])))
        }
    }

    #[inline(always)]
    fn zero_below(self, value: Self::Floats, x: Self::Floats, limit: f32) -> Self::Floats {
        unsafe {
            let kept = both!(i => vbicq_u32(vreinterpretq_u32_f32(value[i]), vcltq_f32(x[i], vdupq_n_f32(limit))));
            both!(i => vreinterpretq_f32_u32(kept[i]))
        }
    }

    #[inline(always)]
    fn sum(self, a: Self::Floats) -> f32 {
        unsafe { vaddvq_f32(vaddq_f32(a[0], a[1])) }
    }

    #[inline(always)]
    fn sum4(self, a: [Self::Floats; 4]) -> [f32; 4] {
        let mut sums = [0.0; 4];
        unsafe {
            let [a, b, c, d] = [a[0], a[1], a[2], a[3]];
            let ab = vpaddq_f32(vaddq_f32(a[0], a[1]), vaddq_f32(b[0], b[1]));
            let cd = vpaddq_f32(vaddq_f32(c[0], c[1]), vaddq_f32(d[0], d[1]));
            vst1q_f32(sums.as_mut_ptr(), vpaddq_f32(ab, cd));
        }
        sums
    }

    #[inline(always)]
    fn largest(self, a: Self::Floats) -> f32 {
        unsafe { vmaxnmvq_f32(vmaxnmq_f32(a[0], a[1])) }
    }

    #[inline(always)]
    fn f16_to_f32(self, bits: u16) -> f32 {
        unsafe { vgetq_lane_f32::<0>(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits)))) }
    }

    #[inline(always)]
    fn store_rounded(self, a: Self::Floats, to: &mut [i16]) {
        let to = &mut to[..8];
        unsafe {
            let low = vqmovn_s32(vcvtnq_s32_f32(a[0]));
            vst1q_s16(to.as_mut_ptr(), vqmovn_high_s32(low, vcvtnq_s32_f32(a[1])));
        }
    }

    #[inline(always)]
    fn to_floats(self, a: Self::Ints) -> Self::Floats {
        unsafe { both!(i => vcvtq_f32_s32(a[i])) }
    }

    #[inline(always)]
    fn load_u8(self, from: &[u8]) -> Self::Floats {
        let from = &from[..8];
        unsafe {
            let words = vmovl_u8(vld1_u8(from.as_ptr()));
            [vcvtq_f32_u32(vmovl_u16(vget_low_u16(words))), vcvtq_f32_u32(vmovl_high_u16(words))]
        }
    }

    #[inline(always)]
    fn load_i8(self, from: &[u8]) -> Self::Floats {
        let from = &from[..8];
        unsafe {
            let words = vmovl_s8(vreinterpret_s8_u8(vld1_u8(from.as_ptr())));
            [vcvtq_f32_s32(vmovl_s16(vget_low_s16(words))), vcvtq_f32_s32(vmovl_high_s16(words))]
        }
    }

    #[inline(always)]
    unsafe fn load_quads(self, from: *const u8) -> Quads {
        Quads { codes: unsafe { both!(i => vld1q_u8(from.add(16 * i))) }, eight_bits: true }
    }

    #[inline(always)]
    unsafe fn store_quads(self, a: Quads, to: *mut u8) {
        unsafe {
            vst1q_u8(to, a.codes[0]);
            vst1q_u8(to.add(16), a.codes[1]);
        }
    }

    #[inline(always)]
    fn quads_right(self, a: Quads, n: u32, mask: u8) -> Quads {
        let codes = unsafe { both!(i => vandq_u8(shifted!(vshrq_n_u8, a.codes[i], n), vdupq_n_u8(mask))) };
        Quads { codes, eight_bits: mask > 127 }
    }

    #[inline(always)]
    fn quads_left(self, a: Quads, n: u32, mask: u8) -> Quads {
        let codes = unsafe { both!(i => vandq_u8(shifted!(vshlq_n_u8, a.codes[i], n), vdupq_n_u8(mask))) };
        Quads { codes, eight_bits: mask > 127 }
    }

    #[inline(always)]
    fn quads_or(self, a: Quads, b: Quads) -> Quads {
        let codes = unsafe { both!(i => vorrq_u8(a.codes[i], b.codes[i])) };
        Quads { codes, eight_bits: a.eight_bits || b.eight_bits }
    }

    /// Splits into the high bytes, then the low ones: x = 256 h + l, both signed.
    #[inline(always)]
    fn quad(self, x: [i16; 4]) -> [i16; 4] {
        let [a, b, c, d] = x.map(|x| ((x + 128) >> 8) as u8);
        let [e, f, g, h] = x.map(|x| x as u8);
        [[a, b], [c, d], [e, f], [g, h]].map(i16::from_le_bytes)
    }

    #[inline(always)]
    fn start_quads(self, start: i32) -> QuadSums {
        unsafe { QuadSums { high: [vdupq_n_s32(0); 2], low: [vdupq_n_s32(start); 2], lacking: vdup_n_s32(0) } }
    }

    /// Without I8MM codes must be signed: Σ w x = Σ (w - 128) x + 128 Σ x, and the second sum is
    /// the same for all lanes.
    #[inline(always)]
    unsafe fn add_quads(self, w: Quads, x: *const i16, sums: QuadSums) -> QuadSums {
        unsafe {
            let (x, Quads { codes, eight_bits }, QuadSums { high, low, lacking }) = (vld1_s8(x.cast()), w, sums);
            if I8MM {
                let high = both!(i => dot_unsigned::<0>(high[i], codes[i], x));
                return QuadSums { high, low: both!(i => dot_unsigned::<1>(low[i], codes[i], x)), lacking };
            }
            let moved = if eight_bits { both!(i => veorq_u8(codes[i], vdupq_n_u8(128))) } else { codes };
            let signed = both!(i => vreinterpretq_s8_u8(moved[i]));
            let high = both!(i => dot_signed::<0>(high[i], signed[i], x));
            let low = both!(i => dot_signed::<1>(low[i], signed[i], x));
            QuadSums { high, low, lacking: if eight_bits { less_128(lacking, x) } else { lacking } }
        }
    }

    #[inline(always)]
    fn join_quads(self, a: QuadSums, b: QuadSums) -> QuadSums {
        unsafe {
            let high = both!(i => vaddq_s32(a.high[i], b.high[i]));
            let low = both!(i => vaddq_s32(a.low[i], b.low[i]));
            QuadSums { high, low, lacking: vadd_s32(a.lacking, b.lacking) }
        }
    }

    #[inline(always)]
    fn sum_quads(self, QuadSums { high, low, lacking }: QuadSums) -> Self::Ints {
        unsafe {
            let high = both!(i => vsubq_s32(high[i], vdupq_lane_s32::<0>(lacking)));
            let low = both!(i => vsubq_s32(low[i], vdupq_lane_s32::<1>(lacking)));
            both!(i => vaddq_s32(vshlq_n_s32::<8>(high[i]), low[i]))
        }
    }

    #[inline(always)]
    fn sum_bytes(self, high: &[i32], low: &[i32], start: i32) -> Self::Ints {
        let (high, low) = (&high[..8], &low[..8]);
        unsafe {
            let low = both!(i => vaddq_s32(vld1q_s32(low.as_ptr().add(4 * i)), vdupq_n_s32(start)));
            both!(i => vaddq_s32(vshlq_n_s32::<8>(vld1q_s32(high.as_ptr().add(4 * i))), low[i]))
        }
    }

    #[inline(always)]
    fn prefetch(self, from: *const u8) {
        unsafe { asm!("prfm pldl2keep, [{}]", in(reg) from, options(readonly, nostack, preserves_flags)) }
    }
}
