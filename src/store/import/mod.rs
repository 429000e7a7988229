//! Conversion of models from the formats of registries into those that Sotto loads.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use super::catalogue::{CatalogueEntry, Import};
use super::place;
use super::progress::Progress;
use crate::{disk, sniff};

mod onnx;
pub mod piper;
pub mod whisper;
mod wire;

/// Reason why a model could not be converted.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{path}: {}", place::told(.source))]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} cannot be converted: {why}")]
    Format { path: PathBuf, why: String },
    #[error("it cannot be quantised")]
    Quantize(#[source] Box<dyn Error + Send + Sync>),
    #[error(transparent)]
    NoDiskSpace(#[from] disk::NoDiskSpace),
    #[error("it has to be quantised, and nothing that can do so was given to the store")]
    NoQuantizer,
}

impl ImportError {
    /// Adds the kind of file to the error, where its first bytes show it.
    fn named(self) -> ImportError {
        match self {
            ImportError::Format { path, why } => {
                let why = sniff::file(&path).map_or(why, |what| format!("it is {what}"));
                ImportError::Format { path, why }
            }
            other => other,
        }
    }
}

/// Quantiser of published checkpoints. The code for it belongs to the language model, which the
/// store does not depend on, so the caller that opens a store passes it in.
pub trait Quantizer: Send + Sync {
    /// Quantises the checkpoint in the folder `source` to `format` and writes it to the folder
    /// `destination`, which appears whole or not at all. `progress` is updated under the name
    /// `what`.
    fn quantize(
        &self,
        source: &Path,
        destination: &Path,
        format: &str,
        what: &str,
        progress: &dyn Progress,
    ) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// Converts the files of a source (in `raw`) into the installed files. Returns the folder that
/// holds the files of the entry; it is inside the empty folder `ready`.
pub(super) fn convert(
    entry: &CatalogueEntry,
    raw: &Path,
    ready: &Path,
    quantizer: Option<&dyn Quantizer>,
    progress: &dyn Progress,
) -> Result<PathBuf, ImportError> {
    let what = format!("{}: converting", entry.name);
    if let Some(format) = entry.import.quantized() {
        let made = ready.join("checkpoint");
        let quantizer = quantizer.ok_or(ImportError::NoQuantizer)?;
        quantizer.quantize(raw, &made, format, &what, progress).map_err(ImportError::Quantize)?;
        return Ok(made);
    }
    disk::check(ready, entry.installed_bytes())?;
    let task = progress.start(&what, None);
    let mut names = entry.files.iter().map(|file| file.name.as_str());
    match entry.import {
        Import::WhisperCt2 => names.try_for_each(|name| whisper::convert(raw, &ready.join(name)))?,
        Import::PiperSplit => {
            piper::split(&raw.join("voice.onnx"), ready)?;
            copy(raw, ready, "voice.json")?;
        }
        _ => names.try_for_each(|name| copy(raw, ready, name))?,
    }
    task.done();
    Ok(ready.to_owned())
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
