//! `sotto bench turn --pauses`: what the models say of every pause of some recordings.
//! `benches/fit_turn.py` fits the weights of turn taking to it.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::super::args::BenchTurn;
use super::super::context::AppContext;
use super::turn::{files, recording};
use crate::engine::{
    Engine, Loader, PauseFeatures, PauseKind, PlaybackPace, Purpose, Result, TurnBenchmark, without_ends,
};
use crate::types::Ms;

/// Pauses that are put into a recording, at most.
const MADE: usize = 3;

pub fn run(args: &BenchTurn, context: &AppContext) -> Result<()> {
    let loader = context.loader_with_language_model()?;
    let plan = without_ends(loader.plan());
    let files = files(args)?;
    let mut vad = loader.voice_activity()?;
    let stages = context.console().loading(loader, Purpose::Conversation)?;
    let engine = Engine::start(stages, &plan)?;
    let mut benchmark = TurnBenchmark::start(engine, &plan, PlaybackPace::Fast)?;
    print(&models(loader))?;
    for file in files {
        let plain = recording(&file, &mut vad, &plan.detect)?;
        let paused = plain.with_pauses(MADE);
        let own = benchmark.pauses(&plain)?.into_iter();
        let made = benchmark.pauses(&paused)?.into_iter().filter(|pause| pause.kind == PauseKind::Made);
        own.chain(made).try_for_each(|pause| print(&as_json(&file, &pause)))?;
    }
    Ok(())
}

/// Prints a line at once: a run takes long, and what is there can be used.
fn print(value: &Value) -> Result<()> {
    writeln!(std::io::stdout(), "{value}").context("standard output")
}

fn models(loader: &Loader) -> Value {
    let models = loader.turn_models();
    json!({ "end_of_turn": models.end_of_turn, "asr": models.asr, "llm": models.llm })
}

fn as_json(file: &Path, pause: &PauseFeatures) -> Value {
    let kind = match pause.kind {
        PauseKind::End => "end",
        PauseKind::Own => "own",
        PauseKind::Made => "made",
    };
    let said = pause.evidence.unwrap_or_default();
    json!({
        "file": file.file_name().unwrap_or(file.as_os_str()).to_string_lossy(),
        "kind": kind,
        "at_ms": whole(pause.at),
        "silence_ms": whole(pause.silence),
        "understood": pause.evidence.is_some(),
        "voice": said.voice.map(thousandths),
        "words": said.words.map(thousandths),
        "written": said.written.map(thousandths),
    })
}

fn whole(Ms(time): Ms) -> f64 {
    time.round()
}

fn thousandths(log_odds: f32) -> f64 {
    (f64::from(log_odds) * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::LogOdds;

    #[test]
    fn a_line_tells_the_inputs_and_no_words() {
        let evidence = Some(LogOdds { voice: Some(1.5), words: None, written: Some(-0.5) });
        let pause = PauseFeatures { kind: PauseKind::Own, at: Ms(1_200.4), silence: Ms(310.0), evidence };
        let expected = json!({
            "file": "a.wav", "kind": "own", "at_ms": 1200.0, "silence_ms": 310.0,
            "understood": true, "voice": 1.5, "words": null, "written": -0.5,
        });
        assert_eq!(as_json(Path::new("folder/a.wav"), &pause), expected);
        let unclear = as_json(Path::new("a.wav"), &PauseFeatures { evidence: None, ..pause });
        assert_eq!((&unclear["understood"], &unclear["voice"]), (&json!(false), &Value::Null));
    }
}
