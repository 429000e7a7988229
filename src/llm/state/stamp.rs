//! Identity of a model, which decides whether a stored state may be used.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use crate::llm::LlmError;
use crate::llm::model::Model;
use crate::llm::source::ModelSource;

/// Hash of everything that the bits of a state depend on besides its tokens: the weights, their
/// layout, the kernels and the program. A state is used only by a model with the same stamp.
/// Tokenizer and template are included, so that tokens of earlier text stay valid as long as the
/// stamp is equal.
///
/// The weights are not read completely: for a file of a gigabyte that takes as long as the prefill
/// that a stored state avoids. For each file the hash covers its name, size, modification time,
/// first 64 KiB (with the name and size of every tensor) and 4 KiB at each of 64 places spread
/// evenly over it. Another model, another quantisation or another training of the same model
/// differs in all but the size; only an edit of a few bytes that also resets the time is missed.
///
/// The program is included by version, size and modification time, because the kernels change
/// between releases too; a rebuilt program computes its prompts once more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp([u8; Stamp::LEN]);

const HEAD: usize = 64 << 10;
const SAMPLE: usize = 4 << 10;
const SAMPLES: u64 = 64;

impl Stamp {
    pub(super) const LEN: usize = 32;

    /// Computes the stamp of `model`, which was loaded from `source`.
    pub fn new(source: &ModelSource, model: &Model) -> Result<Stamp, LlmError> {
        let mut hasher = Sha256::new();
        for file in source.files() {
            add_file(&mut hasher, &file).map_err(|why| LlmError::Unreadable { path: file.clone(), why })?;
        }
        // The debug format is unambiguous: each field by name, floats as their shortest exact
        // decimals.
        hasher.update(format!("{:?}", model.model_config()));
        let Program { version, size, changed } = Program::running();
        let kernels = model.simd().name();
        let target = (std::env::consts::ARCH, std::env::consts::OS, cfg!(target_endian = "little"));
        hasher.update(format!("{kernels} {version} {size} {changed} {target:?}"));
        Ok(Stamp(hasher.finalize().into()))
    }

    pub(super) fn bytes(&self) -> &[u8; Stamp::LEN] {
        &self.0
    }

    /// Beginning of the stamp as text, for file names.
    pub fn short(&self) -> String {
        self.0[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[cfg(test)]
    pub const fn of_bytes(bytes: [u8; Stamp::LEN]) -> Stamp {
        Stamp(bytes)
    }
}

/// The running program. If the system does not reveal its file, only the version counts.
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

/// Adds the bytes at `offset`, up to `buffer.len()` of them.
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

/// Modification time in nanoseconds since 1970; 0 if the system does not report it.
fn changed(about: &fs::Metadata) -> u128 {
    let since = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::checkpoint::testing::Layout;
    use crate::llm::testing;

    fn stamp(path: &Path) -> Stamp {
        let source = ModelSource::open(path).unwrap();
        Stamp::new(&source, &source.load(1).unwrap()).unwrap()
    }

    /// Replaces the contents of a file and keeps its modification time.
    fn replace(path: &Path, bytes: &[u8]) {
        let time = fs::metadata(path).unwrap().modified().unwrap();
        fs::write(path, bytes).unwrap();
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    /// Changes one byte of a sampled place in the middle, among the weights.
    fn change(path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / SAMPLES as usize * 40;
        bytes[middle] ^= 1;
        replace(path, &bytes);
    }

    #[test]
    fn another_model_or_another_time_is_another_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        let bytes = testing::model("llama").build();
        fs::write(&path, &bytes).unwrap();
        // A file, and the folder that holds it, are the same model.
        for asked in [&path, folder.path()] {
            let first = stamp(asked);
            assert_eq!(first, stamp(&path));
            assert_eq!(first.short().len(), 16);
            change(&path);
            assert_ne!(first, stamp(asked));
            replace(&path, &bytes);
            assert_eq!(first, stamp(asked));
            let time = fs::metadata(&path).unwrap().modified().unwrap() + std::time::Duration::from_millis(1);
            File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            assert_ne!(first, stamp(asked));
        }
    }

    #[test]
    fn of_a_folder_the_files_count_that_make_the_model() {
        let folder = Layout { shards: 2, ..Layout::published() }.write();
        let dir = folder.path();
        let first = stamp(dir);
        for stranger in ["golden.safetensors", "generation_config.json", "README.md"] {
            fs::write(dir.join(stranger), "not of the model").unwrap();
            assert_eq!(first, stamp(dir), "{stranger}");
        }
        let shard = dir.join("model-00002-of-00002.safetensors");
        let bytes = fs::read(&shard).unwrap();
        change(&shard);
        assert_ne!(first, stamp(dir));
        replace(&shard, &bytes);
        assert_eq!(first, stamp(dir));
        for own in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
            let before = stamp(dir);
            fs::write(dir.join(own), "{}").unwrap();
            assert_ne!(before, stamp(dir), "{own}");
        }
    }
}
