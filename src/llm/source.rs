//! A model on disk, whatever its format: a GGUF file, or a folder of safetensors.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::LlmError;
use super::blueprint::{Blueprint, Family};
use super::checkpoint::Checkpoint;
use super::gguf::Gguf;
use super::model::Model;
use super::template::{ChatFormat, Qwen35};
use super::tokenizer::Tokenizer;

/// Templates are a few kilobytes, `tokenizer_config.json` some more.
const MAX_TEMPLATE: u64 = 1 << 20;

pub(super) enum Source {
    Gguf(Gguf),
    Checkpoint(Checkpoint),
}

impl Source {
    /// A folder, or a file of safetensors in one, is a checkpoint; any other file is taken for GGUF.
    pub fn open(path: &Path) -> Result<Self, LlmError> {
        let tensors = path.extension().is_some_and(|extension| extension == "safetensors");
        match path.is_dir() || tensors {
            true => Checkpoint::open(path).map(Source::Checkpoint),
            false => Gguf::open(path).map(Source::Gguf),
        }
    }

    pub fn path(&self) -> &Path {
        match self {
            Source::Gguf(gguf) => gguf.path(),
            Source::Checkpoint(checkpoint) => checkpoint.dir(),
        }
    }

    pub fn blueprint(&self) -> Result<Blueprint, LlmError> {
        match self {
            Source::Gguf(gguf) => Blueprint::from_gguf(gguf),
            Source::Checkpoint(checkpoint) => Ok(checkpoint.blueprint().clone()),
        }
    }

    /// What the weights will hold once bound.
    pub fn weight_bytes(&self) -> u64 {
        match self {
            Source::Gguf(gguf) => gguf.map().len() as u64,
            Source::Checkpoint(checkpoint) => checkpoint.resident_bytes(),
        }
    }

    pub fn model(&self, blueprint: Blueprint, threads: usize) -> Result<Model, LlmError> {
        match self {
            Source::Gguf(gguf) => Model::bind(&mut gguf.binder(), blueprint, threads),
            Source::Checkpoint(checkpoint) => Model::bind(&mut checkpoint.binder(), blueprint, threads),
        }
    }

    pub fn tokenizer(&self) -> Result<Tokenizer, LlmError> {
        match self {
            Source::Gguf(gguf) => Tokenizer::from_gguf(gguf),
            Source::Checkpoint(checkpoint) => Tokenizer::from_json(&checkpoint.dir().join("tokenizer.json")),
        }
    }

    /// The chat format of the model's own template. Qwen3.5 has but one, so a copy without a template is understood.
    pub fn format(&self, blueprint: &Blueprint, tokenizer: &Tokenizer) -> Result<ChatFormat, LlmError> {
        let template = match self {
            Source::Gguf(gguf) => gguf.text("tokenizer.chat_template")?.map(str::to_owned),
            Source::Checkpoint(checkpoint) => template_in(checkpoint.dir())?,
        };
        match (template, blueprint.family) {
            (None, Family::Qwen35) => Qwen35::new(self.path(), tokenizer).map(ChatFormat::Qwen35),
            (template, _) => ChatFormat::from_template(self.path(), template.as_deref(), tokenizer),
        }
    }

    pub fn unsupported(&self, what: impl Into<String>, supported: impl Into<String>) -> LlmError {
        LlmError::Unsupported { path: self.path().to_owned(), what: what.into(), supported: supported.into() }
    }
}

/// The template of a folder: a file of its own, or an entry of the tokenizer's configuration.
fn template_in(dir: &Path) -> Result<Option<String>, LlmError> {
    if let Some(template) = read(dir.join("chat_template.jinja"))? {
        return Ok(Some(template));
    }
    let Some(config) = read(dir.join("tokenizer_config.json"))? else { return Ok(None) };
    // What is no JSON is no template either; the tokenizer itself is in another file.
    let config: Value = serde_json::from_str(&config).unwrap_or_default();
    Ok(config.get("chat_template").and_then(Value::as_str).map(str::to_owned))
}

/// The text of a file, if there is one.
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
    std::fs::read_to_string(&path).map(Some).map_err(unreadable)
}
