//! The language model: our own engine for GGUF files, from the bytes on disk to a conversation.
//!
//! ```text
//! GGUF file ─ gguf ─┬─ blueprint   what the model is: sizes, family            never changes
//!                   ├─ weights     where its numbers lie, in the mapped file   never changes
//!                   ├─ tokenizer   text <-> tokens       ┐
//!                   └─ template    roles -> tokens       ├─ conversation: what was said, what is computed already
//!                      state       keys, values, DeltaNet memories, scratch ┘
//! model::forward(blueprint, weights, state, tokens) -> logits -> sampler -> token
//! ```
//! Blueprint, weights and state are three things, so that another family is a new blueprint and new mixers, and a state
//! can go back without touching a weight. This room knows nothing of audio.

mod blueprint;
pub mod checkpoint;
mod conversation;
mod error;
pub mod gguf;
mod loaded;
mod model;
mod presets;
pub mod quantize;
pub mod reference;
mod sampler;
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

pub use blueprint::{Blueprint, Family};
pub use conversation::{Answer, Conversation, Finish, Stats};
pub use error::LlmError;
pub use loaded::Llm;
pub use model::Model;
pub use presets::{OptionError, Preset, SamplingOptions};
pub use sampler::Sampler;
pub use state::{CacheKind, Snapshot, StaleSnapshot, State};
pub use template::{ChatFormat, ChatMl, Marker, Message, Role, Segment, TemplateError, Thinking, Tool, ToolCall};
pub use thinking::{Piece, Splitter};
pub use tokenizer::{Detokenizer, Tokenizer};
pub use tools::{Part, ToolParser};
