//! Sound in files and devices: reads files of many kinds, resamples, and writes WAV files; connects
//! to microphones and loudspeakers ([`device`]), cleans the microphone's signal ([`front`]), and
//! measures the acoustic path between the two ([`probe`]).
//!
//! Architecture invariant: nothing here uses text.

pub mod device;
mod earcon;
mod endpoint;
pub mod front;
mod high_pass;
mod load;
mod meter;
mod player;
pub mod probe;
mod reference;
mod resample;
mod riff;
mod speech;
mod write;

pub use earcon::EarconSound;
pub use endpoint::{AudioInput, AudioOutput, ClipInput, ClipOutput, ManualClock, PlayedSamples};
pub use high_pass::HighPass;
pub use load::{Clip, LONGEST, load_at};
pub use meter::LevelMeter;
pub use player::Player;
pub use reference::EchoReference;
pub use resample::{Resampler, resample};
pub use speech::load_speech;
pub use write::{WavTarget, WavWriter};

use std::io;
use std::path::PathBuf;

use crate::types::{Ms, SampleRate};

/// Reason why a sound could not be read, resampled or written. Each names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    #[error("{path} could not be read: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is a directory; name a sound file in it")]
    Directory { path: PathBuf },
    #[error("{path} is empty: it has no bytes at all")]
    Empty { path: PathBuf },
    #[error(
        "{path} is no sound file that is read here but looks like {looks}; convert it first, as in \"ffmpeg -i IN -ar 16000 OUT.wav\""
    )]
    NotSound { path: PathBuf, looks: &'static str },
    #[error("{path} is a broken {kind} file: {why}; write it again from its source")]
    Header { path: PathBuf, kind: &'static str, why: String },
    #[error("{path} holds {what}; convert it first, as in \"ffmpeg -i IN -ar 16000 OUT.wav\"")]
    Unsupported { path: PathBuf, what: String },
    #[error("{path} gives more than the {} MiB that are taken from a pipe; write it to a file first", .limit >> 20)]
    TooMuch { path: PathBuf, limit: u64 },
    #[error("{path} has a whole header but no sound after it")]
    NoSound { path: PathBuf },
    #[error("{path} is longer than the {} s that are accepted; cut it into shorter files", .limit.0 / 1000.0)]
    TooLong { path: PathBuf, limit: Ms },
    #[error("sound cannot go from {from} to {to} samples per second; both must be {} to {}", riff::RATES.start(), riff::RATES.end())]
    Rates { from: u32, to: u32 },
    #[error("{path} could not be written: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} would pass the {limit} samples that a WAV file can hold")]
    TooLarge { path: PathBuf, limit: u64 },
}

impl AudioError {
    pub(crate) fn rates(from: SampleRate, to: SampleRate) -> Self {
        AudioError::Rates { from: from.0, to: to.0 }
    }
}
