//! Snapshots of a state, for returning to one moment.

use super::{DeltaNetState, SequenceState, StateOrigin};

/// The DeltaNet states at one position. Keys and values are recorded by their number alone, so a
/// snapshot can be restored only to a state that still has them: the one it was taken from, or a
/// fork of it, that has not been rolled back further.
pub struct Snapshot {
    len: usize,
    /// Origin of the last position.
    origin: Option<StateOrigin>,
    layers: Vec<Option<DeltaNetState>>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a snapshot of {len} positions cannot be restored: the state has since gone back behind them; \
     compute the tokens again or take the snapshot of a fork"
)]
pub struct StaleSnapshot {
    pub len: usize,
}

impl Snapshot {
    /// Number of positions.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn bytes(&self) -> usize {
        let memories = self.layers.iter().flatten().map(|memory| memory.conv.bytes() + memory.delta.bytes());
        memories.sum()
    }
}

impl SequenceState {
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            len: self.len(),
            origin: self.origins.last().copied(),
            layers: self.layers.iter().map(|layer| layer.delta().cloned()).collect(),
        }
    }

    /// Goes back to the moment of the snapshot, bit-identical.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), StaleSnapshot> {
        let last = snapshot.len.checked_sub(1);
        let same = last.map_or(Some(None), |last| self.origins.get(last).map(|origin| Some(*origin)));
        if same != Some(snapshot.origin) || self.layers.len() != snapshot.layers.len() {
            return Err(StaleSnapshot { len: snapshot.len });
        }
        for (layer, kept) in self.layers.iter_mut().zip(&snapshot.layers) {
            if let (Some(memory), Some(kept)) = (layer.delta_mut(), kept) {
                memory.clone_from(kept);
            }
        }
        self.tokens.truncate(snapshot.len);
        self.origins.truncate(snapshot.len);
        self.checkpoints.forget_after(snapshot.len);
        Ok(())
    }
}
