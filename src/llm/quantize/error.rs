//! Errors of quantising a checkpoint.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::NoDiskSpace;
use crate::llm::LlmError;

#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    #[error(transparent)]
    Checkpoint(#[from] LlmError),

    #[error("{path}: {tensor:?} is quantised already; begin with the checkpoint as it was published, in bf16 or f32")]
    Packed { path: PathBuf, tensor: String },

    #[error("{path} is a GGUF file; give the folder of the checkpoint as it was published, in bf16 or f32")]
    NotACheckpoint { path: PathBuf },

    #[error("{path} exists; choose another folder, or replace it with --force")]
    Exists { path: PathBuf },

    #[error("{path} is not a folder with a config.json, so --force does not replace it; choose another folder")]
    NotAModel { path: PathBuf },

    #[error(
        "{path} holds {other:?}, which is no file of a checkpoint, so --force does not replace it; move that away, or \
         choose another folder"
    )]
    HoldsOthers { path: PathBuf, other: OsString },

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

    #[error("cannot write {path}: {why}; make room, or choose another folder")]
    Write { path: PathBuf, why: io::Error },

    #[error(transparent)]
    NoDiskSpace(#[from] NoDiskSpace),

    #[error("cannot put the new folder at {path}: {why}; what was there lies in {aside}: move it back yourself")]
    Stranded { path: PathBuf, aside: PathBuf, why: io::Error },
}

impl QuantizeError {
    /// Whether the request was invalid, in contrast to a failure.
    pub fn is_misuse(&self) -> bool {
        use QuantizeError::*;
        match self {
            Packed { .. } | NotACheckpoint { .. } | Group(_) | MixedGroup => true,
            Exists { .. } | NotAModel { .. } | HoldsOthers { .. } | HoldsSource { .. } => true,
            Checkpoint(_) | NotFinite { .. } | Write { .. } | NoDiskSpace(_) | Stranded { .. } => false,
        }
    }
}

pub fn writing(path: &Path) -> impl Fn(io::Error) -> QuantizeError {
    |why| QuantizeError::Write { path: path.to_owned(), why }
}
