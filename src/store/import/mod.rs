//! Conversion of what registries carry into what the rooms read.

use std::io;
use std::path::{Path, PathBuf};

use super::catalogue::Import;
use super::place;

pub mod piper;
pub mod whisper;
mod wire;

/// Why a model could not be converted.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} cannot be converted: {why}")]
    Format { path: PathBuf, why: String },
}

/// Turns what a source brought (in `raw`) into what is installed: one file in `ready` for each of `names`.
pub(super) fn convert(import: Import, raw: &Path, ready: &Path, names: &[&str]) -> Result<(), ImportError> {
    match import {
        Import::None => names.iter().try_for_each(|name| copy(raw, ready, name)),
        Import::WhisperCt2 => names.iter().try_for_each(|name| whisper::convert(raw, &ready.join(name))),
        Import::PiperSplit => {
            piper::split(&raw.join("voice.onnx"), &ready.join("encoder.onnx"), &ready.join("decoder.onnx"))?;
            copy(raw, ready, "voice.json")
        }
    }
}

fn copy(raw: &Path, ready: &Path, name: &str) -> Result<(), ImportError> {
    let from = raw.join(name);
    std::fs::copy(&from, ready.join(name)).map_err(|source| ImportError::Io { path: from, source })?;
    Ok(())
}

/// Writes a file that appears whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ImportError> {
    place::write(path, bytes).map_err(|error| ImportError::Io { path: error.path, source: error.source })
}
