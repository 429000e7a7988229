//! The models as the stages that the graph asks for.

use std::ops::ControlFlow;

use super::stage::{Detector, Recogniser, Result, Speaker, Thinker};
use crate::asr::{Cancel, Transcript, Whisper};
use crate::hear::{FRAME, SileroVad};
use crate::llm::Conversation;
use crate::tts::{Sound, Voice};
use crate::types::SampleRate;

impl Detector for SileroVad {
    fn step(&mut self, frame: &[f32; FRAME]) -> Result<f32> {
        Ok(SileroVad::step(self, frame)?)
    }

    fn reset(&mut self) {
        SileroVad::reset(self);
    }
}

impl Recogniser for Whisper {
    fn transcribe(&mut self, samples: &[f32], cancel: &Cancel) -> Result<Transcript> {
        Ok(Whisper::transcribe(self, samples, cancel)?)
    }
}

impl Thinker for Conversation {
    fn weigh(&mut self, question: &str) -> Result<Option<f32>> {
        Ok(Conversation::weigh(self, question)?)
    }

    fn answer(&mut self, question: &str, on_piece: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<usize> {
        Ok(self.ask(question, on_piece)?.tokens)
    }

    fn keep_heard(&mut self, heard: &str) {
        Conversation::keep_heard(self, heard);
    }

    fn forget_last(&mut self) {
        Conversation::forget_last(self);
    }

    fn forget_all(&mut self) {
        self.reset();
    }
}

impl Speaker for Voice {
    fn rate(&self) -> SampleRate {
        Voice::rate(self)
    }

    fn speak(&mut self, sentence: &str, on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>) -> Result<()> {
        Voice::speak(self, sentence, on_sound)?;
        Ok(())
    }
}
