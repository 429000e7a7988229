//! Unpacking of the blocks of each type into codes and scales. Layouts of blocks: [`BlockType`].

use super::planes::{BitPlanes, Five, LowThree, Nibbles, Six, Two, Whole};
use super::scales::{EightBits, FourBits, Halves, HalvesAndMins, Pairs, Scales, SixBits};
use super::{PART, STRIP};
use crate::BlockType;
use crate::affine::HEAD;
use crate::reference::six_bits_of_sixteen;

/// A format of quantised weights: value = scale · (code - offset) + minimum.
pub(crate) trait Format {
    const KIND: BlockType;
    /// Offset subtracted from a code before it is multiplied.
    const OFFSET: i32;
    type BitPlanes: BitPlanes;
    type Scales: Scales;

    /// Unpacks the codes of values `32 * part..32 * (part + 1)` of a block.
    fn codes(block: &[u8], part: usize) -> [u8; PART];

    /// Writes the scales of a block, which is row `row` of `span`.
    fn put_scales(block: &[u8], row: usize, span: &mut [u8]);
}

struct Q8_0;
struct Q4_0;
struct Q4_1;
struct Q5_0;
struct Q5_1;
struct Q2K;
struct Q3K;
struct Q4K;
struct Q5K;
struct Q6K;
struct Affine4<const GROUP: usize>;
struct Affine5<const GROUP: usize>;
struct Affine6<const GROUP: usize>;
struct Affine8<const GROUP: usize>;

/// Unpacks the low halves of sixteen bytes, then the high ones.
fn nibbles(bytes: &[u8]) -> [u8; PART] {
    let mut codes = [0; PART];
    let (low, high) = codes.split_at_mut(PART / 2);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        (*low, *high) = (byte & 15, byte >> 4);
    }
    codes
}

/// Unpacks [`nibbles`] with a fifth bit: bit `i` of `high` for code `i`.
fn with_fifth(bytes: &[u8], high: &[u8]) -> [u8; PART] {
    let mut codes = nibbles(bytes);
    for (codes, bits) in codes.chunks_exact_mut(8).zip(high) {
        codes.iter_mut().enumerate().for_each(|(i, code)| *code |= (bits >> i & 1) << 4);
    }
    codes
}

/// Copies field `number` of two bytes from the front of the block to its place in the span.
fn put_half(block: &[u8], row: usize, span: &mut [u8], number: usize) {
    span[2 * (number * STRIP + row)..][..2].copy_from_slice(&block[2 * number..][..2]);
}

impl Format for Q8_0 {
    const KIND: BlockType = BlockType::Q8_0;
    const OFFSET: i32 = 128;
    type BitPlanes = Whole;
    type Scales = Halves;

    fn codes(block: &[u8], _part: usize) -> [u8; PART] {
        let mut codes = [0; PART];
        codes.iter_mut().zip(&block[2..]).for_each(|(code, signed)| *code = signed ^ 0x80);
        codes
    }

    fn put_scales(block: &[u8], row: usize, span: &mut [u8]) {
        put_half(block, row, span, 0);
    }
}

impl Format for Q4_0 {
    const KIND: BlockType = BlockType::Q4_0;
    const OFFSET: i32 = 8;
    type BitPlanes = Nibbles;
    type Scales = Halves;

    fn codes(block: &[u8], _part: usize) -> [u8; PART] {
        nibbles(&block[2..])
    }

    fn put_scales(block: &[u8], row: usize, span: &mut [u8]) {
        put_half(block, row, span, 0);
    }
}

impl Format for Q4_1 {
    const KIND: BlockType = BlockType::Q4_1;
    const OFFSET: i32 = 0;
    type BitPlanes = Nibbles;
    type Scales = HalvesAndMins;

    fn codes(block: &[u8], _part: usize) -> [u8; PART] {
        nibbles(&block[4..])
    }

    fn put_scales(block: &[u8], row: usize, span: &mut [u8]) {
        put_half(block, row, span, 0);
        put_half(block, row, span, 1);
    }
}

impl Format for Q5_0 {
    const KIND: BlockType = BlockType::Q5_0;
    const OFFSET: i32 = 16;
    type BitPlanes = Five;
    type Scales = Halves;

    fn codes(block: &[u8], _part: usize) -> [u8; PART] {
        with_fifth(&block[6..], &block[2..6])
    }

    fn put_scales(block: &[u8], row: usize, span: &mut [u8]) {
        put_half(block, row, span, 0);
    }
}

impl Format for Q5_1 {
    const KIND: BlockType = BlockType::Q5_1;
    const OFFSET: i32 = 0;
    type BitPlanes = Five;
    type Scales = HalvesAndMins;

    fn codes(block: &[u8], _part: usize) -> [u8; PART] {
        with_fifth(&block[8..], &block[4..8])
    }

    fn put_scales(block: &[u8], row: usize, span: &mut [u8]) {
        put_half(block, row, span, 0);
        put_half(block, row, span, 1);
    }
}

/// Unpacks the bit pairs of part `part`: in each half of 128 values the pairs of a byte belong to
/// the four quarters in order.
fn pairs(bytes: &[u8], part: usize) -> [u8; PART] {
    let mut codes = [0; PART];
    let bytes = &bytes[32 * (part / 4)..][..PART];
    codes.iter_mut().zip(bytes).for_each(|(code, byte)| *code = byte >> (2 * (part % 4)) & 3);
    codes
}

impl Format for Q2K {
    const KIND: BlockType = BlockType::Q2_K;
    const OFFSET: i32 = 0;
    type BitPlanes = Two;
    type Scales = FourBits;

    fn codes(block: &[u8], part: usize) -> [u8; PART] {
        pairs(&block[16..], part)
    }

    fn put_scales(block: &[u8], row: usize, span: &mut [u8]) {
        put_half(&block[80..], row, span, 0);
        put_half(&block[80..], row, span, 1);
        for (scales, scale) in span[4 * STRIP..].chunks_exact_mut(2 * STRIP).zip(&block[..16]) {
            (scales[row], scales[STRIP + row]) = (scale & 15, scale >> 4);
        }
    }
}

impl Format for Q3K {
    const KIND: BlockType = BlockType::Q3_K;
    const OFFSET: i32 = 4;
    type BitPlanes = LowThree;
    type Scales = EightBits;

    fn codes(block: &[u8], part: usize) -> [u8; PART] {
        let mut codes = pairs(&block[32..], part);
        codes.iter_mut().zip(&block[..32]).for_each(|(code, bits)| *code |= (bits >> part & 1) << 2);
        codes
    }

    fn put_scales(block: &[u8], row: usize, span: &mut [u8]) {
        span[2 * row..][..2].copy_from_slice(&block[108..]);
        for (g, scales) in span[2 * STRIP..].chunks_exact_mut(STRIP).enumerate() {
            scales[row] = six_bits_of_sixteen(g, &block[96..108]).wrapping_sub(32);
        }
    }
}

/// Unpacks the low four bits of group `part`: the groups of a pair are the halves of the same 32
/// bytes.
fn nibbles_of_pair(pairs: &[u8], part: usize) -> [u8; PART] {
    let mut codes = [0; PART];
    let bytes = &pairs[32 * (part / 2)..][..PART];
    codes.iter_mut().zip(bytes).for_each(|(code, byte)| *code = byte >> (4 * (part % 2)) & 15);
    codes
}

/// Copies the two f16 fields, and the eight scales and mins of six bits that Q4_K and Q5_K pack
/// into bytes 4..16.
fn put_six_bits(block: &[u8], row: usize, span: &mut [u8]) {
    put_half(block, row, span, 0);
    put_half(block, row, span, 1);
    let packed = &block[4..16];
    for (g, group) in span[4 * STRIP..].chunks_exact_mut(2 * STRIP).enumerate() {
        (group[row], group[STRIP + row]) = match g {
            0..4 => (packed[g] & 63, packed[g + 4] & 63),
            _ => (packed[g + 4] & 15 | packed[g - 4] >> 6 << 4, packed[g + 4] >> 4 | packed[g] >> 6 << 4),
        };
    }
}

impl Format for Q4K {
    const KIND: BlockType = BlockType::Q4_K;
    const OFFSET: i32 = 0;
    type BitPlanes = Nibbles;
    type Scales = SixBits;

    fn codes(block: &[u8], part: usize) -> [u8; PART] {
        nibbles_of_pair(&block[16..], part)
    }

    fn put_scales(block: &[u8], row: usize, span: &mut [u8]) {
        put_six_bits(block, row, span);
    }
}

impl Format for Q5K {
    const KIND: BlockType = BlockType::Q5_K;
    const OFFSET: i32 = 0;
    type BitPlanes = Five;
    type Scales = SixBits;

    fn codes(block: &[u8], part: usize) -> [u8; PART] {
        let mut codes = nibbles_of_pair(&block[48..], part);
        codes.iter_mut().zip(&block[16..48]).for_each(|(code, bits)| *code |= (bits >> part & 1) << 4);
        codes
    }

    fn put_scales(block: &[u8], row: usize, span: &mut [u8]) {
        put_six_bits(block, row, span);
    }
}

impl Format for Q6K {
    const KIND: BlockType = BlockType::Q6_K;
    const OFFSET: i32 = 32;
    type BitPlanes = Six;
    type Scales = EightBits;

    fn codes(block: &[u8], part: usize) -> [u8; PART] {
        let (half, quarter) = (part / 4, part % 4);
        let low = &block[64 * half + 32 * (quarter % 2)..];
        let high = &block[128 + 32 * half..];
        let mut codes = [0; PART];
        for (code, (low, high)) in codes.iter_mut().zip(low.iter().zip(high)) {
            *code = low >> (4 * (quarter / 2)) & 15 | (high >> (2 * quarter) & 3) << 4;
        }
        codes
    }

    fn put_scales(block: &[u8], row: usize, span: &mut [u8]) {
        span[2 * row..][..2].copy_from_slice(&block[208..]);
        for (scales, scale) in span[2 * STRIP..].chunks_exact_mut(STRIP).zip(&block[192..208]) {
            scales[row] = *scale;
        }
    }
}

/// Copies scale and bias, which are the head of a block.
fn put_pair(block: &[u8], row: usize, span: &mut [u8]) {
    span[4 * row..][..4].copy_from_slice(&block[..4]);
    span[4 * (STRIP + row)..][..4].copy_from_slice(&block[4..8]);
}

/// Returns part `part` of an affine block with codes of `bits` bits.
fn part_of(block: &[u8], part: usize, bits: usize) -> &[u8] {
    &block[HEAD + 4 * bits * part..]
}

macro_rules! affine {
    ($name:ident, $bits:literal, $planes:ty, $part:ident => $codes:expr) => {
        impl<const GROUP: usize> Format for $name<GROUP> {
            const KIND: BlockType = BlockType::affine($bits, GROUP);
            const OFFSET: i32 = 0;
            type BitPlanes = $planes;
            type Scales = Pairs<GROUP>;

            fn codes(block: &[u8], part: usize) -> [u8; PART] {
                let $part = part_of(block, part, $bits);
                $codes
            }

            fn put_scales(block: &[u8], row: usize, span: &mut [u8]) {
                put_pair(block, row, span);
            }
        }
    };
}

affine!(Affine4, 4, Nibbles, part => nibbles(part));
affine!(Affine5, 5, Five, part => with_fifth(&part[4..], part));
affine!(Affine6, 6, Six, part => {
    let mut codes = nibbles(&part[8..]);
    codes.iter_mut().enumerate().for_each(|(i, code)| *code |= (part[i % 8] >> (2 * (i / 8)) & 3) << 4);
    codes
});
affine!(Affine8, 8, Whole, part => {
    let mut codes = [0; PART];
    codes.copy_from_slice(&part[..PART]);
    codes
});

/// A generic operation for the format of a matrix.
pub(crate) trait ForFormat {
    type Out;
    fn quantised<F: Format>(self) -> Self::Out;
}

/// Runs the operation for the format of `kind`; `None` for weights that are not quantised.
#[inline(always)]
pub(crate) fn for_format<W: ForFormat>(kind: BlockType, work: W) -> Option<W::Out> {
    Some(match kind {
        BlockType::F32 | BlockType::F16 | BlockType::BF16 => return None,
        BlockType::Q8_0 => work.quantised::<Q8_0>(),
        BlockType::Q4_0 => work.quantised::<Q4_0>(),
        BlockType::Q4_1 => work.quantised::<Q4_1>(),
        BlockType::Q5_0 => work.quantised::<Q5_0>(),
        BlockType::Q5_1 => work.quantised::<Q5_1>(),
        BlockType::Q2_K => work.quantised::<Q2K>(),
        BlockType::Q3_K => work.quantised::<Q3K>(),
        BlockType::Q4_K => work.quantised::<Q4K>(),
        BlockType::Q5_K => work.quantised::<Q5K>(),
        BlockType::Q6_K => work.quantised::<Q6K>(),
        BlockType::Affine(kind) => match (kind.bits(), kind.group()) {
            (4, 32) => work.quantised::<Affine4<32>>(),
            (4, 64) => work.quantised::<Affine4<64>>(),
            (4, _) => work.quantised::<Affine4<128>>(),
            (5, 32) => work.quantised::<Affine5<32>>(),
            (5, 64) => work.quantised::<Affine5<64>>(),
            (5, _) => work.quantised::<Affine5<128>>(),
            (6, 32) => work.quantised::<Affine6<32>>(),
            (6, 64) => work.quantised::<Affine6<64>>(),
            (6, _) => work.quantised::<Affine6<128>>(),
            (_, 32) => work.quantised::<Affine8<32>>(),
            (_, 64) => work.quantised::<Affine8<64>>(),
            _ => work.quantised::<Affine8<128>>(),
        },
    })
}
