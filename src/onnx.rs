//! ONNX Runtime, opened once per process from the library in the catalogue.
//!
//! The library is a file like any model: nothing is linked at build time and no library of the
//! system is searched, so the version that was tested is the version that runs.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;

use crate::sniff;

/// The opened library. Clones are cheap.
#[derive(Clone)]
pub struct Onnx(Environment);

#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    #[error("ONNX Runtime could not be loaded from {library}: {why}; run \"sotto models pull onnxruntime\"")]
    Library { library: PathBuf, why: String },
    #[error("{model} could not be opened by ONNX Runtime: {why}; run \"sotto models verify\"")]
    Model { model: PathBuf, why: String },
    #[error("{file} is {what}")]
    OtherFile { file: PathBuf, what: &'static str },
    #[error(
        "out of memory at {file}: {why}; close other programs, raise the limit (ulimit -v) or choose a smaller model"
    )]
    Memory { file: PathBuf, why: String },
}

/// Messages of ONNX Runtime and of the system's loader for a lack of memory.
const OUT_OF_MEMORY: [&str; 5] =
    ["bad_alloc", "Failed to allocate memory", "Cannot allocate memory", "failed to map segment", "out of memory"];

impl OnnxError {
    /// Makes the error for a run of `file` that failed for lack of memory; `None` where it failed
    /// for another reason.
    pub fn of_memory(file: &Path, why: &str) -> Option<OnnxError> {
        let memory = OUT_OF_MEMORY.iter().any(|words| why.contains(words));
        memory.then(|| OnnxError::Memory { file: file.to_owned(), why: why.to_owned() })
    }

    /// Makes the error for a library that could not be loaded.
    fn of_library(library: &Path, why: String) -> OnnxError {
        OnnxError::of_memory(library, &why).unwrap_or(OnnxError::Library { library: library.to_owned(), why })
    }

    /// Makes the error for a graph that could not be opened.
    fn of_model(model: &Path, why: String) -> OnnxError {
        let file = model.to_owned();
        match (OnnxError::of_memory(model, &why), sniff::file(model)) {
            (Some(error), _) => error,
            (None, Some(what)) => OnnxError::OtherFile { file, what },
            (None, None) => OnnxError::Model { model: file, why },
        }
    }
}

static OPENED: Mutex<Option<Onnx>> = Mutex::new(None);

impl Onnx {
    /// Opens the library, or returns the one that this process has opened before: there can be only
    /// one.
    pub fn open(library: &Path) -> Result<Onnx, OnnxError> {
        let mut opened = OPENED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(onnx) = &*opened {
            return Ok(onnx.clone());
        }
        let fail = |why: String| OnnxError::of_library(library, why);
        let environment = ort::init_from(library)
            .map_err(|error| fail(error.to_string()))?
            .with_telemetry(false)
            .build()
            .map_err(|error| fail(error.to_string()))?;
        Ok(opened.insert(Onnx(environment)).clone())
    }

    /// Loads a graph. `threads` work on one run; they sleep between runs instead of spinning,
    /// because other stages need the cores.
    pub fn session(&self, model: &Path, threads: usize) -> Result<Session, OnnxError> {
        let build = || -> Result<Session, Box<dyn std::error::Error>> {
            Ok(Session::builder(&self.0)?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_intra_threads(threads)?
                .with_intra_op_spinning(false)?
                .commit_from_file(model)?)
        };
        build().map_err(|error| OnnxError::of_model(model, error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_by_their_cause() {
        let folder = tempfile::tempdir().unwrap();
        let [graph, pointer] = ["graph.onnx", "pointer.onnx"].map(|name| folder.path().join(name));
        std::fs::write(&graph, b"\x08\x08").unwrap();
        std::fs::write(&pointer, b"version https://git-lfs.github.com/spec/v1\n").unwrap();
        for (file, why, words) in [
            (&graph, "Load model failed:std::bad_alloc", "out of memory"),
            (&graph, "Protobuf parsing failed.", "sotto models verify"),
            (&pointer, "Protobuf parsing failed.", "a Git LFS pointer: fetch the file itself"),
        ] {
            let message = OnnxError::of_model(file, why.to_owned()).to_string();
            assert!(message.contains(words) && message.contains(&*file.to_string_lossy()), "{message}");
        }
        let library = OnnxError::of_library(&graph, "failed to map segment from shared object".to_owned()).to_string();
        assert!(library.contains("out of memory") && !library.contains("pull"), "{library}");
    }
}
