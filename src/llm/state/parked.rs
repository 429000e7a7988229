//! A state that waits in memory while its model does not.

use super::image::{CheckpointRange, StateError};
use super::{KvCacheType, SequenceState, Stamp, StateOrigin};
use crate::llm::model_config::ModelConfig;

/// What is needed of a state to go on with it later, to the bit: keys and values of the positions
/// there are, DeltaNet memories with the entries of the last chunk, the ends of turns to go back
/// to, and the logits if they are current. The room that it computed in and the rest of its context
/// are given back.
///
/// For Qwen3.5-0.8B and 2B these are 18.0 MiB and 0.4 to 22 for the last chunk, 12 KiB for each
/// position (6.4 with keys and values in 8 bits), and 19.3 MiB for each end of a turn, of which
/// there are up to three.
pub struct SuspendedState {
    image: Vec<u8>,
    /// As in the state, so that its snapshots hold.
    origins: Vec<StateOrigin>,
    context: usize,
    kind: KvCacheType,
}

impl SequenceState {
    /// Lets go of everything that [`SuspendedState::resume`] can make again. `stamp` is that of the
    /// model it was computed by. While this works, no memory is held twice but the one being
    /// written.
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

    /// Positions it holds.
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// The state as if it had never been parked, with the same context. Its model may have been
    /// loaded anew, but must be the same; otherwise the tokens have to be computed again.
    pub fn resume(self, stamp: &Stamp, model_config: &ModelConfig) -> Result<SequenceState, StateError> {
        let mut state = SequenceState::read_body(stamp, model_config, self.context, self.kind, &mut &self.image[..])?;
        state.set_origins(&self.origins);
        Ok(state)
    }
}
