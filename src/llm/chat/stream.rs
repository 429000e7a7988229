//! A streamed answer and its result.

use std::collections::VecDeque;
use std::time::Instant;

use super::super::LlmError;
use super::super::conversation::GenerationStats;
use super::super::generator::{Finish, GenerationLimits, Generator, Step};
use super::super::presets::SamplingOptions;
use super::super::sampler::Sampler;
use super::super::template::{ChatMessage, Thinking, ToolCall};
use super::super::thinking::Piece;
use super::super::tools::{ParsedPart, ToolParser};
use super::Loaded;
use super::seen::Seen;
use crate::types::Ms;

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ChatDelta {
    Text(String),
    /// A thought of the model before its answer.
    Thought(String),
    Call(ToolCall),
    /// A tool call that cannot be parsed, and the reason.
    BrokenCall(String),
}

impl ChatDelta {
    /// Text to show to the user: empty for thoughts and calls.
    pub fn text(&self) -> &str {
        if let ChatDelta::Text(text) = self { text } else { "" }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatReply {
    pub text: String,
    pub thought: String,
    pub tool_calls: Vec<ToolCall>,
    pub broken_calls: Vec<String>,
    /// Reason for the end; [`Finish::Cancelled`] also if the stream was dropped before its last
    /// piece, or failed.
    pub finish: Finish,
    /// Tokens of the answer, thoughts included.
    pub tokens: usize,
    pub prompt_tokens: usize,
    /// Number of oldest turns that no longer fit the context and are left out of the prompt.
    pub dropped_turns: usize,
    pub stats: GenerationStats,
}

impl ChatReply {
    /// The answer as a message, for the next call.
    pub fn message(&self) -> ChatMessage {
        let reasoning = (!self.thought.is_empty()).then(|| self.thought.clone());
        ChatMessage { reasoning, tool_calls: self.tool_calls.clone(), ..ChatMessage::assistant(self.text.clone()) }
    }

    fn add(&mut self, delta: &ChatDelta) {
        match delta {
            ChatDelta::Text(text) => self.text.push_str(text),
            ChatDelta::Thought(text) => self.thought.push_str(text),
            ChatDelta::Call(call) => self.tool_calls.push(call.clone()),
            ChatDelta::BrokenCall(why) => self.broken_calls.push(why.clone()),
        }
    }
}

/// A streamed answer: an iterator over its pieces. Dropping it stops the model.
pub struct ChatStream<'c> {
    pub(super) loaded: &'c mut Loaded,
    /// Place where the chat keeps the request and its answer for the next call.
    seen: &'c mut Option<Seen>,
    asked: Option<Seen>,
    sampler: Sampler,
    generator: Generator,
    parser: Option<ToolParser>,
    pub(super) waiting: VecDeque<ChatDelta>,
    ended: bool,
    reply: ChatReply,
    started: Instant,
}

impl<'c> ChatStream<'c> {
    /// Creates a stream after the prompt of `asked`, which is computed. The answer may have `room`
    /// tokens.
    pub(super) fn new(
        loaded: &'c mut Loaded,
        seen: &'c mut Option<Seen>,
        (asked, room): (Seen, usize),
        tools: Option<ToolParser>,
        options: &SamplingOptions,
        stats: GenerationStats,
    ) -> Self {
        let mut sampler = loaded.llm.sampler(&options.sampling());
        let limits = GenerationLimits { tokens: room, thought: options.max_thinking_tokens };
        let Loaded { llm, state } = &mut *loaded;
        let generator = Generator::new(llm, state, &mut sampler, asked.thinking, limits);
        let reply = ChatReply {
            text: String::new(),
            thought: String::new(),
            tool_calls: Vec::new(),
            broken_calls: Vec::new(),
            finish: Finish::Cancelled,
            tokens: 0,
            prompt_tokens: asked.prompt.len(),
            dropped_turns: asked.dropped_turns,
            stats,
        };
        ChatStream {
            loaded,
            seen,
            asked: Some(asked),
            sampler,
            generator,
            parser: tools,
            waiting: VecDeque::new(),
            ended: false,
            reply,
            started: Instant::now(),
        }
    }

    /// The answer so far.
    pub fn reply(&self) -> &ChatReply {
        &self.reply
    }

    /// Ends the stream here.
    pub fn into_reply(mut self) -> ChatReply {
        self.close();
        self.reply.clone()
    }

    pub(super) fn step(&mut self) -> Result<(), LlmError> {
        let Loaded { llm, state } = &mut *self.loaded;
        match self.generator.step(llm, state, &mut self.sampler)? {
            Step::Nothing => {}
            Step::Piece(Piece::Thought(thought)) => self.waiting.push_back(ChatDelta::Thought(thought)),
            Step::Piece(Piece::GeneratedAnswer(text)) => match &mut self.parser {
                Some(parser) => self.waiting.extend(parser.push(&text).into_iter().map(ChatDelta::from)),
                None => self.waiting.push_back(ChatDelta::Text(text)),
            },
            Step::End(finish) => {
                let rest = self.parser.as_mut().map(ToolParser::finish).unwrap_or_default();
                self.waiting.extend(rest.into_iter().map(ChatDelta::from));
                self.ended = true;
                self.reply.finish = finish;
            }
        }
        Ok(())
    }

    /// Sets the statistics of the answer and keeps it for the next call; once.
    fn close(&mut self) {
        let Some(mut asked) = self.asked.take() else { return };
        if !self.waiting.is_empty() {
            self.reply.finish = Finish::Cancelled;
        }
        self.reply.tokens = self.generator.tokens().len();
        let Loaded { llm, state } = &mut *self.loaded;
        self.generator.settle(llm, state);
        self.reply.stats.guesses = self.generator.guesses();
        self.reply.stats.steps = self.generator.steps();
        self.reply.stats.decode = Ms::from(self.started.elapsed());
        asked.answer = self.answer(asked.thinking);
        *self.seen = Some(asked);
    }

    /// Returns the answer in the tokens that the next prompt has it in: unchanged if it is
    /// complete, else as far as it was returned. `None` if the format renders it differently.
    fn answer(&self, thinking: Thinking) -> Option<(ChatMessage, Vec<u32>)> {
        let (llm, whole) = (&self.loaded.llm, self.reply.finish != Finish::Cancelled);
        // For an answer with thinking, prompts leave out the thought and the markers around it.
        let comes_again = thinking == Thinking::Off && self.reply.broken_calls.is_empty();
        if !comes_again || !(whole || self.reply.tool_calls.is_empty()) {
            return None;
        }
        let tokens = match whole {
            true => self.generator.tokens().to_vec(),
            false => llm.tokens_heard(self.generator.tokens(), &self.reply.text)?,
        };
        Some((self.reply.message(), tokens.into_iter().chain(llm.format.closing()).collect()))
    }
}

impl Iterator for ChatStream<'_> {
    type Item = Result<ChatDelta, LlmError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.waiting.is_empty() && !self.ended {
            if let Err(error) = self.step() {
                self.ended = true;
                return Some(Err(error));
            }
        }
        let delta = self.waiting.pop_front()?;
        self.reply.add(&delta);
        Some(Ok(delta))
    }
}

impl Drop for ChatStream<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

impl From<ParsedPart> for ChatDelta {
    fn from(part: ParsedPart) -> Self {
        match part {
            ParsedPart::Text(text) => ChatDelta::Text(text),
            ParsedPart::Call(call) => ChatDelta::Call(call),
            ParsedPart::Broken { why } => ChatDelta::BrokenCall(why),
        }
    }
}
