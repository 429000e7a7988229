//! The checked plan, which every later module receives. Nothing here is missing or impossible.

pub use super::raw::{
    Backend, BargeInMode, DEFAULT_DEVICE, EchoMode, Gain, KvType, Noise, Priority, SpeculativeDecoding,
};
use crate::types::{Bytes, Ms};

/// Whole pipeline as the user configured it.
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
    /// Profile `starter` or `qwen`: the set of catalogue entries behind `auto`.
    pub profile: String,
    /// Language model that is used while the profile's own is not available; `None` where the user
    /// named one.
    pub stand_in: Option<String>,
    /// Folder of the models; `None` means the user's cache directory.
    pub dir: Option<std::path::PathBuf>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MemoryPlan {
    pub budget: Bytes,
}

/// Microphone and loudspeaker, by their names or [`DEFAULT_DEVICE`].
#[derive(Clone, Debug, PartialEq)]
pub struct DevicesPlan {
    pub microphone: String,
    pub speaker: String,
}

/// Processing of the microphone's sound before detection and recognition.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioPlan {
    pub echo: EchoMode,
    pub noise: Noise,
    pub gain: Gain,
}

/// Voice activity detection: the start of speech and the end of a turn.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectPlan {
    /// Catalogue name of the voice activity detector.
    pub voice_activity: String,
    /// Catalogue name of the turn detector; `None` does without.
    pub end_of_turn: Option<String>,
    /// Wake word that has to come first in a conversation; `None` for no wake word.
    pub wake_word: Option<WakeWordPlan>,
    /// Probability of speech (0..1) from which a frame starts speech.
    pub speech_threshold: f32,
    /// Probability below which a frame counts as silence again; below `speech_threshold`.
    pub silence_threshold: f32,
    /// Shortest speech that is not noise.
    pub min_speech: Ms,
    /// Silence that ends the turn of a recording; in a conversation a voice after it must be
    /// confirmed anew.
    pub min_silence: Ms,
    /// Sound kept from before the start, and after the end, of speech.
    pub speech_pad: Ms,
    /// Longest question that is answered; a recording that is only transcribed is cut there into
    /// pieces.
    pub max_turn: Ms,
}

/// Word by which Sotto is addressed.
#[derive(Clone, Debug, PartialEq)]
pub struct WakeWordPlan {
    /// Catalogue name or path of its classifier.
    pub model: String,
    /// Score (0..1) from which it counts as spoken.
    pub threshold: f32,
}

impl WakeWordPlan {
    /// Wake word as it is spoken, for display: "hey jarvis".
    pub fn spoken(&self) -> String {
        let file = self.model.rsplit(['/', std::path::MAIN_SEPARATOR]).next().unwrap_or_default();
        file.trim_end_matches(".onnx").replace(['_', '-'], " ")
    }
}

/// Turn taking in a conversation. The silences end a turn; the more certain its end is, the shorter
/// is the silence.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnPlan {
    pub likely_silence: Ms,
    /// Silence for a turn that may be over; at least the likely one.
    pub possible_silence: Ms,
    /// Silence for a turn that is probably not over; at least the possible one.
    pub unlikely_silence: Ms,
    /// Silence for a turn that is unlikely to be over; at least the unlikely one.
    pub incomplete_silence: Ms,
    /// Time after the wake word within which the question may begin.
    pub wake_window: Ms,
    /// Time after an answer within which a question may begin without the wake word.
    pub follow_up: Ms,
    pub barge_in: BargeInMode,
    /// Whether short sounds signal the state.
    pub earcons: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AsrPlan {
    pub model: String,
    pub backend: Backend,
    /// Two-letter code of the language, or `None` to detect it.
    pub language: Option<String>,
    /// Threads on an idle machine.
    pub threads: usize,
    /// Threads on a busy machine.
    pub threads_beside: usize,
    /// Mean log-probability per token below which a result is doubtful.
    pub min_logprob: f32,
    /// No-speech probability above which a result is not speech, unless its words are probable.
    pub max_no_speech: f32,
    /// Reply when the result is doubtful.
    pub unclear_reply: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LlmPlan {
    pub model: String,
    pub system_prompt: String,
    pub threads: usize,
    /// Priority of its threads.
    pub priority: Priority,
    /// Largest number of tokens of prompt and answer together. `None`: [`USUAL_CONTEXT`], or the
    /// context that the model was trained for if that is less.
    pub context: Option<usize>,
    /// Number format of the KV cache.
    pub kv_cache: KvType,
    /// Whether draft tokens are computed ahead where that saves time.
    pub speculative_decoding: SpeculativeDecoding,
    /// Largest size of the stored system prompts on disk; 0 keeps none.
    pub prompt_cache: Bytes,
    pub max_tokens: usize,
    pub sampling: Sampling,
}

/// Default number of tokens of prompt and answer together.
pub const USUAL_CONTEXT: usize = 8192;

impl LlmPlan {
    /// Largest number of tokens of prompt and answer together, unless the model was trained for
    /// less.
    pub fn context(&self) -> usize {
        self.context.unwrap_or(USUAL_CONTEXT)
    }
}

/// Sampling of the next token. Temperature 0 is greedy.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    pub temperature: f32,
    /// Number of most probable tokens that are kept; 0 keeps all.
    pub top_k: usize,
    /// Probability that the smallest set of kept tokens reaches; 1 keeps all.
    pub top_p: f32,
    /// Least probability of a kept token, as a fraction of the best; 0 keeps all.
    pub min_p: f32,
    /// Factor by which positive logits of tokens seen before are divided, and negative ones
    /// multiplied; 1 changes nothing.
    pub repetition_penalty: f32,
    /// Amount subtracted from logits of tokens seen before; 0 changes nothing.
    pub presence_penalty: f32,
    /// Seed; `None` draws a fresh one.
    pub seed: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TtsPlan {
    /// Catalogue name of the main voice.
    pub voice: String,
    /// Catalogue names of further voices, for other languages.
    pub voices: Vec<String>,
    /// Reply of the main voice to a question in a language that no voice speaks.
    pub no_voice_reply: String,
    pub threads: usize,
    /// Speed of the voice: 1 is its own pace, 2 twice as fast.
    pub speed: f32,
}
