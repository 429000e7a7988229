//! Messages for the person at the terminal, on stderr: progress bars if stderr is a terminal, plain
//! lines otherwise.

use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::engine::{Loader, ModelPart, Purpose, Result, Stages};
use crate::store::progress::{Progress, Silent, on_stderr, say};
use crate::types::Ms;

/// Templates of the progress bars: one for counted parts, one for a position in a sound.
const OF_PARTS: &str = "{spinner} {msg} [{bar:20}] {pos}/{len}";
const OF_SOUND: &str = "{spinner} {msg} {wide_bar} {at} of {end}, {eta} left";
/// Length from which a sound gets a progress bar.
const LONG_SOUND: Ms = Ms(30_000.0);

fn clock(state: &ProgressState, out: &mut dyn Write) {
    write_clock(state.pos(), out);
}

fn clock_of_length(state: &ProgressState, out: &mut dyn Write) {
    write_clock(state.len().unwrap_or(0), out);
}

/// Writes milliseconds as 12:34. A write error is ignored: the bar is then just not drawn.
fn write_clock(ms: u64, out: &mut dyn Write) {
    let seconds = ms / 1000;
    let _undrawn = write!(out, "{}:{:02}", seconds / 60, seconds % 60);
}

/// Writer of messages to stderr. `--quiet` leaves only errors.
#[derive(Clone, Debug, Default)]
pub struct Console {
    quiet: bool,
    watched: bool,
}

impl Console {
    pub fn new(quiet: bool) -> Self {
        Console { quiet, watched: std::io::stderr().is_terminal() }
    }

    /// Whether stderr is a terminal and messages are wanted.
    pub fn watched(&self) -> bool {
        self.watched && !self.quiet
    }

    /// Creates the progress reporter for a long task.
    pub fn progress(&self) -> Box<dyn Progress> {
        if self.quiet { Box::new(Silent) } else { on_stderr() }
    }

    pub fn note(&self, line: &str) {
        if !self.quiet {
            say(&format!("sotto: {line}"));
        }
    }

    /// Reports an error while the program goes on; `--quiet` does not suppress it.
    pub fn error(&self, error: &anyhow::Error) {
        say(&format!("sotto: {}", error_text(error)));
    }

    /// Prints a table or a chart.
    pub fn block(&self, text: &str) {
        if !self.quiet {
            say(text.trim_end_matches('\n'));
        }
    }

    /// Loads the stages and shows a bar that counts them.
    pub fn loading(&self, loader: &Arc<Loader>, purpose: Purpose) -> Result<Stages> {
        let bar = self.bar(ModelPart::of(loader.plan(), purpose).len() as u64);
        bar.set_message("loading models");
        let stages = loader.stages(purpose, &|part| {
            bar.inc(1);
            bar.set_message(format!("loading models: {} ready", part.task()));
        });
        bar.finish_and_clear();
        loader.take_notes().iter().for_each(|note| self.note(note));
        stages
    }

    /// Creates a progress bar for processing a sound of this length, in milliseconds. A short sound
    /// gets a hidden bar.
    pub fn sound_bar(&self, what: &str, length: Ms) -> ProgressBar {
        if length.0 < LONG_SOUND.0 {
            return ProgressBar::hidden();
        }
        let bar = self.bar_of(length.0 as u64, OF_SOUND);
        bar.set_message(what.to_owned());
        bar
    }

    fn bar(&self, length: u64) -> ProgressBar {
        self.bar_of(length, OF_PARTS)
    }

    fn bar_of(&self, length: u64, shape: &str) -> ProgressBar {
        if !self.watched() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(length);
        if let Ok(style) = ProgressStyle::with_template(shape) {
            bar.set_style(style.with_key("at", clock).with_key("end", clock_of_length));
        }
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        bar
    }
}

/// Joins an error and its causes in one line. A cause that the line already contains is left out,
/// since some errors include the text of their cause.
pub fn error_text(error: &anyhow::Error) -> String {
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
    fn the_bars_can_be_drawn() {
        for shape in [OF_PARTS, OF_SOUND] {
            ProgressStyle::with_template(shape).unwrap();
        }
        let mut clock = String::new();
        write_clock(754_999, &mut clock);
        assert_eq!(clock, "12:34");
    }

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
            assert_eq!(error_text(&error), line);
        }
    }
}
