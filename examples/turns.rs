//! Measures whole turns: each WAV file is asked at the pace of a microphone, and the time from its
//! last speech sample to each stage is printed as percentiles. The answers are transcribed again,
//! to see that the voice says what it should.
//!
//! `cargo run --release --example turns -- QUESTION.wav…`
//!
//! The models are loaded once; every question is a conversation of its own.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use sotto::asr::Cancel;
use sotto::audio;
use sotto::config::{self, Sources};
use sotto::engine::{Engine, Loader, OnceOptions, OnceOutcome, PlaybackPace, Purpose, answer_file};
use sotto::memory;
use sotto::observe::Timings;
use sotto::store::{Catalogue, HubEnv, Store, models_dir};
use sotto::types::SampleRate;

#[path = "wer/normal.rs"]
mod normal;

/// A fifth of a second at 16 kHz.
const QUIET: [f32; 3200] = [0.0; 3200];

fn main() -> Result<()> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        bail!("name the questions: turns QUESTION.wav…");
    }
    let loader = Arc::new(loader()?);
    let mut turns = Vec::new();
    let (mut errors, mut words) = (0, 0);
    let mut silent = Vec::new();
    let mut transcriber = loader.transcriber()?;
    let stages = loader.stages(Purpose::Questions, &|_| {})?;
    let engine = Engine::start(stages, loader.plan())?;
    for file in &files {
        let mut sound = Vec::new();
        let mut sink = |samples: &[f32]| {
            sound.extend_from_slice(samples);
            Ok(())
        };
        let options = OnceOptions { pace: PlaybackPace::RealTime, whole: true };
        match answer_file(&engine, loader.plan(), read(file)?, options, &mut sink)? {
            OnceOutcome::Silence { why } => silent.push(format!("{file}: {why}")),
            OnceOutcome::Answered(answers) => {
                let answered = &answers[0];
                let sound = audio::resample(&sound, engine.rate(), SampleRate::HEARING)?;
                // Nobody hears an answer without the quiet before it; Whisper loses first words
                // without.
                let sound = [&QUIET[..], &sound].concat();
                let again = transcriber.transcribe(&sound, &Cancel::default())?;
                let (said, heard) = (normal::words(&answered.reply), normal::words(&again.text));
                errors += normal::distance(&said, &heard);
                words += said.len();
                eprintln!("{file}\n  {}\n  {}", answered.transcript.text.trim(), answered.reply);
                turns.push(answered.timings);
            }
        }
    }
    report(&turns);
    let rate = errors as f64 * 100.0 / words.max(1) as f64;
    println!("round trip of the spoken answers: WER {rate:.2} % ({errors} errors in {words} words)");
    silent.iter().for_each(|line| println!("no answer: {line}"));
    if let Some(peak) = memory::peak_resident() {
        println!("peak memory of the process (with a second transcriber for the round trip): {peak}");
    }
    Ok(())
}

fn loader() -> Result<Loader> {
    let plan = config::load(&Sources::of_process(None, Vec::new()))?.plan;
    let dir = models_dir(plan.models.dir.as_deref(), |name| std::env::var_os(name))?;
    // The second transcriber is the measuring tool's own; the budget is not what is measured here.
    let plan = config::Plan { memory: config::MemoryPlan { budget: sotto::types::Bytes::mib(8192) }, ..plan };
    Ok(Loader::new(plan, Store::open(Catalogue::builtin(), dir, HubEnv::from_env())?))
}

fn read(file: &str) -> Result<Arc<[f32]>> {
    Ok(audio::load_at(Path::new(file), audio::LONGEST, SampleRate::HEARING)?.samples.into())
}

type Stage = (&'static str, fn(&Timings) -> Option<f64>);

fn report(turns: &[Timings]) {
    let stages: [Stage; 7] = [
        ("turn decided", |t| t.turn_end),
        ("transcript", |t| t.transcript),
        ("first token", |t| t.first_token),
        ("first sentence", |t| t.first_sentence),
        ("first sound made", |t| t.first_pcm),
        ("first sound heard", |t| t.first_audio),
        ("answer complete", |t| t.done),
    ];
    println!("{} turns, ms from the last speech sample", turns.len());
    println!("{:<20}{:>8}{:>8}{:>8}", "", "p50", "p95", "worst");
    for (name, of) in stages {
        let mut times: Vec<f64> = turns.iter().filter_map(of).collect();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times.get(((times.len() as f64 * share).ceil() as usize).saturating_sub(1));
        if let (Some(p50), Some(p95), Some(worst)) = (at(0.5), at(0.95), times.last()) {
            println!("{name:<20}{p50:>8.0}{p95:>8.0}{worst:>8.0}");
        }
    }
}
