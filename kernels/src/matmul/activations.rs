//! Activations in whole numbers, for weights that are whole numbers too.
//!
//! Each group of values (as long as a group of the weights) becomes whole numbers of 16 bits and one scale, once for all
//! rows: x = s · q, s = max |x| / 32767, so that no value is off by more than 2⁻¹⁶ of the largest of its group. That is
//! eight bits more than the int8 that turned right answers of small models into wrong ones. A sum of products of codes
//! and these numbers is exact, and twice as many products are taken at once as in f32.

use super::format::Layout;
use crate::isa::{Isa, Kernel};
use crate::pool::SharedMut;
use crate::{Pool, Simd};

/// The largest whole number.
const MOST: f32 = 32767.0;
/// Groups with nothing larger than this, 2⁻¹⁰⁰, are rounded as if they had: scales stay normal numbers, and errors below
/// 2⁻¹¹⁶.
const LEAST: f32 = 7.888_609e-31;

/// `[n, cols]` rounded.
#[derive(Default)]
pub(crate) struct Activations {
    words: Vec<i16>,
    scales: Vec<f32>,
    sums: Vec<f32>,
}

/// One token of [`Activations`], or the part of one that meets some columns.
#[derive(Clone, Copy)]
pub(crate) struct Rounded<'a> {
    pub words: &'a [i16],
    /// One for each group; NaN where a value is not finite.
    pub scales: &'a [f32],
    /// Σ s · q over each 32 values, for weights that have mins.
    pub sums: &'a [f32],
}

impl Activations {
    /// Rounds x`[n, cols]` for weights of this layout. `cols` must be whole groups.
    pub fn round(&mut self, pool: &Pool, simd: Simd, layout: Layout, x: &[f32], cols: usize) {
        let groups = x.len() / layout.group;
        grow(&mut self.words, x.len());
        grow(&mut self.scales, groups);
        grow(&mut self.sums, groups);
        let (words, scales, sums) =
            (SharedMut::new(&mut self.words), SharedMut::new(&mut self.scales), SharedMut::new(&mut self.sums));
        let groups = cols / layout.group;
        pool.run(x.len() / cols, |t, _| {
            // SAFETY: each token is given to one task.
            let (words, scales, sums) = unsafe {
                (words.slice(t * cols, cols), scales.slice(t * groups, groups), sums.slice(t * groups, groups))
            };
            simd.run(Round { group: layout.group, x: &x[t * cols..][..cols], words, scales, sums });
        });
    }

    /// Columns `first..first + count` of token `t` of those that were rounded last, for `cols` and `layout` as then.
    #[inline(always)]
    pub fn part(&self, layout: Layout, cols: usize, t: usize, first: usize, count: usize) -> Rounded<'_> {
        let at = t * cols + first;
        let groups = at / layout.group..(at + count) / layout.group;
        Rounded { words: &self.words[at..at + count], scales: &self.scales[groups.clone()], sums: &self.sums[groups] }
    }
}

fn grow<T: Clone + Default>(values: &mut Vec<T>, len: usize) {
    if values.len() < len {
        values.resize(len, T::default());
    }
}

struct Round<'a> {
    group: usize,
    x: &'a [f32],
    words: &'a mut [i16],
    scales: &'a mut [f32],
    sums: &'a mut [f32],
}

impl Kernel for Round<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let groups = self.x.chunks_exact(self.group).zip(self.words.chunks_exact_mut(self.group));
        for ((x, words), (scale, sum)) in groups.zip(self.scales.iter_mut().zip(self.sums)) {
            (*scale, *sum) = round_group(isa, x, words);
        }
    }
}

/// The scale, and the sum of what the whole numbers stand for.
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
    let most = isa.largest(most);
    let (inverse, mut sum) = (isa.splat(MOST / most), zero);
    for (x, words) in x.chunks_exact(I::LANES).zip(words.chunks_exact_mut(I::LANES)) {
        let whole = isa.round(isa.mul(isa.load(x), inverse));
        sum = isa.add(sum, whole);
        isa.store_rounded(whole, words);
    }
    let scale = most / MOST + isa.sum(poison);
    (scale, scale * isa.sum(sum))
}
