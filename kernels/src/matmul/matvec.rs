//! Product of one token with plain weights: every weight is read once.

use super::plain::{ForPlain, Plain, for_plain};
use crate::Matrix;
use crate::isa::{Isa, Kernel};
use std::marker::PhantomData;

/// Number of rows of plain weights that are processed together; they share the loads of x.
const ROWS: usize = 2;

/// y`[rows]` = W · x.
pub(crate) struct MatVec<'a> {
    pub w: Matrix<'a>,
    pub x: &'a [f32],
    pub y: &'a mut [f32],
}

impl Kernel for MatVec<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        for_plain(self.w.kind(), MatVecOn { isa, work: self });
    }
}

struct MatVecOn<'a, I> {
    isa: I,
    work: MatVec<'a>,
}

impl<I: Isa> ForPlain for MatVecOn<'_, I> {
    #[inline(always)]
    fn plain<P: Plain>(self) {
        let MatVecOn { isa, work: MatVec { w, x, y, .. } } = self;
        for_rows(&w, y, PlainDot { isa, x, format: PhantomData::<P> });
    }
}

/// Products of some rows with one vector. (A trait, because a closure cannot be forced to inline.)
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
