//! Checkpoints: copies of the DeltaNet states at earlier chunk borders, for rollback.
//!
//! A checkpoint holds the recurrent state of all DeltaNet layers and the input rows of their
//! convolutions: 19.3 MiB for Qwen3.5-0.8B and 2B (18 layers of 16 x 128 x 128 and 3 x 6144
//! values). Of those taken every [`SPACING`] positions only the newest are kept, of the ends of
//! turns the first (the system prompt) and the newest. There are never more than [`MOST`] (97 MiB
//! for 0.8B and 2B), and a barge-in some hundred tokens into an answer costs less than [`SPACING`]
//! tokens. A checkpoint that a new one will replace is dropped first, and its memory is reused. A
//! log of each token's k, u and g would avoid copies, but takes 296 KiB a token and 432 KiB more
//! for the rows of the convolutions: as much as a checkpoint every 27 tokens.

use std::io::{self, Read, Write};

use sotto_kernels::{CHUNK, DeltaState, read_numbers, write_numbers};

use super::memory::{DeltaNetState, LayerState};
use crate::llm::model_config::ModelConfig;

/// Positions from one checkpoint to the next; at most one falls into a batch.
pub const SPACING: usize = 64;
const _: () = assert!(SPACING.is_multiple_of(CHUNK) && SPACING >= super::BATCH);
/// Number of regular checkpoints that are kept, the newest.
const NEWEST: usize = 2;
/// Number of checkpoints at ends of turns that are kept: the first, and the newest.
const TURNS: usize = 3;
pub(in crate::llm) const MOST: usize = NEWEST + TURNS;

#[derive(Clone, Default)]
pub(in crate::llm) struct StateCheckpoints {
    /// Checkpoints by position.
    kept: Vec<StateCheckpoint>,
    /// A dropped checkpoint whose memory is reused.
    spare: Option<StateCheckpoint>,
}

/// The DeltaNet states before `position`, a chunk border.
#[derive(Clone)]
pub(in crate::llm) struct StateCheckpoint {
    pub position: usize,
    turn: bool,
    /// States, one for each DeltaNet layer.
    pub layers: Vec<DeltaSnapshot>,
}

#[derive(Clone)]
pub(in crate::llm) struct DeltaSnapshot {
    pub base: Vec<f32>,
    pub rows: Vec<f32>,
}

impl StateCheckpoint {
    /// Copies the states at their border.
    pub fn take(&mut self, layers: &[LayerState]) {
        for (to, from) in self.layers.iter_mut().zip(layers.iter().filter_map(LayerState::delta)) {
            to.base.copy_from_slice(from.delta.base());
            to.rows.copy_from_slice(from.conv.border_rows());
        }
    }

    /// Restores the states at the border.
    pub fn give_back<'a>(&self, layers: impl Iterator<Item = &'a mut DeltaNetState>) {
        for (from, to) in self.layers.iter().zip(layers) {
            to.delta.set_base(self.position, &from.base);
            to.conv.set_rows(self.position, &from.rows);
        }
    }

    /// Whether it is the end of a turn.
    pub fn is_turn(&self) -> bool {
        self.turn
    }

    /// Bytes that [`StateCheckpoint::write_to`] writes.
    pub fn written_bytes(&self) -> usize {
        let values = self.layers.iter().map(|layer| layer.base.len() + layer.rows.len()).sum::<usize>();
        2 * size_of::<u64>() + values * size_of::<f32>()
    }

    pub fn write_to(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&(self.position as u64).to_le_bytes())?;
        to.write_all(&u64::from(self.turn).to_le_bytes())?;
        self.layers.iter().try_for_each(|layer| {
            write_numbers(&layer.base, to)?;
            write_numbers(&layer.rows, to)
        })
    }

    /// Reads the output of [`StateCheckpoint::write_to`] into a checkpoint of the same size.
    pub fn read_from(&mut self, from: &mut impl Read) -> io::Result<()> {
        let mut word = [0; size_of::<u64>()];
        from.read_exact(&mut word)?;
        // A position that does not fit is never a valid one.
        self.position = usize::try_from(u64::from_le_bytes(word)).unwrap_or(usize::MAX);
        from.read_exact(&mut word)?;
        self.turn = u64::from_le_bytes(word) != 0;
        self.layers.iter_mut().try_for_each(|layer| {
            read_numbers(&mut layer.base, from)?;
            read_numbers(&mut layer.rows, from)
        })
    }

    fn bytes(&self) -> usize {
        self.layers.iter().map(|layer| (layer.base.capacity() + layer.rows.capacity()) * size_of::<f32>()).sum()
    }
}

impl StateCheckpoints {
    /// Bytes of the largest number of checkpoints; `None` if they overflow.
    pub fn planned_bytes(model_config: &ModelConfig) -> Option<usize> {
        let Some(net) = &model_config.delta else { return Some(0) };
        let layers = net.layers.iter().filter(|&&delta| delta).count();
        let rows = net.heads().channels().checked_mul(net.taps - 1)?;
        let one = DeltaState::base_len(&net.heads())?.checked_add(rows)?.checked_mul(layers)?;
        one.checked_mul(size_of::<f32>() * MOST)
    }

    pub fn bytes(&self) -> usize {
        self.kept.iter().chain(&self.spare).map(StateCheckpoint::bytes).sum()
    }

    /// Checkpoints by position.
    pub fn iter(&self) -> impl Iterator<Item = &StateCheckpoint> {
        self.kept.iter()
    }

    pub fn into_kept(self) -> Vec<StateCheckpoint> {
        self.kept
    }

    pub fn has(&self, position: usize) -> bool {
        self.kept.iter().any(|checkpoint| checkpoint.position == position)
    }

    /// Newest checkpoint at or before `position`.
    pub fn before(&self, position: usize) -> Option<&StateCheckpoint> {
        self.kept.iter().rfind(|checkpoint| checkpoint.position <= position)
    }

    pub fn forget_after(&mut self, position: usize) {
        while let Some(last) = self.kept.pop_if(|last| last.position > position) {
            self.spare = Some(last);
        }
    }

    /// Creates a checkpoint for `position` with the size for `layers`, in reused memory if there is
    /// any. Drops the checkpoint that it will replace.
    pub fn blank(&mut self, position: usize, layers: &[LayerState]) -> StateCheckpoint {
        self.blank_of_sort(false, position, layers)
    }

    fn blank_of_sort(&mut self, turn: bool, position: usize, layers: &[LayerState]) -> StateCheckpoint {
        self.thin(Some(turn));
        let empty = |memory: &DeltaNetState| DeltaSnapshot {
            base: vec![0.0; memory.delta.base().len()],
            rows: vec![0.0; memory.conv.border_rows().len()],
        };
        let new = || layers.iter().filter_map(LayerState::delta).map(empty).collect();
        let layers = self.spare.take().map_or_else(new, |spare| spare.layers);
        StateCheckpoint { position, turn, layers }
    }

    pub fn keep(&mut self, checkpoint: StateCheckpoint) {
        let at = self.kept.partition_point(|other| other.position < checkpoint.position);
        self.kept.insert(at, checkpoint);
        self.thin(None);
    }

    /// Keeps the states of `layers` at `border` as the end of a turn.
    pub fn mark_turn(&mut self, border: usize, layers: &[LayerState]) {
        if let Some(there) = self.kept.iter_mut().find(|checkpoint| checkpoint.position == border) {
            there.turn = true;
            return self.thin(None);
        }
        let mut checkpoint = self.blank_of_sort(true, border, layers);
        checkpoint.take(layers);
        self.keep(checkpoint);
    }

    /// Drops surplus checkpoints of either kind, or those that will be surplus once another is
    /// `coming`: of turns the second oldest, of others the oldest.
    fn thin(&mut self, coming: Option<bool>) {
        for (turn, most, oldest) in [(true, TURNS, 1), (false, NEWEST, 0)] {
            let of_sort = |checkpoint: &StateCheckpoint| checkpoint.turn == turn;
            let most = most - usize::from(coming == Some(turn));
            while self.kept.iter().filter(|checkpoint| of_sort(checkpoint)).count() > most {
                let mut places = (0..self.kept.len()).filter(|&i| of_sort(&self.kept[i]));
                let Some(place) = places.nth(oldest) else { return };
                self.spare = Some(self.kept.remove(place));
            }
        }
    }
}
