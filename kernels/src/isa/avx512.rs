//! 512-bit vectors with byte permutations: Ice Lake (2019), Zen 4 (2022) and later. What has 256 bits is shared with AVX2.

use super::avx2::wide;
use super::{Isa, Kernel};
use half::f16;
use std::arch::x86_64::*;

/// Proof that the processor has AVX-512 F, BW, DQ, VL and VBMI besides AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(crate) const NEEDS: &'static str = "AVX-512 F, BW, DQ, VL or VBMI";

    pub(crate) fn detect() -> Option<Avx512> {
        super::Avx2::detect()?;
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi");
        has.then_some(Avx512(()))
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx2,fma,f16c")]
fn inside<K: Kernel>(isa: Avx512, kernel: K) -> K::Out {
    kernel.run(isa)
}

/// The upper eight lanes added to the lower eight.
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn folded(a: __m512) -> __m256 {
    _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a))
}

/// 128 + byte `16 i + lane`: a byte below 128 is put into the upper mantissa of 128.0, one permutation instead of two
/// conversions. In assembly, because the compiler makes a permutation of two tables of it, which is several times slower
/// on some processors.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline]
fn above_128(bytes: __m256i, i: usize) -> __m512 {
    // Bytes 3, 2, 1, 0 of a lane: 0x43, the code, 0, 0. The constants stand behind the 32 codes.
    let lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    let codes = _mm512_slli_epi32::<16>(_mm512_add_epi32(lanes, _mm512_set1_epi32(16 * i as i32)));
    let place = _mm512_or_si512(codes, _mm512_set1_epi32(0x2000_2121));
    let table = _mm512_or_si512(_mm512_zextsi256_si512(bytes), _mm512_set_epi64(0, 0, 0, 0x43, 0, 0, 0, 0));
    let floats: __m512;
    // SAFETY: the function has the instruction, which touches nothing but its registers.
    unsafe {
        std::arch::asm!(
            "vpermb {floats}, {place}, {table}",
            floats = lateout(zmm_reg) floats,
            place = in(zmm_reg) place,
            table = in(zmm_reg) table,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    floats
}

// SAFETY of every block below: `self` exists, so the processor has the instructions; loads and stores are checked
// against the length of their slice.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Isa for Avx512 {
    const LANES: usize = 16;
    const REGISTERS: usize = 32;
    type Floats = __m512;
    type Bytes = __m256i;

    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Out {
        unsafe { inside(self, kernel) }
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
    fn scale_bytes(self, bytes: u64, scale: f32, to: &mut [f32]) {
        let Some(to) = to.first_chunk_mut() else { panic!("room for eight values") };
        unsafe { wide::scale_bytes(bytes, scale, to) }
    }

    #[inline(always)]
    fn scale_signed_bytes(self, from: &[u8], scale: f32, to: &mut [f32; 16]) {
        let from = &from[..16];
        unsafe {
            let bytes = _mm_loadu_si128(from.as_ptr().cast());
            let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)), _mm512_set1_ps(scale));
            _mm512_storeu_ps(to.as_mut_ptr(), scaled);
        }
    }

    #[inline(always)]
    fn mul_add8(self, a: &[f32; 8], b: &[f32; 8], c: &mut [f32; 8]) {
        unsafe { wide::mul_add8(a, b, c) }
    }

    #[inline(always)]
    fn load_bytes(self, from: &[u8]) -> __m256i {
        let from = &from[..32];
        unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_nibbles(self, from: &[u8]) -> __m256i {
        let Some(from) = from.first_chunk() else { panic!("sixteen bytes of nibbles") };
        unsafe { wide::nibbles(from) }
    }

    #[inline(always)]
    fn shift_right_and(self, a: __m256i, n: u32, mask: u8) -> __m256i {
        unsafe { wide::shift_right_and(a, n, mask) }
    }

    #[inline(always)]
    fn shift_left_and(self, a: __m256i, n: u32, mask: u8) -> __m256i {
        unsafe { wide::shift_left_and(a, n, mask) }
    }

    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_or_si256(a, b) }
    }

    #[inline(always)]
    fn sixteens(self, bits: u32) -> __m256i {
        unsafe { _mm256_maskz_set1_epi8(bits, 16) }
    }

    #[inline(always)]
    fn widen(self, a: __m256i, i: usize) -> __m512 {
        unsafe {
            let half = if i == 0 { _mm256_castsi256_si128(a) } else { _mm256_extracti128_si256::<1>(a) };
            _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(half))
        }
    }

    const BIAS: f32 = 128.0;

    #[inline(always)]
    fn widen_code(self, a: __m256i, i: usize) -> __m512 {
        unsafe { above_128(a, i) }
    }
}
