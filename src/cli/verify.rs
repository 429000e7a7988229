//! `sotto verify`: checks whether a model computes the expected values.

use std::path::Path;

use serde_json::json;

use super::Usage;
use super::args::Verify;
use super::context::AppContext;
use super::files;
use crate::engine::Result;
use crate::llm::ModelSource;
use crate::llm::verify::VerifyError;
use crate::llm::verify::against::{Case, ComparisonReport, Tolerances};
use crate::llm::verify::gate::{self, GateLimits, Rollout};
use crate::llm::{Model, SequenceState};
use crate::memory::{Budget, Permit};
use crate::types::Bytes;

/// Broken limit: exit code 1. The findings were already printed.
#[derive(Debug, thiserror::Error)]
#[error("{model} is not as it should be: {}", failures.join("; "))]
struct Failed {
    model: String,
    failures: Vec<String>,
}

pub fn run(args: &Verify, context: &AppContext) -> Result<()> {
    if args.device != "cpu" {
        let device = &args.device;
        return Err(Usage(format!("--device {device}: the engine computes on the processor alone; use cpu")).into());
    }
    let source = ModelSource::open(&args.model).map_err(VerifyError::from)?;
    source.notes().iter().for_each(|note| context.console().note(&note.to_string()));
    match &args.against {
        Some(folder) => against(args, folder, &source, context),
        None => gate(args, &source, context),
    }
}

fn reserve(context: &AppContext, args: &Verify, bytes: u64) -> Result<Permit> {
    let budget = Budget::new(context.plan().memory.budget);
    Ok(budget.reserve(&format!("verifying {}", args.model.display()), Bytes(bytes))?)
}

/// Compares the model with the tensors in a folder.
fn against(args: &Verify, folder: &Path, source: &ModelSource, context: &AppContext) -> Result<()> {
    let case = Case::find(source, folder)?;
    let model_config = source.model_config()?;
    // Memory plans count keys and values as f16, but here they are f32. A second state is stored in
    // the middle of a chunk.
    let state =
        SequenceState::planned_bytes(&model_config, case.context().saturating_mul(2)).unwrap_or(usize::MAX) as u64;
    let logits = (case.tokens() as u64).saturating_mul(size_of::<f32>() as u64 * model_config.vocabulary as u64);
    let work = Model::planned_workspace_bytes(&model_config).unwrap_or(usize::MAX) as u64;
    let parts = [source.resident_bytes(false), state, state, work, logits];
    let _permit = reserve(context, args, parts.iter().fold(0, add))?;
    let mut model = source.load(context.plan().llm.threads)?;
    let report = case.compare(&mut model, args.chunk.map_or(case.tokens(), |chunk| chunk.get()))?;
    let usual = Tolerances::of(&report.precision);
    let tolerances = Tolerances {
        logits: args.max_logit_error.map_or(usual.logits, |limit| limit as f32),
        states: args.max_state_error.map_or(usual.states, |limit| limit as f32),
    };
    let failures = report.failures(&tolerances);
    match args.format.json {
        true => super::print_json(&against_json(args, &report, &tolerances, &failures))?,
        false => super::print_text(&against_text(args, &report, &tolerances, &failures))?,
    }
    verdict(args, failures)
}

/// Compares the model with the checkpoint that it was made from.
fn gate(args: &Verify, source: &ModelSource, context: &AppContext) -> Result<()> {
    let reference = match &args.reference {
        Some(folder) => folder,
        None if source.is_unquantised_checkpoint() => &args.model,
        None => {
            let what = "the checkpoint it was made of with --reference, or expected tensors with --against";
            return Err(Usage(format!("{} cannot be its own reference; give {what}", args.model.display())).into());
        }
    };
    let text = args.text.as_deref().map(gate::read_text).transpose()?;
    let _permit = reserve(context, args, gate::planned_bytes(source, reference)?)?;
    let tell = |line: &str| context.console().note(line);
    let report = gate::measure(source, reference, text.as_deref(), context.plan().llm.threads, &tell)?;
    let limits = limits(args, &report);
    let failures = report.tally.failures(&limits);
    match args.format.json {
        true => super::print_json(&gate_json(args, reference, &report, &limits, &failures))?,
        false => super::print_text(&gate_text(args, reference, &report, &limits, &failures))?,
    }
    verdict(args, failures)
}

/// Limits that others measured, unless the command line sets them. Limits from the command
/// line are applied exactly.
fn limits(args: &Verify, report: &gate::GateReport) -> GateLimits {
    let usual = report.tally.limits(&GateLimits::of(&report.precision));
    let share = |percent: f64| percent / 100.0;
    GateLimits {
        top1: args.min_top1.map_or(usual.top1, share),
        perplexity: args.max_perplexity.map_or(usual.perplexity, share),
        kl: args.max_kl,
        by_chance: false,
    }
}

fn gate_json(
    args: &Verify,
    reference: &Path,
    report: &gate::GateReport,
    limits: &GateLimits,
    failures: &[String],
) -> serde_json::Value {
    let tally = &report.tally;
    let rollout = |rollout: &Rollout| {
        let Rollout { prompt, model, reference, common, of } = rollout;
        json!({ "prompt": prompt, "model": model, "reference": reference, "common_tokens": common, "tokens": of })
    };
    json!({
        "mode": "reference",
        "model": files::json(&args.model),
        "weights": report.precision.name,
        "code_bits": report.precision.bits,
        "reference": files::json(reference),
        "device": args.device,
        "tokens": tally.tokens,
        "broken_tokens": tally.broken,
        "top1_agreement": tally.top1(),
        "mean_kl": tally.mean_kl(),
        "max_kl": tally.max_kl(),
        "mean_logit_error": tally.mean_logit_error(),
        "max_logit_error": tally.max_logit_error(),
        "perplexity": {
            "model": tally.model_perplexity(),
            "reference": tally.reference_perplexity(),
            "increase": tally.increase(),
        },
        "rollouts": report.rollouts.iter().map(rollout).collect::<Vec<_>>(),
        "tolerances": { "top1_agreement": limits.top1, "perplexity_increase": limits.perplexity, "mean_kl": limits.kl },
        "failures": failures,
        "passed": failures.is_empty(),
    })
}

fn gate_text(
    args: &Verify,
    reference: &Path,
    report: &gate::GateReport,
    limits: &GateLimits,
    failures: &[String],
) -> String {
    let (tally, precision) = (&report.tally, &report.precision);
    let percent = |share: f64| 100.0 * share;
    let mut lines = vec![
        format!("model       {} ({}, codes of {:.1} bits)", args.model.display(), precision.name, precision.bits),
        format!("reference   {} in f32, over {} tokens", reference.display(), tally.tokens),
        format!("top-1       {:.1} % the same (at least {:.1} %)", percent(tally.top1()), percent(limits.top1)),
        format!("divergence  {:.2e} nats on average, {:.2e} at most", tally.mean_kl(), tally.max_kl()),
        format!(
            "logits      off by {:.2e} on average, {:.2e} at most",
            tally.mean_logit_error(),
            tally.max_logit_error()
        ),
        format!(
            "perplexity  {:.3} against {:.3}: {:+.2} % (at most {:+.2} %)",
            tally.model_perplexity(),
            tally.reference_perplexity(),
            percent(tally.increase()),
            percent(limits.perplexity)
        ),
    ];
    for Rollout { prompt, model, reference, common, of } in &report.rollouts {
        lines.push(format!("answers     {common} of {of} tokens the same after {prompt:?}"));
        lines.push(format!("            model     {model:?}"));
        lines.push(format!("            reference {reference:?}"));
    }
    lines.extend(failures.iter().map(|failure| format!("            {failure}")));
    lines.push(word(failures).to_owned());
    lines.join("\n")
}

fn add(sum: u64, more: &u64) -> u64 {
    sum.saturating_add(*more)
}

fn verdict(args: &Verify, failures: Vec<String>) -> Result<()> {
    match failures.is_empty() {
        true => Ok(()),
        false => Err(Failed { model: args.model.display().to_string(), failures }.into()),
    }
}

fn against_json(
    args: &Verify,
    report: &ComparisonReport,
    tolerances: &Tolerances,
    failures: &[String],
) -> serde_json::Value {
    let states: serde_json::Map<_, _> =
        report.states.kinds().into_iter().map(|(kind, error)| (kind.to_owned(), json!(error))).collect();
    json!({
        "mode": "against",
        "model": files::json(&args.model),
        "weights": report.precision.name,
        "code_bits": report.precision.bits,
        "against": args.against.as_deref().map(files::json),
        "expected": { "file": files::json(&report.file), "tensor": report.tensor },
        "device": args.device,
        "tokens": report.tokens,
        "chunk": report.chunk,
        "max_logit_error": report.logits,
        "argmax_equal": report.argmax.all.part(),
        "argmax_equal_where_clear": report.argmax.clear.part(),
        "clear_tokens": report.argmax.clear.of,
        "max_state_error": states,
        "state_moments": report.states.moments,
        "greedy_equal": report.greedy.map(|greedy| greedy.part()),
        "tolerances": { "logits": tolerances.logits, "states": tolerances.states },
        "failures": failures,
        "passed": failures.is_empty(),
    })
}

fn against_text(args: &Verify, report: &ComparisonReport, tolerances: &Tolerances, failures: &[String]) -> String {
    let ComparisonReport { precision, argmax, states, .. } = report;
    let mut lines = vec![
        format!("model     {} ({})", args.model.display(), precision.name),
        format!("expected  {:?} of {}", report.tensor, report.file.display()),
        format!("tokens    {}, {} at a time, on the {}", report.tokens, report.chunk, args.device),
        format!("logits    largest error {:.2e} (limit {:.2e})", report.logits, tolerances.logits),
        format!(
            "argmax    {} of {} equal, {} of {} where the winner is clear",
            argmax.all.equal, argmax.all.of, argmax.clear.equal, argmax.clear.of
        ),
    ];
    let found = states.kinds().into_iter().filter_map(|(kind, error)| Some(format!("{kind} {:.2e}", error?)));
    let found: Vec<String> = found.collect();
    lines.push(match found.is_empty() {
        true => "states    none expected for these weights".to_owned(),
        false => format!(
            "states    largest relative error {} (limit {:.2e}), at {} places",
            found.join(", "),
            tolerances.states,
            states.moments
        ),
    });
    if let Some(greedy) = report.greedy {
        lines.push(format!("greedy    {} of {} tokens equal", greedy.equal, greedy.of));
    }
    lines.extend(failures.iter().map(|failure| format!("          {failure}")));
    lines.push(word(failures).to_owned());
    lines.join("\n")
}

fn word(failures: &[String]) -> &'static str {
    if failures.is_empty() { "PASS" } else { "FAIL" }
}
