//! A model on disk, in any format: a GGUF file, or a folder of safetensors.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sotto_kernels::Pool;

use super::LlmError;
use super::checkpoint::{CONFIG, Checkpoint, folder_of};
use super::gguf::{self, Gguf};
use super::model::Model;
use super::model_config::{Family, ModelConfig};
use super::notes::ModelNote;
use super::template::{ChatFormat, Qwen35};
use super::tensors::Tensors;
use super::tokenizer::Tokenizer;
use crate::sniff;

/// Size limit of templates (a few kilobytes in practice) and `tokenizer_config.json` (some more).
const MAX_TEMPLATE: u64 = 1 << 20;
const GGUF_ENDING: &str = "gguf";
const WEIGHTS_ENDING: &str = "safetensors";
/// Name of the tokenizer file in the folder of a checkpoint.
const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const TEMPLATE: &str = "chat_template.jinja";

/// A model file or folder with checked headers and no loaded weights.
pub enum ModelSource {
    Gguf(Box<Gguf>),
    Checkpoint(Box<Checkpoint>),
}

impl ModelSource {
    /// Opens a GGUF file or one part of a split one, a folder with `config.json`, a file of weights
    /// in such a folder, or a folder that holds one GGUF model and no `config.json`.
    pub fn open(path: &Path) -> Result<ModelSource, LlmError> {
        match gguf_at(path) {
            Some(file) => Ok(ModelSource::Gguf(Box::new(Gguf::open(&file)?))),
            None if path.is_file() && !is_called(path, WEIGHTS_ENDING) => Err(neither(path)),
            None => Ok(ModelSource::Checkpoint(Box::new(Checkpoint::open(path)?))),
        }
    }

    /// Folder that holds the model.
    pub fn dir(&self) -> &Path {
        match self {
            ModelSource::Gguf(gguf) => folder_of(gguf.path()),
            ModelSource::Checkpoint(checkpoint) => checkpoint.dir(),
        }
    }

    pub fn path(&self) -> &Path {
        match self {
            ModelSource::Gguf(gguf) => gguf.path(),
            ModelSource::Checkpoint(checkpoint) => checkpoint.dir(),
        }
    }

    /// Files of the model: its weights and, beside them, configuration, tokenizer and template if
    /// present. Other files in the folder are ignored.
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            ModelSource::Gguf(gguf) => gguf.paths().map(Path::to_owned).collect(),
            ModelSource::Checkpoint(checkpoint) => {
                let beside = [CONFIG, TOKENIZER, TOKENIZER_CONFIG, TEMPLATE].map(|name| checkpoint.dir().join(name));
                let beside = beside.into_iter().filter(|file| file.exists());
                checkpoint.files().map(Path::to_owned).chain(beside).collect()
            }
        }
    }

    pub fn model_config(&self) -> Result<ModelConfig, LlmError> {
        match self {
            ModelSource::Gguf(gguf) => ModelConfig::from_gguf(gguf),
            ModelSource::Checkpoint(checkpoint) => Ok(checkpoint.model_config().clone()),
        }
    }

    /// Whether the model has a draft block (multi-token prediction).
    pub fn drafts(&self) -> bool {
        match self {
            ModelSource::Gguf(gguf) => gguf.drafts(),
            ModelSource::Checkpoint(checkpoint) => checkpoint.drafts(),
        }
    }

    /// Notes about the model before it is loaded.
    pub fn notes(&self) -> Vec<ModelNote> {
        match self {
            ModelSource::Gguf(gguf) => [gguf.notes(), Tokenizer::notes(gguf)].concat(),
            ModelSource::Checkpoint(_) => Vec::new(),
        }
    }

    /// Bytes that the weights will hold once bound, with or without the draft block.
    pub fn resident_bytes(&self, drafting: bool) -> u64 {
        match self {
            ModelSource::Gguf(gguf) => gguf.resident_bytes(drafting),
            ModelSource::Checkpoint(checkpoint) => checkpoint.resident_bytes(drafting),
        }
    }

    /// Loads the model without the draft block.
    pub fn load(&self, threads: usize) -> Result<Model, LlmError> {
        self.load_on(Pool::new(threads), false)
    }

    /// Loads the model for the threads of `pool`; with the draft block, which must exist, or
    /// without.
    pub fn load_on(&self, pool: Pool, drafting: bool) -> Result<Model, LlmError> {
        let model_config = self.model_config()?;
        match self {
            ModelSource::Gguf(gguf) => bind(&mut gguf.binder(), model_config, pool, drafting),
            ModelSource::Checkpoint(checkpoint) => bind(&mut checkpoint.binder(), model_config, pool, drafting),
        }
    }

    /// Whether the model comes with a tokenizer.
    pub fn has_tokenizer(&self) -> bool {
        match self {
            ModelSource::Gguf(gguf) => gguf.has("tokenizer.ggml.tokens"),
            ModelSource::Checkpoint(checkpoint) => checkpoint.dir().join(TOKENIZER).exists(),
        }
    }

    pub fn tokenizer(&self) -> Result<Tokenizer, LlmError> {
        match self {
            ModelSource::Gguf(gguf) => Tokenizer::from_gguf(gguf),
            ModelSource::Checkpoint(_) if !self.has_tokenizer() => {
                Err(LlmError::NoTokenizer { path: self.path().to_owned() })
            }
            ModelSource::Checkpoint(checkpoint) => Tokenizer::from_json(&checkpoint.dir().join(TOKENIZER)),
        }
    }

    /// Returns the chat format of the model's own template. Qwen3.5 has only one, so a copy without
    /// a template is accepted.
    pub fn format(&self, model_config: &ModelConfig, tokenizer: &Tokenizer) -> Result<ChatFormat, LlmError> {
        let template = match self {
            ModelSource::Gguf(gguf) => gguf.text("tokenizer.chat_template")?.map(str::to_owned),
            ModelSource::Checkpoint(checkpoint) => template_in(checkpoint.dir())?,
        };
        match (template, model_config.family) {
            (None, Family::Qwen35) => Qwen35::new(self.path(), tokenizer).map(ChatFormat::Qwen35),
            (template, _) => ChatFormat::from_template(self.path(), template.as_deref(), tokenizer),
        }
    }

    pub fn unsupported(&self, what: impl Into<String>, supported: impl Into<String>) -> LlmError {
        LlmError::Unsupported { path: self.path().to_owned(), what: what.into(), supported: supported.into() }
    }
}

fn bind(tensors: &mut impl Tensors, model_config: ModelConfig, pool: Pool, drafting: bool) -> Result<Model, LlmError> {
    let mut model = Model::bind(tensors, model_config, pool)?;
    if drafting {
        model.bind_draft(tensors)?;
    }
    Ok(model)
}

/// Returns the single GGUF file at `path`, if there is one.
fn gguf_at(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return (is_called(path, GGUF_ENDING) || begins_as_gguf(path)).then(|| path.to_owned());
    }
    if path.join(CONFIG).exists() {
        return None;
    }
    let files = std::fs::read_dir(path).ok()?.flatten().map(|entry| entry.path());
    gguf::first_of(files.filter(|path| is_called(path, GGUF_ENDING)).collect())
}

fn is_called(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|own| own.eq_ignore_ascii_case(ending))
}

/// Error for a file that is neither GGUF nor named as a weights file.
fn neither(path: &Path) -> LlmError {
    let path = path.to_owned();
    match sniff::file(&path) {
        Some(what) => LlmError::OtherFile { path, what },
        None => LlmError::OtherFile { path, what: "neither a GGUF file nor a .safetensors file: name one of those" },
    }
}

/// Whether a file begins with the GGUF magic. Files in a model cache have no extension.
fn begins_as_gguf(path: &Path) -> bool {
    let mut magic = [0; gguf::MAGIC.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == gguf::MAGIC
}

/// Reads the template of a folder: from a file of its own, or from the tokenizer's configuration.
fn template_in(dir: &Path) -> Result<Option<String>, LlmError> {
    if let Some(template) = read(dir.join(TEMPLATE))? {
        return Ok(Some(template));
    }
    let Some(config) = read(dir.join(TOKENIZER_CONFIG))? else { return Ok(None) };
    // Invalid JSON means no template; the tokenizer itself is in another file.
    let config: Value = serde_json::from_slice(sniff::without_mark(config.as_bytes())).unwrap_or_default();
    Ok(config.get("chat_template").and_then(Value::as_str).map(str::to_owned))
}

/// Reads the text of a file, if there is one.
fn read(path: PathBuf) -> Result<Option<String>, LlmError> {
    let unreadable = |why| LlmError::Unreadable { path: path.clone(), why };
    let length = match std::fs::metadata(&path) {
        Ok(about) => about.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    if length > MAX_TEMPLATE {
        let why = format!("it has {length} bytes; at most {MAX_TEMPLATE} are read");
        return Err(unreadable(std::io::Error::other(why)));
    }
    let text = std::fs::read_to_string(&path).map_err(unreadable)?;
    match sniff::known(text.as_bytes()) {
        Some(what) => Err(LlmError::OtherFile { path, what }),
        None => Ok(Some(text)),
    }
}

#[cfg(test)]
mod tests;
