//! An answer on its way, and what came of it.

use std::collections::VecDeque;
use std::time::Instant;

use super::super::LlmError;
use super::super::conversation::Stats;
use super::super::presets::SamplingOptions;
use super::super::sampler::Sampler;
use super::super::template::{Message, Thinking, ToolCall};
use super::super::thinking::Piece;
use super::super::tools::{Part, ToolParser};
use super::super::writer::{Finish, Limits, Step, Writer};
use super::Loaded;
use super::seen::Seen;
use crate::types::Ms;

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    Text(String),
    /// What the model thinks before it answers.
    Thought(String),
    Call(ToolCall),
    /// A call of a tool that cannot be understood, and why.
    BrokenCall(String),
}

impl Delta {
    /// What is to be shown to a person: empty for thoughts and calls.
    pub fn text(&self) -> &str {
        if let Delta::Text(text) = self { text } else { "" }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub text: String,
    pub thought: String,
    pub tool_calls: Vec<ToolCall>,
    pub broken_calls: Vec<String>,
    /// [`Finish::Cancelled`] too where the stream was dropped before its last piece, or failed.
    pub finish: Finish,
    /// Tokens of the answer, thoughts included.
    pub tokens: usize,
    pub prompt_tokens: usize,
    /// Turns, the oldest, that no longer fit the context and are not in the prompt.
    pub dropped_turns: usize,
    pub stats: Stats,
}

impl Reply {
    /// The answer as a message, for the next call.
    pub fn message(&self) -> Message {
        let reasoning = (!self.thought.is_empty()).then(|| self.thought.clone());
        Message { reasoning, tool_calls: self.tool_calls.clone(), ..Message::assistant(self.text.clone()) }
    }

    fn add(&mut self, delta: &Delta) {
        match delta {
            Delta::Text(text) => self.text.push_str(text),
            Delta::Thought(text) => self.thought.push_str(text),
            Delta::Call(call) => self.tool_calls.push(call.clone()),
            Delta::BrokenCall(why) => self.broken_calls.push(why.clone()),
        }
    }
}

/// An answer on its way. An iterator over its pieces; dropping it stops the model.
pub struct Stream<'c> {
    pub(super) loaded: &'c mut Loaded,
    /// Where the chat keeps what it knows at the next call.
    seen: &'c mut Option<Seen>,
    asked: Option<Seen>,
    sampler: Sampler,
    writer: Writer,
    parser: Option<ToolParser>,
    pub(super) waiting: VecDeque<Delta>,
    ended: bool,
    reply: Reply,
    started: Instant,
}

impl<'c> Stream<'c> {
    /// Behind the prompt of `asked`, which is computed. The answer may have `room` tokens.
    pub(super) fn new(
        loaded: &'c mut Loaded,
        seen: &'c mut Option<Seen>,
        (asked, room): (Seen, usize),
        tools: Option<ToolParser>,
        options: &SamplingOptions,
        stats: Stats,
    ) -> Self {
        let mut sampler = loaded.llm.sampler(&options.sampling());
        let limits = Limits { tokens: room, thought: options.max_thinking_tokens };
        let Loaded { llm, state, ahead } = &mut *loaded;
        let writer = Writer::new(llm, (&*state, ahead), &mut sampler, asked.thinking, limits);
        let reply = Reply {
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
        Stream {
            loaded,
            seen,
            asked: Some(asked),
            sampler,
            writer,
            parser: tools,
            waiting: VecDeque::new(),
            ended: false,
            reply,
            started: Instant::now(),
        }
    }

    /// What came out so far.
    pub fn reply(&self) -> &Reply {
        &self.reply
    }

    /// Ends the stream here.
    pub fn into_reply(mut self) -> Reply {
        self.close();
        self.reply.clone()
    }

    pub(super) fn step(&mut self) -> Result<(), LlmError> {
        let Loaded { llm, state, ahead } = &mut *self.loaded;
        match self.writer.step(llm, state, ahead, &mut self.sampler)? {
            Step::Nothing => {}
            Step::Piece(Piece::Thought(thought)) => self.waiting.push_back(Delta::Thought(thought)),
            Step::Piece(Piece::Answer(text)) => match &mut self.parser {
                Some(parser) => self.waiting.extend(parser.push(&text).into_iter().map(Delta::from)),
                None => self.waiting.push_back(Delta::Text(text)),
            },
            Step::End(finish) => {
                let rest = self.parser.as_mut().map(ToolParser::finish).unwrap_or_default();
                self.waiting.extend(rest.into_iter().map(Delta::from));
                self.ended = true;
                self.reply.finish = finish;
            }
        }
        Ok(())
    }

    /// Figures of the answer, and what the chat will know of it at the next call; once.
    fn close(&mut self) {
        let Some(mut asked) = self.asked.take() else { return };
        if !self.waiting.is_empty() {
            self.reply.finish = Finish::Cancelled;
        }
        self.reply.tokens = self.writer.tokens().len();
        let Loaded { llm, state, ahead } = &mut *self.loaded;
        ahead.settle(llm, state);
        self.reply.stats.guesses = ahead.guesses();
        self.reply.stats.steps = self.writer.steps();
        self.reply.stats.decode = Ms::from(self.started.elapsed());
        asked.answer = self.answer(asked.thinking);
        *self.seen = Some(asked);
    }

    /// The answer in the tokens that the next prompt has it in: as it came where it came whole, else as far as it was
    /// heard. `None` where the format has it otherwise.
    fn answer(&self, thinking: Thinking) -> Option<(Message, Vec<u32>)> {
        let (llm, whole) = (&self.loaded.llm, self.reply.finish != Finish::Cancelled);
        // Of an answer that was to be thought about first, prompts leave out the thought and what frames it.
        let comes_again = thinking == Thinking::Off && self.reply.broken_calls.is_empty();
        if !comes_again || !(whole || self.reply.tool_calls.is_empty()) {
            return None;
        }
        let tokens = match whole {
            true => self.writer.tokens().to_vec(),
            false => llm.tokens_heard(self.writer.tokens(), &self.reply.text)?,
        };
        Some((self.reply.message(), tokens.into_iter().chain(llm.format.closing()).collect()))
    }
}

impl Iterator for Stream<'_> {
    type Item = Result<Delta, LlmError>;

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

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

impl From<Part> for Delta {
    fn from(part: Part) -> Self {
        match part {
            Part::Text(text) => Delta::Text(text),
            Part::Call(call) => Delta::Call(call),
            Part::Broken { why } => Delta::BrokenCall(why),
        }
    }
}
