//! Drafts by the model's draft block (see [`model::draft`](super::super::model)).
//!
//! The block attends over a KV cache of its own, with one entry for each position. An entry is made
//! of the hidden values after the position, which the model leaves in its workspace, and of the
//! next token. For each answer the cache starts empty, at the last batch of the prompt, so that
//! prefill costs nothing more and a stored or forked state needs no further data. Entries of draft
//! tokens are overwritten by those of the accepted ones.

use super::super::model::{DRAFTED, Model};
use super::super::model_config::ModelConfig;
use super::super::state::{BATCH, KvCacheType, LayerState, SequenceState};
use super::pace::MOST;

/// Draft block with its cache for one text.
pub struct Mtp {
    memory: LayerState,
    /// Position of the first entry.
    first: usize,
    /// Number of final entries.
    entries: usize,
    /// Number of positions after them without an entry, because no draft was requested. At most
    /// [`BATCH`] between calls.
    waiting: usize,
    /// Hidden values of these positions, `[2 · BATCH, width]`.
    hidden: Vec<f32>,
    /// `[BATCH, 2 · width]`
    pairs: Vec<f32>,
    /// Logits of the tokens that can be drafted.
    logits: Vec<f32>,
}

impl Mtp {
    /// Creates it for texts of the first `used` tokens of the vocabulary.
    pub fn new(model_config: &ModelConfig, used: usize, kind: KvCacheType) -> Mtp {
        let width = model_config.width;
        Mtp {
            memory: LayerState::new(model_config, model_config.layers, kind),
            first: 0,
            entries: 0,
            waiting: 0,
            hidden: vec![0.0; 2 * BATCH * width],
            pairs: vec![0.0; 2 * BATCH * width],
            logits: vec![0.0; used.min(DRAFTED)],
        }
    }

    /// Largest number of bytes that it takes, with a context of this many positions; `None` if they
    /// overflow.
    pub fn planned_bytes(model_config: &ModelConfig, context: usize, kind: KvCacheType) -> Option<usize> {
        let memory = LayerState::planned_bytes(model_config, model_config.layers, context.checked_add(MOST)?, kind)?;
        let values = model_config.width.checked_mul(4 * BATCH)?.checked_add(DRAFTED)?;
        memory.checked_add(values.checked_mul(size_of::<f32>())?)
    }

    /// Clears the text.
    pub fn begin(&mut self) {
        (self.first, self.entries, self.waiting) = (0, 0, 0);
    }

    /// Takes the hidden values of new positions from `state`. If positions in between are lost, it
    /// starts again from empty.
    pub fn watch(&mut self, model: &mut Model, state: &SequenceState) {
        let (first, rows) = model.newest(state);
        let (width, len, known) = (model.model_config().width, state.len(), self.first + self.entries + self.waiting);
        let known = if (first..=len).contains(&known) && self.entries + self.waiting > 0 {
            known
        } else {
            (self.first, self.entries, self.waiting) = (first, 0, 0);
            first
        };
        let rows = &rows[(known - first) * width..];
        model.network.hidden(rows, &mut self.hidden[self.waiting * width..][..rows.len()]);
        self.waiting += len - known;
        if self.waiting > BATCH {
            // Each of these positions has a next token.
            self.enter(model, state, BATCH, None);
            self.hidden.copy_within(BATCH * width..(BATCH + self.waiting) * width, 0);
        }
    }

    /// Drafts up to `most` tokens after `token`, which follows the last position of `state`; stops
    /// before the first token that `ends` the text.
    pub fn propose(
        &mut self,
        model: &mut Model,
        state: &SequenceState,
        (token, most): (u32, usize),
        ends: impl Fn(u32) -> bool,
        draft: &mut Vec<u32>,
    ) {
        draft.clear();
        if self.waiting == 0 {
            return;
        }
        let (width, last) = (model.model_config().width, self.waiting - 1);
        self.enter(model, state, self.waiting, Some(token));
        self.hidden.copy_within(last * width..(last + 1) * width, 0);
        let Model { network, work } = model;
        while draft.len() < most {
            let guess = network.draft_token(work, &self.hidden[..width], &mut self.logits);
            let Some(guess) = guess.filter(|&guess| !ends(guess)) else { break };
            draft.push(guess);
            if draft.len() < most {
                let entry = self.entries + draft.len() - 1;
                network.draft(work, &mut self.memory, entry, &[guess], &mut self.hidden, &mut self.pairs);
            }
        }
    }

    /// Makes entries of the `n` oldest waiting positions, and replaces their hidden values by the
    /// block's output. `token` follows the last position of `state`.
    fn enter(&mut self, model: &mut Model, state: &SequenceState, n: usize, token: Option<u32>) {
        let mut next = [0; BATCH];
        let behind = state.tokens()[self.first + self.entries + 1..].iter().copied().chain(token);
        next.iter_mut().zip(behind).for_each(|(next, token)| *next = token);
        let Model { network, work } = model;
        network.draft(work, &mut self.memory, self.entries, &next[..n], &mut self.hidden, &mut self.pairs);
        self.entries += n;
        self.waiting -= n;
    }
}

#[cfg(test)]
impl Mtp {
    /// Largest difference of a key or a value between two caches of the same positions.
    pub fn furthest_apart(&self, other: &Mtp, model_config: &ModelConfig) -> f32 {
        assert_eq!((self.first, self.entries, self.waiting), (other.first, other.entries, other.waiting));
        let load = |mtp: &Mtp, head, entry| {
            let (mut key, mut value) = (vec![0.0; model_config.head_dim], vec![0.0; model_config.head_dim]);
            mtp.memory.cache().unwrap().load(head, entry, &mut key, &mut value);
            [key, value].concat()
        };
        let places = (0..model_config.kv_heads).flat_map(|head| (0..self.entries).map(move |entry| (head, entry)));
        places.fold(0.0, |worst, (head, entry)| {
            let pairs = load(self, head, entry).into_iter().zip(load(other, head, entry));
            pairs.map(|(a, b)| (a - b).abs()).fold(worst, f32::max)
        })
    }
}
