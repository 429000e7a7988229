//! Speech recognition: sound at 16 kHz becomes text, with a measure of how far to trust it.
//!
//! [`Whisper`] runs in ONNX Runtime or in whisper.cpp. Its result is judged before it is used:
//! Whisper writes fluent sentences for silence and noise, and only a [`Verdict::Certain`] may be
//! treated as what was said.

mod attempt;
mod backend;
mod cancel;
mod contents;
mod context;
mod coverage;
mod cpp;
mod graphs;
mod guard;
mod header;
mod idle;
mod language;
mod timestamps;
mod verdict;
mod vocabulary;
mod whisper;
mod windows;

pub use cancel::Cancel;
pub use language::{OtherLanguage, name as language_name};
pub use verdict::{Doubt, NoSpeech, Verdict};
pub use whisper::Whisper;

use std::io;
use std::path::PathBuf;

use crate::onnx::OnnxError;
use crate::types::Ms;

/// Transcription of a sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    pub text: String,
    /// Two-letter code of the language of the transcription.
    pub language: String,
    /// Confidence, 0 to 1: the geometric mean of the probabilities of its tokens.
    pub confidence: f32,
    /// Probability, 0 to 1, that its last word ends a sentence, by the tokens after it. `None`
    /// without text.
    pub ending: Option<f32>,
    pub segments: Vec<TranscriptSegment>,
    pub verdict: Verdict,
}

/// Segment of a longer sound; times are from its start.
#[derive(Clone, Debug, PartialEq)]
pub struct TranscriptSegment {
    pub start: Ms,
    pub end: Ms,
    pub text: String,
    pub confidence: f32,
    /// Probability by Whisper that nobody speaks.
    pub no_speech: f32,
}

/// Reason why there is no transcript.
#[derive(Debug, thiserror::Error)]
pub enum AsrError {
    #[error("{model} could not be read: {source}; run \"sotto models pull\"")]
    Read { model: PathBuf, source: io::Error },
    #[error("{model} is no Whisper model in whisper.cpp's format: {why}; run \"sotto models verify\"")]
    Format { model: PathBuf, why: String },
    #[error("{model} could not be loaded by whisper.cpp: {why}; run \"sotto models verify\"")]
    Load { model: PathBuf, why: String },
    #[error(
        "{model} knows only English, but [asr] language is \"{language}\"; choose a multilingual model such as whisper-base"
    )]
    EnglishOnly { model: PathBuf, language: String },
    #[error(
        "Whisper knows no language \"{language}\"; set [asr] language to a two-letter code such as \"en\", or to \"auto\""
    )]
    Language { language: String },
    #[error("{graph} does not belong to {model}: {why}; run \"sotto models verify\"")]
    Mismatch { graph: PathBuf, model: PathBuf, why: String },
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    #[error("the recognition was cancelled")]
    Cancelled,
    #[error("speech recognition failed: {why}")]
    Run { why: String },
}
