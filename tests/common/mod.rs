//! Finds the real models and recordings that end-to-end tests run on.

use std::path::PathBuf;

/// The path of a file of an installed catalogue model.
///
/// # Panics
/// Where it is not installed, with the command that fetches it: a test that cannot run fails.
pub fn model_file(model: &str, file: &str) -> PathBuf {
    let path = models_dir().join(model).join(file);
    assert!(path.exists(), "{} is missing: run \"make fixtures\" first", path.display());
    path
}

/// The path of a recording, as `MODEL/FILE` of the catalogue's profile "tests".
///
/// # Panics
/// Where it is not installed, with the command that fetches it.
#[allow(dead_code, reason = "some tests need only models")]
pub fn fixture(name: &str) -> PathBuf {
    let (model, file) = name.split_once('/').expect("a fixture is named MODEL/FILE");
    model_file(model, file)
}

fn models_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("SOTTO_MODELS_DIR") {
        return dir.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set"));
    cache.unwrap_or_else(|| home().join(".cache")).join("sotto").join("models")
}
