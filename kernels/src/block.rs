//! Storage formats of weights: the block types of GGML, byte for byte, and affine ones.
//!
//! A row of a matrix is a sequence of blocks; a block holds [`BlockType::block_len`] values in
//! [`BlockType::block_bytes`] bytes, little-endian. Layouts are those of ggml's `ggml-common.h`:
//!
//! | type | values | bytes | fields in order |
//! |---|---|---|---|
//! | Q8_0 | 32 | 34 | `d: f16, q: [i8; 32]` |
//! | Q4_0 | 32 | 18 | `d: f16, qs: [u8; 16]` |
//! | Q4_1 | 32 | 20 | `d: f16, m: f16, qs: [u8; 16]` |
//! | Q5_0 | 32 | 22 | `d: f16, qh: u32, qs: [u8; 16]` |
//! | Q5_1 | 32 | 24 | `d: f16, m: f16, qh: u32, qs: [u8; 16]` |
//! | Q2_K | 256 | 84 | `scales: [u8; 16], qs: [u8; 64], d: f16, m: f16` |
//! | Q3_K | 256 | 110 | `qh: [u8; 32], qs: [u8; 64], scales: [u8; 12], d: f16` |
//! | Q4_K | 256 | 144 | `d: f16, m: f16, scales: [u8; 12], qs: [u8; 128]` |
//! | Q5_K | 256 | 176 | `d: f16, m: f16, scales: [u8; 12], qh: [u8; 32], qs: [u8; 128]` |
//! | Q6_K | 256 | 210 | `ql: [u8; 128], qh: [u8; 64], scales: [i8; 16], d: f16` |
//!
//! | types | value |
//! |---|---|
//! | Q8_0 | `d * q` |
//! | Q4_0 | `d * (q - 8)` |
//! | Q5_0 | `d * (q - 16)` |
//! | Q4_1, Q5_1 | `d * q + m` |
//! | Q2_K, Q4_K, Q5_K | `d * scale * q - m * min` |
//! | Q3_K | `d * (scale - 32) * (q - 4)` |
//! | Q6_K | `d * scale * (q - 32)` |
//!
//! In the 32-value types nibble `i` of the low halves is value `i`, of the high halves value `16 +
//! i`; bit `i` of `qh` is the fifth bit of value `i`. Blocks of affine quantisation have a layout
//! of this crate: [`Affine`].

use crate::affine::Affine;

/// Type of the blocks of a matrix.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockType {
    F32,
    F16,
    BF16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    Affine(Affine),
}

impl BlockType {
    /// Types that occur in GGUF files.
    pub const GGML: [BlockType; 13] = [
        BlockType::F32,
        BlockType::F16,
        BlockType::BF16,
        BlockType::Q8_0,
        BlockType::Q4_0,
        BlockType::Q4_1,
        BlockType::Q5_0,
        BlockType::Q5_1,
        BlockType::Q2_K,
        BlockType::Q3_K,
        BlockType::Q4_K,
        BlockType::Q5_K,
        BlockType::Q6_K,
    ];

    /// Types that [`crate::repack_affine`] makes of MLX files.
    pub(crate) const AFFINE: [BlockType; 12] = [
        BlockType::affine(4, 32),
        BlockType::affine(4, 64),
        BlockType::affine(4, 128),
        BlockType::affine(5, 32),
        BlockType::affine(5, 64),
        BlockType::affine(5, 128),
        BlockType::affine(6, 32),
        BlockType::affine(6, 64),
        BlockType::affine(6, 128),
        BlockType::affine(8, 32),
        BlockType::affine(8, 64),
        BlockType::affine(8, 128),
    ];

    pub(crate) const fn affine(bits: usize, group: usize) -> BlockType {
        match Affine::new(bits, group) {
            Some(affine) => BlockType::Affine(affine),
            None => panic!("no such affine blocks"),
        }
    }

    /// Returns all types.
    pub fn all() -> impl Iterator<Item = BlockType> {
        BlockType::GGML.into_iter().chain(BlockType::AFFINE)
    }

    /// Finds the type with this number in a GGUF file (`enum ggml_type`); `None` for one that this
    /// engine cannot read.
    pub fn from_ggml(id: u32) -> Option<BlockType> {
        BlockType::GGML.into_iter().find(|kind| kind.ggml_id() == Some(id))
    }

    /// Number of this type in a GGUF file (`enum ggml_type`); `None` if it never occurs there.
    const fn ggml_id(self) -> Option<u32> {
        let id = match self {
            BlockType::F32 => 0,
            BlockType::F16 => 1,
            BlockType::Q4_0 => 2,
            BlockType::Q4_1 => 3,
            BlockType::Q5_0 => 6,
            BlockType::Q5_1 => 7,
            BlockType::Q8_0 => 8,
            BlockType::Q2_K => 10,
            BlockType::Q3_K => 11,
            BlockType::Q4_K => 12,
            BlockType::Q5_K => 13,
            BlockType::Q6_K => 14,
            BlockType::BF16 => 30,
            BlockType::Affine(_) => return None,
        };
        Some(id)
    }

    pub const fn name(self) -> &'static str {
        match self {
            BlockType::F32 => "F32",
            BlockType::F16 => "F16",
            BlockType::BF16 => "BF16",
            BlockType::Q8_0 => "Q8_0",
            BlockType::Q4_0 => "Q4_0",
            BlockType::Q4_1 => "Q4_1",
            BlockType::Q5_0 => "Q5_0",
            BlockType::Q5_1 => "Q5_1",
            BlockType::Q2_K => "Q2_K",
            BlockType::Q3_K => "Q3_K",
            BlockType::Q4_K => "Q4_K",
            BlockType::Q5_K => "Q5_K",
            BlockType::Q6_K => "Q6_K",
            BlockType::Affine(affine) => affine.name(),
        }
    }

    /// Number of values in one block.
    pub const fn block_len(self) -> usize {
        match self {
            BlockType::F32 | BlockType::F16 | BlockType::BF16 => 1,
            BlockType::Q8_0 | BlockType::Q4_0 | BlockType::Q4_1 | BlockType::Q5_0 | BlockType::Q5_1 => 32,
            BlockType::Q2_K | BlockType::Q3_K | BlockType::Q4_K | BlockType::Q5_K | BlockType::Q6_K => 256,
            BlockType::Affine(affine) => affine.group(),
        }
    }

    /// Number of bytes of one block.
    pub const fn block_bytes(self) -> usize {
        match self {
            BlockType::F32 => 4,
            BlockType::F16 | BlockType::BF16 => 2,
            BlockType::Q8_0 => 34,
            BlockType::Q4_0 => 18,
            BlockType::Q4_1 => 20,
            BlockType::Q5_0 => 22,
            BlockType::Q5_1 => 24,
            BlockType::Q2_K => 84,
            BlockType::Q3_K => 110,
            BlockType::Q4_K => 144,
            BlockType::Q5_K => 176,
            BlockType::Q6_K => 210,
            BlockType::Affine(affine) => affine.block_bytes(),
        }
    }

    /// Number of bytes of a row of `cols` values; `None` if `cols` is not a whole number of blocks
    /// or the size overflows.
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }
}

impl std::fmt::Display for BlockType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ggml_numbers_go_both_ways() {
        for kind in BlockType::all() {
            assert_eq!(kind.ggml_id().and_then(BlockType::from_ggml), kind.ggml_id().map(|_| kind));
        }
        for unknown in [4, 5, 9, 15, 16, 31, u32::MAX] {
            assert_eq!(BlockType::from_ggml(unknown), None);
        }
    }

    #[test]
    fn row_bytes_are_checked() {
        for (kind, cols, bytes) in [
            (BlockType::F32, 3, Some(12)),
            (BlockType::Q8_0, 896, Some(952)),
            (BlockType::Q4_K, 4864, Some(2736)),
            (BlockType::Q4_K, 896, None),
            (BlockType::Q6_K, 0, Some(0)),
            (BlockType::F32, usize::MAX, None),
            (BlockType::affine(5, 64), 3584, Some(56 * 48)),
            (BlockType::affine(5, 64), 32, None),
        ] {
            assert_eq!(kind.row_bytes(cols), bytes, "{kind} {cols}");
        }
    }
}
