//! The folder that is written: beside the destination until it is complete, then in its place.

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
/// What was at the destination, in a folder beside it for as long as it takes to put the new one
/// there.
const OLD: &str = "old";

/// A folder under way. Dropped before it is complete, it leaves nothing behind.
pub struct Destination {
    path: PathBuf,
    partial: TempDir,
}

impl Destination {
    /// Claims a place for a model of so many `bytes`.
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

    /// Which tensor is in which file: there is one, but readers expect to be told. Other engines
    /// look for the block that drafts in files that are named here, and take its presence for a
    /// sign that norms are zero-centred.
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

    /// Puts the folder in its place. What was there goes aside first, and comes back if that fails.
    pub fn complete(self) -> Result<(), QuantizeError> {
        let path = self.path.clone();
        let failed = writing(&path);
        if path.symlink_metadata().is_err() {
            return self.put().map_err(failed);
        }
        // Quantising took its time: somebody may have put a file there meanwhile.
        check_disposable(&path)?;
        let aside = beside(folder_of(&path)).map_err(&failed)?;
        std::fs::rename(&path, aside.path().join(OLD)).map_err(&failed)?;
        self.put().map_err(|error| bring_back(aside, &path, error))
    }

    fn put(self) -> io::Result<()> {
        std::fs::rename(self.partial.path(), &self.path)?;
        // Nothing is left at its old place.
        let _moved = self.partial.keep();
        Ok(())
    }
}

/// Returns what went `aside` to `path`, and says what failed. Where not even that is possible it
/// stays where it is: a folder of the user's is never deleted before the new one has taken its
/// place.
fn bring_back(aside: TempDir, path: &Path, why: io::Error) -> QuantizeError {
    match std::fs::rename(aside.path().join(OLD), path) {
        Ok(()) => writing(path)(why),
        Err(_) => QuantizeError::Stranded { path: path.to_owned(), aside: aside.keep().join(OLD), why },
    }
}

/// What is replaced must not be the source, nor hold it.
fn check_apart(source: &Path, path: &Path) -> Result<(), QuantizeError> {
    match (source.canonicalize(), path.canonicalize()) {
        (Ok(source), Ok(path)) if source.starts_with(&path) => {
            Err(QuantizeError::HoldsSource { path: path.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Whether `path` is a folder, no link to one, that is empty or holds a model and nothing else.
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

/// A plain file that is called as those of a checkpoint are. What a folder or a link leads to is
/// not ours to judge.
fn is_of_a_checkpoint(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let Some(name) = name.to_str().filter(|_| entry.file_type().is_ok_and(|kind| kind.is_file())) else { return false };
    let is_weights = name.starts_with("model") && name.ends_with(".safetensors");
    is_weights || [CONFIG, INDEX, DRAFTING].contains(&name) || COMPANIONS.contains(&name)
}

/// A new folder in `parent`, on the same disk, so that a rename is enough; readable as any folder
/// of the user's.
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
