//! `sotto once`: answers a spoken question from a file with a spoken answer.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use serde_json::{Value, json};

use super::args::OnceArgs;
use super::console::Console;
use super::context::AppContext;
use super::files;
use crate::audio::{WavTarget, WavWriter};
use crate::engine::{Engine, OnceAnswer, OnceOptions, OnceOutcome, PlaybackPace, Purpose, Result, answer_file};
use crate::observe::Waterfall;
use crate::types::SampleRate;

pub fn run(args: &OnceArgs, context: &AppContext) -> Result<()> {
    let console = context.console();
    if let Some(output) = &args.output {
        files::check_output(output, args.format.json)?;
        files::keep_apart(&args.question, output)?;
    }
    let question: Arc<[f32]> = files::read_sound(&args.question, context)?.into();
    // A file that cannot be written is an error before any model is loaded.
    let place = args.output.as_deref().map(files::claim).transpose()?;
    let stages = console.loading(context.loader_for_turns()?, Purpose::Questions)?;
    let engine = Engine::start(stages, context.plan())?;
    let mut sound = AnswerSound { place, rate: engine.rate(), wav: None };
    let pace = if args.realtime { PlaybackPace::RealTime } else { PlaybackPace::Fast };
    let options = OnceOptions { pace, whole: args.whole };
    let mut sink = |samples: &[f32]| sound.write(samples);
    match answer_file(&engine, context.plan(), question, options, &mut sink)? {
        OnceOutcome::Silence { why } => {
            anyhow::bail!("nothing to answer in {}: {why}", files::name(&args.question))
        }
        OnceOutcome::Answered(answers) => {
            sound.finish()?;
            report(&answers, args, console)
        }
    }
}

/// Destination of the answers' sound. Dropping an unfinished file removes it.
struct AnswerSound {
    place: Option<WavTarget>,
    rate: SampleRate,
    wav: Option<WavWriter>,
}

impl AnswerSound {
    fn write(&mut self, samples: &[f32]) -> Result<()> {
        if let Some(place) = self.place.take() {
            self.wav = Some(place.write_at(self.rate)?);
        }
        self.wav.as_mut().map_or(Ok(()), |wav| Ok(wav.write(samples)?))
    }

    fn finish(mut self) -> Result<()> {
        self.write(&[])?;
        self.wav.map_or(Ok(()), |wav| Ok(wav.finish()?))
    }
}

fn report(answers: &[OnceAnswer], args: &OnceArgs, console: &Console) -> Result<()> {
    let Some((last, earlier)) = answers.split_last() else { return Ok(()) };
    let written = args.output.as_deref();
    if args.format.json {
        return print_json(last, earlier, written);
    }
    let said =
        |answer: &OnceAnswer| format!("You said:  {}\nSotto:     {}", answer.transcript.text.trim(), answer.reply);
    let text = answers.iter().map(said).collect::<Vec<_>>().join("\n");
    match written {
        // Standard output carries only the sound.
        Some(path) if files::is_standard(path) => console.block(&text),
        Some(path) => {
            super::print_text(&text)?;
            console.note(&format!("wrote {}", path.display()));
        }
        None => super::print_text(&text)?,
    }
    console.block(&Waterfall(&last.timings).to_string());
    Ok(())
}

/// Prints the last turn, and those before it where a recording holds several.
fn print_json(last: &OnceAnswer, earlier: &[OnceAnswer], written: Option<&Path>) -> Result<()> {
    let mut printed = as_json(last)?;
    printed["earlier"] = earlier.iter().map(as_json).collect::<Result<Vec<_>>>()?.into();
    printed["audio"] = written.map(files::json).into();
    printed["peak_resident_bytes"] = crate::memory::peak_resident().map(|bytes| bytes.0).into();
    super::print_json(&printed)
}

fn as_json(answer: &OnceAnswer) -> Result<Value> {
    let timings = serde_json::to_value(answer.timings).context("timings are plain numbers")?;
    Ok(json!({
        "transcript": answer.transcript.text.trim(),
        "confidence": answer.transcript.confidence,
        "verdict": answer.transcript.verdict.name(),
        "reply": answer.reply,
        "heard_ms": answer.heard.0.round(),
        "timings": timings,
    }))
}
