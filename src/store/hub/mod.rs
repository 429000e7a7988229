//! Model hub with the protocol of Hugging Face, and the cache that it shares with other programs.
//!
//! Downloads are written in the cache layout of `huggingface_hub` (huggingface_hub,
//! guides/manage-cache.md), under its locks. So Sotto finds files that another program has fetched,
//! and other programs find those that Sotto fetches.

mod cache;
mod client;
mod env;

use std::path::{Path, PathBuf};

pub use env::{HubEnv, HubTimeouts};

use self::cache::RepoCache;
use self::client::{Client, Head};
use super::catalogue::{HubSource, Member};
use super::digest::{Digest, Mismatch};
use super::name::BadName;
use super::place::{self, FileError};
use super::progress::DownloadTask;
use crate::disk::{self, NoDiskSpace};
use crate::types::Bytes;

/// Reason why a hub did not deliver a file.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("{endpoint} is not asked, because HF_HUB_OFFLINE is set")]
    Offline { endpoint: String },
    #[error("{endpoint} cannot be reached: {why}")]
    Unreachable { endpoint: String, why: String },
    #[error("{file} of {repo}: {why}")]
    Refused { repo: String, file: String, why: String },
    #[error("{file} of {repo}: {mismatch}")]
    Mismatch { repo: String, file: String, mismatch: Mismatch },
    #[error(transparent)]
    NoDiskSpace(#[from] NoDiskSpace),
    #[error(transparent)]
    Name(#[from] BadName),
    #[error(transparent)]
    File(#[from] FileError),
}

impl HubError {
    /// Whether the hub as a whole is unreachable, not just this file.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, HubError::Offline { .. } | HubError::Unreachable { .. })
    }
}

/// Hub with the settings of this process.
pub(super) struct Hub {
    env: HubEnv,
    client: Client,
}

impl Hub {
    pub fn new(env: HubEnv) -> Hub {
        Hub { client: Client::new(&env), env }
    }

    /// Puts every file of `source` into the folder `raw`, under its `to`. A file that is not in the
    /// shared cache is downloaded to it, or to the separate cache `own` if there is one.
    pub fn fetch(
        &self,
        source: &HubSource,
        raw: &Path,
        own: Option<&Path>,
        task: &dyn DownloadTask,
    ) -> Result<(), HubError> {
        let shared = RepoCache::new(&self.env.cache, &source.repo);
        let own = own.map(|cache| RepoCache::new(cache, &source.repo));
        let find = |member| match (shared.find(&source.revision, member)?, &own) {
            (None, Some(own)) => own.find(&source.revision, member),
            (found, _) => Ok(found),
        };
        let found = source.files.iter().map(find).collect::<Result<Vec<_>, HubError>>()?;
        let cache = own.as_ref().unwrap_or(&shared);
        if !self.env.offline {
            let missing = source.files.iter().zip(&found).filter(|(_, found)| found.is_none());
            disk::check(cache.folder(), cache.wanted(missing.map(|(member, _)| member)))?;
        }
        let mut done = Bytes(0);
        for (member, found) in source.files.iter().zip(found) {
            let cached = match found {
                Some(path) => path,
                None => self.download(cache, source, member, &TransferMeter { task, done })?,
            };
            place::link(&cached, &member.to.below(raw))?;
            done.0 += member.pin().size.0;
            task.stand_at(done);
        }
        Ok(())
    }

    fn download(
        &self,
        repo: &RepoCache,
        source: &HubSource,
        member: &Member,
        meter: &TransferMeter<'_>,
    ) -> Result<PathBuf, HubError> {
        if self.env.offline {
            return Err(HubError::Offline { endpoint: self.env.endpoint.clone() });
        }
        let head = self.client.head(source, member)?;
        head.agrees_with(source, member)?;
        let _lock = repo.lock(&head.etag)?;
        let blob = repo.blob(&head.etag);
        if !cache::holds(&blob, member.pin())? {
            self.client.download(source, member, &head, &repo.incomplete(&head.etag), &blob, meter)?;
        }
        repo.record(&source.revision, &head, member)?;
        Ok(blob)
    }
}

impl Head {
    /// Compares the metadata of the hub with the pin, before the download. The ETag of a large file
    /// is its SHA-256.
    fn agrees_with(&self, source: &HubSource, member: &Member) -> Result<(), HubError> {
        let pin = member.pin();
        let digest = self.etag.as_str().parse::<Digest>().unwrap_or(pin.sha256);
        let size = self.size.unwrap_or(pin.size);
        let said = super::digest::Pin { size, sha256: digest };
        pin.check(said).map_err(|mismatch| HubError::Mismatch {
            repo: source.repo.to_string(),
            file: member.from.to_string(),
            mismatch,
        })
    }
}

/// Progress of one file within a larger task.
pub(super) struct TransferMeter<'a> {
    task: &'a dyn DownloadTask,
    /// Bytes that were done before this file.
    done: Bytes,
}

impl TransferMeter<'_> {
    fn advance(&self, more: usize) {
        self.task.advance(Bytes(more as u64));
    }

    fn stand_at(&self, position: u64) {
        self.task.stand_at(Bytes(self.done.0 + position));
    }
}
