//! Traits of the stages. The real stages are models; tests put scripted ones in their
//! place.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::asr::{Cancel, Transcript};
use crate::detect::{FRAME, WAKE_STEP};
use crate::tts::Sound;
use crate::turn::TurnWeights;
use crate::types::{SampleRate, TurnId};

/// A stage's failure, with the stage's own words in its chain.
pub type Result<T> = std::result::Result<T, anyhow::Error>;

/// Voice activity detector: the probability of speech in one frame of [`FRAME`] samples at 16 kHz.
pub trait VoiceActivityDetector: Send {
    fn step(&mut self, frame: &[f32; FRAME]) -> Result<f32>;
    fn reset(&mut self);
}

/// Turn detector: the probability that a person who pauses has finished.
pub trait TurnDetector: Send {
    /// The probability, 0 to 1, that nothing more is to come after `samples` (16 kHz): the turn so
    /// far, up to the pause.
    fn complete(&mut self, samples: &[f32]) -> Result<f32>;
}

/// The wake word: the score, 0 to 1, of its having been said in the next [`WAKE_STEP`] samples at
/// 16 kHz or right before.
pub trait WakeWordDetector: Send {
    fn step(&mut self, step: &[f32; WAKE_STEP]) -> Result<f32>;
    fn reset(&mut self);
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

/// Text to text, a piece at a time, with the conversation so far in mind.
pub trait LanguageModel: Send {
    /// Reads `question` ahead, and says how likely a sentence ends where it ends, 0..=1. `None`
    /// where that cannot be told.
    fn sentence_end_probability(&mut self, question: &str) -> Result<Option<f32>>;
    /// Answers `question`; `on_piece` may break off the answer. Returns how many tokens were
    /// written. An answer that fails leaves the conversation as it was.
    fn answer(&mut self, question: &str, on_piece: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<usize>;
    /// Keeps of the last answer only its beginning `heard`: the listener broke it off there.
    fn keep_heard(&mut self, heard: &str);
    /// Forgets the last exchange: it was an answer to half a question.
    fn forget_last(&mut self);
    /// Forgets the whole conversation.
    fn forget_all(&mut self);
}

/// Text to sound, a chunk at a time.
pub trait Synthesizer: Send {
    fn rate(&self) -> SampleRate;
    /// The two-letter codes of the languages it speaks; first that which it speaks unless it is
    /// told.
    fn languages(&self) -> Vec<String> {
        vec!["en".to_owned()]
    }
    /// From now on speaks this language, if it is one of them, else the first.
    fn speak_in(&mut self, _language: &str) {}
    fn speak(&mut self, sentence: &str, on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>) -> Result<()>;
}

/// All of them, loaded.
pub struct Stages {
    pub voice_activity: Box<dyn VoiceActivityDetector>,
    /// Only a conversation asks it, and goes on without: the end of a file is the end of its
    /// question.
    pub turn_detector: Option<Box<dyn TurnDetector>>,
    /// Wake word detector; a conversation that has one listens only after the wake word.
    pub wake_word: Option<Box<dyn WakeWordDetector>>,
    pub transcriber: Box<dyn Transcriber>,
    pub language_model: Box<dyn LanguageModel>,
    pub synthesizer: Box<dyn Synthesizer>,
    /// Weights of the three probabilities that a turn is over; `None` where none were fitted to
    /// these models.
    pub turn_weights: Option<TurnWeights>,
}

/// Number of the current turn. Work for an older number stops by itself; nobody has to reset a
/// flag.
#[derive(Clone, Debug, Default)]
pub struct CurrentTurn(Arc<AtomicU64>);

impl CurrentTurn {
    pub fn get(&self) -> TurnId {
        TurnId(self.0.load(Ordering::Acquire))
    }

    pub fn is(&self, turn: TurnId) -> bool {
        self.get() == turn
    }

    /// Begins the next turn; everything under way becomes stale.
    pub fn advance(&self) -> TurnId {
        TurnId(self.0.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// Makes `turn` the present one; everything of others becomes stale.
    pub fn set(&self, turn: TurnId) {
        self.0.store(turn.0, Ordering::Release);
    }

    /// `Break` once `turn` is stale.
    pub fn go_on(&self, turn: TurnId) -> ControlFlow<()> {
        if self.is(turn) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}
