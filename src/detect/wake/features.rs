//! Input of openWakeWord's classifiers: a mel spectrogram, and an embedding of its last 0.8 s every
//! 80 ms.
//!
//! Both graphs are those of Google's speech embedding (Lin et al., "Training keyword spotters with
//! limited and synthesized speech data", 2020). The tests check their figures and their order
//! against the Python package.

use std::path::{Path, PathBuf};

use ort::session::Session;
use ort::value::TensorRef;

use super::super::DetectError;
use super::{EMBEDDING, STEP, one};
use crate::memory::Permit;
use crate::onnx::Onnx;
use crate::types::Bytes;

/// Samples before a step that the spectrogram's windows cover: three hops of 10 ms.
const CONTEXT: usize = 480;
/// Bands of the spectrogram, its frames per step, and the frames that an embedding covers.
const BANDS: usize = 32;
const FRAMES: usize = 8;
const SEEN: usize = 76;
/// Full scale of the spectrogram's input: that of 16-bit samples.
const FULL_SCALE: f32 = 32_768.0;
/// Scale from the spectrogram's decibels to the embedding's input: x / 10 + 2.
const SCALE: f32 = 0.1;
const SHIFT: f32 = 2.0;

/// Files of the catalogue entry.
const MELSPECTROGRAM: &str = "melspectrogram.onnx";
const EMBEDDINGS: &str = "embedding_model.onnx";

/// Both models, without the state of a sound.
pub struct WakeFeatures {
    melspectrogram: Session,
    embeddings: Session,
    /// Folder of both models.
    folder: PathBuf,
    /// State after a long silence.
    silence: WakeFeatureState,
    _permit: Permit,
}

/// State of one sound between two of its steps.
#[derive(Clone)]
pub struct WakeFeatureState {
    /// Samples of the context, then of the step.
    window: [f32; CONTEXT + STEP],
    /// Last frames of the spectrogram, oldest first.
    spectrogram: [f32; SEEN * BANDS],
}

impl WakeFeatures {
    /// Bytes that the loaded models hold. Measured: resident memory grows by 4 MiB from before the
    /// load to after 1000 steps, when the voice activity detector was loaded before it (ONNX
    /// Runtime initialises itself with its first session).
    pub fn planned_bytes() -> Bytes {
        Bytes::mib(6)
    }

    /// Loads both models from `folder` and runs them on silence, which shows whether they are such
    /// models at all.
    pub fn load(onnx: &Onnx, folder: &Path, permit: Permit) -> Result<Self, DetectError> {
        let session = |name: &str| onnx.session(&folder.join(name), 1);
        let mut state = WakeFeatureState { window: [0.0; CONTEXT + STEP], spectrogram: [0.0; SEEN * BANDS] };
        let mut features = WakeFeatures {
            melspectrogram: session(MELSPECTROGRAM)?,
            embeddings: session(EMBEDDINGS)?,
            folder: folder.to_owned(),
            silence: state.clone(),
            _permit: permit,
        };
        for _ in 0..SEEN.div_ceil(FRAMES) {
            features.step(&mut state, &[0.0; STEP])?;
        }
        features.silence = state;
        Ok(features)
    }

    /// Returns the state before a sound: that after a long silence.
    pub fn silence(&self) -> WakeFeatureState {
        self.silence.clone()
    }

    /// Takes the next 80 ms of the 16 kHz sound of `state`, and returns the embedding of its last
    /// 0.8 s.
    pub fn step(
        &mut self,
        state: &mut WakeFeatureState,
        samples: &[f32; STEP],
    ) -> Result<[f32; EMBEDDING], DetectError> {
        state.take(samples);
        let failed = |name: &str, why| DetectError::run(&self.folder.join(name), why);
        let frames = spectrogram(&mut self.melspectrogram, &state.window).map_err(|e| failed(MELSPECTROGRAM, e))?;
        state.see(&frames);
        embed(&mut self.embeddings, &state.spectrogram).map_err(|e| failed(EMBEDDINGS, e))
    }
}

impl WakeFeatureState {
    fn take(&mut self, samples: &[f32; STEP]) {
        self.window.copy_within(STEP.., 0);
        // An invalid sample would stay in the spectrogram for a second.
        let sane = |sample: f32| if sample.is_nan() { 0.0 } else { sample.clamp(-1.0, 1.0) };
        let scaled = samples.iter().map(|sample| sane(*sample) * FULL_SCALE);
        self.window[CONTEXT..].iter_mut().zip(scaled).for_each(|(to, sample)| *to = sample);
    }

    fn see(&mut self, frames: &[f32; FRAMES * BANDS]) {
        self.spectrogram.copy_within(FRAMES * BANDS.., 0);
        let newest = &mut self.spectrogram[(SEEN - FRAMES) * BANDS..];
        newest.iter_mut().zip(frames).for_each(|(to, decibels)| *to = decibels * SCALE + SHIFT);
    }
}

fn spectrogram(session: &mut Session, window: &[f32]) -> Result<[f32; FRAMES * BANDS], String> {
    one(session, TensorRef::from_array_view(([1, window.len()], window)), "a spectrogram of eight frames")
}

fn embed(session: &mut Session, spectrogram: &[f32]) -> Result<[f32; EMBEDDING], String> {
    one(session, TensorRef::from_array_view(([1, SEEN, BANDS, 1], spectrogram)), "an embedding of 96 numbers")
}
