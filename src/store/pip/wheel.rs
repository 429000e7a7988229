//! Reader of wheels, which are zip files. One named entry is read, streamed and hashed; no file is
//! ever created under a name from inside the wheel.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use zip::ZipArchive;
use zip::result::ZipError;

use super::{PipError, Wheel};
use crate::store::catalogue::Member;
use crate::store::digest::{CHUNK, Hasher, Mismatch};
use crate::store::place::at;

/// Most entries that a wheel may have.
const MAX_ENTRIES: usize = 100_000;

pub(super) struct OpenWheel<'a> {
    wheel: &'a Wheel,
    archive: ZipArchive<BufReader<File>>,
}

impl<'a> OpenWheel<'a> {
    pub fn open(wheel: &'a Wheel, path: &Path) -> Result<OpenWheel<'a>, PipError> {
        let refuse = |why: String| PipError::Wheel { requirement: wheel.requirement(), why };
        let file = File::open(path).map_err(at(path))?;
        let archive = ZipArchive::new(BufReader::new(file)).map_err(|error| refuse(format!("not a wheel: {error}")))?;
        match archive.len() > MAX_ENTRIES {
            true => Err(refuse(format!("it has {} entries, more than {MAX_ENTRIES}", archive.len()))),
            false => Ok(OpenWheel { wheel, archive }),
        }
    }

    /// Writes one member to `file` (at `path`) and checks it against its pin. It never writes more
    /// bytes than the pin allows.
    pub fn copy(&mut self, member: &Member, file: &mut File, path: &Path) -> Result<(), PipError> {
        let wheel = self.wheel;
        let refuse = |why: String| PipError::Wheel { requirement: wheel.requirement(), why };
        let wrong = |mismatch: Mismatch| PipError::Mismatch {
            requirement: wheel.requirement(),
            member: member.from.to_string(),
            mismatch,
        };
        let mut entry = self.archive.by_name(member.from.as_str()).map_err(|error| match error {
            ZipError::FileNotFound => refuse(format!("it holds no {}", member.from)),
            other => refuse(format!("{}: {other}", member.from)),
        })?;
        let expected = member.pin().size.0;
        if !entry.is_file() {
            return Err(refuse(format!("{} is not a file", member.from)));
        }
        if entry.size() != expected {
            return Err(wrong(Mismatch::Size { found: entry.size(), expected }));
        }
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; CHUNK];
        // An entry may hold more than its header says; reading one byte more is enough to notice.
        let mut bytes = (&mut entry).take(expected + 1);
        loop {
            let n = match bytes.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) => return Err(refuse(format!("{}: {error}", member.from))),
            };
            hasher.update(&buffer[..n]);
            if hasher.size() <= expected {
                file.write_all(&buffer[..n]).map_err(|error: io::Error| at(path)(error))?;
            }
        }
        member.pin().check(hasher.finish()).map_err(wrong)
    }
}
