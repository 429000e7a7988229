//! The language model: an inference engine, from the model file to a conversation.
//!
//! ```text
//! GGUF file, or folder ─ source ─┬─ model_config  sizes and family of the model   immutable
//! (gguf, checkpoint)             ├─ weights       mapped or packed matrices       immutable
//!                                ├─ tokenizer     text <-> tokens
//!                                └─ template      roles -> tokens
//! loaded: all of these, with one workspace           shared by all sessions
//! session: messages -> tokens; state: keys, values, recurrent state   one for each talker
//! model::forward(state, tokens) -> logits -> sampler -> generator
//!                                                          -> thoughts, text, calls
//! speculation: speculative decoding, with the same answer
//! ```
//! A [`checkpoint`] of transformers or MLX provides its tensors under the same names as a GGUF
//! file; [`quantize`] makes a smaller one of it. Configuration, weights and state are separate, so
//! that another family needs only a new configuration and new mixers, and a state can roll back
//! without touching a weight. `ends` reads from the logits whether a sentence ends after the
//! question ([`ChatSession::sentence_end_probability`]). Nothing here depends on audio.

pub mod bench;
mod chat;
pub mod checkpoint;
mod ends;
mod error;
mod generator;
pub mod gguf;
mod head;
mod loaded;
mod model;
mod model_config;
mod notes;
mod presets;
mod profile;
mod prompt_cache;
pub mod quantize;
pub mod reference;
mod sampler;
mod session;
mod source;
mod speculation;
mod state;
pub mod template;
pub mod tensors;
#[cfg(test)]
mod testing;
mod thinking;
mod tokenizer;
mod tools;
pub mod verify;
mod weights;
mod window;

pub use chat::{Chat, ChatSettings};
pub use error::LlmError;
pub use generator::Finish;
pub use loaded::Llm;
pub use model::Model;
pub use model_config::{Family, ModelConfig};
pub use notes::{ModelNote, Note};
pub use presets::{OptionError, Preset, SamplingOptions};
pub use prompt_cache::{CacheNote, CachedState, PromptCache, SystemPrompt, prompts_dir};
pub use sampler::Sampler;
pub use session::{ChatDelta, ChatReply, ChatRequest, ChatSession, ChatStream, GenerationStats};
pub use source::ModelSource;
pub use speculation::Guesses;
pub use state::{
    CheckpointRange, KvCacheType, SequenceState, Snapshot, StaleSnapshot, Stamp, StateError, SuspendedState,
};
pub use template::{
    ChatFormat, ChatMessage, ChatMl, Marker, MessageRole, TemplateError, TemplateSegment, Thinking, Tool, ToolCall,
};
pub use thinking::{Piece, Splitter};
pub use tokenizer::{Detokenizer, Tokenizer, TokenizerFault};
pub use tools::{ParsedPart, ToolParser};
