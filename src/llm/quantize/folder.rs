//! The folder that is written: beside the destination until it is complete, then in its place.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::error::{QuantizeError, writing};
use super::plan::Plan;
use crate::llm::checkpoint::{CONFIG, INDEX};

pub const WEIGHTS: &str = "model.safetensors";
/// What goes with the weights as it is, where it is there: tokenizer, chat format, licence.
const COMPANIONS: [&str; 9] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "LICENSE",
];

/// A folder under way. Dropped before it is complete, it leaves nothing behind.
pub struct Destination {
    path: PathBuf,
    partial: TempDir,
}

impl Destination {
    pub fn new(source: &Path, path: &Path, replace: bool) -> Result<Self, QuantizeError> {
        if path.symlink_metadata().is_ok() {
            if !replace {
                return Err(QuantizeError::Exists { path: path.to_owned() });
            }
            check_replaceable(source, path)?;
        }
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        Ok(Destination { path: path.to_owned(), partial: beside(parent).map_err(writing(parent))? })
    }

    pub fn partial(&self) -> &Path {
        self.partial.path()
    }

    /// Which tensor is in which file: there is one, but readers expect to be told.
    pub fn write_index(&self, plan: &Plan) -> Result<(), QuantizeError> {
        let names = plan.entries().into_iter().map(|entry| entry.name);
        let map: Map<String, Value> = names.map(|name| (name, WEIGHTS.into())).collect();
        let metadata = json!({ "total_size": plan.bytes(), "total_parameters": plan.parameters });
        self.write_json(INDEX, &json!({ "metadata": metadata, "weight_map": map }))
    }

    pub fn write_config(&self, config: &Value) -> Result<(), QuantizeError> {
        self.write_json(CONFIG, config)
    }

    fn write_json(&self, name: &str, value: &Value) -> Result<(), QuantizeError> {
        let path = self.partial().join(name);
        std::fs::write(&path, format!("{value:#}\n")).map_err(writing(&path))
    }

    pub fn copy_companions(&self, source: &Path) -> Result<(), QuantizeError> {
        for name in COMPANIONS {
            let from = source.join(name);
            if from.is_file() {
                let to = self.partial().join(name);
                std::fs::copy(from, &to).map_err(writing(&to))?;
            }
        }
        Ok(())
    }

    /// Puts the folder in its place. What was there goes aside first, and comes back if that fails.
    pub fn complete(self) -> Result<(), QuantizeError> {
        let path = self.path.clone();
        let failed = writing(&path);
        if path.symlink_metadata().is_err() {
            return self.put().map_err(failed);
        }
        let aside = beside(self.partial().parent().unwrap_or(Path::new("."))).map_err(&failed)?;
        let old = aside.path().join("old");
        std::fs::rename(&path, &old).map_err(&failed)?;
        self.put().map_err(|error| {
            let _still_aside = std::fs::rename(&old, &path);
            failed(error)
        })
    }

    fn put(self) -> std::io::Result<()> {
        std::fs::rename(self.partial.path(), &self.path)?;
        // Nothing is left at its old place.
        let _moved = self.partial.keep();
        Ok(())
    }
}

/// A folder of the user's that holds no model must not go, and the source must not either.
fn check_replaceable(source: &Path, path: &Path) -> Result<(), QuantizeError> {
    let is_model = path.symlink_metadata().is_ok_and(|kind| kind.is_dir()) && path.join(CONFIG).is_file();
    let empty = path.read_dir().is_ok_and(|mut entries| entries.next().is_none());
    if !is_model && !empty {
        return Err(QuantizeError::NotAModel { path: path.to_owned() });
    }
    match (source.canonicalize(), path.canonicalize()) {
        (Ok(source), Ok(path)) if !source.starts_with(&path) => Ok(()),
        _ => Err(QuantizeError::HoldsSource { path: path.to_owned() }),
    }
}

/// A new folder in `parent`, on the same disk, so that a rename is enough; readable as any folder of the user's.
fn beside(parent: &Path) -> std::io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".sotto-quantize-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(parent)
}
