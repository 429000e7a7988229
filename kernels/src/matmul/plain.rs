//! Weights that vectors can load directly.

use crate::BlockType;
use crate::isa::Isa;

/// A format of weights of which `Isa::LANES` can be loaded as f32 directly.
pub(crate) trait Plain {
    const BYTES: usize;
    /// Loads the first `Isa::LANES` values of `from`.
    fn load<I: Isa>(isa: I, from: &[u8]) -> I::Floats;
    fn load_one(from: &[u8]) -> f32;
}

struct F32;
struct F16;
struct Bf16;

impl Plain for F32 {
    const BYTES: usize = 4;

    #[inline(always)]
    fn load<I: Isa>(isa: I, from: &[u8]) -> I::Floats {
        isa.load_f32(from)
    }

    #[inline(always)]
    fn load_one(from: &[u8]) -> f32 {
        f32::from_le_bytes([from[0], from[1], from[2], from[3]])
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
        half::f16::from_le_bytes([from[0], from[1]]).to_f32()
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
        half::bf16::from_le_bytes([from[0], from[1]]).to_f32()
    }
}

/// A generic operation for the plain type of a matrix.
pub(crate) trait ForPlain {
    fn plain<P: Plain>(self);
}

/// Runs the operation. Panics for weights that are not plain.
#[inline(always)]
pub(crate) fn for_plain<F: ForPlain>(kind: BlockType, work: F) {
    match kind {
        BlockType::F32 => work.plain::<F32>(),
        BlockType::F16 => work.plain::<F16>(),
        BlockType::BF16 => work.plain::<Bf16>(),
        _ => unreachable!("{kind} weights are multiplied in strips"),
    }
}
