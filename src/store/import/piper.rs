//! Piper voices: one graph cut into encoder and decoder.

use std::path::Path;

use super::ImportError;

pub fn split(onnx: &Path, _encoder: &Path, _decoder: &Path) -> Result<(), ImportError> {
    Err(ImportError::Format { path: onnx.to_owned(), why: "this build cannot split voices".into() })
}
