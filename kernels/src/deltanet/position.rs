//! Position of a DeltaNet layer in its sequence.

use super::CHUNK;

/// A position, and the border of the chunk within which rollback is possible.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct ChunkPosition {
    /// Border, a multiple of [`CHUNK`], and at most that many before `len`.
    pub border: usize,
    /// Number of positions so far.
    pub len: usize,
}

impl ChunkPosition {
    /// Panics unless `border` is a chunk border, and at most [`CHUNK`] before `len`.
    pub fn new(border: usize, len: usize) -> ChunkPosition {
        assert!(border.is_multiple_of(CHUNK), "{border} is no border of chunks of {CHUNK}");
        assert!(border <= len && len - border <= CHUNK, "position {len} is not of the chunk after {border}");
        ChunkPosition { border, len }
    }

    /// Number of positions since the border.
    pub fn entries(self) -> usize {
        self.len - self.border
    }

    /// Rolls back to `len` positions, if there are more. Panics below the border.
    pub fn truncate(&mut self, len: usize) {
        assert!(self.border <= len, "position {len} is before the border {}", self.border);
        self.len = self.len.min(len);
    }

    /// Returns the position after `n` more. A chunk is folded when the next one begins, not when it
    /// is full.
    pub fn after(self, n: usize) -> ChunkPosition {
        let border = self.border + (self.entries() + n).saturating_sub(1) / CHUNK * CHUNK;
        ChunkPosition { border, len: self.len + n }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_follows_when_the_next_chunk_begins() {
        for (border, len, n, then) in [(0, 0, 0, 0), (0, 0, 32, 0), (0, 32, 1, 32), (0, 5, 92, 96), (32, 64, 0, 32)] {
            assert_eq!(
                ChunkPosition::new(border, len).after(n),
                ChunkPosition { border: then, len: len + n },
                "{border} {len} {n}"
            );
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for (border, len) in [(1, 2), (32, 31), (0, 33), (usize::MAX, 0)] {
            assert!(std::panic::catch_unwind(|| ChunkPosition::new(border, len)).is_err(), "{border} {len}");
        }
    }
}
