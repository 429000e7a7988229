//! Implementation of the pipeline's stages by the models.

use std::ops::ControlFlow;

use super::stage::{
    LanguageModel, Result, Synthesizer, Transcriber, TurnDetector, VoiceActivityDetector, WakeWordDetector,
};
use crate::asr::{Cancel, Transcript, Whisper};
use crate::config::LlmPlan;
use crate::detect::{FRAME, SileroVad, SmartTurn, WAKE_STEP, WakeWordModel};
use crate::llm::{CacheNote, ChatMessage, ChatRequest, Llm, LlmError, MessageRole, SamplingOptions, Session};
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

/// A language model that answers the questions of one talker.
pub struct SessionModel {
    llm: Llm,
    session: Session,
    options: SamplingOptions,
    /// The system prompt, and all questions and answers since.
    messages: Vec<ChatMessage>,
}

impl SessionModel {
    /// Creates it with the options and the system prompt of `plan`, and computes the system prompt.
    pub fn new(mut llm: Llm, plan: &LlmPlan) -> Result<Self> {
        let options = SamplingOptions {
            max_tokens: plan.max_tokens,
            disable_thinking: true,
            ..SamplingOptions::of(&plan.sampling)
        };
        let mut session = Session::new();
        session.warm_up(&mut llm, &plan.system_prompt, &[])?;
        Ok(SessionModel { llm, session, options, messages: vec![ChatMessage::system(&plan.system_prompt)] })
    }

    /// Returns the notes about the prompt cache since the last call.
    pub fn take_cache_notes(&mut self) -> Vec<CacheNote> {
        self.llm.take_cache_notes()
    }

    /// Calls `run` with the request for an answer to `question`.
    fn with_request<T>(
        &mut self,
        question: &str,
        run: impl FnOnce(&mut Session, &mut Llm, &ChatRequest) -> std::result::Result<T, LlmError>,
    ) -> Result<T> {
        let messages = [&self.messages[..], &[ChatMessage::user(question)]].concat();
        let request = ChatRequest { messages: &messages, tools: &[], options: &self.options };
        Ok(run(&mut self.session, &mut self.llm, &request)?)
    }
}

impl LanguageModel for SessionModel {
    fn sentence_end_probability(&mut self, question: &str) -> Result<Option<f32>> {
        self.with_request(question, |session, llm, request| session.sentence_end_probability(llm, request))
    }

    fn answer(&mut self, question: &str, on_piece: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<usize> {
        let reply = self.with_request(question, |session, llm, request| {
            session.generate(llm, request, &mut |delta| on_piece(delta.text()))
        })?;
        self.messages.extend([ChatMessage::user(question), reply.message()]);
        Ok(reply.tokens)
    }

    fn keep_heard(&mut self, heard: &str) {
        if let Some(answer) = self.messages.last_mut().filter(|last| last.role == MessageRole::Assistant) {
            *answer = ChatMessage::assistant(heard);
        }
    }

    fn forget_last(&mut self) {
        self.messages.truncate(1.max(self.messages.len().saturating_sub(2)));
    }

    fn forget_all(&mut self) {
        self.messages.truncate(1);
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
