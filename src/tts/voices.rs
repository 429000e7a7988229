//! Voices for several languages, of which one speaks at a time.

use std::ops::ControlFlow;

use super::{Sound, Spoken, TtsError, Voice};
use crate::types::SampleRate;

/// Loaded voices of one sample rate: the main one first.
pub struct Voices {
    voices: Vec<Voice>,
    /// Which of them speaks.
    speaking: usize,
}

impl Voices {
    /// What is said is played at the rate of the main voice; one of another rate is refused.
    pub fn new(main: Voice, others: Vec<Voice>) -> Result<Self, TtsError> {
        let rate = main.rate();
        match others.iter().find(|voice| voice.rate() != rate) {
            Some(other) => {
                Err(TtsError::Rates { voice: other.folder().to_owned(), rate: other.rate().0, main: rate.0 })
            }
            None => Ok(Voices { voices: std::iter::once(main).chain(others).collect(), speaking: 0 }),
        }
    }

    pub fn rate(&self) -> SampleRate {
        self.voices[0].rate()
    }

    /// The two-letter codes of the languages that they speak: that of the main voice first.
    pub fn languages(&self) -> Vec<String> {
        self.voices.iter().map(|voice| voice.language().to_owned()).collect()
    }

    /// Lets the first voice for `language` speak from now on; the main one, if there is none.
    pub fn speak_in(&mut self, language: &str) {
        self.speaking = self.voices.iter().position(|voice| voice.language() == language).unwrap_or(0);
    }

    /// As [`Voice::speak`], by the voice whose turn it is.
    pub fn speak(
        &mut self,
        text: &str,
        on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>,
    ) -> Result<Spoken, TtsError> {
        self.voices[self.speaking].speak(text, on_sound)
    }
}
