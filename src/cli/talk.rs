//! What the program says to a person, on stderr: progress while someone watches, quiet lines otherwise.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::pipeline::{Loader, Part, Purpose, Result, Stages};
use crate::store::progress::{Progress, Silent, on_stderr, say};

/// The voice of the program. `--quiet` leaves only errors.
#[derive(Clone, Debug)]
pub struct Talk {
    quiet: bool,
    watched: bool,
}

impl Talk {
    pub fn new(quiet: bool) -> Self {
        Talk { quiet, watched: std::io::stderr().is_terminal() }
    }

    /// Whether a person watches stderr.
    pub fn watched(&self) -> bool {
        self.watched && !self.quiet
    }

    /// What tells how far a long task is.
    pub fn progress(&self) -> Box<dyn Progress> {
        if self.quiet { Box::new(Silent) } else { on_stderr() }
    }

    pub fn note(&self, line: &str) {
        if !self.quiet {
            say(&format!("sotto: {line}"));
        }
    }

    /// What went wrong while the rest goes on; `--quiet` does not silence it.
    pub fn error(&self, error: &anyhow::Error) {
        say(&format!("sotto: {}", told(error)));
    }

    /// A table or a chart.
    pub fn block(&self, text: &str) {
        if !self.quiet {
            say(text.trim_end_matches('\n'));
        }
    }

    /// Loads the stages with a bar that counts them.
    pub fn loading(&self, loader: &Loader, purpose: Purpose) -> Result<Stages> {
        let bar = self.bar(Part::of(loader.plan(), purpose).len() as u64);
        bar.set_message("loading models");
        let stages = loader.stages(purpose, &|part| {
            bar.inc(1);
            bar.set_message(format!("loading models: {} ready", part.task()));
        });
        bar.finish_and_clear();
        loader.take_notes().iter().for_each(|note| self.note(note));
        stages
    }

    fn bar(&self, length: u64) -> ProgressBar {
        if !self.watched() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(length);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{bar:20}] {pos}/{len}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        bar
    }
}

/// An error with its causes in one line. What a cause repeats of the line so far is left out: some errors carry the words
/// of their cause in their own.
pub fn told(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.contains(&cause) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&cause);
    }
    line
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;
    use crate::audio::AudioError;

    #[test]
    fn a_cause_is_told_once() {
        let io = || io::Error::new(io::ErrorKind::NotFound, "no such file");
        let read = || AudioError::Read { path: PathBuf::from("a.wav"), source: io() };
        for (error, line) in [
            (read().into(), "a.wav could not be read: no such file"),
            (anyhow::Error::from(read()).context("question 2"), "question 2: a.wav could not be read: no such file"),
            (anyhow::Error::from(io()).context("a.wav"), "a.wav: no such file"),
            (anyhow::anyhow!("alone"), "alone"),
        ] {
            assert_eq!(told(&error), line);
        }
    }
}
