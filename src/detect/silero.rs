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

/// Voice activity detector with its recurrent state.
pub struct SileroVad {
    session: Session,
    model: PathBuf,
    /// Samples of the context, then of the frame.
    window: [f32; CONTEXT + FRAME],
    state: [f32; STATE],
    _permit: Permit,
}

impl SileroVad {
    /// Bytes that the loaded model holds. Measured: resident memory grows by 25 MiB from before the
    /// load to after 1000 frames when it is the first session of the process (ONNX Runtime
    /// initialises itself then), by 10 MiB otherwise.
    pub fn planned_bytes() -> Bytes {
        Bytes::mib(26)
    }

    pub fn load(onnx: &Onnx, model: &Path, permit: Permit) -> Result<Self, DetectError> {
        let session = onnx.session(model, 1)?;
        let window = [0.0; CONTEXT + FRAME];
        Ok(SileroVad { session, model: model.to_owned(), window, state: [0.0; STATE], _permit: permit })
    }

    /// Returns the probability, 0 to 1, that the next 32 ms of a 16 kHz sound are speech.
    pub fn step(&mut self, frame: &[f32; FRAME]) -> Result<f32, DetectError> {
        self.window.copy_within(FRAME.., 0);
        self.window[CONTEXT..].copy_from_slice(frame);
        let result = run(&mut self.session, &self.window, &self.state);
        let (probability, state) = result.map_err(|why| DetectError::run(&self.model, why))?;
        self.state = state;
        Ok(probability)
    }

    /// Resets the state, before another sound.
    pub fn reset(&mut self) {
        self.window.fill(0.0);
        self.state.fill(0.0);
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
