//! Computing ahead of what is certain: the next tokens are guessed, computed in one go with the one
//! before them, and kept as far as they turn out to be what the sampler draws.
//!
//! A step reads every weight for one token; several tokens at once read them once together, and
//! cost little more. What is guessed changes nothing in an answer: each token is computed to the
//! bit as if it were alone ([`Model::forward_steps`](super::model::Model::forward_steps)), and the
//! sampler draws each token from the same logits, with the same random numbers, as without. A guess
//! is right if and only if it is the token that was drawn; so answers are the same token for token,
//! greedy and sampled alike, and their distribution with them. The logits behind a guess that was
//! wrong are thrown away, and the state goes back to before it.
//!
//! Guesses come from where the text said the same before ([`lookup`]); where that has none worth
//! computing, from the block that some models bring for it ([`mtp`]), which costs some time itself.

mod lookup;
mod mtp;
mod pace;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use sotto_kernels::Best;

use super::loaded::Llm;
use super::model_config::ModelConfig;
use super::sampler::Sampler;
use super::state::{KvCacheType, SequenceState};
use crate::config::{self, SpeculativeDecoding};
use lookup::Lookup;
use mtp::Mtp;
use pace::{MOST, Pace, Reason};

/// Guesses what comes next.
pub(super) trait Drafter: Send {
    /// The text so far is `tokens`.
    fn follow(&mut self, tokens: &[u32]);

    /// The text goes on with `token`.
    fn push(&mut self, token: u32);

    /// Writes to `draft` up to `most` tokens that may come next. Returns how many tokens of the
    /// text speak for them; where none do, `draft` is empty.
    fn propose(&self, most: usize, draft: &mut Vec<u32>) -> usize;
}

/// How many tokens of an answer were computed before they were certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guesses {
    pub computed: usize,
    /// Those of them that came true.
    pub right: usize,
    /// Those of `computed` that the model's own block drafted; the others were looked up in the
    /// text.
    pub drafted: usize,
    /// Those of `drafted` that came true.
    pub drafted_right: usize,
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
    /// Where the model brings a block that drafts.
    mtp: Option<Mtp>,
    pace: Pace,
    /// Time since some moment.
    clock: Box<dyn Fn() -> Duration + Send>,
    /// Positions of the state that are certain.
    certain: usize,
    /// What should follow them.
    draft: Vec<u32>,
    /// What spoke for the draft.
    reason: Reason,
    /// A token that was looked up and not computed: it is only watched whether it follows.
    watched: Option<(Reason, u32)>,
    /// Tokens of the draft that came true.
    right: usize,
    /// Rows of `logits` that are computed: behind the last certain token, and behind each of the
    /// draft.
    rows: usize,
    /// `[MOST + 1, vocabulary]`
    logits: Vec<f32>,
}

impl Speculator {
    pub fn new(llm: &Llm) -> Self {
        let ahead = match llm.settings.speculative_decoding {
            SpeculativeDecoding::Off => None,
            SpeculativeDecoding::Auto => {
                let began = Instant::now();
                let lookup = Lookup::new(llm.settings.context());
                let (drafts, kind) = (llm.model.drafts(), KvCacheType::from(llm.settings.kv_cache));
                let mtp = drafts.then(|| Mtp::new(llm.model_config(), llm.tokenizer.used(), kind));
                Some(Ahead::new(llm.model_config(), (Box::new(lookup), mtp), Box::new(move || began.elapsed())))
            }
        };
        let bytes = Self::planned_bytes(llm.model_config(), &llm.settings, llm.model.drafts());
        Speculator { ahead, guesses: Guesses::default(), bytes }
    }

    /// Bytes that it takes, with a model that `drafts` or without.
    pub fn planned_bytes(model_config: &ModelConfig, settings: &config::LlmPlan, drafts: bool) -> u64 {
        let logits = ((MOST + 1) * size_of::<f32>()) as u64 * model_config.vocabulary as u64;
        let mtp = || Mtp::planned_bytes(model_config, settings.context(), settings.kv_cache.into());
        // What does not fit the address space is refused with the state, which holds more.
        let mtp = if drafts { mtp().map_or(u64::MAX, |bytes| bytes as u64) } else { 0 };
        match settings.speculative_decoding {
            SpeculativeDecoding::Off => 0,
            SpeculativeDecoding::Auto => mtp.saturating_add(logits + Lookup::planned_bytes(settings.context()) as u64),
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// An answer begins behind what `state` has computed.
    pub fn begin(&mut self, state: &SequenceState) {
        self.guesses = Guesses::default();
        if let Some(ahead) = &mut self.ahead {
            ahead.begin(state);
        }
    }

    /// Computes `token`, behind which the answer has room for `room` more, or finds it computed. Of
    /// the logits there are as many as `sampler` looks at.
    pub fn advance(&mut self, llm: &Llm, state: &mut SequenceState, token: u32, room: usize, sampler: &Sampler) {
        match &mut self.ahead {
            Some(ahead) => ahead.advance(llm, state, (token, room), sampler, &mut self.guesses),
            None => step(llm, state, token, sampler),
        }
    }

    /// The logits behind the last token, as [`SequenceState::best_logits`].
    pub fn logits<'a>(&'a mut self, state: &'a mut SequenceState) -> Option<&'a mut [f32]> {
        match &mut self.ahead {
            Some(ahead) if ahead.rows > 0 => {
                let vocabulary = ahead.logits.len() / (MOST + 1);
                ahead.logits.chunks_exact_mut(vocabulary).nth(ahead.right)
            }
            _ => state.best_logits(),
        }
    }

    /// Takes back what was computed beyond the last token. Its logits are lost if there was such.
    pub fn settle(&mut self, llm: &Llm, state: &mut SequenceState) {
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
    fn new(
        model_config: &ModelConfig,
        (drafter, mtp): (Box<dyn Drafter>, Option<Mtp>),
        clock: Box<dyn Fn() -> Duration + Send>,
    ) -> Self {
        Ahead {
            drafter,
            mtp,
            pace: Pace::default(),
            clock,
            certain: 0,
            draft: Vec::with_capacity(MOST),
            reason: Reason::Text(0),
            watched: None,
            right: 0,
            rows: 0,
            logits: vec![0.0; (MOST + 1) * model_config.vocabulary],
        }
    }

    fn begin(&mut self, state: &SequenceState) {
        self.drafter.follow(state.tokens());
        self.mtp.iter_mut().for_each(Mtp::begin);
        self.certain = state.len();
        self.forget_draft();
    }

    fn advance(
        &mut self,
        llm: &Llm,
        state: &mut SequenceState,
        (token, room): (u32, usize),
        sampler: &Sampler,
        guesses: &mut Guesses,
    ) {
        self.drafter.push(token);
        if self.came_true(token) {
            guesses.right += 1;
            guesses.drafted_right += usize::from(self.reason == Reason::Model);
            self.certain += 1;
            return;
        }
        self.settle(llm, state);
        let most = room.saturating_sub(1).min(ahead_room(state));
        self.guess(llm, state, token, most);
        let began = (self.clock)();
        self.compute(llm, state, token, sampler);
        self.certain += 1;
        let taken = (self.clock)().saturating_sub(began);
        let more = self.rows.saturating_sub(1);
        self.pace.took(more, taken.as_secs_f64());
        guesses.computed += more;
        guesses.drafted += if self.reason == Reason::Model { more } else { 0 };
    }

    /// Whether `token` was guessed and is computed.
    fn came_true(&mut self, token: u32) -> bool {
        if let Some((reason, guess)) = self.watched.take() {
            self.pace.learn(reason, guess == token);
        }
        let Some(&guess) = self.draft.get(self.right) else { return false };
        self.pace.learn(self.reason, guess == token);
        self.right += usize::from(guess == token);
        guess == token
    }

    /// Drafts up to `most` tokens behind `token`, as many as pay. Nothing follows the end of an
    /// answer.
    fn guess(&mut self, llm: &Llm, state: &mut SequenceState, token: u32, most: usize) {
        self.reason = Reason::Text(self.drafter.propose(MOST, &mut self.draft));
        let end = self.draft.iter().position(|&token| llm.tokenizer.is_control(token));
        self.draft.truncate(end.unwrap_or(MOST));
        let length = self.pace.length(self.reason, most.min(self.draft.len()));
        if length == 0 {
            self.watched = self.draft.first().map(|&token| (self.reason, token));
        }
        self.draft.truncate(length);
        self.guess_with_model(llm, state, token, most);
        self.rows = if self.draft.is_empty() { 0 } else { 1 + self.draft.len() };
    }

    /// Has the model's own block draft, if nothing was looked up and it pays. What it looks back
    /// over is kept up in any case.
    fn guess_with_model(&mut self, llm: &Llm, state: &mut SequenceState, token: u32, most: usize) {
        let Some(mtp) = &mut self.mtp else { return };
        mtp.watch(&llm.model, state);
        let length = if self.draft.is_empty() { self.pace.draft_length(most) } else { 0 };
        if length == 0 {
            return;
        }
        let began = (self.clock)();
        let ends = |token| llm.tokenizer.is_control(token);
        mtp.propose(&llm.model, state, (token, length), ends, &mut self.draft);
        let taken = (self.clock)().saturating_sub(began);
        self.pace.drafted(length, taken.as_secs_f64());
        self.reason = Reason::Model;
    }

    fn compute(&mut self, llm: &Llm, state: &mut SequenceState, token: u32, sampler: &Sampler) {
        if self.rows == 0 {
            return step(llm, state, token, sampler);
        }
        let mut tokens = [token; MOST + 1];
        tokens[1..self.rows].copy_from_slice(&self.draft);
        let vocabulary = self.logits.len() / (MOST + 1);
        llm.model.forward_steps(state, &tokens[..self.rows], &mut self.logits[..self.rows * vocabulary]);
    }

    fn settle(&mut self, llm: &Llm, state: &mut SequenceState) {
        llm.rollback(state, self.certain);
        self.forget_draft();
    }

    fn forget_draft(&mut self) {
        self.draft.clear();
        self.watched = None;
        (self.right, self.rows) = (0, 0);
    }
}

/// Computes the logits behind one more token, as many of them as the choice looks at.
fn step(llm: &Llm, state: &mut SequenceState, token: u32, sampler: &Sampler) {
    match sampler.looks_at() {
        Some(count) => {
            let counts = |token| sampler.leaves(token);
            llm.forward_best(state, &[token], Best { count, counts: &counts });
        }
        None => llm.forward(state, &[token]),
    }
}

/// Tokens that can be computed behind the next one, and taken back without computing anything
/// again.
fn ahead_room(state: &SequenceState) -> usize {
    state.reach_ahead().min(state.context() - state.len()).saturating_sub(1)
}
