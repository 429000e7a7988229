//! Sessions: what one talker adds to a model that many share.
//!
//! A session holds no weights and no workspace, only what the model remembers of its text. The
//! caller owns the messages and sends all of them with each request, so a session whose state was
//! lost computes it again and nothing else changes. The part in common with the request before is
//! not computed again:
//! - An answer that is sent back as it came ([`ChatReply::message`]) is recognised by its tokens.
//! - Of an answer that is sent back shorter, because only its beginning was heard, the tokens of
//!   that beginning stay.
//! - Fewer messages than before roll the state back to them.
//!
//! Messages that change earlier text are rendered anew, which is correct and takes longer. So are
//! answers given with thinking on: the model's format leaves old thoughts out.
//!
//! Any number of answers may be under way, one for each session, and their pieces may be taken in
//! any order: each answer is the same as if it were alone.

mod answer;
mod seen;
mod stats;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::time::Instant;

use super::LlmError;
use super::loaded::Llm;
use super::presets::SamplingOptions;
use super::prompt_cache::SystemPrompt;
use super::state::{SequenceState, Stamp, SuspendedState};
use super::template::{ChatMessage, MessageRole, Tool};
use super::window::Window;
use crate::memory::{Budget, Permit};
use crate::types::{Bytes, Ms};
use answer::OpenAnswer;
pub use answer::{ChatDelta, ChatReply};
use seen::{Request, Seen};
pub use stats::GenerationStats;

/// A request: all messages so far, the tools that may be called, and how to answer.
#[derive(Clone, Copy)]
pub struct ChatRequest<'r> {
    pub messages: &'r [ChatMessage],
    pub tools: &'r [Tool],
    pub options: &'r SamplingOptions,
}

/// A talker's part of a language model: the state of its text, and the answer under way.
#[derive(Default)]
pub struct ChatSession {
    /// Identity of the model that state and tokens belong to.
    stamp: Option<Stamp>,
    computed: Computed,
    /// The last request with its answer.
    seen: Option<Seen>,
    answer: Option<OpenAnswer>,
}

/// The computed text: live, suspended in its smallest form, or neither.
#[derive(Default)]
struct Computed {
    live: Option<Box<SequenceState>>,
    /// With the permit for its memory.
    suspended: Option<(SuspendedState, Permit)>,
}

/// A request that is ready to be computed.
struct Prepared {
    asked: Seen,
    /// Largest number of tokens of the answer.
    room: usize,
    /// Tokens computed so far.
    computed: usize,
}

impl ChatSession {
    /// Creates a session without any text. It takes memory once something is computed.
    pub fn new() -> Self {
        ChatSession::default()
    }

    /// Returns the answer to `request`, and passes each piece to `on_delta`. `Break` ends the
    /// answer there; it then consists of the pieces passed so far, the last one included.
    pub fn generate(
        &mut self,
        llm: &mut Llm,
        request: &ChatRequest,
        on_delta: &mut dyn FnMut(ChatDelta) -> ControlFlow<()>,
    ) -> Result<ChatReply, LlmError> {
        let mut stream = self.stream(llm, request)?;
        for delta in stream.by_ref() {
            if on_delta(delta?).is_break() {
                break;
            }
        }
        Ok(stream.into_reply())
    }

    /// Returns the answer to `request` as a stream. Nothing is computed between two pieces, or
    /// after the stream is dropped; the answer then consists of the pieces that were returned.
    pub fn stream<'s>(&'s mut self, llm: &'s mut Llm, request: &ChatRequest) -> Result<ChatStream<'s>, LlmError> {
        self.begin(llm, request)?;
        Ok(ChatStream { llm, session: self })
    }

    /// Begins the answer to `request`: computes the prompt. [`ChatSession::next_delta`] returns the
    /// pieces of the answer, [`ChatSession::finish`] ends it. An answer under way ends here.
    pub fn begin(&mut self, llm: &mut Llm, request: &ChatRequest) -> Result<(), LlmError> {
        request.options.check()?;
        let started = Instant::now();
        let Prepared { asked, room, computed } = self.prepare(llm, request)?;
        let state = self.computed.live(llm);
        let prefilled_tokens = computed + llm.compute(state, asked.prompt());
        state.mark_turn();
        let stats =
            GenerationStats { prefilled_tokens, prefill: Ms::from(started.elapsed()), ..GenerationStats::default() };
        self.answer = Some(OpenAnswer::new(llm, state, (asked, room), request, stats));
        Ok(())
    }

    /// Returns the next piece of the answer under way; `None` after the last one, after an error,
    /// and if there is no answer.
    pub fn next_delta(&mut self, llm: &mut Llm) -> Option<Result<ChatDelta, LlmError>> {
        self.answer.as_mut()?.next(llm, self.computed.live(llm))
    }

    /// The answer under way as far as it was returned.
    pub fn reply(&self) -> Option<&ChatReply> {
        self.answer.as_ref().map(OpenAnswer::reply)
    }

    /// Ends the answer under way with the pieces that were returned; `None` if there is none.
    pub fn finish(&mut self, llm: &mut Llm) -> Option<ChatReply> {
        let (seen, reply) = self.answer.take()?.close(llm, self.computed.live(llm));
        self.seen = Some(seen);
        Some(reply)
    }

    /// Computes the system prompt, so that the first request does not wait for it; takes it from
    /// the model's prompt cache where it is stored. Returns the number of tokens computed.
    pub fn warm_up(&mut self, llm: &mut Llm, system: &str, tools: &[Tool]) -> Result<usize, LlmError> {
        self.finish(llm);
        self.belong_to(llm);
        let Some(prompt) = SystemPrompt::new(&llm.format, &llm.tokenizer, system, tools)? else { return Ok(0) };
        Window { context: llm.context(), max_tokens: llm.settings.max_tokens }.room(prompt.tokens().len())?;
        if self.computed.is_empty() {
            return Ok(self.start(llm, &prompt));
        }
        let state = self.computed.live(llm);
        let computed = llm.compute(state, prompt.tokens());
        state.mark_turn();
        Ok(computed)
    }

    /// Computes the prompt of `request` before its last message is final. May be called again with
    /// another; the common beginning is kept. Returns the number of tokens computed.
    pub fn prefill(&mut self, llm: &mut Llm, request: &ChatRequest) -> Result<usize, LlmError> {
        let Prepared { asked, computed, .. } = self.prepare(llm, request)?;
        Ok(computed + llm.compute(self.computed.live(llm), asked.prompt()))
    }

    /// Computes the prompt of `request` as [`ChatSession::prefill`] does, and returns the
    /// probability, 0..=1, that a sentence ends after the last word of the last message: that of an
    /// end mark as the next token. `None` if the last message is not the user's or has no word.
    pub fn sentence_end_probability(&mut self, llm: &mut Llm, request: &ChatRequest) -> Result<Option<f32>, LlmError> {
        let Prepared { asked, .. } = self.prepare(llm, request)?;
        let Some(last) = request.messages.last().filter(|last| last.role == MessageRole::User) else { return Ok(None) };
        let Some(question) = llm.format.more(std::slice::from_ref(last), asked.thinking) else { return Ok(None) };
        let question = llm.format.tokens(&llm.tokenizer, &question)?;
        let word = llm.ends.last_word(&llm.tokenizer, &question);
        let Some(word) = word.filter(|_| asked.prompt().ends_with(&question)) else { return Ok(None) };
        let (state, prompt) = (self.computed.live(llm), asked.prompt());
        let at = prompt.len() - question.len() + word;
        let known = state.tokens().iter().zip(prompt).take_while(|(a, b)| a == b).count();
        let keep = known.min(at);
        llm.rollback(state, keep);
        let (Llm { model, ends, .. }, mut probability) = (llm, 0.0);
        let watch = |logits: &[f32]| probability = ends.probability(logits);
        model.forward_watching(state, &prompt[keep..], at - keep, watch);
        Ok(Some(probability))
    }

    /// Frees all memory but the least that the text can be continued from, and that, too, if
    /// `budget` does not grant it: then the text is computed again. An answer under way ends.
    pub fn suspend(&mut self, llm: &mut Llm, budget: &Budget) {
        self.finish(llm);
        self.park(budget);
    }

    /// Does [`ChatSession::suspend`] without the model. There must be no answer under way.
    pub(super) fn park(&mut self, budget: &Budget) {
        let state = self.computed.live.take().filter(|state| !state.is_empty());
        if let (Some(state), Some(stamp)) = (state, &self.stamp) {
            let parked = state.suspend(stamp);
            let permit = budget.reserve("a suspended session", Bytes(parked.bytes() as u64));
            self.computed.suspended = permit.ok().map(|permit| (parked, permit));
        }
    }

    /// Drops the suspended text, which frees its permit.
    pub fn drop_suspended(&mut self) {
        self.computed.suspended = None;
    }

    /// Bytes held by the computed text; at most [`Llm::session_bytes`].
    pub fn bytes(&self) -> Bytes {
        let Computed { live, suspended } = &self.computed;
        let live = live.as_ref().map_or(0, |state| state.bytes());
        Bytes((live + suspended.as_ref().map_or(0, |(parked, _)| parked.bytes())) as u64)
    }

    /// Drops the text and frees its memory.
    pub fn reset(&mut self) {
        *self = ChatSession::default();
    }

    /// Ends the answer under way, and brings `request` into tokens. A new session starts from its
    /// system prompt, which may be stored.
    fn prepare(&mut self, llm: &mut Llm, request: &ChatRequest) -> Result<Prepared, LlmError> {
        self.finish(llm);
        self.belong_to(llm);
        let ChatRequest { messages, tools, options } = *request;
        let thinking = llm.format.thinking(options.thinking());
        let window = Window { context: llm.context(), max_tokens: options.max_tokens };
        let (asked, room) = Seen::new(llm, self.seen.as_ref(), Request { messages, tools, thinking }, window)?;
        let system = messages.first().filter(|message| message.role == MessageRole::System);
        let mut computed = 0;
        if self.computed.is_empty() && llm.prompt_cache.is_some() && (system.is_some() || !tools.is_empty()) {
            let text = system.map_or("", |message| &message.content);
            if let Some(prompt) = SystemPrompt::new(&llm.format, &llm.tokenizer, text, tools)? {
                computed = self.start(llm, &prompt);
            }
        }
        Ok(Prepared { asked, room, computed })
    }

    /// Computes `prompt` as the beginning of a new state, or takes it from the prompt cache.
    /// Returns the number of tokens computed.
    fn start(&mut self, llm: &mut Llm, prompt: &SystemPrompt) -> usize {
        // Dropped first: there is memory for one.
        self.computed = Computed::default();
        let (state, computed) = llm.start(prompt);
        self.computed.live = Some(Box::new(state));
        computed
    }

    /// Drops what another model has computed, or what has another context or KV cache.
    fn belong_to(&mut self, llm: &Llm) {
        if self.stamp != Some(llm.stamp) {
            *self = ChatSession { stamp: Some(llm.stamp), ..ChatSession::default() };
        }
        let fits = |state: &SequenceState| (state.context(), state.kind()) == (llm.context(), llm.kv_cache());
        if !fits(self.computed.live(llm)) {
            self.computed = Computed::default();
        }
    }
}

impl Computed {
    fn is_empty(&self) -> bool {
        self.suspended.is_none() && self.live.as_ref().is_none_or(|state| state.is_empty())
    }

    /// Returns the state, resumed or empty if it is not there.
    fn live(&mut self, llm: &Llm) -> &mut SequenceState {
        let Computed { live, suspended } = self;
        live.get_or_insert_with(|| {
            let resumed = suspended.take().map(|(parked, _permit)| parked.resume(&llm.stamp, llm.model_config()));
            Box::new(resumed.and_then(Result::ok).unwrap_or_else(|| llm.state()))
        })
    }
}

/// A streamed answer: an iterator over its pieces. Dropping it stops the model.
pub struct ChatStream<'s> {
    llm: &'s mut Llm,
    session: &'s mut ChatSession,
}

impl ChatStream<'_> {
    /// The answer so far.
    pub fn reply(&self) -> &ChatReply {
        self.session.reply().expect("only a stream's end ends its answer")
    }

    /// Ends the stream here.
    pub fn into_reply(self) -> ChatReply {
        self.session.finish(self.llm).expect("only a stream's end ends its answer")
    }
}

impl Iterator for ChatStream<'_> {
    type Item = Result<ChatDelta, LlmError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.session.next_delta(self.llm)
    }
}

impl Drop for ChatStream<'_> {
    fn drop(&mut self) {
        self.session.finish(self.llm);
    }
}
