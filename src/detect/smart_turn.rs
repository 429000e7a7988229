//! Smart Turn, version 3: a turn detector that judges by the sound whether a turn is complete. It
//! knows no words; a falling voice and a drawn-out last syllable are its cues.

use std::path::{Path, PathBuf};

use ort::session::Session;
use ort::value::TensorRef;

use super::DetectError;
use super::log_mel::{FRAMES, LogMel};
use crate::mel::MELS;
use crate::memory::Permit;
use crate::onnx::Onnx;
use crate::types::Bytes;

/// The loaded model.
pub struct SmartTurn {
    session: Session,
    model: PathBuf,
    log_mel: LogMel,
    _permit: Permit,
}

impl SmartTurn {
    /// Bytes that the loaded model holds. Measured: resident memory grows by 38 MiB from before the
    /// load to after 100 runs, when the voice activity detector was loaded before it (ONNX Runtime
    /// initialises itself with its first session), by 51 MiB otherwise.
    pub fn planned_bytes() -> Bytes {
        Bytes::mib(40)
    }

    /// Loads the model and runs it once: the first run takes longer, and shows whether the file is
    /// such a model at all.
    pub fn load(onnx: &Onnx, model: &Path, permit: Permit) -> Result<Self, DetectError> {
        let session = onnx.session(model, 1)?;
        let mut smart_turn = SmartTurn { session, model: model.to_owned(), log_mel: LogMel::new(), _permit: permit };
        smart_turn.complete(&[])?;
        Ok(smart_turn)
    }

    /// Returns the probability, 0 to 1, that the turn is complete after a person has said `samples`
    /// (16 kHz) and paused. Only the last 8 s count.
    pub fn complete(&mut self, samples: &[f32]) -> Result<f32, DetectError> {
        let features = self.log_mel.of(samples);
        run(&mut self.session, &features).map_err(|why| DetectError::run(&self.model, why))
    }
}

fn run(session: &mut Session, features: &[f32]) -> Result<f32, String> {
    let shown = |error: ort::Error| error.to_string();
    let input = TensorRef::from_array_view(([1, MELS, FRAMES], features)).map_err(shown)?;
    let outputs = session.run(ort::inputs!["input_features" => input]).map_err(shown)?;
    // The output is called logits and holds a probability: the model ends in a sigmoid.
    let output = outputs.get("logits").ok_or("it has no output logits")?;
    match output.try_extract_tensor::<f32>().map_err(shown)?.1 {
        &[probability] if (0.0..=1.0).contains(&probability) => Ok(probability),
        other => Err(format!("it answers {other:?}, which is no single probability")),
    }
}
