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

/// Turns what a source brought (in `raw`) into what is installed (in `ready`, one file for each of `names`, in the order
/// of the catalogue).
pub(super) fn convert(import: Import, raw: &Path, ready: &Path, names: &[&str]) -> Result<(), ImportError> {
    match import {
        Import::None => names.iter().try_for_each(|name| pass_on(raw, ready, name)),
        Import::WhisperCt2 => names.iter().try_for_each(|name| whisper::convert(raw, &ready.join(name))),
        Import::PiperSplit => {
            piper::split(&raw.join("voice.onnx"), &ready.join("encoder.onnx"), &ready.join("decoder.onnx"))?;
            pass_on(raw, ready, "voice.json")
        }
    }
}

/// A file that is installed as it came keeps its bytes on disk: only its name moves.
fn pass_on(raw: &Path, ready: &Path, name: &str) -> Result<(), ImportError> {
    place::settle(&raw.join(name), &ready.join(name)).map_err(of_file)
}

/// Writes a file that appears whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ImportError> {
    place::write(path, bytes).map_err(of_file)
}

fn of_file(error: place::FileError) -> ImportError {
    ImportError::Io { path: error.path, source: error.source }
}
