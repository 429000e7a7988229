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

pub use features::{WakeFeatureState, WakeFeatures};
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

/// Loaded wake word detector, without the state of a sound: any number of sounds share one.
pub struct WakeWordModel {
    features: WakeFeatures,
    classifier: Session,
    model: PathBuf,
    /// Embeddings after a long silence.
    silence: Vec<f32>,
    _permit: Permit,
}

/// State of one sound between two of its steps; the default is that before its first, which the
/// model fills in.
#[derive(Clone, Default)]
pub struct WakeState(Option<Box<Listened>>);

#[derive(Clone)]
struct Listened {
    features: WakeFeatureState,
    /// Last embeddings, oldest first.
    embeddings: Vec<f32>,
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
        let silence = vec![0.0; seen * EMBEDDING];
        let mut word = WakeWordModel { features, classifier, model: model.to_owned(), silence, _permit: permit };
        let mut state = WakeState::default();
        for _ in 0..seen {
            word.step(&mut state, &[0.0; STEP])?;
        }
        word.silence = state.0.map(|listened| listened.embeddings).unwrap_or_default();
        Ok(word)
    }

    /// Returns the score, 0 to 1, that the word has ended in the next 80 ms of the 16 kHz sound of
    /// `state` or a little before.
    pub fn step(&mut self, state: &mut WakeState, samples: &[f32; STEP]) -> Result<f32, DetectError> {
        let begin = || Box::new(Listened { features: self.features.silence(), embeddings: self.silence.clone() });
        let Listened { features, embeddings } = &mut **state.0.get_or_insert_with(begin);
        let embedding = self.features.step(features, samples)?;
        embeddings.copy_within(EMBEDDING.., 0);
        let newest = embeddings.len() - EMBEDDING;
        embeddings[newest..].copy_from_slice(&embedding);
        score(&mut self.classifier, embeddings).map_err(|why| DetectError::run(&self.model, why))
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
