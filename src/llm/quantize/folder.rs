//! The output folder: written beside the destination until it is complete, then moved there.

use std::fs::DirEntry;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::error::{QuantizeError, writing};
use super::plan::{self, QuantizePlan};
use crate::disk;
use crate::llm::checkpoint::{CONFIG, DRAFTING, INDEX, folder_of};
use crate::types::Bytes;

pub const WEIGHTS: &str = "model.safetensors";
/// Files that are copied beside the weights if they exist: tokenizer, chat format, licence.
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
/// Name of the previous contents of the destination, in a folder beside it while the new one is
/// moved in.
const OLD: &str = "old";

/// A folder being written. If it is dropped before it is complete, it is removed.
pub struct Destination {
    path: PathBuf,
    partial: TempDir,
}

impl Destination {
    /// Prepares the destination for a model of this many `bytes`.
    pub fn new(source: &Path, path: &Path, bytes: Bytes, replace: bool) -> Result<Self, QuantizeError> {
        if path.symlink_metadata().is_ok() {
            check_apart(source, path)?;
            if !replace {
                return Err(QuantizeError::Exists { path: path.to_owned() });
            }
            check_disposable(path)?;
        }
        let parent = folder_of(path);
        disk::check(parent, bytes)?;
        Ok(Destination { path: path.to_owned(), partial: beside(parent).map_err(writing(parent))? })
    }

    pub fn partial(&self) -> &Path {
        self.partial.path()
    }

    /// Writes the index of tensors and files: there is one file, but readers expect an index. Other
    /// engines search the files named here for the draft block, and take its presence as a sign
    /// that norms are zero-centred.
    pub fn write_index(&self, plan: &QuantizePlan) -> Result<(), QuantizeError> {
        let names = plan::entries(&plan.jobs).into_iter().map(|entry| entry.name);
        let map: Map<String, Value> = names.map(|name| (name, WEIGHTS.into())).collect();
        let metadata = json!({ "total_size": plan::bytes(&plan.jobs), "total_parameters": plan.parameters });
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

    /// Moves the folder to the destination. The previous contents are moved aside first, and
    /// restored if that fails.
    pub fn complete(self) -> Result<(), QuantizeError> {
        let path = self.path.clone();
        let failed = writing(&path);
        if path.symlink_metadata().is_err() {
            return self.put().map_err(failed);
        }
        // Checked again, because quantising takes long: a file may have been put there meanwhile.
        check_disposable(&path)?;
        let aside = beside(folder_of(&path)).map_err(&failed)?;
        std::fs::rename(&path, aside.path().join(OLD)).map_err(&failed)?;
        self.put().map_err(|error| bring_back(aside, &path, error))
    }

    fn put(self) -> io::Result<()> {
        std::fs::rename(self.partial.path(), &self.path)?;
        // Its old path is empty now.
        let _moved = self.partial.keep();
        Ok(())
    }
}

/// Moves the contents of `aside` back to `path`, and reports the failure. If that fails too, they
/// stay there: the user's folder is never deleted before the new one is in its place.
fn bring_back(aside: TempDir, path: &Path, why: io::Error) -> QuantizeError {
    match std::fs::rename(aside.path().join(OLD), path) {
        Ok(()) => writing(path)(why),
        Err(_) => QuantizeError::Stranded { path: path.to_owned(), aside: aside.keep().join(OLD), why },
    }
}

/// Checks that the replaced folder is not the source, and does not contain it.
fn check_apart(source: &Path, path: &Path) -> Result<(), QuantizeError> {
    match (source.canonicalize(), path.canonicalize()) {
        (Ok(source), Ok(path)) if source.starts_with(&path) => {
            Err(QuantizeError::HoldsSource { path: path.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Checks that `path` is a folder (not a link) that is empty or holds a model and nothing else.
fn check_disposable(path: &Path) -> Result<(), QuantizeError> {
    let entries: Vec<DirEntry> = match path.symlink_metadata() {
        Ok(kind) if kind.is_dir() => path.read_dir().and_then(Iterator::collect).map_err(writing(path))?,
        _ => return Err(QuantizeError::NotAModel { path: path.to_owned() }),
    };
    if let Some(other) = entries.iter().find(|entry| !is_of_a_checkpoint(entry)) {
        return Err(QuantizeError::HoldsOthers { path: path.to_owned(), other: other.file_name() });
    }
    match entries.is_empty() || entries.iter().any(|entry| entry.file_name() == CONFIG) {
        true => Ok(()),
        false => Err(QuantizeError::NotAModel { path: path.to_owned() }),
    }
}

/// Whether an entry is a plain file with a name that checkpoints use. The targets of folders and
/// links are not checked.
fn is_of_a_checkpoint(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let Some(name) = name.to_str().filter(|_| entry.file_type().is_ok_and(|kind| kind.is_file())) else { return false };
    let is_weights = name.starts_with("model") && name.ends_with(".safetensors");
    is_weights || [CONFIG, INDEX, DRAFTING].contains(&name) || COMPANIONS.contains(&name)
}

/// Creates a folder in `parent`, on the same disk, so that a rename suffices; with the permissions
/// of an ordinary folder.
fn beside(parent: &Path) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".sotto-quantize-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_aside_comes_back_or_stays_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for (place, returns) in [("model", true), ("no such folder/model", false)] {
            let (path, aside) = (dir.path().join(place), beside(dir.path()).unwrap());
            std::fs::create_dir(aside.path().join(OLD)).unwrap();
            std::fs::write(aside.path().join(OLD).join("diary"), "mine").unwrap();
            let kept = aside.path().join(OLD);
            let error = bring_back(aside, &path, io::Error::other("the disk is full"));
            let there = if returns { &path } else { &kept };
            assert_eq!(std::fs::read_to_string(there.join("diary")).unwrap(), "mine", "{place}");
            let named = error.to_string().contains(kept.to_str().unwrap());
            assert_eq!(named, !returns, "{error}");
            assert!(error.to_string().contains("the disk is full"), "{error}");
        }
    }
}
