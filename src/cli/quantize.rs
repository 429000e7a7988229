//! `sotto quantize`: writes a smaller version of a published checkpoint.

use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde_json::json;

use super::args::Quantize;
use super::context::AppContext;
use super::files;
use crate::engine::{QuantizeProgress, Result};
use crate::llm::quantize::{QuantFormat, Recipe, quantize};
use crate::types::Bytes;

pub fn run(args: &Quantize, context: &AppContext) -> Result<()> {
    let recipe = Recipe::new(args.format, args.group)?;
    let progress = context.console().progress();
    let what = format!("quantising to {}", args.format.name());
    let watch = QuantizeProgress::new(what, progress.as_ref(), super::signals::unfinished);
    let summary = quantize(&args.source, &args.destination, &recipe, args.force, &watch)?;
    watch.done();
    let (bytes, bits) = (Bytes(summary.bytes), summary.bits_per_weight());
    if args.json {
        return super::print_json(&json!({
            "path": files::json(&args.destination),
            "format": args.format.name(),
            "bytes": bytes.0,
            "parameters": summary.parameters,
            "bits_per_weight": bits,
        }));
    }
    context.console().note(&format!("wrote {}: {bytes}, {bits:.2} bits for each weight", args.destination.display()));
    Ok(())
}

impl ValueEnum for QuantFormat {
    fn value_variants<'a>() -> &'a [QuantFormat] {
        &QuantFormat::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}
