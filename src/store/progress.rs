//! Progress of long tasks: a bar on a terminal, one plain line per task otherwise.

use std::cell::OnceCell;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::types::Bytes;

/// Receiver of the progress of downloads and conversions.
pub trait Progress: Sync {
    /// Begins a task; `total` is the number of bytes it will move, if known.
    fn start(&self, what: &str, total: Option<Bytes>) -> Box<dyn DownloadTask>;

    /// Prints a line for the user without breaking a progress bar.
    fn note(&self, line: &str);
}

/// Task that is in progress; dropping it without `done` means that it failed.
pub trait DownloadTask {
    /// Adds `more` bytes to the progress.
    fn advance(&self, more: Bytes);

    /// Sets the progress to `position`, forward or, if work has to be repeated, backward.
    fn stand_at(&self, position: Bytes);

    fn done(self: Box<Self>);
}

/// Chooses bars when standard error is a terminal, lines otherwise.
pub fn on_stderr() -> Box<dyn Progress> {
    match std::io::stderr().is_terminal() {
        true => Box::new(Bars),
        false => Box::new(Lines),
    }
}

/// Templates of a bar with a known end, and of one without.
const MEASURED: &str = "{msg:24!} {wide_bar} {binary_bytes:>11} of {binary_total_bytes:11} {eta:>4}";
const OPEN_ENDED: &str = "{msg:32!} {spinner} {elapsed}";

/// Progress as one bar per task on standard error, removed when the task is done.
pub struct Bars;

struct Bar(ProgressBar);

impl Progress for Bars {
    fn start(&self, what: &str, total: Option<Bytes>) -> Box<dyn DownloadTask> {
        let shape = if total.is_some() { MEASURED } else { OPEN_ENDED };
        let style = ProgressStyle::with_template(shape).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(total.map(|b| b.0), ProgressDrawTarget::stderr()).with_style(style);
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Box::new(Bar(bar))
    }

    fn note(&self, line: &str) {
        say(&format!("\r\x1b[K{line}"));
    }
}

impl DownloadTask for Bar {
    fn advance(&self, more: Bytes) {
        self.0.inc(more.0);
    }

    fn stand_at(&self, position: Bytes) {
        self.0.set_position(position.0);
    }

    fn done(self: Box<Self>) {
        self.0.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Progress as one line on standard error at the start of each task.
pub struct Lines;

impl Progress for Lines {
    fn start(&self, what: &str, total: Option<Bytes>) -> Box<dyn DownloadTask> {
        match total {
            Some(total) => say(&format!("{what}: {total}")),
            None => say(what),
        }
        Box::new(Quiet)
    }

    fn note(&self, line: &str) {
        say(line);
    }
}

/// Progress that prints nothing.
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _what: &str, _total: Option<Bytes>) -> Box<dyn DownloadTask> {
        Box::new(Quiet)
    }

    fn note(&self, _line: &str) {}
}

/// Task that is announced when its first byte arrives, so that a source that does not answer is
/// never announced.
pub(super) struct OnFirstByte<'a> {
    pub progress: &'a dyn Progress,
    pub what: &'a str,
    pub total: Bytes,
    pub task: OnceCell<Box<dyn DownloadTask>>,
}

impl OnFirstByte<'_> {
    fn task(&self) -> &dyn DownloadTask {
        &**self.task.get_or_init(|| self.progress.start(self.what, Some(self.total)))
    }
}

impl DownloadTask for OnFirstByte<'_> {
    fn advance(&self, more: Bytes) {
        self.task().advance(more);
    }

    fn stand_at(&self, position: Bytes) {
        if position.0 > 0 || self.task.get().is_some() {
            self.task().stand_at(position);
        }
    }

    fn done(self: Box<Self>) {
        if let Some(task) = self.task.into_inner() {
            task.done();
        }
    }
}

struct Quiet;

impl DownloadTask for Quiet {
    fn advance(&self, _more: Bytes) {}
    fn stand_at(&self, _position: Bytes) {}
    fn done(self: Box<Self>) {}
}

/// Prints a line on standard error. A write error, from a closed or full stream, is ignored.
pub fn say(line: &str) {
    let _unheard = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn the_bars_can_be_drawn() {
        for shape in [MEASURED, OPEN_ENDED] {
            ProgressStyle::with_template(shape).unwrap();
        }
    }

    #[derive(Default)]
    struct Announced(Mutex<Vec<String>>);

    impl Progress for Announced {
        fn start(&self, what: &str, _total: Option<Bytes>) -> Box<dyn DownloadTask> {
            self.0.lock().unwrap().push(what.into());
            Box::new(Quiet)
        }

        fn note(&self, _line: &str) {}
    }

    #[test]
    fn a_task_is_announced_once_and_only_when_something_moves() {
        let announced = Announced::default();
        let task = || OnFirstByte { progress: &announced, what: "model", total: Bytes(9), task: OnceCell::new() };
        let silent = task();
        silent.stand_at(Bytes(0));
        Box::new(silent).done();
        assert!(announced.0.lock().unwrap().is_empty());
        let moving = task();
        moving.advance(Bytes(1));
        moving.stand_at(Bytes(0));
        assert_eq!(*announced.0.lock().unwrap(), ["model"]);
    }
}
