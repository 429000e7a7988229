//! Word error rate of recognition over a folder of recordings.
//!
//! `cargo run --release --example wer -- MODEL.ggml FOLDER [--backend NAME…] [--threads N]
//! [--seconds FROM TO] [--at-most PERCENT] [--scored FILE]`
//!
//! The model is run as it is by default, or by each backend that is named, in turns: their times
//! are then comparable. `--seconds` leaves out recordings that are shorter or longer.
//!
//! `FOLDER/transcripts.tsv` has a heading line, then lines of tab-separated file, transcript and
//! whatever else. Text is compared after `normal::words`. `--scored` compares texts that another
//! program has made, in a file of tab-separated file, text and milliseconds, by the same rules.
//! With `--at-most` a higher rate is a failure.

mod normal;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use sotto::asr::{Cancel, Verdict};
use sotto::audio;
use sotto::config::{self, Flag, Sources};
use sotto::engine::Loader;
use sotto::store::{Catalogue, HubEnv, Store, models_dir};
use sotto::types::{Bytes, SampleRate};

#[derive(Parser)]
struct Arguments {
    model: PathBuf,
    folder: PathBuf,
    /// "auto", "onnx" or "whisper.cpp"; may be given several times.
    #[arg(long, default_value = "auto")]
    backend: Vec<String>,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[arg(long, num_args = 2)]
    seconds: Vec<f64>,
    #[arg(long)]
    at_most: Option<f64>,
    #[arg(long)]
    scored: Option<PathBuf>,
}

/// What one program made of one recording.
struct Heard {
    text: String,
    milliseconds: f64,
    verdict: Option<Verdict>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let references = read_references(&arguments.folder.join("transcripts.tsv"))?;
    let all = match &arguments.scored {
        Some(file) => vec![(file.display().to_string(), read_scored(file)?)],
        None => recognise(&arguments, references.keys())?,
    };
    let rates = all.iter().map(|(what, heard)| {
        println!("{what}:");
        let mut references = references.clone();
        // What was left out is not missed.
        references.retain(|file, _| arguments.seconds.is_empty() || heard.contains_key(file));
        report(&references, heard)
    });
    let worst = rates.fold(0.0, f64::max);
    Ok(match arguments.at_most {
        Some(most) if worst > most => {
            println!("that is more than the accepted {most} %");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    })
}

fn read_references(list: &Path) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(list).with_context(|| list.display().to_string())?;
    let pair = |line: &str| line.split_once('\t').map(|(file, rest)| (file.to_owned(), first_field(rest)));
    let references: BTreeMap<_, _> = text.lines().skip(1).filter_map(pair).collect();
    let words: usize = references.values().map(|reference| normal::words(reference).len()).sum();
    ensure!(words > 0, "{} holds no transcript: there is nothing to compare with", list.display());
    Ok(references)
}

fn first_field(text: &str) -> String {
    text.split('\t').next().unwrap_or_default().to_owned()
}

fn read_scored(file: &Path) -> Result<BTreeMap<String, Heard>> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let one = |line: &str| {
        let mut fields = line.split('\t');
        let (name, text) = (fields.next()?.to_owned(), fields.next()?.to_owned());
        Some((name, Heard { text, milliseconds: fields.next()?.parse().ok()?, verdict: None }))
    };
    Ok(text.lines().filter_map(one).collect())
}

/// What one program made of all recordings.
type AllHeard = BTreeMap<String, Heard>;

/// Every recording goes to each backend before the next one does. Yields each backend's name with
/// what it heard.
fn recognise<'a>(arguments: &Arguments, files: impl Iterator<Item = &'a String>) -> Result<Vec<(String, AllHeard)>> {
    let load = |name: &String| Ok((name.clone(), loader(arguments, name)?.transcriber()?, AllHeard::new()));
    let mut backends = arguments.backend.iter().map(load).collect::<Result<Vec<_>>>()?;
    for file in files {
        let clip = audio::load_speech(&arguments.folder.join(file), audio::LONGEST)?;
        let seconds = SampleRate::HEARING.duration(clip.samples.len()).0 / 1000.0;
        if arguments.seconds.first().is_some_and(|from| seconds < *from)
            || arguments.seconds.get(1).is_some_and(|to| seconds > *to)
        {
            continue;
        }
        for (_, whisper, heard) in &mut backends {
            let start = Instant::now();
            let transcript = whisper.transcribe(&clip.samples, &Cancel::default())?;
            let milliseconds = start.elapsed().as_secs_f64() * 1000.0;
            let verdict = Some(transcript.verdict);
            heard.insert(file.clone(), Heard { text: transcript.text, milliseconds, verdict });
        }
    }
    Ok(backends.into_iter().map(|(name, _, heard)| (name, heard)).collect())
}

/// What loads the model that is measured, with the defaults otherwise.
fn loader(arguments: &Arguments, backend: &str) -> Result<Loader> {
    let flag = |path: &str, value: String| Flag { path: path.to_owned(), value, name: "--backend".to_owned() };
    let flags = vec![flag("asr.backend", backend.to_owned()), flag("asr.threads", arguments.threads.to_string())];
    let mut plan = config::load(&Sources { flags, cores: 1, ..Sources::default() })?.plan;
    plan.asr.model = std::path::absolute(&arguments.model)?.display().to_string();
    plan.memory.budget = Bytes::mib(8192);
    let own = std::env::var_os("SOTTO_MODELS_DIR").map(PathBuf::from);
    let dir = models_dir(own.as_deref(), |name| std::env::var_os(name))?;
    Ok(Loader::new(plan, Store::open(Catalogue::builtin(), dir, HubEnv::from_env())?))
}

/// Prints every utterance with errors, then the sums. The rate is in percent of the reference's
/// words.
fn report(references: &BTreeMap<String, String>, heard: &BTreeMap<String, Heard>) -> f64 {
    let (mut errors, mut words, mut uncertain) = (0, 0, 0);
    for (file, reference) in references {
        let wanted = normal::words(reference);
        let text = heard.get(file).map_or("", |heard| heard.text.as_str());
        let wrong = normal::distance(&wanted, &normal::words(text));
        let verdict = heard.get(file).and_then(|heard| heard.verdict.as_ref());
        if wrong > 0 {
            println!("{wrong:3} {file}: {text}");
        }
        if verdict.is_some_and(|verdict| *verdict != Verdict::Certain) {
            println!("    {file}: {verdict:?}");
            uncertain += 1;
        }
        errors += wrong;
        words += wanted.len();
    }
    let mut times: Vec<f64> = heard.values().map(|heard| heard.milliseconds).collect();
    times.sort_by(f64::total_cmp);
    let rate = errors as f64 * 100.0 / words as f64;
    let at = |share: f64| times.get(((times.len().saturating_sub(1)) as f64 * share) as usize).copied().unwrap_or(0.0);
    println!(
        "word error rate: {rate:.2} % ({errors} of {words} words, {} utterances, {uncertain} not certain); \
         milliseconds: median {:.0}, 95th percentile {:.0}",
        references.len(),
        at(0.5),
        at(0.95)
    );
    rate
}
