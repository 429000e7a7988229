//! `sotto bench turn`: measures whole turns in real time, between a simulated microphone and a
//! simulated speaker.

use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use super::super::args::BenchTurn;
use super::super::context::AppContext;
use super::super::{print_json, print_text};
use super::machine;
use crate::audio;
use crate::config;
use crate::detect::{SileroVad, speech_end, speech_spans};
use crate::engine::{
    BenchmarkedTurn, Engine, PlaybackPace, Purpose, Recording, Result, Stages, TurnBenchmark, TurnOutcome,
};
use crate::memory::peak_resident;
use crate::observe::Timings;
use crate::store::{TurnModels, TurnWeightsTable};
use crate::turn::TurnWeights;
use crate::types::{Bytes, Ms};

/// Pauses that are inserted, used in rotation. People pause for 300 to 600 ms in the middle of a
/// sentence.
const PAUSES: [Ms; 3] = [Ms(300.0), Ms(450.0), Ms(600.0)];
/// The largest file of weights that is read.
const MOST_TEXT: Bytes = Bytes::mib(1);

/// Recording to play, and the pause inserted into it.
struct Question {
    file: PathBuf,
    pause: Option<Ms>,
    recording: Recording,
}

pub fn run(args: &BenchTurn, context: &AppContext) -> Result<()> {
    if args.pauses {
        return super::pauses::run(args, context);
    }
    let console = context.console();
    let loader = match args.weights {
        Some(_) => context.loader_with_language_model()?,
        None => context.loader_for_turns()?,
    };
    let weights = args.weights.as_ref().map(|file| weights(file, loader.turn_models())).transpose()?;
    let questions = questions(args, &mut loader.voice_activity()?, &loader.plan().detect)?;
    let stages = console.loading(loader, Purpose::Conversation)?;
    let stages = Stages { turn_weights: weights.or(stages.turn_weights), ..stages };
    let engine = Engine::start(stages, loader.plan())?;
    let mut benchmark = TurnBenchmark::start(engine, loader.plan(), PlaybackPace::RealTime)?;
    let mut report = Report::default();
    for Question { file, pause, recording } in questions {
        let BenchmarkedTurn { outcome, question } = benchmark.play(&recording)?;
        let played = Played { file, pause, outcome, question };
        console.note(&played.line());
        report.0.push(played);
    }
    match args.format.json {
        true => print_json(&report.as_json()),
        false => print_text(&report.as_text()),
    }
}

/// The weights for `models` in a file.
fn weights(file: &Path, models: TurnModels) -> Result<TurnWeights> {
    let mut text = String::new();
    let name = file.display();
    let opened = File::open(file).with_context(|| format!("{name} cannot be opened"))?;
    opened.take(MOST_TEXT.0 + 1).read_to_string(&mut text).with_context(|| format!("{name} cannot be read"))?;
    if text.len() as u64 > MOST_TEXT.0 {
        bail!("{name} is larger than {MOST_TEXT}; name a file that benches/fit_turn.py wrote");
    }
    let found = TurnWeightsTable::parse(&text).with_context(|| format!("{name} holds no weights"))?.find(models);
    found.with_context(|| format!("{name} holds no weights for {models}; fit some to these models"))
}

/// The recordings that are to be said.
pub(super) fn files(args: &BenchTurn) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in &args.recordings {
        files.extend(wav_files(path)?);
    }
    files.truncate(args.turns.map_or(usize::MAX, usize::from));
    Ok(files)
}

fn questions(args: &BenchTurn, vad: &mut SileroVad, detect: &config::DetectPlan) -> Result<Vec<Question>> {
    let mut paused = 0;
    let mut question = |(n, file): (usize, PathBuf)| {
        let mut recording = recording(&file, vad, detect)?;
        let pause = (args.pause_every > 0 && n % args.pause_every == args.pause_every - 1).then(|| {
            paused += 1;
            PAUSES[(paused - 1) % PAUSES.len()]
        });
        if let Some(pause) = pause {
            recording = recording.with_pause(pause);
        }
        Ok(Question { file, pause, recording })
    };
    files(args)?.into_iter().enumerate().map(&mut question).collect()
}

/// Lists `path` itself if it is a file, or the WAV files of a folder, sorted by name.
fn wav_files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = || format!("the folder {} cannot be read", path.display());
    let entries = path.read_dir().with_context(unreadable)?;
    let files = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>();
    let mut files = files.with_context(unreadable)?;
    files.retain(|file| file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("wav")));
    if files.is_empty() {
        bail!("the folder {} holds no WAV file; name one with recordings of questions", path.display());
    }
    files.sort();
    Ok(files)
}

pub(super) fn recording(file: &Path, vad: &mut SileroVad, detect: &config::DetectPlan) -> Result<Recording> {
    let samples = audio::load_speech(file, detect.max_turn)?.samples;
    let bare = config::DetectPlan { speech_pad: Ms(0.0), ..detect.clone() };
    let spans = speech_spans(&samples, &bare, vad)?;
    let (Some(first), Some(last)) = (spans.first(), spans.last()) else {
        bail!("{} holds no speech; name recordings of spoken questions", file.display());
    };
    let end = speech_end(&samples, last.end);
    Ok(Recording::new(&samples, first.start..end.max(first.start)))
}

/// Result of one recording.
struct Played {
    file: PathBuf,
    pause: Option<Ms>,
    outcome: TurnOutcome,
    question: String,
}

impl Played {
    fn name(&self) -> String {
        self.file.file_name().unwrap_or(self.file.as_os_str()).to_string_lossy().into_owned()
    }

    fn outcome(&self) -> &'static str {
        match self.outcome {
            TurnOutcome::Answered(_) => "answered",
            TurnOutcome::AskedAgain => "asked again",
            TurnOutcome::CutOff => "cut off",
            TurnOutcome::Missed => "missed",
        }
    }

    fn line(&self) -> String {
        let pause = self.pause.map_or(String::new(), |pause| format!(", with a pause of {pause}"));
        let heard = match &self.outcome {
            TurnOutcome::Answered(Timings { first_audio: Some(at), .. }) => format!("heard after {at:.0} ms"),
            _ => self.outcome().to_owned(),
        };
        format!("{}{pause}: {heard}: {}", self.name(), self.question)
    }

    fn as_json(&self) -> Value {
        let timings = match &self.outcome {
            TurnOutcome::Answered(timings) => Some(timings),
            _ => None,
        };
        json!({
            "file": self.name(),
            "pause_ms": self.pause.map(|pause| pause.0),
            "fate": self.outcome().replace(' ', "_"),
            "question": self.question,
            "timings": timings,
        })
    }
}

/// Results of all recordings.
#[derive(Default)]
struct Report(Vec<Played>);

/// Stage of the waterfall: its name for people, its name for programs, and the time at which it was
/// reached.
type TurnStage = (&'static str, &'static str, fn(&Timings) -> Option<f64>);

const STAGES: [TurnStage; 6] = [
    ("turn decided", "turn_end_ms", |timings| timings.turn_end),
    ("transcript", "transcript_ms", |timings| timings.transcript),
    ("first token", "first_token_ms", |timings| timings.first_token),
    ("first sentence", "first_sentence_ms", |timings| timings.first_sentence),
    ("first sound made", "first_pcm_ms", |timings| timings.first_pcm),
    ("first sound heard", "first_audio_ms", |timings| timings.first_audio),
];

impl Report {
    fn count(&self, outcome: impl Fn(&TurnOutcome) -> bool) -> usize {
        self.0.iter().filter(|played| outcome(&played.outcome)).count()
    }

    fn cut_off_rate(&self) -> f64 {
        self.count(|outcome| *outcome == TurnOutcome::CutOff) as f64 / self.0.len().max(1) as f64
    }

    fn stage(&self, at: fn(&Timings) -> Option<f64>) -> Spread {
        let answered = self.0.iter().filter_map(|played| match &played.outcome {
            TurnOutcome::Answered(timings) => at(timings),
            _ => None,
        });
        Spread::of(answered.collect())
    }

    fn as_json(&self) -> Value {
        let mut value = Map::new();
        for (_, key, at) in STAGES {
            let Spread { p50, p95, max } = self.stage(at);
            value.insert(key.to_owned(), json!({ "p50": p50, "p95": p95, "max": max }));
        }
        let rest = json!({
            "turns": self.0.len(),
            "with_pause": self.0.iter().filter(|played| played.pause.is_some()).count(),
            "answered": self.count(|outcome| matches!(outcome, TurnOutcome::Answered(_))),
            "asked_again": self.count(|outcome| *outcome == TurnOutcome::AskedAgain),
            "cut_off": self.count(|outcome| *outcome == TurnOutcome::CutOff),
            "false_cutoff_rate": self.cut_off_rate(),
            "missed": self.count(|outcome| *outcome == TurnOutcome::Missed),
            "peak_resident_bytes": peak_resident().map(|bytes| bytes.0),
            "machine": { "cpu": machine::cpu(), "cores": machine::cores() },
            "each": self.0.iter().map(Played::as_json).collect::<Vec<_>>(),
        });
        value.extend(rest.as_object().cloned().unwrap_or_default());
        Value::Object(value)
    }

    fn as_text(&self) -> String {
        let mut text = format!("machine    {}, {} cores\n\n", machine::cpu(), machine::cores());
        let _ = writeln!(text, "{:<22}{:>8}{:>8}{:>8}", "ms from the last sample", "p50", "p95", "worst");
        for (name, _, at) in STAGES {
            let spread = self.stage(at);
            let [p50, p95, max] = [spread.p50, spread.p95, spread.max].map(|at| at.map_or("-".to_owned(), whole));
            let _ = writeln!(text, "{name:<22}{p50:>9}{p95:>8}{max:>8}");
        }
        let paused = self.0.iter().filter(|played| played.pause.is_some()).count();
        let _ = write!(
            text,
            "\n{} turns, {paused} of them with a pause put in: {} answered, {} asked again, {} cut off ({:.1} %), {} missed",
            self.0.len(),
            self.count(|outcome| matches!(outcome, TurnOutcome::Answered(_))),
            self.count(|outcome| *outcome == TurnOutcome::AskedAgain),
            self.count(|outcome| *outcome == TurnOutcome::CutOff),
            100.0 * self.cut_off_rate(),
            self.count(|outcome| *outcome == TurnOutcome::Missed),
        );
        text
    }
}

fn whole(milliseconds: f64) -> String {
    format!("{milliseconds:.0}")
}

/// Nearest-rank percentiles of a set of times; all `None` for an empty set.
#[derive(Debug, Default, PartialEq)]
struct Spread {
    p50: Option<f64>,
    p95: Option<f64>,
    max: Option<f64>,
}

impl Spread {
    fn of(mut times: Vec<f64>) -> Spread {
        times.sort_unstable_by(f64::total_cmp);
        let rank = |percent: usize| times.get((times.len() * percent).div_ceil(100).max(1) - 1).copied();
        Spread { p50: rank(50), p95: rank(95), max: rank(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_times_that_were_measured() {
        let spread = |times: &[f64]| Spread::of(times.to_vec());
        assert_eq!(spread(&[]), Spread::default());
        assert_eq!(spread(&[7.0]), Spread { p50: Some(7.0), p95: Some(7.0), max: Some(7.0) });
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(spread(&hundred), Spread { p50: Some(50.0), p95: Some(95.0), max: Some(100.0) });
    }

    #[test]
    fn cut_off_and_missed_turns_count_and_give_no_times() {
        let played = |outcome| Played { file: "folder/a.wav".into(), pause: None, outcome, question: String::new() };
        let times = Timings { first_audio: Some(600.0), ..Timings::default() };
        let fates = [TurnOutcome::Answered(times), TurnOutcome::CutOff, TurnOutcome::Missed, TurnOutcome::AskedAgain];
        let report = Report(fates.map(played).into());
        let value = report.as_json();
        assert_eq!(value["turns"], 4);
        for key in ["answered", "cut_off", "missed", "asked_again"] {
            assert_eq!(value[key], 1, "{key}");
        }
        assert_eq!((&value["false_cutoff_rate"], &value["first_audio_ms"]["p50"]), (&json!(0.25), &json!(600.0)));
        assert_eq!(value["first_token_ms"]["p95"], Value::Null);
        let text = report.as_text();
        assert!(
            text.contains("1 cut off (25.0 %), 1 missed") && text.contains("first sound heard           600"),
            "{text}"
        );
    }
}
