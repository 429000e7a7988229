//! Scripted models, and a conversation with them in a simulated room.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::*;
use crate::asr::{NoSpeech, Verdict};
use crate::audio::device::{Card, DEFAULT, Moment, Simulated, SimulatedRoom};
use crate::config::{EchoMode, Flag, Sources};
use crate::detect::{FRAME, VadState, WAKE_STEP, WakeState};
use crate::engine::stage::{
    ChatTurn, LanguageModel, StageLoader, Stages, Synthesizer, Transcriber, TurnDetector, VoiceActivityDetector,
    WakeWordDetector,
};
use crate::observe::Exchange;
use crate::tts::Sound;
use crate::turn::TurnWeights;
use crate::types::SampleRate;

pub(super) const RATE: SampleRate = SampleRate(8000);

/// Detector that takes loud sound for a voice.
pub(super) struct Loud;

impl VoiceActivityDetector for Loud {
    fn step(&mut self, _: &mut VadState, frame: &[f32; FRAME]) -> Result<f32> {
        let loudest = frame.iter().fold(0.0f32, |loudest, sample| loudest.max(sample.abs()));
        Ok(if loudest > 0.1 { 0.95 } else { 0.05 })
    }
}

/// Transcriber that reads the pitch of a voice: the number of zero crossings selects the words.
pub(super) struct Reads;

/// Words, and the period of the tone that stands for them, in samples at 16 kHz.
pub(super) const WORDS: [(usize, &str); 7] = [
    (16, "What is the weather like today?"),
    (32, "No, tell me about Berlin."),
    (64, "mhm"),
    (128, ""),
    (48, "Wie ist das Wetter heute?"),
    (NAME, "Sotto."),
    (96, "Stop."),
];
pub(super) const CALL: usize = 5;
pub(super) const STOP: usize = 6;
/// Period of the tone for the wake word.
pub(super) const NAME: usize = 24;
/// Fewest voiced samples that give words: 50 ms.
pub(super) const LEAST: usize = 800;

/// Wake word detector that fires in the step in which the tone ends; the flag is true if the step
/// before was full of it.
pub(super) struct Called(pub(super) bool);

impl WakeWordDetector for Called {
    fn step(&mut self, _: &mut WakeState, step: &[f32; WAKE_STEP]) -> Result<f32> {
        let crossings = step.windows(2).filter(|pair| pair[0] * pair[1] < 0.0).count();
        let full = crossings.abs_diff(2 * WAKE_STEP / NAME) < 8 && step.iter().all(|sample| sample.abs() > 0.1);
        let before = std::mem::replace(&mut self.0, full);
        Ok(if before && !full { 0.9 } else { 0.0 })
    }
}

impl Transcriber for Reads {
    fn transcribe(&mut self, samples: &[f32], _: &Cancel) -> Result<asr::Transcript> {
        // The front end's high-pass filter bends the flat tops of a tone down to near zero.
        let voiced: Vec<f32> = samples.iter().copied().filter(|sample| sample.abs() > 0.01).collect();
        let crossings = voiced.windows(2).filter(|pair| pair[0] * pair[1] < 0.0).count().max(1);
        let period = 2 * voiced.len() / crossings;
        let (_, text) = WORDS.iter().min_by_key(|(of, _)| of.abs_diff(period)).unwrap();
        let text = if voiced.len() < LEAST { "" } else { *text };
        let verdict = if text.is_empty() { Verdict::Nothing(NoSpeech::NoWords) } else { Verdict::Certain };
        let language = if text.starts_with("Wie") { "de" } else { "en" };
        let (text, language) = (text.to_owned(), language.to_owned());
        Ok(asr::Transcript { text, language, confidence: 0.9, ending: None, segments: Vec::new(), verdict })
    }
}

/// Transcriber with partial transcripts: a word for each half second of voice, or fixed `words`.
/// With `hangs` it never ends, with `panics` it does so badly.
#[derive(Clone, Copy, Default)]
pub(super) struct TranscribesPartially {
    pub(super) words: Option<&'static str>,
    pub(super) hangs: bool,
    pub(super) panics: bool,
}

impl Transcriber for TranscribesPartially {
    fn transcribe(&mut self, samples: &[f32], cancel: &Cancel) -> Result<asr::Transcript> {
        Reads.transcribe(samples, cancel)
    }

    fn can_transcribe_partially(&self) -> bool {
        true
    }

    fn transcribe_partial(&mut self, samples: &[f32], cancel: &Cancel) -> Result<asr::Transcript> {
        assert!(!self.panics, "scripted");
        while self.hangs && !cancel.is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let voiced = samples.iter().filter(|sample| sample.abs() > 0.05).count();
        let words = self.words.map_or_else(|| "word ".repeat((voiced + 4000) / 8000), str::to_owned);
        Ok(asr::Transcript { text: words, verdict: Verdict::Certain, ..Reads.transcribe(samples, cancel)? })
    }
}

/// Turn detector with a fixed score, which counts its calls; without a score it fails.
pub(super) struct Judges(pub(super) Option<f32>, pub(super) Arc<AtomicUsize>);

impl TurnDetector for Judges {
    fn complete(&mut self, _: &[f32]) -> Result<f32> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.ok_or_else(|| anyhow::anyhow!("scripted"))
    }
}

/// Language model that gives a long answer, and records what it was asked.
pub(super) struct Talks {
    pub(super) asked: Arc<Mutex<Vec<ChatTurn>>>,
    pub(super) rest: VecDeque<&'static str>,
}

impl Talks {
    pub(super) fn new(asked: &Arc<Mutex<Vec<ChatTurn>>>) -> Self {
        Talks { asked: asked.clone(), rest: VecDeque::new() }
    }
}

pub(super) const ANSWER: &str = "It will be dry and mild until the evening. Then some rain comes from the west. \
                      Take an umbrella with you when you leave the house after eight.";

impl LanguageModel for Talks {
    fn sentence_end_probability(&mut self, _: &ChatTurn) -> Result<Option<f32>> {
        Ok(None)
    }

    fn begin(&mut self, turn: &ChatTurn) -> Result<()> {
        self.asked.lock().unwrap().push(turn.clone());
        self.rest = ANSWER.split_inclusive(' ').collect();
        Ok(())
    }

    fn next_piece(&mut self, _: SessionId) -> Result<Option<String>> {
        Ok(self.rest.pop_front().map(str::to_owned))
    }
}

/// Synthesizer that speaks a letter in 50 ms: noise that swells and fades.
pub(super) struct Hums;

impl Synthesizer for Hums {
    fn rate(&self) -> SampleRate {
        RATE
    }

    fn speak(&mut self, sentence: &str, _: &str, on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>) -> Result<()> {
        let pieces = sentence.len().div_ceil(10);
        let place = |n: usize| (n * 10) as f64 / sentence.len() as f64;
        for n in 0..pieces {
            let letters = 10.min(sentence.len() - n * 10);
            let mut random = fastrand::Rng::with_seed(n as u64);
            let mut noise =
                |i: usize| 0.3 * (i as f32 * std::f32::consts::PI / 400.0).sin() * (2.0 * random.f32() - 1.0);
            let samples: Vec<f32> = (0..letters * 400).map(|i| noise(i % 400)).collect();
            if on_sound(Sound { samples: &samples, says: place(n)..place(n + 1).min(1.0) }).is_break() {
                break;
            }
        }
        Ok(())
    }
}

pub(super) fn plan(settings: &[(&str, &str)]) -> Plan {
    let flag = |&(path, value): &(&str, &str)| Flag { path: path.into(), value: value.into(), name: path.into() };
    let sources = Sources { cores: 1, flags: settings.iter().map(flag).collect(), ..Default::default() };
    crate::config::load(&sources).unwrap().plan
}

pub(super) fn stages(
    detector: Box<dyn VoiceActivityDetector>,
    turn_detector: Option<Box<dyn TurnDetector>>,
    transcriber: Box<dyn Transcriber>,
    asked: &Arc<Mutex<Vec<ChatTurn>>>,
    synthesizer: Box<dyn Synthesizer>,
) -> Stages {
    Stages {
        voice_activity: StageLoader::once(detector),
        turn_detector: turn_detector.map(StageLoader::once),
        wake_word: None,
        transcriber: StageLoader::once(transcriber),
        language_model: StageLoader::once(Box::new(Talks::new(asked))),
        synthesizer: StageLoader::once(synthesizer),
        turn_weights: Some(TurnWeights::default()),
    }
}

/// Conversation with a person who says what the test tells her.
pub(super) struct World {
    pub(super) card: Simulated,
    pub(super) session: Session,
    pub(super) asked: Arc<Mutex<Vec<ChatTurn>>>,
    pub(super) happened: VecDeque<Event>,
}

impl World {
    pub(super) fn new() -> World {
        World::within(SimulatedRoom::HEADPHONES, EchoMode::Off)
    }

    pub(super) fn within(room: SimulatedRoom, echo: EchoMode) -> World {
        World::with(room, echo, Box::new(Loud), Box::new(Hums))
    }

    pub(super) fn with(
        room: SimulatedRoom,
        echo: EchoMode,
        detector: Box<dyn VoiceActivityDetector>,
        synthesizer: Box<dyn Synthesizer>,
    ) -> World {
        let echo = if echo == EchoMode::Off { "off" } else { "aec3" };
        World::set(room, &[("audio.echo", echo)], detector, None, synthesizer)
    }

    pub(super) fn set(
        room: SimulatedRoom,
        settings: &[(&str, &str)],
        detector: Box<dyn VoiceActivityDetector>,
        turn_detector: Option<Box<dyn TurnDetector>>,
        synthesizer: Box<dyn Synthesizer>,
    ) -> World {
        let asked = Arc::default();
        let stages = stages(detector, turn_detector, Box::new(Reads), &asked, synthesizer);
        World { asked, ..World::start(room, settings, stages) }
    }

    pub(super) fn heard_by(transcriber: TranscribesPartially, synthesizer: Box<dyn Synthesizer>) -> World {
        let stages = stages(Box::new(Loud), None, Box::new(transcriber), &Arc::default(), synthesizer);
        World::start(SimulatedRoom::HEADPHONES, &[("audio.echo", "off")], stages)
    }

    /// Does [`World::heard_by`] with a transcriber that can be loaded again.
    pub(super) fn heard_by_again(transcriber: TranscribesPartially) -> World {
        let stages = Stages {
            transcriber: StageLoader::<dyn Transcriber>::new(move || Ok(Box::new(transcriber))),
            ..stages(Box::new(Loud), None, Box::new(Reads), &Arc::default(), Box::new(Hums))
        };
        World::start(SimulatedRoom::HEADPHONES, &[("audio.echo", "off")], stages)
    }

    pub(super) fn start(room: SimulatedRoom, settings: &[(&str, &str)], stages: Stages) -> World {
        let plan = plan(settings);
        let called = || StageLoader::once(Box::new(Called(false)) as Box<dyn WakeWordDetector>);
        let stages = Stages { wake_word: plan.detect.wake_word.is_some().then(called), ..stages };
        World::of(Engine::start(stages, &plan).unwrap(), room, &plan)
    }

    pub(super) fn of(engine: Arc<Engine>, room: SimulatedRoom, plan: &Plan) -> World {
        let card = Simulated::usual(room);
        card.record();
        let devices = SessionDevices {
            card: Arc::new(card.clone()),
            microphone: DEFAULT.to_owned(),
            speaker: DEFAULT.to_owned(),
        };
        let audio = SessionAudio::open(devices, engine.rate()).unwrap();
        let session = Session::start(engine, audio, plan);
        let mut world = World { card, session, asked: Arc::default(), happened: VecDeque::new() };
        world.pass(500);
        world
    }

    /// A session of its own on the same card.
    pub(super) fn restarted(&self) -> Session {
        let devices = SessionDevices {
            card: Arc::new(self.card.clone()),
            microphone: DEFAULT.to_owned(),
            speaker: DEFAULT.to_owned(),
        };
        let engine = self.session.engine.clone();
        let audio = SessionAudio::open(devices, engine.rate()).unwrap();
        Session::start(engine, audio, &self.session.plan)
    }

    pub(super) fn now(&self) -> u64 {
        Ms::from(self.card.clock().now()).0 as u64
    }

    /// Advances time in blocks of 10 ms; stages get a millisecond of real time for each.
    pub(super) fn pass(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / 10 {
            self.card.advance(Duration::from_millis(10));
            self.happened.extend(self.session.step(Duration::from_millis(1)).unwrap());
        }
    }

    /// Speaks words of [`WORDS`] for this long, and waits until they have been played.
    pub(super) fn say(&mut self, words: usize, milliseconds: u64) {
        self.begin_to_say(words, milliseconds);
        self.pass(milliseconds + 20);
    }

    /// Speaks words of [`WORDS`] from now on.
    pub(super) fn begin_to_say(&self, words: usize, milliseconds: u64) {
        let period = WORDS[words].0;
        let tone =
            (0..milliseconds as usize * 16).map(|i| if (i / (period / 2)).is_multiple_of(2) { 0.5 } else { -0.5 });
        let at = Moment((self.now() + 20) * 1_000_000);
        self.card.say(at, SampleRate::HEARING, &tone.collect::<Vec<f32>>());
    }

    /// Waits for the state.
    pub(super) fn until(&mut self, view: SessionState) {
        for _ in 0..3000 {
            if self.session.view() == view {
                return;
            }
            self.pass(10);
        }
        panic!("never {view:?}, but {:?}: {:?}", self.session.view(), self.happened);
    }

    pub(super) fn answers(&self) -> Vec<&Exchange> {
        let mut answers = Vec::new();
        for happening in &self.happened {
            if let EventKind::Exchange(answered) = &happening.kind {
                answers.push(answered);
            }
        }
        answers
    }

    /// Peak of the sound that left the loudspeaker in the last `milliseconds`.
    pub(super) fn loudness(&self, milliseconds: u64) -> f32 {
        let moment = |at: u64| Moment(at * 1_000_000);
        let sound = self.card.recorded(moment(self.now() - milliseconds), moment(self.now()), RATE);
        sound.iter().fold(0.0, |loudest, sample| loudest.max(sample.abs()))
    }

    /// The last question with what was asked before it, each with what was heard of its answer
    /// where that is not all.
    pub(super) fn history(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let Some(last) = asked.last() else { return Vec::new() };
        let before = last.history.iter().map(|past| match past.answer.as_str() {
            ANSWER => past.question.clone(),
            heard => format!("{} -> {heard}", past.question),
        });
        before.chain([last.question.clone()]).collect()
    }
}
