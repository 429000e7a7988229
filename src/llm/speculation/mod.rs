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

use super::model::Model;
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

/// Decoder that advances states token by token, and computes draft tokens where that saves time.
///
/// All sessions share it. What it knows of a text serves the answer that advanced last; another
/// answer begins with an empty index, which costs some drafts and changes no answer.
pub(super) struct Speculator {
    /// Speculative decoding; `None` if it is off.
    drafting: Option<Drafting>,
    /// Number of answers so far.
    answers: u64,
    bytes: u64,
}

/// Sources of drafts, and the choice of their length.
struct Drafting {
    drafter: Box<dyn Drafter>,
    /// Draft block, if the model has one.
    mtp: Option<Mtp>,
    pace: Pace,
    /// Time since a fixed moment.
    clock: Box<dyn Fn() -> Duration + Send>,
    /// Number of the answer that the sources follow; 0 for none.
    follows: u64,
}

/// Progress of one answer: which positions of its state are final, and the drafts after them.
pub(super) struct DraftedAnswer {
    /// Number of the answer.
    number: u64,
    /// Number of positions of the state that are final.
    certain: usize,
    /// Draft tokens that were computed after the final positions.
    draft: Vec<u32>,
    /// Evidence for the draft.
    reason: Reason,
    /// A token that was found by lookup and not computed: it is only recorded whether it follows.
    watched: Option<(Reason, u32)>,
    /// Number of draft tokens accepted so far.
    right: usize,
    guesses: Guesses,
}

impl Speculator {
    /// Creates it for `model`, whose tokenizer uses the first `used` tokens of the vocabulary.
    pub fn new(model: &mut Model, used: usize, settings: &config::LlmPlan) -> Self {
        let bytes = Self::own_bytes(model.model_config(), settings, model.drafts());
        let drafting = match settings.speculative_decoding {
            SpeculativeDecoding::Off => None,
            SpeculativeDecoding::Auto => {
                model.work.reserve_logits(MOST + 1);
                let began = Instant::now();
                let lookup = Lookup::new(settings.context());
                let kind = KvCacheType::from(settings.kv_cache);
                let mtp = model.drafts().then(|| Mtp::new(model.model_config(), used, kind));
                Some(Drafting::new(Box::new(lookup), mtp, Box::new(move || began.elapsed())))
            }
        };
        Speculator { drafting, answers: 0, bytes }
    }

    /// Bytes that it takes, for a model that `drafts` or does not, with the further rows of logits
    /// in the workspace.
    pub fn planned_bytes(model_config: &ModelConfig, settings: &config::LlmPlan, drafts: bool) -> u64 {
        let logits = (MOST * size_of::<f32>()) as u64 * model_config.vocabulary as u64;
        match settings.speculative_decoding {
            SpeculativeDecoding::Off => 0,
            SpeculativeDecoding::Auto => Self::own_bytes(model_config, settings, drafts).saturating_add(logits),
        }
    }

    /// Bytes of the sources of drafts.
    fn own_bytes(model_config: &ModelConfig, settings: &config::LlmPlan, drafts: bool) -> u64 {
        let mtp = || Mtp::planned_bytes(model_config, settings.context(), settings.kv_cache.into());
        // A size beyond the address space is refused with the state, which holds more.
        let mtp = if drafts { mtp().map_or(u64::MAX, |bytes| bytes as u64) } else { 0 };
        match settings.speculative_decoding {
            SpeculativeDecoding::Off => 0,
            SpeculativeDecoding::Auto => mtp.saturating_add(Lookup::planned_bytes(settings.context()) as u64),
        }
    }

    /// Bytes held, without the logits, which are in the workspace.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Begins an answer after the positions that `state` has computed.
    pub fn begin(&mut self, state: &SequenceState) -> DraftedAnswer {
        self.answers += 1;
        DraftedAnswer {
            number: self.answers,
            certain: state.len(),
            draft: Vec::with_capacity(MOST),
            reason: Reason::Text(0),
            watched: None,
            right: 0,
            guesses: Guesses::default(),
        }
    }

    /// Advances by `token`, which is computed now or was an accepted draft. The answer may have
    /// `room` more tokens, and no draft goes beyond one that `ends` it. Computes as many logits as
    /// `sampler` needs.
    pub fn advance(
        &mut self,
        answer: &mut DraftedAnswer,
        (model, state): (&mut Model, &mut SequenceState),
        (token, room): (u32, usize),
        ends: &dyn Fn(u32) -> bool,
        sampler: &Sampler,
    ) {
        match &mut self.drafting {
            Some(drafting) => drafting.advance(answer, (model, state), (token, room), ends, sampler),
            None => step(model, state, token, sampler),
        }
        answer.certain += 1;
    }
}

impl DraftedAnswer {
    /// Logits after the last final token, as in [`Model::best_logits`]. Computes them again if
    /// another state has computed since.
    pub fn logits<'m>(&mut self, model: &'m mut Model, state: &mut SequenceState) -> Option<&'m mut [f32]> {
        if model.logits_after(state, self.certain).is_none() {
            self.settle(model, state);
            model.recompute_logits(state);
        }
        model.logits_after(state, self.certain)
    }

    /// Rolls back the positions after the last final token.
    pub fn settle(&mut self, model: &mut Model, state: &mut SequenceState) {
        model.rollback(state, self.certain);
        self.draft.clear();
        self.watched = None;
        self.right = 0;
    }

    /// Statistics of the answer's draft tokens.
    pub fn guesses(&self) -> Guesses {
        self.guesses
    }
}

impl Drafting {
    fn new(drafter: Box<dyn Drafter>, mtp: Option<Mtp>, clock: Box<dyn Fn() -> Duration + Send>) -> Self {
        Drafting { drafter, mtp, pace: Pace::default(), clock, follows: 0 }
    }

    fn advance(
        &mut self,
        answer: &mut DraftedAnswer,
        (model, state): (&mut Model, &mut SequenceState),
        (token, room): (u32, usize),
        ends: &dyn Fn(u32) -> bool,
        sampler: &Sampler,
    ) {
        self.follow(answer, state);
        self.drafter.push(token);
        if self.came_true(answer, token) {
            answer.guesses.right += 1;
            answer.guesses.drafted_right += usize::from(answer.reason == Reason::Model);
            return;
        }
        answer.settle(model, state);
        let most = room.saturating_sub(1).min(ahead_room(state));
        self.guess(answer, (model, state), (token, most), ends);
        let began = (self.clock)();
        compute(answer, model, state, token, sampler);
        let taken = (self.clock)().saturating_sub(began);
        let more = answer.draft.len();
        self.pace.took(more, taken.as_secs_f64());
        answer.guesses.computed += more;
        answer.guesses.drafted += if answer.reason == Reason::Model { more } else { 0 };
    }

    /// Turns to the text of `answer`, if another one was followed so far.
    fn follow(&mut self, answer: &DraftedAnswer, state: &SequenceState) {
        if self.follows != answer.number {
            self.follows = answer.number;
            self.drafter.follow(&state.tokens()[..answer.certain]);
            self.mtp.iter_mut().for_each(Mtp::begin);
        }
    }

    /// Returns whether `token` was drafted and is computed.
    fn came_true(&mut self, answer: &mut DraftedAnswer, token: u32) -> bool {
        if let Some((reason, guess)) = answer.watched.take() {
            self.pace.learn(reason, guess == token);
        }
        let Some(&guess) = answer.draft.get(answer.right) else { return false };
        self.pace.learn(answer.reason, guess == token);
        answer.right += usize::from(guess == token);
        guess == token
    }

    /// Drafts up to `most` tokens after `token`, as many as are worthwhile. Nothing follows a token
    /// that `ends` the answer.
    fn guess(
        &mut self,
        answer: &mut DraftedAnswer,
        (model, state): (&mut Model, &SequenceState),
        (token, most): (u32, usize),
        ends: &dyn Fn(u32) -> bool,
    ) {
        answer.reason = Reason::Text(self.drafter.propose(MOST, &mut answer.draft));
        let end = answer.draft.iter().position(|&token| ends(token));
        answer.draft.truncate(end.unwrap_or(MOST));
        let length = self.pace.length(answer.reason, most.min(answer.draft.len()));
        if length == 0 {
            answer.watched = answer.draft.first().map(|&token| (answer.reason, token));
        }
        answer.draft.truncate(length);
        self.guess_with_model(answer, (model, state), (token, most), ends);
    }

    /// Drafts with the model's draft block, if lookup found nothing and it is worthwhile. The KV
    /// cache of the block is kept up to date in any case.
    fn guess_with_model(
        &mut self,
        answer: &mut DraftedAnswer,
        (model, state): (&mut Model, &SequenceState),
        (token, most): (u32, usize),
        ends: &dyn Fn(u32) -> bool,
    ) {
        let Some(mtp) = &mut self.mtp else { return };
        mtp.watch(model, state);
        let length = if answer.draft.is_empty() { self.pace.draft_length(most) } else { 0 };
        if length == 0 {
            return;
        }
        let began = (self.clock)();
        mtp.propose(model, state, (token, length), ends, &mut answer.draft);
        let taken = (self.clock)().saturating_sub(began);
        self.pace.drafted(length, taken.as_secs_f64());
        answer.reason = Reason::Model;
    }
}

/// Computes `token` and the answer's draft after it.
fn compute(answer: &DraftedAnswer, model: &mut Model, state: &mut SequenceState, token: u32, sampler: &Sampler) {
    if answer.draft.is_empty() {
        return step(model, state, token, sampler);
    }
    let (mut tokens, n) = ([token; MOST + 1], 1 + answer.draft.len());
    tokens[1..n].copy_from_slice(&answer.draft);
    model.forward_steps(state, &tokens[..n]);
}

/// Computes the logits after one more token, as many as the sampler needs.
fn step(model: &mut Model, state: &mut SequenceState, token: u32, sampler: &Sampler) {
    match sampler.looks_at() {
        Some(count) => {
            let counts = |token| sampler.leaves(token);
            model.forward_best(state, &[token], Best { count, counts: &counts });
        }
        None => model.forward(state, &[token]),
    }
}

/// Number of tokens that can be computed after the next one, and rolled back without computing
/// anything again.
fn ahead_room(state: &SequenceState) -> usize {
    state.reach_ahead().min(state.context() - state.len()).saturating_sub(1)
}
