//! Where the real models are that end-to-end tests run on.

use std::path::PathBuf;

/// The file of an installed catalogue model. A missing model fails the test: a check that skips in silence is none.
pub fn model_file(model: &str, file: &str) -> PathBuf {
    let path = models_dir().join(model).join(file);
    assert!(path.exists(), "{} is missing: run \"make models\" first", path.display());
    path
}

fn models_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("SOTTO_MODELS_DIR") {
        return dir.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set"));
    cache.unwrap_or_else(|| home().join(".cache")).join("sotto").join("models")
}
