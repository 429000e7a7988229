//! Sotto: a voice assistant that never leaves the machine. The modules, in the order in which sound
//! flows:
//!
//! A question comes in through [`audio`] (a microphone or a file), is separated from the silence by
//! [`detect`], becomes text in [`asr`], is answered token by token in [`llm`], and the answer is
//! spoken sentence by sentence in [`tts`]. `mel` computes the features for `detect` and `asr`, and
//! `level` the loudness of a sound. [`turn`] manages turn taking. Whether a sentence is over is
//! judged by `detect` from the sound, by the transcriber from its text, and by the language model
//! from the words (`llm::ends`). `marks` lists the marks that end a sentence in writing.
//!
//! [`engine`] loads these stages once and runs sessions over them. [`memory`] decides
//! whether a model may be loaded, [`store`] finds its files, and [`config`] holds the user's
//! settings for all of them. `sniff` identifies a file that is not a model, `disk` checks for free
//! space, [`priority`] lowers the priority of threads, and [`observe`] records events and their
//! times.
//!
//! Two commands test the whole: `sotto bench turn` feeds it recorded questions and times the
//! answers (`engine::turn_benchmark`), and `sotto doctor` measures the machine and the path from
//! loudspeaker to microphone ([`audio::probe`]).
//!
//! Imports point one way: `types` <- `config`, `turn` <- the stages and their helpers <- `observe`
//! <- `engine` <- `cli` <- `main`. A tidy test enforces this.

pub mod asr;
pub mod audio;
pub mod cli;
pub mod config;
pub mod detect;
mod disk;
pub mod engine;
mod level;
pub mod llm;
mod marks;
mod mel;
pub mod memory;
pub mod observe;
pub mod onnx;
pub mod priority;
mod sniff;
pub mod store;
pub mod tts;
pub mod turn;
pub mod types;
