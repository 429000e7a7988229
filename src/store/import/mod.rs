//! Conversion of what registries carry into what the rooms read.

use std::io;
use std::path::PathBuf;

pub mod whisper;

/// Why a model could not be converted.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} cannot be converted: {why}")]
    Format { path: PathBuf, why: String },
}
