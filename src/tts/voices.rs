//! Voices for several languages.

use std::ops::ControlFlow;

use super::{Sound, Spoken, TtsError, Voice};
use crate::types::SampleRate;

/// Loaded voices of one sample rate: the main one first.
pub struct Voices {
    voices: Vec<Voice>,
}

impl Voices {
    /// Joins the voices. All sound is played at the rate of the main voice; a voice of another rate
    /// is refused.
    pub fn new(main: Voice, others: Vec<Voice>) -> Result<Self, TtsError> {
        let rate = main.rate();
        match others.iter().find(|voice| voice.rate() != rate) {
            Some(other) => {
                Err(TtsError::Rates { voice: other.folder().to_owned(), rate: other.rate().0, main: rate.0 })
            }
            None => Ok(Voices { voices: std::iter::once(main).chain(others).collect() }),
        }
    }

    pub fn rate(&self) -> SampleRate {
        self.voices[0].rate()
    }

    /// Two-letter codes of the languages that they speak: that of the main voice first.
    pub fn languages(&self) -> Vec<String> {
        self.voices.iter().map(|voice| voice.language().to_owned()).collect()
    }

    /// Speaks like [`Voice::speak`], by the first voice for `language`; by the main one, if there
    /// is none.
    pub fn speak(
        &mut self,
        text: &str,
        language: &str,
        on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>,
    ) -> Result<Spoken, TtsError> {
        let speaking = self.voices.iter().position(|voice| voice.language() == language).unwrap_or(0);
        self.voices[speaking].speak(text, on_sound)
    }
}
