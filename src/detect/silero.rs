//! Silero's voice activity detection model, version 5 and later.

use std::path::{Path, PathBuf};

use ort::session::{Session, SessionOutputs};
use ort::value::TensorRef;

use super::{DetectError, FRAME};
use crate::memory::Permit;
use crate::onnx::Onnx;
use crate::types::{Bytes, SampleRate};

/// Samples before a frame that the model needs again; without them it never detects speech.
const CONTEXT: usize = 64;
/// Size of the recurrent state: two layers of 128.
const STATE: usize = 2 * 128;

/// Voice activity detector, without the state of a sound: any number of sounds share one.
pub struct SileroVad {
    session: Session,
    model: PathBuf,
    _permit: Permit,
}

/// State of one sound between two of its frames; the default is that before its first.
#[derive(Clone)]
pub struct VadState {
    /// Samples of the context, then of the frame.
    window: [f32; CONTEXT + FRAME],
    recurrent: [f32; STATE],
}

impl Default for VadState {
    fn default() -> Self {
        VadState { window: [0.0; CONTEXT + FRAME], recurrent: [0.0; STATE] }
    }
}

impl SileroVad {
    /// Bytes that the loaded model holds. Measured: resident memory grows by 25 MiB from before the
    /// load to after 1000 frames when it is the first session of the process (ONNX Runtime
    /// initialises itself then), by 10 MiB otherwise.
    pub fn planned_bytes() -> Bytes {
        Bytes::mib(26)
    }

    pub fn load(onnx: &Onnx, model: &Path, permit: Permit) -> Result<Self, DetectError> {
        Ok(SileroVad { session: onnx.session(model, 1)?, model: model.to_owned(), _permit: permit })
    }

    /// Returns the probability, 0 to 1, that the next 32 ms of the 16 kHz sound of `state` are
    /// speech.
    pub fn step(&mut self, state: &mut VadState, frame: &[f32; FRAME]) -> Result<f32, DetectError> {
        state.window.copy_within(FRAME.., 0);
        state.window[CONTEXT..].copy_from_slice(frame);
        let result = run(&mut self.session, &state.window, &state.recurrent);
        let (probability, recurrent) = result.map_err(|why| DetectError::run(&self.model, why))?;
        state.recurrent = recurrent;
        Ok(probability)
    }
}

fn run(
    session: &mut Session,
    window: &[f32; CONTEXT + FRAME],
    state: &[f32; STATE],
) -> Result<(f32, [f32; STATE]), String> {
    let rate = [i64::from(SampleRate::HEARING.0)];
    let outputs = infer(session, window, state, &rate).map_err(|error| error.to_string())?;
    let numbers = |name: &str| -> Result<&[f32], String> {
        let value = outputs.get(name).ok_or(format!("it has no output {name}"))?;
        Ok(value.try_extract_tensor::<f32>().map_err(|error| error.to_string())?.1)
    };
    match (numbers("output")?, numbers("stateN")?.try_into()) {
        (&[probability], Ok(state)) if probability.is_finite() => Ok((probability, state)),
        (output, _) => Err(format!("it answers {output:?}, which is no single probability")),
    }
}

fn infer<'s>(
    session: &'s mut Session,
    window: &[f32],
    state: &[f32],
    rate: &[i64; 1],
) -> ort::Result<SessionOutputs<'s>> {
    session.run(ort::inputs![
        "input" => TensorRef::from_array_view(([1, window.len()], window))?,
        "state" => TensorRef::from_array_view(([2, 1, state.len() / 2], state))?,
        "sr" => TensorRef::from_array_view(([0usize; 0], &rate[..]))?,
    ])
}
