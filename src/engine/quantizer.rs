//! Adapter that gives the store the engine's quantisation, and shows its progress as a bar.

use std::cell::RefCell;
use std::error::Error;
use std::path::{Path, PathBuf};

use crate::llm::quantize::{QuantFormat, Recipe, Watch, quantize};
use crate::store::{DownloadTask, Progress, Quantizer};
use crate::types::Bytes;

/// Quantises the checkpoints that the catalogue wants smaller than they are published.
pub struct EngineQuantizer {
    /// Callback for each folder that must be removed when the process is interrupted.
    pub unfinished: fn(PathBuf),
}

impl Quantizer for EngineQuantizer {
    fn quantize(
        &self,
        source: &Path,
        destination: &Path,
        format: &str,
        what: &str,
        progress: &dyn Progress,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let known = QuantFormat::ALL.into_iter().find(|known| known.name() == format);
        let format = known.ok_or_else(|| format!("there is no format {format:?}"))?;
        let watch = QuantizeProgress::new(what.to_owned(), progress, self.unfinished);
        quantize(source, destination, &Recipe::new(format, None)?, false, &watch)?;
        watch.done();
        Ok(())
    }
}

/// Progress of a quantisation.
pub struct QuantizeProgress<'a> {
    what: String,
    progress: &'a dyn Progress,
    unfinished: fn(PathBuf),
    task: RefCell<Option<Box<dyn DownloadTask>>>,
}

impl<'a> QuantizeProgress<'a> {
    /// Creates the progress. `unfinished` is called with the folder that must be removed when the
    /// process is interrupted.
    pub fn new(what: String, progress: &'a dyn Progress, unfinished: fn(PathBuf)) -> Self {
        QuantizeProgress { what, progress, unfinished, task: RefCell::default() }
    }

    pub fn done(self) {
        if let Some(task) = self.task.take() {
            task.done();
        }
    }
}

impl Watch for QuantizeProgress<'_> {
    fn begin(&self, partial: &Path, total: u64) {
        (self.unfinished)(partial.to_owned());
        self.task.replace(Some(self.progress.start(&self.what, Some(Bytes(total)))));
    }

    fn advance(&self, more: u64) {
        if let Some(task) = &*self.task.borrow() {
            task.advance(Bytes(more));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Catalogue;

    /// The catalogue and the engine do not depend on each other: this compares their format names.
    #[test]
    fn the_catalogue_asks_for_formats_that_there_are() {
        let catalogue = Catalogue::builtin();
        let asked: Vec<_> = catalogue.models().filter_map(|entry| entry.import.quantized()).collect();
        assert!(!asked.is_empty());
        for format in asked {
            assert!(QuantFormat::ALL.iter().any(|known| known.name() == format), "{format}");
        }
    }
}
