//! MLX's affine quantisation, in blocks of this crate's own layout.
//!
//! In an MLX file a row consists of three parts: a stream of codes, and for each group of them a
//! scale and a bias. Here a block is a whole group, so that a row is read from one place, with its
//! codes in the order in which kernels unpack them. Value = scale · code + bias, codes unsigned.
//!
//! A block is `scale: f32, bias: f32` (which holds f16, bf16 and f32 of any file exactly), followed
//! by a part of `4 · bits` bytes for each 32 values:
//!
//! | bits | a part, fields in order |
//! |---|---|
//! | 4 | `low: [u8; 16]` |
//! | 5 | `high: u32, low: [u8; 16]` |
//! | 6 | `high: [u8; 8], low: [u8; 16]` |
//! | 8 | `codes: [u8; 32]` |
//!
//! The low half of byte `i` of `low` belongs to value `i`, the high half to value `16 + i`. With 5
//! bits, bit `i` of `high` is the fifth bit of value `i`. With 6 bits, bit pair `p` of byte `j` of
//! `high` is the fifth and sixth bit of value `8 p + j`.

/// Number of bits of a code, and number of values that share a scale and a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Affine {
    bits: u8,
    group: u8,
}

/// Bytes of scale and bias, before the codes.
pub(crate) const HEAD: usize = 8;

impl Affine {
    /// Creates a type with codes of 4, 5, 6 or 8 bits in groups of 32, 64 or 128; `None` for
    /// anything else.
    pub const fn new(bits: usize, group: usize) -> Option<Affine> {
        match (bits, group) {
            (4 | 5 | 6 | 8, 32 | 64 | 128) => Some(Affine { bits: bits as u8, group: group as u8 }),
            _ => None,
        }
    }

    pub const fn bits(self) -> usize {
        self.bits as usize
    }

    /// Number of values of a group, which is a block.
    pub const fn group(self) -> usize {
        self.group as usize
    }

    /// Bytes of 32 codes.
    pub(crate) const fn part_bytes(self) -> usize {
        4 * self.bits()
    }

    pub(crate) const fn block_bytes(self) -> usize {
        HEAD + self.group() / 32 * self.part_bytes()
    }

    pub(crate) const fn name(self) -> &'static str {
        match (self.bits, self.group) {
            (4, 32) => "affine4/32",
            (4, 64) => "affine4/64",
            (4, _) => "affine4/128",
            (5, 32) => "affine5/32",
            (5, 64) => "affine5/64",
            (5, _) => "affine5/128",
            (6, 32) => "affine6/32",
            (6, 64) => "affine6/64",
            (6, _) => "affine6/128",
            (_, 32) => "affine8/32",
            (_, 64) => "affine8/64",
            _ => "affine8/128",
        }
    }
}

/// Packs blocks of one row (or of any run of whole groups) of an MLX file: `packed` holds `group ·
/// bits / 8` bytes for each group, a little-endian stream of bits in which code `i` has bits `i ·
/// bits..(i + 1) · bits`; `scales` and `biases` hold one value each.
///
/// Panics if the lengths do not belong to the same number of groups, or `dst` does not have that
/// many blocks.
pub fn repack_affine(kind: Affine, packed: &[u8], scales: &[f32], biases: &[f32], dst: &mut [u8]) {
    let group_bytes = kind.group() / 8 * kind.bits();
    let groups = scales.len();
    assert_eq!(biases.len(), groups, "as many biases as scales");
    assert!(
        packed.len() / group_bytes == groups && packed.len().is_multiple_of(group_bytes),
        "{} packed bytes for {groups} groups of {group_bytes}",
        packed.len()
    );
    let block_bytes = kind.block_bytes();
    assert!(
        dst.len() / block_bytes == groups && dst.len().is_multiple_of(block_bytes),
        "room of {} bytes for {groups} blocks of {block_bytes}",
        dst.len()
    );
    let parameters = scales.iter().zip(biases);
    for ((block, codes), (scale, bias)) in
        dst.chunks_exact_mut(block_bytes).zip(packed.chunks_exact(group_bytes)).zip(parameters)
    {
        block[..4].copy_from_slice(&scale.to_le_bytes());
        block[4..8].copy_from_slice(&bias.to_le_bytes());
        let parts = block[HEAD..].chunks_exact_mut(kind.part_bytes());
        for (part, codes) in parts.zip(codes.chunks_exact(kind.part_bytes())) {
            match kind.bits() {
                4 => pack_part::<4>(codes, part),
                5 => pack_part::<5>(codes, part),
                6 => pack_part::<6>(codes, part),
                _ => part.copy_from_slice(codes),
            }
        }
    }
}

/// Packs 32 codes of a stream into a part. The width is a compile-time constant, because a whole
/// model is packed while the user waits.
fn pack_part<const BITS: usize>(stream: &[u8], part: &mut [u8]) {
    let codes = codes_of_stream::<BITS>(stream);
    let (high, low) = part.split_at_mut(part.len() - 16);
    for (i, byte) in low.iter_mut().enumerate() {
        *byte = codes[i] & 15 | codes[16 + i] << 4;
    }
    for (j, byte) in high.iter_mut().enumerate() {
        *byte = match BITS {
            5 => (0..8).fold(0, |byte, i| byte | (codes[8 * j + i] >> 4) << i),
            _ => (0..4).fold(0, |byte, pair| byte | (codes[8 * pair + j] >> 4) << (2 * pair)),
        };
    }
}

/// Reads 32 codes of a stream: eight codes fill as many bytes as a code has bits.
fn codes_of_stream<const BITS: usize>(stream: &[u8]) -> [u8; 32] {
    let mut codes = [0; 32];
    for (codes, bytes) in codes.chunks_exact_mut(8).zip(stream.chunks_exact(BITS)) {
        let mut word = [0; 8];
        word[..BITS].copy_from_slice(bytes);
        let word = u64::from_le_bytes(word);
        for (i, code) in codes.iter_mut().enumerate() {
            *code = (word >> (i * BITS)) as u8 & ((1 << BITS) - 1);
        }
    }
    codes
}

/// Returns code `i` of a part.
pub(crate) fn code_in_part(kind: Affine, part: &[u8], i: usize) -> u8 {
    let low = |low: &[u8]| low[i % 16] >> (4 * (i / 16)) & 15;
    match kind.bits() {
        4 => low(part),
        5 => low(&part[4..]) | (part[i / 8] >> (i % 8) & 1) << 4,
        6 => low(&part[8..]) | (part[i % 8] >> (2 * (i / 8)) & 3) << 4,
        _ => part[i],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BlockType, unpack_row};

    #[test]
    fn only_what_kernels_know() {
        for (bits, group, known) in [(4, 32, true), (5, 64, true), (6, 128, true), (8, 64, true)].into_iter().chain([
            (3, 64, false),
            (2, 32, false),
            (7, 64, false),
            (4, 16, false),
            (8, 256, false),
            (260, 32, false),
        ]) {
            assert_eq!(Affine::new(bits, group).is_some(), known, "{bits} {group}");
        }
    }

    /// The stream is built bit by bit here, following its definition.
    #[test]
    fn every_code_comes_back_in_its_place() {
        for kind in BlockType::AFFINE {
            let BlockType::Affine(affine) = kind else { panic!("{kind}") };
            let (bits, len) = (affine.bits(), 3 * affine.group());
            let codes: Vec<usize> = (0..len).map(|i| (i * i + 7 * i + 3) % (1 << bits)).collect();
            let mut packed = vec![0; len / 8 * bits];
            for bit in 0..len * bits {
                packed[bit / 8] |= ((codes[bit / bits] >> (bit % bits) & 1) << (bit % 8)) as u8;
            }
            let (scales, biases) = ([0.5, -2.0, 1.0], [-3.0, 100.0, 0.0]);
            let mut blocks = vec![0xff; kind.row_bytes(len).unwrap()];
            repack_affine(affine, &packed, &scales, &biases, &mut blocks);
            let mut values = vec![0.0; len];
            unpack_row(kind, &blocks, &mut values);
            for (i, value) in values.into_iter().enumerate() {
                let group = i / affine.group();
                assert_eq!(value, scales[group] * codes[i] as f32 + biases[group], "{kind} value {i}");
            }
        }
    }

    #[test]
    #[should_panic = "63 packed bytes for 2 groups of 32"]
    fn a_row_cut_short_is_refused() {
        repack_affine(Affine::new(4, 64).unwrap(), &[0; 63], &[0.0; 2], &[0.0; 2], &mut [0; 80]);
    }
}
