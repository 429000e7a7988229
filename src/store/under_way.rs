//! What is of no use once a pull is interrupted: a pip that runs, and a folder that will never be
//! whole.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard};

/// The work of one store that stands and falls with the program. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct UnderWay(Arc<Mutex<Work>>);

#[derive(Debug, Default)]
struct Work {
    pip: Option<Child>,
    folder: Option<PathBuf>,
}

impl UnderWay {
    /// Ends the pip that runs. Yields the folder that is to be removed.
    pub fn end(&self) -> Option<PathBuf> {
        let mut work = self.lock();
        if let Some(pip) = &mut work.pip {
            let _ended_already = pip.kill().and_then(|()| pip.wait());
        }
        work.folder.take()
    }

    /// Runs `fill`, whose `folder` is of no use before it is done.
    pub(super) fn fill<T>(&self, folder: &Path, fill: impl FnOnce() -> T) -> T {
        self.lock().folder = Some(folder.to_owned());
        let filled = fill();
        self.lock().folder = None;
        filled
    }

    pub(super) fn start(&self, pip: Child) {
        self.lock().pip = Some(pip);
    }

    /// How pip ended, if it has.
    pub(super) fn look(&self) -> io::Result<Option<ExitStatus>> {
        self.lock().pip.as_mut().map_or(Ok(None), Child::try_wait)
    }

    /// Kills pip and waits until it is gone.
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
