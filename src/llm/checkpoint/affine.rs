//! MLX's affine quantisation: packed codes, scales and biases in three tensors, laid out anew in one.
//!
//! A module X with W [rows, cols] has `X.weight` U32 [rows, cols * bits / 32], and `X.scales` and `X.biases` [rows, cols /
//! group]. Bits and group follow from the shapes and must be what config.json declares. The blocks that kernels read hold
//! scale and bias beside the codes ([`sotto_kernels::Affine`]), so the weights are written into memory once, and the
//! pages of the file are given back piece by piece.

use sotto_kernels::{Affine, BlockType, Pool, repack_affine};

use super::header::{Dtype, Tensor};
use super::{Checkpoint, CheckpointFault, Place};
use crate::llm::LlmError;
use crate::llm::tensors::{Weight, bring_in, give_back};

/// Bytes of the file that are in memory twice at a time.
const CHUNK: usize = 16 << 20;
/// Bytes of blocks that a thread takes at a time.
const PIECE: usize = 256 << 10;

const SUPPORTED: &str = "affine quantisation to 4, 5, 6 or 8 bits in groups of 32, 64 or 128";

/// The module whose tensor is called `name`.
pub fn module(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(module, _)| module)
}

/// The weights of the tensor called `name`, which is packed.
pub fn bind(checkpoint: &Checkpoint, name: &str, rows: usize, cols: usize, pool: &Pool) -> Result<Weight, LlmError> {
    let codes = checkpoint.place(name)?;
    let part = |part: &str| {
        let missing = || checkpoint.unsupported(format!("{:?} without {part:?}", codes.tensor.name), SUPPORTED);
        checkpoint.tensors.get(&format!("{}.{part}", module(name))).ok_or_else(missing)
    };
    let (scales, biases) = (part("scales")?, part("biases")?);
    let affine = derive(checkpoint, codes, scales, rows, cols)?;
    if biases.tensor.dims != scales.tensor.dims {
        return Err(checkpoint.mismatch(biases, format!("{:?}", scales.tensor.dims)));
    }
    let packed = Packed { affine, rows, cols, codes, scales, biases };
    packed.repack(checkpoint, pool)
}

/// Bits and group from the shapes, held against what config.json says.
fn derive(
    checkpoint: &Checkpoint,
    codes: &Place,
    scales: &Place,
    rows: usize,
    cols: usize,
) -> Result<Affine, LlmError> {
    let per = |tensor: &Tensor| match tensor.dims[..] {
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
            (format!("{bits} bits in groups of {group}"), format!("what config.json says: {declared}"));
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
        let kind = BlockType::Affine(self.affine);
        let (scales, biases) = (self.parameters(checkpoint, self.scales)?, self.parameters(checkpoint, self.biases)?);
        let too_large = || checkpoint.unsupported(format!("{:?}: its size", self.codes.tensor.name), "smaller tensors");
        let row_bytes = kind.row_bytes(self.cols).ok_or_else(too_large)?;
        // About as much as the codes and parameters in the file.
        let mut blocks = vec![0; row_bytes.checked_mul(self.rows).ok_or_else(too_large)?];
        let (map, span) = (&checkpoint.shards[self.codes.shard].map, self.codes.tensor.span.clone());
        let (packed_row, groups) = (self.cols / 8 * self.affine.bits(), self.cols / self.affine.group());
        let (chunk_rows, piece_rows) = ((CHUNK / packed_row).max(1), (PIECE / row_bytes).max(1));
        for (chunk, blocks) in blocks.chunks_mut(chunk_rows * row_bytes).enumerate() {
            let first = chunk * chunk_rows;
            let rows = blocks.len() / row_bytes;
            let bytes = span.start + first * packed_row..span.start + (first + rows) * packed_row;
            bring_in(map, &bytes);
            let codes = &map[bytes.clone()];
            pool.for_pieces(blocks, piece_rows * row_bytes, |piece, blocks, _| {
                let (from, rows) = (piece * piece_rows, blocks.len() / row_bytes);
                let parameters = (first + from) * groups..(first + from + rows) * groups;
                let codes = &codes[from * packed_row..][..rows * packed_row];
                repack_affine(self.affine, codes, &scales[parameters.clone()], &biases[parameters], blocks);
            });
            give_back(map, &bytes);
        }
        Weight::owned(kind, self.rows, self.cols, blocks).ok_or_else(too_large)
    }

    fn parameters(&self, checkpoint: &Checkpoint, place: &Place) -> Result<Vec<f32>, LlmError> {
        if place.tensor.dtype == Dtype::U32 {
            let what = format!("{:?} of type U32", place.tensor.name);
            return Err(checkpoint.unsupported(what, SUPPORTED));
        }
        checkpoint.values(place)
    }
}
