//! MLX's affine quantisation: packed codes, scales and biases in three tensors, repacked into one.
//!
//! A module X with W [rows, cols] has `X.weight` U32 [rows, cols * bits / 32], and `X.scales` and
//! `X.biases` [rows, cols / group]. Bits and group size follow from the shapes and must agree with
//! config.json. The kernels read blocks with scale and bias beside the codes
//! ([`sotto_kernels::Affine`]), so the weights are written to memory once, and the pages of the
//! file are freed piece by piece.

use std::ops::Range;

use half::f16;
use memmap2::Mmap;
use sotto_kernels::{Affine, BlockType, Pool, repack_affine, unpack_row};

use super::header::CheckpointTensor;
use super::names::module;
use super::{Checkpoint, CheckpointFault, Place};
use crate::llm::LlmError;
use crate::llm::tensors::{Weight, give_back, pages, populate_pages};
use crate::types::Bytes;

/// Bytes of the file that are held twice at a time.
const CHUNK: usize = 16 << 20;
/// Bytes of blocks that a thread packs at a time.
const PIECE: usize = 256 << 10;

const SUPPORTED: &str = "affine quantisation to 4, 5, 6 or 8 bits in groups of 32, 64 or 128";

/// Binds the weights of the packed tensor called `name`.
pub fn bind(checkpoint: &Checkpoint, name: &str, rows: usize, cols: usize, pool: &Pool) -> Result<Weight, LlmError> {
    let codes = checkpoint.place(name)?;
    let part = |part: &str| {
        let missing = || checkpoint.unsupported(format!("{:?} without {part:?}", codes.tensor.name), SUPPORTED);
        checkpoint.get(&format!("{}.{part}", module(name))).ok_or_else(missing)
    };
    let (scales, biases) = (part("scales")?, part("biases")?);
    let affine = derive(checkpoint, codes, scales, rows, cols)?;
    if biases.tensor.dims != scales.tensor.dims {
        return Err(checkpoint.mismatch(biases, format!("{:?}", scales.tensor.dims)));
    }
    let packed = Packed { affine, rows, cols, codes, scales, biases };
    packed.repack(checkpoint, pool)
}

/// Derives bits and group size from the shapes, and checks them against config.json.
fn derive(
    checkpoint: &Checkpoint,
    codes: &Place,
    scales: &Place,
    rows: usize,
    cols: usize,
) -> Result<Affine, LlmError> {
    let per = |tensor: &CheckpointTensor| match tensor.dims[..] {
        [found, width] if found == rows && width > 0 => Some(width),
        _ => None,
    };
    let words = per(&codes.tensor).filter(|words| words.checked_mul(32).is_some_and(|bits| bits.is_multiple_of(cols)));
    let Some(bits) = words.map(|words| words * 32 / cols) else {
        return Err(checkpoint.mismatch(codes, format!("codes of whole bits for [{rows}, {cols}]")));
    };
    let Some(group) = per(&scales.tensor).filter(|groups| cols.is_multiple_of(*groups)).map(|groups| cols / groups)
    else {
        return Err(checkpoint.mismatch(scales, format!("whole groups of [{rows}, {cols}]")));
    };
    let name = &codes.tensor.name;
    if let Some(declared) = checkpoint.config.quantization.contradicts(module(name), bits, group) {
        let (found, wanted) =
            (format!("{bits} bits in groups of {group}"), format!("what config.json says ({declared})"));
        return Err(checkpoint.damaged(codes, CheckpointFault::Mismatch { tensor: name.clone(), found, wanted }));
    }
    let unsupported = || checkpoint.unsupported(format!("{name:?} in {bits} bits, groups of {group}"), SUPPORTED);
    Affine::new(bits, group).ok_or_else(unsupported)
}

/// Three tensors whose shapes agree.
struct Packed<'a> {
    affine: Affine,
    rows: usize,
    cols: usize,
    codes: &'a Place,
    scales: &'a Place,
    biases: &'a Place,
}

impl Packed<'_> {
    fn repack(&self, checkpoint: &Checkpoint, pool: &Pool) -> Result<Weight, LlmError> {
        let parameters = Parameters::new(checkpoint, self.scales, self.biases)?;
        let kind = parameters.blocks_for(self.affine);
        let too_large = || checkpoint.unsupported(format!("{:?}: its size", self.codes.tensor.name), "smaller tensors");
        let row_bytes = kind.row_bytes(self.cols).ok_or_else(too_large)?;
        // About as many bytes as the codes and parameters in the file.
        let bytes = row_bytes.checked_mul(self.rows).ok_or_else(too_large)?;
        let mut blocks = pages(bytes).map_err(|why| LlmError::Memory { bytes: Bytes(bytes as u64), why })?;
        let (map, span) = (&checkpoint.shards[self.codes.shard].map, self.codes.tensor.span.clone());
        let (packed_row, groups) = (self.cols / 8 * self.affine.bits(), self.cols / self.affine.group());
        let (chunk_rows, piece_rows) = ((CHUNK / packed_row).max(1), (PIECE / row_bytes).max(1));
        for (chunk, blocks) in blocks.chunks_mut(chunk_rows * row_bytes).enumerate() {
            let first = chunk * chunk_rows;
            let rows = blocks.len() / row_bytes;
            let bytes = span.start + first * packed_row..span.start + (first + rows) * packed_row;
            populate_pages(map, &bytes);
            let codes = &map[bytes.clone()];
            pool.for_pieces(blocks, piece_rows * row_bytes, |piece, blocks, _| {
                let (from, rows) = (piece * piece_rows, blocks.len() / row_bytes);
                let (scales, biases) = parameters.of((first + from) * groups..(first + from + rows) * groups);
                let codes = &codes[from * packed_row..][..rows * packed_row];
                match kind {
                    BlockType::Q8_0 => repack_q8_0(codes, &scales, blocks),
                    _ => repack_affine(self.affine, codes, &scales, &biases, blocks),
                }
            });
            give_back(map, &bytes);
        }
        parameters.give_back();
        Weight::owned(kind, self.rows, self.cols, blocks).ok_or_else(too_large)
    }
}

/// Scales and biases in the file.
struct Parameters<'a> {
    scales: Floats<'a>,
    biases: Floats<'a>,
}

struct Floats<'a> {
    kind: BlockType,
    map: &'a Mmap,
    span: Range<usize>,
}

/// Number of parameters that are checked at a time.
const LOOK: usize = 1 << 16;

impl<'a> Parameters<'a> {
    fn new(checkpoint: &'a Checkpoint, scales: &'a Place, biases: &'a Place) -> Result<Self, LlmError> {
        let floats = |place: &'a Place| -> Result<Floats<'a>, LlmError> {
            let unsupported = || {
                let what = format!("{:?} of type {}", place.tensor.name, place.tensor.dtype.name());
                checkpoint.unsupported(what, SUPPORTED)
            };
            let kind = place.tensor.dtype.kind().ok_or_else(unsupported)?;
            Ok(Floats { kind, map: &checkpoint.shards[place.shard].map, span: place.tensor.span.clone() })
        };
        Ok(Parameters { scales: floats(scales)?, biases: floats(biases)? })
    }

    fn of(&self, range: Range<usize>) -> (Vec<f32>, Vec<f32>) {
        (self.scales.values(range.clone()), self.biases.values(range))
    }

    fn give_back(&self) {
        [&self.scales, &self.biases].into_iter().for_each(|floats| give_back(floats.map, &floats.span));
    }

    /// Chooses the block type. Symmetric codes of 8 bits in groups of 32, as `sotto quantize
    /// --format int8` writes them, are bit-identical to Q8_0 if the scales are f16: 34 bytes
    /// instead of 40, and no bias to add.
    fn blocks_for(&self, affine: Affine) -> BlockType {
        let symmetric =
            |(scale, bias): (&f32, &f32)| *bias == -128.0 * scale && f16::from_f32(*scale).to_f32() == *scale;
        let count = self.scales.len();
        let all_symmetric = || {
            (0..count).step_by(LOOK).all(|start| {
                let (scales, biases) = self.of(start..count.min(start + LOOK));
                scales.iter().zip(&biases).all(symmetric)
            })
        };
        match (affine.bits(), affine.group()) {
            (8, 32) if all_symmetric() => BlockType::Q8_0,
            _ => BlockType::Affine(affine),
        }
    }
}

impl Floats<'_> {
    fn len(&self) -> usize {
        self.span.len() / self.kind.block_bytes()
    }

    fn values(&self, range: Range<usize>) -> Vec<f32> {
        let mut values = vec![0.0; range.len()];
        let (start, bytes) = (self.span.start, self.kind.block_bytes());
        unpack_row(self.kind, &self.map[start + range.start * bytes..start + range.end * bytes], &mut values);
        values
    }
}

/// Packs blocks of a scale and 32 signed codes.
fn repack_q8_0(codes: &[u8], scales: &[f32], blocks: &mut [u8]) {
    let blocks = blocks.chunks_exact_mut(BlockType::Q8_0.block_bytes());
    for ((block, codes), scale) in blocks.zip(codes.chunks_exact(BlockType::Q8_0.block_len())).zip(scales) {
        let (head, signed) = block.split_at_mut(2);
        head.copy_from_slice(&f16::from_f32(*scale).to_le_bytes());
        // Code - 128 as i8.
        signed.iter_mut().zip(codes).for_each(|(signed, code)| *signed = code ^ 0x80);
    }
}

/// Bytes of the blocks that a module's tensors become: the codes unchanged, and a head for each
/// group.
pub fn block_bytes(checkpoint: &Checkpoint, codes: &Place, name: &str) -> u64 {
    let part = |part: &str| checkpoint.get(&format!("{}.{part}", module(name)));
    let parts = part("scales").zip(part("biases"));
    // Other shapes are refused when they are bound.
    let Some((scales, biases)) = parts.filter(|(scales, biases)| scales.tensor.dims == biases.tensor.dims) else {
        return 0;
    };
    let (bytes, groups) = (codes.tensor.span.len(), scales.tensor.dims.iter().product::<usize>());
    let eight = Affine::new(8, 32).filter(|_| bytes == 32 * groups);
    let kind = eight.and_then(|eight| Some(Parameters::new(checkpoint, scales, biases).ok()?.blocks_for(eight)));
    let head = if kind == Some(BlockType::Q8_0) { size_of::<f16>() } else { 2 * size_of::<f32>() };
    (bytes + head * groups) as u64
}
