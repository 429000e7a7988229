//! 512-bit vectors: Skylake-X (2017) and later; with VNNI Cascade Lake (2019), Zen 4 (2022) and
//! later. Operations on 256 bits are shared with AVX2.

use super::avx2::wide;
use super::{Isa, Kernel};
use half::f16;
use std::arch::x86_64::*;

/// Proof that the processor has AVX-512 F, BW, DQ and VL in addition to AVX2, FMA and F16C; and, if
/// `VNNI` is set, VNNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512<const VNNI: bool>(());

impl<const VNNI: bool> Avx512<VNNI> {
    pub(crate) const NEEDS: &'static str =
        if VNNI { "AVX-512 F, BW, DQ, VL or VNNI" } else { "AVX-512 F, BW, DQ or VL" };

    pub(crate) fn detect() -> Option<Avx512<VNNI>> {
        super::Avx2::detect()?;
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && (!VNNI || is_x86_feature_detected!("avx512vnni"));
        has.then_some(Avx512(()))
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn inside<const VNNI: bool, K: Kernel>(isa: Avx512<VNNI>, kernel: K) -> K::Out {
    kernel.run(isa)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
fn inside_vnni<const VNNI: bool, K: Kernel>(isa: Avx512<VNNI>, kernel: K) -> K::Out {
    kernel.run(isa)
}

/// Adds the upper eight lanes to the lower eight.
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn folded(a: __m512) -> __m256 {
    _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a))
}

// SAFETY of every block below: `self` exists, so the processor has the instructions; loads and
// stores are checked against the length of their slice.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<const VNNI: bool> Isa for Avx512<VNNI> {
    const LANES: usize = 16;
    const REGISTERS: usize = 32;
    type Floats = __m512;
    type Ints = __m512i;
    type Quads = __m512i;
    /// With VNNI the sums for the high and for the low bytes of the activations; otherwise the sums
    /// and an unused vector.
    type QuadSums = [__m512i; 2];
    const TOKENS: usize = 8;

    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Out {
        unsafe { if VNNI { inside_vnni(self, kernel) } else { inside(self, kernel) } }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> __m512 {
        let from = &from[..16];
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn load_at(self, from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    fn load_f32(self, from: &[u8]) -> __m512 {
        let from = &from[..64];
        unsafe { _mm512_loadu_ps(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[u8]) -> __m512 {
        let from = &from[..32];
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u8]) -> __m512 {
        let from = &from[..32];
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    fn load_halves(self, from: &[f16]) -> __m512 {
        let from = &from[..16];
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn store(self, value: __m512, to: &mut [f32]) {
        let to = &mut to[..16];
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), value) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }

    #[inline(always)]
    fn exp2_whole(self, n: __m512) -> __m512 {
        unsafe {
            let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
        }
    }

    #[inline(always)]
    fn zero_below(self, value: __m512, x: __m512, limit: f32) -> __m512 {
        unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, _mm512_set1_ps(limit)), value) }
    }

    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        unsafe { wide::sum(folded(a)) }
    }

    #[inline(always)]
    fn sum4(self, a: [__m512; 4]) -> [f32; 4] {
        unsafe {
            let [a, b, c, d] = a;
            wide::sum4([folded(a), folded(b), folded(c), folded(d)])
        }
    }

    #[inline(always)]
    fn largest(self, a: __m512) -> f32 {
        unsafe { wide::largest(_mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a))) }
    }

    #[inline(always)]
    fn f16_to_f32(self, bits: u16) -> f32 {
        unsafe { _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits)))) }
    }

    #[inline(always)]
    fn store_rounded(self, a: __m512, to: &mut [i16]) {
        let to = &mut to[..16];
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(a))) }
    }

    #[inline(always)]
    fn to_floats(self, a: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(a) }
    }

    #[inline(always)]
    fn load_u8(self, from: &[u8]) -> __m512 {
        let from = &from[..16];
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn load_i8(self, from: &[u8]) -> __m512 {
        let from = &from[..16];
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) }
    }

    #[inline(always)]
    unsafe fn load_quads(self, from: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store_quads(self, a: __m512i, to: *mut u8) {
        unsafe { _mm512_storeu_si512(to.cast(), a) }
    }

    #[inline(always)]
    fn quads_right(self, a: __m512i, n: u32, mask: u8) -> __m512i {
        unsafe {
            let shifted = if n == 0 { a } else { _mm512_srl_epi16(a, _mm_cvtsi32_si128(n as i32)) };
            _mm512_and_si512(shifted, _mm512_set1_epi8(mask as i8))
        }
    }

    #[inline(always)]
    fn quads_left(self, a: __m512i, n: u32, mask: u8) -> __m512i {
        unsafe {
            let shifted = if n == 0 { a } else { _mm512_sll_epi16(a, _mm_cvtsi32_si128(n as i32)) };
            _mm512_and_si512(shifted, _mm512_set1_epi8(mask as i8))
        }
    }

    #[inline(always)]
    fn quads_or(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }

    /// With VNNI, splits into the high bytes, then the low ones: x = 256 h + l, both signed.
    #[inline(always)]
    fn quad(self, x: [i16; 4]) -> [i16; 4] {
        if !VNNI {
            return [x[0], x[2], x[1], x[3]];
        }
        let [a, b, c, d] = x.map(|x| ((x + 128) >> 8) as u8);
        let [e, f, g, h] = x.map(|x| x as u8);
        [[a, b], [c, d], [e, f], [g, h]].map(i16::from_le_bytes)
    }

    #[inline(always)]
    fn start_quads(self, start: i32) -> [__m512i; 2] {
        unsafe {
            let (start, zero) = (_mm512_set1_epi32(start), _mm512_setzero_si512());
            if VNNI { [zero, start] } else { [start, zero] }
        }
    }

    #[inline(always)]
    unsafe fn add_quads(self, w: __m512i, x: *const i16, [a, b]: [__m512i; 2]) -> [__m512i; 2] {
        unsafe {
            let (first, second) = (x.cast::<i32>().read_unaligned(), x.add(2).cast::<i32>().read_unaligned());
            let (first, second) = (_mm512_set1_epi32(first), _mm512_set1_epi32(second));
            if VNNI {
                return [_mm512_dpbusd_epi32(a, w, first), _mm512_dpbusd_epi32(b, w, second)];
            }
            let even = _mm512_madd_epi16(_mm512_and_si512(w, _mm512_set1_epi16(255)), first);
            let odd = _mm512_madd_epi16(_mm512_srli_epi16::<8>(w), second);
            [_mm512_add_epi32(a, _mm512_add_epi32(even, odd)), b]
        }
    }

    #[inline(always)]
    fn join_quads(self, a: [__m512i; 2], b: [__m512i; 2]) -> [__m512i; 2] {
        unsafe { [_mm512_add_epi32(a[0], b[0]), _mm512_add_epi32(a[1], b[1])] }
    }

    #[inline(always)]
    fn sum_quads(self, [a, b]: [__m512i; 2]) -> __m512i {
        unsafe { if VNNI { _mm512_add_epi32(_mm512_slli_epi32::<8>(a), b) } else { a } }
    }

    #[inline(always)]
    fn sum_bytes(self, high: &[i32], low: &[i32], start: i32) -> __m512i {
        let (high, low) = (&high[..16], &low[..16]);
        unsafe {
            let high = _mm512_slli_epi32::<8>(_mm512_loadu_si512(high.as_ptr().cast()));
            let low = _mm512_add_epi32(_mm512_loadu_si512(low.as_ptr().cast()), _mm512_set1_epi32(start));
            _mm512_add_epi32(high, low)
        }
    }

    #[inline(always)]
    fn prefetch(self, from: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }
}
