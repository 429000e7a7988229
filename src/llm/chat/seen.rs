//! What a chat was last asked and answered, in tokens, so that none of it is rendered or computed
//! anew.

use super::super::LlmError;
use super::super::loaded::Llm;
use super::super::state::Stamp;
use super::super::template::{ChatMessage, MessageRole, Thinking, Tool};
use super::super::window::Window;

/// What is asked of the model.
#[derive(Clone, Copy)]
pub(super) struct Request<'r> {
    pub messages: &'r [ChatMessage],
    pub tools: &'r [Tool],
    pub thinking: Thinking,
}

/// A request in the tokens of a model, and what came of it.
pub(super) struct Seen {
    /// Of the model whose tokens these are.
    pub stamp: Stamp,
    messages: Vec<ChatMessage>,
    tools: Vec<Tool>,
    pub thinking: Thinking,
    /// Turns, the oldest, that are not in the prompt.
    pub dropped_turns: usize,
    /// The prompt.
    pub prompt: Vec<u32>,
    /// The answer with its tokens and what closes it; `None` where later prompts have it in another
    /// form.
    pub answer: Option<(ChatMessage, Vec<u32>)>,
}

impl Seen {
    /// Brings `request` into tokens, and says how many of the answer there is room for. Where it
    /// does not fit, the oldest turns are left out, whole, never the system prompt; and those that
    /// were left out before stay out.
    pub fn new(llm: &Llm, before: Option<&Seen>, request: Request, window: Window) -> Result<(Seen, usize), LlmError> {
        let Request { messages, tools, thinking } = request;
        let before = before.filter(|seen| seen.tools == tools && messages.starts_with(&seen.messages));
        let mut dropped_turns = before.map_or(0, |seen| seen.dropped_turns);
        let mut rest = messages.to_vec();
        for _ in 0..dropped_turns {
            rest = without_oldest_turn(&rest).unwrap_or(rest);
        }
        let known = before.and_then(|seen| seen.known(llm, request)).transpose()?;
        let mut prompt = known.map_or_else(|| llm.prompt(&rest, tools, thinking), Ok)?;
        if window.is_full(prompt.len()) {
            while window.is_crowded(prompt.len()) {
                let Some(shorter) = without_oldest_turn(&rest) else { break };
                rest = shorter;
                dropped_turns += 1;
                prompt = llm.prompt(&rest, tools, thinking)?;
            }
        }
        let room = window.room(prompt.len())?;
        let (messages, tools) = (messages.to_vec(), tools.to_vec());
        Ok((Seen { stamp: llm.stamp, messages, tools, thinking, dropped_turns, prompt, answer: None }, room))
    }

    /// The tokens of `request`, which begins with what was asked here: the same once more, or the
    /// answer and what was said then. `None` where only rendering all of it is right.
    fn known(&self, llm: &Llm, request: Request) -> Option<Result<Vec<u32>, LlmError>> {
        let Some((answer, new)) = request.messages[self.messages.len()..].split_first() else {
            return (request.thinking == self.thinking).then(|| Ok(self.prompt.clone()));
        };
        let (_, answered) = self.answer.as_ref().filter(|(known, _)| known == answer)?;
        let more = llm.format.more(new, request.thinking)?;
        let more = llm.format.tokens(&llm.tokenizer, &more);
        Some(more.map(|more| [&self.prompt[..], answered, &more].concat()))
    }
}

/// `None` where there is but one turn left.
fn without_oldest_turn(messages: &[ChatMessage]) -> Option<Vec<ChatMessage>> {
    let is_question = |message: &ChatMessage| message.role == MessageRole::User;
    let mut questions = messages.iter().enumerate().filter(|(_, message)| is_question(message)).map(|(at, _)| at);
    let (first, second) = (questions.next()?, questions.next()?);
    Some([&messages[..first], &messages[second..]].concat())
}
