//! Whisper weights: from CTranslate2's files to whisper.cpp's.

use std::path::Path;

use super::ImportError;

pub fn convert(source: &Path, _target: &Path) -> Result<(), ImportError> {
    Err(ImportError::Format { path: source.join("model.bin"), why: "this build has no Whisper converter".into() })
}
