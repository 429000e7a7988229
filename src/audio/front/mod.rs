//! The front end of the microphone: what the speaker played is taken out of what the microphone heard, then noise, and
//! the level is evened out.
//!
//! Architecture invariant: no device, no clock, no thread. Sound goes through in blocks of [`BLOCK`] samples, and the
//! block of the speaker that goes with a block of the microphone is the caller's to bring.

mod echo;
mod pcm;

pub use echo::{Aec3, EchoCanceller, LONGEST_DELAY};

/// Samples of one block: 10 ms of one channel at [`crate::types::SampleRate::HEARING`].
pub const BLOCK: usize = 160;

/// 10 ms of sound, samples in -1.0..=1.0.
pub type Block = [f32; BLOCK];
