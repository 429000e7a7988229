//! ONNX Runtime, opened once per process from the library that the catalogue brought.
//!
//! The library is a file like any model: nothing is linked at build time and nothing is searched on the system, so the
//! version that was tested is the version that runs.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;

/// The opened library. Clones are cheap.
#[derive(Clone)]
pub struct Onnx(Environment);

#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    #[error("ONNX Runtime could not be loaded from {library}: {why}; run \"sotto models pull onnxruntime\"")]
    Library { library: PathBuf, why: String },
    #[error("{model} could not be opened by ONNX Runtime: {why}; run \"sotto models verify\"")]
    Model { model: PathBuf, why: String },
}

static OPENED: Mutex<Option<Onnx>> = Mutex::new(None);

impl Onnx {
    /// Opens the library, or returns the one this process has opened before: there can be only one.
    pub fn open(library: &Path) -> Result<Onnx, OnnxError> {
        let mut opened = OPENED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(onnx) = &*opened {
            return Ok(onnx.clone());
        }
        let fail = |why: String| OnnxError::Library { library: library.to_owned(), why };
        let environment = ort::init_from(library)
            .map_err(|error| fail(error.to_string()))?
            .with_telemetry(false)
            .build()
            .map_err(|error| fail(error.to_string()))?;
        Ok(opened.insert(Onnx(environment)).clone())
    }

    /// Loads a graph. `threads` work on one run; they sleep between runs instead of spinning, because other stages
    /// need the cores.
    pub fn session(&self, model: &Path, threads: usize) -> Result<Session, OnnxError> {
        let fail = |why: String| OnnxError::Model { model: model.to_owned(), why };
        let build = || -> Result<Session, Box<dyn std::error::Error>> {
            Ok(Session::builder(&self.0)?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_intra_threads(threads)?
                .with_intra_op_spinning(false)?
                .commit_from_file(model)?)
        };
        build().map_err(|error| fail(error.to_string()))
    }
}
