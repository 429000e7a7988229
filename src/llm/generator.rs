//! Generation of an answer, token by token.

use std::collections::VecDeque;

use super::LlmError;
use super::loaded::Llm;
use super::sampler::Sampler;
use super::speculation::{DraftedAnswer, Guesses};
use super::state::SequenceState;
use super::template::{ChatFormat, Thinking};
use super::thinking::{Piece, Splitter};
use super::tokenizer::Detokenizer;

/// Reason why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended its answer.
    Stop,
    /// `max_tokens` or the end of the context was reached.
    Length,
    /// The caller stopped it.
    Cancelled,
}

impl Finish {
    /// Name in lower case, for `--json`.
    pub fn name(self) -> &'static str {
        match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::Cancelled => "cancelled",
        }
    }
}

/// Result of one more token.
pub(super) enum Step {
    Piece(Piece),
    /// No text yet.
    Nothing,
    End(Finish),
}

/// Length limits of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct GenerationLimits {
    /// Largest number of tokens of the whole answer.
    pub tokens: usize,
    /// Largest number of tokens of its thoughts.
    pub thought: usize,
}

pub(super) struct Generator {
    tokens: Vec<u32>,
    ahead: DraftedAnswer,
    limits: GenerationLimits,
    text: Text,
    /// Tokens that come next regardless of the model's choice.
    forced: VecDeque<u32>,
    /// Tokens computed so far.
    steps: usize,
    finish: Option<Finish>,
}

/// Conversion of tokens to text; separates thoughts where the format has them.
enum Text {
    Plain(Detokenizer),
    Split(Splitter),
}

impl Generator {
    /// Creates a generator for an answer after a prompt that `state` has computed.
    pub fn new(
        llm: &mut Llm,
        state: &SequenceState,
        sampler: &mut Sampler,
        thinking: Thinking,
        limits: GenerationLimits,
    ) -> Self {
        sampler.start_answer();
        let ahead = llm.speculator.begin(state);
        let text = match &llm.format {
            ChatFormat::ChatMl(_) => Text::Plain(Detokenizer::default()),
            ChatFormat::Qwen35(format) => {
                sampler.ban((thinking == Thinking::Off).then(|| format.think()));
                Text::Split(Splitter::new(format, thinking, limits.thought))
            }
        };
        Generator { tokens: Vec::new(), ahead, limits, text, forced: VecDeque::new(), steps: 0, finish: None }
    }

    /// Tokens of the answer so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Statistics of the draft tokens so far.
    pub fn guesses(&self) -> Guesses {
        self.ahead.guesses()
    }

    /// Ends the computation of the answer: `state` keeps its tokens and no drafts. The logits are
    /// dropped, because the sampler has written into them.
    pub fn settle(&mut self, llm: &mut Llm, state: &mut SequenceState) {
        self.ahead.settle(&mut llm.model, state);
        llm.model.spend_logits(state);
    }

    /// Computes the next token. After the end, returns the end again.
    pub fn step(&mut self, llm: &mut Llm, state: &mut SequenceState, sampler: &mut Sampler) -> Result<Step, LlmError> {
        if let Some(finish) = self.finish {
            return Ok(Step::End(finish));
        }
        if self.tokens.len() >= self.limits.tokens {
            return Ok(self.end(Finish::Length));
        }
        if let Some(&last) = self.tokens.last() {
            let Llm { model, tokenizer, speculator, .. } = &mut *llm;
            let room = self.limits.tokens - self.tokens.len();
            let ends = |token| tokenizer.is_control(token);
            speculator.advance(&mut self.ahead, (model, state), (last, room), &ends, sampler);
            self.steps += 1;
        }
        let token = match self.forced(llm) {
            Some(token) => {
                sampler.remember(token);
                token
            }
            None => choose(state.len(), self.ahead.logits(&mut llm.model, state), sampler)?,
        };
        if llm.tokenizer.is_control(token) {
            return Ok(self.stopped(llm, sampler));
        }
        Ok(self.take(llm, token))
    }

    /// Returns the next token that closes a thought, if the thought is over its limit or is already
    /// being closed.
    fn forced(&mut self, llm: &Llm) -> Option<u32> {
        if let (Text::Split(splitter), ChatFormat::Qwen35(format)) = (&self.text, &llm.format)
            && splitter.must_close()
            && self.forced.is_empty()
        {
            self.forced.extend(splitter.closing(format));
        }
        self.forced.pop_front()
    }

    /// Handles the model's end of the answer. If it ends within a thought, the thought is closed
    /// and generation continues.
    fn stopped(&mut self, llm: &Llm, sampler: &mut Sampler) -> Step {
        let (Text::Split(splitter), ChatFormat::Qwen35(format)) = (&self.text, &llm.format) else {
            return self.end(Finish::Stop);
        };
        if !splitter.is_thinking() {
            return self.end(Finish::Stop);
        }
        self.forced.extend(splitter.closing(format));
        let Some(token) = self.forced.pop_front() else { return self.end(Finish::Stop) };
        sampler.remember(token);
        self.take(llm, token)
    }

    fn take(&mut self, llm: &Llm, token: u32) -> Step {
        self.tokens.push(token);
        let bytes = llm.tokenizer.bytes(token);
        let piece = match &mut self.text {
            Text::Split(splitter) => splitter.push(token, bytes),
            Text::Plain(detokenizer) => plain(|text| detokenizer.push(bytes, text)),
        };
        piece.map_or(Step::Nothing, Step::Piece)
    }

    /// Ends the answer. Returns held-back text first; the next step then returns the end.
    fn end(&mut self, finish: Finish) -> Step {
        self.finish = Some(finish);
        let rest = match &mut self.text {
            Text::Split(splitter) => splitter.finish(),
            Text::Plain(detokenizer) => plain(|text| detokenizer.finish(text)),
        };
        rest.map_or(Step::End(finish), Step::Piece)
    }
}

fn plain(write: impl FnOnce(&mut String)) -> Option<Piece> {
    let mut text = String::new();
    write(&mut text);
    (!text.is_empty()).then_some(Piece::GeneratedAnswer(text))
}

fn choose(position: usize, logits: Option<&mut [f32]>, sampler: &mut Sampler) -> Result<u32, LlmError> {
    let token = logits.and_then(|logits| sampler.choose(logits));
    token.ok_or(LlmError::NotFinite { position })
}
