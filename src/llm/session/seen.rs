//! Requests and answers of a session as tokens, so that they are neither rendered nor computed
//! again.

use std::ops::Range;

use super::super::LlmError;
use super::super::loaded::Llm;
use super::super::template::{ChatMessage, MessageRole, Thinking, Tool};
use super::super::window::Window;

/// A request to the model.
#[derive(Clone, Copy)]
pub(super) struct Request<'r> {
    pub messages: &'r [ChatMessage],
    pub tools: &'r [Tool],
    pub thinking: Thinking,
}

/// The last request in the tokens of a model, with its answer once there is one.
pub(super) struct Seen {
    messages: Vec<ChatMessage>,
    tools: Vec<Tool>,
    pub thinking: Thinking,
    /// Number of oldest turns left out of the tokens.
    pub dropped_turns: usize,
    tokens: Vec<u32>,
    /// Answers that are among the tokens as the model gave them.
    answers: Vec<KnownAnswer>,
    /// Number of messages and of tokens of the request, without its answer.
    asked: (usize, usize),
}

/// Place of an answer: the index of its message, and its tokens without those that close it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KnownAnswer {
    message: usize,
    tokens: Range<usize>,
}

/// Messages as tokens, and the answers among them that are as the model gave them.
struct KnownText {
    tokens: Vec<u32>,
    answers: Vec<KnownAnswer>,
}

impl Seen {
    /// Tokenizes `request`, and returns how many tokens the answer may have. If the request does
    /// not fit, the oldest turns are left out, each as a whole, never the system prompt; turns left
    /// out before stay out.
    pub fn new(llm: &Llm, before: Option<&Seen>, request: Request, window: Window) -> Result<(Seen, usize), LlmError> {
        let Request { messages, tools, thinking } = request;
        let before = before.filter(|seen| seen.tools == tools && seen.left_out_of(messages));
        let mut dropped_turns = before.map_or(0, |seen| seen.dropped_turns);
        let mut rest = messages.to_vec();
        for _ in 0..dropped_turns {
            rest = without_oldest_turn(&rest).unwrap_or(rest);
        }
        let known = before.and_then(|seen| seen.known(llm, request)).transpose()?;
        let whole = || llm.prompt(&rest, tools, thinking).map(|tokens| KnownText { tokens, answers: Vec::new() });
        let KnownText { mut tokens, mut answers } = known.map_or_else(whole, Ok)?;
        if window.is_full(tokens.len()) {
            while window.is_crowded(tokens.len()) {
                let Some(shorter) = without_oldest_turn(&rest) else { break };
                rest = shorter;
                dropped_turns += 1;
                answers.clear();
                tokens = llm.prompt(&rest, tools, thinking)?;
            }
        }
        let room = window.room(tokens.len())?;
        let asked = (messages.len(), tokens.len());
        let (messages, tools) = (messages.to_vec(), tools.to_vec());
        Ok((Seen { messages, tools, thinking, dropped_turns, tokens, answers, asked }, room))
    }

    /// Tokens of the request, without its answer.
    pub fn prompt(&self) -> &[u32] {
        &self.tokens[..self.asked.1]
    }

    /// Adds the answer as it will be sent back, and its tokens.
    pub fn add_answer(&mut self, llm: &Llm, answer: ChatMessage, tokens: &[u32]) {
        let start = self.tokens.len();
        self.answers.push(KnownAnswer { message: self.messages.len(), tokens: start..start + tokens.len() });
        self.messages.push(answer);
        self.tokens.extend(tokens.iter().copied().chain(llm.format.closing()));
    }

    /// Whether the turns left out here are also the first of `messages`.
    fn left_out_of(&self, messages: &[ChatMessage]) -> bool {
        let end = questions(&self.messages).nth(self.dropped_turns).unwrap_or(self.messages.len());
        self.dropped_turns == 0 || self.common(messages) >= end
    }

    fn common(&self, messages: &[ChatMessage]) -> usize {
        self.messages.iter().zip(messages).take_while(|(known, message)| known == message).count()
    }

    /// Returns the tokens of `request` if it is this one again, or begins with an answer that is
    /// known. `None` if the whole must be rendered.
    fn known(&self, llm: &Llm, request: Request) -> Option<Result<KnownText, LlmError>> {
        let Request { messages, thinking, .. } = request;
        let (asked, _) = self.asked;
        if messages == &self.messages[..asked] && thinking == self.thinking {
            let answers = self.answers.iter().filter(|answer| answer.message < asked).cloned().collect();
            return Some(Ok(KnownText { tokens: self.prompt().to_vec(), answers }));
        }
        let (begun, mut text) = self.beginning(llm, messages)?;
        let more = llm.format.more(&messages[begun..], thinking)?;
        Some(llm.format.tokens(&llm.tokenizer, &more).map(|more| {
            text.tokens.extend(more);
            text
        }))
    }

    /// Returns the longest beginning of `messages` that ends with a known answer, unchanged or cut
    /// to what was heard of it: the number of messages, and their text.
    fn beginning(&self, llm: &Llm, messages: &[ChatMessage]) -> Option<(usize, KnownText)> {
        let common = self.common(messages);
        self.answers.iter().enumerate().rev().find_map(|(n, answer)| {
            let (place, known) = (answer.message, &self.tokens[answer.tokens.clone()]);
            let said = match place < common {
                true => known.to_vec(),
                false if place == common => self.heard(llm, messages.get(place)?, place, known)?,
                false => return None,
            };
            let start = answer.tokens.start;
            let mut answers = self.answers[..n].to_vec();
            answers.push(KnownAnswer { message: place, tokens: start..start + said.len() });
            let tokens = self.tokens[..start].iter().copied().chain(said).chain(llm.format.closing()).collect();
            Some((place + 1, KnownText { tokens, answers }))
        })
    }

    /// Returns the tokens of `message`, which stands in the place of the answer of tokens `known`.
    fn heard(&self, llm: &Llm, message: &ChatMessage, place: usize, known: &[u32]) -> Option<Vec<u32>> {
        let plain = |message: &ChatMessage| *message == ChatMessage::assistant(message.content.clone());
        let both = plain(message) && plain(&self.messages[place]);
        llm.tokens_heard(known, &message.content).filter(|_| both)
    }
}

/// Returns the indices of the user's messages.
fn questions(messages: &[ChatMessage]) -> impl Iterator<Item = usize> {
    messages.iter().enumerate().filter(|(_, message)| message.role == MessageRole::User).map(|(at, _)| at)
}

/// Removes the oldest turn; `None` if only one is left.
fn without_oldest_turn(messages: &[ChatMessage]) -> Option<Vec<ChatMessage>> {
    let mut questions = questions(messages);
    let (first, second) = (questions.next()?, questions.next()?);
    Some([&messages[..first], &messages[second..]].concat())
}
