//! Speed of each model of the pipeline on this machine, compared with real time.

use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::bail;
use serde_json::{Value, json};

use crate::asr::Cancel;
use crate::audio::{load_at, resample};
use crate::cli::console::{Console, error_text};
use crate::detect::{VadState, WakeState};
use crate::engine::{Loader, ModelPart, Purpose, Result};
use crate::llm::bench::{Workload, measure};
use crate::store::Store;
use crate::types::{Ms, SampleRate};

/// Sentence that the synthesizer speaks here and in the sound check.
const SENTENCE: &str =
    "This is how I sound. I listen to the room while I speak, to find out how much of my own voice I hear.";
/// Name of the installed recording of a person's voice, used to measure transcription.
const SAMPLE: &str = "speech-sample";
/// Typical length of a question.
const QUESTION: Ms = Ms(4_000.0);
/// Number of frames that the detectors process, and number of timed turn detections.
const FRAMES: usize = 300;
const DETECTIONS: usize = 5;
/// Workload for the language model: a question with some history, and a sentence of answer. It runs
/// three times and the median counts, so one disturbance does no harm and the check stays short.
/// Load from other programs shows in the figure; "sotto bench llm" measures for longer.
const WORKLOAD: Workload = Workload { prompt: 128, generate: 32, depth: 0, repeat: 3, top_k: None, profile: false };

/// Part of the pipeline, with the measured speed of its model or the reason why there is none.
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
    /// Time for each frame, and the length of the frame.
    Frames { each: Ms, sound: Ms },
    /// Time for each turn detection, over the last 8 s of sound.
    Judgements { each: Ms },
    /// Length of the sound, and the time to transcribe it.
    Recognition { sound: Ms, took: Ms },
    /// Tokens per second, for prefill and for decode.
    Tokens { read: f64, written: f64 },
    /// Length of the synthesized sound, the time to make all of it, and the time to its first
    /// samples.
    Speech { sound: Ms, took: Ms, first: Ms },
}

/// Measures one model after another, with only one in memory at a time. Also returns the speech of
/// the synthesizer at 16 kHz; it is empty without a voice.
pub fn examine(loader: &Loader, store: &Store, console: &Console) -> (Vec<TimedModel>, Vec<f32>) {
    let mut bench = Bench { loader, speech: Vec::new(), sample: sample(store) };
    // The voice comes first: its speech may be the input of the other models.
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

/// Loads the beginning of the recorded speech sample, if it is installed.
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
                let (mut detector, mut state) = (self.loader.voice_activity()?, VadState::default());
                (loaded(), frames(|frame| Ok(detector.step(&mut state, frame).map(drop)?))?)
            }
            ModelPart::WakeFeatures => {
                let mut features = self.loader.wake_features()?;
                let mut state = features.silence();
                (loaded(), frames(|step| Ok(features.step(&mut state, step).map(drop)?))?)
            }
            ModelPart::WakeWord => {
                let mut word = self.loader.wake_word(self.loader.wake_features()?)?;
                let mut state = WakeState::default();
                (loaded(), frames(|step| Ok(word.step(&mut state, step).map(drop)?))?)
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
                let mut llm = self.loader.llm()?;
                let load = loaded();
                let report = measure(&mut llm, &WORKLOAD);
                (load, Work::Tokens { read: report.prompt.median(), written: report.decode.median() })
            }
            ModelPart::Voice => {
                let mut voices = self.loader.synthesizer()?;
                let load = loaded();
                let rate = voices.rate();
                (load, self.speaking(rate, |on_sound| Ok(voices.speak(SENTENCE, "", on_sound).map(drop)?))?)
            }
        };
        Ok(Speed { load, work })
    }

    /// Returns the recorded voice, or the synthesized one if there is no recording.
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

    /// Times the second transcription: the first one includes one-time setup.
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

/// Times a detector on silent frames. Silence takes as long as speech, since the work does not
/// depend on the values.
fn frames<const N: usize>(mut detect: impl FnMut(&[f32; N]) -> Result<()>) -> Result<Work> {
    let frame = [0.0; N];
    detect(&frame)?;
    let started = Instant::now();
    (0..FRAMES).try_for_each(|_| detect(&frame))?;
    let each = Ms(Ms::from(started.elapsed()).0 / FRAMES as f64);
    Ok(Work::Frames { each, sound: SampleRate::HEARING.duration(N) })
}

impl Work {
    /// Speed as a multiple of real time; `None` for work that is not measured against the length of
    /// a sound.
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
