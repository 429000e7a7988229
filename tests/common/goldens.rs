//! The larger set of expected tensors for Qwen3.5, which lies beside some checkouts (tests/golden/README.md).

use std::io::Write;
use std::path::{Path, PathBuf};

/// The folder of the set. Where it is not, that is said, and what is compared `instead`.
pub fn folder(instead: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/qwen3.5/goldens");
    if folder.is_dir() {
        return Some(folder);
    }
    // Not by println: the harness keeps to itself what a test prints that passes.
    let _ = writeln!(std::io::stderr(), "NOT COMPARED: {} is not there; {instead}", folder.display());
    None
}

/// The folders of its models.
pub fn models(instead: &str) -> Vec<PathBuf> {
    let Some(folder) = folder(instead) else { return Vec::new() };
    let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let models: Vec<_> = entries.filter(|path| path.join("ref_f64.safetensors").exists()).collect();
    assert!(!models.is_empty(), "{} holds no models", folder.display());
    models
}
