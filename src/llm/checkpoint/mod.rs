//! Checkpoints of transformers and of MLX: a folder with `config.json` and safetensors files.
//!
//! ```text
//! folder ─┬─ config.json ── config, quantization ─── model configuration
//!         └─ *.safetensors ─ header ── names ─────── binder ── tensors, by GGUF's names
//!                                        affine ────────┘  (repacks MLX's packed codes)
//! ```
//! All of it is untrusted input: every size is capped by a named constant, checked against the
//! file, and added with checked arithmetic before any allocation depends on it. Unknown tensors and
//! settings are refused by name.

mod affine;
mod binder;
mod config;
mod fault;
mod folder;
pub mod header;
pub mod inventory;
mod json;
pub mod names;
mod quantization;
pub mod random;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod writer;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use serde_json::{Map, Value};
use sotto_kernels::BlockType;

use super::LlmError;
use super::error::unmapped;
use super::model_config::ModelConfig;
pub use binder::CheckpointBinder;
use config::CheckpointConfig;
pub use fault::CheckpointFault;
pub use folder::{CONFIG, DRAFTING, INDEX, folder_of};
use folder::{CheckpointFolder, damaged};
use header::{CheckpointTensor, Dtype, MAX_TENSORS};
use inventory::Needed;

/// A checkpoint: its files mapped, its headers and its configuration checked.
pub struct Checkpoint {
    dir: PathBuf,
    config: CheckpointConfig,
    shards: Vec<Shard>,
    /// Tensors by the name below the prefix; without the parts that are not run.
    tensors: HashMap<String, Place>,
    /// Tensors of the draft block, by their names from "mtp." on.
    drafting: HashMap<String, Place>,
    /// Whether norms are zero-centred and convolutions are in the layout of transformers.
    raw: bool,
}

/// Suffixes of the tensors beside packed codes.
const PARAMETERS: [&str; 2] = [".scales", ".biases"];

/// A file of weights.
struct Shard {
    path: PathBuf,
    map: Arc<Mmap>,
}

/// A tensor and the number of its shard.
struct Place {
    shard: usize,
    tensor: CheckpointTensor,
}

impl Checkpoint {
    /// Opens a checkpoint; `path` is the folder, or a file of weights in it.
    pub fn open(path: &Path) -> Result<Self, LlmError> {
        let folder = CheckpointFolder::find(path)?;
        let config = CheckpointConfig::parse(&folder.config()?, &folder.dir.join(folder::CONFIG))?;
        let Mapped { shards, tensors, drafting } = map_all(&folder)?;
        let mut checkpoint = Checkpoint { dir: folder.dir, config, shards, tensors, drafting, raw: false };
        checkpoint.raw = checkpoint.has_raw_norms()?;
        Ok(checkpoint)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The files of weights, in order.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.shards.iter().map(|shard| &*shard.path)
    }

    /// The mapped files of weights, for other readers.
    pub fn maps(&self) -> impl Iterator<Item = &Mmap> {
        self.shards.iter().map(|shard| &*shard.map)
    }

    pub fn model_config(&self) -> &ModelConfig {
        &self.config.model_config
    }

    /// Contents of config.json.
    pub fn config(&self) -> &Map<String, Value> {
        &self.config.file
    }

    /// Whether the head is the embedding: as config.json states, else by whether there is a head. A
    /// head beside a tied embedding is not used, as in transformers.
    pub fn tied(&self) -> bool {
        self.config.tied.unwrap_or(!self.tensors.contains_key(names::HEAD))
    }

    /// Whether norms are zero-centred, as published; converted checkpoints hold 1 + w.
    pub fn raw(&self) -> bool {
        self.raw
    }

    /// Finds the tensor called `name` below the prefix, and the file that holds it.
    pub fn find(&self, name: &str) -> Result<(&CheckpointTensor, &Arc<Mmap>), LlmError> {
        let place = self.place(name)?;
        Ok((&place.tensor, &self.shards[place.shard].map))
    }

    /// Block type of the tensor called `name` below the prefix; one that is not a float is refused.
    pub fn float(&self, name: &str) -> Result<BlockType, LlmError> {
        self.block(self.place(name)?)
    }

    /// Refuses any tensor that is not `needed`: the model would compute something else than this
    /// engine.
    pub fn refuse_all_but(&self, needed: &[Needed]) -> Result<(), LlmError> {
        let needed: HashSet<&str> = needed.iter().map(|needed| needed.name.as_str()).collect();
        self.refuse_unless(|own| needed.contains(own) || PARAMETERS.iter().any(|part| own.ends_with(part)))
    }

    /// Refuses the first tensor by name that is not `known` and not a head beside a tied embedding.
    fn refuse_unless(&self, known: impl Fn(&str) -> bool) -> Result<(), LlmError> {
        let rest = self.tensors.iter().filter(|(own, _)| !known(own) && !self.is_unused_head(own));
        match rest.map(|(_, place)| &place.tensor.name).min() {
            Some(name) => Err(self.unsupported(format!("the tensor {name:?}"), "the layers of Qwen3.5")),
            None => Ok(()),
        }
    }

    /// Whether the tensor called `name` is part of a head beside a tied embedding.
    fn is_unused_head(&self, name: &str) -> bool {
        self.tied() && names::module(name) == names::module(names::HEAD)
    }

    /// Whether the checkpoint has a draft block.
    pub fn drafts(&self) -> bool {
        names::can_draft(|name| self.drafting.contains_key(name))
    }

    /// Bytes that the weights will hold once bound: mapped spans, and the blocks that packed codes
    /// become. A mapped embedding that is not also the head is left out, because only the rows of
    /// used tokens are read. The draft block counts if it is bound too.
    pub fn resident_bytes(&self, drafting: bool) -> u64 {
        let counted = |(name, place): (&String, &Place)| match (name.as_str(), &place.tensor.dtype) {
            (name, _) if self.is_unused_head(name) => 0,
            (name, Dtype::U32) => affine::block_bytes(self, place, name),
            (names::EMBEDDING, _) if !self.tied() => 0,
            (name, _) if PARAMETERS.iter().any(|part| name.ends_with(part)) => 0,
            _ => place.tensor.span.len() as u64,
        };
        self.tensors.iter().chain(self.drafting.iter().filter(|_| drafting)).map(counted).sum()
    }

    pub fn unsupported(&self, what: impl Into<String>, supported: impl Into<String>) -> LlmError {
        LlmError::Unsupported { path: self.dir.clone(), what: what.into(), supported: supported.into() }
    }

    /// Error for the tensor called `name` below the prefix.
    pub fn damaged_at(&self, name: &str, fault: CheckpointFault) -> LlmError {
        self.get(name).map_or_else(|| self.missing(name), |place| self.damaged(place, fault))
    }

    fn damaged(&self, place: &Place, fault: CheckpointFault) -> LlmError {
        damaged(&self.shards[place.shard].path, fault)
    }

    fn missing(&self, name: &str) -> LlmError {
        damaged(&self.dir, CheckpointFault::MissingTensor { tensor: name.to_owned() })
    }

    fn place(&self, name: &str) -> Result<&Place, LlmError> {
        self.get(name).ok_or_else(|| self.missing(name))
    }

    /// Looks up a tensor of the model or of the draft block.
    fn get(&self, name: &str) -> Option<&Place> {
        self.tensors.get(name).or_else(|| self.drafting.get(name))
    }

    /// Whether the norms of the draft block are zero-centred. Some converters shift the norms of
    /// the model and not these: those of its layer are near 0 as published, and near 1 shifted; its
    /// other norms are assumed to be like them.
    pub fn drafts_raw(&self) -> Result<bool, LlmError> {
        let mut means = 0.0;
        for name in names::DRAFT_NORMS {
            let values = self.values(self.place(name)?)?;
            means += values.iter().sum::<f32>() / values.len() as f32;
        }
        Ok(self.raw || means / (names::DRAFT_NORMS.len() as f32) < 0.5)
    }

    /// Detects zero-centred norms by the layout of the convolutions, which converters change
    /// together with the norms; no other sign is reliable.
    fn has_raw_norms(&self) -> Result<bool, LlmError> {
        let delta = self.config.model_config.delta.as_ref();
        let (layers, taps) = delta.map_or((&[][..], 0), |delta| (&delta.layers[..], delta.taps));
        let mut found = None;
        for layer in layers.iter().enumerate().filter(|(_, linear)| **linear).map(|(layer, _)| layer) {
            let place = self.place(&format!("layers.{layer}.{}", names::CONVOLUTION))?;
            let raw = match place.tensor.dims[..] {
                [_, 1, last] if last == taps => true,
                [_, middle, 1] if middle == taps => false,
                _ => return Err(self.mismatch(place, format!("[channels, 1, {taps}] or [channels, {taps}, 1]"))),
            };
            if found.is_some_and(|before| before != raw) {
                return Err(self.mismatch(place, "the layout of the convolutions before it".to_owned()));
            }
            found = Some(raw);
        }
        Ok(found.unwrap_or(true))
    }

    fn mismatch(&self, place: &Place, wanted: String) -> LlmError {
        let CheckpointTensor { name, dims, .. } = &place.tensor;
        let (tensor, found) = (name.clone(), format!("{dims:?}"));
        self.damaged(place, CheckpointFault::Mismatch { tensor, found, wanted })
    }
}

/// Mapped files of a checkpoint, and the places of the tensors in them.
#[derive(Default)]
struct Mapped {
    shards: Vec<Shard>,
    tensors: HashMap<String, Place>,
    drafting: HashMap<String, Place>,
}

/// Maps every shard and reads its header. No tensor may be in two of them, or elsewhere than the
/// index states.
fn map_all(folder: &CheckpointFolder) -> Result<Mapped, LlmError> {
    let Mapped { mut shards, mut tensors, mut drafting } = Mapped::default();
    // Includes tensors of skipped towers.
    let mut all: HashSet<(String, &str)> = HashSet::new();
    for (number, file) in folder.shards.iter().enumerate() {
        let shard = Shard::open(folder.dir.join(file))?;
        for tensor in header::parse(&shard.map).map_err(|fault| damaged(&shard.path, fault))? {
            all.insert((tensor.name.clone(), file));
            if names::is_skipped(&tensor.name) {
                continue;
            }
            let name = tensor.name.clone();
            let (own, tensors) = match names::drafting(&name) {
                Some(own) => (own.to_owned(), &mut drafting),
                None => (names::below_prefix(&name).to_owned(), &mut tensors),
            };
            if tensors.insert(own, Place { shard: number, tensor }).is_some() {
                return Err(damaged(&shard.path, CheckpointFault::Twice(name)));
            }
        }
        if all.len() > MAX_TENSORS {
            let (value, limit) = (all.len() as u64, MAX_TENSORS as u64);
            return Err(damaged(&shard.path, CheckpointFault::TooLarge { what: "tensor count", value, limit }));
        }
        shards.push(shard);
    }
    for (tensor, shard) in &folder.index {
        if !all.contains(&(tensor.clone(), shard.as_str())) {
            let (tensor, shard) = (tensor.clone(), shard.clone());
            return Err(damaged(&folder.dir.join(folder::INDEX), CheckpointFault::NotInShard { tensor, shard }));
        }
    }
    Ok(Mapped { shards, tensors, drafting })
}

impl Shard {
    fn open(path: PathBuf) -> Result<Self, LlmError> {
        let map = map_file(&path).map_err(|why| unmapped(&path, why))?;
        Ok(Shard { path, map: Arc::new(map) })
    }
}

/// Maps a file of tensors into memory, if it is a regular one.
pub fn map_file(path: &Path) -> io::Result<Mmap> {
    if !std::fs::metadata(path)?.is_file() {
        // Opening a pipe would block until there is a writer.
        return Err(io::Error::other("it is not a regular file"));
    }
    let file = File::open(path)?;
    // SAFETY: the mapping is private and read-only, and Sotto never writes into a model file: new
    // ones replace it by rename. If another program truncates the file in place, this process ends
    // with SIGBUS, as with every memory-mapped model.
    unsafe { Mmap::map(&file) }
}
