//! Free space on disks: checked before much is written, and reported where it ran out.

use std::io;
use std::path::{Path, PathBuf};

use crate::types::Bytes;

/// Data to be written does not fit on the disk.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error(
    "there is no room on the disk of {folder}: {wanted} are needed and {free} are free; make room there, or choose a \
     folder on another disk"
)]
pub struct NoDiskSpace {
    pub folder: PathBuf,
    pub wanted: Bytes,
    pub free: Bytes,
}

/// Checks that `wanted` more bytes fit on the disk of `folder`, which need not exist yet. Succeeds
/// where the system does not report the free space.
pub fn check(folder: &Path, wanted: Bytes) -> Result<(), NoDiskSpace> {
    match free(folder) {
        Some(free) if free < wanted => Err(NoDiskSpace { folder: folder.to_owned(), wanted, free }),
        _ => Ok(()),
    }
}

/// Makes the error for a disk that turned out to be full while `wanted` bytes were written into
/// `folder`.
pub fn full(folder: &Path, wanted: Bytes) -> NoDiskSpace {
    NoDiskSpace { folder: folder.to_owned(), wanted, free: free(folder).unwrap_or(Bytes(0)) }
}

/// Whether a disk, or the user's share of it, is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Bytes that this user may still write. `None` for a disk that counts no blocks at all.
fn free(folder: &Path) -> Option<Bytes> {
    let there = folder.ancestors().find(|path| path.exists()).filter(|path| !path.as_os_str().is_empty());
    let disk = rustix::fs::statvfs(there.unwrap_or(Path::new("."))).ok()?;
    (disk.f_blocks > 0).then(|| Bytes(disk.f_bavail.saturating_mul(disk.f_frsize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_a_disk_has_is_refused_with_figures() {
        let dir = tempfile::tempdir().unwrap();
        let coming = dir.path().join("not/there/yet");
        for folder in [dir.path(), &coming, Path::new("not-there"), Path::new("")] {
            assert_eq!(check(folder, Bytes(1)), Ok(()), "{}", folder.display());
            let refused = check(folder, Bytes(u64::MAX)).unwrap_err();
            assert!(refused.free > Bytes(0) && refused.folder == folder, "{refused}");
        }
        let told = NoDiskSpace { folder: "m".into(), wanted: Bytes::mib(380), free: Bytes::mib(12) }.to_string();
        assert!(told.contains("disk of m: 380 MiB are needed and 12 MiB are free"), "{told}");
    }

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        for (code, full) in
            [(rustix::io::Errno::NOSPC, true), (rustix::io::Errno::DQUOT, true), (rustix::io::Errno::IO, false)]
        {
            assert_eq!(is_full(&code.into()), full, "{code}");
        }
    }
}
