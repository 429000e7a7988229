//! `sotto plan`: the memory that the pipeline is planned to hold, beside the measured use.

use std::any::Any;
use std::fmt::Write;

use serde_json::json;

use super::args::PlanArgs;
use super::context::AppContext;
use crate::engine::{Loader, ModelPart, ModelPartPlan, Purpose, Result};
use crate::memory;
use crate::types::Bytes;

/// Phases of a turn, and the parts that each uses. Nothing is unloaded between them today, so every
/// phase holds all parts.
const PHASES: [(&str, &[ModelPart]); 3] = [
    (
        "hear",
        &[
            ModelPart::Runtime,
            ModelPart::VoiceActivityDetector,
            ModelPart::TurnDetector,
            ModelPart::WakeFeatures,
            ModelPart::WakeWord,
            ModelPart::Transcriber,
        ],
    ),
    ("think", &[ModelPart::LanguageModel]),
    ("speak", &[ModelPart::Runtime, ModelPart::Voice]),
];

/// Memory of the process without any model: code, buffers, threads.
const PROCESS: Bytes = Bytes::mib(16);

pub fn run(args: &PlanArgs, context: &AppContext) -> Result<()> {
    let loader = context.loader_for_turns()?;
    let parts = ModelPart::of(loader.plan(), Purpose::Conversation);
    let plans = parts.iter().map(|part| loader.planned(*part)).collect::<Result<Vec<_>>>()?;
    let fits = loader.admit(&parts);
    let measured = match fits.is_ok() && plans.iter().all(|plan| plan.installed) {
        true => measure(loader, &parts)?,
        false => vec![None; plans.len()],
    };
    let total = Bytes(plans.iter().map(|plan| plan.planned.0).sum());
    if args.format.json {
        super::print_json(&as_json(&plans, &measured, total, loader))?;
    } else {
        super::print_text(&table(&plans, &measured, total, loader))?;
    }
    fits
}

/// Loads one part after another and measures how much the process grows with each.
fn measure(loader: &Loader, parts: &[ModelPart]) -> Result<Vec<Option<Bytes>>> {
    let mut loaded: Vec<Box<dyn Any>> = Vec::new();
    // The wake word detector takes ownership of the features.
    let mut features = None;
    let mut gained = Vec::new();
    for part in parts {
        let before = memory::resident();
        loaded.push(match part {
            ModelPart::Runtime => Box::new(loader.onnx()?),
            ModelPart::VoiceActivityDetector => Box::new(loader.voice_activity()?),
            ModelPart::TurnDetector => Box::new(loader.turn_detector()?),
            ModelPart::WakeFeatures => {
                features = Some(loader.wake_features()?);
                Box::new(())
            }
            ModelPart::WakeWord => Box::new(features.take().map(|features| loader.wake_word(features)).transpose()?),
            ModelPart::Transcriber => Box::new(loader.transcriber()?),
            ModelPart::LanguageModel => Box::new(loader.language_model()?),
            ModelPart::Voice => Box::new(loader.synthesizer()?),
        });
        let gain = |before: Bytes, after: Bytes| Bytes(after.0.saturating_sub(before.0));
        gained.push(before.zip(memory::resident()).map(|(before, after)| gain(before, after)));
    }
    Ok(gained)
}

fn table(plans: &[ModelPartPlan], measured: &[Option<Bytes>], total: Bytes, loader: &Loader) -> String {
    let mut text = format!("{:<20}{:<22}{:>10}{:>12}\n", "part", "model", "planned", "measured");
    for (plan, measured) in plans.iter().zip(measured) {
        let note = if plan.installed { "" } else { "   not installed: the catalogue's figure" };
        let measured = measured.map_or("-".to_owned(), |bytes| bytes.to_string());
        let planned = plan.planned.to_string();
        let _ = writeln!(text, "{:<20}{:<22}{planned:>10}{measured:>12}{note}", plan.part.task(), plan.model);
    }
    let sum: Option<u64> = measured.iter().map(|bytes| bytes.map(|bytes| bytes.0)).sum();
    let sum = sum.map_or("-".to_owned(), |sum| Bytes(sum).to_string());
    let _ = writeln!(text, "{:<42}{:>10}{sum:>12}", "all, in every phase", total.to_string());
    let _ = writeln!(
        text,
        "budget {}; beside the models the program itself holds about {PROCESS}",
        loader.budget().limit()
    );
    text
}

fn as_json(plans: &[ModelPartPlan], measured: &[Option<Bytes>], total: Bytes, loader: &Loader) -> serde_json::Value {
    let parts: Vec<_> = plans
        .iter()
        .zip(measured)
        .map(|(plan, measured)| {
            json!({
                "part": plan.part.task(),
                "model": plan.model,
                "planned_bytes": plan.planned.0,
                "measured_bytes": measured.map(|bytes| bytes.0),
                "installed": plan.installed,
            })
        })
        .collect();
    let phases: Vec<_> = PHASES
        .iter()
        .map(|(name, uses)| {
            let used = plans.iter().filter(|plan| uses.contains(&plan.part)).map(|plan| plan.planned.0);
            json!({ "phase": name, "used_bytes": used.sum::<u64>(), "held_bytes": total.0 })
        })
        .collect();
    json!({
        "budget_bytes": loader.budget().limit().0,
        "minimum_budget_bytes": total.0,
        "process_bytes": PROCESS.0,
        "parts": parts,
        "phases": phases,
    })
}
