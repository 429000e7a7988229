//! The models as the stages that the graph asks for.

use std::ops::ControlFlow;

use super::stage::{Detector, Judge, Name, Recogniser, Result, Speaker, Thinker};
use crate::asr::{Cancel, Transcript, Whisper};
use crate::hear::{FRAME, SileroVad, SmartTurn, WAKE_STEP, WakeWord};
use crate::llm::Conversation;
use crate::tts::{Sound, Voices};
use crate::types::SampleRate;

impl Detector for SileroVad {
    fn step(&mut self, frame: &[f32; FRAME]) -> Result<f32> {
        Ok(SileroVad::step(self, frame)?)
    }

    fn reset(&mut self) {
        SileroVad::reset(self);
    }
}

impl Judge for SmartTurn {
    fn complete(&mut self, samples: &[f32]) -> Result<f32> {
        Ok(SmartTurn::complete(self, samples)?)
    }
}

impl Name for WakeWord {
    fn step(&mut self, step: &[f32; WAKE_STEP]) -> Result<f32> {
        Ok(WakeWord::step(self, step)?)
    }

    fn reset(&mut self) {
        WakeWord::reset(self);
    }
}

impl Recogniser for Whisper {
    fn transcribe(&mut self, samples: &[f32], cancel: &Cancel) -> Result<Transcript> {
        Ok(Whisper::transcribe(self, samples, cancel)?)
    }

    fn reads_along(&self) -> bool {
        Whisper::reads_along(self)
    }

    fn transcribe_so_far(&mut self, samples: &[f32], cancel: &Cancel) -> Result<Transcript> {
        Ok(Whisper::transcribe_so_far(self, samples, cancel)?)
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

impl Speaker for Voices {
    fn rate(&self) -> SampleRate {
        Voices::rate(self)
    }

    fn languages(&self) -> Vec<String> {
        Voices::languages(self)
    }

    fn speak_in(&mut self, language: &str) {
        Voices::speak_in(self, language);
    }

    fn speak(&mut self, sentence: &str, on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>) -> Result<()> {
        Voices::speak(self, sentence, on_sound)?;
        Ok(())
    }
}
