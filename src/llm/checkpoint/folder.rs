//! Files of a checkpoint: `config.json`, and the weights by their index or by their names.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::header::MAX_TENSORS;
use super::{CheckpointFault, json};
use crate::llm::LlmError;

pub const CONFIG: &str = "config.json";
pub const INDEX: &str = "model.safetensors.index.json";
const ENDING: &str = ".safetensors";
/// Name of the file that holds all weights if it exists, as in transformers and mlx-lm.
const WHOLE: &str = "model.safetensors";

/// Size limit of config.json: a published one has 3 kB, and overrides for every module of a large
/// model stay under 100 kB.
const MAX_CONFIG: u64 = 1 << 20;
/// Size limit of the index: published ones have 100 bytes a tensor.
const MAX_INDEX: u64 = 512 * MAX_TENSORS as u64;
/// Limit of files in one checkpoint: a model of 400 GB comes in about 100.
const MAX_SHARDS: usize = 256;
/// Limit of files in one folder: one with more is not a checkpoint.
const MAX_FILES: usize = 4096;

/// File of the draft block, which no index names, as `sotto quantize` writes it.
pub const DRAFTING: &str = "mtp.safetensors";

/// The files of a checkpoint.
#[derive(Debug, PartialEq)]
pub struct CheckpointFolder {
    pub dir: PathBuf,
    /// Names of files in `dir`, in order.
    pub shards: Vec<String>,
    /// Names of tensor and file, if there is an index.
    pub index: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: json::Entries<String>,
}

impl CheckpointFolder {
    /// Finds the files of a checkpoint; `path` is the folder, or one file of weights in it.
    pub fn find(path: &Path) -> Result<Self, LlmError> {
        let kind = std::fs::metadata(path).map_err(unreadable(path))?;
        let (dir, asked) = match kind.is_dir() {
            true => (path.to_owned(), None),
            false => (folder_of(path).to_owned(), Some(file_name(path)?)),
        };
        let index = match dir.join(INDEX) {
            file if file.exists() => read_index(&file)?,
            _ => Vec::new(),
        };
        let indexed: BTreeSet<&String> = index.iter().map(|(_, shard)| shard).collect();
        if let Some(file) = asked.filter(|file| !indexed.contains(file)) {
            return Ok(CheckpointFolder { dir, shards: vec![file], index: Vec::new() });
        }
        if let Some(missing) = indexed.iter().find(|shard| !dir.join(shard).exists()) {
            let why = format!("it names {missing:?}, which is not in the folder");
            return Err(damaged(&dir.join(INDEX), CheckpointFault::Files(why)));
        }
        let mut shards = match indexed.is_empty() {
            false => indexed.into_iter().cloned().collect(),
            true => weights_in(&dir)?,
        };
        if dir.join(DRAFTING).is_file() && !shards.iter().any(|shard| shard == DRAFTING) {
            shards.push(DRAFTING.to_owned());
        }
        Ok(CheckpointFolder { dir, shards, index })
    }

    /// The bytes of config.json.
    pub fn config(&self) -> Result<Vec<u8>, LlmError> {
        read_small(&self.dir.join(CONFIG), "config.json", MAX_CONFIG)
    }
}

/// Folder that holds the file `path`: the current one for a bare name.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn file_name(path: &Path) -> Result<String, LlmError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match is_plain_name(name) {
        true => Ok(name.to_owned()),
        false => Err(damaged(path, CheckpointFault::ShardName(name.to_owned()))),
    }
}

/// Whether `name` is a file in this folder: an index must not point anywhere else.
fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    plain && name.ends_with(ENDING) && !name.contains(['\\', '\0', ':'])
}

fn read_index(path: &Path) -> Result<Vec<(String, String)>, LlmError> {
    let bytes = read_small(path, "the index", MAX_INDEX)?;
    let Index { weight_map: json::Entries(map) } = json::parse_file(&bytes).map_err(|fault| damaged(path, fault))?;
    let shards: BTreeSet<&String> = map.iter().map(|(_, shard)| shard).collect();
    let fault = match shards.iter().find(|name| !is_plain_name(name)) {
        Some(name) => CheckpointFault::ShardName(name.chars().take(100).collect()),
        None if shards.len() > MAX_SHARDS => too_many("files in the index", shards.len(), MAX_SHARDS),
        None if map.len() > MAX_TENSORS => too_many("tensors in the index", map.len(), MAX_TENSORS),
        None if map.is_empty() => CheckpointFault::Files("the index names no tensor".to_owned()),
        None => return Ok(map),
    };
    Err(damaged(path, fault))
}

/// Finds the weights without an index: `model.safetensors`, or all files whose names begin with
/// "model", or the only file of weights. Other names mean other contents (adapters, expected
/// results) and are not used.
fn weights_in(dir: &Path) -> Result<Vec<String>, LlmError> {
    let mut names = Vec::new();
    for (seen, entry) in std::fs::read_dir(dir).map_err(unreadable(dir))?.enumerate() {
        if seen == MAX_FILES {
            return Err(damaged(dir, too_many("files in the folder", seen + 1, MAX_FILES)));
        }
        let name = entry.map_err(unreadable(dir))?.file_name();
        let name = name.to_str().filter(|name| is_plain_name(name) && *name != DRAFTING);
        names.extend(name.map(str::to_owned));
    }
    names.sort();
    let model: Vec<String> = names.iter().filter(|name| name.starts_with("model")).cloned().collect();
    let why = match (model.len(), names.len()) {
        _ if names.iter().any(|name| name == WHOLE) => return Ok(vec![WHOLE.to_owned()]),
        (1..=MAX_SHARDS, _) => return Ok(model),
        (0, 1) => return Ok(names),
        (0, 0) => "the folder holds no .safetensors file".to_owned(),
        (0, _) => format!("the folder holds several .safetensors files, none of them \"model…\": {}", names.join(", ")),
        (found, _) => return Err(damaged(dir, too_many("files of weights", found, MAX_SHARDS))),
    };
    Err(damaged(dir, CheckpointFault::Files(why)))
}

/// Reads a whole file that should be small. Pipes and folders are refused, because reading one
/// could block forever.
fn read_small(path: &Path, what: &'static str, limit: u64) -> Result<Vec<u8>, LlmError> {
    let unreadable = unreadable(path);
    if !std::fs::metadata(path).map_err(&unreadable)?.is_file() {
        return Err(unreadable(std::io::Error::other("it is not a regular file")));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(&unreadable)?;
    match bytes.len() as u64 {
        value if value > limit => Err(damaged(path, CheckpointFault::TooLarge { what, value, limit })),
        _ => Ok(bytes),
    }
}

fn too_many(what: &'static str, value: usize, limit: usize) -> CheckpointFault {
    CheckpointFault::TooLarge { what, value: value as u64, limit: limit as u64 }
}

pub fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> LlmError {
    |why| LlmError::Unreadable { path: path.to_owned(), why }
}

pub fn damaged(path: &Path, fault: CheckpointFault) -> LlmError {
    let path = path.to_owned();
    match fault {
        CheckpointFault::OtherFile(what) => LlmError::OtherFile { path, what },
        fault => LlmError::DamagedCheckpoint { path, fault },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_of_weights_are_followed() {
        for good in ["model.safetensors", "model.safetensors-00001-of-00001.safetensors", "a b.safetensors"] {
            assert!(is_plain_name(good), "{good}");
        }
        for bad in [
            "",
            "..",
            "../model.safetensors",
            "/model.safetensors",
            "a/model.safetensors",
            "./model.safetensors",
            "a\\model.safetensors",
            "c:model.safetensors",
            "model.safetensors/",
            "model.bin",
            "a\0.safetensors",
        ] {
            assert!(!is_plain_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_bare_name_lies_where_we_are() {
        for (file, folder) in [("a.gguf", "."), ("./a.gguf", "."), ("b/a.gguf", "b"), ("../a", ".."), ("/a", "/")] {
            assert_eq!(folder_of(Path::new(file)), Path::new(folder), "{file}");
        }
    }

    #[test]
    fn weights_are_found_by_their_names() {
        let cases: [(&[&str], Option<&[&str]>); 7] = [
            (&["model.safetensors", "model-00001-of-00002.safetensors"], Some(&["model.safetensors"])),
            (&["model.f32.safetensors", "golden.safetensors", "mtp.f32.safetensors"], Some(&["model.f32.safetensors"])),
            (
                &["model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors"],
                Some(&["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]),
            ),
            (
                &["model.safetensors-00001-of-00001.safetensors"],
                Some(&["model.safetensors-00001-of-00001.safetensors"]),
            ),
            (&["weights.safetensors", "notes.txt"], Some(&["weights.safetensors"])),
            (&["a.safetensors", "b.safetensors"], None),
            (&["model.bin"], None),
        ];
        for (files, expected) in cases {
            let dir = tempfile::tempdir().unwrap();
            files.iter().for_each(|name| std::fs::write(dir.path().join(name), b"").unwrap());
            let found = CheckpointFolder::find(dir.path()).map(|folder| folder.shards);
            let expected = expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
            assert_eq!(found.ok(), expected, "{files:?}");
        }
    }
}
