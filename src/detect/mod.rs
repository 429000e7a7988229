//! Voice activity detection, turn detection and wake word detection.
//!
//! [`SileroVad`] returns the probability that a frame is speech, [`Segmenter`] decides from it, and
//! [`speech_end`] finds the last sample of speech, from which latency is counted. [`SmartTurn`]
//! returns for a pause the probability that the turn is complete. [`WakeWordModel`] returns the
//! probability that Sotto's name has just been spoken, and [`Spotter`] decides from it.
//! [`Likeness`] tells whether a voice is only an echo of the loudspeaker.
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
pub use silero::{SileroVad, VadState};
pub use smart_turn::SmartTurn;
pub use spans::speech_spans;
pub use wake::{STEP as WAKE_STEP, Spotter, WakeFeatureState, WakeFeatures, WakeState, WakeWordModel};

use std::path::{Path, PathBuf};

use crate::onnx::OnnxError;

/// Samples at 16 kHz in a frame of the voice activity detector: 32 ms.
pub const FRAME: usize = 512;

/// Reason why a detection model could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    #[error("the model {model} failed: {why}; run \"sotto models verify\"")]
    Run { model: PathBuf, why: String },
}

impl DetectError {
    /// Makes the error for a run of `model` that failed.
    fn run(model: &Path, why: String) -> DetectError {
        match OnnxError::of_memory(model, &why) {
            Some(memory) => memory.into(),
            None => DetectError::Run { model: model.to_owned(), why },
        }
    }
}
