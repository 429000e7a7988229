//! Errors of this module.

use std::io;
use std::path::{Path, PathBuf};

use super::checkpoint::CheckpointFault;
use super::gguf::GgufFault;
use super::tokenizer::TokenizerFault;
use crate::types::Bytes;

#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    #[error("cannot read the model file {path}: {why}; run \"sotto models verify\" to see what is installed")]
    Unreadable { path: PathBuf, why: io::Error },

    #[error("{path} is {what}")]
    OtherFile { path: PathBuf, what: &'static str },

    #[error(
        "{path} is part {number} of {count} of a model, and {why}; put all parts into one folder under their own names, \
         or merge them with \"llama-gguf-split --merge FIRST OUT\""
    )]
    Part { path: PathBuf, number: u64, count: u64, why: String },

    #[error("{path}: {fault}; the file is damaged or incomplete: run \"sotto models verify\"")]
    Damaged { path: PathBuf, fault: GgufFault },

    #[error("{path}: {fault}; the checkpoint is damaged or incomplete: fetch it again")]
    DamagedCheckpoint { path: PathBuf, fault: CheckpointFault },

    #[error(
        "{path}: {fault}; the model is damaged or incomplete: fetch it again (\"sotto models verify\" checks those of the \
         catalogue)"
    )]
    DamagedTokenizer { path: PathBuf, fault: TokenizerFault },

    #[error("{path} has no tokenizer.json; put the one that was published with the model into the folder")]
    NoTokenizer { path: PathBuf },

    #[error("{path}: {what} is not supported (supported: {supported}); choose a model of \"sotto models list\"")]
    Unsupported { path: PathBuf, what: String, supported: String },

    #[error(
        "the context is {asked} tokens, but {path} was trained for {limit}; lower [llm] context (--set llm.context, or \
         ChatSettings::context in a program) to {limit} or less"
    )]
    Context { path: PathBuf, asked: usize, limit: usize },

    #[error("the permit covers {granted}, but {path} plans to hold {planned}; ask for Llm::planned_bytes")]
    Permit { path: PathBuf, granted: Bytes, planned: Bytes },

    #[error(
        "the question and the system prompt take {prompt} tokens and an answer needs {answer}, but the context is \
         {context}; ask in fewer words, shorten the system prompt ([llm] system_prompt) or raise [llm] context \
         (--set llm.context, or ChatSettings::context in a program)"
    )]
    TooLong { prompt: usize, answer: usize, context: usize },

    #[error("the text cannot be cut into tokens: {0}; send shorter text")]
    Tokenize(String),

    #[error(
        "the model computed no finite number for the next token at position {position}; run \"sotto models verify\""
    )]
    NotFinite { position: usize },

    #[error("{path} is unloaded; call Chat::reload first")]
    NotLoaded { path: PathBuf },

    #[error(
        "out of memory: the system has no {bytes} for the weights ({why}); close other programs, raise the limit that is \
         set (ulimit -v), or choose a smaller model"
    )]
    Memory { bytes: Bytes, why: io::Error },

    #[error(transparent)]
    Template(#[from] super::template::TemplateError),

    #[error(transparent)]
    Options(#[from] super::presets::OptionError),

    #[error(transparent)]
    Budget(#[from] crate::memory::OverBudget),

    #[error(transparent)]
    Kernels(#[from] sotto_kernels::SimdError),
}

/// Error for a model file that could not be mapped into memory: it cannot be read, or memory is
/// short.
pub(super) fn unmapped(path: &Path, why: io::Error) -> LlmError {
    match why.kind() {
        io::ErrorKind::OutOfMemory => {
            let bytes = Bytes(std::fs::metadata(path).map_or(0, |about| about.len()));
            LlmError::Memory { bytes, why }
        }
        _ => LlmError::Unreadable { path: path.to_owned(), why },
    }
}
