//! Implementation of the pipeline's stages by the models.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::stage::{
    ChatTurn, LanguageModel, PastExchange, Result, Synthesizer, Transcriber, TurnDetector, VoiceActivityDetector,
    WakeWordDetector,
};
use crate::asr::{Cancel, Transcript, Whisper};
use crate::detect::{FRAME, SileroVad, SmartTurn, VadState, WAKE_STEP, WakeState, WakeWordModel};
use crate::llm::Conversation;
use crate::tts::{Sound, Voices};
use crate::types::{SampleRate, SessionId};

impl VoiceActivityDetector for SileroVad {
    fn step(&mut self, state: &mut VadState, frame: &[f32; FRAME]) -> Result<f32> {
        Ok(SileroVad::step(self, state, frame)?)
    }
}

impl TurnDetector for SmartTurn {
    fn complete(&mut self, samples: &[f32]) -> Result<f32> {
        Ok(SmartTurn::complete(self, samples)?)
    }
}

impl WakeWordDetector for WakeWordModel {
    fn step(&mut self, state: &mut WakeState, step: &[f32; WAKE_STEP]) -> Result<f32> {
        Ok(WakeWordModel::step(self, state, step)?)
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

impl Synthesizer for Voices {
    fn rate(&self) -> SampleRate {
        Voices::rate(self)
    }

    fn languages(&self) -> Vec<String> {
        Voices::languages(self)
    }

    fn speak(
        &mut self,
        sentence: &str,
        language: &str,
        on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>,
    ) -> Result<()> {
        Voices::speak(self, sentence, language, on_sound)?;
        Ok(())
    }
}

/// Conversation that answers the questions of one session at a time.
pub(super) struct ConversationModel {
    conversation: Conversation,
    given: Vec<PastExchange>,
    session: SessionId,
    pieces: VecDeque<String>,
}

impl ConversationModel {
    pub(super) fn new(conversation: Conversation) -> Self {
        ConversationModel { conversation, given: Vec::new(), session: SessionId(0), pieces: VecDeque::new() }
    }

    fn align(&mut self, turn: &ChatTurn) {
        if self.session != turn.session || turn.history.is_empty() {
            self.conversation.reset();
            self.given.clear();
            self.session = turn.session;
        }
        while self.given.len() > turn.history.len() {
            self.conversation.forget_last();
            self.given.pop();
        }
        if let (Some(given), Some(past)) = (self.given.last_mut(), turn.history.last())
            && given.answer != past.answer
        {
            self.conversation.keep_heard(&past.answer);
            given.answer.clone_from(&past.answer);
        }
    }
}

impl LanguageModel for ConversationModel {
    fn sentence_end_probability(&mut self, turn: &ChatTurn) -> Result<Option<f32>> {
        self.align(turn);
        Ok(self.conversation.sentence_end_probability(&turn.question)?)
    }

    fn begin(&mut self, turn: &ChatTurn) -> Result<()> {
        self.align(turn);
        self.pieces.clear();
        let pieces = &mut self.pieces;
        let answer = self.conversation.ask(&turn.question, &mut |piece| {
            pieces.push_back(piece.to_owned());
            ControlFlow::Continue(())
        })?;
        self.given.push(PastExchange { question: turn.question.clone(), answer: answer.text });
        Ok(())
    }

    fn next_piece(&mut self, _: SessionId) -> Result<Option<String>> {
        Ok(self.pieces.pop_front())
    }
}
