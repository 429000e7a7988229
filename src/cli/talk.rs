//! What the program says to a person, on stderr: progress while someone watches, quiet lines otherwise.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::pipeline::{Loader, Part, Result, Stages};

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

    pub fn quiet(&self) -> bool {
        self.quiet
    }

    pub fn note(&self, line: &str) {
        if !self.quiet {
            eprintln!("sotto: {line}");
        }
    }

    /// A table or a chart.
    pub fn block(&self, text: &str) {
        if !self.quiet {
            eprint!("{text}");
        }
    }

    /// Loads the stages with a bar that counts them.
    pub fn loading(&self, loader: &Loader) -> Result<Stages> {
        let bar = self.bar(Part::ALL.len() as u64);
        bar.set_message("loading models");
        let stages = loader.stages(&|part| {
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
