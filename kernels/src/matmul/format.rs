//! How each block type is taken apart in registers. Layouts: [`crate::BlockType`].

use crate::isa::Isa;
use crate::{Affine, BlockType};

/// Weights of which `Isa::LANES` can be loaded as f32 directly.
pub(crate) trait Plain {
    const BYTES: usize;
    /// The first `Isa::LANES` values of `from`.
    fn load<I: Isa>(isa: I, from: &[u8]) -> I::Floats;
    fn load_one(from: &[u8]) -> f32;
}

/// Weights in blocks: value = scale · (code - zero) - min, with scale and min shared by a group.
pub(crate) trait Quantised {
    const KIND: BlockType;
    /// Values that share a scale: 16 or 32.
    const GROUP: usize;
    /// Whether there are mins at all; those that there are belong to groups of 32.
    const HAS_MIN: bool;
    /// The code that means zero; `None` where codes are signed bytes, and else they are below 128.
    const ZERO: Option<f32>;
    /// The scale of each group of a block, and its min.
    fn scales<I: Isa>(isa: I, block: &[u8]) -> Scales;
    /// The codes of values `32 * part..32 * (part + 1)`.
    fn codes<I: Isa>(isa: I, block: &[u8], part: usize) -> I::Bytes;
}

/// The codes that belong to vector `i` of 32, plus [`offset`].
#[inline(always)]
pub(crate) fn widen<I: Isa, Q: Quantised>(isa: I, codes: I::Bytes, i: usize) -> I::Floats {
    match Q::ZERO {
        None => isa.widen(codes, i),
        Some(_) => isa.widen_code(codes, i),
    }
}

/// How much larger than the quants the values of [`widen`] are.
#[inline(always)]
pub(crate) const fn offset<I: Isa, Q: Quantised>() -> f32 {
    match Q::ZERO {
        None => 0.0,
        Some(zero) => zero + I::BIAS,
    }
}

/// Scales and mins of a block; those beyond its last group are not used.
#[derive(Clone, Copy)]
pub(crate) struct Scales {
    pub scales: [f32; 16],
    pub mins: [f32; 8],
}

impl Scales {
    #[inline(always)]
    pub fn one(scale: f32, min: f32) -> Scales {
        Scales { scales: [scale; 16], mins: [min; 8] }
    }
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

#[inline(always)]
fn u16_at(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

#[inline(always)]
fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

#[inline(always)]
fn f16_at<I: Isa>(isa: I, block: &[u8], at: usize) -> f32 {
    isa.f16_to_f32(u16_at(block, at))
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
    const GROUP: usize = 32;
    const HAS_MIN: bool = false;
    const ZERO: Option<f32> = None;

    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &[u8]) -> Scales {
        Scales::one(f16_at(isa, block, 0), 0.0)
    }

    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &[u8], _part: usize) -> I::Bytes {
        isa.load_bytes(&block[2..])
    }
}

impl Quantised for Q4_0 {
    const KIND: BlockType = BlockType::Q4_0;
    const GROUP: usize = 32;
    const HAS_MIN: bool = false;
    const ZERO: Option<f32> = Some(8.0);

    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &[u8]) -> Scales {
        Scales::one(f16_at(isa, block, 0), 0.0)
    }

    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &[u8], _part: usize) -> I::Bytes {
        isa.load_nibbles(&block[2..])
    }
}

impl Quantised for Q4_1 {
    const KIND: BlockType = BlockType::Q4_1;
    const GROUP: usize = 32;
    const HAS_MIN: bool = true;
    const ZERO: Option<f32> = Some(0.0);

    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &[u8]) -> Scales {
        Scales::one(f16_at(isa, block, 0), -f16_at(isa, block, 2))
    }

    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &[u8], _part: usize) -> I::Bytes {
        isa.load_nibbles(&block[4..])
    }
}

impl Quantised for Q5_0 {
    const KIND: BlockType = BlockType::Q5_0;
    const GROUP: usize = 32;
    const HAS_MIN: bool = false;
    const ZERO: Option<f32> = Some(16.0);

    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &[u8]) -> Scales {
        Scales::one(f16_at(isa, block, 0), 0.0)
    }

    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &[u8], _part: usize) -> I::Bytes {
        isa.or(isa.load_nibbles(&block[6..]), isa.sixteens(u32_at(block, 2)))
    }
}

impl Quantised for Q5_1 {
    const KIND: BlockType = BlockType::Q5_1;
    const GROUP: usize = 32;
    const HAS_MIN: bool = true;
    const ZERO: Option<f32> = Some(0.0);

    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &[u8]) -> Scales {
        Scales::one(f16_at(isa, block, 0), -f16_at(isa, block, 2))
    }

    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &[u8], _part: usize) -> I::Bytes {
        isa.or(isa.load_nibbles(&block[8..]), isa.sixteens(u32_at(block, 4)))
    }
}

/// The eight scales and mins of six bits that Q4_K and Q5_K pack into bytes 4..16, all at once.
#[inline(always)]
fn six_bits<I: Isa>(isa: I, block: &[u8]) -> Scales {
    let [a, b, c] = [u32_at(block, 4), u32_at(block, 8), u32_at(block, 12)];
    let scales_low = u64::from(a & 0x3f3f_3f3f);
    let scales_high = u64::from(c & 0x0f0f_0f0f | a >> 2 & 0x3030_3030);
    let mins_low = u64::from(b & 0x3f3f_3f3f);
    let mins_high = u64::from(c >> 4 & 0x0f0f_0f0f | b >> 2 & 0x3030_3030);
    let mut all = Scales { scales: [0.0; 16], mins: [0.0; 8] };
    isa.scale_bytes(scales_low | scales_high << 32, f16_at(isa, block, 0), &mut all.scales);
    isa.scale_bytes(mins_low | mins_high << 32, f16_at(isa, block, 2), &mut all.mins);
    all
}

/// The low four bits of group `part`: the groups of a pair are the halves of the same 32 bytes.
#[inline(always)]
fn nibbles_of_pair<I: Isa>(isa: I, pairs: &[u8], part: usize) -> I::Bytes {
    isa.shift_right_and(isa.load_bytes(&pairs[32 * (part / 2)..]), 4 * (part as u32 % 2), 15)
}

impl Quantised for Q4K {
    const KIND: BlockType = BlockType::Q4_K;
    const GROUP: usize = 32;
    const HAS_MIN: bool = true;
    const ZERO: Option<f32> = Some(0.0);

    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &[u8]) -> Scales {
        six_bits(isa, block)
    }

    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &[u8], part: usize) -> I::Bytes {
        nibbles_of_pair(isa, &block[16..], part)
    }
}

impl Quantised for Q5K {
    const KIND: BlockType = BlockType::Q5_K;
    const GROUP: usize = 32;
    const HAS_MIN: bool = true;
    const ZERO: Option<f32> = Some(0.0);

    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &[u8]) -> Scales {
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
    const ZERO: Option<f32> = Some(32.0);

    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &[u8]) -> Scales {
        let d = f16_at(isa, block, 208);
        let mut all = Scales { scales: [0.0; 16], mins: [0.0; 8] };
        isa.scale_signed_bytes(&block[192..208], d, &mut all.scales);
        all
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
        isa.or(low, high)
    }
}

/// Work to be done for whichever format a matrix has.
pub(crate) trait ForFormat {
    type Out;
    fn plain<P: Plain>(self) -> Self::Out;
    fn quantised<Q: Quantised>(self) -> Self::Out;
    fn affine(self, kind: Affine) -> Self::Out;
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
        BlockType::Affine(kind) => work.affine(kind),
    }
}
