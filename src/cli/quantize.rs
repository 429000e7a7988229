//! `sotto quantize`: a published checkpoint becomes a smaller one.

use std::cell::RefCell;
use std::path::Path;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde_json::json;

use super::args::Quantize;
use super::house::House;
use crate::llm::quantize::{Format, Recipe, Watch, quantize};
use crate::pipeline::Result;
use crate::store::progress::{Progress, Silent, Task, on_stderr};
use crate::types::Bytes;

pub fn run(args: &Quantize, house: &House) -> Result<()> {
    let recipe = Recipe::new(args.format, args.group)?;
    let progress = if house.talk().quiet() { Box::new(Silent) } else { on_stderr() };
    let watch = Watcher {
        progress: progress.as_ref(),
        what: format!("quantising to {}", args.format.name()),
        task: RefCell::default(),
    };
    let summary = quantize(&args.source, &args.destination, &recipe, args.force, &watch)?;
    watch.done();
    let (bytes, bits) = (Bytes(summary.bytes), summary.bits_per_weight());
    if args.json {
        return super::print_json(&json!({
            "path": args.destination,
            "format": args.format.name(),
            "bytes": bytes.0,
            "parameters": summary.parameters,
            "bits_per_weight": bits,
        }));
    }
    house.talk().note(&format!("wrote {}: {bytes}, {bits:.2} bits for each weight", args.destination.display()));
    Ok(())
}

/// Shows how far it is, and sees to it that an interrupt leaves nothing behind.
struct Watcher<'a> {
    progress: &'a dyn Progress,
    what: String,
    task: RefCell<Option<Box<dyn Task>>>,
}

impl Watcher<'_> {
    fn done(&self) {
        if let Some(task) = self.task.take() {
            task.done();
        }
    }
}

impl Watch for Watcher<'_> {
    fn begin(&self, partial: &Path, total: u64) {
        super::signals::unfinished(partial.to_owned());
        self.task.replace(Some(self.progress.start(&self.what, Some(Bytes(total)))));
    }

    fn advance(&self, more: u64) {
        if let Some(task) = &*self.task.borrow() {
            task.advance(Bytes(more));
        }
    }
}

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Format] {
        &Format::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}
