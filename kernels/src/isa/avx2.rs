//! 256-bit vectors with fused multiply-add: Haswell (2013), Zen (2017) and later.

use super::{Isa, Kernel};
use half::f16;
use std::arch::x86_64::*;

/// Proof that the processor has AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) const NEEDS: &'static str = "AVX2, FMA or F16C";

    pub(crate) fn detect() -> Option<Avx2> {
        let has =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
        has.then_some(Avx2(()))
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn inside<K: Kernel>(isa: Avx2, kernel: K) -> K::Out {
    kernel.run(isa)
}

/// Operations on 256 bits that AVX-512 shares.
pub(super) mod wide {
    use super::*;

    #[target_feature(enable = "avx")]
    #[inline]
    pub fn sum(a: __m256) -> f32 {
        let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }

    #[target_feature(enable = "avx")]
    #[inline]
    pub fn sum4(a: [__m256; 4]) -> [f32; 4] {
        let pairs = _mm256_hadd_ps(_mm256_hadd_ps(a[0], a[1]), _mm256_hadd_ps(a[2], a[3]));
        let sums = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs));
        // SAFETY: both are sixteen bytes of f32, lowest lane first.
        unsafe { std::mem::transmute::<__m128, [f32; 4]>(sums) }
    }

    #[target_feature(enable = "avx")]
    #[inline]
    pub fn largest(a: __m256) -> f32 {
        let four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
    }

    /// Shift counts are constants after inlining and become immediate operands.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn shift_right_and(a: __m256i, n: u32, mask: u8) -> __m256i {
        _mm256_and_si256(_mm256_srl_epi16(a, _mm_cvtsi32_si128(n as i32)), _mm256_set1_epi8(mask as i8))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn shift_left_and(a: __m256i, n: u32, mask: u8) -> __m256i {
        _mm256_and_si256(_mm256_sll_epi16(a, _mm_cvtsi32_si128(n as i32)), _mm256_set1_epi8(mask as i8))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn halves(a: __m256i) -> [__m128i; 2] {
        [_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a)]
    }
}

// SAFETY of every block below: `self` exists, so the processor has the instructions; loads and
// stores are checked against the length of their slice.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Isa for Avx2 {
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    type Floats = __m256;
    type Ints = __m256i;
    type Quads = __m256i;
    type QuadSums = __m256i;
    const TOKENS: usize = 4;

    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Out {
        unsafe { inside(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> __m256 {
        let from = &from[..8];
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn load_at(self, from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    fn load_f32(self, from: &[u8]) -> __m256 {
        let from = &from[..32];
        unsafe { _mm256_loadu_ps(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[u8]) -> __m256 {
        let from = &from[..16];
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u8]) -> __m256 {
        let from = &from[..16];
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.as_ptr().cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    fn load_halves(self, from: &[f16]) -> __m256 {
        let from = &from[..8];
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn store(self, value: __m256, to: &mut [f32]) {
        let to = &mut to[..8];
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), value) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_div_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_min_ps(a, b) }
    }

    #[inline(always)]
    fn round(self, a: __m256) -> __m256 {
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }

    #[inline(always)]
    fn exp2_whole(self, n: __m256) -> __m256 {
        unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
        }
    }

    #[inline(always)]
    fn zero_below(self, value: __m256, x: __m256, limit: f32) -> __m256 {
        unsafe { _mm256_andnot_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(x, _mm256_set1_ps(limit)), value) }
    }

    #[inline(always)]
    fn sum(self, a: __m256) -> f32 {
        unsafe { wide::sum(a) }
    }

    #[inline(always)]
    fn sum4(self, a: [__m256; 4]) -> [f32; 4] {
        unsafe { wide::sum4(a) }
    }

    #[inline(always)]
    fn largest(self, a: __m256) -> f32 {
        unsafe { wide::largest(a) }
    }

    #[inline(always)]
    fn f16_to_f32(self, bits: u16) -> f32 {
        unsafe { _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits)))) }
    }

    #[inline(always)]
    fn store_rounded(self, a: __m256, to: &mut [i16]) {
        let to = &mut to[..8];
        unsafe {
            let [low, high] = wide::halves(_mm256_cvtps_epi32(a));
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm_packs_epi32(low, high));
        }
    }

    #[inline(always)]
    fn to_floats(self, a: __m256i) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(a) }
    }

    #[inline(always)]
    fn load_u8(self, from: &[u8]) -> __m256 {
        let from = &from[..8];
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn load_i8(self, from: &[u8]) -> __m256 {
        let from = &from[..8];
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.as_ptr().cast()))) }
    }

    #[inline(always)]
    unsafe fn load_quads(self, from: *const u8) -> __m256i {
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store_quads(self, a: __m256i, to: *mut u8) {
        unsafe { _mm256_storeu_si256(to.cast(), a) }
    }

    #[inline(always)]
    fn quads_right(self, a: __m256i, n: u32, mask: u8) -> __m256i {
        unsafe { wide::shift_right_and(a, n, mask) }
    }

    #[inline(always)]
    fn quads_left(self, a: __m256i, n: u32, mask: u8) -> __m256i {
        unsafe { wide::shift_left_and(a, n, mask) }
    }

    #[inline(always)]
    fn quads_or(self, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_or_si256(a, b) }
    }

    #[inline(always)]
    fn start_quads(self, start: i32) -> __m256i {
        unsafe { _mm256_set1_epi32(start) }
    }

    #[inline(always)]
    unsafe fn add_quads(self, w: __m256i, x: *const i16, sums: __m256i) -> __m256i {
        unsafe {
            let (first, second) = (x.cast::<i32>().read_unaligned(), x.add(2).cast::<i32>().read_unaligned());
            let even = _mm256_and_si256(w, _mm256_set1_epi16(255));
            let even = _mm256_madd_epi16(even, _mm256_set1_epi32(first));
            let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(w), _mm256_set1_epi32(second));
            _mm256_add_epi32(sums, _mm256_add_epi32(even, odd))
        }
    }

    #[inline(always)]
    fn join_quads(self, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_add_epi32(a, b) }
    }

    #[inline(always)]
    fn sum_quads(self, sums: __m256i) -> __m256i {
        sums
    }

    #[inline(always)]
    fn sum_bytes(self, high: &[i32], low: &[i32], start: i32) -> __m256i {
        let (high, low) = (&high[..8], &low[..8]);
        unsafe {
            let high = _mm256_slli_epi32::<8>(_mm256_loadu_si256(high.as_ptr().cast()));
            let low = _mm256_add_epi32(_mm256_loadu_si256(low.as_ptr().cast()), _mm256_set1_epi32(start));
            _mm256_add_epi32(high, low)
        }
    }

    #[inline(always)]
    fn prefetch(self, from: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }
}
