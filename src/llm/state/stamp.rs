//! Which states may be exchanged.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use crate::llm::LlmError;
use crate::llm::model::Model;

/// What the bits of a state depend on besides its tokens: the weights, their arrangement, the kernels and the program. A
/// state is taken over only by a model whose stamp is the same.
///
/// Weights are not read through for it: of a file of a gigabyte that takes as long as the prompt that a stored state is
/// to save. Instead of each file its name, its size, its time of change, its first 64 KiB (which name and size every
/// tensor) and 4 KiB at each of 64 places evenly through it. Another model, another quantisation or another training of
/// the same model differs in all but the size; only an edit of a few bytes that also sets the time back goes unseen.
///
/// The program counts with version, size and time of change, because the kernels change between releases too; so a
/// rebuilt program computes its prompts anew once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp([u8; Stamp::LEN]);

const HEAD: usize = 64 << 10;
const SAMPLE: usize = 4 << 10;
const SAMPLES: u64 = 64;
/// What makes a model of a folder: weights, configuration, tokenizer and template.
const EXTENSIONS: [&str; 3] = ["safetensors", "json", "jinja"];

impl Stamp {
    pub(super) const LEN: usize = 32;

    /// The stamp of `model`, which was opened from `path`.
    pub fn new(path: &Path, model: &Model) -> Result<Stamp, LlmError> {
        let mut hasher = Sha256::new();
        for file in files(path).map_err(|why| LlmError::Unreadable { path: path.to_owned(), why })? {
            add_file(&mut hasher, &file).map_err(|why| LlmError::Unreadable { path: file.clone(), why })?;
        }
        // A blueprint is written without doubt: each field by name, floats as their shortest exact decimals.
        hasher.update(format!("{:?}", model.blueprint()));
        let Program { version, size, changed } = Program::running();
        let kernels = model.simd().name();
        let target = (std::env::consts::ARCH, std::env::consts::OS, cfg!(target_endian = "little"));
        hasher.update(format!("{kernels} {version} {size} {changed} {target:?}"));
        Ok(Stamp(hasher.finalize().into()))
    }

    pub(super) fn bytes(&self) -> &[u8; Stamp::LEN] {
        &self.0
    }

    /// The beginning of it as text, for the names of files.
    pub fn short(&self) -> String {
        self.0[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[cfg(test)]
    pub const fn of_bytes(bytes: [u8; Stamp::LEN]) -> Stamp {
        Stamp(bytes)
    }
}

/// The program that runs. Where the system does not show its file, the version stands alone.
struct Program {
    version: &'static str,
    size: u64,
    changed: u128,
}

impl Program {
    fn running() -> Program {
        let about = std::env::current_exe().and_then(fs::metadata).ok();
        Program {
            version: env!("CARGO_PKG_VERSION"),
            size: about.as_ref().map_or(0, fs::Metadata::len),
            changed: about.as_ref().map_or(0, changed),
        }
    }
}

/// The files of the model at `path`, in the order of their names.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let in_folder = path.extension().is_some_and(|extension| extension == "safetensors");
    let folder = match path.parent() {
        Some(parent) if in_folder => parent,
        _ if path.is_dir() => path,
        _ => return Ok(vec![path.to_owned()]),
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        let counts = |end: &std::ffi::OsStr| EXTENSIONS.iter().any(|known| end == *known);
        if file.extension().is_some_and(counts) && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn add_file(hasher: &mut Sha256, path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    hasher.update(format!("{name:?} {} {} ", about.len(), changed(&about)));
    let mut buffer = vec![0; HEAD];
    add_piece(hasher, &file, 0, &mut buffer)?;
    let step = about.len() / SAMPLES;
    for n in 1..SAMPLES {
        add_piece(hasher, &file, n * step, &mut buffer[..SAMPLE])?;
    }
    Ok(())
}

/// Adds what there is of `buffer.len()` bytes at `offset`.
fn add_piece(hasher: &mut Sha256, file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    hasher.update(&buffer[..filled]);
    Ok(())
}

/// Nanoseconds since 1970; 0 where the system does not tell.
fn changed(about: &fs::Metadata) -> u128 {
    let since = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::testing;

    #[test]
    fn another_model_or_another_time_is_another_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        let bytes = testing::model("llama").build();
        fs::write(&path, &bytes).unwrap();
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let model = Model::open(&path, 1).unwrap();
        let stamp = || Stamp::new(&path, &model).unwrap();
        let first = stamp();
        assert_eq!(first, stamp());
        assert_eq!(first.short().len(), 16);

        // The same size and time, one weight in the middle differs.
        let mut other = bytes.clone();
        let middle = other.len() / SAMPLES as usize * 40;
        other[middle] ^= 1;
        fs::write(&path, &other).unwrap();
        let set_time = |time| File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        set_time(time);
        assert_ne!(first, stamp());
        fs::write(&path, &bytes).unwrap();
        set_time(time);
        assert_eq!(first, stamp());
        set_time(time + std::time::Duration::from_nanos(1_000_000));
        assert_ne!(first, stamp());
    }

    #[test]
    fn of_a_folder_the_files_count_that_make_the_model() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.safetensors", "a.json", "README.md", "chat_template.jinja"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let names = |path: &Path| -> Vec<String> {
            let name = |file: &PathBuf| file.file_name().unwrap().to_string_lossy().into_owned();
            files(path).unwrap().iter().map(name).collect()
        };
        let expected = ["a.json", "b.safetensors", "chat_template.jinja"];
        assert_eq!(names(folder.path()), expected);
        assert_eq!(names(&folder.path().join("b.safetensors")), expected);
        assert!(files(&folder.path().join("none/x.safetensors")).is_err());
    }
}
