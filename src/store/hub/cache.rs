//! The cache layout of `huggingface_hub`: `models--ORG--NAME/{refs/REVISION, blobs/ETAG,
//! snapshots/COMMIT/FILE}`, where a snapshot's file is a relative link to its blob, and
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

/// Snapshots of one repository that are looked through for a file.
const MAX_SNAPSHOTS: usize = 64;

/// One repository's part of the cache.
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

    /// Bytes that `members` still take: those of an unfinished download are there. The name of a
    /// large file's blob is its digest.
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

    /// A file that is already here, whoever brought it. Only one that is what the catalogue pins
    /// counts.
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

    /// The snapshot that `revision` points to, then the others: what is pinned by digest may stand
    /// in any of them.
    fn snapshots(&self, revision: &BlobName) -> Vec<PathBuf> {
        let folder = self.folder.join("snapshots");
        let commit = fs::read_to_string(revision.below(&self.folder.join("refs"))).ok();
        let commit = commit.and_then(|commit| BlobName::single(commit.trim()).ok());
        let named = commit.iter().chain([revision]).map(|name| name.below(&folder));
        let others = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        named.chain(others).take(MAX_SNAPSHOTS).collect()
    }

    /// A link may not lead out of the repository's folder.
    fn is_inside(&self, path: &Path) -> bool {
        match (fs::canonicalize(path), fs::canonicalize(&self.folder)) {
            (Ok(path), Ok(folder)) => path.starts_with(folder),
            _ => false,
        }
    }

    /// Waits until no other process writes this blob. The lock goes with the returned file.
    pub fn lock(&self, etag: &BlobName) -> Result<File, FileError> {
        place::create_folder(&self.folder.join("blobs"))?;
        place::create_folder(&self.locks)?;
        let path = self.locks.join(format!("{etag}.lock"));
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
        file.lock().map_err(at(&path))?;
        Ok(file)
    }

    /// Makes the blob findable: the link in its snapshot, and the reference that points to the
    /// snapshot.
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

/// True if `path` is a file with exactly the pinned bytes. Its size is looked at first: hashing is
/// for likely ones.
pub(super) fn holds(path: &Path, pin: Pin) -> Result<bool, FileError> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() && meta.len() == pin.size.0 => Ok(Pin::of_file(path).map_err(at(path))? == pin),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(false),
    }
}
