//! Quantises a checkpoint of transformers into MLX's layout, which Sotto and mlx-lm read.
//!
//! ```text
//! SRC ── checkpoint ── plan (recipe: format of each tensor) ── pack ── folder beside DST ── rename
//! ```
//! Names are `language_model.model.…`, norms 1 + w, convolutions `[channels, taps, 1]`, A_log in
//! f32. The vision part is left out. The draft block goes into a file of its own, because other
//! engines take its presence among the model's tensors as a sign that norms are zero-centred.
//! Tensors are read, packed and written piece by piece, so that memory use stays far below one
//! tensor. The destination is unchanged until everything is on disk.

mod error;
mod folder;
mod pack;
mod plan;
mod recipe;
#[cfg(test)]
mod tests;

use std::path::Path;

use memmap2::Mmap;
use sotto_kernels::{BlockType, Pool, unpack_row};

use super::ModelSource;
use super::checkpoint::header::{CheckpointTensor, Dtype};
use super::checkpoint::writer::CheckpointWriter;
use super::checkpoint::{Checkpoint, DRAFTING};
use super::tensors::{give_back, populate_pages};
pub use error::QuantizeError;
use folder::Destination;
use pack::Packed;
use plan::{QuantizeJob, QuantizePlan, QuantizeTask};
pub use recipe::{QuantFormat, Recipe, Scheme};

use crate::types::Bytes;

/// Bytes of the source that are read at a time.
const CHUNK: usize = 16 << 20;
/// Values that a thread packs at a time.
const PIECE: usize = 64 << 10;

/// Observer of a quantisation.
pub trait Watch {
    /// Reports the start: `partial` is the folder to remove if the work is interrupted, `total` the
    /// number of bytes to read.
    fn begin(&self, partial: &Path, total: u64);

    /// Reports that `more` bytes were read.
    fn advance(&self, more: u64);
}

/// Result of a quantisation.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Size of the weights on disk.
    pub bytes: u64,
    pub parameters: u64,
}

impl Summary {
    pub fn bits_per_weight(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.parameters.max(1) as f64
    }
}

/// Writes the checkpoint `source`, quantised by `recipe`, into the folder `destination`. With
/// `replace` an existing model there is removed once the new one is complete; a folder with
/// anything else is never removed.
pub fn quantize(
    source: &Path,
    destination: &Path,
    recipe: &Recipe,
    replace: bool,
    watch: &dyn Watch,
) -> Result<Summary, QuantizeError> {
    let checkpoint = match ModelSource::open(source)? {
        ModelSource::Checkpoint(checkpoint) => checkpoint,
        ModelSource::Gguf(gguf) => return Err(QuantizeError::NotACheckpoint { path: gguf.path().to_owned() }),
    };
    let plan = QuantizePlan::new(&checkpoint, recipe)?;
    let destination = Destination::new(checkpoint.dir(), destination, Bytes(plan.bytes()), replace)?;
    watch.begin(destination.partial(), plan.source_bytes());
    let pool = Pool::new(std::thread::available_parallelism().map_or(1, usize::from));
    for (file, jobs) in [(folder::WEIGHTS, &plan.jobs), (DRAFTING, &plan.draft_jobs)] {
        if !jobs.is_empty() {
            write(&checkpoint, &pool, watch, &destination.partial().join(file), jobs)?;
        }
    }
    destination.write_index(&plan)?;
    destination.write_config(&plan.config(&checkpoint))?;
    destination.copy_companions(checkpoint.dir())?;
    destination.complete()?;
    Ok(Summary { bytes: plan.bytes(), parameters: plan.parameters })
}

/// Writes one file of weights.
fn write(
    checkpoint: &Checkpoint,
    pool: &Pool,
    watch: &dyn Watch,
    path: &Path,
    jobs: &[QuantizeJob],
) -> Result<(), QuantizeError> {
    let failed = error::writing(path);
    let writer = CheckpointWriter::create(path, &plan::entries(jobs), &[("format", "mlx")]).map_err(&failed)?;
    let mut work = Work { checkpoint, writer, pool, watch, path };
    jobs.iter().try_for_each(|job| work.run(job))?;
    work.writer.finish().map_err(&failed)
}

/// A file of weights being written.
struct Work<'a> {
    checkpoint: &'a Checkpoint,
    writer: CheckpointWriter,
    pool: &'a Pool,
    watch: &'a dyn Watch,
    path: &'a Path,
}

impl Work<'_> {
    fn run(&mut self, job: &QuantizeJob) -> Result<(), QuantizeError> {
        let (tensor, map) = self.checkpoint.find(&job.source)?;
        match job.task {
            QuantizeTask::Copy => self.copy(tensor, map),
            QuantizeTask::AddOne => self.rewrite(tensor, map, |value| value + 1.0, tensor.dtype.clone()),
            QuantizeTask::Widen => self.rewrite(tensor, map, |value| value, Dtype::F32),
            QuantizeTask::Pack(scheme) => self.pack(tensor, map, scheme),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), QuantizeError> {
        self.writer.write(bytes).map_err(error::writing(self.path))
    }

    fn copy(&mut self, tensor: &CheckpointTensor, map: &Mmap) -> Result<(), QuantizeError> {
        for start in tensor.span.clone().step_by(CHUNK) {
            let span = start..tensor.span.end.min(start + CHUNK);
            self.write(&map[span.clone()])?;
            give_back(map, &span);
            self.watch.advance(span.len() as u64);
        }
        Ok(())
    }

    /// Converts a small tensor, value by value.
    fn rewrite(
        &mut self,
        tensor: &CheckpointTensor,
        map: &Mmap,
        change: impl Fn(f32) -> f32,
        dtype: Dtype,
    ) -> Result<(), QuantizeError> {
        let bytes = &map[tensor.span.clone()];
        let kind = float_kind(tensor);
        let mut values = vec![0.0; bytes.len() / kind.block_bytes()];
        unpack_row(kind, bytes, &mut values);
        values.iter_mut().for_each(|value| *value = change(*value));
        self.write(&dtype.encode(&values).expect("values are rewritten as floats"))?;
        self.watch.advance(bytes.len() as u64);
        Ok(())
    }

    /// Packs a tensor: writes codes as they are computed, then scales and biases, which are small.
    fn pack(&mut self, tensor: &CheckpointTensor, map: &Mmap, scheme: Scheme) -> Result<(), QuantizeError> {
        let (kind, cols) = (float_kind(tensor), tensor.dims[1]);
        let row_bytes = cols * kind.block_bytes();
        let (chunk_rows, piece_rows) = ((CHUNK / row_bytes).max(1), (PIECE / cols).max(1));
        let (mut scales, mut biases) = (Vec::new(), Vec::new());
        for start in tensor.span.clone().step_by(chunk_rows * row_bytes) {
            let span = start..tensor.span.end.min(start + chunk_rows * row_bytes);
            populate_pages(map, &span);
            for piece in self.pack_chunk(kind, &map[span.clone()], piece_rows * row_bytes, scheme) {
                let Packed { codes, scales: more_scales, biases: more_biases } =
                    piece.ok_or_else(|| QuantizeError::NotFinite { tensor: tensor.name.clone() })?;
                self.write(&codes)?;
                scales.extend(more_scales);
                biases.extend(more_biases);
            }
            give_back(map, &span);
            self.watch.advance(span.len() as u64);
        }
        self.write(&scales)?;
        self.write(&biases)
    }

    /// Packs whole rows in parallel, `piece_bytes` for each result; `None` if a value is not
    /// finite.
    fn pack_chunk(&self, kind: BlockType, bytes: &[u8], piece_bytes: usize, scheme: Scheme) -> Vec<Option<Packed>> {
        let pieces: Vec<&[u8]> = bytes.chunks(piece_bytes).collect();
        let mut packed = vec![None; pieces.len()];
        self.pool.for_pieces(&mut packed, 1, |i, packed, _| {
            let mut values = vec![0.0; pieces[i].len() / kind.block_bytes()];
            unpack_row(kind, pieces[i], &mut values);
            packed[0] = pack::pack(scheme, &values);
        });
        packed
    }
}

/// Block type of a float tensor; the plan allows no others.
fn float_kind(tensor: &CheckpointTensor) -> BlockType {
    tensor.dtype.kind().expect("the plan refuses tensors that are not floats")
}
