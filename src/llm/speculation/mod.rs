//! Computing ahead of what is certain: the next tokens are guessed, computed in one go with the one before them, and
//! kept as far as they turn out to be what the sampler draws.
//!
//! A step reads every weight for one token; several tokens at once read them once together, and cost little more. What
//! is guessed changes nothing in an answer: each token is computed to the bit as if it were alone
//! ([`Model::forward_steps`](super::model::Model::forward_steps)), and the sampler draws each token from the same logits,
//! with the same random numbers, as without. A guess is right if and only if it is the token that was drawn; so answers
//! are the same token for token, greedy and sampled alike, and their distribution with them. The logits behind a guess
//! that was wrong are thrown away, and the state goes back to before it.

mod lookup;
mod pace;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use sotto_kernels::Best;

use super::blueprint::Blueprint;
use super::loaded::Llm;
use super::sampler::Sampler;
use super::state::State;
use crate::config::{self, Speculation};
use lookup::Lookup;
use pace::{MOST, Pace};

/// Guesses what comes next.
pub(super) trait Drafter: Send {
    /// The text so far is `tokens`.
    fn follow(&mut self, tokens: &[u32]);

    /// The text goes on with `token`.
    fn push(&mut self, token: u32);

    /// Writes to `draft` up to `most` tokens that may come next. Returns how many tokens of the text speak for them;
    /// where none do, `draft` is empty.
    fn propose(&self, most: usize, draft: &mut Vec<u32>) -> usize;
}

/// How many tokens of an answer were computed before they were certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guesses {
    pub computed: usize,
    /// Those of them that came true.
    pub right: usize,
}

/// Brings a state forward token by token, and computes ahead where that pays.
pub(super) struct Speculator {
    /// `None` where nothing is to be guessed.
    ahead: Option<Ahead>,
    guesses: Guesses,
    bytes: u64,
}

struct Ahead {
    drafter: Box<dyn Drafter>,
    pace: Pace,
    /// Time since some moment.
    clock: Box<dyn Fn() -> Duration + Send>,
    /// Positions of the state that are certain.
    certain: usize,
    /// What should follow them. Without `rows` it is only watched whether it does.
    draft: Vec<u32>,
    /// Tokens that spoke for the draft.
    agreeing: usize,
    /// Tokens of the draft that came true.
    right: usize,
    /// Rows of `logits` that are computed: behind the last certain token, and behind each of the draft.
    rows: usize,
    /// `[MOST + 1, vocabulary]`
    logits: Vec<f32>,
}

impl Speculator {
    pub fn new(llm: &Llm) -> Self {
        let ahead = match llm.settings.speculation {
            Speculation::Off => None,
            Speculation::Auto => {
                let began = Instant::now();
                let lookup = Lookup::new(llm.settings.context);
                Some(Ahead::new(llm.blueprint(), Box::new(lookup), Box::new(move || began.elapsed())))
            }
        };
        Speculator { ahead, guesses: Guesses::default(), bytes: Self::planned_bytes(llm.blueprint(), &llm.settings) }
    }

    /// Bytes that it takes.
    pub fn planned_bytes(blueprint: &Blueprint, settings: &config::Llm) -> u64 {
        let logits = ((MOST + 1) * size_of::<f32>()) as u64 * blueprint.vocabulary as u64;
        match settings.speculation {
            Speculation::Off => 0,
            Speculation::Auto => logits + Lookup::planned_bytes(settings.context) as u64,
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// An answer begins behind what `state` has computed.
    pub fn begin(&mut self, state: &State) {
        self.guesses = Guesses::default();
        if let Some(ahead) = &mut self.ahead {
            ahead.begin(state);
        }
    }

    /// Computes `token`, behind which the answer has room for `room` more, or finds it computed. Of the logits there are
    /// as many as `sampler` looks at.
    pub fn advance(&mut self, llm: &Llm, state: &mut State, token: u32, room: usize, sampler: &Sampler) {
        match &mut self.ahead {
            Some(ahead) => ahead.advance(llm, state, (token, room), sampler, &mut self.guesses),
            None => step(llm, state, token, sampler),
        }
    }

    /// The logits behind the last token, as [`State::best_logits`].
    pub fn logits<'a>(&'a mut self, state: &'a mut State) -> Option<&'a mut [f32]> {
        match &mut self.ahead {
            Some(ahead) if ahead.rows > 0 => {
                let vocabulary = ahead.logits.len() / (MOST + 1);
                ahead.logits.chunks_exact_mut(vocabulary).nth(ahead.right)
            }
            _ => state.best_logits(),
        }
    }

    /// Takes back what was computed beyond the last token. Its logits are lost if there was such.
    pub fn settle(&mut self, llm: &Llm, state: &mut State) {
        if let Some(ahead) = &mut self.ahead {
            ahead.settle(llm, state);
        }
    }

    /// Of the present answer.
    pub fn guesses(&self) -> Guesses {
        self.guesses
    }
}

impl Ahead {
    fn new(blueprint: &Blueprint, drafter: Box<dyn Drafter>, clock: Box<dyn Fn() -> Duration + Send>) -> Self {
        Ahead {
            drafter,
            pace: Pace::default(),
            clock,
            certain: 0,
            draft: Vec::with_capacity(MOST),
            agreeing: 0,
            right: 0,
            rows: 0,
            logits: vec![0.0; (MOST + 1) * blueprint.vocabulary],
        }
    }

    fn begin(&mut self, state: &State) {
        self.drafter.follow(state.tokens());
        self.certain = state.len();
        self.forget_draft();
    }

    fn advance(
        &mut self,
        llm: &Llm,
        state: &mut State,
        (token, room): (u32, usize),
        sampler: &Sampler,
        guesses: &mut Guesses,
    ) {
        self.drafter.push(token);
        if self.came_true(token) {
            guesses.right += 1;
            self.certain += 1;
            return;
        }
        self.settle(llm, state);
        self.guess(llm, room.saturating_sub(1).min(ahead_room(state)));
        let began = (self.clock)();
        self.compute(llm, state, token, sampler);
        self.certain += 1;
        let taken = (self.clock)().saturating_sub(began);
        let more = self.rows.saturating_sub(1);
        self.pace.took(more, taken.as_secs_f64());
        guesses.computed += more;
    }

    /// Whether `token` was guessed and is computed.
    fn came_true(&mut self, token: u32) -> bool {
        let Some(&guess) = self.draft.get(self.right) else { return false };
        self.pace.learn(self.agreeing, guess == token);
        let computed = guess == token && self.right + 1 < self.rows;
        self.right += usize::from(computed);
        computed
    }

    /// Drafts up to `most` tokens, as many as pay; if none do, one to be watched. Nothing follows the end of an answer.
    fn guess(&mut self, llm: &Llm, most: usize) {
        self.agreeing = self.drafter.propose(MOST, &mut self.draft);
        let end = self.draft.iter().position(|&token| llm.tokenizer.is_control(token));
        self.draft.truncate(end.unwrap_or(MOST));
        let length = self.pace.length(self.agreeing, most.min(self.draft.len()));
        self.draft.truncate(length.max(1));
        self.rows = if length > 0 { 1 + length } else { 0 };
    }

    fn compute(&mut self, llm: &Llm, state: &mut State, token: u32, sampler: &Sampler) {
        if self.rows == 0 {
            return step(llm, state, token, sampler);
        }
        let mut tokens = [token; MOST + 1];
        tokens[1..self.rows].copy_from_slice(&self.draft);
        let vocabulary = self.logits.len() / (MOST + 1);
        llm.model.forward_steps(state, &tokens[..self.rows], &mut self.logits[..self.rows * vocabulary]);
    }

    fn settle(&mut self, llm: &Llm, state: &mut State) {
        llm.rollback(state, self.certain);
        self.forget_draft();
    }

    fn forget_draft(&mut self) {
        self.draft.clear();
        (self.right, self.rows) = (0, 0);
    }
}

/// Computes the logits behind one more token, as many of them as the choice looks at.
fn step(llm: &Llm, state: &mut State, token: u32, sampler: &Sampler) {
    match sampler.looks_at() {
        Some(count) => {
            let counts = |token| sampler.leaves(token);
            llm.forward_best(state, &[token], Best { count, counts: &counts });
        }
        None => llm.forward(state, &[token]),
    }
}

/// Tokens that can be computed behind the next one, and taken back without computing anything again.
fn ahead_room(state: &State) -> usize {
    state.reach_ahead().min(state.context() - state.len()).saturating_sub(1)
}
