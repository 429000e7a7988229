//! Search for the best rows of a long product, without reading all of it: for the output head of a
//! language model, where greedy and top-k sampling need a few rows out of a hundred thousand and
//! more.
//!
//! The codes of 8-bit weights are split into planes ([`layout`]): their high five bits with the
//! scales come first in a strip, the low three separately after them. Nothing is stored twice. A
//! coarse pass reads the first 5.5 of 8.5 bits and gives each row an upper bound of its product;
//! the strips that this does not exclude are then computed bit-identical to the full product.
//!
//! # The bound
//!
//! A row's product with the rounded activations x̂ is e = Σ (d (8 h + l - o) + m) x̂, with scale d
//! and minimum m of the group, high part h, low part l and offset o. The coarse pass takes the
//! middle 3.5 for l: c = Σ (d (8 h + 3.5 - o) + m) x̂. So e - c = Δ · x̂ with Δ = d (l - 3.5), and
//! by Cauchy and Schwarz |e - c| <= ‖Δ‖ ‖x̂‖. ‖Δ‖ is known when the weights are packed. (One
//! inequality for each group instead of one for all would never be looser, but tightens it by 2 to
//! 12 % only, and a number for each group is much more to read than one for each row.)
//!
//! Both are computed in f32. In a sum of terms tᵢ whose computation rounds n times in all, the
//! error is at most γ Σ |tᵢ|, γ = n u / (1 - n u), u = 2⁻²⁴. The sums of integers in a group are
//! exact. The terms of e are the groups' d s Σ (8 h + l - o) q and m s Σ q, those of c are 8 d s Σ
//! h q and (d (3.5 - o) + m) s Σ q; by Cauchy and Schwarz again the sums of their sizes are at most
//! ‖d (8 h + l - o)‖ ‖x̂‖, ‖m‖ ‖x̂‖, ‖8 d h‖ ‖x̂‖ and ‖d (3.5 - o) + m‖ ‖x̂‖. A term rounds at most
//! three times before it is added, and G groups add 2 G terms; n = 2 G + 8 also covers c + bound
//! itself. The loss by underflow is below 2⁻¹⁰⁰ in all and is added as such.
//!
//! Rounding moves a value by no more than 2⁻¹⁵ of the largest of its 32, so ‖x̂‖ is at most (1 +
//! 2⁻¹²) ‖x‖ plus 2⁻¹⁰⁰, the latter for groups that are nearly zero. Thus a row has one number,
//! rounded up, `bound` = ‖Δ‖ + γ (‖d (8 h + l - o)‖ + ‖m‖ + ‖8 d h‖ + ‖d (3.5 - o) + m‖), and e
//! <= c + `bound` ‖x̂‖ as computed. Rows whose numbers are not finite or extremely large are
//! never excluded, and if x is not finite the full product is computed.
//!
//! # Measured savings
//!
//! Share of strips computed again, with five bits, for the best 1, 20 and 40 rows:
//! Qwen2.5-Coder-0.5B (hidden states of answers) 0.1, 2.7 and 5.4 %, and 0.7, 5.9 and 22 % while it
//! reads the beginnings of prompts; SmolLM2-135M 8, 46 and 63 %, which is not worthwhile for top-k;
//! gaussian rows and x (248,320 x 1024) 1.8, 13 and 20 %. With four bits they were 2.2, 35 and 54
//! %; 70, 99.8 and 100 %; 50, 95 and 98 %. So five bits are best for 8-bit codes, where more than
//! 35 % cost more than the full product. Weights of 6 bits and fewer are not split: five of six
//! bits save too little, four exclude too little, and of four bits none can be left out.

mod layout;
mod product;
#[cfg(test)]
mod tests;

use crate::interleaved::{InterleavedLayout, STRIP};
use crate::matmul::activations::{Activations, Grouping};
use crate::matmul::{Scratch, matmul};
use crate::pool::SharedMut;
use crate::{Matrix, Pool, Simd};
pub use layout::BitPlaneLayout;
use product::{Coarse, Exact};

/// Number of bytes that a thread processes at a time.
const PIECE_BYTES: usize = 96 << 10;
/// Number of pieces per thread of strips that are computed again, if they are not too large.
const PIECES: usize = 4;
/// Limit of norms and sizes of rows, 2⁶⁰, above which a product might overflow.
const HUGE: f32 = 1.152_921_5e18;
/// 2⁻¹⁰⁰
const TINY: f32 = 7.888_609e-31;

/// Weights that were split into planes, and the error bound of each row's coarse product.
pub struct PrunedMatrix {
    layout: BitPlaneLayout,
    /// Bound for each row of whole strips, to be multiplied by the norm of x.
    bounds: Vec<f32>,
}

/// Rows to search for.
#[derive(Clone, Copy)]
pub struct Best<'a> {
    /// Number of rows with the greatest products; of equal ones all.
    pub count: usize,
    /// Predicate that selects the rows to consider.
    pub counts: &'a dyn Fn(usize) -> bool,
}

/// Working memory of [`PrunedMatrix::best`].
#[derive(Default)]
pub struct PrunedScratch {
    x: Activations,
    /// Upper bounds of the products of each strip.
    uppers: Vec<f32>,
    /// Strips that are computed again.
    strips: Vec<u32>,
    /// Products of the considered rows.
    products: Vec<f32>,
}

impl PrunedMatrix {
    /// Splits the codes of packed weights in place. `None`, and nothing is changed, for weights
    /// that do not have 8 bits.
    ///
    /// Panics if `data` has another length than [`InterleavedLayout::bytes`].
    pub fn part(pool: &Pool, layout: &InterleavedLayout, data: &mut [u8]) -> Option<PrunedMatrix> {
        assert_eq!(data.len(), layout.bytes(), "bytes of {} strips", layout.strips());
        let layout = BitPlaneLayout::new(layout)?;
        let mut bounds = vec![0.0; layout.strips() * STRIP];
        let shared = SharedMut::new(&mut bounds);
        pool.for_pieces(data, layout.strip_bytes(), |strip, data, _| {
            // SAFETY: each strip is given to one task.
            let bounds = unsafe { shared.slice(strip * STRIP, STRIP) };
            layout.part(data, bounds);
        });
        Some(PrunedMatrix { layout, bounds })
    }

    pub fn layout(&self) -> &BitPlaneLayout {
        &self.layout
    }

    /// Bytes that are held in addition to the weights.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.bounds[..])
    }

    /// Bytes that the full product reads.
    pub fn full_bytes(&self) -> usize {
        self.layout.bytes()
    }

    /// Bytes that are read if this many strips are computed; see [`PrunedMatrix::best`].
    pub fn screened_bytes(&self, computed: usize) -> usize {
        self.layout.strips() * self.layout.low_at() + self.bytes() + computed * self.layout.strip_bytes()
    }

    /// y`[rows]` = W · x for at least all rows that can be among the best, bit-identical to the
    /// full product; -∞ for the others. Only rows with finite products count. Returns the number of
    /// computed strips, or `None` if the full product was computed because x cannot be screened.
    ///
    /// Panics if `data` are not the bytes that were split, or if `x` or `y` has another length.
    #[allow(clippy::too_many_arguments)]
    pub fn best(
        &self,
        pool: &Pool,
        simd: Simd,
        data: &[u8],
        x: &[f32],
        best: &Best,
        y: &mut [f32],
        scratch: &mut PrunedScratch,
    ) -> Option<usize> {
        let layout = &self.layout;
        assert!(x.len() == layout.cols() && y.len() == layout.rows(), "x[{}], y[{}]", x.len(), y.len());
        let norm = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        let can = norm < f64::from(HUGE) && best.count > 0 && !simd.is_reference();
        if !can {
            matmul(pool, simd, &Matrix::planes(layout, data), x, 1, y, &mut Scratch::default());
            return None;
        }
        let PrunedScratch { x: rounded, uppers, strips, products } = scratch;
        rounded.round_apart(pool, simd, Grouping::of(layout.kind())?, x, layout.cols());
        self.coarse(pool, simd, data, rounded, reach(norm), y, uppers);
        likeliest(best.count, uppers, strips);
        exact(pool, simd, layout, data, strips, rounded, y);
        let (floor, done) = (floor(best, y, strips, products), strips.len());
        strips.iter().for_each(|&strip| uppers[strip as usize] = f32::NEG_INFINITY);
        let left = (0u32..).zip(&*uppers).filter(|&(_, &upper)| upper >= floor && upper > f32::NEG_INFINITY);
        strips.extend(left.map(|(strip, _)| strip));
        exact(pool, simd, layout, data, &strips[done..], rounded, y);
        Some(strips.len())
    }

    #[allow(clippy::too_many_arguments)]
    fn coarse(
        &self,
        pool: &Pool,
        simd: Simd,
        data: &[u8],
        x: &Activations,
        reach: f32,
        y: &mut [f32],
        uppers: &mut Vec<f32>,
    ) {
        let layout = &self.layout;
        uppers.resize(layout.strips(), 0.0);
        let (y, uppers) = (SharedMut::new(y), SharedMut::new(uppers));
        let size = (PIECE_BYTES / layout.low_at()).max(1);
        pool.run(layout.strips().div_ceil(size), |i, _| {
            let strips = i * size..layout.strips().min((i + 1) * size);
            let rows = strips.start * STRIP..layout.rows().min(strips.end * STRIP);
            // SAFETY: pieces do not overlap, and each is run once.
            let (y, uppers) = unsafe { (y.slice(rows.start, rows.len()), uppers.slice(strips.start, strips.len())) };
            y.fill(f32::NEG_INFINITY);
            let bounds = &self.bounds[strips.start * STRIP..strips.end * STRIP];
            simd.run(Coarse { layout, data, first: strips.start, x, bounds, reach, uppers });
        });
    }
}

/// Finds the strips with the greatest upper bounds: twice as many as the requested rows. In random
/// rows nearly every one of the best is in a strip of its own.
fn likeliest(count: usize, uppers: &[f32], strips: &mut Vec<u32>) {
    strips.clear();
    strips.extend(0..uppers.len() as u32);
    let most = count.saturating_mul(2);
    if most < strips.len() {
        strips.select_nth_unstable_by(most, |&a, &b| uppers[b as usize].total_cmp(&uppers[a as usize]));
        strips.truncate(most);
    }
}

/// Upper bound of the norm of the rounded x.
fn reach(norm: f64) -> f32 {
    ((norm * (1.0 + 2f64.powi(-12)) + f64::from(TINY)) as f32).next_up()
}

/// Least of the best considered products in these strips; -∞ if there are too few.
fn floor(best: &Best, y: &[f32], strips: &[u32], products: &mut Vec<f32>) -> f32 {
    products.clear();
    for &strip in strips {
        let first = strip as usize * STRIP;
        let counts = |row: &usize| y[*row].is_finite() && (best.counts)(*row);
        products.extend((first..y.len().min(first + STRIP)).filter(counts).map(|row| y[row]));
    }
    match products.len().checked_sub(best.count) {
        Some(_) => *products.select_nth_unstable_by(best.count - 1, |a, b| b.total_cmp(a)).1,
        None => f32::NEG_INFINITY,
    }
}

/// Computes the products of the rows of these strips.
fn exact(
    pool: &Pool,
    simd: Simd,
    layout: &BitPlaneLayout,
    data: &[u8],
    strips: &[u32],
    x: &Activations,
    y: &mut [f32],
) {
    let size = (strips.len() / (PIECES * pool.threads())).clamp(1, PIECE_BYTES / layout.strip_bytes() + 1);
    let of = |i| strips.get(i).map_or(layout.strips(), |&strip| strip as usize);
    let y = SharedMut::new(y);
    pool.run(strips.len().div_ceil(size), |i, _| {
        let which = i * size..strips.len().min((i + 1) * size);
        simd.run(Exact { layout, data, which, of, x, y });
    });
}

/// y`[n, rows]` = x`[n, cols]` · Wᵀ of split weights, in full: bit-identical to that of strips.
/// Each strip is multiplied by all tokens while it is in the cache. `rounded` is a buffer for x.
pub(crate) fn full(
    pool: &Pool,
    simd: Simd,
    layout: &BitPlaneLayout,
    data: &[u8],
    x: &[f32],
    y: &mut [f32],
    rounded: &mut Activations,
) {
    let Some(grouping) = Grouping::of(layout.kind()) else { unreachable!("only quantised weights are parted") };
    let size = (PIECE_BYTES / layout.strip_bytes()).max(1);
    rounded.round_apart(pool, simd, grouping, x, layout.cols());
    let (y, x) = (SharedMut::new(y), &*rounded);
    pool.run(layout.strips().div_ceil(size), |i, _| {
        let which = i * size..layout.strips().min((i + 1) * size);
        simd.run(Exact { layout, data, which, of: |strip| strip, x, y });
    });
}
