//! Plain Rust over small arrays, which the compiler turns into the vector instructions of every
//! machine of the target: SSE2 on x86-64, NEON on Arm.

use super::{Isa, Kernel};
use half::{bf16, f16};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Portable;

const LANES: usize = 8;

#[derive(Clone, Copy)]
#[repr(align(32))]
pub(crate) struct Floats([f32; LANES]);

#[derive(Clone, Copy)]
#[repr(align(32))]
pub(crate) struct Quads([u8; 4 * LANES]);

#[derive(Clone, Copy)]
#[repr(align(32))]
pub(crate) struct Ints([i32; LANES]);

/// Computes the sum of two products, which compilers turn into one instruction on x86.
#[inline(always)]
fn pair(a: &[i16], b: &[i16], i: usize) -> i32 {
    i32::from(a[2 * i]) * i32::from(b[2 * i]) + i32::from(a[2 * i + 1]) * i32::from(b[2 * i + 1])
}

/// Computes `a * b + c`: rounded once if there is an instruction for it, never through a library
/// call.
#[inline(always)]
fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) { a.mul_add(b, c) } else { a * b + c }
}

/// Builds the array whose element `i` is the expression. (A closure for `array::from_fn` cannot be
/// forced to inline.)
macro_rules! each {
    ($i:ident => $value:expr) => {{
        let mut all = [Default::default(); _];
        for $i in 0..all.len() {
            all[$i] = $value;
        }
        all
    }};
}

impl Isa for Portable {
    const LANES: usize = LANES;
    const REGISTERS: usize = if cfg!(target_arch = "aarch64") { 16 } else { 8 };
    type Floats = Floats;
    type Ints = Ints;
    type Quads = Quads;
    type QuadSums = Ints;
    const TOKENS: usize = 2;

    fn enter<K: Kernel>(self, kernel: K) -> K::Out {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Floats {
        Floats([value; LANES])
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> Floats {
        let from = &from[..LANES];
        Floats(each!(i => from[i]))
    }

    #[inline(always)]
    unsafe fn load_at(self, from: *const f32) -> Floats {
        // SAFETY: the caller has LANES values there; an array of f32 is aligned as one f32.
        Floats(unsafe { *from.cast() })
    }

    #[inline(always)]
    fn load_f32(self, from: &[u8]) -> Floats {
        let from = &from[..4 * LANES];
        Floats(each!(i => f32::from_le_bytes([from[4 * i], from[4 * i + 1], from[4 * i + 2], from[4 * i + 3]])))
    }

    #[inline(always)]
    fn load_f16(self, from: &[u8]) -> Floats {
        let from = &from[..2 * LANES];
        Floats(each!(i => self.f16_to_f32(u16::from_le_bytes([from[2 * i], from[2 * i + 1]]))))
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u8]) -> Floats {
        let from = &from[..2 * LANES];
        Floats(each!(i => bf16::from_le_bytes([from[2 * i], from[2 * i + 1]]).to_f32()))
    }

    #[inline(always)]
    fn load_halves(self, from: &[f16]) -> Floats {
        let from = &from[..LANES];
        Floats(each!(i => self.f16_to_f32(from[i].to_bits())))
    }

    #[inline(always)]
    fn store(self, value: Floats, to: &mut [f32]) {
        to[..LANES].copy_from_slice(&value.0);
    }

    #[inline(always)]
    fn add(self, a: Floats, b: Floats) -> Floats {
        Floats(each!(i => a.0[i] + b.0[i]))
    }

    #[inline(always)]
    fn sub(self, a: Floats, b: Floats) -> Floats {
        Floats(each!(i => a.0[i] - b.0[i]))
    }

    #[inline(always)]
    fn mul(self, a: Floats, b: Floats) -> Floats {
        Floats(each!(i => a.0[i] * b.0[i]))
    }

    #[inline(always)]
    fn div(self, a: Floats, b: Floats) -> Floats {
        Floats(each!(i => a.0[i] / b.0[i]))
    }

    #[inline(always)]
    fn mul_add(self, a: Floats, b: Floats, c: Floats) -> Floats {
        Floats(each!(i => mul_add(a.0[i], b.0[i], c.0[i])))
    }

    #[inline(always)]
    fn max(self, a: Floats, b: Floats) -> Floats {
        Floats(each!(i => if a.0[i] > b.0[i] { a.0[i] } else { b.0[i] }))
    }

    #[inline(always)]
    fn min(self, a: Floats, b: Floats) -> Floats {
        Floats(each!(i => if a.0[i] < b.0[i] { a.0[i] } else { b.0[i] }))
    }

    #[inline(always)]
    fn round(self, a: Floats) -> Floats {
        // Rounds to nearest through the only binade with a unit of 1; half the range of an exponent
        // suffices here.
        const UNIT: f32 = 12_582_912.0;
        Floats(each!(i => (a.0[i] + UNIT) - UNIT))
    }

    #[inline(always)]
    fn exp2_whole(self, n: Floats) -> Floats {
        // `exp` bounds n, so the cast is exact.
        Floats(each!(i => f32::from_bits(((n.0[i] as i32 + 127) as u32) << 23)))
    }

    #[inline(always)]
    fn zero_below(self, value: Floats, x: Floats, limit: f32) -> Floats {
        Floats(each!(i => if x.0[i] < limit { 0.0 } else { value.0[i] }))
    }

    #[inline(always)]
    fn sum(self, a: Floats) -> f32 {
        let [a, b, c, d, e, f, g, h] = a.0;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }

    #[inline(always)]
    fn sum4(self, a: [Floats; 4]) -> [f32; 4] {
        each!(i => self.sum(a[i]))
    }

    #[inline(always)]
    fn largest(self, a: Floats) -> f32 {
        a.0.into_iter().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a })
    }

    /// Converts by bits, because the conversion of `half` queries the processor at each call.
    #[inline(always)]
    fn f16_to_f32(self, bits: u16) -> f32 {
        let (sign, rest) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7fff) << 13);
        // 2^112 corrects the bias of the exponent, and makes subnormal numbers normal.
        let magnitude = f32::from_bits(rest) * f32::from_bits(0x7780_0000);
        let special = if bits & 0x7c00 == 0x7c00 { rest | 0x7f80_0000 } else { magnitude.to_bits() };
        f32::from_bits(sign | special)
    }

    #[inline(always)]
    fn store_rounded(self, a: Floats, to: &mut [i16]) {
        for (to, a) in to[..LANES].iter_mut().zip(self.round(a).0) {
            *to = a as i32 as i16;
        }
    }

    #[inline(always)]
    fn to_floats(self, a: Ints) -> Floats {
        Floats(each!(i => a.0[i] as f32))
    }

    #[inline(always)]
    fn load_u8(self, from: &[u8]) -> Floats {
        let from = &from[..LANES];
        Floats(each!(i => f32::from(from[i])))
    }

    #[inline(always)]
    fn load_i8(self, from: &[u8]) -> Floats {
        let from = &from[..LANES];
        Floats(each!(i => f32::from(from[i] as i8)))
    }

    #[inline(always)]
    unsafe fn load_quads(self, from: *const u8) -> Quads {
        // SAFETY: the caller has as many bytes there.
        Quads(unsafe { *from.cast() })
    }

    #[inline(always)]
    unsafe fn store_quads(self, a: Quads, to: *mut u8) {
        // SAFETY: the caller has room for as many bytes there.
        unsafe { *to.cast() = a.0 }
    }

    #[inline(always)]
    fn quads_right(self, a: Quads, n: u32, mask: u8) -> Quads {
        let mut out = a;
        out.0.iter_mut().for_each(|byte| *byte = *byte >> n & mask);
        out
    }

    #[inline(always)]
    fn quads_left(self, a: Quads, n: u32, mask: u8) -> Quads {
        let mut out = a;
        out.0.iter_mut().for_each(|byte| *byte = *byte << n & mask);
        out
    }

    #[inline(always)]
    fn quads_or(self, a: Quads, b: Quads) -> Quads {
        let mut out = a;
        out.0.iter_mut().zip(b.0).for_each(|(a, b)| *a |= b);
        out
    }

    #[inline(always)]
    fn start_quads(self, start: i32) -> Ints {
        Ints([start; LANES])
    }

    /// Multiplies even and odd bytes in 16 bits, for processors with products of pairs.
    #[inline(always)]
    unsafe fn add_quads(self, w: Quads, x: *const i16, sums: Ints) -> Ints {
        // SAFETY: the caller has a quad there.
        let x: [i16; 4] = unsafe { *x.cast() };
        let even: [i16; 2 * LANES] = each!(i => i16::from(w.0[2 * i]));
        let odd: [i16; 2 * LANES] = each!(i => i16::from(w.0[2 * i + 1]));
        let (first, second) = (each!(i => x[i % 2]), each!(i => x[2 + i % 2]));
        let (first, second): ([i16; 2 * LANES], [i16; 2 * LANES]) = (first, second);
        Ints(each!(i => sums.0[i].wrapping_add(pair(&even, &first, i)).wrapping_add(pair(&odd, &second, i))))
    }

    #[inline(always)]
    fn join_quads(self, a: Ints, b: Ints) -> Ints {
        Ints(each!(i => a.0[i].wrapping_add(b.0[i])))
    }

    #[inline(always)]
    fn sum_quads(self, sums: Ints) -> Ints {
        sums
    }

    #[inline(always)]
    fn sum_bytes(self, high: &[i32], low: &[i32], start: i32) -> Ints {
        let (high, low) = (&high[..LANES], &low[..LANES]);
        Ints(each!(i => start + 256 * high[i] + low[i]))
    }

    #[inline(always)]
    fn prefetch(self, _from: *const u8) {}
}
