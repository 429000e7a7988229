//! Speculative decoding: the next tokens are drafted, computed together with the token before them,
//! and accepted as long as they equal the tokens that the sampler draws.
//!
//! A decode step reads every weight for one token; several tokens at once share one read, and cost
//! little more. Drafts do not change an answer: each token is computed bit-identical to a step of
//! its own ([`Model::forward_steps`](super::model::Model::forward_steps)), and the sampler draws
//! each token from the same logits, with the same random numbers, as without drafts. A draft token
//! is accepted if and only if it equals the drawn token. So answers are the same token for token,
//! greedy and sampled alike, and so is their distribution. The logits after a rejected token are
//! discarded, and the state is rolled back.
//!
//! Drafts come from an earlier occurrence in the text ([`lookup`]); if that has none worth
//! computing, from the draft block of some models ([`mtp`]), which takes some time itself.

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

/// Source of draft tokens.
pub(super) trait Drafter: Send {
    /// Replaces the text so far by `tokens`.
    fn follow(&mut self, tokens: &[u32]);

    /// Appends `token` to the text.
    fn push(&mut self, token: u32);

    /// Writes up to `most` draft tokens to `draft`. Returns the number of tokens of the text that
    /// agree with its source; `draft` is empty if there are none.
    fn propose(&self, most: usize, draft: &mut Vec<u32>) -> usize;
}

/// Statistics of draft tokens in an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guesses {
    pub computed: usize,
    /// Draft tokens that were accepted.
    pub right: usize,
    /// Draft tokens among `computed` that came from the model's draft block; the others came from
    /// lookup in the text.
    pub drafted: usize,
    /// Draft tokens among `drafted` that were accepted.
    pub drafted_right: usize,
}

/// Decoder that advances a state token by token, and computes draft tokens where that saves time.
pub(super) struct Speculator {
    /// Speculative decoding; `None` if it is off.
    ahead: Option<Ahead>,
    guesses: Guesses,
    bytes: u64,
}

struct Ahead {
    drafter: Box<dyn Drafter>,
    /// Draft block, if the model has one.
    mtp: Option<Mtp>,
    pace: Pace,
    /// Time since a fixed moment.
    clock: Box<dyn Fn() -> Duration + Send>,
    /// Number of positions of the state that are final.
    certain: usize,
    /// Draft tokens that follow the final positions.
    draft: Vec<u32>,
    /// Evidence for the draft.
    reason: Reason,
    /// A token that was found by lookup and not computed: it is only recorded whether it follows.
    watched: Option<(Reason, u32)>,
    /// Number of draft tokens accepted so far.
    right: usize,
    /// Number of computed rows of `logits`: after the last final token, and after each draft token.
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

    /// Bytes that it takes, for a model that `drafts` or does not.
    pub fn planned_bytes(model_config: &ModelConfig, settings: &config::LlmPlan, drafts: bool) -> u64 {
        let logits = ((MOST + 1) * size_of::<f32>()) as u64 * model_config.vocabulary as u64;
        let mtp = || Mtp::planned_bytes(model_config, settings.context(), settings.kv_cache.into());
        // A size beyond the address space is refused with the state, which holds more.
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

    /// Begins an answer after the positions that `state` has computed.
    pub fn begin(&mut self, state: &SequenceState) {
        self.guesses = Guesses::default();
        if let Some(ahead) = &mut self.ahead {
            ahead.begin(state);
        }
    }

    /// Advances by `token`, which is computed now or was an accepted draft. The answer may have
    /// `room` more tokens. Computes as many logits as `sampler` needs.
    pub fn advance(&mut self, llm: &Llm, state: &mut SequenceState, token: u32, room: usize, sampler: &Sampler) {
        match &mut self.ahead {
            Some(ahead) => ahead.advance(llm, state, (token, room), sampler, &mut self.guesses),
            None => step(llm, state, token, sampler),
        }
    }

    /// Logits after the last token, as in [`SequenceState::best_logits`].
    pub fn logits<'a>(&'a mut self, state: &'a mut SequenceState) -> Option<&'a mut [f32]> {
        match &mut self.ahead {
            Some(ahead) if ahead.rows > 0 => {
                let vocabulary = ahead.logits.len() / (MOST + 1);
                ahead.logits.chunks_exact_mut(vocabulary).nth(ahead.right)
            }
            _ => state.best_logits(),
        }
    }

    /// Rolls back the positions after the last final token. Its logits are lost if there were such
    /// positions.
    pub fn settle(&mut self, llm: &Llm, state: &mut SequenceState) {
        if let Some(ahead) = &mut self.ahead {
            ahead.settle(llm, state);
        }
    }

    /// Statistics of the present answer.
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

    /// Returns whether `token` was drafted and is computed.
    fn came_true(&mut self, token: u32) -> bool {
        if let Some((reason, guess)) = self.watched.take() {
            self.pace.learn(reason, guess == token);
        }
        let Some(&guess) = self.draft.get(self.right) else { return false };
        self.pace.learn(self.reason, guess == token);
        self.right += usize::from(guess == token);
        guess == token
    }

    /// Drafts up to `most` tokens after `token`, as many as are worthwhile. Nothing follows the end
    /// of an answer.
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

    /// Drafts with the model's draft block, if lookup found nothing and it is worthwhile. The KV
    /// cache of the block is kept up to date in any case.
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

/// Computes the logits after one more token, as many as the sampler needs.
fn step(llm: &Llm, state: &mut SequenceState, token: u32, sampler: &Sampler) {
    match sampler.looks_at() {
        Some(count) => {
            let counts = |token| sampler.leaves(token);
            llm.forward_best(state, &[token], Best { count, counts: &counts });
        }
        None => llm.forward(state, &[token]),
    }
}

/// Number of tokens that can be computed after the next one, and rolled back without computing
/// anything again.
fn ahead_room(state: &SequenceState) -> usize {
    state.reach_ahead().min(state.context() - state.len()).saturating_sub(1)
}
