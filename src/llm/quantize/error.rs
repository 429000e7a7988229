//! What can go wrong while a checkpoint is quantised.

use std::io;
use std::path::{Path, PathBuf};

use crate::llm::LlmError;

#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    #[error(transparent)]
    Checkpoint(#[from] LlmError),

    #[error("{path}: {tensor:?} is quantised already; begin with the checkpoint as it was published, in bf16 or f32")]
    Packed { path: PathBuf, tensor: String },

    #[error("{path} exists; choose another folder, or replace it with --force")]
    Exists { path: PathBuf },

    #[error("{path} is not a folder with a config.json, so --force does not replace it; choose another folder")]
    NotAModel { path: PathBuf },

    #[error("{path} holds the checkpoint that is read; choose another folder")]
    HoldsSource { path: PathBuf },

    #[error("groups of {0} are not possible; choose 32, 64 or 128")]
    Group(usize),

    #[error("the format \"mixed\" chooses a group for each tensor; leave --group out, or choose another format")]
    MixedGroup,

    #[error(
        "{tensor:?} holds numbers that are not finite or too large for bf16; the checkpoint is damaged: fetch it again"
    )]
    NotFinite { tensor: String },

    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
}

impl QuantizeError {
    /// Whether the caller asked for what cannot be, rather than that something failed.
    pub fn is_misuse(&self) -> bool {
        use QuantizeError::*;
        matches!(self, Packed { .. } | Exists { .. } | NotAModel { .. } | HoldsSource { .. } | Group(_) | MixedGroup)
    }
}

pub fn writing(path: &Path) -> impl Fn(io::Error) -> QuantizeError {
    |source| QuantizeError::Write { path: path.to_owned(), source }
}
