//! The checked plan: what every room below `config` receives. Nothing here is missing or
//! impossible.

pub use super::raw::{
    Backend, BargeInMode, DEFAULT_DEVICE, EchoMode, Gain, KvType, Noise, Priority, SpeculativeDecoding,
};
use crate::types::{Bytes, Ms};

/// The whole pipeline as the user wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub models: ModelsPlan,
    pub memory: MemoryPlan,
    pub devices: DevicesPlan,
    pub audio: AudioPlan,
    pub detect: DetectPlan,
    pub turn: TurnPlan,
    pub asr: AsrPlan,
    pub llm: LlmPlan,
    pub tts: TtsPlan,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ModelsPlan {
    /// `starter` or `qwen`: which set of catalogue entries stands behind `auto`.
    pub profile: String,
    /// The language model that stands in while the profile's own is not to be had; `None` where the
    /// user named one.
    pub stand_in: Option<String>,
    /// Where models are kept; `None` means the user's cache directory.
    pub dir: Option<std::path::PathBuf>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MemoryPlan {
    pub budget: Bytes,
}

/// Which microphone and speaker, by their names or [`DEFAULT_DEVICE`].
#[derive(Clone, Debug, PartialEq)]
pub struct DevicesPlan {
    pub microphone: String,
    pub speaker: String,
}

/// What is done to the microphone's sound before anything listens to it.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioPlan {
    pub echo: EchoMode,
    pub noise: Noise,
    pub gain: Gain,
}

/// Voice activity: when speech starts and when a turn is over.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectPlan {
    /// Catalogue name of the voice activity model.
    pub voice_activity: String,
    /// Catalogue name of the model that judges whether a turn is complete; `None` does without.
    pub end_of_turn: Option<String>,
    /// What has to be said first in a conversation; `None` where nothing has.
    pub wake_word: Option<WakeWordPlan>,
    /// Probability of speech (0..1) from which a frame opens speech.
    pub speech_threshold: f32,
    /// Probability below which a frame counts as silence again; below `speech_threshold`.
    pub silence_threshold: f32,
    /// Speech shorter than this is noise.
    pub min_speech: Ms,
    /// Silence that ends the turn of a recording; in a conversation a voice after it must be
    /// confirmed anew.
    pub min_silence: Ms,
    /// Sound kept from before the onset, and after the end, of speech.
    pub speech_pad: Ms,
    /// The longest question that is answered; a recording that is only transcribed is cut there
    /// into pieces.
    pub max_turn: Ms,
}

/// The word by which Sotto is addressed.
#[derive(Clone, Debug, PartialEq)]
pub struct WakeWordPlan {
    /// Catalogue name or path of its classifier.
    pub model: String,
    /// The score (0..1) from which it counts as said.
    pub threshold: f32,
}

impl WakeWordPlan {
    /// As it is said, to be shown: "hey jarvis".
    pub fn spoken(&self) -> String {
        let file = self.model.rsplit(['/', std::path::MAIN_SEPARATOR]).next().unwrap_or_default();
        file.trim_end_matches(".onnx").replace(['_', '-'], " ")
    }
}

/// Who speaks when, in a conversation. The silences end a turn, the shorter the more says that it
/// is over.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnPlan {
    pub likely_silence: Ms,
    /// At least the short one.
    pub possible_silence: Ms,
    /// At least the middle one.
    pub unlikely_silence: Ms,
    /// At least the long one.
    pub incomplete_silence: Ms,
    /// How long after the wake word the question may begin.
    pub wake_window: Ms,
    /// How long after an answer a question may begin without the wake word.
    pub follow_up: Ms,
    pub barge_in: BargeInMode,
    /// Whether short sounds tell the state.
    pub earcons: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AsrPlan {
    pub model: String,
    pub backend: Backend,
    /// A two-letter code, or `None` to detect it.
    pub language: Option<String>,
    /// Threads on a machine that has nothing else to do.
    pub threads: usize,
    /// Threads on a machine that is at work.
    pub threads_beside: usize,
    /// A result whose mean log-probability per token is lower is doubtful.
    pub min_logprob: f32,
    /// A result whose no-speech probability is higher is not speech, unless its words are likely.
    pub max_no_speech: f32,
    /// What is said instead of an answer when the result is doubtful.
    pub unclear_reply: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LlmPlan {
    pub model: String,
    pub system_prompt: String,
    pub threads: usize,
    /// That of its threads.
    pub priority: Priority,
    /// Most tokens of prompt and answer together. `None`: [`USUAL_CONTEXT`], or what the model was
    /// trained for if that is less.
    pub context: Option<usize>,
    /// What keys and values are kept as.
    pub kv_cache: KvType,
    /// Whether tokens are computed ahead where that saves time.
    pub speculative_decoding: SpeculativeDecoding,
    /// The most that computed system prompts may take on disk; 0 keeps none.
    pub prompt_cache: Bytes,
    pub max_tokens: usize,
    pub sampling: Sampling,
}

/// Tokens of prompt and answer together, where nothing else is asked for.
pub const USUAL_CONTEXT: usize = 8192;

impl LlmPlan {
    /// Most tokens of prompt and answer together, unless the model was trained for less.
    pub fn context(&self) -> usize {
        self.context.unwrap_or(USUAL_CONTEXT)
    }
}

/// How the next token is chosen. Temperature 0 is greedy.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    pub temperature: f32,
    /// Only the most probable `top_k` tokens; 0 keeps all.
    pub top_k: usize,
    /// The smallest set whose probability reaches `top_p`; 1 keeps all.
    pub top_p: f32,
    /// Tokens at least this fraction as probable as the best; 0 keeps all.
    pub min_p: f32,
    /// Divides (positive) or multiplies (negative) logits of tokens seen before; 1 changes nothing.
    pub repetition_penalty: f32,
    /// Subtracted from logits of tokens seen before; 0 changes nothing.
    pub presence_penalty: f32,
    /// `None` draws a fresh one.
    pub seed: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TtsPlan {
    /// Catalogue name of the main voice.
    pub voice: String,
    /// Those of further voices, for other languages.
    pub voices: Vec<String>,
    /// What the main voice says to a question in a language that no voice speaks.
    pub no_voice_reply: String,
    pub threads: usize,
    /// 1 is the voice's own pace, 2 twice as fast.
    pub speed: f32,
}
