//! What was installed: one small file per model, written last, so that a model without it is not there.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::catalogue::{Entry, InstalledFile, MANIFEST};
use super::digest::{Digest, Pin};
use super::name::BlobName;
use super::place::{self, FileError, at};
use crate::types::Bytes;

/// Largest manifest that is read.
const MAX_MANIFEST: u64 = 1 << 20;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The catalogue's revision of the model.
    pub revision: String,
    pub files: BTreeMap<BlobName, Record>,
}

/// A file as it was when it was last hashed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    size: u64,
    sha256: Digest,
    /// Nanoseconds since 1970 of its last change: as long as size and this stay, it is not hashed again.
    modified: u64,
}

/// What stands where an installed file should be.
#[derive(Debug, PartialEq)]
pub(super) enum Finding {
    /// Size and time are those of the last hashing.
    Unchanged,
    /// Hashed just now, and right.
    Rehashed(Record),
    Missing,
    Wrong(String),
}

impl Manifest {
    /// The manifest of the model in `folder`; one that cannot be read counts as none.
    pub fn read(folder: &Path) -> Option<Manifest> {
        let path = folder.join(MANIFEST);
        let small = fs::metadata(&path).is_ok_and(|meta| meta.len() <= MAX_MANIFEST);
        serde_json::from_slice(&small.then(|| fs::read(&path).ok())??).ok()
    }

    /// Hashes every file of the entry in `folder`. An error if one is missing or not what the catalogue says.
    pub fn take(entry: &Entry, folder: &Path) -> Result<Result<Manifest, String>, FileError> {
        let mut files = BTreeMap::new();
        for file in &entry.files {
            match Record::take(file, folder)? {
                Ok(record) => files.insert(file.name.clone(), record),
                Err(why) => return Ok(Err(format!("{}: {why}", file.name))),
            };
        }
        Ok(Ok(Manifest { revision: entry.revision.clone(), files }))
    }

    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        let mut text = serde_json::to_string_pretty(self).expect("names and numbers always serialise");
        text.push('\n');
        place::write(&folder.join(MANIFEST), text.as_bytes())
    }

    /// Looks at one file; hashes it if it changed since the last time, or if `thorough`.
    pub fn examine(&self, file: &InstalledFile, folder: &Path, thorough: bool) -> Result<Finding, FileError> {
        let path = file.name.below(folder);
        let Some(record) = self.files.get(&file.name) else { return Ok(Finding::Missing) };
        let Ok(meta) = fs::metadata(&path) else { return Ok(Finding::Missing) };
        let expected = file.pin().unwrap_or(record.pin());
        let lacking = Pin { size: Bytes(meta.len()), ..record.pin() };
        if let (true, Err(wrong)) = (meta.is_file(), expected.check(lacking)) {
            return Ok(Finding::Wrong(wrong.to_string()));
        }
        match meta.is_file() {
            false => Ok(Finding::Wrong("it is not a file".into())),
            true if !thorough && modified(&meta) == record.modified => Ok(Finding::Unchanged),
            true => {
                let found = Pin::of_file(&path).map_err(at(&path))?;
                Ok(match expected.check(found) {
                    Ok(()) => Finding::Rehashed(Record::new(found, &meta)),
                    Err(wrong) => Finding::Wrong(wrong.to_string()),
                })
            }
        }
    }
}

impl Record {
    fn new(pin: Pin, meta: &Metadata) -> Record {
        Record { size: pin.size.0, sha256: pin.sha256, modified: modified(meta) }
    }

    /// Hashes a file. Its time is read before its bytes, so that a change in between shows as a change later.
    fn take(file: &InstalledFile, folder: &Path) -> Result<Result<Record, String>, FileError> {
        let path = file.name.below(folder);
        let meta = fs::metadata(&path).map_err(at(&path))?;
        if !meta.is_file() {
            return Ok(Err("it is not a file".into()));
        }
        if let Some(pin) = file.pin().filter(|pin| pin.size.0 != meta.len()) {
            return Ok(Err(format!("it has {} bytes, the catalogue says {}", meta.len(), pin.size.0)));
        }
        let found = Pin::of_file(&path).map_err(at(&path))?;
        let verdict = file.pin().map_or(Ok(()), |pin| pin.check(found));
        Ok(verdict.map(|()| Record::new(found, &meta)).map_err(|wrong| wrong.to_string()))
    }

    fn pin(&self) -> Pin {
        Pin { size: Bytes(self.size), sha256: self.sha256 }
    }
}

fn modified(meta: &Metadata) -> u64 {
    let since = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
