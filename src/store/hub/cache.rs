//! Cache layout of `huggingface_hub`: `models--ORG--NAME/{refs/REVISION, blobs/ETAG,
//! snapshots/COMMIT/FILE}`, where a file of a snapshot is a relative link to its blob, and
//! `.locks/models--ORG--NAME/ETAG.lock` beside them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::HubError;
use super::client::Head;
use crate::store::catalogue::Member;
use crate::store::digest::Pin;
use crate::store::name::BlobName;
use crate::store::place::{self, FileError, at};
use crate::types::Bytes;

/// Most snapshots of one repository that are searched for a file.
const MAX_SNAPSHOTS: usize = 64;

/// Folder of one repository in the cache.
pub(super) struct RepoCache {
    folder: PathBuf,
    locks: PathBuf,
}

impl RepoCache {
    pub fn new(cache: &Path, repo: &BlobName) -> RepoCache {
        let name = format!("models--{}", repo.as_str().replace('/', "--"));
        RepoCache { folder: cache.join(&name), locks: cache.join(".locks").join(name) }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Number of bytes still to download for `members`. The bytes of an unfinished download are
    /// subtracted; it is found because the blob of a large file is named by its digest.
    pub fn wanted<'m>(&self, members: impl Iterator<Item = &'m Member>) -> Bytes {
        let rest = |member: &Member| {
            let unfinished = self.folder.join("blobs").join(format!("{}.incomplete", member.pin().sha256));
            member.pin().size.0.saturating_sub(fs::metadata(unfinished).map_or(0, |about| about.len()))
        };
        Bytes(members.map(rest).fold(0, u64::saturating_add))
    }

    pub fn blob(&self, etag: &BlobName) -> PathBuf {
        etag.below(&self.folder.join("blobs"))
    }

    pub fn incomplete(&self, etag: &BlobName) -> PathBuf {
        self.blob(etag).with_file_name(format!("{etag}.incomplete"))
    }

    /// Finds a file that is already in the cache, from whatever program. It must match the pin of
    /// the catalogue.
    pub fn find(&self, revision: &BlobName, member: &Member) -> Result<Option<PathBuf>, HubError> {
        let blob = self.folder.join("blobs").join(member.pin().sha256.to_string());
        let snapshots = self.snapshots(revision).into_iter().map(|snapshot| member.from.below(&snapshot));
        for candidate in std::iter::once(blob).chain(snapshots) {
            if self.is_inside(&candidate) && holds(&candidate, member.pin())? {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }

    /// Lists the snapshot that `revision` points to first, then the others: a file that is pinned
    /// by digest may be in any of them.
    fn snapshots(&self, revision: &BlobName) -> Vec<PathBuf> {
        let folder = self.folder.join("snapshots");
        let commit = fs::read_to_string(revision.below(&self.folder.join("refs"))).ok();
        let commit = commit.and_then(|commit| BlobName::single(commit.trim()).ok());
        let named = commit.iter().chain([revision]).map(|name| name.below(&folder));
        let others = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        named.chain(others).take(MAX_SNAPSHOTS).collect()
    }

    /// Whether a path, with its links resolved, is inside the folder of the repository.
    fn is_inside(&self, path: &Path) -> bool {
        match (fs::canonicalize(path), fs::canonicalize(&self.folder)) {
            (Ok(path), Ok(folder)) => path.starts_with(folder),
            _ => false,
        }
    }

    /// Waits until no other process writes this blob. Dropping the returned file releases the lock.
    pub fn lock(&self, etag: &BlobName) -> Result<File, FileError> {
        place::create_folder(&self.folder.join("blobs"))?;
        place::create_folder(&self.locks)?;
        let path = self.locks.join(format!("{etag}.lock"));
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
        file.lock().map_err(at(&path))?;
        Ok(file)
    }

    /// Links the blob into its snapshot, and writes the reference that points to the snapshot.
    pub fn record(&self, revision: &BlobName, head: &Head, member: &Member) -> Result<(), FileError> {
        let link = member.from.below(&head.commit.below(&self.folder.join("snapshots")));
        place::create_folder(link.parent().unwrap_or(&self.folder))?;
        let up = "../".repeat(2 + member.from.depth());
        place::symlink(Path::new(&format!("{up}blobs/{}", head.etag)), &link)?;
        if *revision == head.commit {
            return Ok(());
        }
        let reference = revision.below(&self.folder.join("refs"));
        place::create_folder(reference.parent().unwrap_or(&self.folder))?;
        place::write(&reference, head.commit.as_str().as_bytes())
    }
}

/// Whether `path` is a file with exactly the pinned bytes. The size is compared first, so that only
/// likely files are hashed.
pub(super) fn holds(path: &Path, pin: Pin) -> Result<bool, FileError> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() && meta.len() == pin.size.0 => Ok(Pin::of_file(path).map_err(at(path))? == pin),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(false),
    }
}
