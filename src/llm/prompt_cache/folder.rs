//! The files of the prompt cache.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::types::Bytes;

/// Extension of cache files; other files are never touched.
pub const EXTENSION: &str = ".prompt";
/// Prefix of files that are still being written.
const DRAFT: &str = ".draft-";
/// Age at which a draft counts as left behind by a process that ended.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Limit of files that are examined; the limit in bytes is reached long before.
const MOST_FILES: usize = 1000;

pub struct PromptCacheFolder(PathBuf);

pub struct CachedPrompt {
    pub path: PathBuf,
    size: u64,
    used: SystemTime,
}

impl PromptCacheFolder {
    pub fn new(path: &Path) -> PromptCacheFolder {
        PromptCacheFolder(path.to_owned())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Lists the cache files whose names begin with `start`; none if there is no folder.
    pub fn files(&self, start: &str) -> io::Result<Vec<CachedPrompt>> {
        let listed = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed?,
        };
        let ours = |entry: &fs::DirEntry| {
            let name = entry.file_name();
            name.to_str().is_some_and(|name| name.starts_with(start) && name.ends_with(EXTENSION))
        };
        Ok(listed.filter_map(Result::ok).filter(ours).filter_map(CachedPrompt::of).take(MOST_FILES).collect())
    }

    /// Removes the least recently used files until `size` more bytes fit below `limit`, not
    /// counting a file called `replaced`, and removes abandoned drafts.
    pub fn make_room(&self, limit: Bytes, size: Bytes, replaced: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        self.remove_abandoned()?;
        let mut files = self.files("")?;
        files.retain(|file| file.path.file_name().is_none_or(|name| name != replaced));
        files.sort_by_key(|file| file.used);
        let mut total = files.iter().map(|file| file.size).sum::<u64>();
        for file in files {
            if total.saturating_add(size.0) <= limit.0 {
                break;
            }
            self.remove(&file.path);
            total -= file.size;
        }
        Ok(())
    }

    /// Writes a file completely: beside its destination, then renamed.
    pub fn write(&self, name: &str, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        // The library creates files with mode 0600, and removes them if one of these steps fails.
        let mut draft = tempfile::Builder::new().prefix(DRAFT).tempfile_in(&self.0)?;
        write(draft.as_file_mut())?;
        draft.persist(self.0.join(name)).map(drop).map_err(|error| error.error)
    }

    /// Updates the time of use of a file. If that is not allowed, the file is removed earlier than
    /// it should, which is harmless.
    pub fn touch(&self, path: &Path) {
        let _ = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// Removes a file. Another process may have been faster, and a failure is retried later.
    pub fn remove(&self, path: &Path) {
        let _ = fs::remove_file(path);
    }

    fn remove_abandoned(&self) -> io::Result<()> {
        let now = SystemTime::now();
        for entry in fs::read_dir(&self.0)?.filter_map(Result::ok) {
            let draft = entry.file_name().to_str().is_some_and(|name| name.starts_with(DRAFT));
            let old = |entry: &CachedPrompt| now.duration_since(entry.used).is_ok_and(|age| age > ABANDONED);
            if let Some(entry) = CachedPrompt::of(entry).filter(|entry| draft && old(entry)) {
                self.remove(&entry.path);
            }
        }
        Ok(())
    }
}

impl CachedPrompt {
    /// Describes a plain file; `None` for others: a link could point anywhere.
    fn of(entry: fs::DirEntry) -> Option<CachedPrompt> {
        let about = entry.metadata().ok()?;
        let used = about.modified().ok()?;
        about.is_file().then(|| CachedPrompt { path: entry.path(), size: about.len(), used })
    }
}

/// Opens a file for reading, but follows no link that replaced it.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)
}
