//! Interface of the two programs that run Whisper.

use super::language::AsrLanguage;
use super::verdict::Decoded;
use super::{AsrError, Cancel};

/// Effort of a transcription.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum DecodeEffort {
    /// One attempt, for a sound that is not complete.
    Draft,
    /// Further attempts as needed.
    Full,
}

/// Backend that runs Whisper.
pub(super) trait AsrBackend: Send {
    /// Transcribes a window of at most 28 s at 16 kHz, with or without timestamps.
    fn read(
        &mut self,
        samples: &[f32],
        effort: DecodeEffort,
        timed: bool,
        cancel: &Cancel,
    ) -> Result<Decoded, AsrError>;

    /// Whether a cancelled run stops at once.
    fn stops_at_once(&self) -> bool;

    /// Language of the transcription, or the last one when it is detected.
    fn language(&self) -> AsrLanguage;

    /// Sets the language of the transcription.
    fn understand_in(&mut self, language: AsrLanguage);
}
