//! Activations as integers, for products with quantised weights.
//!
//! Each group of values (as long as a group of the weights) becomes integers of 16 bits and one
//! scale, once for all rows: x = s · q, s = max |x| / 32639, so that no value is off by more than
//! 2⁻¹⁶ of the largest of its group. It has eight bits more than the int8 that turned right answers
//! of small models into wrong ones. A sum of products of codes and these integers is exact.
//!
//! Activations are stored in tiles of tokens, and in a tile quad by quad: a kernel reads them from
//! one place, in order. If the processor multiplies tiles of bytes, tokens that fill such a tile
//! are stored in its layout.

use crate::interleaved::{ForFormat, Format, PART, Scales, for_format};
use crate::isa::{Isa, Kernel, MOST};
use crate::pool::SharedMut;
use crate::tiles::TILE;
use crate::{BlockType, Pool, Simd};

/// Least maximum of a group, 2⁻¹⁰⁰: groups below it are rounded as if they had it, so that scales
/// stay normal numbers, and errors below 2⁻¹¹⁶.
const LEAST: f32 = 7.888_609e-31;

/// Properties of weights that determine the rounding of activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grouping {
    /// Number of values that share a scale: 16 or 32.
    pub group: usize,
    /// Offset subtracted from each code before it is multiplied.
    pub offset: i32,
}

impl Grouping {
    /// Returns the grouping of a type; `None` for weights that are not quantised.
    pub fn of(kind: BlockType) -> Option<Grouping> {
        for_format(kind, GroupingOf)
    }
}

struct GroupingOf;

impl ForFormat for GroupingOf {
    type Out = Grouping;

    fn quantised<F: Format>(self) -> Grouping {
        Grouping { group: F::Scales::GROUP, offset: F::OFFSET }
    }
}

/// Rounded activations x`[tokens, cols]`.
#[derive(Default)]
pub(crate) struct Activations {
    grouping: Option<Grouping>,
    tokens: usize,
    /// Number of tokens in tiles of bytes, from the first on.
    wide: usize,
    cols: usize,
    /// Rounded values `[tile][quad][token]`, four each; in tiles of bytes `[tile][group][high,
    /// low][token]`, a byte for each value.
    quads: Vec<i16>,
    /// Scales `[tile][group][token]`; NaN if a value is not finite.
    scales: Vec<f32>,
    /// Sums Σ s · q of each group, for weights with a minimum.
    sums: Vec<f32>,
    /// Initial values -offset · Σ q of the sums of each group.
    starts: Vec<i32>,
}

/// Addresses of the activations of a tile of tokens.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    tokens: usize,
    pub quads: *const i16,
    pub scales: *const f32,
    pub sums: *const f32,
    pub starts: *const i32,
}

impl Tile {
    /// Moves on to columns `32 · part..` of the tile.
    ///
    /// # Safety
    /// The tile must have that many columns.
    #[inline(always)]
    pub unsafe fn part(self, part: usize, groups: usize) -> Tile {
        let group = part * groups * self.tokens;
        // SAFETY: guaranteed by the caller.
        unsafe {
            Tile {
                quads: self.quads.add(part * PART * self.tokens),
                scales: self.scales.add(group),
                sums: self.sums.add(group),
                starts: self.starts.add(group),
                ..self
            }
        }
    }
}

impl Tile {
    /// Returns the bytes of a group of `cols` columns, in a tile of bytes: `[high,
    /// low][token][column]`.
    ///
    /// # Safety
    /// The tile must be one of bytes, and must have this group.
    #[inline(always)]
    pub unsafe fn bytes(self, group: usize, cols: usize) -> *const i8 {
        // SAFETY: guaranteed by the caller.
        unsafe { self.quads.add(group * cols * TILE).cast() }
    }
}

/// Returns first token and width of each tile of `tokens` tokens: tiles of `most`, then the rest in
/// powers of two.
#[inline(always)]
pub(crate) fn tiles(most: usize, tokens: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let left = tokens - first;
        let width = if left >= most { most } else { (left + 1).next_power_of_two() / 2 };
        first += width;
        (width > 0).then_some((first - width, width))
    })
}

impl Activations {
    /// Rounds x`[n, cols]` for weights of this grouping. `cols` must be whole parts of 32.
    pub fn round(&mut self, pool: &Pool, simd: Simd, grouping: Grouping, x: &[f32], cols: usize) {
        let wide = if simd.tiles().is_some() { x.len() / cols / TILE * TILE } else { 0 };
        self.round_in_tiles(pool, simd, (grouping, wide, simd.run(Tokens)), x, cols);
    }

    /// Does [`Activations::round`] with tiles of one token each.
    pub fn round_apart(&mut self, pool: &Pool, simd: Simd, grouping: Grouping, x: &[f32], cols: usize) {
        self.round_in_tiles(pool, simd, (grouping, 0, 1), x, cols);
    }

    /// Rounds the first `wide` tokens to tiles of bytes, the others to tiles of `narrow` tokens and
    /// fewer.
    fn round_in_tiles(
        &mut self,
        pool: &Pool,
        simd: Simd,
        (grouping, wide, narrow): (Grouping, usize, usize),
        x: &[f32],
        cols: usize,
    ) {
        let (n, groups) = (x.len() / cols, cols / grouping.group);
        (self.grouping, self.tokens, self.wide, self.cols) = (Some(grouping), n, wide, cols);
        grow(&mut self.quads, x.len());
        grow(&mut self.scales, n * groups);
        grow(&mut self.sums, n * groups);
        grow(&mut self.starts, n * groups);
        let (quads, scales) = (SharedMut::new(&mut self.quads), SharedMut::new(&mut self.scales));
        let (sums, starts) = (SharedMut::new(&mut self.sums), SharedMut::new(&mut self.starts));
        // The wide tiles, then the others.
        pool.run(wide / TILE + (n - wide).div_ceil(narrow), |i, _| {
            let (begin, most) = match i.checked_sub(wide / TILE) {
                None => (i * TILE, TILE),
                Some(i) => (wide + i * narrow, narrow),
            };
            for (first, width) in tiles(most, most.min(n - begin)) {
                let token = begin + first;
                // SAFETY: each tile is given to one task.
                let (quads, scales, sums, starts) = unsafe {
                    (
                        quads.slice(token * cols, width * cols),
                        scales.slice(token * groups, width * groups),
                        sums.slice(token * groups, width * groups),
                        starts.slice(token * groups, width * groups),
                    )
                };
                let x = &x[token * cols..][..width * cols];
                simd.run(Round { grouping, x, cols, bytes: token < wide, quads, scales, sums, starts });
            }
        });
    }

    /// Whether x was rounded for weights of this grouping.
    pub fn is_for(&self, grouping: Grouping) -> bool {
        self.grouping == Some(grouping)
    }

    /// Whether it is empty.
    pub fn is_free(&self) -> bool {
        self.grouping.is_none()
    }

    /// Clears it for rounding to any grouping.
    pub fn clear(&mut self) {
        self.grouping = None;
    }

    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Number of tokens in tiles of bytes, from the first on.
    pub fn wide_tokens(&self) -> usize {
        self.wide
    }

    /// Returns the tile of `width` tokens that begins with `token`.
    #[inline(always)]
    pub fn tile(&self, token: usize, width: usize) -> Tile {
        let Some(Grouping { group, .. }) = self.grouping else { unreachable!("rounded before they are met") };
        let (at, groups) = (token * self.cols, token * (self.cols / group));
        let ends = (token + width) * (self.cols / group);
        Tile {
            tokens: width,
            quads: self.quads[at..(token + width) * self.cols].as_ptr(),
            scales: self.scales[groups..ends].as_ptr(),
            sums: self.sums[groups..ends].as_ptr(),
            starts: self.starts[groups..ends].as_ptr(),
        }
    }
}

fn grow<T: Clone + Default>(values: &mut Vec<T>, len: usize) {
    if values.len() < len {
        values.resize(len, T::default());
    }
}

/// Query for the number of tokens of the widest tile.
struct Tokens;

impl Kernel for Tokens {
    type Out = usize;

    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) -> usize {
        I::TOKENS
    }
}

/// Rounding of one tile.
struct Round<'a> {
    grouping: Grouping,
    x: &'a [f32],
    cols: usize,
    /// Whether it is a tile of bytes.
    bytes: bool,
    quads: &'a mut [i16],
    scales: &'a mut [f32],
    sums: &'a mut [f32],
    starts: &'a mut [i32],
}

impl Kernel for Round<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Round { grouping: Grouping { group, offset }, x, cols, bytes, quads, scales, sums, starts } = self;
        let width = x.len() / cols;
        for (t, x) in x.chunks_exact(cols).enumerate() {
            for (g, x) in x.chunks_exact(group).enumerate() {
                let mut words = [0; PART];
                let (scale, sum) = round_group(isa, x, &mut words[..group]);
                let at = g * width + t;
                (scales[at], sums[at], starts[at]) = (scale, scale * sum, -offset * sum as i32);
                let quads = &mut quads[g * group * width..][..group * width];
                if bytes {
                    put_bytes(&words[..group], t, quads);
                    continue;
                }
                for (quads, &words) in quads.chunks_exact_mut(4 * width).zip(words.as_chunks::<4>().0) {
                    quads[4 * t..][..4].copy_from_slice(&isa.quad(words));
                }
            }
        }
    }
}

/// Rounds a group; returns the scale, and the sum of the integers.
#[inline(always)]
fn round_group<I: Isa>(isa: I, x: &[f32], words: &mut [i16]) -> (f32, f32) {
    let zero = isa.zero();
    let (mut most, mut poison) = (isa.splat(LEAST), zero);
    for x in x.chunks_exact(I::LANES) {
        let x = isa.load(x);
        most = isa.max(isa.max(x, isa.sub(zero, x)), most);
        // Zero, but NaN where x is infinite or NaN.
        poison = isa.mul_add(x, zero, poison);
    }
    let (most, limit) = (isa.largest(most), f32::from(MOST));
    let (inverse, mut sum) = (isa.splat(limit / most), zero);
    for (x, words) in x.chunks_exact(I::LANES).zip(words.chunks_exact_mut(I::LANES)) {
        let whole = isa.round(isa.mul(isa.load(x), inverse));
        sum = isa.add(sum, whole);
        isa.store_rounded(whole, words);
    }
    (most / limit + isa.sum(poison), isa.sum(sum))
}

/// Writes the group of token `t` in a tile of bytes: x = 256 h + l, both signed.
fn put_bytes(words: &[i16], t: usize, group: &mut [i16]) {
    let (high, low) = group.split_at_mut(group.len() / 2);
    let at = t * words.len() / 2;
    for (i, pair) in words.as_chunks::<2>().0.iter().enumerate() {
        high[at + i] = i16::from_le_bytes(pair.map(|x| ((x + 128) >> 8) as u8));
        low[at + i] = i16::from_le_bytes(pair.map(|x| x as u8));
    }
}
