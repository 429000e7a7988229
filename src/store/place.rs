//! Atomic file operations: a reader sees a whole file or none, even after a power failure.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::disk;

/// File system error with its path.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {}", told(.source))]
pub struct FileError {
    pub path: PathBuf,
    pub source: io::Error,
}

/// Text of a file system error; for a full disk it also says what to do.
pub(super) fn told(error: &io::Error) -> String {
    match disk::is_full(error) {
        true => format!("there is no room left on its disk ({error}); make room, or choose a folder on another disk"),
        false => error.to_string(),
    }
}

/// Adds the path to an error, as in `File::open(p).map_err(at(p))`.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> FileError + '_ {
    move |source| FileError { path: path.to_owned(), source }
}

pub(super) fn create_folder(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(at(path))
}

/// Removes a file, or a folder with its contents. A missing path is no error.
pub(super) fn remove(path: &Path) -> Result<(), FileError> {
    let gone = match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match gone {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// Moves a finished file to its final path, after its bytes are flushed to the disk.
pub(super) fn settle(from: &Path, to: &Path) -> Result<(), FileError> {
    File::open(from).and_then(|file| file.sync_all()).map_err(at(from))?;
    fs::rename(from, to).map_err(at(to))?;
    sync_folder_of(to)
}

/// Writes a small file atomically.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let draft = sibling(path, "draft");
    let write = || {
        let mut file = File::create(&draft)?;
        file.write_all(bytes)
    };
    write().map_err(at(&draft))?;
    settle(&draft, path)
}

/// Creates the symbolic link `link` to `target`, replacing an existing file.
pub(super) fn symlink(target: &Path, link: &Path) -> Result<(), FileError> {
    let draft = sibling(link, "link");
    remove(&draft)?;
    std::os::unix::fs::symlink(target, &draft).map_err(at(&draft))?;
    fs::rename(&draft, link).map_err(at(link))
}

/// Gives `file` a second name by a hard link. Across file systems, or where the system forbids it,
/// the second name is a symbolic link.
pub(super) fn link(file: &Path, second: &Path) -> Result<(), FileError> {
    let whole = fs::canonicalize(file).map_err(at(file))?;
    remove(second)?;
    match fs::hard_link(&whole, second) {
        Ok(()) => Ok(()),
        Err(_) => symlink(&whole, second),
    }
}

/// Parent folder of a file.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

fn sync_folder_of(path: &Path) -> Result<(), FileError> {
    let folder = folder_of(path);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

/// Path beside `path` that only this process uses.
fn sibling(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.{what}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_replaces_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_second_name_outlives_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        fs::write(&first, b"bytes").unwrap();
        link(&first, &second).unwrap();
        link(&first, &second).unwrap();
        remove(&first).unwrap();
        remove(&first).unwrap();
        assert_eq!(fs::read(&second).unwrap(), b"bytes");
    }
}
