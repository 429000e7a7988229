//! Signal handling: an interrupt, or the end of the terminal, leaves no half-written file behind.
//!
//! SIGPIPE stays ignored, as Rust's runtime sets it: a broken pipe to espeak-ng fails one sentence
//! and must not end the process.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

/// Files and folders that are removed when the program is interrupted.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Cleanup that runs before the program is ended by a signal.
static PUT_RIGHT: Mutex<Option<PutRight>> = Mutex::new(None);
type PutRight = Box<dyn FnOnce() + Send>;
/// Time limit of the cleanup: a terminal that was disconnected accepts no more output.
const PATIENCE: Duration = Duration::from_millis(500);

/// Handles SIGINT and SIGTERM, and SIGHUP unless it was ignored when the program started, as nohup
/// does.
pub fn install() {
    let hang_up = (!is_ignored(libc::SIGHUP)).then_some(libc::SIGHUP);
    let ending = [libc::SIGINT, libc::SIGTERM].into_iter().chain(hang_up);
    let Ok(mut signals) = signal_hook::iterator::Signals::new(ending) else { return };
    std::thread::spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        put_right();
        UNFINISHED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).iter().for_each(|path| remove(path));
        // Not `exit`: it would tear down the globals of the foreign code that other threads are
        // running. SAFETY: ends the process and touches nothing of it.
        unsafe { libc::_exit(128 + signal) };
    });
}

fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: `now` is a plain C struct for which all zeroes is a valid value; sigaction with no
    // new action only writes to it.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut now) == 0 && now.sa_sigaction == libc::SIG_IGN
    }
}

/// Sets the cleanup that runs before a signal ends the program. It replaces the one before.
pub fn before_end(right: impl FnOnce() + Send + 'static) {
    *PUT_RIGHT.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(Box::new(right));
}

fn put_right() {
    let Some(right) = PUT_RIGHT.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take() else { return };
    let (done, wait) = channel();
    std::thread::spawn(move || {
        right();
        let _waited_for = done.send(());
    });
    let _in_time = wait.recv_timeout(PATIENCE);
}

/// Ends the program as an interrupt does, for a terminal that does not turn Ctrl-C into one.
pub fn interrupt() {
    let _raised = signal_hook::low_level::raise(libc::SIGINT);
}

/// Makes a read from the terminal fail in a background job, instead of stopping the job.
pub fn read_in_background() {
    // SAFETY: sets the disposition of one signal to one that runs no code.
    unsafe { libc::signal(libc::SIGTTIN, libc::SIG_IGN) };
}

/// Whether this process may draw on the terminal of stdout: a background job is stopped when it
/// tries.
pub fn in_foreground() -> bool {
    // SAFETY: both calls only ask the system, and take no pointers.
    unsafe { libc::tcgetpgrp(libc::STDOUT_FILENO) == libc::getpgrp() }
}

/// Removes a file, or a folder and its contents. Tries several times, since another thread may
/// still be writing into the folder.
pub fn remove(path: &Path) {
    let removed = || if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    let _gone_already = (0..8).any(|_| removed().is_ok());
}

/// Registers a file or folder to be removed with its contents when the program is interrupted.
pub fn unfinished(path: PathBuf) {
    UNFINISHED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(path);
}
