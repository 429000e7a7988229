//! Recurrent state of one layer, and the folding of a chunk into it.

use std::io::{self, Read, Write};

use super::product::{Rows, multiply, multiply_row};
use super::scratch::HeadScratch;
use super::{CHUNK, ChunkPosition, WIDEST};
use crate::Simd;
use crate::conv::HeadLayout;
use crate::elementwise::zeros;
use crate::isa::{Isa, Kernel, exp};
use crate::numbers::{read_numbers, write_numbers};

/// State of one DeltaNet layer: S₀ at `border`, and the entries of the chunk since.
#[derive(Clone)]
pub struct DeltaState {
    pub(super) heads: HeadLayout,
    /// Distance between rows of S in values.
    pub(super) stride: usize,
    /// Position; `base` belongs to its border.
    pub(super) place: ChunkPosition,
    /// S₀ `[value_heads, key_dim, stride]`
    pub(super) base: Vec<f32>,
    /// Keys k `[key_heads, key_dim, CHUNK]`
    pub(super) keys: Vec<f32>,
    /// Errors u `[value_heads, CHUNK, stride]`
    pub(super) errors: Vec<f32>,
    /// Sums of log decays G `[value_heads, CHUNK]`
    pub(super) decays: Vec<f64>,
}

impl DeltaState {
    /// Creates the state before the first token.
    ///
    /// Panics if the value heads are no multiple of the key heads, or if the size overflows; see
    /// [`DeltaState::planned_bytes`].
    pub fn new(heads: HeadLayout) -> DeltaState {
        assert!(heads.key_heads > 0 && heads.value_heads.is_multiple_of(heads.key_heads), "{heads:?}");
        DeltaState::planned_bytes(&heads).expect("a memory that fits in the machine's");
        let HeadLayout { key_heads, value_heads, key_dim, value_dim, .. } = heads;
        let stride = value_dim.next_multiple_of(WIDEST);
        DeltaState {
            stride,
            place: ChunkPosition::default(),
            base: zeros(value_heads * key_dim * stride),
            keys: zeros(key_heads * key_dim * CHUNK),
            errors: zeros(value_heads * CHUNK * stride),
            decays: vec![0.0; value_heads * CHUNK],
            heads,
        }
    }

    /// Bytes that [`DeltaState::new`] takes; `None` if they overflow.
    pub fn planned_bytes(heads: &HeadLayout) -> Option<usize> {
        let HeadLayout { key_heads, value_heads, key_dim, .. } = *heads;
        let errors = heads.value_dim.checked_next_multiple_of(WIDEST)?.checked_mul(value_heads)?.checked_mul(CHUNK)?;
        let keys = key_heads.checked_mul(key_dim)?.checked_mul(CHUNK)?;
        let floats = DeltaState::base_len(heads)?.checked_add(errors)?.checked_add(keys)?;
        floats.checked_mul(size_of::<f32>())?.checked_add(value_heads.checked_mul(CHUNK * size_of::<f64>())?)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let floats = self.base.len() + self.keys.len() + self.errors.len();
        floats * size_of::<f32>() + self.decays.len() * size_of::<f64>()
    }

    /// Bytes that a step reads, on average over a chunk: S₀, and the keys and errors since, in
    /// whole cache lines.
    pub fn step_bytes(&self) -> usize {
        let entries = (self.keys.len() * 3 / 4) + self.errors.len() / 2;
        (self.base.len() + entries) * size_of::<f32>()
    }

    /// Number of values of S₀ of all heads, padding included; `None` if they overflow.
    pub fn base_len(heads: &HeadLayout) -> Option<usize> {
        let stride = heads.value_dim.checked_next_multiple_of(WIDEST)?;
        heads.value_heads.checked_mul(heads.key_dim)?.checked_mul(stride)
    }

    /// Position of [`DeltaState::base`], the earliest that [`DeltaState::truncate`] reaches.
    pub fn border(&self) -> usize {
        self.place.border
    }

    /// Returns S₀ of all heads, for a later [`DeltaState::set_base`].
    pub fn base(&self) -> &[f32] {
        &self.base
    }

    /// Rolls back to the first `len` positions, bit-identical to never having computed the rest.
    /// Panics below the border.
    pub fn truncate(&mut self, len: usize) {
        self.place.truncate(len);
    }

    /// Moves to the border `position`, with the `base` that [`DeltaState::base`] returned there.
    ///
    /// Panics if `position` is not a border, or if `base` has another size.
    pub fn set_base(&mut self, position: usize, base: &[f32]) {
        assert_eq!(base.len(), self.base.len(), "what was kept has the size of the base");
        self.place = ChunkPosition::new(position, position);
        self.base.copy_from_slice(base);
    }

    /// Resets to the state before the first token.
    pub fn clear(&mut self) {
        self.base.fill(0.0);
        self.place = ChunkPosition::default();
    }

    /// Bytes that [`DeltaState::write_to`] writes.
    pub fn written_bytes(&self) -> usize {
        let HeadLayout { key_heads, value_heads, key_dim, .. } = self.heads;
        let entry =
            (key_heads * key_dim + value_heads * self.stride) * size_of::<f32>() + value_heads * size_of::<f64>();
        self.base.len() * size_of::<f32>() + self.place.entries() * entry
    }

    /// Writes S₀ and the entries since, and no entry that was rolled back.
    pub fn write_to(&self, to: &mut impl Write) -> io::Result<()> {
        let entries = self.place.entries();
        write_numbers(&self.base, to)?;
        let (mut keys, mut errors) = (self.keys.chunks_exact(CHUNK), self.errors.chunks_exact(CHUNK * self.stride));
        keys.try_for_each(|row| write_numbers(&row[..entries], to))?;
        errors.try_for_each(|head| write_numbers(&head[..entries * self.stride], to))?;
        self.decays.chunks_exact(CHUNK).try_for_each(|head| write_numbers(&head[..entries], to))
    }

    /// Restores the output of [`DeltaState::write_to`] after `len` positions with the border at
    /// `border`. After an error it is unusable until it is cleared. Panics unless `border` is a
    /// chunk border, and at most [`CHUNK`] before `len`.
    pub fn read_from(&mut self, border: usize, len: usize, from: &mut impl Read) -> io::Result<()> {
        self.place = ChunkPosition::new(border, len);
        let (entries, stride) = (self.place.entries(), self.stride);
        read_numbers(&mut self.base, from)?;
        let (mut keys, mut errors) = (self.keys.chunks_exact_mut(CHUNK), self.errors.chunks_exact_mut(CHUNK * stride));
        keys.try_for_each(|row| read_numbers(&mut row[..entries], from))?;
        errors.try_for_each(|head| read_numbers(&mut head[..entries * stride], from))?;
        self.decays.chunks_exact_mut(CHUNK).try_for_each(|head| read_numbers(&mut head[..entries], from))
    }

    /// Computes S after the last position, `[value_heads, key_dim, value_dim]`: for comparisons,
    /// not optimised.
    pub fn dense(&self, simd: Simd) -> Vec<f32> {
        let mut folded = self.clone();
        let mut room = HeadScratch::new(&self.heads, 1);
        for value_head in 0..self.heads.value_heads {
            let (key_head, size) = (self.heads.key_head(value_head), self.heads.key_dim * self.stride);
            simd.run(Fold {
                base: &mut folded.base[value_head * size..][..size],
                keys: &self.keys[key_head * self.heads.key_dim * CHUNK..][..self.heads.key_dim * CHUNK],
                errors: &self.errors[value_head * CHUNK * self.stride..][..CHUNK * self.stride],
                decays: &self.decays[value_head * CHUNK..][..self.place.entries()],
                stride: self.stride,
                room: &mut room,
            });
        }
        folded.base.chunks_exact(self.stride).flat_map(|row| &row[..self.heads.value_dim]).copied().collect()
    }
}

/// Computes e^(Gᵢ - Gⱼ) for all j, and e^Gᵢ; `decays` ends with Gᵢ.
#[inline(always)]
pub(super) fn fade<I: Isa>(isa: I, decays: &[f64]) -> ([f32; CHUNK], f32) {
    let last = decays[decays.len() - 1];
    let mut left = [0.0f32; CHUNK];
    for (left, decay) in left.iter_mut().zip(decays) {
        *left = (last - decay) as f32;
    }
    for left in left.chunks_exact_mut(I::LANES) {
        isa.store(exp(isa, isa.load(left)), left);
    }
    let mut carried = [0.0; WIDEST];
    isa.store(exp(isa, isa.splat(last as f32)), &mut carried);
    (left, carried[0])
}

/// base ← e^Gₙ base + Σⱼ e^(Gₙ-Gⱼ) kⱼ uⱼᵀ over the entries in `decays`.
pub(super) struct Fold<'a> {
    /// `[key_dim, stride]`
    pub base: &'a mut [f32],
    /// `[key_dim, CHUNK]`
    pub keys: &'a [f32],
    /// `[CHUNK, stride]`
    pub errors: &'a [f32],
    pub decays: &'a [f64],
    pub stride: usize,
    pub room: &'a mut HeadScratch,
}

impl Kernel for Fold<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let entries = self.decays.len();
        if entries == 0 {
            return;
        }
        let (left, carried) = fade(isa, self.decays);
        let faded = &mut self.room.faded;
        for (faded, keys) in faded.chunks_exact_mut(CHUNK).zip(self.keys.chunks_exact(CHUNK)) {
            for j in 0..CHUNK {
                faded[j] = keys[j] * left[j];
            }
        }
        let key_dim = self.keys.len() / CHUNK;
        let rows = Rows { x: faded, of: [0, CHUNK], step: 2 * CHUNK, len: entries, pairs: key_dim / 2 };
        multiply(isa, &rows, self.errors, self.stride, self.stride, Some(carried), false, self.base);
        if !key_dim.is_multiple_of(2) {
            let row = &faded[(key_dim - 1) * CHUNK..][..entries];
            let last = &mut self.base[(key_dim - 1) * self.stride..];
            multiply_row(isa, row, self.errors, self.stride, carried, last);
        }
    }
}
