//! Exit code for each kind of error. Scripts depend on these numbers.

use std::process::ExitCode;

use crate::asr::AsrError;
use crate::audio::device::DeviceError;
use crate::config::ConfigErrors;
use crate::detect::DetectError;
use crate::llm::LlmError;
use crate::llm::quantize::QuantizeError;
use crate::llm::verify::VerifyError;
use crate::memory::OverBudget;
use crate::observe::RecordingError;
use crate::onnx::OnnxError;
use crate::store::{NoSuchModel, StoreError};
use crate::tts::TtsError;

/// Several failures, each of them already reported. The exit code is the one of the first failure.
#[derive(Debug, thiserror::Error)]
#[error("{summary}")]
pub struct Several {
    summary: String,
    exit: Exit,
}

impl Several {
    /// Creates the error from a line that counts the failures and from the first failure.
    pub fn new(summary: String, first: &anyhow::Error) -> Self {
        Several { summary, exit: Exit::of(first) }
    }
}

/// Exit status of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Fine = 0,
    Failed = 1,
    UsageOrConfiguration = 2,
    ModelMissingOrDamaged = 3,
    AudioDevice = 4,
    OverBudget = 5,
}

impl Exit {
    /// Returns the code of the first error in the chain that has one of its own.
    pub fn of(error: &anyhow::Error) -> Exit {
        error.chain().find_map(of_cause).unwrap_or(Exit::Failed)
    }
}

fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if cause.is::<ConfigErrors>() || cause.is::<super::Usage>() {
        return Some(Exit::UsageOrConfiguration);
    }
    if cause.is::<DeviceError>() {
        return Some(Exit::AudioDevice);
    }
    if cause.is::<OverBudget>() {
        return Some(Exit::OverBudget);
    }
    if let Some(store) = cause.downcast_ref::<StoreError>() {
        return match store {
            _ if store.is_model_missing_or_damaged() => Some(Exit::ModelMissingOrDamaged),
            _ if store.is_wrong_name() => Some(Exit::UsageOrConfiguration),
            _ => None,
        };
    }
    if let Some(error) = cause.downcast_ref::<QuantizeError>() {
        return match error {
            _ if error.is_misuse() => Some(Exit::UsageOrConfiguration),
            QuantizeError::Checkpoint(_) | QuantizeError::NotFinite { .. } => Some(Exit::ModelMissingOrDamaged),
            _ => None,
        };
    }
    if let Some(error) = cause.downcast_ref::<VerifyError>() {
        return match error.of_model() {
            Some(error) => of_model(error),
            None if error.is_misuse() => Some(Exit::UsageOrConfiguration),
            None => error.is_damage().then_some(Exit::ModelMissingOrDamaged),
        };
    }
    if let Some(error) = cause.downcast_ref::<LlmError>() {
        return of_model(error);
    }
    if let Some(several) = cause.downcast_ref::<Several>() {
        return Some(several.exit);
    }
    if let Some(error) = cause.downcast_ref::<RecordingError>() {
        return error.is_misuse().then_some(Exit::UsageOrConfiguration);
    }
    if cause.is::<NoSuchModel>() {
        return Some(Exit::UsageOrConfiguration);
    }
    of_sound(cause)
}

/// Returns the code for an error of a detector, the transcriber or the synthesizer. A failure while
/// a good model runs has no code of its own.
fn of_sound(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(AsrError::EnglishOnly { .. } | AsrError::Language { .. }) = cause.downcast_ref() {
        return Some(Exit::UsageOrConfiguration);
    }
    if let Some(TtsError::NobodySpeaks { .. } | TtsError::Rates { .. }) = cause.downcast_ref() {
        return Some(Exit::UsageOrConfiguration);
    }
    use AsrError::{Format, Load, Mismatch, Read};
    // If memory ran out, the graph itself is intact.
    let damaged = of_onnx(cause).is_some_and(|error| !matches!(error, OnnxError::Memory { .. }))
        || matches!(cause.downcast_ref(), Some(Read { .. } | Format { .. } | Load { .. } | Mismatch { .. }))
        || matches!(cause.downcast_ref(), Some(TtsError::Voice { .. } | TtsError::Language { .. }));
    damaged.then_some(Exit::ModelMissingOrDamaged)
}

/// Finds the ONNX Runtime error inside an error of any module that runs it.
fn of_onnx<'e>(cause: &'e (dyn std::error::Error + 'static)) -> Option<&'e OnnxError> {
    let asr =
        || cause.downcast_ref().and_then(|error| if let AsrError::Onnx(onnx) = error { Some(onnx) } else { None });
    let tts =
        || cause.downcast_ref().and_then(|error| if let TtsError::Onnx(onnx) = error { Some(onnx) } else { None });
    let detect =
        || cause.downcast_ref().and_then(|error| if let DetectError::Onnx(onnx) = error { Some(onnx) } else { None });
    cause.downcast_ref().or_else(asr).or_else(tts).or_else(detect)
}

fn of_model(error: &LlmError) -> Option<Exit> {
    use LlmError::*;
    if let Budget(_) = error {
        return Some(Exit::OverBudget);
    }
    let damaged = matches!(error, Damaged { .. } | DamagedCheckpoint { .. } | DamagedTokenizer { .. });
    let other =
        matches!(error, Unreadable { .. } | Unsupported { .. } | OtherFile { .. } | Part { .. } | NoTokenizer { .. });
    (damaged || other).then_some(Exit::ModelMissingOrDamaged)
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_damaged_model_is_told_from_a_wrong_setting_and_from_bad_luck() {
        let (file, why) = (PathBuf::from, || String::from("why"));
        let onnx = || OnnxError::Model { model: file("m"), why: why() };
        let read = || AsrError::Read { model: file("m"), source: io::ErrorKind::InvalidData.into() };
        let english = || AsrError::EnglishOnly { model: file("m"), language: "de".into() };
        let cases: [(anyhow::Error, Exit); 20] = [
            (DeviceError::NoSoundSystem { why: why() }.into(), Exit::AudioDevice),
            (onnx().into(), Exit::ModelMissingOrDamaged),
            (TtsError::Onnx(onnx()).into(), Exit::ModelMissingOrDamaged),
            (TtsError::Onnx(OnnxError::Memory { file: file("m"), why: why() }).into(), Exit::Failed),
            (OnnxError::OtherFile { file: file("m"), what: "a web page" }.into(), Exit::ModelMissingOrDamaged),
            (TtsError::Voice { file: file("v"), why: why() }.into(), Exit::ModelMissingOrDamaged),
            (TtsError::Language { language: why() }.into(), Exit::ModelMissingOrDamaged),
            (TtsError::NobodySpeaks { language: why(), voices: why() }.into(), Exit::UsageOrConfiguration),
            (TtsError::Rates { voice: file("v"), rate: 1, main: 2 }.into(), Exit::UsageOrConfiguration),
            (TtsError::NoPhonemiser.into(), Exit::Failed),
            (TtsError::TooLong { bytes: 2, limit: 1 }.into(), Exit::Failed),
            (DetectError::Onnx(onnx()).into(), Exit::ModelMissingOrDamaged),
            (DetectError::Run { model: file("m"), why: why() }.into(), Exit::Failed),
            (read().into(), Exit::ModelMissingOrDamaged),
            (AsrError::Format { model: file("m"), why: why() }.into(), Exit::ModelMissingOrDamaged),
            (AsrError::Load { model: file("m"), why: why() }.into(), Exit::ModelMissingOrDamaged),
            (english().into(), Exit::UsageOrConfiguration),
            (AsrError::Language { language: why() }.into(), Exit::UsageOrConfiguration),
            (AsrError::Run { why: why() }.into(), Exit::Failed),
            (Several::new(why(), &anyhow::Error::from(read()).context("file")).into(), Exit::ModelMissingOrDamaged),
        ];
        for (error, exit) in cases {
            assert_eq!(Exit::of(&error.context("loading")), exit);
        }
    }
}
