//! Signals: an interrupt, and the end of the terminal, leave no half-written file behind.
//!
//! SIGPIPE stays ignored, as Rust's runtime has it: a pipe to espeak-ng that breaks is an error of
//! one sentence and must not end the process.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

/// Files and folders that are removed when the program is interrupted.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// What is put right before the program is ended.
static PUT_RIGHT: Mutex<Option<PutRight>> = Mutex::new(None);
type PutRight = Box<dyn FnOnce() + Send>;
/// How long that may take: a terminal whose connection has gone takes nothing any more.
const PATIENCE: Duration = Duration::from_millis(500);

/// Takes over SIGINT and SIGTERM; and SIGHUP, unless whoever started the program had it ignored, as
/// nohup does.
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

/// What is to be put right before the program is ended by a signal. It takes the place of what was
/// before.
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

/// Ends the program as an interrupt does: for a terminal that does not make one of Ctrl-C.
pub fn interrupt() {
    let _raised = signal_hook::low_level::raise(libc::SIGINT);
}

/// Lets a job in the background read its terminal in vain instead of being stopped.
pub fn read_in_background() {
    // SAFETY: sets the disposition of one signal to one that runs no code.
    unsafe { libc::signal(libc::SIGTTIN, libc::SIG_IGN) };
}

/// Whether the terminal on stdout is ours to draw on: a job in the background is stopped when it
/// tries.
pub fn in_foreground() -> bool {
    // SAFETY: both calls only ask the system, and take no pointers.
    unsafe { libc::tcgetpgrp(libc::STDOUT_FILENO) == libc::getpgrp() }
}

/// Removes a file, or a folder with all that is in it. Another thread may still be writing into
/// that, so it is tried again.
pub fn remove(path: &Path) {
    let removed = || if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    let _gone_already = (0..8).any(|_| removed().is_ok());
}

/// Removes `path`, a file or a folder with all that is in it, when the program is interrupted.
pub fn unfinished(path: PathBuf) {
    UNFINISHED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(path);
}
