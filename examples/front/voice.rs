//! What voice activity makes of a sound.

use anyhow::{Context, Result};
use sotto::detect::{FRAME, SileroVad, VadState};
use sotto::memory::Budget;
use sotto::onnx::Onnx;
use sotto::types::Bytes;

use crate::Ears;

/// Probability from which a frame is speech, as the settings have it.
const ONSET: f32 = 0.5;

pub struct Voice {
    _onnx: Onnx,
    silero: SileroVad,
}

impl Voice {
    pub fn load(ears: &Ears) -> Result<Option<Self>> {
        let Some(model) = &ears.silero else { return Ok(None) };
        let onnx = Onnx::open(ears.onnx.as_deref().context("--onnx names ONNX Runtime's library")?)?;
        let permit = Budget::new(Bytes::mib(256)).reserve("silero", SileroVad::planned_bytes())?;
        let silero = SileroVad::load(&onnx, model, permit)?;
        Ok(Some(Voice { _onnx: onnx, silero }))
    }

    /// Which frames are speech.
    pub fn frames(&mut self, sound: &[f32]) -> Result<Vec<bool>> {
        let mut state = VadState::default();
        let step = |frame: &[f32]| Ok(self.silero.step(&mut state, frame.try_into()?)? >= ONSET);
        sound.chunks_exact(FRAME).map(step).collect()
    }

    /// The share of frames that are speech, in percent.
    pub fn share(&mut self, sound: &[f32]) -> Result<f64> {
        let frames = self.frames(sound)?;
        Ok(100.0 * frames.iter().filter(|speech| **speech).count() as f64 / frames.len().max(1) as f64)
    }
}
