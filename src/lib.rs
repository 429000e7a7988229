//! Sotto: a voice assistant that never leaves the machine. This is the tour of the house, in the
//! order sound flows.
//!
//! A question comes in through [`audio`] (a microphone or a file), is cut out of the silence by
//! [`detect`], becomes text in [`asr`], is answered token by token in [`llm`], and the answer is
//! spoken sentence by sentence in [`tts`]. What `detect` and `asr` see of a sound is made in `mel`,
//! and how loud it is told by `level`. [`turn`] decides who has the floor; whether a sentence is
//! over it learns from `detect`, by the voice, from the transcriber, by what it writes, and from
//! the language model, by the words (`llm::ends`). What ends a sentence in writing says `marks`.
//!
//! [`pipeline`] starts these stages and joins them with bounded queues. [`memory`] says who may
//! load a model, [`store`] where its files are, [`config`] what the user wants of all of them,
//! `sniff` what a file is that is no model, `disk` whether there is room for one, [`priority`]
//! which threads give way, and [`observe`] what happened and when.
//!
//! Two commands look at the whole from outside: `sotto bench turn` says recorded questions to it
//! and times the answers (`pipeline::turn_benchmark`), and `sotto doctor` measures the machine and
//! the way from speaker to microphone ([`audio::probe`]).
//!
//! Imports point one way: `types` <- `config`, `turn` <- the rooms <- `pipeline` <- `cli` <-
//! `main`. A tidy test holds this.

pub mod asr;
pub mod audio;
pub mod cli;
pub mod config;
pub mod detect;
mod disk;
mod level;
pub mod llm;
mod marks;
mod mel;
pub mod memory;
pub mod observe;
pub mod onnx;
pub mod pipeline;
pub mod priority;
mod sniff;
pub mod store;
pub mod tts;
pub mod turn;
pub mod types;
