//! Voice activity: where in the sound somebody speaks, and when the turn is over.
//!
//! [`SileroVad`] says how likely each frame is speech, [`Segmenter`] decides from that, and
//! [`speech_end`] finds the last sample that was speech, from which latency is counted.
//! [`SmartTurn`] says of a pause how likely it is that nothing more is to come. [`WakeWordModel`]
//! says how likely Sotto has just been called by its name, and [`Spotter`] decides from that.
//! [`Likeness`] says whether a voice is only what the speaker played.
//!
//! Architecture invariant: the segmenter has no I/O and no clock. Its positions are samples at 16
//! kHz from the start of the sound.

mod energy;
mod likeness;
mod log_mel;
mod segment;
mod silero;
mod smart_turn;
mod spans;
mod wake;

pub use energy::{loudest, speech_end};
pub use likeness::{ECHO_REACH, Likeness};
pub use segment::{SegmentedTurn, Segmenter, SpeechEvent};
pub use silero::SileroVad;
pub use smart_turn::SmartTurn;
pub use spans::speech_spans;
pub use wake::{STEP as WAKE_STEP, Spotter, WakeFeatures, WakeWordModel};

use std::path::{Path, PathBuf};

use crate::onnx::OnnxError;

/// Samples at 16 kHz that voice activity judges at a time: 32 ms.
pub const FRAME: usize = 512;

/// Why a model of hearing could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    #[error("the model {model} failed: {why}; run \"sotto models verify\"")]
    Run { model: PathBuf, why: String },
}

impl DetectError {
    /// The error for a run of `model` that failed.
    fn run(model: &Path, why: String) -> DetectError {
        match OnnxError::of_memory(model, &why) {
            Some(memory) => memory.into(),
            None => DetectError::Run { model: model.to_owned(), why },
        }
    }
}
