//! Many tokens and quantised weights: a panel of codes is taken apart once, into an order in which a vector holds a pair
//! of columns of as many rows as it has lanes, and then meets all tokens. Nothing is summed across lanes.

use super::activations::Activations;
use super::format::{ForFormat, Layout, Plain, Quantised, for_format, with_parts};
use super::gemm::{PANEL_COLS, PANEL_ROWS, TOKENS, tile_tokens};
use crate::Matrix;
use crate::isa::{Isa, Kernel};
use crate::pool::SharedMut;
use std::ops::Range;

/// Bytes of a row ahead of those in use that memory is asked for: sixteen rows at once are more than processors foresee.
const AHEAD: usize = 256;
/// Vectors of rows that share what is loaded of x.
const VECTORS: usize = 2;

/// Up to [`PANEL_ROWS`] rows and [`PANEL_COLS`] columns of weights, in strips of [`VECTORS`] vectors of rows.
pub(crate) struct Panel {
    /// `[strip][pair of columns][row][2]`
    words: Vec<i16>,
    /// `[strip][group][row]`
    scales: Vec<f32>,
    mins: Vec<f32>,
}

impl Panel {
    pub fn new() -> Panel {
        let values = PANEL_ROWS * PANEL_COLS;
        Panel { words: vec![0; values], scales: vec![0.0; values / 16], mins: vec![0.0; values / 32] }
    }
}

/// Fills `panel` with columns `first..first + count` of all rows of `w`. Rows that are missing from a strip keep what was
/// there.
pub(crate) struct Pack<'a> {
    pub w: Matrix<'a>,
    pub first: usize,
    pub count: usize,
    pub panel: &'a mut Panel,
}

impl Kernel for Pack<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        for_format(self.w.kind(), PackOn { isa, work: self });
    }
}

struct PackOn<'a, I> {
    isa: I,
    work: Pack<'a>,
}

impl<I: Isa> ForFormat for PackOn<'_, I> {
    type Out = ();

    #[inline(always)]
    fn plain<P: Plain>(self) {
        unreachable!("plain weights have no codes")
    }

    #[inline(always)]
    fn quantised<Q: Quantised>(self) {
        let PackOn { isa, work: Pack { w, first, count, panel } } = self;
        let (len, bytes) = (Q::KIND.block_len(), Q::KIND.block_bytes());
        for vector in 0..w.rows().div_ceil(I::LANES) {
            let (strip, v) = (vector / VECTORS, vector % VECTORS);
            let first_row = vector * I::LANES;
            let rows = first_row..w.rows().min(first_row + I::LANES);
            for b in 0..count / len {
                let block = |row: usize| &w.row(row)[(first / len + b) * bytes..][..bytes];
                let at = strip * count + b * len;
                pack_scales::<I, Q>(isa, rows.clone(), block, at, v, panel);
                pack_codes::<I, Q>(isa, rows.clone(), block, at, v, panel);
            }
        }
    }
}

/// Scales and mins of one block of each of `rows`, which begins at column `at`, counted over all strips.
#[inline(always)]
fn pack_scales<'a, I: Isa, Q: Quantised>(
    isa: I,
    rows: Range<usize>,
    block: impl Fn(usize) -> &'a [u8],
    at: usize,
    v: usize,
    panel: &mut Panel,
) {
    for (lane, row) in rows.enumerate() {
        for line in 0..Q::KIND.block_bytes().div_ceil(64) {
            isa.prefetch(block(row).as_ptr().wrapping_add(AHEAD + 64 * line));
        }
        let all = Q::scales(isa, block(row));
        let (scales, mins) = (isa.store_scales(all.scales), isa.store_scales(all.mins));
        for g in 0..Q::KIND.block_len() / Q::GROUP {
            let place = ((at / Q::GROUP + g) * VECTORS + v) * I::LANES + lane;
            panel.scales[place] = scales[g];
            if Q::HAS_MIN {
                panel.mins[place] = mins[g];
            }
        }
    }
}

/// The codes of the same blocks.
#[inline(always)]
fn pack_codes<'a, I: Isa, Q: Quantised>(
    isa: I,
    rows: Range<usize>,
    block: impl Fn(usize) -> &'a [u8],
    at: usize,
    v: usize,
    panel: &mut Panel,
) {
    let stride = 2 * VECTORS * I::LANES;
    with_parts!(Q::KIND.block_len() / 32, part => {
        let mut codes = [[0; 32]; 16];
        for (row, codes) in rows.clone().zip(&mut codes) {
            isa.store_words(Q::words(isa, block(row), part), codes);
        }
        let place = (at + 32 * part) / 2 * stride + v * 2 * I::LANES;
        isa.interleave(&codes, &mut panel.words[place..], stride);
    });
}

/// y`[n, stride]`: columns `first_row..first_row + rows` become, or grow by, the products of the rows of `panel` with the
/// same columns of x.
pub(crate) struct Multiply<'a, 'y> {
    pub panel: &'a Panel,
    pub layout: Layout,
    pub x: &'a Activations,
    pub cols: usize,
    pub n: usize,
    /// The columns in the panel.
    pub first: usize,
    pub count: usize,
    pub y: SharedMut<'y, f32>,
    pub stride: usize,
    pub first_row: usize,
    pub rows: usize,
}

impl Kernel for Multiply<'_, '_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        match (self.layout.group, self.layout.has_min) {
            (16, _) => self.all::<I, 16, false>(isa),
            (_, false) => self.all::<I, 32, false>(isa),
            (_, true) => self.all::<I, 32, true>(isa),
        }
    }
}

impl Multiply<'_, '_> {
    #[inline(always)]
    fn all<I: Isa, const GROUP: usize, const MIN: bool>(&self, isa: I) {
        for tokens in (0..self.n).step_by(TOKENS) {
            for strip in 0..self.rows.div_ceil(VECTORS * I::LANES) {
                self.strip::<I, GROUP, MIN>(isa, strip, tokens..(tokens + TOKENS).min(self.n));
            }
        }
    }

    #[inline(always)]
    fn strip<I: Isa, const GROUP: usize, const MIN: bool>(&self, isa: I, strip: usize, tokens: Range<usize>) {
        let most = tile_tokens::<I>();
        let mut t = tokens.start;
        while t < tokens.end {
            let width = most.min(tokens.end - t);
            // Widths that the variant has no registers for are never compiled: `most` is a constant.
            match width {
                1 => self.tile::<I, GROUP, MIN, 1>(isa, strip, t),
                2 => self.tile::<I, GROUP, MIN, 2>(isa, strip, t),
                3 if most >= 3 => self.tile::<I, GROUP, MIN, 3>(isa, strip, t),
                4 if most >= 4 => self.tile::<I, GROUP, MIN, 4>(isa, strip, t),
                5 if most >= 5 => self.tile::<I, GROUP, MIN, 5>(isa, strip, t),
                _ => self.tile::<I, GROUP, MIN, 6>(isa, strip, t),
            }
            t += width;
        }
    }

    /// A strip of rows with T tokens.
    #[inline(always)]
    fn tile<I: Isa, const GROUP: usize, const MIN: bool, const T: usize>(&self, isa: I, strip: usize, token: usize) {
        let rows = VECTORS * I::LANES;
        let groups = self.count / GROUP;
        let words = &self.panel.words[strip * self.count * rows..][..self.count * rows];
        let scales = &self.panel.scales[strip * groups * rows..][..groups * rows];
        let mins = if MIN { &self.panel.mins[strip * groups * rows..][..groups * rows] } else { &[] };
        let x: [_; T] = std::array::from_fn(|t| self.x.part(self.layout, self.cols, token + t, self.first, self.count));
        let mut totals = [[isa.zero(); VECTORS]; T];
        for g in 0..groups {
            let mut sums = [[isa.zero_ints(); VECTORS]; T];
            for k in 0..GROUP / 2 {
                let pair = g * GROUP / 2 + k;
                // SAFETY: pair < count / 2, and both `words` and each x have `count` columns.
                unsafe {
                    let w = words.as_ptr().add(2 * pair * rows);
                    let w = [isa.load_pairs(w), isa.load_pairs(w.add(2 * I::LANES))];
                    for (sums, x) in sums.iter_mut().zip(&x) {
                        let x = isa.splat_pair(x.words.as_ptr().add(2 * pair));
                        sums[0] = isa.add_pairs(w[0], x, sums[0]);
                        sums[1] = isa.add_pairs(w[1], x, sums[1]);
                    }
                }
            }
            for v in 0..VECTORS {
                let at = g * rows + v * I::LANES;
                let scale = isa.load(&scales[at..]);
                for t in 0..T {
                    let scaled = isa.mul(isa.to_floats(sums[t][v]), scale);
                    totals[t][v] = isa.mul_add(scaled, isa.splat(x[t].scales[g]), totals[t][v]);
                }
                if MIN {
                    let min = isa.load(&mins[at..]);
                    for t in 0..T {
                        totals[t][v] = isa.mul_add(min, isa.splat(-x[t].sums[g]), totals[t][v]);
                    }
                }
            }
        }
        self.put(isa, strip * rows, token, totals);
    }

    #[inline(always)]
    fn put<I: Isa, const T: usize>(&self, isa: I, row: usize, token: usize, totals: [[I::Floats; VECTORS]; T]) {
        for (t, totals) in totals.into_iter().enumerate() {
            let mut products = [0.0; PANEL_ROWS];
            for (products, total) in products.chunks_exact_mut(I::LANES).zip(totals) {
                isa.store(total, products);
            }
            let at = (token + t) * self.stride + self.first_row + row;
            // SAFETY: columns `first_row..first_row + rows` of every token belong to this call alone.
            let y = unsafe { self.y.slice(at, (VECTORS * I::LANES).min(self.rows - row)) };
            for (y, product) in y.iter_mut().zip(products) {
                *y = if self.first == 0 { product } else { *y + product };
            }
        }
    }
}
