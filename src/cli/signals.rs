//! Signals: an interrupt leaves no half-written file behind.
//!
//! SIGPIPE stays ignored, as Rust's runtime has it: a pipe to espeak-ng that breaks is an error of one sentence and must not
//! end the process.

use std::path::PathBuf;
use std::sync::Mutex;

/// Files that are removed when the program is interrupted.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Takes over SIGINT and SIGTERM.
pub fn install() {
    let Ok(mut signals) = signal_hook::iterator::Signals::new([libc::SIGINT, libc::SIGTERM]) else { return };
    std::thread::spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        for path in UNFINISHED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).drain(..) {
            let _gone_already = std::fs::remove_file(path);
        }
        // Not `exit`: it would tear down the globals of the foreign code that other threads are running.
        // SAFETY: ends the process and touches nothing of it.
        unsafe { libc::_exit(128 + signal) };
    });
}

/// Removes `path` when the program is interrupted.
pub fn unfinished(path: PathBuf) {
    UNFINISHED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(path);
}
