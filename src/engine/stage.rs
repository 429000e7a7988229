//! Traits of the models behind the stages, and how the models are loaded. The real ones are in
//! `models`; tests put scripted ones in their place.
//!
//! A model holds nothing of a talker. What a talker needs beside the weights is passed in with each
//! call (the state of a sound, the history of a conversation), or is a cache that can be computed
//! again (the language model's sequence).

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use anyhow::anyhow;

use crate::asr::{Cancel, Transcript};
use crate::detect::{FRAME, VadState, WAKE_STEP, WakeState};
use crate::tts::Sound;
use crate::turn::{TurnStage, TurnWeights};
use crate::types::{SampleRate, SessionId};

/// A stage's failure, with the stage's own words in its chain.
pub type Result<T> = std::result::Result<T, anyhow::Error>;

/// Voice activity detector: the probability of speech in one frame of [`FRAME`] samples at 16 kHz.
pub trait VoiceActivityDetector: Send {
    /// The probability, 0 to 1, for the next frame of the sound of `state`.
    fn step(&mut self, state: &mut VadState, frame: &[f32; FRAME]) -> Result<f32>;
}

/// Turn detector: the probability that a person who pauses has finished.
pub trait TurnDetector: Send {
    /// The probability, 0 to 1, that nothing more is to come after `samples` (16 kHz): the turn so
    /// far, up to the pause.
    fn complete(&mut self, samples: &[f32]) -> Result<f32>;
}

/// Wake word detector: the score, 0 to 1, of the word's having been said in the next [`WAKE_STEP`]
/// samples at 16 kHz or right before.
pub trait WakeWordDetector: Send {
    /// The score for the next step of the sound of `state`.
    fn step(&mut self, state: &mut WakeState, step: &[f32; WAKE_STEP]) -> Result<f32>;
}

/// Speech to text.
pub trait Transcriber: Send {
    fn transcribe(&mut self, samples: &[f32], cancel: &Cancel) -> Result<Transcript>;

    /// Whether it can give partial transcripts: a run that is cancelled must stop at once.
    fn can_transcribe_partially(&self) -> bool {
        false
    }

    /// The words of a sound that is not over. However that ends, it changes nothing of what is
    /// transcribed after it.
    fn transcribe_partial(&mut self, samples: &[f32], cancel: &Cancel) -> Result<Transcript> {
        self.transcribe(samples, cancel)
    }
}

/// A question of a session, with everything before it.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatTurn {
    pub session: SessionId,
    /// Exchanges before the question, oldest first.
    pub history: Arc<Vec<PastExchange>>,
    pub question: String,
}

/// A question and as much of its answer as was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastExchange {
    pub question: String,
    pub answer: String,
}

/// Text to text. Answers of several sessions may be under way at once, one of each.
pub trait LanguageModel: Send {
    /// Reads the question of `turn` ahead, and returns how likely a sentence ends where it ends,
    /// 0..=1; `None` where that cannot be told.
    fn sentence_end_probability(&mut self, turn: &ChatTurn) -> Result<Option<f32>>;

    /// Begins to answer the question of `turn`. An answer of the same session that is under way is
    /// broken off.
    fn begin(&mut self, turn: &ChatTurn) -> Result<()>;

    /// Returns the next piece of the session's answer, or `None` where it ends. An answer that
    /// fails is over.
    fn next_piece(&mut self, session: SessionId) -> Result<Option<String>>;

    /// Breaks off the session's answer.
    fn stop(&mut self, _session: SessionId) {}

    /// Frees what is kept for a session that is over.
    fn close(&mut self, _session: SessionId) {}
}

/// Text to sound, a chunk at a time.
pub trait Synthesizer: Send {
    fn rate(&self) -> SampleRate;

    /// The two-letter codes of the languages it speaks, that of the main voice first.
    fn languages(&self) -> Vec<String> {
        vec!["en".to_owned()]
    }

    /// Speaks a sentence in `language`; in that of the main voice if it is empty or another.
    fn speak(
        &mut self,
        sentence: &str,
        language: &str,
        on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>,
    ) -> Result<()>;
}

/// Loads a model of one stage, as often as it is needed: at the start, and after it was unloaded or
/// has failed.
pub struct StageLoader<M: ?Sized> {
    /// Model that is loaded already, for the first call.
    first: Mutex<Option<Box<M>>>,
    load: Box<dyn Fn() -> Result<Box<M>> + Send + Sync>,
}

impl<M: ?Sized> StageLoader<M> {
    /// Loads with `load` each time.
    pub fn new(load: impl Fn() -> Result<Box<M>> + Send + Sync + 'static) -> Self {
        StageLoader { first: Mutex::new(None), load: Box::new(load) }
    }

    /// Gives `model` the first time, and loads with `load` after that.
    pub fn loaded(model: Box<M>, load: impl Fn() -> Result<Box<M>> + Send + Sync + 'static) -> Self {
        StageLoader { first: Mutex::new(Some(model)), load: Box::new(load) }
    }

    /// Gives `model` once. It cannot be loaded again.
    pub fn once(model: Box<M>) -> Self {
        StageLoader::loaded(model, || Err(anyhow!("it cannot be loaded again")))
    }

    pub(super) fn load(&self) -> Result<Box<M>> {
        let first = self.first.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        first.map_or_else(&self.load, Ok)
    }
}

/// Models of all stages.
pub struct Stages {
    pub voice_activity: StageLoader<dyn VoiceActivityDetector>,
    /// Turn detector; a conversation goes on without one.
    pub turn_detector: Option<StageLoader<dyn TurnDetector>>,
    /// Wake word detector; a session that wants a wake word listens only after it.
    pub wake_word: Option<StageLoader<dyn WakeWordDetector>>,
    pub transcriber: StageLoader<dyn Transcriber>,
    pub language_model: StageLoader<dyn LanguageModel>,
    pub synthesizer: StageLoader<dyn Synthesizer>,
    /// Weights of the three probabilities that a turn is over; `None` where none were fitted to
    /// these models.
    pub turn_weights: Option<TurnWeights>,
}

/// A stage: a model with the thread that runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StageKind {
    VoiceActivity,
    WakeWord,
    TurnDetector,
    Transcriber,
    LanguageModel,
    Synthesizer,
}

impl StageKind {
    pub const ALL: [StageKind; 6] = [
        StageKind::VoiceActivity,
        StageKind::WakeWord,
        StageKind::TurnDetector,
        StageKind::Transcriber,
        StageKind::LanguageModel,
        StageKind::Synthesizer,
    ];

    /// Name for programs.
    pub fn name(self) -> &'static str {
        match self {
            StageKind::VoiceActivity => "voice_activity",
            StageKind::WakeWord => "wake_word",
            StageKind::TurnDetector => "turn_detector",
            StageKind::Transcriber => "transcriber",
            StageKind::LanguageModel => "language_model",
            StageKind::Synthesizer => "synthesizer",
        }
    }

    /// Name for a person, and of the thread.
    pub fn title(self) -> &'static str {
        match self {
            StageKind::VoiceActivity => "voice activity detector",
            StageKind::WakeWord => "wake word detector",
            StageKind::TurnDetector => "turn detector",
            StageKind::Transcriber => "transcriber",
            StageKind::LanguageModel => "language model",
            StageKind::Synthesizer => "synthesizer",
        }
    }

    /// The stage as the turn machine knows it.
    pub fn turn_stage(self) -> TurnStage {
        match self {
            StageKind::VoiceActivity | StageKind::WakeWord | StageKind::TurnDetector => TurnStage::Detector,
            StageKind::Transcriber => TurnStage::Transcriber,
            StageKind::LanguageModel => TurnStage::LanguageModel,
            StageKind::Synthesizer => TurnStage::Voice,
        }
    }
}
