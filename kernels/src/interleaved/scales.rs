//! Scales of a strip: spans of columns, in each of which the scales of all rows are stored
//! together.
//!
//! | scales | columns of a span | bytes of a span |
//! |---|---|---|
//! | [`Halves`] | 32 | `d: [f16; 16]` |
//! | [`HalvesAndMins`] | 32 | `d: [f16; 16], m: [f16; 16]` |
//! | [`FourBits`] | 256 | `d, m: [f16; 16]`, per 16 columns `scale: [u8; 16], min: [u8; 16]` |
//! | [`SixBits`] | 256 | `d, m: [f16; 16]`, per 32 columns `scale: [u8; 16], min: [u8; 16]` |
//! | [`EightBits`] | 256 | `d: [f16; 16]`, per 16 columns `scale: [i8; 16]` |
//! | [`Pairs`] | a group | `scale: [f32; 16], bias: [f32; 16]` |

use super::STRIP;
use crate::isa::Isa;
use half::f16;

/// Scales and minimums of codes.
pub(crate) trait Scales {
    /// Number of columns of a span.
    const SPAN: usize;
    /// Number of bytes of a span.
    const BYTES: usize;
    /// Number of columns that share a scale, limited to 32.
    const GROUP: usize = 32;
    /// Whether there are minimums to add.
    const HAS_MIN: bool;

    /// Loads scale and minimum of the rows from `row` on, for the group that begins at column `col`
    /// of the span.
    ///
    /// # Safety
    /// A span must begin at `span`; `row` is a multiple of the lanes, and below [`STRIP`].
    unsafe fn load<I: Isa>(isa: I, span: *const u8, row: usize, col: usize) -> (I::Floats, I::Floats);

    /// Computes the value of a code, from which the offset is subtracted already, at column `col`
    /// of the span; rounded as in [`crate::reference::unpack`].
    fn value(span: &[u8], row: usize, col: usize, code: i32) -> f32;
}

pub(crate) struct Halves;
pub(crate) struct HalvesAndMins;
/// Scales and mins in bytes, one of each for `GROUP` columns: four bits (Q2_K) or six (Q4_K, Q5_K)
/// of a byte are used.
pub(crate) struct BytesAndMins<const GROUP: usize>;
pub(crate) type FourBits = BytesAndMins<16>;
pub(crate) type SixBits = BytesAndMins<32>;
pub(crate) struct EightBits;
pub(crate) struct Pairs<const GROUP: usize>;

/// Number of bytes of an f16 for each row, and of an f32.
const HALVES: usize = 2 * STRIP;
const FLOATS: usize = 4 * STRIP;

fn half_at(span: &[u8], row: usize) -> f32 {
    f16::from_le_bytes([span[2 * row], span[2 * row + 1]]).to_f32()
}

fn float_at(span: &[u8], row: usize) -> f32 {
    f32::from_le_bytes([span[4 * row], span[4 * row + 1], span[4 * row + 2], span[4 * row + 3]])
}

/// Loads `LANES` halves, floats or bytes at `from`.
///
/// # Safety
/// The memory at `from` must hold them.
#[inline(always)]
unsafe fn halves<I: Isa>(isa: I, from: *const u8) -> I::Floats {
    // SAFETY: guaranteed by the caller.
    isa.load_f16(unsafe { std::slice::from_raw_parts(from, 2 * I::LANES) })
}

#[inline(always)]
unsafe fn floats<I: Isa>(isa: I, from: *const u8) -> I::Floats {
    // SAFETY: guaranteed by the caller.
    isa.load_f32(unsafe { std::slice::from_raw_parts(from, 4 * I::LANES) })
}

#[inline(always)]
unsafe fn bytes<'a, I: Isa>(from: *const u8) -> &'a [u8] {
    // SAFETY: guaranteed by the caller.
    unsafe { std::slice::from_raw_parts(from, I::LANES) }
}

// SAFETY of the blocks below: each place is inside the span in the table above.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Scales for Halves {
    const SPAN: usize = 32;
    const BYTES: usize = HALVES;
    const HAS_MIN: bool = false;

    #[inline(always)]
    unsafe fn load<I: Isa>(isa: I, span: *const u8, row: usize, _col: usize) -> (I::Floats, I::Floats) {
        (unsafe { halves(isa, span.add(2 * row)) }, isa.zero())
    }

    fn value(span: &[u8], row: usize, _col: usize, code: i32) -> f32 {
        half_at(span, row) * code as f32
    }
}

#[allow(clippy::undocumented_unsafe_blocks)]
impl Scales for HalvesAndMins {
    const SPAN: usize = 32;
    const BYTES: usize = 2 * HALVES;
    const HAS_MIN: bool = true;

    #[inline(always)]
    unsafe fn load<I: Isa>(isa: I, span: *const u8, row: usize, _col: usize) -> (I::Floats, I::Floats) {
        unsafe { (halves(isa, span.add(2 * row)), halves(isa, span.add(HALVES + 2 * row))) }
    }

    fn value(span: &[u8], row: usize, _col: usize, code: i32) -> f32 {
        half_at(span, row) * code as f32 + half_at(&span[HALVES..], row)
    }
}

#[allow(clippy::undocumented_unsafe_blocks)]
impl<const GROUP: usize> Scales for BytesAndMins<GROUP> {
    const SPAN: usize = 256;
    const BYTES: usize = 2 * HALVES + 256 / GROUP * 2 * STRIP;
    const GROUP: usize = GROUP;
    const HAS_MIN: bool = true;

    #[inline(always)]
    unsafe fn load<I: Isa>(isa: I, span: *const u8, row: usize, col: usize) -> (I::Floats, I::Floats) {
        unsafe {
            let (d, m) = (halves(isa, span.add(2 * row)), halves(isa, span.add(HALVES + 2 * row)));
            let group = span.add(2 * HALVES + col / GROUP * 2 * STRIP + row);
            let (scale, min) = (isa.load_u8(bytes::<I>(group)), isa.load_u8(bytes::<I>(group.add(STRIP))));
            (isa.mul(d, scale), isa.sub(isa.zero(), isa.mul(m, min)))
        }
    }

    fn value(span: &[u8], row: usize, col: usize, code: i32) -> f32 {
        let group = &span[2 * HALVES + col / GROUP * 2 * STRIP..];
        let scale = half_at(span, row) * f32::from(group[row]);
        scale * code as f32 - half_at(&span[HALVES..], row) * f32::from(group[STRIP + row])
    }
}

#[allow(clippy::undocumented_unsafe_blocks)]
impl Scales for EightBits {
    const SPAN: usize = 256;
    const BYTES: usize = HALVES + 16 * STRIP;
    const GROUP: usize = 16;
    const HAS_MIN: bool = false;

    #[inline(always)]
    unsafe fn load<I: Isa>(isa: I, span: *const u8, row: usize, col: usize) -> (I::Floats, I::Floats) {
        unsafe {
            let d = halves(isa, span.add(2 * row));
            let scale = isa.load_i8(bytes::<I>(span.add(HALVES + col / 16 * STRIP + row)));
            (isa.mul(d, scale), isa.zero())
        }
    }

    fn value(span: &[u8], row: usize, col: usize, code: i32) -> f32 {
        half_at(span, row) * f32::from(span[HALVES + col / 16 * STRIP + row] as i8) * code as f32
    }
}

#[allow(clippy::undocumented_unsafe_blocks)]
impl<const GROUP: usize> Scales for Pairs<GROUP> {
    const SPAN: usize = GROUP;
    const BYTES: usize = 2 * FLOATS;
    const HAS_MIN: bool = true;

    #[inline(always)]
    unsafe fn load<I: Isa>(isa: I, span: *const u8, row: usize, _col: usize) -> (I::Floats, I::Floats) {
        unsafe { (floats(isa, span.add(4 * row)), floats(isa, span.add(FLOATS + 4 * row))) }
    }

    fn value(span: &[u8], row: usize, _col: usize, code: i32) -> f32 {
        let (scale, bias) = (float_at(span, row), float_at(&span[FLOATS..], row));
        (f64::from(scale) * f64::from(code) + f64::from(bias)) as f32
    }
}
