//! `sotto bench llm`: measures the language model alone.

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::{MAIN_SEPARATOR, Path};

use serde_json::{Map, Value, json};

use super::super::Usage;
use super::super::args::BenchLlm;
use super::super::context::AppContext;
use super::super::{print_json, print_text};
use super::machine;
use crate::config;
use crate::engine::{Loader, Result};
use crate::llm::bench::{BenchProfile, BenchReport, ProfilePart, PrunedHeadUse, Rates, Workload, measure};
use crate::llm::{Llm, LlmError};
use crate::memory::peak_resident;
use crate::types::Bytes;

pub fn run(args: &BenchLlm, context: &AppContext) -> Result<()> {
    let load = Workload {
        prompt: args.prompt.get(),
        generate: args.generate.get(),
        depth: args.depth,
        repeat: usize::from(args.repeat),
        top_k: args.top_k.map(NonZeroUsize::get),
        profile: args.profile,
    };
    let loader = loader(args.model.as_deref(), load.context(), context)?;
    let mut llm = loader.llm().map_err(|error| in_terms_of_the_command_line(error, &load))?;
    loader.take_notes().iter().for_each(|note| context.console().note(note));
    let settings = &loader.plan().llm;
    context.console().note(&format!("measuring {} with {} threads", settings.model, settings.threads));
    let report = measure(&mut llm, &load);
    let bench_result = BenchResult { settings, load: &load, llm: &llm, report: &report };
    match args.format.json {
        true => print_json(&bench_result.as_json()),
        false => print_text(&bench_result.as_text()),
    }
}

/// Creates a loader for the model named on the command line, or for the pipeline's own, with a
/// context of exactly `positions` positions.
fn loader(model: Option<&str>, positions: usize, context: &AppContext) -> Result<Loader> {
    let (mut plan, store) = (context.plan().clone(), context.store()?);
    plan.llm.context = Some(positions);
    if let Some(model) = model {
        let here = Path::new(model);
        let is_path = here.exists() || here.extension().is_some_and(|ending| ending == "gguf");
        let bare = is_path
            && store.catalogue().find(model).is_err()
            && !here.has_root()
            && here.parent() == Some(Path::new(""));
        plan.llm.model = if bare { format!(".{MAIN_SEPARATOR}{model}") } else { model.to_owned() };
        plan.models.stand_in = None;
    }
    let loader = Loader::new(plan, store);
    loader.stand_in_note().iter().for_each(|note| context.console().note(note));
    Ok(loader)
}

/// Rewords the error for a context longer than the model was trained for: here the command line
/// asked for it, not the pipeline file.
fn in_terms_of_the_command_line(error: anyhow::Error, load: &Workload) -> anyhow::Error {
    let Some(LlmError::Context { path, asked, limit }) = error.downcast_ref() else { return error };
    let Workload { prompt, generate, depth, .. } = load;
    let what = match asked == prompt {
        true => format!("-p {prompt}"),
        false => format!("--depth {depth} and -g {generate}"),
    };
    Usage(format!("{what} make {asked} positions, but {} was trained for {limit}; ask for fewer", path.display()))
        .into()
}

/// Measurement and its settings, as they are printed.
struct BenchResult<'a> {
    settings: &'a config::LlmPlan,
    load: &'a Workload,
    llm: &'a Llm,
    report: &'a BenchReport,
}

impl BenchResult<'_> {
    fn as_json(&self) -> Value {
        let BenchResult { settings, load, llm, report } = self;
        let reading = &report.reading;
        let formats: Map<_, _> = reading.formats.iter().map(|(name, bytes)| (name.clone(), json!(bytes))).collect();
        let mut value = json!({
            "model": settings.model,
            "format": self.format(),
            "formats": formats,
            "bits_per_weight": reading.bits_per_weight,
            "threads": settings.threads,
            "depth": load.depth,
            "repeats": load.repeat,
            "prompt": rates(load.prompt, &report.prompt),
            "decode": rates(load.generate, &report.decode),
            "resident_bytes": report.resident.map(|bytes| bytes.0),
            "peak_resident_bytes": peak_resident().map(|bytes| bytes.0),
            "planned_bytes": llm.planned().0,
            "bytes_per_token": reading.bytes_per_token(),
            "weight_bytes_per_token": reading.weights,
            "state_bytes_per_token": reading.state,
            "limit": { "bytes_per_second": reading.bandwidth, "tokens_per_second": reading.limit() },
            "machine": { "cpu": machine::cpu(), "cores": machine::cores(), "kernels": llm.kernels() },
        });
        if let Some(screened) = &report.screened {
            value["screened"] = rates(load.generate, &screened.decode);
            value["screened"]["top_k"] = json!(screened.top_k);
            value["screened"]["bytes_per_token"] = json!(reading.bytes_per_token() - screened.saved);
        }
        if let Some(profile) = &report.profile {
            value["profile"] = self.profile_json(profile);
        }
        value
    }

    /// Profile as JSON: seconds for the whole prompt, and for one decode step.
    fn profile_json(&self, profile: &BenchProfile) -> Value {
        let part = |part: ProfilePart| {
            let prompt = profile.prompt[part as usize].as_secs_f64();
            let step = profile.decode[part as usize].as_secs_f64() / self.load.generate as f64;
            (part.name().to_owned(), json!({ "prompt_seconds": prompt, "step_seconds": step }))
        };
        Value::Object(ProfilePart::ALL.into_iter().map(part).collect())
    }

    fn as_text(&self) -> String {
        let BenchResult { settings, load, llm, report } = self;
        let reading = &report.reading;
        let mut text = format!(
            "model      {} ({}, {:.2} bits for each weight)\n",
            settings.model,
            self.format(),
            reading.bits_per_weight
        );
        let _ =
            writeln!(text, "machine    {}, {} threads, {} kernels\n", machine::cpu(), settings.threads, llm.kernels());
        let _ = writeln!(text, "{:<22}{:>8}{:>12}{:>20}", "", "tokens", "tokens/s", "least to most");
        let answer = format!("answer, behind {}", load.depth);
        let best = report.screened.as_ref().map(|of| (format!("  from the best {}", of.top_k), &of.decode));
        let lines = [("prompt", load.prompt, &report.prompt), (&answer, load.generate, &report.decode)];
        let best = best.as_ref().map(|(what, rates)| (what.as_str(), load.generate, *rates));
        for (what, tokens, rates) in lines.into_iter().chain(best) {
            let spread = format!("{:.1} to {:.1}", rates.least(), rates.most());
            let _ = writeln!(text, "{what:<22}{tokens:>8}{:>12.1}{spread:>20}", rates.median());
        }
        let _ = writeln!(
            text,
            "\na step reads {}, {} of them weights; memory gives {:.1} GB/s, which is {:.1} steps/s: {:.0} % reached",
            Bytes(reading.bytes_per_token() as u64),
            Bytes(reading.weights as u64),
            reading.bandwidth / 1e9,
            reading.limit(),
            100.0 * report.decode.median() / reading.limit()
        );
        if let Some(PrunedHeadUse { top_k, decode, saved }) = &report.screened {
            let (read, share) = (reading.bytes_per_token() - saved, decode.median() / report.decode.median());
            let read = Bytes(read as u64);
            let _ = writeln!(text, "one that looks for the best {top_k} reads {read} and is {share:.2} times as fast");
        }
        let resident = report.resident.map_or("unknown".to_owned(), |bytes| bytes.to_string());
        let _ = writeln!(text, "resident {resident}, {} planned", llm.planned());
        if let Some(profile) = &report.profile {
            text.push_str(&self.profile_text(profile));
        }
        text
    }

    fn profile_text(&self, profile: &BenchProfile) -> String {
        let sum = |spent: &[std::time::Duration]| spent.iter().sum::<std::time::Duration>().as_secs_f64();
        let (prompt, decode) = (sum(&profile.prompt), sum(&profile.decode));
        let mut text = format!("\n{:<14}{:>12}{:>6}{:>12}{:>6}\n", "", "prompt, ms", "%", "a step, ms", "%");
        for part in ProfilePart::ALL {
            let read = profile.prompt[part as usize].as_secs_f64();
            let written = profile.decode[part as usize].as_secs_f64();
            let (read_ms, step_ms) = (1e3 * read, 1e3 * written / self.load.generate as f64);
            let (read, written) = (100.0 * read / prompt, 100.0 * written / decode);
            let _ = writeln!(text, "{:<14}{read_ms:>12.1}{read:>6.1}{step_ms:>12.3}{written:>6.1}", part.name());
        }
        text
    }

    /// Weight format that holds the most bytes.
    fn format(&self) -> &str {
        self.report.reading.formats.first().map_or("none", |(name, _)| name)
    }
}

fn rates(tokens: usize, rates: &Rates) -> Value {
    json!({
        "tokens": tokens,
        "tokens_per_second": rates.median(),
        "least": rates.least(),
        "most": rates.most(),
        "runs": rates.0,
    })
}
