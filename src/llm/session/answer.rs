//! An answer under way and its result.

use std::collections::VecDeque;
use std::time::Instant;

use super::super::LlmError;
use super::super::generator::{Finish, GenerationLimits, Generator, Step};
use super::super::loaded::Llm;
use super::super::sampler::Sampler;
use super::super::state::SequenceState;
use super::super::template::{ChatMessage, Thinking, ToolCall};
use super::super::thinking::Piece;
use super::super::tools::{ParsedPart, ToolParser};
use super::ChatRequest;
use super::seen::Seen;
use super::stats::GenerationStats;
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
    /// Reason for the end; [`Finish::Cancelled`] also if it was stopped before its last piece,
    /// or failed.
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

/// An answer under way.
pub(super) struct OpenAnswer {
    asked: Seen,
    sampler: Sampler,
    generator: Generator,
    parser: Option<ToolParser>,
    waiting: VecDeque<ChatDelta>,
    ended: bool,
    reply: ChatReply,
    started: Instant,
}

impl OpenAnswer {
    /// Creates an answer after the prompt of `asked`, which `state` has computed. It may have
    /// `room` tokens.
    pub fn new(
        llm: &mut Llm,
        state: &SequenceState,
        (asked, room): (Seen, usize),
        request: &ChatRequest,
        stats: GenerationStats,
    ) -> Self {
        let mut sampler = llm.sampler(&request.options.sampling());
        let limits = GenerationLimits { tokens: room, thought: request.options.max_thinking_tokens };
        let generator = Generator::new(llm, state, &mut sampler, asked.thinking, limits);
        let reply = ChatReply {
            text: String::new(),
            thought: String::new(),
            tool_calls: Vec::new(),
            broken_calls: Vec::new(),
            finish: Finish::Cancelled,
            tokens: 0,
            prompt_tokens: asked.prompt().len(),
            dropped_turns: asked.dropped_turns,
            stats,
        };
        let parser = (!request.tools.is_empty()).then(|| ToolParser::new(request.tools));
        let (waiting, started) = (VecDeque::new(), Instant::now());
        OpenAnswer { asked, sampler, generator, parser, waiting, ended: false, reply, started }
    }

    /// The answer so far.
    pub fn reply(&self) -> &ChatReply {
        &self.reply
    }

    /// Returns the next piece; `None` after the last and after an error.
    pub fn next(&mut self, llm: &mut Llm, state: &mut SequenceState) -> Option<Result<ChatDelta, LlmError>> {
        while self.waiting.is_empty() && !self.ended {
            if let Err(error) = self.step(llm, state) {
                self.ended = true;
                return Some(Err(error));
            }
        }
        let delta = self.waiting.pop_front()?;
        self.reply.add(&delta);
        Some(Ok(delta))
    }

    /// Computes one more token.
    pub fn step(&mut self, llm: &mut Llm, state: &mut SequenceState) -> Result<(), LlmError> {
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

    /// Ends the answer here. Returns what is known for the next request, and the reply.
    pub fn close(mut self, llm: &mut Llm, state: &mut SequenceState) -> (Seen, ChatReply) {
        if !self.waiting.is_empty() {
            self.reply.finish = Finish::Cancelled;
        }
        self.reply.tokens = self.generator.tokens().len();
        self.generator.settle(llm, state);
        self.reply.stats.guesses = self.generator.guesses();
        self.reply.stats.steps = self.generator.steps();
        self.reply.stats.decode = Ms::from(self.started.elapsed());
        if let Some(tokens) = self.tokens_to_come(llm) {
            self.asked.add_answer(llm, self.reply.message(), &tokens);
        }
        (self.asked, self.reply)
    }

    /// Returns the answer in the tokens that the next prompt has it in: unchanged if it is
    /// complete, else as far as it was returned. `None` if the format renders it differently.
    fn tokens_to_come(&self, llm: &Llm) -> Option<Vec<u32>> {
        let whole = self.reply.finish != Finish::Cancelled;
        // For an answer with thinking, prompts leave out the thought and the markers around it.
        let comes_again = self.asked.thinking == Thinking::Off && self.reply.broken_calls.is_empty();
        if !comes_again || !(whole || self.reply.tool_calls.is_empty()) {
            return None;
        }
        match whole {
            true => Some(self.generator.tokens().to_vec()),
            false => llm.tokens_heard(self.generator.tokens(), &self.reply.text),
        }
    }
}

#[cfg(test)]
impl OpenAnswer {
    /// Number of pieces that wait to be taken.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
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
