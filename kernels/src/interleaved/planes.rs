//! Codes of 32 columns of a strip, in vectors; the table is in [`super`].

use super::{PART, STRIP};
use crate::isa::Isa;

/// Bytes of one vector of codes.
const VECTOR: usize = 4 * STRIP;

/// Width of codes and placement of their bits.
pub(crate) trait BitPlanes {
    /// Number of bits of a code.
    const BITS: u32;
    /// Number of bytes of 32 columns.
    const BYTES: usize;

    /// Packs the codes `[row][column]`.
    fn put(codes: &[[u8; PART]; STRIP], to: &mut [u8]);

    /// Unpacks one code.
    fn code(part: &[u8], row: usize, col: usize) -> u8;

    /// Loads the codes of quad `quad` of as many rows as there are lanes, from the row on whose
    /// byte `part` points at.
    ///
    /// # Safety
    /// A part of [`BitPlanes::BYTES`] must begin `4 · row` bytes before `part`, and have that many
    /// rows.
    unsafe fn quad<I: Isa>(isa: I, part: *const u8, quad: usize) -> I::Quads;
}

/// Codes of 4 bits.
pub(crate) struct Nibbles;
/// Codes of 5 bits: 4 and one more.
pub(crate) struct Five;
/// Codes of 6 bits: 4 and two more.
pub(crate) struct Six;
/// Codes of 8 bits.
pub(crate) struct Whole;
/// Codes of 2 bits.
pub(crate) struct Two;
/// Codes of 3 bits, and the low part of 8-bit codes whose high five bits are stored elsewhere.
pub(crate) struct LowThree;

fn byte_of(vector: usize, row: usize, col: usize) -> usize {
    VECTOR * vector + 4 * row + col % 4
}

impl BitPlanes for Nibbles {
    const BITS: u32 = 4;
    const BYTES: usize = 4 * VECTOR;

    fn put(codes: &[[u8; PART]; STRIP], to: &mut [u8]) {
        for (row, codes) in codes.iter().enumerate() {
            let (low, high) = codes.split_at(PART / 2);
            for (col, (low, high)) in low.iter().zip(high).enumerate() {
                to[byte_of(col / 4, row, col)] = low & 15 | high << 4;
            }
        }
    }

    fn code(part: &[u8], row: usize, col: usize) -> u8 {
        part[byte_of(col % 16 / 4, row, col)] >> (4 * (col / 16)) & 15
    }

    #[inline(always)]
    unsafe fn quad<I: Isa>(isa: I, part: *const u8, quad: usize) -> I::Quads {
        // SAFETY: vector 3 is the last of a part.
        let vector = unsafe { isa.load_quads(part.add(VECTOR * (quad % 4))) };
        isa.quads_right(vector, if quad < 4 { 0 } else { 4 }, 15)
    }
}

impl BitPlanes for Five {
    const BITS: u32 = 5;
    const BYTES: usize = Nibbles::BYTES + VECTOR;

    fn put(codes: &[[u8; PART]; STRIP], to: &mut [u8]) {
        Nibbles::put(codes, to);
        for (row, codes) in codes.iter().enumerate() {
            for (col, code) in codes.iter().enumerate() {
                to[byte_of(4, row, col)] |= (code >> 4) << (col / 4);
            }
        }
    }

    fn code(part: &[u8], row: usize, col: usize) -> u8 {
        Nibbles::code(part, row, col) | (part[byte_of(4, row, col)] >> (col / 4) & 1) << 4
    }

    #[inline(always)]
    unsafe fn quad<I: Isa>(isa: I, part: *const u8, quad: usize) -> I::Quads {
        // SAFETY: vector 4 is the last of a part.
        let (low, bits) = unsafe { (Nibbles::quad(isa, part, quad), isa.load_quads(part.add(4 * VECTOR))) };
        let quad = quad as u32;
        let high = if quad < 4 { isa.quads_left(bits, 4 - quad, 16) } else { isa.quads_right(bits, quad - 4, 16) };
        isa.quads_or(low, high)
    }
}

impl BitPlanes for Six {
    const BITS: u32 = 6;
    const BYTES: usize = Nibbles::BYTES + 2 * VECTOR;

    fn put(codes: &[[u8; PART]; STRIP], to: &mut [u8]) {
        Nibbles::put(codes, to);
        for (row, codes) in codes.iter().enumerate() {
            for (col, code) in codes.iter().enumerate() {
                to[byte_of(4 + col / 16, row, col)] |= (code >> 4) << (2 * (col % 16 / 4));
            }
        }
    }

    fn code(part: &[u8], row: usize, col: usize) -> u8 {
        let pairs = part[byte_of(4 + col / 16, row, col)];
        Nibbles::code(part, row, col) | (pairs >> (2 * (col % 16 / 4)) & 3) << 4
    }

    #[inline(always)]
    unsafe fn quad<I: Isa>(isa: I, part: *const u8, quad: usize) -> I::Quads {
        // SAFETY: vector 5 is the last of a part.
        let (low, pairs) =
            unsafe { (Nibbles::quad(isa, part, quad), isa.load_quads(part.add((4 + quad / 4) * VECTOR))) };
        let high = match quad % 4 {
            0 => isa.quads_left(pairs, 4, 0x30),
            1 => isa.quads_left(pairs, 2, 0x30),
            2 => isa.quads_right(pairs, 0, 0x30),
            _ => isa.quads_right(pairs, 2, 0x30),
        };
        isa.quads_or(low, high)
    }
}

impl BitPlanes for Whole {
    const BITS: u32 = 8;
    const BYTES: usize = 8 * VECTOR;

    fn put(codes: &[[u8; PART]; STRIP], to: &mut [u8]) {
        for (row, codes) in codes.iter().enumerate() {
            for (quad, codes) in codes.chunks_exact(4).enumerate() {
                to[byte_of(quad, row, 0)..][..4].copy_from_slice(codes);
            }
        }
    }

    fn code(part: &[u8], row: usize, col: usize) -> u8 {
        part[byte_of(col / 4, row, col)]
    }

    #[inline(always)]
    unsafe fn quad<I: Isa>(isa: I, part: *const u8, quad: usize) -> I::Quads {
        // SAFETY: vector 7 is the last of a part.
        unsafe { isa.load_quads(part.add(VECTOR * quad)) }
    }
}

impl BitPlanes for Two {
    const BITS: u32 = 2;
    const BYTES: usize = 2 * VECTOR;

    fn put(codes: &[[u8; PART]; STRIP], to: &mut [u8]) {
        to[..Two::BYTES].fill(0);
        for (row, codes) in codes.iter().enumerate() {
            for (col, code) in codes.iter().enumerate() {
                to[byte_of(col / 16, row, col)] |= (code & 3) << (2 * (col % 16 / 4));
            }
        }
    }

    fn code(part: &[u8], row: usize, col: usize) -> u8 {
        part[byte_of(col / 16, row, col)] >> (2 * (col % 16 / 4)) & 3
    }

    #[inline(always)]
    unsafe fn quad<I: Isa>(isa: I, part: *const u8, quad: usize) -> I::Quads {
        // SAFETY: vector 1 is the last of a part.
        let pairs = unsafe { isa.load_quads(part.add(quad / 4 * VECTOR)) };
        isa.quads_right(pairs, 2 * (quad % 4) as u32, 3)
    }
}

impl BitPlanes for LowThree {
    const BITS: u32 = 3;
    const BYTES: usize = 3 * VECTOR;

    fn put(codes: &[[u8; PART]; STRIP], to: &mut [u8]) {
        Two::put(codes, to);
        to[Two::BYTES..LowThree::BYTES].fill(0);
        for (row, codes) in codes.iter().enumerate() {
            for (col, code) in codes.iter().enumerate() {
                to[byte_of(2, row, col)] |= (code >> 2 & 1) << (col / 4);
            }
        }
    }

    fn code(part: &[u8], row: usize, col: usize) -> u8 {
        Two::code(part, row, col) | (part[byte_of(2, row, col)] >> (col / 4) & 1) << 2
    }

    #[inline(always)]
    unsafe fn quad<I: Isa>(isa: I, part: *const u8, quad: usize) -> I::Quads {
        // SAFETY: vector 2 is the last of a part.
        let (low, bits) = unsafe { (Two::quad(isa, part, quad), isa.load_quads(part.add(2 * VECTOR))) };
        let quad = quad as u32;
        let high = if quad < 2 { isa.quads_left(bits, 2 - quad, 4) } else { isa.quads_right(bits, quad - 2, 4) };
        isa.quads_or(low, high)
    }
}
