//! The last request of a chat and its answer, as tokens, so that they are not rendered or computed
//! again.

use super::super::LlmError;
use super::super::loaded::Llm;
use super::super::state::Stamp;
use super::super::template::{ChatMessage, MessageRole, Thinking, Tool};
use super::super::window::Window;

/// A request to the model.
#[derive(Clone, Copy)]
pub(super) struct Request<'r> {
    pub messages: &'r [ChatMessage],
    pub tools: &'r [Tool],
    pub thinking: Thinking,
}

/// A request in the tokens of a model, with its answer.
pub(super) struct Seen {
    /// Identity of the model that the tokens belong to.
    pub stamp: Stamp,
    messages: Vec<ChatMessage>,
    tools: Vec<Tool>,
    pub thinking: Thinking,
    /// Number of oldest turns left out of the prompt.
    pub dropped_turns: usize,
    /// The prompt.
    pub prompt: Vec<u32>,
    /// The answer as a message, and its tokens with those that close it; `None` if later prompts
    /// contain it in another form.
    pub answer: Option<(ChatMessage, Vec<u32>)>,
}

impl Seen {
    /// Tokenizes `request`, and returns how many tokens the answer may have. If the request does
    /// not fit, the oldest turns are left out, each as a whole, never the system prompt; turns left
    /// out before stay out.
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

    /// Returns the tokens of `request` if it begins with this one: the same request again, or the
    /// answer and further messages. `None` if the whole must be rendered.
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

/// Removes the oldest turn; `None` if only one is left.
fn without_oldest_turn(messages: &[ChatMessage]) -> Option<Vec<ChatMessage>> {
    let is_question = |message: &ChatMessage| message.role == MessageRole::User;
    let mut questions = messages.iter().enumerate().filter(|(_, message)| is_question(message)).map(|(at, _)| at);
    let (first, second) = (questions.next()?, questions.next()?);
    Some([&messages[..first], &messages[second..]].concat())
}
