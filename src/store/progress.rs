//! How far a long task is: a bar for a person who watches, one quiet line per task otherwise.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::types::Bytes;

/// Whoever fetches or converts tells its caller through this.
pub trait Progress: Sync {
    /// A task begins; `total` is what it will move, where that is known.
    fn start(&self, what: &str, total: Option<Bytes>) -> Box<dyn Task>;

    /// A line for the user, written so that it does not tear a bar apart.
    fn note(&self, line: &str);
}

/// One task that is under way; dropping it without `done` means that it failed.
pub trait Task {
    /// So many more bytes are done.
    fn advance(&self, more: Bytes);

    /// All but `left` of what was done has to be done again.
    fn back_to(&self, left: Bytes);

    fn done(self: Box<Self>);
}

/// Bars when standard error is a terminal, lines otherwise.
pub fn on_stderr() -> Box<dyn Progress> {
    match std::io::stderr().is_terminal() {
        true => Box::new(Bars),
        false => Box::new(Lines),
    }
}

/// A bar per task on standard error, gone when the task is done.
pub struct Bars;

struct Bar(ProgressBar);

impl Progress for Bars {
    fn start(&self, what: &str, total: Option<Bytes>) -> Box<dyn Task> {
        let shape = match total {
            Some(_) => "{msg:24!} {wide_bar} {binary_bytes:>11} of {binary_total_bytes:11} {eta:>4}",
            None => "{msg:24!} {spinner} {elapsed}",
        };
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

impl Task for Bar {
    fn advance(&self, more: Bytes) {
        self.0.inc(more.0);
    }

    fn back_to(&self, left: Bytes) {
        self.0.set_position(left.0);
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

/// One line on standard error when a task starts.
pub struct Lines;

impl Progress for Lines {
    fn start(&self, what: &str, total: Option<Bytes>) -> Box<dyn Task> {
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

/// Says nothing.
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _what: &str, _total: Option<Bytes>) -> Box<dyn Task> {
        Box::new(Quiet)
    }

    fn note(&self, _line: &str) {}
}

struct Quiet;

impl Task for Quiet {
    fn advance(&self, _more: Bytes) {}
    fn back_to(&self, _left: Bytes) {}
    fn done(self: Box<Self>) {}
}

/// A standard error that is closed is no reason to fail.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
