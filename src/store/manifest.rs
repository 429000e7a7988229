//! Manifest of an installed model: one small file, written last, so that a model without it counts
//! as not installed.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::catalogue::{CatalogueEntry, InstalledFile, MANIFEST};
use super::digest::{Digest, Mismatch, Pin};
use super::name::BlobName;
use super::place::{self, FileError, at};
use crate::types::Bytes;

/// Largest manifest that is read, in bytes.
const MAX_MANIFEST: u64 = 1 << 20;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Revision of the model in the catalogue.
    pub revision: String,
    pub files: BTreeMap<BlobName, Record>,
}

/// State of a file when it was last hashed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    size: u64,
    sha256: Digest,
    /// Time of the last change in nanoseconds since 1970. While it and the size stay the same, the
    /// file is not hashed again.
    modified: u64,
}

/// Reason why an installed file is not as expected.
#[derive(Debug)]
pub(super) enum Flaw {
    Missing,
    Wrong(String),
    Unreadable(FileError),
}

impl Manifest {
    /// Reads the manifest of the model in `folder`; an unreadable one counts as missing.
    pub fn read(folder: &Path) -> Option<Manifest> {
        let path = folder.join(MANIFEST);
        let small = fs::metadata(&path).is_ok_and(|meta| meta.len() <= MAX_MANIFEST);
        serde_json::from_slice(&small.then(|| fs::read(&path).ok())??).ok()
    }

    /// Hashes every file of the entry in `folder` and checks those that the catalogue pins.
    pub fn take(entry: &CatalogueEntry, folder: &Path) -> Result<Manifest, Flaw> {
        let hash = |file: &InstalledFile| {
            let path = file.name.below(folder);
            Ok((file.name.clone(), Record::take(file, &path, &look(&path)?, file.pin())?))
        };
        let files = entry.files.iter().map(hash).collect::<Result<_, Flaw>>()?;
        Ok(Manifest { revision: entry.revision.clone(), files })
    }

    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        let mut text = serde_json::to_string_pretty(self).expect("names and numbers always serialise");
        text.push('\n');
        place::write(&folder.join(MANIFEST), text.as_bytes())
    }

    /// Returns the current record of one file. The file is hashed only if it changed since the last
    /// time, or if `thorough` is set.
    pub fn examine(&self, file: &InstalledFile, folder: &Path, thorough: bool) -> Result<Record, Flaw> {
        let record = *self.files.get(&file.name).ok_or(Flaw::Missing)?;
        let path = file.name.below(folder);
        let meta = look(&path)?;
        let expected = file.pin().unwrap_or(record.pin());
        let unchanged = meta.len() == record.size && modified(&meta) == record.modified && expected == record.pin();
        match unchanged && !thorough {
            true => Ok(record),
            false => Record::take(file, &path, &meta, Some(expected)),
        }
    }
}

impl Record {
    /// Hashes a file. `meta` was read before the bytes, so that a change in between shows up as a
    /// later change.
    fn take(file: &InstalledFile, path: &Path, meta: &Metadata, expected: Option<Pin>) -> Result<Record, Flaw> {
        let wrong = |mismatch: Mismatch| Flaw::Wrong(format!("{}: {mismatch}", file.name));
        if let Some(pin) = expected.filter(|pin| pin.size.0 != meta.len()) {
            return Err(wrong(Mismatch::Size { found: meta.len(), expected: pin.size.0 }));
        }
        let found = Pin::of_file(path).map_err(at(path)).map_err(Flaw::Unreadable)?;
        expected.map_or(Ok(()), |pin| pin.check(found)).map_err(wrong)?;
        Ok(Record { size: found.size.0, sha256: found.sha256, modified: modified(meta) })
    }

    fn pin(&self) -> Pin {
        Pin { size: Bytes(self.size), sha256: self.sha256 }
    }
}

/// Returns the metadata of a path that must be a regular file: not a folder, not an endless device.
fn look(path: &Path) -> Result<Metadata, Flaw> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => Ok(meta),
        Ok(_) => Err(Flaw::Wrong(format!("{} is not a file", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Flaw::Missing),
        Err(error) => Err(Flaw::Unreadable(at(path)(error))),
    }
}

fn modified(meta: &Metadata) -> u64 {
    let since = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
