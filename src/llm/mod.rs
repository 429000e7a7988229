//! The language model: our own engine for GGUF files, from the bytes on disk to a conversation.
//!
//! ```text
//! GGUF file ─ gguf ─┬─ blueprint   what the model is: sizes, family            never changes
//!                   ├─ weights     where its numbers lie, in the mapped file   never changes
//!                   ├─ tokenizer   text <-> tokens       ┐
//!                   └─ template    roles -> tokens       ├─ conversation: what was said, what is computed already
//!                      state       keys, values, scratch ┘
//! model::forward(blueprint, weights, state, tokens) -> logits -> sampler -> token
//! ```
//! A [`checkpoint`] of transformers or MLX offers its tensors under the same names as a GGUF file; [`quantize`] makes a
//! smaller one of it.
//!
//! Blueprint, weights and state are three things, so that another family is a new blueprint and a new `forward`, and
//! a state can be cut back without touching a weight. This room knows nothing of audio.

mod blueprint;
pub mod checkpoint;
mod conversation;
mod error;
pub mod gguf;
mod loaded;
mod model;
pub mod quantize;
mod sampler;
mod state;
mod template;
pub mod tensors;
#[cfg(test)]
mod testing;
mod tokenizer;
mod weights;

pub use blueprint::{Blueprint, Family};
pub use conversation::{Answer, Conversation, Finish, Stats};
pub use error::LlmError;
pub use loaded::Llm;
pub use sampler::Sampler;
pub use state::State;
pub use tokenizer::{Detokenizer, Tokenizer};
