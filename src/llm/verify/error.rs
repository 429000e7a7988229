//! Errors of a verification. A model that fails its checks is not an error but a result.

use std::path::PathBuf;

use crate::llm::LlmError;
use crate::llm::checkpoint::CheckpointFault;
use crate::llm::reference::ReferenceError;

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Model(#[from] LlmError),

    #[error(transparent)]
    Reference(#[from] ReferenceError),

    #[error("{path}: {fault}; the expected tensors are damaged: write them again")]
    Damaged { path: PathBuf, fault: CheckpointFault },

    #[error("cannot read {path}: {why}; name a file or a folder that is there and may be read")]
    Unreadable { path: PathBuf, why: std::io::Error },

    #[error(
        "no expected tensor {tensor:?} for {weights} weights; looked in {looked}: choose another folder with --against"
    )]
    NoExpected { tensor: String, weights: String, looked: String },

    #[error("the expected tensor {tensor:?} is {found}, but {wanted} belongs to this model; choose another folder")]
    Misfit { tensor: String, found: String, wanted: String },

    #[error("{what} has {found}, but the reference has {wanted}; give the checkpoint it was made of")]
    OtherModel { what: String, found: String, wanted: String },

    #[error(
        "{path} cannot be the reference: its weights are {weights}; give the folder of the checkpoint as it was \
         published, with weights in bf16 or f32"
    )]
    NoReference { path: PathBuf, weights: String },

    #[error(
        "neither {model} nor {reference} has a tokenizer to read the text with; put the published tokenizer.json into \
         the folder of the reference"
    )]
    NoTokenizer { model: PathBuf, reference: PathBuf },

    #[error(
        "the token {token} of the tokenizer is beyond the {vocabulary} of the model; put the tokenizer.json that was \
         published with it into the folder of the reference"
    )]
    Token { token: u32, vocabulary: usize },

    #[error("the text is {tokens} tokens long; at least {least} are needed for a verdict: give a longer one")]
    ShortText { tokens: usize, least: usize },

    #[error("{path}: the text is larger than {limit} bytes; choose a part of it")]
    LongText { path: PathBuf, limit: u64 },
}

impl VerifyError {
    /// Whether the request was invalid, in contrast to a missing or damaged model.
    pub fn is_misuse(&self) -> bool {
        use VerifyError::*;
        match self {
            Unreadable { .. } | NoExpected { .. } | Misfit { .. } | OtherModel { .. } => true,
            NoReference { .. } | NoTokenizer { .. } | ShortText { .. } | LongText { .. } => true,
            Reference(error) => matches!(error, ReferenceError::Quantised { .. }),
            _ => false,
        }
    }

    /// Fault of the model or of the reference's checkpoint, if that was the cause.
    pub fn of_model(&self) -> Option<&LlmError> {
        match self {
            VerifyError::Model(error) | VerifyError::Reference(ReferenceError::Checkpoint(error)) => Some(error),
            _ => None,
        }
    }

    /// Whether files beside the model are damaged.
    pub fn is_damage(&self) -> bool {
        use ReferenceError::*;
        match self {
            VerifyError::Reference(error) => matches!(error, Read { .. } | Config { .. } | Shape { .. }),
            VerifyError::Damaged { .. } | VerifyError::Token { .. } => true,
            _ => false,
        }
    }
}
