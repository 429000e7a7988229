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

/// The 256-bit part that AVX-512 shares.
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

    /// Four halves as f32.
    #[target_feature(enable = "avx,f16c")]
    #[inline]
    pub fn halves_of_bits([a, b, c, d]: [u16; 4]) -> __m128 {
        _mm_cvtph_ps(_mm_set_epi16(0, 0, 0, 0, d as i16, c as i16, b as i16, a as i16))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn scaled_bytes(bytes: u64, scale: f32) -> __m256 {
        scaled(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(bytes as i64)), scale)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn scaled(values: __m256i, scale: f32) -> __m256 {
        _mm256_mul_ps(_mm256_cvtepi32_ps(values), _mm256_set1_ps(scale))
    }

    /// One, two, four or eight values.
    #[target_feature(enable = "avx")]
    #[inline]
    pub fn load_up_to_eight(from: &[f32]) -> __m256 {
        match *from {
            [a] => _mm256_zextps128_ps256(_mm_set_ss(a)),
            [a, b] => _mm256_zextps128_ps256(_mm_set_ps(0.0, 0.0, b, a)),
            [a, b, c, d] => _mm256_zextps128_ps256(_mm_set_ps(d, c, b, a)),
            // SAFETY: eight values are there.
            _ => unsafe { _mm256_loadu_ps(from[..8].as_ptr()) },
        }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn nibbles(from: &[u8; 16]) -> __m256i {
        // SAFETY: sixteen bytes are there.
        let bytes = unsafe { _mm_loadu_si128(from.as_ptr().cast()) };
        _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16::<4>(bytes), bytes), _mm256_set1_epi8(15))
    }

    /// Counts that are constants after inlining become immediate operands.
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

    /// Each byte looks at the byte of `bits` that holds its bit, and compares that bit.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn sixteens(bits: u32) -> __m256i {
        let place = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
        let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
        let spread = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits as i32), place), bit);
        _mm256_and_si256(_mm256_cmpeq_epi8(spread, bit), _mm256_set1_epi8(16))
    }

    /// Each pair moves to the bottom of its byte, then to bits 4 and 5.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn sixteens_of_pairs(pairs: u64) -> __m256i {
        let pairs = _mm256_srlv_epi64(_mm256_set1_epi64x(pairs as i64), _mm256_set_epi64x(6, 4, 2, 0));
        _mm256_slli_epi16::<4>(_mm256_and_si256(pairs, _mm256_set1_epi8(3)))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn halves(a: __m256i) -> [__m128i; 2] {
        [_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a)]
    }

    /// One of sixteen values in every lane.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn lane(s: [__m256; 2], at: usize) -> __m256 {
        _mm256_permutevar8x32_ps(s[at / 8], _mm256_set1_epi32(at as i32 % 8))
    }

    /// Sums of pairs of products: of the first sixteen, and of the others.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn dots(w: [__m256i; 2], x: &[i16; 32]) -> [__m256i; 2] {
        // SAFETY: 32 values are there.
        let x = unsafe { [_mm256_loadu_si256(x.as_ptr().cast()), _mm256_loadu_si256(x.as_ptr().add(16).cast())] };
        [_mm256_madd_epi16(w[0], x[0]), _mm256_madd_epi16(w[1], x[1])]
    }

    /// Sixteen pairs of eight rows, as two squares of 8 x 8. `to` must have room for `15 * stride + 16` values.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn interleave(rows: &[[i16; 32]; 16], to: *mut i16, stride: usize) {
        for half in 0..2 {
            let mut square = [_mm256_setzero_si256(); 8];
            for (square, row) in square.iter_mut().zip(rows) {
                // SAFETY: both halves of a row are sixteen values.
                *square = unsafe { _mm256_loadu_si256(row.as_ptr().add(16 * half).cast()) };
            }
            for (i, pairs) in transposed(square).into_iter().enumerate() {
                // SAFETY: as the caller says.
                unsafe { _mm256_storeu_si256(to.add((8 * half + i) * stride).cast(), pairs) };
            }
        }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn transposed(a: [__m256i; 8]) -> [__m256i; 8] {
        let mut fours = [_mm256_setzero_si256(); 8];
        for i in 0..2 {
            let [a, b, c, d] = [a[4 * i], a[4 * i + 1], a[4 * i + 2], a[4 * i + 3]];
            let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
            (fours[4 * i], fours[4 * i + 1]) = (_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
            let (ab, cd) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
            (fours[4 * i + 2], fours[4 * i + 3]) = (_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
        }
        // Half h of fours[4 g + c] is column 4 h + c of rows 4 g..4 g + 4.
        let mut columns = fours;
        for c in 0..4 {
            columns[c] = _mm256_permute2x128_si256::<0x20>(fours[c], fours[4 + c]);
            columns[4 + c] = _mm256_permute2x128_si256::<0x31>(fours[c], fours[4 + c]);
        }
        columns
    }
}

// SAFETY of every block below: `self` exists, so the processor has the instructions; loads and stores are checked
// against the length of their slice.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Isa for Avx2 {
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    type Floats = __m256;
    type Bytes = __m256i;
    type Scales = [__m256; 2];
    type Words = [__m256i; 2];
    type Pairs = __m256i;
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
    fn scales_of_halves(self, bits: [u16; 4]) -> [__m256; 2] {
        unsafe { [_mm256_zextps128_ps256(wide::halves_of_bits(bits)), _mm256_setzero_ps()] }
    }

    #[inline(always)]
    fn scales_of_bytes(self, bytes: u64, scale: f32) -> [__m256; 2] {
        unsafe { [wide::scaled_bytes(bytes, scale), _mm256_setzero_ps()] }
    }

    #[inline(always)]
    fn scales_of_signed_bytes(self, from: &[u8], scale: f32) -> [__m256; 2] {
        let from = &from[..16];
        unsafe {
            let bytes = _mm_loadu_si128(from.as_ptr().cast());
            [bytes, _mm_unpackhi_epi64(bytes, bytes)].map(|bytes| wide::scaled(_mm256_cvtepi8_epi32(bytes), scale))
        }
    }

    #[inline(always)]
    fn load_scales(self, from: &[f32]) -> [__m256; 2] {
        unsafe {
            match from.split_at_checked(8) {
                Some((low, high)) if high.len() >= 8 => [self.load(low), self.load(high)],
                _ => [wide::load_up_to_eight(from), _mm256_setzero_ps()],
            }
        }
    }

    #[inline(always)]
    fn store_scales(self, a: [__m256; 2]) -> [f32; 16] {
        unsafe { std::mem::transmute::<[__m256; 2], [f32; 16]>(a) }
    }

    #[inline(always)]
    fn mul_scales(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        [self.mul(a[0], b[0]), self.mul(a[1], b[1])]
    }

    #[inline(always)]
    fn mul_add_scales(self, a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        [self.mul_add(a[0], b[0], c[0]), self.mul_add(a[1], b[1], c[1])]
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
        unsafe { wide::sixteens(bits) }
    }

    #[inline(always)]
    fn sixteens_of_pairs(self, pairs: u64) -> __m256i {
        unsafe { wide::sixteens_of_pairs(pairs) }
    }

    #[inline(always)]
    fn sub_byte(self, a: __m256i, b: u8) -> __m256i {
        unsafe { _mm256_sub_epi8(a, _mm256_set1_epi8(b as i8)) }
    }

    #[inline(always)]
    fn widen(self, a: __m256i) -> [__m256i; 2] {
        unsafe { wide::halves(a).map(|half| _mm256_cvtepi8_epi16(half)) }
    }

    #[inline(always)]
    fn widen_unsigned(self, a: __m256i) -> [__m256i; 2] {
        unsafe { wide::halves(a).map(|half| _mm256_cvtepu8_epi16(half)) }
    }

    #[inline(always)]
    fn store_words(self, a: [__m256i; 2], to: &mut [i16; 32]) {
        unsafe {
            _mm256_storeu_si256(to.as_mut_ptr().cast(), a[0]);
            _mm256_storeu_si256(to.as_mut_ptr().add(16).cast(), a[1]);
        }
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
    fn add_dot(self, w: [__m256i; 2], x: &[i16; 32], s: [__m256; 2], at: usize, total: __m256) -> __m256 {
        unsafe {
            let [a, b] = wide::dots(w, x);
            self.mul_add(_mm256_cvtepi32_ps(_mm256_add_epi32(a, b)), wide::lane(s, at), total)
        }
    }

    #[inline(always)]
    fn add_dots(self, w: [__m256i; 2], x: &[i16; 32], s: [__m256; 2], at: usize, total: __m256) -> __m256 {
        unsafe {
            let [a, b] = wide::dots(w, x);
            let total = self.mul_add(_mm256_cvtepi32_ps(a), wide::lane(s, at), total);
            self.mul_add(_mm256_cvtepi32_ps(b), wide::lane(s, at + 1), total)
        }
    }

    #[inline(always)]
    fn zero_ints(self) -> __m256i {
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn load_pairs(self, from: *const i16) -> __m256i {
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn splat_pair(self, from: *const i16) -> __m256i {
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    fn add_pairs(self, a: __m256i, b: __m256i, sum: __m256i) -> __m256i {
        unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)) }
    }

    #[inline(always)]
    fn to_floats(self, a: __m256i) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(a) }
    }

    #[inline(always)]
    fn interleave(self, rows: &[[i16; 32]; 16], to: &mut [i16], stride: usize) {
        assert!(to.len() >= 15 * stride + 16);
        unsafe { wide::interleave(rows, to.as_mut_ptr(), stride) }
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
    fn prefetch(self, from: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }
}
