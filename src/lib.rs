//! Sotto: a voice assistant that never leaves the machine. This is the tour of the house, in the order sound flows.
//!
//! A question comes in through [`audio`] (a microphone or a file), is cut out of the silence by [`hear`], becomes text in [`asr`],
//! is answered token by token in [`llm`], and the answer is spoken sentence by sentence in [`tts`]. [`turn`] decides who
//! has the floor. [`pipeline`] starts these stages and joins them with bounded queues. [`memory`] says who may load a
//! model, [`store`] where its files are, [`config`] what the user wants of all of them, [`priority`] which threads give
//! way, and [`observe`] what happened and when.
//!
//! Imports point one way: `types` <- `config` <- the rooms <- `pipeline` <- `cli` <- `main`. A tidy test holds this.

pub mod asr;
pub mod audio;
pub mod cli;
pub mod config;
pub mod hear;
mod level;
pub mod llm;
mod mel;
pub mod memory;
pub mod observe;
pub mod onnx;
pub mod pipeline;
pub mod priority;
pub mod store;
pub mod tts;
pub mod turn;
pub mod types;
