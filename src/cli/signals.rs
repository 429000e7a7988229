//! Signals: an interrupt leaves no half-written file behind.
//!
//! SIGPIPE stays ignored, as Rust's runtime has it: a pipe to espeak-ng that breaks is an error of one sentence and must not
//! end the process.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Files and folders that are removed when the program is interrupted.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Takes over SIGINT and SIGTERM.
pub fn install() {
    let Ok(mut signals) = signal_hook::iterator::Signals::new([libc::SIGINT, libc::SIGTERM]) else { return };
    std::thread::spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        for path in UNFINISHED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).drain(..) {
            let _gone_already = if path.is_dir() { remove_folder(&path) } else { std::fs::remove_file(path) };
        }
        // Not `exit`: it would tear down the globals of the foreign code that other threads are running.
        // SAFETY: ends the process and touches nothing of it.
        unsafe { libc::_exit(128 + signal) };
    });
}

/// Another thread may still be writing into it, so it is tried again.
fn remove_folder(path: &Path) -> std::io::Result<()> {
    (0..8).map(|_| std::fs::remove_dir_all(path)).find(Result::is_ok).unwrap_or(Ok(()))
}

/// Removes `path`, a file or a folder with all that is in it, when the program is interrupted.
pub fn unfinished(path: PathBuf) {
    UNFINISHED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(path);
}
