//! A model in any format that the engine runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sotto_kernels::BlockType;

use crate::llm::blueprint::Blueprint;
use crate::llm::checkpoint::header::Dtype;
use crate::llm::checkpoint::inventory::inventory;
use crate::llm::checkpoint::names::Kind;
use crate::llm::checkpoint::{CONFIG, Checkpoint};
use crate::llm::gguf::{self, Gguf};
use crate::llm::{LlmError, Model, Tokenizer};

const GGUF_ENDING: &str = "gguf";
/// Beside the weights of a checkpoint.
const TOKENIZER: &str = "tokenizer.json";

/// A model file or folder, its headers checked and its weights not yet loaded.
pub enum Source {
    Gguf(Box<Gguf>),
    Checkpoint(Box<Checkpoint>),
}

/// How the matrices of a model are written.
#[derive(Clone, Debug, PartialEq)]
pub struct Precision {
    /// That of most weights, such as "bf16", "q8_0" or "int4".
    pub name: String,
    /// Bits of the code of a weight, scales aside, on average over all matrices.
    pub bits: f64,
    /// Norms and quantised matrices as MLX has them.
    pub converted: bool,
}

impl Source {
    /// `path` is a GGUF file, a folder with `config.json`, a file of weights in one, or a folder that holds one GGUF
    /// file and no `config.json`.
    pub fn open(path: &Path) -> Result<Source, LlmError> {
        match gguf_at(path) {
            Some(file) => Ok(Source::Gguf(Box::new(Gguf::open(&file)?))),
            None => Ok(Source::Checkpoint(Box::new(Checkpoint::open(path)?))),
        }
    }

    pub fn blueprint(&self) -> Result<Blueprint, LlmError> {
        match self {
            Source::Gguf(gguf) => Blueprint::from_gguf(gguf),
            Source::Checkpoint(checkpoint) => Ok(checkpoint.blueprint().clone()),
        }
    }

    /// The folder the model lies in.
    pub fn dir(&self) -> &Path {
        match self {
            Source::Gguf(gguf) => gguf.path().parent().unwrap_or(Path::new("")),
            Source::Checkpoint(checkpoint) => checkpoint.dir(),
        }
    }

    /// What the weights hold once loaded.
    pub fn resident_bytes(&self) -> u64 {
        match self {
            Source::Gguf(gguf) => gguf.map().len() as u64,
            Source::Checkpoint(checkpoint) => checkpoint.resident_bytes(),
        }
    }

    pub fn load(&self, threads: usize) -> Result<Model, LlmError> {
        match self {
            Source::Gguf(gguf) => Model::bind(&mut gguf.binder(), self.blueprint()?, threads),
            Source::Checkpoint(checkpoint) => Model::bind(&mut checkpoint.binder(), self.blueprint()?, threads),
        }
    }

    /// `None` where the model comes without one.
    pub fn tokenizer(&self) -> Result<Option<Tokenizer>, LlmError> {
        match self {
            Source::Gguf(gguf) if !gguf.has("tokenizer.ggml.tokens") => Ok(None),
            Source::Gguf(gguf) => Tokenizer::from_gguf(gguf).map(Some),
            Source::Checkpoint(checkpoint) => match checkpoint.dir().join(TOKENIZER) {
                file if file.exists() => Tokenizer::from_json(&file).map(Some),
                _ => Ok(None),
            },
        }
    }

    /// Whether the reference can be made of it: a checkpoint that nobody quantised.
    pub fn is_unquantised_checkpoint(&self) -> bool {
        matches!(self, Source::Checkpoint(_)) && self.precision().is_exact()
    }

    pub fn precision(&self) -> Precision {
        match self {
            Source::Gguf(gguf) => {
                let matrices = gguf.tensors().filter(|tensor| tensor.dims.len() == 2 && !is_small(&tensor.name));
                let weights = |dims: &[usize]| dims.iter().map(|&dim| dim as f64).product();
                Precision::of(matrices.map(|tensor| (block(tensor.kind), weights(&tensor.dims))), false)
            }
            Source::Checkpoint(checkpoint) => {
                let needed = inventory(checkpoint.blueprint(), checkpoint.tied());
                let matrices = needed.iter().filter(|needed| needed.kind == Kind::Matrix);
                let written = matrices.filter_map(|needed| {
                    let (tensor, _) = checkpoint.find(&needed.name).ok()?;
                    let (cols, weights) = (needed.dims.last()?, needed.dims.iter().map(|&dim| dim as f64).product());
                    let packed = tensor.dims.last().map_or(0, |words| 32 * words / (*cols).max(1));
                    Some((dtype(&tensor.dtype, packed), weights))
                });
                Precision::of(written, !checkpoint.raw())
            }
        }
    }
}

/// The one GGUF file that `path` means, if it means one.
fn gguf_at(path: &Path) -> Option<PathBuf> {
    let is_gguf = |path: &Path| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case(GGUF_ENDING));
    if path.is_file() {
        return (is_gguf(path) || begins_as_gguf(path)).then(|| path.to_owned());
    }
    if path.join(CONFIG).exists() {
        return None;
    }
    let mut files = std::fs::read_dir(path).ok()?.flatten().map(|entry| entry.path()).filter(|path| is_gguf(path));
    files.next().filter(|_| files.next().is_none())
}

/// Files of a model cache have no ending.
fn begins_as_gguf(path: &Path) -> bool {
    let mut magic = [0; gguf::MAGIC.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == gguf::MAGIC
}

/// Never quantised, whatever the format: converters keep convolutions in f32.
fn is_small(name: &str) -> bool {
    name.ends_with("ssm_conv1d.weight")
}

/// A name and the bits of a code.
fn block(kind: BlockType) -> (String, f64) {
    use BlockType::*;
    let bits = match kind {
        F32 => 32.0,
        F16 | BF16 => 16.0,
        Q8_0 => 8.0,
        Q6_K => 6.0,
        Q5_0 | Q5_1 | Q5_K => 5.0,
        Q4_0 | Q4_1 | Q4_K => 4.0,
        Affine(affine) => affine.bits() as f64,
    };
    (format!("{kind:?}").to_lowercase(), bits)
}

fn dtype(dtype: &Dtype, packed: usize) -> (String, f64) {
    match dtype {
        Dtype::F32 => ("f32".to_owned(), 32.0),
        Dtype::F16 => ("f16".to_owned(), 16.0),
        Dtype::BF16 => ("bf16".to_owned(), 16.0),
        Dtype::U32 => (format!("int{packed}"), packed as f64),
        Dtype::Other(name) => (name.to_lowercase(), 0.0),
    }
}

impl Precision {
    /// Of matrices: how each is written, and how many weights it has.
    fn of(matrices: impl Iterator<Item = ((String, f64), f64)>, converted: bool) -> Precision {
        let (mut names, mut bits, mut all) = (BTreeMap::new(), 0.0, 0.0);
        for ((name, each), weights) in matrices {
            *names.entry(name).or_insert(0.0) += weights;
            bits += each * weights;
            all += weights;
        }
        let most = names.into_iter().max_by(|(_, a), (_, b)| f64::total_cmp(a, b));
        let name = most.map_or("unknown".to_owned(), |(name, _)| name);
        Precision { name, bits: if all > 0.0 { bits / all } else { 0.0 }, converted }
    }

    /// Whether the weights are floats.
    pub fn is_exact(&self) -> bool {
        self.bits >= 16.0
    }
}
