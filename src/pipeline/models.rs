//! Implementation of the pipeline's stages by the models.

use std::ops::ControlFlow;

use super::stage::{
    LanguageModel, Result, Synthesizer, Transcriber, TurnDetector, VoiceActivityDetector, WakeWordDetector,
};
use crate::asr::{Cancel, Transcript, Whisper};
use crate::detect::{FRAME, SileroVad, SmartTurn, WAKE_STEP, WakeWordModel};
use crate::llm::Conversation;
use crate::tts::{Sound, Voices};
use crate::types::SampleRate;

impl VoiceActivityDetector for SileroVad {
    fn step(&mut self, frame: &[f32; FRAME]) -> Result<f32> {
        Ok(SileroVad::step(self, frame)?)
    }

    fn reset(&mut self) {
        SileroVad::reset(self);
    }
}

impl TurnDetector for SmartTurn {
    fn complete(&mut self, samples: &[f32]) -> Result<f32> {
        Ok(SmartTurn::complete(self, samples)?)
    }
}

impl WakeWordDetector for WakeWordModel {
    fn step(&mut self, step: &[f32; WAKE_STEP]) -> Result<f32> {
        Ok(WakeWordModel::step(self, step)?)
    }

    fn reset(&mut self) {
        WakeWordModel::reset(self);
    }
}

impl Transcriber for Whisper {
    fn transcribe(&mut self, samples: &[f32], cancel: &Cancel) -> Result<Transcript> {
        Ok(Whisper::transcribe(self, samples, cancel)?)
    }

    fn can_transcribe_partially(&self) -> bool {
        Whisper::can_transcribe_partially(self)
    }

    fn transcribe_partial(&mut self, samples: &[f32], cancel: &Cancel) -> Result<Transcript> {
        Ok(Whisper::transcribe_partial(self, samples, cancel)?)
    }
}

impl LanguageModel for Conversation {
    fn sentence_end_probability(&mut self, question: &str) -> Result<Option<f32>> {
        Ok(Conversation::sentence_end_probability(self, question)?)
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

impl Synthesizer for Voices {
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
