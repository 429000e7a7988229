//! Signals: a reader that closes the pipe ends the program quietly, as every Unix tool's does; an interrupt leaves no
//! half-written file behind.

use std::path::PathBuf;
use std::sync::Mutex;

/// Files that are removed when the program is interrupted.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Takes over SIGINT and SIGTERM, and gives SIGPIPE back its default.
pub fn install() {
    // SAFETY: SIG_DFL is a valid disposition for SIGPIPE, and no other thread runs yet.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
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
