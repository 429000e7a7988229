//! Wake word detector, by openWakeWord's chain: a spectrogram, an embedding of it every 80 ms, and
//! a small classifier of the last embeddings for each word (D. Scripka, openWakeWord, 2023).
//!
//! [`WakeWordModel`] returns the probability that the word has just been spoken, and [`Spotter`]
//! decides from it when it was.

mod features;
mod spotter;

use std::path::{Path, PathBuf};

use ort::session::Session;
use ort::value::TensorRef;

pub use features::WakeFeatures;
pub use spotter::Spotter;

use super::DetectError;
use crate::memory::Permit;
use crate::onnx::Onnx;
use crate::types::Bytes;

/// Samples at 16 kHz from one score to the next: 80 ms.
pub const STEP: usize = 1280;
/// Numbers of an embedding.
const EMBEDDING: usize = 96;
/// Largest number of embeddings that a classifier may take: 5 s of sound. Existing ones take 16.
const MOST_SEEN: usize = 64;

/// Loaded wake word detector with its state.
pub struct WakeWordModel {
    features: WakeFeatures,
    classifier: Session,
    model: PathBuf,
    /// Last embeddings, oldest first, and their values after a long silence.
    seen: Vec<f32>,
    silence: Vec<f32>,
    _permit: Permit,
}

impl WakeWordModel {
    /// Bytes that the loaded classifier holds beside its features. Measured: 1 MiB for "Alexa"; the
    /// catalogue's largest has half as many weights again.
    pub fn planned_bytes() -> Bytes {
        Bytes::mib(3)
    }

    /// Loads the classifier of a word and runs it on silence, which shows whether it is one at all.
    pub fn load(onnx: &Onnx, features: WakeFeatures, model: &Path, permit: Permit) -> Result<Self, DetectError> {
        let classifier = onnx.session(model, 1)?;
        let seen = window(&classifier).map_err(|why| DetectError::run(model, why))?;
        let mut word = WakeWordModel {
            features,
            classifier,
            model: model.to_owned(),
            seen: vec![0.0; seen * EMBEDDING],
            silence: Vec::new(),
            _permit: permit,
        };
        for _ in 0..seen {
            word.step(&[0.0; STEP])?;
        }
        word.silence.clone_from(&word.seen);
        Ok(word)
    }

    /// Returns the score, 0 to 1, that the word has ended in the next 80 ms of a 16 kHz sound or a
    /// little before.
    pub fn step(&mut self, samples: &[f32; STEP]) -> Result<f32, DetectError> {
        let embedding = self.features.step(samples)?;
        self.seen.copy_within(EMBEDDING.., 0);
        let newest = self.seen.len() - EMBEDDING;
        self.seen[newest..].copy_from_slice(embedding);
        score(&mut self.classifier, &self.seen).map_err(|why| DetectError::run(&self.model, why))
    }

    /// Resets the state, before another sound.
    pub fn reset(&mut self) {
        self.features.reset();
        self.seen.clone_from(&self.silence);
    }
}

/// Number of embeddings that the classifier takes.
fn window(classifier: &Session) -> Result<usize, String> {
    let shapes: Vec<_> = classifier.inputs().iter().map(|input| input.dtype().tensor_shape()).collect();
    match shapes[..] {
        [Some(shape)] if let [1, seen, width] = shape[..] => {
            let seen = usize::try_from(seen).ok().filter(|seen| (1..=MOST_SEEN).contains(seen));
            seen.filter(|_| width == EMBEDDING as i64)
        }
        _ => None,
    }
    .ok_or_else(|| {
        let wants: Vec<String> = classifier.inputs().iter().map(|input| input.dtype().to_string()).collect();
        format!(
            "it is no classifier of openWakeWord: it wants {} instead of [1, 1 to {MOST_SEEN}, {EMBEDDING}]",
            wants.join(", ")
        )
    })
}

fn score(classifier: &mut Session, seen: &[f32]) -> Result<f32, String> {
    let input = TensorRef::from_array_view(([1, seen.len() / EMBEDDING, EMBEDDING], seen));
    let [score] = one(classifier, input, "a single score")?;
    (0.0..=1.0).contains(&score).then_some(score).ok_or_else(|| format!("it answers {score}, which is no score"))
}

/// Runs a graph of one input and one output, whatever their names; the output must have `N`
/// numbers.
fn one<const N: usize>(
    session: &mut Session,
    input: ort::Result<TensorRef<'_, f32>>,
    answer: &str,
) -> Result<[f32; N], String> {
    let shown = |error: ort::Error| error.to_string();
    let outputs = session.run(ort::inputs![input.map_err(shown)?]).map_err(shown)?;
    let numbers = outputs[0].try_extract_tensor::<f32>().map_err(shown)?.1;
    numbers.try_into().map_err(|_| format!("it answers {} numbers, which are not {answer}", numbers.len()))
}
