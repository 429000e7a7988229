//! Step between the projection and the delta rule of a DeltaNet layer: a short causal convolution
//! over each channel, SiLU, and normalisation of queries and keys to length 1.

use std::io::{self, Read, Write};
use std::ops::Range;

use crate::deltanet::{CHUNK, ChunkPosition};
use crate::elementwise::{scale, sum_of_squares, zeros};
use crate::isa::{Isa, silu};
use crate::numbers::{read_numbers, write_numbers};
use crate::pool::SharedMut;

/// Epsilon added to the sum of squares of a query or key before the root; a constant of the
/// architecture.
const LENGTH_EPS: f64 = 1e-6;

/// Division of the channels of a DeltaNet layer: all queries, then all keys, then all values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLayout {
    pub key_heads: usize,
    /// Number of value heads, a multiple of `key_heads`.
    pub value_heads: usize,
    pub key_dim: usize,
    pub value_dim: usize,
    /// Whether value head h belongs to key head h mod `key_heads`, instead of h / (`value_heads` /
    /// `key_heads`).
    pub tiled: bool,
}

impl HeadLayout {
    /// Width of all keys (or queries) of a token.
    pub fn key_width(&self) -> usize {
        self.key_heads * self.key_dim
    }

    /// Width of all values of a token.
    pub fn value_width(&self) -> usize {
        self.value_heads * self.value_dim
    }

    pub fn channels(&self) -> usize {
        2 * self.key_width() + self.value_width()
    }

    /// Key head that a value head belongs to.
    pub fn key_head(&self, value_head: usize) -> usize {
        match self.tiled {
            true => value_head % self.key_heads,
            false => value_head / (self.value_heads / self.key_heads),
        }
    }

    pub(crate) fn value_heads_of(&self, key_head: usize) -> impl Iterator<Item = usize> {
        let group = self.value_heads / self.key_heads;
        let (first, step) = if self.tiled { (key_head, self.key_heads) } else { (key_head * group, 1) };
        (0..group).map(move |j| first + j * step)
    }

    /// Channels of a key head: its queries, its keys, and the values of each of its value heads.
    pub(crate) fn parts_of(&self, key_head: usize) -> impl Iterator<Item = Range<usize>> {
        let HeadLayout { key_dim, value_dim, .. } = *self;
        let (queries, keys) = (key_head * key_dim, self.key_width() + key_head * key_dim);
        let values_at = 2 * self.key_width();
        let values = self.value_heads_of(key_head).map(move |head| values_at + head * value_dim);
        let pairs = [queries, keys].into_iter().map(move |first| first..first + key_dim);
        pairs.chain(values.map(move |first| first..first + value_dim))
    }

    /// Width of all channels of a key head.
    pub(crate) fn width_of_parts(&self) -> usize {
        2 * self.key_dim + self.value_heads / self.key_heads * self.value_dim
    }
}

/// Input rows of the convolution that later tokens still need: those of the chunk of the last
/// position and the `taps - 1` before it, so that rollback within the chunk is possible, as in
/// [`DeltaState`](crate::DeltaState).
#[derive(Clone)]
pub struct ConvState {
    channels: usize,
    /// Number of rows before the border.
    before: usize,
    place: ChunkPosition,
    /// Rows `[before + CHUNK, channels]`; row `before` is that of position `border`.
    rows: Vec<f32>,
}

impl ConvState {
    /// Creates rows of zeros before the first token. Panics without taps, or if the size overflows.
    pub fn new(channels: usize, taps: usize) -> ConvState {
        let bytes = ConvState::planned_bytes(channels, taps).expect("taps, and rows that fit in memory");
        ConvState { channels, before: taps - 1, place: ChunkPosition::default(), rows: zeros(bytes / size_of::<f32>()) }
    }

    /// Bytes that [`ConvState::new`] takes; `None` if they overflow.
    pub fn planned_bytes(channels: usize, taps: usize) -> Option<usize> {
        taps.checked_sub(1)?.checked_add(CHUNK)?.checked_mul(channels)?.checked_mul(size_of::<f32>())
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.rows.len() * size_of::<f32>()
    }

    /// Returns the `taps - 1` rows before the next position, `[taps - 1, channels]`.
    pub fn last_rows(&self) -> &[f32] {
        &self.rows[self.place.entries() * self.channels..][..self.before * self.channels]
    }

    /// Returns the `taps - 1` rows before the border, for a later [`ConvState::set_rows`].
    pub fn border_rows(&self) -> &[f32] {
        &self.rows[..self.before * self.channels]
    }

    /// Rolls back like [`DeltaState::truncate`](crate::DeltaState::truncate).
    pub fn truncate(&mut self, len: usize) {
        self.place.truncate(len);
    }

    /// Moves to the border `position`, with `rows` before it. Panics if it is not a border, or if
    /// `rows` has another size.
    pub fn set_rows(&mut self, position: usize, rows: &[f32]) {
        assert_eq!(rows.len(), self.before * self.channels, "rows are [{}, {}]", self.before, self.channels);
        self.place = ChunkPosition::new(position, position);
        self.rows[..rows.len()].copy_from_slice(rows);
    }

    /// Resets to the state before the first token.
    pub fn clear(&mut self) {
        self.rows.fill(0.0);
        self.place = ChunkPosition::default();
    }

    /// Bytes that [`ConvState::write_to`] writes.
    pub fn written_bytes(&self) -> usize {
        self.used() * size_of::<f32>()
    }

    /// Writes the rows that are still needed.
    pub fn write_to(&self, to: &mut impl Write) -> io::Result<()> {
        write_numbers(&self.rows[..self.used()], to)
    }

    /// Restores the output of [`ConvState::write_to`] after `len` positions with the border at
    /// `border`. After an error it is unusable until it is cleared. Panics unless `border` is a
    /// chunk border, and at most [`CHUNK`] before `len`.
    pub fn read_from(&mut self, border: usize, len: usize, from: &mut impl Read) -> io::Result<()> {
        self.place = ChunkPosition::new(border, len);
        let used = self.used();
        read_numbers(&mut self.rows[..used], from)
    }

    /// Number of values in the rows before the border and since.
    fn used(&self) -> usize {
        (self.before + self.place.entries()) * self.channels
    }

    /// Shares the rows among the tasks of one call.
    pub(crate) fn share(&mut self) -> SharedRows<'_> {
        SharedRows { channels: self.channels, before: self.before, rows: SharedMut::new(&mut self.rows) }
    }

    pub(crate) fn place(&self) -> ChunkPosition {
        self.place
    }

    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Number of rows before the border: one less than taps.
    pub(crate) fn before(&self) -> usize {
        self.before
    }

    /// Records that `n` rows have been written after the existing ones.
    pub(crate) fn advance(&mut self, n: usize) {
        self.place = self.place.after(n);
    }
}

/// Rows of a [`ConvState`] that several tasks write to, each to channels of its own.
#[derive(Clone, Copy)]
pub(crate) struct SharedRows<'a> {
    channels: usize,
    pub before: usize,
    rows: SharedMut<'a, f32>,
}

impl SharedRows<'_> {
    /// Returns the channels `part` of a row, counted from `before` rows before the border.
    ///
    /// # Safety
    /// While the result lives, no other reference to these channels of this row may be in use.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn row(&self, row: usize, part: Range<usize>) -> &mut [f32] {
        // SAFETY: guaranteed by the caller.
        unsafe { self.rows.slice(row * self.channels + part.start, part.len()) }
    }
}

/// mixed`[n, width]` = silu(Σⱼ `taps[j]` · raw[t + j]), for raw`[taps - 1 + n, width]` and
/// taps`[taps, width]`, the tap of the newest row last. The width is a multiple of the vectors of
/// every variant.
#[inline(always)]
pub(crate) fn convolve<I: Isa>(isa: I, raw: &[f32], taps: &[f32], width: usize, mixed: &mut [f32]) {
    for (t, mixed) in mixed.chunks_exact_mut(width).enumerate() {
        let seen = &raw[t * width..][..taps.len()];
        for at in (0..width).step_by(I::LANES) {
            let mut sum = isa.zero();
            for (x, taps) in seen.chunks_exact(width).zip(taps.chunks_exact(width)) {
                sum = isa.mul_add(isa.load(&x[at..]), isa.load(&taps[at..]), sum);
            }
            isa.store(silu(isa, sum), &mut mixed[at..]);
        }
    }
}

/// x = x · length / sqrt(Σ x² + 1e-6)
#[inline(always)]
pub(crate) fn bring_to_length<I: Isa>(isa: I, length: f64, x: &mut [f32]) {
    let by = (length / (sum_of_squares(isa, x) + LENGTH_EPS).sqrt()) as f32;
    scale(isa, by, x);
}
