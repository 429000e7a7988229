//! The committed expected tensors of Qwen3.5 (tests/golden/README.md).

use std::path::{Path, PathBuf};

/// The folder of the expected tensors, templates and token ids.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/qwen35")
}

/// The folder of the golden model: its weights in several formats, and what it computes.
#[allow(dead_code, reason = "some tests read only the other files")]
pub fn model() -> PathBuf {
    folder().join("tiny_gva2")
}
