//! How fast each model of the pipeline is here, against the time in which its sound passes.

use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::bail;
use serde_json::{Value, json};

use crate::asr::Cancel;
use crate::audio::{load_at, resample};
use crate::cli::console::{Console, error_text};
use crate::llm::bench::{Workload, measure};
use crate::pipeline::{Loader, ModelPart, Purpose, Result};
use crate::store::Store;
use crate::types::{Ms, SampleRate};

/// What the voice says, here and in the sound check.
const SENTENCE: &str =
    "This is how I sound. I listen to the room while I speak, to find out how much of my own voice I hear.";
/// A person's voice to recognise.
const SAMPLE: &str = "speech-sample";
/// A question lasts about so long.
const QUESTION: Ms = Ms(4_000.0);
/// Frames that are listened to and detections that are timed.
const FRAMES: usize = 300;
const DETECTIONS: usize = 5;
/// A question with some history and a sentence of answer, three times, of which the median counts:
/// one interruption spoils nothing, and nobody waits long. What is at work beside it shows in the
/// figure; "sotto bench llm" measures for longer.
const WORKLOAD: Workload = Workload { prompt: 128, generate: 32, depth: 0, repeat: 3, top_k: None, profile: false };

/// A part of the pipeline, and what was measured of its model or why nothing was.
pub struct TimedModel {
    pub part: ModelPart,
    pub name: String,
    pub speed: std::result::Result<Speed, String>,
}

pub struct Speed {
    pub load: Ms,
    pub work: Work,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    /// Each frame of so much sound.
    Frames { each: Ms, sound: Ms },
    /// Each look at the last 8 s.
    Judgements { each: Ms },
    /// So much sound took so long.
    Recognition { sound: Ms, took: Ms },
    /// Tokens per second.
    Tokens { read: f64, written: f64 },
    /// So much sound took so long, and so long until the first of it.
    Speech { sound: Ms, took: Ms, first: Ms },
}

/// Measures one model after the other, each alone in memory. Also gives what the voice said, at 16
/// kHz; nothing where there is no voice.
pub fn examine(loader: &Loader, store: &Store, console: &Console) -> (Vec<TimedModel>, Vec<f32>) {
    let mut bench = Bench { loader, speech: Vec::new(), sample: sample(store) };
    // The voice first: the others may have to hear it.
    let mut parts = ModelPart::of(loader.plan(), Purpose::Conversation);
    parts.retain(|part| *part != ModelPart::Runtime);
    parts.sort_by_key(|part| *part != ModelPart::Voice);
    let mut model = |part: ModelPart| {
        let name = part.model(loader.plan()).to_owned();
        console.note(&format!("measuring {}: {name}", part.task()));
        TimedModel { part, name, speed: bench.speed(part).map_err(|error| error_text(&error)) }
    };
    let mut models: Vec<TimedModel> = parts.into_iter().map(&mut model).collect();
    models.rotate_left(1);
    (models, bench.speech)
}

/// The beginning of the installed recording of a person, if it is installed.
fn sample(store: &Store) -> Option<Vec<f32>> {
    let file = store.locate(SAMPLE).ok()?.first_file();
    Some(load_at(&file, crate::audio::LONGEST, SampleRate::HEARING).ok()?.samples)
}

struct Bench<'a> {
    loader: &'a Loader,
    speech: Vec<f32>,
    sample: Option<Vec<f32>>,
}

impl Bench<'_> {
    fn speed(&mut self, part: ModelPart) -> Result<Speed> {
        let started = Instant::now();
        let loaded = || Ms::from(started.elapsed());
        let (load, work) = match part {
            ModelPart::Runtime => bail!("it is no model"),
            ModelPart::VoiceActivityDetector => {
                let mut detector = self.loader.voice_activity()?;
                (loaded(), frames(|frame| Ok(detector.step(frame).map(drop)?))?)
            }
            ModelPart::WakeFeatures => {
                let mut features = self.loader.wake_features()?;
                (loaded(), frames(|step| Ok(features.step(step).map(drop)?))?)
            }
            ModelPart::WakeWord => {
                let mut word = self.loader.wake_word(self.loader.wake_features()?)?;
                (loaded(), frames(|step| Ok(word.step(step).map(drop)?))?)
            }
            ModelPart::TurnDetector => {
                let mut detector = self.loader.turn_detector()?;
                (loaded(), self.detections(|sound| Ok(detector.complete(sound).map(drop)?))?)
            }
            ModelPart::Transcriber => {
                let mut transcriber = self.loader.transcriber()?;
                let cancel = Cancel::default();
                (loaded(), self.recognition(|sound| Ok(transcriber.transcribe(sound, &cancel).map(drop)?))?)
            }
            ModelPart::LanguageModel => {
                let llm = self.loader.llm()?;
                let load = loaded();
                let report = measure(&llm, &WORKLOAD);
                (load, Work::Tokens { read: report.prompt.median(), written: report.decode.median() })
            }
            ModelPart::Voice => {
                let mut voices = self.loader.synthesizer()?;
                let load = loaded();
                let rate = voices.rate();
                (load, self.speaking(rate, |on_sound| Ok(voices.speak(SENTENCE, on_sound).map(drop)?))?)
            }
        };
        Ok(Speed { load, work })
    }

    /// A person's voice, or the own one.
    fn question(&self) -> Result<&[f32]> {
        let sound = self.sample.as_deref().unwrap_or(&self.speech);
        if sound.is_empty() {
            bail!("there is no speech to hear: run \"sotto models pull {SAMPLE}\"");
        }
        Ok(&sound[..sound.len().min(SampleRate::HEARING.samples(QUESTION))])
    }

    fn detections(&self, mut detector: impl FnMut(&[f32]) -> Result<()>) -> Result<Work> {
        let sound = self.question().unwrap_or_default();
        let started = Instant::now();
        (0..DETECTIONS).try_for_each(|_| detector(sound))?;
        Ok(Work::Judgements { each: Ms(Ms::from(started.elapsed()).0 / DETECTIONS as f64) })
    }

    /// The second time counts: the first sets things up.
    fn recognition(&self, mut transcribe: impl FnMut(&[f32]) -> Result<()>) -> Result<Work> {
        let sound = self.question()?;
        transcribe(sound)?;
        let started = Instant::now();
        transcribe(sound)?;
        Ok(Work::Recognition { sound: SampleRate::HEARING.duration(sound.len()), took: Ms::from(started.elapsed()) })
    }

    fn speaking(
        &mut self,
        rate: SampleRate,
        mut speak: impl FnMut(&mut dyn FnMut(crate::tts::Sound) -> ControlFlow<()>) -> Result<()>,
    ) -> Result<Work> {
        let (mut said, mut first) = (Vec::new(), None);
        let started = Instant::now();
        speak(&mut |sound| {
            first.get_or_insert_with(|| Ms::from(started.elapsed()));
            said.extend_from_slice(sound.samples);
            ControlFlow::Continue(())
        })?;
        let took = Ms::from(started.elapsed());
        let Some(first) = first else { bail!("the voice said nothing; choose another with [tts] voice") };
        self.speech = resample(&said, rate, SampleRate::HEARING)?;
        Ok(Work::Speech { sound: rate.duration(said.len()), took, first })
    }
}

/// Silence takes as long as speech: the work does not depend on the numbers.
fn frames<const N: usize>(mut detect: impl FnMut(&[f32; N]) -> Result<()>) -> Result<Work> {
    let frame = [0.0; N];
    detect(&frame)?;
    let started = Instant::now();
    (0..FRAMES).try_for_each(|_| detect(&frame))?;
    let each = Ms(Ms::from(started.elapsed()).0 / FRAMES as f64);
    Ok(Work::Frames { each, sound: SampleRate::HEARING.duration(N) })
}

impl Work {
    /// How many times as fast it is as its sound passes; of the language model, which has none,
    /// nothing.
    pub fn times_real_time(&self) -> Option<f64> {
        match *self {
            Work::Frames { each, sound } => Some(sound.0 / each.0),
            Work::Recognition { sound, took } | Work::Speech { sound, took, .. } => Some(sound.0 / took.0),
            Work::Judgements { .. } | Work::Tokens { .. } => None,
        }
    }

    pub fn as_text(&self) -> String {
        let times = self.times_real_time().map_or(String::new(), |times| format!(", {times:.1} times real time"));
        match *self {
            Work::Frames { each, sound } => format!("{:.0} µs for a frame of {sound}{times}", each.0 * 1000.0),
            Work::Judgements { each } => format!("{:.0} ms for a pause", each.0),
            Work::Recognition { sound, took } => format!("{took} for {:.1} s of speech{times}", sound.0 / 1000.0),
            Work::Tokens { read, written } => format!("reads {read:.0} and writes {written:.1} tokens/s"),
            Work::Speech { sound, took, first } => {
                format!("first sound after {first}, {took} for {:.1} s of speech{times}", sound.0 / 1000.0)
            }
        }
    }

    pub fn as_json(&self) -> Value {
        let tenth = |ms: Ms| (ms.0 * 10.0).round() / 10.0;
        let mut value = match *self {
            Work::Frames { each, .. } => json!({ "frame_us": (each.0 * 1000.0).round() }),
            Work::Judgements { each } => json!({ "judgement_ms": tenth(each) }),
            Work::Recognition { sound, took } => json!({ "audio_ms": tenth(sound), "compute_ms": tenth(took) }),
            Work::Tokens { read, written } => {
                json!({ "prompt_tokens_per_second": read, "decode_tokens_per_second": written })
            }
            Work::Speech { sound, took, first } => {
                json!({ "audio_ms": tenth(sound), "compute_ms": tenth(took), "first_audio_ms": tenth(first) })
            }
        };
        if let Some(times) = self.times_real_time() {
            value["times_real_time"] = json!(times);
        }
        value
    }
}
