//! Signals: an interrupt leaves no half-written file behind.
//!
//! SIGPIPE stays ignored, as Rust's runtime has it: a pipe to espeak-ng that breaks is an error of one sentence and must not
//! end the process.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

/// Files and folders that are removed when the program is interrupted.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// What is put right before the program is ended.
static PUT_RIGHT: Mutex<Option<fn()>> = Mutex::new(None);
/// How long that may take: a terminal whose connection has gone takes nothing any more.
const PATIENCE: Duration = Duration::from_millis(500);

/// Takes over SIGINT and SIGTERM.
pub fn install() {
    let Ok(mut signals) = signal_hook::iterator::Signals::new([libc::SIGINT, libc::SIGTERM]) else { return };
    std::thread::spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        for path in UNFINISHED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).drain(..) {
            let _gone_already = if path.is_dir() { remove_folder(&path) } else { std::fs::remove_file(path) };
        }
        put_right();
        // Not `exit`: it would tear down the globals of the foreign code that other threads are running.
        // SAFETY: ends the process and touches nothing of it.
        unsafe { libc::_exit(128 + signal) };
    });
}

/// What is to be put right before the program is ended by a signal.
pub fn before_end(right: fn()) {
    *PUT_RIGHT.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(right);
}

fn put_right() {
    let Some(right) = *PUT_RIGHT.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) else { return };
    let (done, wait) = channel();
    std::thread::spawn(move || {
        right();
        let _waited_for = done.send(());
    });
    let _in_time = wait.recv_timeout(PATIENCE);
}

/// Ends the program as an interrupt does: for a terminal that does not make one of Ctrl-C.
pub fn interrupt() {
    let _raised = signal_hook::low_level::raise(libc::SIGINT);
}

/// Lets a job in the background read its terminal in vain instead of being stopped.
pub fn read_in_background() {
    // SAFETY: sets the disposition of one signal to one that runs no code.
    unsafe { libc::signal(libc::SIGTTIN, libc::SIG_IGN) };
}

/// Whether the terminal on stdout is ours to draw on: a job in the background is stopped when it tries.
pub fn in_foreground() -> bool {
    // SAFETY: both calls only ask the system, and take no pointers.
    unsafe { libc::tcgetpgrp(libc::STDOUT_FILENO) == libc::getpgrp() }
}

/// Another thread may still be writing into it, so it is tried again.
fn remove_folder(path: &Path) -> std::io::Result<()> {
    (0..8).map(|_| std::fs::remove_dir_all(path)).find(Result::is_ok).unwrap_or(Ok(()))
}

/// Removes `path`, a file or a folder with all that is in it, when the program is interrupted.
pub fn unfinished(path: PathBuf) {
    UNFINISHED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(path);
}
