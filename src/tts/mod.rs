//! Speech synthesis: an answer's text becomes sound, a sentence at a time, while the answer is
//! still being written.
//!
//! [`Sentences`] splits the text, [`for_ear`] normalises it to words, [`phonemes`] converts it to
//! phonemes, and [`Voice`] synthesizes the sound. [`Voices`] holds several, for several languages.

mod abbreviations;
mod ear;
mod phonemes;
mod sentences;
#[cfg(test)]
mod tests;
mod voice;
mod voices;
mod words;

pub use ear::{for_ear, for_ear_in};
pub use sentences::Sentences;
pub use voice::{Sound, Spoken, Voice};
pub use voices::Voices;
pub use words::{Word, covered, words};

use std::path::PathBuf;

use crate::onnx::OnnxError;

/// Reason why something could not be synthesized.
#[derive(Debug, thiserror::Error)]
pub enum TtsError {
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    #[error("espeak-ng, which turns text into phonemes, is not installed; run \"make setup\", or install it yourself")]
    NoPhonemiser,
    #[error(
        "{language:?} is no language name of espeak-ng; the voice's voice.json is damaged: run \"sotto models verify\""
    )]
    Language { language: String },
    #[error("{program} failed on the language {language:?}: {why}; \"{program} --voices\" lists what it knows")]
    Phonemizer { program: PathBuf, language: String, why: String },
    #[error("a sentence of {bytes} bytes is longer than the {limit} that are spoken at once; cut it")]
    TooLong { bytes: usize, limit: usize },
    #[error("{file} is no voice that can be used: {why}; run \"sotto models verify\"")]
    Voice { file: PathBuf, why: String },
    #[error(
        "no voice speaks the language \"{language}\": {voices}; make one with \"sotto models import piper\" and name it in \
         [tts] voices"
    )]
    NobodySpeaks { language: String, voices: String },
    #[error(
        "the voice {voice} speaks at {rate} Hz and the main voice at {main} Hz; name voices of one rate in [tts] voices"
    )]
    Rates { voice: PathBuf, rate: u32, main: u32 },
    #[error("the voice {file} failed: {why}; run \"sotto models verify\"")]
    Run { file: PathBuf, why: String },
}

impl TtsError {
    /// Makes the error for a run of the graph in `file` that failed.
    fn run(file: PathBuf, why: String) -> TtsError {
        match OnnxError::of_memory(&file, &why) {
            Some(memory) => memory.into(),
            None => TtsError::Run { file, why },
        }
    }
}
