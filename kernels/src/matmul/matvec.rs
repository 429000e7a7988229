//! One token: every weight is read once, so weights are taken apart in registers and never written anywhere.

use super::activations::Rounded;
use super::format::{ForFormat, Plain, Quantised, for_format, with_parts};
use crate::Matrix;
use crate::isa::{Isa, Kernel};
use std::marker::PhantomData;

/// Rows of plain weights that are worked on together; they share what is loaded of x.
const ROWS: usize = 2;

/// y`[rows]` = W · x.
pub(crate) struct MatVec<'a> {
    pub w: Matrix<'a>,
    /// What plain weights meet.
    pub x: &'a [f32],
    /// What quantised weights meet.
    pub rounded: Rounded<'a>,
    pub y: &'a mut [f32],
}

impl Kernel for MatVec<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        for_format(self.w.kind(), MatVecOn { isa, work: self });
    }
}

struct MatVecOn<'a, I> {
    isa: I,
    work: MatVec<'a>,
}

impl<I: Isa> ForFormat for MatVecOn<'_, I> {
    type Out = ();

    #[inline(always)]
    fn plain<P: Plain>(self) {
        let MatVecOn { isa, work: MatVec { w, x, y, .. } } = self;
        for_rows(&w, y, PlainDot { isa, x, format: PhantomData::<P> });
    }

    #[inline(always)]
    fn quantised<Q: Quantised>(self) {
        let MatVecOn { isa, work: MatVec { w, rounded, y, .. } } = self;
        for (r, y) in y.iter_mut().enumerate() {
            *y = quantised_dot::<I, Q>(isa, w.row(r), rounded);
        }
    }
}

/// The products of some rows with one vector. (A trait and not a closure: a closure cannot be made to inline.)
trait Dot {
    fn dot<const R: usize>(&self, rows: [&[u8]; R]) -> [f32; R];
}

#[inline(always)]
fn for_rows(w: &Matrix, y: &mut [f32], dot: impl Dot) {
    let mut row = 0;
    let mut groups = y.chunks_exact_mut(ROWS);
    for y in &mut groups {
        let mut rows = [&[][..]; ROWS];
        for (r, bytes) in rows.iter_mut().enumerate() {
            *bytes = w.row(row + r);
        }
        y.copy_from_slice(&dot.dot(rows));
        row += ROWS;
    }
    for y in groups.into_remainder() {
        [*y] = dot.dot([w.row(row)]);
        row += 1;
    }
}

struct PlainDot<'a, I, P> {
    isa: I,
    x: &'a [f32],
    format: PhantomData<P>,
}

impl<I: Isa, P: Plain> Dot for PlainDot<'_, I, P> {
    #[inline(always)]
    fn dot<const R: usize>(&self, rows: [&[u8]; R]) -> [f32; R] {
        const UNROLL: usize = 4;
        let PlainDot { isa, x, .. } = *self;
        let mut sums = [[isa.zero(); UNROLL]; R];
        let step = UNROLL * I::LANES;
        let whole = x.len() / step * step;
        for at in (0..whole).step_by(step) {
            for (row, sums) in rows.iter().zip(&mut sums) {
                let row = &row[at * P::BYTES..][..step * P::BYTES];
                for (u, sum) in sums.iter_mut().enumerate() {
                    let weights = P::load(isa, &row[u * I::LANES * P::BYTES..]);
                    *sum = isa.mul_add(weights, isa.load(&x[at + u * I::LANES..]), *sum);
                }
            }
        }
        let mut totals = [0.0; R];
        for r in 0..R {
            let [a, b, c, d] = sums[r];
            totals[r] = isa.sum(isa.add(isa.add(a, b), isa.add(c, d)));
            for (w, x) in rows[r][whole * P::BYTES..].chunks_exact(P::BYTES).zip(&x[whole..]) {
                totals[r] += P::load_one(w) * x;
            }
        }
        totals
    }
}

/// Bytes of weights ahead of those in use that memory is asked for.
const AHEAD: usize = 1024;
const CACHE_LINE: usize = 64;
/// Independent sums: enough to hide the latency of an addition.
const CHAINS: usize = 4;

#[inline(always)]
fn quantised_dot<I: Isa, Q: Quantised>(isa: I, row: &[u8], x: Rounded) -> f32 {
    let (len, bytes) = (Q::KIND.block_len(), Q::KIND.block_bytes());
    // At least four parts are taken at a time, while there are as many.
    let unit = (128 / len).max(1);
    let mut sums = Sums { totals: [isa.zero(); CHAINS], mins: isa.load_scales(&[0.0; 16]) };
    let (values, groups) = (unit * len, unit * len / Q::GROUP);
    let mut units = row.chunks_exact(unit * bytes);
    let x_of_units = x.words.chunks_exact(values).zip(x.scales.chunks_exact(groups)).zip(x.sums.chunks_exact(groups));
    for (blocks, ((words, scales), group_sums)) in (&mut units).zip(x_of_units) {
        for line in 0..(unit * bytes).div_ceil(CACHE_LINE) {
            isa.prefetch(blocks.as_ptr().wrapping_add(AHEAD + line * CACHE_LINE));
        }
        add_blocks::<I, Q>(isa, blocks, unit, Rounded { words, scales, sums: group_sums }, &mut sums);
    }
    let mut at = x.words.len() / values * values;
    for block in units.remainder().chunks_exact(bytes) {
        add_blocks::<I, Q>(isa, block, 1, from(x, Q::GROUP, at), &mut sums);
        at += len;
    }
    let mins: f32 = if Q::HAS_MIN { isa.store_scales(sums.mins).iter().sum() } else { 0.0 };
    let [a, b, c, d] = sums.totals;
    isa.sum(isa.add(isa.add(a, b), isa.add(c, d))) - mins
}

struct Sums<I: Isa> {
    totals: [I::Floats; CHAINS],
    mins: I::Scales,
}

/// What is left of x from value `at` on.
#[inline(always)]
fn from(x: Rounded, group: usize, at: usize) -> Rounded {
    Rounded { words: &x.words[at..], scales: &x.scales[at / group..], sums: &x.sums[at / group..] }
}

/// Adds the products of `count` blocks, of 256 values together at most, with the beginning of x.
#[inline(always)]
fn add_blocks<I: Isa, Q: Quantised>(isa: I, blocks: &[u8], count: usize, x: Rounded, sums: &mut Sums<I>) {
    let (len, bytes) = (Q::KIND.block_len(), Q::KIND.block_bytes());
    let (parts, groups) = (count * len / 32, count * len / Q::GROUP);
    let all = Q::scales(isa, &blocks[..count * bytes]);
    if Q::HAS_MIN {
        sums.mins = isa.mul_add_scales(all.mins, isa.load_scales(&x.sums[..groups]), sums.mins);
    }
    let scales = isa.mul_scales(all.scales, isa.load_scales(&x.scales[..groups]));
    with_parts!(parts, part => {
        let block = &blocks[part / (len / 32) * bytes..][..bytes];
        let weights = Q::words(isa, block, part % (len / 32));
        let Some(x) = x.words[32 * part..].first_chunk() else { panic!("x ends before the row") };
        let total = &mut sums.totals[part % CHAINS];
        *total = match Q::GROUP {
            16 => isa.add_dots(weights, x, scales, 2 * part, *total),
            _ => isa.add_dot(weights, x, scales, part, *total),
        };
    });
}
