//! Products of many tokens with plain weights: a panel of weights is converted to f32 once into the
//! second-level cache and multiplied by all tokens there.

use super::plain::{ForPlain, Plain, for_plain};
use crate::Matrix;
use crate::isa::{Isa, Kernel};
use crate::pool::SharedMut;

/// Largest number of rows of weights that are unpacked together.
pub(crate) const PANEL_ROWS: usize = 32;
/// Number of columns that are unpacked together: whole blocks of every type. 32 rows of them are
/// 128 KiB in f32.
const PANEL_COLS: usize = 1024;
/// Distance between rows of a panel: not a multiple of 4 KiB, which would map all rows to the same
/// lines of the cache.
const PANEL_STRIDE: usize = PANEL_COLS + 16;
/// Number of values of a panel.
pub(crate) const PANEL: usize = PANEL_ROWS * PANEL_STRIDE;
/// Number of tokens multiplied by a panel before the next: 96 x 1024 values are 384 KiB, which fit
/// in 1 MiB together with the panel.
const TOKENS: usize = 96;
/// Number of rows of a register tile.
const TILE_ROWS: usize = 4;

/// y`[n, rows of the whole]` = x`[n, cols]` · Wᵀ, for the rows that `w` holds.
pub(crate) struct Gemm<'a, 'y> {
    pub w: Matrix<'a>,
    pub x: &'a [f32],
    pub n: usize,
    /// Whole result, `[n, stride]`; this call writes columns `first_row..first_row + w.rows()`.
    pub y: SharedMut<'y, f32>,
    pub stride: usize,
    pub first_row: usize,
    /// Buffer of [`PANEL`] values.
    pub panel: &'a mut [f32],
}

impl Kernel for Gemm<'_, '_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let cols = self.w.cols();
        for first in (0..cols).step_by(PANEL_COLS) {
            let count = PANEL_COLS.min(cols - first);
            for_plain(self.w.kind(), Widen { isa, w: self.w, first, count, panel: self.panel });
            for tokens in (0..self.n).step_by(TOKENS) {
                let tokens = tokens..(tokens + TOKENS).min(self.n);
                for row in (0..self.w.rows()).step_by(TILE_ROWS) {
                    let weights = &self.panel[row * PANEL_STRIDE..];
                    self.tile_rows(isa, row, weights, first, count, tokens.clone());
                }
            }
        }
    }
}

/// Converts columns `first..first + count` of `w` into the first rows of `panel`.
struct Widen<'a, I> {
    isa: I,
    w: Matrix<'a>,
    first: usize,
    count: usize,
    panel: &'a mut [f32],
}

impl<I: Isa> ForPlain for Widen<'_, I> {
    #[inline(always)]
    fn plain<P: Plain>(self) {
        let Widen { isa, w, first, count, panel } = self;
        for (r, row) in panel.chunks_exact_mut(PANEL_STRIDE).take(w.rows()).enumerate() {
            let src = &w.row(r)[first * P::BYTES..][..count * P::BYTES];
            let (mut from, mut to) = (src.chunks_exact(P::BYTES * I::LANES), row[..count].chunks_exact_mut(I::LANES));
            for (from, to) in (&mut from).zip(&mut to) {
                isa.store(P::load(isa, from), to);
            }
            for (from, to) in from.remainder().chunks_exact(P::BYTES).zip(to.into_remainder()) {
                *to = P::load_one(from);
            }
        }
    }
}

impl Gemm<'_, '_> {
    /// Multiplies four rows of the panel by some tokens.
    #[inline(always)]
    fn tile_rows<I: Isa>(
        &self,
        isa: I,
        row: usize,
        weights: &[f32],
        first: usize,
        count: usize,
        tokens: std::ops::Range<usize>,
    ) {
        let most = tile_tokens::<I>();
        let mut t = tokens.start;
        while t < tokens.end {
            let width = most.min(tokens.end - t);
            let x = &self.x[t * self.w.cols() + first..];
            let tile = Tile { isa, weights, count, x, stride: self.w.cols() };
            // Widths that exceed the registers of the variant are never compiled: `most` is a
            // constant.
            match width {
                1 => self.put(row, t, first, tile.products::<1>()),
                2 => self.put(row, t, first, tile.products::<2>()),
                3 if most >= 3 => self.put(row, t, first, tile.products::<3>()),
                4 if most >= 4 => self.put(row, t, first, tile.products::<4>()),
                5 if most >= 5 => self.put(row, t, first, tile.products::<5>()),
                _ => self.put(row, t, first, tile.products::<6>()),
            }
            t += width;
        }
    }

    #[inline(always)]
    fn put<const T: usize>(&self, row: usize, token: usize, first_col: usize, products: [[f32; TILE_ROWS]; T]) {
        let rows = TILE_ROWS.min(self.w.rows() - row);
        for (t, products) in products.iter().enumerate() {
            let at = (token + t) * self.stride + self.first_row + row;
            // SAFETY: rows `first_row..first_row + w.rows()` of every token belong to this call
            // alone.
            let y = unsafe { self.y.slice(at, rows) };
            for (y, product) in y.iter_mut().zip(products) {
                *y = if first_col == 0 { *product } else { *y + product };
            }
        }
    }
}

/// Number of tokens of a register tile: the sums of 4 rows x 6 tokens and their operands fit in 32
/// registers, 4 x 2 in 16.
#[inline(always)]
const fn tile_tokens<I: Isa>() -> usize {
    if I::REGISTERS >= 32 { 6 } else { 2 }
}

struct Tile<'a, I> {
    isa: I,
    /// Rows of weights `[4, count]`, [`PANEL_STRIDE`] apart.
    weights: &'a [f32],
    count: usize,
    /// Activations; token `t` begins at `t * stride`.
    x: &'a [f32],
    stride: usize,
}

impl<I: Isa> Tile<'_, I> {
    /// Computes the products `[token][row]`.
    #[inline(always)]
    fn products<const T: usize>(&self) -> [[f32; TILE_ROWS]; T] {
        let Tile { isa, weights, count, x, stride } = *self;
        assert!(weights.len() >= (TILE_ROWS - 1) * PANEL_STRIDE + count && x.len() >= (T - 1) * stride + count);
        let mut sums = [[isa.zero(); TILE_ROWS]; T];
        let whole = count / I::LANES * I::LANES;
        for at in (0..whole).step_by(I::LANES) {
            let mut w = [isa.zero(); TILE_ROWS];
            for (r, w) in w.iter_mut().enumerate() {
                // SAFETY: at + LANES <= count, and row 3 has `count` values.
                *w = unsafe { isa.load_at(weights.as_ptr().add(r * PANEL_STRIDE + at)) };
            }
            for (t, sums) in sums.iter_mut().enumerate() {
                // SAFETY: at + LANES <= count, and token T - 1 has `count` values.
                let x = unsafe { isa.load_at(x.as_ptr().add(t * stride + at)) };
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum = isa.mul_add(w, x, *sum);
                }
            }
        }
        let mut products = [[0.0; TILE_ROWS]; T];
        for (t, products) in products.iter_mut().enumerate() {
            *products = isa.sum4(sums[t]);
            for (r, product) in products.iter_mut().enumerate() {
                for i in whole..count {
                    *product += weights[r * PANEL_STRIDE + i] * x[t * stride + i];
                }
            }
        }
        products
    }
}
