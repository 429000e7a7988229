//! State of a sequence: what a model remembers of every position so far.
//!
//! Attention layers keep keys and values, which can be truncated anywhere. DeltaNet layers keep a
//! recurrent state that each token overwrites, so rollback needs help: within the chunk of the last
//! position they go back by themselves (`sotto_kernels::DeltaState`). For positions further back,
//! [`StateCheckpoints`] hold copies of the recurrent state at some chunk borders, and the model
//! computes the positions after the newest suitable one again ([`Model::rollback`]).
//!
//! Reproducibility: a position is computed in one of two ways, alone (a decode step, or one of
//! several computed at once: [`Model::forward_steps`]) or together with others (prefill). The two
//! differ in the last bits, because the products sum in another order. For a given way, a result
//! depends on the tokens alone, not on how they were split into calls, on the number of threads or
//! on earlier rollbacks. After [`Model::rollback`], [`SequenceState::restore`] or
//! [`SequenceState::fork`] the state is bit-identical to one that never computed the rest;
//! positions computed again use the same way as the first time.
//!
//! A state can be written as bytes ([`SequenceState::write_to`], [`SequenceState::read_from`]), or
//! be reduced to the least memory it can be resumed from ([`SequenceState::suspend`],
//! [`SuspendedState::resume`]). Continuing from there is bit-identical.
//!
//! The buffers of a computation, with the logits, belong to the model ([`Model::logits`]): a
//! further state costs nothing but what it remembers.
//!
//! [`Model::logits`]: super::model::Model::logits
//! [`Model::rollback`]: super::model::Model::rollback
//! [`Model::forward_steps`]: super::model::Model::forward_steps

mod checkpoints;
mod image;
mod memory;
mod parked;
mod snapshot;
mod stamp;
mod workspace;

use std::sync::atomic::{AtomicU64, Ordering};

use sotto_kernels::{CHUNK, Simd};

use super::model_config::ModelConfig;
pub(super) use checkpoints::DeltaSnapshot;
use checkpoints::{SPACING, StateCheckpoint, StateCheckpoints};
pub(super) use image::Peek;
pub use image::{CheckpointRange, StateError};
pub use memory::KvCacheType;
pub(super) use memory::{DeltaNetState, LayerKvCache, LayerState};
pub use parked::SuspendedState;
pub use snapshot::{Snapshot, StaleSnapshot};
pub use stamp::Stamp;
pub(super) use workspace::{BATCH, CallRows, DeltaWork, Workspace};

/// Numbers each call to a model in this process, so that a snapshot can tell whether its positions
/// still exist, and a state whether the rows in the workspace are its own.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// Positions by which the lists of tokens and origins grow.
const POSITIONS: usize = 128;

pub struct SequenceState {
    model_config: ModelConfig,
    kind: KvCacheType,
    /// Largest number of positions.
    context: usize,
    /// The token at each computed position.
    tokens: Vec<u32>,
    /// How each position was computed.
    origins: Vec<StateOrigin>,
    pub(super) layers: Vec<LayerState>,
    checkpoints: StateCheckpoints,
}

/// The call that computed a position, and whether it was computed as if alone in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StateOrigin {
    call: u64,
    pub alone: bool,
}

impl SequenceState {
    /// Creates an empty state with keys and values in f16.
    pub fn new(model_config: &ModelConfig, context: usize) -> Self {
        SequenceState::with_cache(model_config, context, KvCacheType::F16)
    }

    pub fn with_cache(model_config: &ModelConfig, context: usize, kind: KvCacheType) -> Self {
        SequenceState {
            tokens: Vec::new(),
            origins: Vec::new(),
            context,
            layers: (0..model_config.layers).map(|n| LayerState::new(model_config, n, kind)).collect(),
            checkpoints: StateCheckpoints::default(),
            model_config: model_config.clone(),
            kind,
        }
    }

    /// Bytes of a state with `context` positions and all the checkpoints it may keep, with keys and
    /// values in f16; `None` if they overflow.
    pub fn planned_bytes(model_config: &ModelConfig, context: usize) -> Option<usize> {
        SequenceState::planned_bytes_with(model_config, context, KvCacheType::F16)
    }

    /// Does [`SequenceState::planned_bytes`] for keys and values of `kind`.
    pub fn planned_bytes_with(model_config: &ModelConfig, context: usize, kind: KvCacheType) -> Option<usize> {
        let memory = |sum: usize, n| sum.checked_add(LayerState::planned_bytes(model_config, n, context, kind)?);
        let layers = (0..model_config.layers).try_fold(0, memory)?;
        let positions = context.checked_add(1)?.checked_next_multiple_of(POSITIONS)?;
        let positions = positions.checked_mul(size_of::<u32>() + size_of::<StateOrigin>())?;
        layers.checked_add(positions)?.checked_add(StateCheckpoints::planned_bytes(model_config)?)
    }

    /// Bytes held now; at most [`SequenceState::planned_bytes_with`].
    pub fn bytes(&self) -> usize {
        let positions = self.tokens.capacity() * size_of::<u32>() + self.origins.capacity() * size_of::<StateOrigin>();
        let memories = self.layers.iter().map(LayerState::bytes).sum::<usize>();
        positions + memories + self.checkpoints.bytes()
    }

    /// Number of computed positions.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    pub fn context(&self) -> usize {
        self.context
    }

    /// Number format of the KV cache.
    pub fn kind(&self) -> KvCacheType {
        self.kind
    }

    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Recurrent state of DeltaNet layer `n`, `[value_heads, key_dim, value_dim]`, heads in the
    /// order of the checkpoint; `None` for other layers. For comparisons.
    pub fn recurrent(&self, n: usize) -> Option<Vec<f32>> {
        self.layers.get(n)?.delta().map(|memory| memory.delta.dense(Simd::detect()))
    }

    /// Input rows that the convolution of DeltaNet layer `n` still needs, `[taps - 1, channels]`,
    /// the newest last; `None` for other layers. For comparisons.
    pub fn convolved(&self, n: usize) -> Option<&[f32]> {
        self.layers.get(n)?.delta().map(|memory| memory.conv.last_rows())
    }

    /// Key and value of one head of attention layer `n`; `None` for other layers and positions. For
    /// comparisons.
    pub fn key_value(&self, n: usize, kv_head: usize, position: usize) -> Option<(Vec<f32>, Vec<f32>)> {
        let known = position < self.len() && kv_head < self.model_config.kv_heads;
        let cache = self.layers.get(n).filter(|_| known)?.cache()?;
        let (mut key, mut value) = (vec![0.0; self.model_config.head_dim], vec![0.0; self.model_config.head_dim]);
        cache.load(kv_head, position, &mut key, &mut value);
        Some((key, value))
    }

    /// Copies the state into an independent one that continues from here.
    pub fn fork(&self) -> SequenceState {
        SequenceState {
            model_config: self.model_config.clone(),
            kind: self.kind,
            context: self.context,
            tokens: self.tokens.clone(),
            origins: self.origins.clone(),
            layers: self.layers.clone(),
            checkpoints: self.checkpoints.clone(),
        }
    }

    /// Marks the end of the system prompt or of a question, a place that rollback often returns to.
    /// The first and the last such places are kept; going back there computes at most a chunk of
    /// positions.
    pub fn mark_turn(&mut self) {
        let Some(border) = border(&self.layers).filter(|&border| border > 0) else { return };
        self.checkpoints.mark_turn(border, &self.layers);
    }

    /// Goes back to the first `len` positions or, if only the model can do that, to the nearest
    /// position before them that the state can reach. Returns the number of positions left.
    pub(super) fn rewind(&mut self, len: usize) -> usize {
        if len >= self.len() {
            return self.len();
        }
        let reached = self.reach(len);
        self.tokens.truncate(reached);
        self.origins.truncate(reached);
        self.checkpoints.forget_after(reached);
        reached
    }

    /// Whether [`SequenceState::rewind`] reaches exactly the first `len` positions.
    pub(super) fn goes_back_by_itself(&self, len: usize) -> bool {
        len >= self.len() || border(&self.layers).is_none_or(|border| border <= len)
    }

    /// Number of further positions, at least one, that can be computed at once so that all but the
    /// first can be rolled back without computing anything again.
    pub(super) fn reach_ahead(&self) -> usize {
        let Some(border) = border(&self.layers) else { return usize::MAX };
        // A full chunk is folded when the next position comes, which then starts a new chunk.
        match self.len() - border {
            CHUNK => CHUNK,
            entries => CHUNK - entries,
        }
    }

    fn reach(&mut self, len: usize) -> usize {
        let border = border(&self.layers);
        let checkpoint = self.checkpoints.before(len);
        let deltas = self.layers.iter_mut().filter_map(LayerState::delta_mut);
        match (border, checkpoint) {
            (None, _) => len,
            (Some(border), _) if border <= len => {
                deltas.for_each(|memory| memory.truncate(len));
                len
            }
            (Some(_), Some(checkpoint)) => {
                checkpoint.give_back(deltas);
                checkpoint.position
            }
            (Some(_), None) => {
                deltas.for_each(DeltaNetState::clear);
                0
            }
        }
    }

    /// Records that `tokens` were computed in one call, each as if `alone` or not. Returns their
    /// rows.
    pub(super) fn advance(&mut self, tokens: &[u32], alone: bool) -> CallRows {
        let origin = StateOrigin { call: CALLS.fetch_add(1, Ordering::Relaxed), alone };
        self.tokens.extend_from_slice(tokens);
        self.origins.extend(tokens.iter().map(|_| origin));
        CallRows { call: origin.call, positions: self.len() - tokens.len()..self.len() }
    }

    /// The last `n` positions, at least one, as rows of the call that computed the last.
    pub(super) fn last_rows(&self, n: usize) -> CallRows {
        CallRows { call: self.origins[self.len() - 1].call, positions: self.len() - n..self.len() }
    }

    /// Number of the call that computed `position`.
    fn call_of(&self, position: usize) -> Option<u64> {
        self.origins.get(position).map(|origin| origin.call)
    }

    /// How the first `len` positions were computed.
    pub(super) fn origins(&self, len: usize) -> &[StateOrigin] {
        &self.origins[..len]
    }

    /// Records that positions were computed again in their original way.
    pub(super) fn set_origins(&mut self, origins: &[StateOrigin]) {
        self.origins.copy_from_slice(origins);
    }

    /// Panics if `more` positions do not fit the context.
    pub(super) fn assert_fits(&self, more: usize) {
        let wanted = self.tokens.len() + more;
        assert!(wanted <= self.context, "position {wanted} of a context of {}", self.context);
    }

    pub(super) fn make_room(&mut self, more: usize) {
        let wanted = self.tokens.len() + more;
        self.layers.iter_mut().for_each(|layer| layer.grow(wanted));
        let more = wanted.next_multiple_of(POSITIONS) - self.tokens.len();
        self.tokens.reserve_exact(more);
        self.origins.reserve_exact(more);
    }

    /// Returns a checkpoint to fill while the next `n` positions are computed, if one is due among
    /// them.
    pub(super) fn due_checkpoint(&mut self, n: usize) -> Option<StateCheckpoint> {
        let border = border(&self.layers)?;
        let next = (border / SPACING + 1) * SPACING;
        (next < self.len() + n && !self.checkpoints.has(next)).then(|| self.checkpoints.blank(next, &self.layers))
    }

    pub(super) fn keep_checkpoint(&mut self, checkpoint: StateCheckpoint) {
        self.checkpoints.keep(checkpoint);
    }
}

/// Earliest position that the DeltaNet layers can go back to by themselves, the same for all;
/// `None` if there are none.
fn border(layers: &[LayerState]) -> Option<usize> {
    layers.iter().find_map(|layer| layer.delta().map(DeltaNetState::border))
}

#[cfg(test)]
mod tests;
