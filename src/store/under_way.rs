//! Cleanup of an interrupted pull: a running pip, and a folder that will stay incomplete.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard};

/// Unfinished work of one store, which must end with the program. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct UnderWay(Arc<Mutex<Work>>);

#[derive(Debug, Default)]
struct Work {
    pip: Option<Child>,
    folder: Option<PathBuf>,
}

impl UnderWay {
    /// Stops pip if it runs. Returns the folder to remove.
    pub fn end(&self) -> Option<PathBuf> {
        let mut work = self.lock();
        if let Some(pip) = &mut work.pip {
            let _ended_already = pip.kill().and_then(|()| pip.wait());
        }
        work.folder.take()
    }

    /// Runs `fill`, which fills `folder`. Until it returns, the folder counts as incomplete.
    pub(super) fn fill<T>(&self, folder: &Path, fill: impl FnOnce() -> T) -> T {
        self.lock().folder = Some(folder.to_owned());
        let filled = fill();
        self.lock().folder = None;
        filled
    }

    pub(super) fn start(&self, pip: Child) {
        self.lock().pip = Some(pip);
    }

    /// Exit status of pip, if it has ended.
    pub(super) fn look(&self) -> io::Result<Option<ExitStatus>> {
        self.lock().pip.as_mut().map_or(Ok(None), Child::try_wait)
    }

    /// Kills pip and waits until it has ended.
    pub(super) fn kill(&self) -> io::Result<()> {
        let Some(mut pip) = self.lock().pip.take() else { return Ok(()) };
        pip.kill()?;
        pip.wait().map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn an_end_takes_pip_and_its_folder_along() {
        let work = UnderWay::default();
        assert_eq!(work.end(), None);
        work.start(Command::new("sleep").arg("60").spawn().unwrap());
        let folder = Path::new("scratch");
        work.clone().fill(folder, || assert_eq!(work.end().as_deref(), Some(folder)));
        let ended = loop {
            if let Some(status) = work.look().unwrap() {
                break status;
            }
            std::thread::yield_now();
        };
        assert!(!ended.success());
        work.fill(folder, || ());
        assert_eq!(work.end(), None, "a folder that is filled stays");
    }
}
