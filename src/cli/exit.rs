//! Which exit code an error means. Scripts depend on these numbers.

use std::process::ExitCode;

use crate::config::ConfigErrors;
use crate::llm::LlmError;
use crate::llm::quantize::QuantizeError;
use crate::llm::verify::VerifyError;
use crate::memory::OverBudget;
use crate::onnx::OnnxError;
use crate::store::{NoSuchModel, StoreError};

/// How a run of the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Fine = 0,
    Failed = 1,
    UsageOrConfiguration = 2,
    ModelMissingOrDamaged = 3,
    OverBudget = 5,
}

impl Exit {
    /// Reads the code off the first error in the chain that has one of its own.
    pub fn of(error: &anyhow::Error) -> Exit {
        error.chain().find_map(of_cause).unwrap_or(Exit::Failed)
    }
}

fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if cause.is::<ConfigErrors>() || cause.is::<super::Usage>() {
        return Some(Exit::UsageOrConfiguration);
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
    if cause.is::<NoSuchModel>() {
        return Some(Exit::UsageOrConfiguration);
    }
    cause.is::<OnnxError>().then_some(Exit::ModelMissingOrDamaged)
}

fn of_model(error: &LlmError) -> Option<Exit> {
    use LlmError::*;
    if let Budget(_) = error {
        return Some(Exit::OverBudget);
    }
    let damaged = matches!(error, Damaged { .. } | DamagedCheckpoint { .. } | DamagedTokenizer { .. });
    let model = damaged || matches!(error, Unreadable { .. } | Unsupported { .. });
    model.then_some(Exit::ModelMissingOrDamaged)
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}
