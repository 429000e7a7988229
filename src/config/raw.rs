//! Settings as they are written, section by section, with their defaults. The JSON schema is
//! derived from these types, and the loader checks types and ranges against that schema, so each
//! rule stands in one place.
//!
//! The value `"auto"` always means that Sotto chooses; [`super::check`] holds the rules.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Sotto's pipeline: its models, its devices, its turn taking, and how much memory it may hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Sotto pipeline")]
pub struct Raw {
    pub models: RawModels,
    pub memory: RawMemory,
    pub audio: RawAudio,
    pub detect: RawHear,
    pub turn: RawTurn,
    pub asr: RawAsr,
    pub llm: RawLlm,
    pub tts: RawTts,
}

/// Set of models, and the folder in which they are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawModels {
    /// The set of models behind every "auto".
    pub profile: ModelProfile,
    /// The folder in which models are kept; "auto" is Sotto's own cache folder. A relative path,
    /// here and everywhere, counts from the folder of this file; a leading "~/" is the home folder.
    #[schemars(extend("format" = "folder"))]
    pub dir: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelProfile {
    /// Small models from package registries, which can be fetched anywhere.
    #[default]
    Starter,
    /// Qwen3.5 as the language model; needs a model hub.
    Qwen,
}

/// Memory that all models together may hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawMemory {
    /// The ceiling, as a size with its unit, such as "1500MiB" or "2GiB". What does not fit is
    /// refused, not swapped.
    #[schemars(extend("format" = "size"))]
    pub budget: String,
}

/// Microphone and speaker, and the processing of the microphone's sound before detection and
/// recognition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawAudio {
    /// The microphone, as "sotto devices" calls it; "default" is the one that the system has
    /// chosen, and follows it.
    #[schemars(length(min = 1, max = 200))]
    pub microphone: String,
    /// The speaker, as "sotto devices" calls it; "default" is the one that the system has chosen,
    /// and follows it.
    #[schemars(length(min = 1, max = 200))]
    pub speaker: String,
    /// Echo canceller, which removes Sotto's own voice from the microphone's sound.
    pub echo: EchoMode,
    /// Whether steady noise is removed from the sound in which voices are detected, and how much.
    pub noise: Noise,
    /// Whether soft and far voices are made louder in that sound.
    pub gain: Gain,
}

/// Echo canceller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EchoMode {
    /// AEC3, the echo canceller of WebRTC.
    #[default]
    Aec3,
    /// No echo canceller: for headphones.
    Off,
}

/// Amount of noise suppression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Noise {
    /// No noise suppression.
    #[default]
    Off,
    /// Suppression by 6 dB.
    Low,
    /// Suppression by 18 dB.
    High,
}

/// Whether the level is controlled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Gain {
    /// No gain control: the sound is as loud as the microphone delivers it.
    #[default]
    Off,
    /// Gain control: the level of speech is followed and raised.
    On,
}

/// Voice activity detection: the start of speech, and the end of a turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawHear {
    /// Catalogue name of the voice activity detector.
    #[schemars(extend("format" = "model"))]
    pub voice_activity: String,
    /// Catalogue name of the turn detector, which judges by the sound whether a turn is complete,
    /// in a conversation; "off" leaves that to the words and the silence.
    #[schemars(extend("format" = "model"))]
    pub end_of_turn: String,
    /// Wake word that has to come first in a conversation: its catalogue name, or the path of a
    /// classifier made for openWakeWord; "off" listens to everything.
    #[schemars(extend("format" = "wake-word"))]
    pub wake_word: String,
    /// Score of the wake word from which it counts as spoken.
    #[schemars(range(min = 0.01, max = 1))]
    pub wake_threshold: f64,
    /// Probability of speech from which a frame starts speech.
    #[schemars(range(min = 0, max = 1))]
    pub speech_threshold: f64,
    /// Probability of speech below which a frame counts as silence again; below speech_threshold.
    #[schemars(range(min = 0, max = 1))]
    pub silence_threshold: f64,
    /// Shortest speech that is not taken for noise, in milliseconds.
    #[schemars(range(min = 0, max = 5000))]
    pub min_speech_ms: u32,
    /// Silence that ends the question of "sotto once", in milliseconds. In "sotto run" the silences
    /// of `[turn]` end a turn, and a voice that comes back after this silence must be min_speech_ms
    /// of speech again before it counts.
    #[schemars(range(min = 50, max = 5000))]
    pub min_silence_ms: u32,
    /// Sound kept from before and after speech, in milliseconds.
    #[schemars(range(min = 0, max = 2000))]
    pub speech_pad_ms: u32,
    /// Longest question that is answered, in milliseconds; a recording is cut there into pieces.
    /// Whisper takes 30 seconds at once.
    #[schemars(range(min = 1000, max = 30000))]
    pub max_turn_ms: u32,
}

/// Turn taking in "sotto run": how much silence ends a turn, and whether a voice interrupts the
/// answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawTurn {
    /// Silence that ends a turn that is most likely over, in milliseconds. Not used with models
    /// that the weights of turn taking were not fitted to.
    #[schemars(range(min = 100, max = 5000))]
    pub likely_silence_ms: u32,
    /// Silence that ends a turn that may be over, in milliseconds; at least likely_silence_ms.
    #[schemars(range(min = 100, max = 5000))]
    pub possible_silence_ms: u32,
    /// Silence that ends a turn that is probably not over, or about which nothing is known, in
    /// milliseconds; at least possible_silence_ms.
    #[schemars(range(min = 100, max = 5000))]
    pub unlikely_silence_ms: u32,
    /// Silence that ends a turn that is unlikely to be over, as after "turn on the", in
    /// milliseconds; at least unlikely_silence_ms.
    #[schemars(range(min = 100, max = 10000))]
    pub incomplete_silence_ms: u32,
    /// Time after the wake word within which the question may begin, in milliseconds.
    #[schemars(range(min = 1000, max = 60000))]
    pub wake_window_ms: u32,
    /// Time after an answer within which a question may begin without the wake word, in
    /// milliseconds.
    #[schemars(range(min = 0, max = 60000))]
    pub follow_up_ms: u32,
    /// Whether a voice over the answer interrupts it.
    pub barge_in: BargeInMode,
    /// Whether short sounds signal that Sotto listens, or works on a long answer.
    pub earcons: Earcons,
}

/// Effect of a voice over the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BargeInMode {
    /// A voice makes the answer soft, speech pauses it, and words end it.
    #[default]
    On,
    /// A voice has no effect, unless it says "stop" or a similar word, which stops the answer.
    Stop,
    /// A voice has no effect: only the keys and the wake word stop the answer.
    Off,
}

/// Whether Sotto plays short signal sounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Earcons {
    /// No sounds.
    #[default]
    Off,
    /// Sounds.
    On,
}

/// Speech recognition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawAsr {
    /// Catalogue name of the Whisper model, or the path of one: a file in the format of
    /// whisper.cpp.
    #[schemars(extend("format" = "model-or-path"))]
    pub model: String,
    /// Runtime of the Whisper model.
    pub backend: Backend,
    /// The language that is spoken, as a two-letter code; "auto" detects it anew in each turn,
    /// which takes longer.
    #[schemars(schema_with = "language")]
    pub language: String,
    /// Threads for recognition; "auto" fits them to the machine.
    #[serde(with = "or_auto")]
    #[schemars(schema_with = "auto_or_between::<1, 64>")]
    pub threads: Option<u32>,
    /// Mean log-probability per token below which a result is doubtful.
    #[schemars(range(min = -10, max = 0))]
    pub min_logprob: f64,
    /// No-speech probability above which a result is dropped, unless its words are probable.
    #[schemars(range(min = 0, max = 1))]
    pub max_no_speech: f64,
    /// Reply when the question was not understood.
    #[schemars(length(min = 1, max = 500))]
    pub unclear_reply: String,
}

/// The language model that answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawLlm {
    /// Catalogue name of the language model, or the path of one: a GGUF file, or a folder of
    /// safetensors.
    #[schemars(extend("format" = "model-or-path"))]
    pub model: String,
    /// System prompt, which the model gets before every conversation.
    #[schemars(length(max = 8000))]
    pub system_prompt: String,
    /// Threads for the language model; "auto" fits them to the machine.
    #[serde(with = "or_auto")]
    #[schemars(schema_with = "auto_or_between::<1, 64>")]
    pub threads: Option<u32>,
    /// Priority of the language model beside other programs: "low" lets them go first.
    pub priority: Priority,
    /// Largest number of tokens of prompt and answer together; "auto" is 8192, or the context that
    /// the model was trained for if that is less.
    #[serde(with = "or_auto")]
    #[schemars(schema_with = "auto_or_between::<128, 262144>")]
    pub context: Option<u32>,
    /// Number format of the KV cache, which holds the conversation: q8 takes about half the memory
    /// of f16 and rounds more.
    pub kv_cache: KvType,
    /// Whether draft tokens are guessed from the text before and checked together, which changes no
    /// answer; "auto" does so where it saves time.
    pub speculative_decoding: SpeculativeDecoding,
    /// Largest size of the stored system prompts on disk, as a size with its unit; "0" keeps none.
    #[schemars(extend("format" = "limit"))]
    pub prompt_cache: String,
    /// Largest number of tokens of one answer; at most context.
    #[schemars(range(min = 1, max = 8192))]
    pub max_tokens: u32,
    /// Temperature of the sampling; 0 always takes the most probable token.
    #[schemars(range(min = 0, max = 2))]
    pub temperature: f64,
    /// Number of most probable tokens among which one is chosen; 0 keeps all.
    #[schemars(range(min = 0, max = 1000))]
    pub top_k: u32,
    /// Probability that the most probable tokens together reach, among which one is chosen; 1 keeps
    /// all.
    #[schemars(range(min = 0, max = 1))]
    pub top_p: f64,
    /// Least probability of a token that may be chosen, as a fraction of the best; 0 keeps all.
    #[schemars(range(min = 0, max = 1))]
    pub min_p: f64,
    /// Penalty that makes tokens seen before less probable; 1 changes nothing.
    #[schemars(range(min = 1, max = 2))]
    pub repetition_penalty: f64,
    /// Amount subtracted once from the logit of each token seen before; 0 changes nothing.
    #[schemars(range(min = -2, max = 2))]
    pub presence_penalty: f64,
    /// Seed of the sampling: with one seed the same question gets the same answer; "auto" draws a
    /// fresh one.
    #[serde(with = "or_auto")]
    #[schemars(schema_with = "auto_or_between::<0, 4294967295>")]
    pub seed: Option<u32>,
}

/// Number format of the KV cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KvType {
    /// 16 bits each.
    #[default]
    F16,
    /// 8 bits each and a scale of 16 bits for every 32.
    Q8,
}

/// Runtime of the Whisper model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// ONNX Runtime where the model has graphs for it, else whisper.cpp.
    #[default]
    Auto,
    /// ONNX Runtime: weights in 8 bits, several times as fast.
    Onnx,
    /// whisper.cpp: weights in 16 bits.
    #[serde(rename = "whisper.cpp")]
    WhisperCpp,
}

/// Priority of threads on a busy machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Equal to any other program.
    #[default]
    Normal,
    /// Below other programs, which go first.
    Low,
}

/// Use of speculative decoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SpeculativeDecoding {
    /// Speculative decoding where it has been measured to save time.
    #[default]
    Auto,
    /// No speculative decoding.
    Off,
}

/// The voice that speaks the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawTts {
    /// Catalogue name of the voice, or the path of one: a folder that "sotto models import piper"
    /// has made.
    #[schemars(extend("format" = "model-or-path"))]
    pub voice: String,
    /// Further voices, each for the language that its voice.json names: names or paths, as above.
    /// All are loaded at start.
    #[schemars(schema_with = "voices")]
    pub voices: Vec<String>,
    /// Reply to a question in a language that none of the voices speaks.
    #[schemars(length(min = 1, max = 500))]
    pub no_voice_reply: String,
    /// Threads for the voice; "auto" fits them to the machine.
    #[serde(with = "or_auto")]
    #[schemars(schema_with = "auto_or_between::<1, 64>")]
    pub threads: Option<u32>,
    /// Speed of the voice: 1 is its own pace, 2 twice as fast.
    #[schemars(range(min = 0.5, max = 2))]
    pub speed: f64,
}

/// Value that leaves a setting to Sotto.
pub const AUTO: &str = "auto";

/// Value that does without a model.
pub const OFF: &str = "off";

fn auto() -> String {
    AUTO.to_owned()
}

impl Default for RawModels {
    fn default() -> Self {
        RawModels { profile: ModelProfile::Starter, dir: auto() }
    }
}

impl Default for RawMemory {
    fn default() -> Self {
        RawMemory { budget: "1600MiB".to_owned() }
    }
}

/// Name of the device that the system has chosen.
pub const DEFAULT_DEVICE: &str = "default";

impl Default for RawAudio {
    fn default() -> Self {
        let device = DEFAULT_DEVICE.to_owned();
        RawAudio {
            microphone: device.clone(),
            speaker: device,
            echo: EchoMode::default(),
            noise: Noise::default(),
            gain: Gain::default(),
        }
    }
}

impl Default for RawHear {
    fn default() -> Self {
        RawHear {
            voice_activity: auto(),
            end_of_turn: auto(),
            wake_word: OFF.to_owned(),
            wake_threshold: 0.5,
            speech_threshold: 0.5,
            silence_threshold: 0.35,
            min_speech_ms: 200,
            // Of 72 recorded utterances 27 hold a pause of 200 ms, 20 one of 300 ms, 5 one of 500
            // ms.
            min_silence_ms: 320,
            speech_pad_ms: 200,
            max_turn_ms: 30_000,
        }
    }
}

impl Default for RawTurn {
    fn default() -> Self {
        // `turn::EndOfTurn` explains the silences. Earcons are off: without a canceller Sotto would
        // pick up its own sounds.
        RawTurn {
            likely_silence_ms: 510,
            possible_silence_ms: 800,
            unlikely_silence_ms: 850,
            incomplete_silence_ms: 1250,
            wake_window_ms: 8000,
            follow_up_ms: 8000,
            barge_in: BargeInMode::On,
            earcons: Earcons::Off,
        }
    }
}

impl Default for RawAsr {
    fn default() -> Self {
        // Both thresholds are those that Whisper was published with.
        RawAsr {
            model: auto(),
            backend: Backend::Auto,
            language: "en".to_owned(),
            threads: None,
            min_logprob: -1.0,
            max_no_speech: 0.3,
            unclear_reply: "Sorry, I did not understand that. Could you say it again?".to_owned(),
        }
    }
}

impl Default for RawLlm {
    fn default() -> Self {
        RawLlm {
            model: auto(),
            system_prompt: SPOKEN_ANSWERS.to_owned(),
            threads: None,
            priority: Priority::Normal,
            context: None,
            kv_cache: KvType::F16,
            speculative_decoding: SpeculativeDecoding::Auto,
            // Seven prompts of 200 tokens of Qwen3.5-0.8B, 24 to 46 MiB each.
            prompt_cache: "256MiB".to_owned(),
            max_tokens: 200,
            temperature: 0.3,
            top_k: 40,
            top_p: 0.9,
            min_p: 0.0,
            repetition_penalty: 1.1,
            presence_penalty: 0.0,
            seed: None,
        }
    }
}

impl Default for RawTts {
    fn default() -> Self {
        RawTts {
            voice: auto(),
            voices: Vec::new(),
            no_voice_reply: "Sorry, I can only speak English.".to_owned(),
            threads: None,
            speed: 1.0,
        }
    }
}

/// System prompt for answers that are heard and not read: a list, a table or a line of code cannot
/// be spoken. The two examples keep a small model from promising what it cannot do; with the list
/// alone it still says that the timer is set.
const SPOKEN_ANSWERS: &str = "You are Sotto, a friendly voice assistant. Your answer is spoken aloud. \
    Answer in one to three short, plain sentences. Never write lists, headings, code, symbols or links. \
    If you do not know something, say so. You can talk, explain and tell stories. \
    You cannot do things: no timers, no alarms, no reminders, no clock, no internet, no devices. \
    To \"Set a timer\" or \"Turn on the light\" say \"I cannot do that yet, I can only talk.\"";

fn auto_or_between<const MIN: u32, const MAX: u32>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [{ "const": AUTO }, { "type": "integer", "minimum": MIN, "maximum": MAX }] })
}

fn language(_: &mut SchemaGenerator) -> Schema {
    let codes: Vec<&str> = WHISPER_LANGUAGES.split_ascii_whitespace().collect();
    json_schema!({ "anyOf": [{ "const": AUTO }, { "type": "string", "format": "language", "enum": codes }] })
}

/// Largest number of voices.
const MOST_VOICES: usize = 16;

fn voices(_: &mut SchemaGenerator) -> Schema {
    let items = json_schema!({ "type": "string", "format": "model-or-path" });
    json_schema!({ "type": "array", "items": items, "maxItems": MOST_VOICES })
}

/// Two-letter codes of Whisper's multilingual vocabulary, in its order.
const WHISPER_LANGUAGES: &str = "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu \
    ta no th ur hr bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn \
    yo so af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt ln ha ba jw su";

/// A number, or `"auto"` for none.
mod or_auto {
    use super::AUTO;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &Option<u32>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(number) => number.serialize(to),
            None => AUTO.serialize(to),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u32),
            Word(String),
        }
        match Written::deserialize(from)? {
            Written::Number(number) => Ok(Some(number)),
            Written::Word(word) if word == AUTO => Ok(None),
            Written::Word(word) => Err(D::Error::custom(format!("{word:?} is neither a number nor \"auto\""))),
        }
    }
}
