//! Implementation of the pipeline's stages by the models.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::stage::{
    ChatTurn, LanguageModel, Result, Synthesizer, Transcriber, TurnDetector, VoiceActivityDetector, WakeWordDetector,
};
use crate::asr::{Cancel, Transcript, Whisper};
use crate::config::LlmPlan;
use crate::detect::{FRAME, SileroVad, SmartTurn, VadState, WAKE_STEP, WakeState, WakeWordModel};
use crate::llm::{CacheNote, ChatMessage, ChatRequest, ChatSession, Llm, LlmError, SamplingOptions};
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

/// Language model that any number of talkers share.
pub struct SharedLanguageModel {
    llm: Llm,
    options: SamplingOptions,
    system: ChatMessage,
    /// Computed text of each session.
    sessions: HashMap<SessionId, ChatSession>,
    /// A session with the system prompt computed, for the first talker.
    warm: Option<ChatSession>,
}

impl SharedLanguageModel {
    /// Takes the options and the system prompt of `plan`, and computes the system prompt.
    pub(super) fn new(mut llm: Llm, plan: &LlmPlan) -> Result<Self> {
        let options = SamplingOptions {
            max_tokens: plan.max_tokens,
            disable_thinking: true,
            ..SamplingOptions::of(&plan.sampling)
        };
        let mut warm = ChatSession::new();
        warm.warm_up(&mut llm, &plan.system_prompt, &[])?;
        let (system, warm) = (ChatMessage::system(&plan.system_prompt), Some(warm));
        Ok(SharedLanguageModel { llm, options, system, sessions: HashMap::new(), warm })
    }

    /// Returns the notes about the prompt cache since the last call.
    pub(super) fn take_cache_notes(&mut self) -> Vec<CacheNote> {
        self.llm.take_cache_notes()
    }

    /// Calls `run` with the session of `turn` and the request for its answer.
    fn with_request<T>(
        &mut self,
        turn: &ChatTurn,
        run: impl FnOnce(&mut ChatSession, &mut Llm, &ChatRequest) -> std::result::Result<T, LlmError>,
    ) -> Result<T> {
        let past = turn
            .history
            .iter()
            .flat_map(|past| [ChatMessage::user(past.question.as_str()), ChatMessage::assistant(past.answer.as_str())]);
        let question = ChatMessage::user(turn.question.as_str());
        let messages: Vec<_> = std::iter::once(self.system.clone()).chain(past).chain([question]).collect();
        let request = ChatRequest { messages: &messages, tools: &[], options: &self.options };
        let begin = || self.warm.take().unwrap_or_default();
        let session = self.sessions.entry(turn.session).or_insert_with(begin);
        Ok(run(session, &mut self.llm, &request)?)
    }
}

impl LanguageModel for SharedLanguageModel {
    fn sentence_end_probability(&mut self, turn: &ChatTurn) -> Result<Option<f32>> {
        self.with_request(turn, |session, llm, request| session.sentence_end_probability(llm, request))
    }

    fn begin(&mut self, turn: &ChatTurn) -> Result<()> {
        self.with_request(turn, |session, llm, request| session.begin(llm, request))
    }

    fn next_piece(&mut self, session: SessionId) -> Result<Option<String>> {
        let Some(session) = self.sessions.get_mut(&session) else { return Ok(None) };
        while let Some(delta) = session.next_delta(&mut self.llm) {
            let delta = delta?;
            // Thoughts and tool calls are not spoken.
            if !delta.text().is_empty() {
                return Ok(Some(delta.text().to_owned()));
            }
        }
        session.finish(&mut self.llm);
        Ok(None)
    }

    fn stop(&mut self, session: SessionId) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.finish(&mut self.llm);
        }
    }

    fn close(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }
}
