//! How each block type is taken apart in registers. Layouts: [`crate::BlockType`].

use crate::isa::Isa;
use crate::{BlockType, affine};

/// Weights of which `Isa::LANES` can be loaded as f32 directly.
pub(crate) trait Plain {
    const BYTES: usize;
    /// The first `Isa::LANES` values of `from`.
    fn load<I: Isa>(isa: I, from: &[u8]) -> I::Floats;
    fn load_one(from: &[u8]) -> f32;
}

/// Weights in blocks: value = scale · code - min, with scale and min shared by a group.
pub(crate) trait Quantised {
    const KIND: BlockType;
    /// Values that share a scale: 16 or 32.
    const GROUP: usize = 32;
    /// Whether there are mins at all; then groups are of 32.
    const HAS_MIN: bool;
    /// Whether codes are bytes up to 255; else they are signed ones.
    const UNSIGNED: bool = false;
    /// Scale and min of each group of up to four blocks of 128 values together, or of one of 256.
    fn scales<I: Isa>(isa: I, blocks: &[u8]) -> Scales<I>;
    /// The codes of values `32 * part..32 * (part + 1)`.
    fn codes<I: Isa>(isa: I, block: &[u8], part: usize) -> I::Bytes;
    /// [`Quantised::codes`] in 16 bits.
    #[inline(always)]
    fn words<I: Isa>(isa: I, block: &[u8], part: usize) -> I::Words {
        let codes = Self::codes(isa, block, part);
        if Self::UNSIGNED { isa.widen_unsigned(codes) } else { isa.widen(codes) }
    }
}

/// Scales and mins of up to 256 values.
#[derive(Clone, Copy)]
pub(crate) struct Scales<I: Isa> {
    pub scales: I::Scales,
    /// Not used where there are none.
    pub mins: I::Scales,
}

pub(crate) struct F32;
pub(crate) struct F16;
pub(crate) struct Bf16;
pub(crate) struct Q8_0;
pub(crate) struct Q4_0;
pub(crate) struct Q4_1;
pub(crate) struct Q5_0;
pub(crate) struct Q5_1;
pub(crate) struct Q4K;
pub(crate) struct Q5K;
pub(crate) struct Q6K;
pub(crate) struct Affine<const BITS: usize, const GROUP: usize>;

#[inline(always)]
fn u16_at(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

#[inline(always)]
fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

#[inline(always)]
fn u64_at(block: &[u8], at: usize) -> u64 {
    u64::from(u32_at(block, at)) | u64::from(u32_at(block, at + 4)) << 32
}

#[inline(always)]
fn f16_at<I: Isa>(isa: I, block: &[u8], at: usize) -> f32 {
    isa.f16_to_f32(u16_at(block, at))
}

/// The halves at this place of up to four blocks.
#[inline(always)]
fn halves_of<Q: Quantised>(blocks: &[u8], at: usize) -> [u16; 4] {
    let mut halves = [0; 4];
    for (half, block) in halves.iter_mut().zip(blocks.chunks_exact(Q::KIND.block_bytes())) {
        *half = u16_at(block, at);
    }
    halves
}

impl Plain for F32 {
    const BYTES: usize = 4;

    #[inline(always)]
    fn load<I: Isa>(isa: I, from: &[u8]) -> I::Floats {
        isa.load_f32(from)
    }

    #[inline(always)]
    fn load_one(from: &[u8]) -> f32 {
        f32::from_bits(u32_at(from, 0))
    }
}

impl Plain for F16 {
    const BYTES: usize = 2;

    #[inline(always)]
    fn load<I: Isa>(isa: I, from: &[u8]) -> I::Floats {
        isa.load_f16(from)
    }

    #[inline(always)]
    fn load_one(from: &[u8]) -> f32 {
        half::f16::from_bits(u16_at(from, 0)).to_f32()
    }
}

impl Plain for Bf16 {
    const BYTES: usize = 2;

    #[inline(always)]
    fn load<I: Isa>(isa: I, from: &[u8]) -> I::Floats {
        isa.load_bf16(from)
    }

    #[inline(always)]
    fn load_one(from: &[u8]) -> f32 {
        half::bf16::from_bits(u16_at(from, 0)).to_f32()
    }
}

impl Quantised for Q8_0 {
    const KIND: BlockType = BlockType::Q8_0;
    const HAS_MIN: bool = false;

    #[inline(always)]
    fn scales<I: Isa>(isa: I, blocks: &[u8]) -> Scales<I> {
        let scales = isa.scales_of_halves(halves_of::<Self>(blocks, 0));
        Scales { scales, mins: scales }
    }

    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &[u8], _part: usize) -> I::Bytes {
        isa.load_bytes(&block[2..])
    }
}

impl Quantised for Q4_0 {
    const KIND: BlockType = BlockType::Q4_0;
    const HAS_MIN: bool = false;

    #[inline(always)]
    fn scales<I: Isa>(isa: I, blocks: &[u8]) -> Scales<I> {
        let scales = isa.scales_of_halves(halves_of::<Self>(blocks, 0));
        Scales { scales, mins: scales }
    }

    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &[u8], _part: usize) -> I::Bytes {
        isa.sub_byte(isa.load_nibbles(&block[2..]), 8)
    }
}

impl Quantised for Q4_1 {
    const KIND: BlockType = BlockType::Q4_1;
    const HAS_MIN: bool = true;

    #[inline(always)]
    fn scales<I: Isa>(isa: I, blocks: &[u8]) -> Scales<I> {
        let (scales, negated) = (halves_of::<Self>(blocks, 0), halves_of::<Self>(blocks, 2).map(|m| m ^ 0x8000));
        Scales { scales: isa.scales_of_halves(scales), mins: isa.scales_of_halves(negated) }
    }

    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &[u8], _part: usize) -> I::Bytes {
        isa.load_nibbles(&block[4..])
    }
}

impl Quantised for Q5_0 {
    const KIND: BlockType = BlockType::Q5_0;
    const HAS_MIN: bool = false;

    #[inline(always)]
    fn scales<I: Isa>(isa: I, blocks: &[u8]) -> Scales<I> {
        let scales = isa.scales_of_halves(halves_of::<Self>(blocks, 0));
        Scales { scales, mins: scales }
    }

    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &[u8], _part: usize) -> I::Bytes {
        isa.sub_byte(isa.or(isa.load_nibbles(&block[6..]), isa.sixteens(u32_at(block, 2))), 16)
    }
}

impl Quantised for Q5_1 {
    const KIND: BlockType = BlockType::Q5_1;
    const HAS_MIN: bool = true;

    #[inline(always)]
    fn scales<I: Isa>(isa: I, blocks: &[u8]) -> Scales<I> {
        let (scales, negated) = (halves_of::<Self>(blocks, 0), halves_of::<Self>(blocks, 2).map(|m| m ^ 0x8000));
        Scales { scales: isa.scales_of_halves(scales), mins: isa.scales_of_halves(negated) }
    }

    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &[u8], _part: usize) -> I::Bytes {
        isa.or(isa.load_nibbles(&block[8..]), isa.sixteens(u32_at(block, 4)))
    }
}

/// The eight scales and mins of six bits that Q4_K and Q5_K pack into bytes 4..16, all at once.
#[inline(always)]
fn six_bits<I: Isa>(isa: I, block: &[u8]) -> Scales<I> {
    let [a, b, c] = [u32_at(block, 4), u32_at(block, 8), u32_at(block, 12)];
    let scales_low = u64::from(a & 0x3f3f_3f3f);
    let scales_high = u64::from(c & 0x0f0f_0f0f | a >> 2 & 0x3030_3030);
    let mins_low = u64::from(b & 0x3f3f_3f3f);
    let mins_high = u64::from(c >> 4 & 0x0f0f_0f0f | b >> 2 & 0x3030_3030);
    Scales {
        scales: isa.scales_of_bytes(scales_low | scales_high << 32, f16_at(isa, block, 0)),
        mins: isa.scales_of_bytes(mins_low | mins_high << 32, f16_at(isa, block, 2)),
    }
}

/// The low four bits of group `part`: the groups of a pair are the halves of the same 32 bytes.
#[inline(always)]
fn nibbles_of_pair<I: Isa>(isa: I, pairs: &[u8], part: usize) -> I::Bytes {
    isa.shift_right_and(isa.load_bytes(&pairs[32 * (part / 2)..]), 4 * (part as u32 % 2), 15)
}

impl Quantised for Q4K {
    const KIND: BlockType = BlockType::Q4_K;
    const HAS_MIN: bool = true;

    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &[u8]) -> Scales<I> {
        six_bits(isa, block)
    }

    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &[u8], part: usize) -> I::Bytes {
        nibbles_of_pair(isa, &block[16..], part)
    }
}

impl Quantised for Q5K {
    const KIND: BlockType = BlockType::Q5_K;
    const HAS_MIN: bool = true;

    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &[u8]) -> Scales<I> {
        six_bits(isa, block)
    }

    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &[u8], part: usize) -> I::Bytes {
        let (high, part_bit) = (isa.load_bytes(&block[16..]), part as u32);
        let sixteens = match part_bit {
            0..=4 => isa.shift_left_and(high, 4 - part_bit, 16),
            _ => isa.shift_right_and(high, part_bit - 4, 16),
        };
        isa.or(nibbles_of_pair(isa, &block[48..], part), sixteens)
    }
}

impl Quantised for Q6K {
    const KIND: BlockType = BlockType::Q6_K;
    const GROUP: usize = 16;
    const HAS_MIN: bool = false;

    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &[u8]) -> Scales<I> {
        let scales = isa.scales_of_signed_bytes(&block[192..208], f16_at(isa, block, 208));
        Scales { scales, mins: scales }
    }

    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &[u8], part: usize) -> I::Bytes {
        let (half, quarter) = (part / 4, part % 4);
        let low = isa.load_bytes(&block[64 * half + 32 * (quarter % 2)..]);
        let low = isa.shift_right_and(low, 4 * (quarter as u32 / 2), 15);
        let pairs = isa.load_bytes(&block[128 + 32 * half..]);
        let high = match quarter {
            0 => isa.shift_left_and(pairs, 4, 0x30),
            1 => isa.shift_left_and(pairs, 2, 0x30),
            2 => isa.shift_right_and(pairs, 0, 0x30),
            _ => isa.shift_right_and(pairs, 2, 0x30),
        };
        isa.sub_byte(isa.or(low, high), 32)
    }
}

impl<const BITS: usize, const GROUP: usize> Quantised for Affine<BITS, GROUP> {
    const KIND: BlockType = BlockType::affine(BITS, GROUP);
    const HAS_MIN: bool = true;
    const UNSIGNED: bool = BITS == 8;

    #[inline(always)]
    fn scales<I: Isa>(isa: I, blocks: &[u8]) -> Scales<I> {
        let (mut scales, mut mins) = ([0.0; 4], [0.0; 4]);
        let of_block = scales.chunks_exact_mut(GROUP / 32).zip(mins.chunks_exact_mut(GROUP / 32));
        for ((scales, mins), block) in of_block.zip(blocks.chunks_exact(Self::KIND.block_bytes())) {
            scales.fill(f32::from_bits(u32_at(block, 0)));
            mins.fill(-f32::from_bits(u32_at(block, 4)));
        }
        Scales { scales: isa.load_scales(&scales), mins: isa.load_scales(&mins) }
    }

    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &[u8], part: usize) -> I::Bytes {
        let part = &block[affine::HEAD + 4 * BITS * part..];
        match BITS {
            4 => isa.load_nibbles(part),
            5 => isa.or(isa.load_nibbles(&part[4..]), isa.sixteens(u32_at(part, 0))),
            6 => isa.or(isa.load_nibbles(&part[8..]), isa.sixteens_of_pairs(u64_at(part, 0))),
            _ => isa.load_bytes(part),
        }
    }
}

/// Work to be done for whichever format a matrix has.
pub(crate) trait ForFormat {
    type Out;
    fn plain<P: Plain>(self) -> Self::Out;
    fn quantised<Q: Quantised>(self) -> Self::Out;
}

#[inline(always)]
pub(crate) fn for_format<F: ForFormat>(kind: BlockType, work: F) -> F::Out {
    match kind {
        BlockType::F32 => work.plain::<F32>(),
        BlockType::F16 => work.plain::<F16>(),
        BlockType::BF16 => work.plain::<Bf16>(),
        BlockType::Q8_0 => work.quantised::<Q8_0>(),
        BlockType::Q4_0 => work.quantised::<Q4_0>(),
        BlockType::Q4_1 => work.quantised::<Q4_1>(),
        BlockType::Q5_0 => work.quantised::<Q5_0>(),
        BlockType::Q5_1 => work.quantised::<Q5_1>(),
        BlockType::Q4_K => work.quantised::<Q4K>(),
        BlockType::Q5_K => work.quantised::<Q5K>(),
        BlockType::Q6_K => work.quantised::<Q6K>(),
        BlockType::Affine(kind) => match (kind.bits(), kind.group()) {
            (4, 32) => work.quantised::<Affine<4, 32>>(),
            (4, 64) => work.quantised::<Affine<4, 64>>(),
            (4, _) => work.quantised::<Affine<4, 128>>(),
            (5, 32) => work.quantised::<Affine<5, 32>>(),
            (5, 64) => work.quantised::<Affine<5, 64>>(),
            (5, _) => work.quantised::<Affine<5, 128>>(),
            (6, 32) => work.quantised::<Affine<6, 32>>(),
            (6, 64) => work.quantised::<Affine<6, 64>>(),
            (6, _) => work.quantised::<Affine<6, 128>>(),
            (_, 32) => work.quantised::<Affine<8, 32>>(),
            (_, 64) => work.quantised::<Affine<8, 64>>(),
            _ => work.quantised::<Affine<8, 128>>(),
        },
    }
}

/// What activations must know of the quantised weights that they are to meet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub group: usize,
    pub has_min: bool,
}

impl Layout {
    /// `None` for weights that are not quantised.
    pub fn of(kind: BlockType) -> Option<Layout> {
        for_format(kind, LayoutOf)
    }
}

struct LayoutOf;

impl ForFormat for LayoutOf {
    type Out = Option<Layout>;

    fn plain<P: Plain>(self) -> Option<Layout> {
        None
    }

    fn quantised<Q: Quantised>(self) -> Option<Layout> {
        Some(Layout { group: Q::GROUP, has_min: Q::HAS_MIN })
    }
}

/// The body once for each part of 32 values, of which there are up to eight. Written out, so that the part is a constant
/// in shifts and places, and sums stay in registers.
macro_rules! with_parts {
    ($parts:expr, $part:ident => $body:block) => {
        with_parts!(@ $parts, $part, $body, 0, 1, 2, 3, 4, 5, 6, 7);
    };
    (@ $parts:expr, $part:ident, $body:block, $($number:literal),*) => {
        $(if $parts > $number {
            let $part: usize = $number;
            $body
        })*
    };
}
pub(crate) use with_parts;
