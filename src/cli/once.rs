//! `sotto once`: answers one spoken question from a file with one spoken answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use serde_json::json;

use super::args::OnceArgs;
use super::console::Console;
use super::context::AppContext;
use super::files;
use crate::audio::{WavTarget, WavWriter};
use crate::observe::{Journal, Waterfall};
use crate::pipeline::{OnceAnswer, OnceOutcome, Pipeline, PlaybackPace, Purpose, Result, Sink};
use crate::types::SampleRate;

pub fn run(args: &OnceArgs, context: &AppContext) -> Result<()> {
    let console = context.console();
    if let Some(output) = &args.output {
        files::check_output(output, args.format.json)?;
        files::keep_apart(&args.question, output)?;
    }
    let question: Arc<[f32]> = files::read_sound(&args.question, context)?.into();
    let mut answer = Answer::new(args)?;
    let stages = console.loading(context.loader_with_language_model()?, Purpose::Questions)?;
    let mut pipeline = Pipeline::start(stages, context.plan(), Journal::default());
    let pace = if args.realtime { PlaybackPace::RealTime } else { PlaybackPace::Fast };
    answer.rate = pipeline.rate();
    let outcome = pipeline.ask(question, pace, &mut answer)?;
    match outcome {
        OnceOutcome::Silence { why } => {
            anyhow::bail!("nothing to answer in {}: {why}", files::name(&args.question))
        }
        OnceOutcome::Answered(answered) => answer.finish(&answered, console),
    }
}

/// Destination of the answer: a file for its sound, stdout for its text.
struct Answer<'a> {
    args: &'a OnceArgs,
    /// Sample rate of the voice, once the voice is loaded.
    rate: SampleRate,
    place: Option<WavTarget>,
    wav: Option<WavWriter>,
}

impl<'a> Answer<'a> {
    /// Creates the destination. A file that cannot be written is an error before any model is
    /// loaded.
    fn new(args: &'a OnceArgs) -> Result<Self> {
        let mut answer = Answer { args, rate: SampleRate::HEARING, place: None, wav: None };
        answer.begin()?;
        Ok(answer)
    }

    fn writer(&mut self) -> Result<Option<&mut WavWriter>> {
        if let Some(place) = self.place.take() {
            self.wav = Some(place.write_at(self.rate)?);
        }
        Ok(self.wav.as_mut())
    }

    fn finish(mut self, answered: &OnceAnswer, console: &Console) -> Result<()> {
        self.writer()?;
        let written: Option<PathBuf> = self.wav.map(WavWriter::finish).transpose()?.and(self.args.output.clone());
        if self.args.format.json {
            return print_json(answered, written.as_deref());
        }
        let text = format!("You said:  {}\nSotto:     {}", answered.transcript.text.trim(), answered.reply);
        match written {
            // Standard output carries only the sound.
            Some(path) if files::is_standard(&path) => console.block(&text),
            Some(path) => {
                super::print_text(&text)?;
                console.note(&format!("wrote {}", path.display()));
            }
            None => super::print_text(&text)?,
        }
        console.block(&Waterfall(&answered.timings).to_string());
        Ok(())
    }
}

impl Sink for Answer<'_> {
    fn begin(&mut self) -> Result<()> {
        // Dropping an unfinished file removes it.
        self.wav = None;
        self.place = self.args.output.as_deref().map(files::claim).transpose()?;
        Ok(())
    }

    fn text(&mut self, _piece: &str) -> Result<()> {
        Ok(())
    }

    fn sound(&mut self, samples: &[f32]) -> Result<()> {
        if let Some(writer) = self.writer()? {
            writer.write(samples)?;
        }
        Ok(())
    }
}

fn print_json(answered: &OnceAnswer, written: Option<&Path>) -> Result<()> {
    let timings = serde_json::to_value(answered.timings).context("timings are plain numbers")?;
    super::print_json(&json!({
        "transcript": answered.transcript.text.trim(),
        "confidence": answered.transcript.confidence,
        "verdict": answered.transcript.verdict.name(),
        "reply": answered.reply,
        "heard_ms": answered.heard.0.round(),
        "timings": timings,
        "audio": written.map(files::json),
        "peak_resident_bytes": crate::memory::peak_resident().map(|bytes| bytes.0),
    }))
}
