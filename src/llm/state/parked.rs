//! A suspended state, in memory while its model is unloaded.

use super::image::{CheckpointRange, StateError};
use super::{KvCacheType, SequenceState, Stamp, StateOrigin};
use crate::llm::model_config::ModelConfig;

/// Data needed to continue a state later, bit-identical: keys and values of the present positions,
/// DeltaNet states with the entries of the last chunk, and the ends of turns to roll back to. The
/// other checkpoints and the unused part of the context are freed.
///
/// Qwen3.5-0.8B and 2B take 18.0 MiB and 0.4 to 22 for the last chunk, 12 KiB for each position
/// (6.4 with keys and values in 8 bits), and 19.3 MiB for each end of a turn, of which there are up
/// to three.
pub struct SuspendedState {
    image: Vec<u8>,
    /// Origins as in the state, so that its snapshots stay valid.
    origins: Vec<StateOrigin>,
    context: usize,
    kind: KvCacheType,
}

impl SequenceState {
    /// Frees everything that [`SuspendedState::resume`] can recreate. `stamp` identifies the model
    /// that computed it. During the call, no memory is held twice except the one being written.
    pub fn suspend(self, stamp: &Stamp) -> SuspendedState {
        let (origins, context, kind) = (self.origins.clone(), self.context, self.kind);
        let mut image = Vec::with_capacity(self.body_bytes(CheckpointRange::Turns));
        self.pour_into(stamp, CheckpointRange::Turns, &mut image).expect("memory takes what is written to it");
        SuspendedState { image, origins, context, kind }
    }
}

impl SuspendedState {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.image.capacity() + self.origins.capacity() * size_of::<StateOrigin>()
    }

    /// Number of positions.
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// Restores the state with the same context, as if it had never been suspended. The model may
    /// have been reloaded, but must be the same; otherwise the tokens must be computed again.
    pub fn resume(self, stamp: &Stamp, model_config: &ModelConfig) -> Result<SequenceState, StateError> {
        let mut state = SequenceState::read_body(stamp, model_config, self.context, self.kind, &mut &self.image[..])?;
        state.set_origins(&self.origins);
        Ok(state)
    }
}
