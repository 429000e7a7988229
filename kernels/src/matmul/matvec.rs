//! One token: every weight is read once, so weights are taken apart in registers and never written anywhere.

use super::format::{ForFormat, Plain, Quantised, for_format};
use crate::Matrix;
use crate::isa::{Isa, Kernel};
use std::marker::PhantomData;

/// Rows that are worked on together; they share what is loaded of x.
const ROWS: usize = 2;

/// y`[rows]` = W · x.
pub(crate) struct MatVec<'a> {
    pub w: Matrix<'a>,
    pub x: &'a [f32],
    /// Sums of x over each 32 values, for the mins of formats that have them; see [`sums_of_32`].
    pub sums: &'a [f32],
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
        let MatVecOn { isa, work: MatVec { w, x, sums, y } } = self;
        for_rows(&w, y, QuantisedDot { isa, x, sums, format: PhantomData::<Q> });
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

struct QuantisedDot<'a, I, Q> {
    isa: I,
    x: &'a [f32],
    sums: &'a [f32],
    format: PhantomData<Q>,
}

impl<I: Isa, Q: Quantised> Dot for QuantisedDot<'_, I, Q> {
    #[inline(always)]
    fn dot<const R: usize>(&self, rows: [&[u8]; R]) -> [f32; R] {
        let QuantisedDot { isa, x, sums, .. } = *self;
        let (len, bytes) = (Q::KIND.block_len(), Q::KIND.block_bytes());
        let mut totals = [isa.zero(); R];
        let mut mins = [[0.0; 8]; R];
        for (b, x) in x.chunks_exact(len).enumerate() {
            for r in 0..R {
                let block = &rows[r][b * bytes..][..bytes];
                let all = Q::scales(isa, block);
                if Q::HAS_MIN {
                    add_mins(isa, &all.mins, &sums[b * (len / 32)..][..len / 32], &mut mins[r]);
                }
                for part in 0..len / 32 {
                    let quants = Q::quants(isa, block, part);
                    let (x, scales) = (&x[32 * part..], &all.scales[32 / Q::GROUP * part..]);
                    totals[r] = add_part::<I, Q>(isa, quants, x, scales, totals[r]);
                }
            }
        }
        let mut products = [0.0; R];
        for r in 0..R {
            products[r] = isa.sum(totals[r]) - mins[r].iter().sum::<f32>();
        }
        products
    }
}

/// `mins += min · sum` for the groups of a block: one, or eight.
#[inline(always)]
fn add_mins<I: Isa>(isa: I, min: &[f32; 8], sums: &[f32], mins: &mut [f32; 8]) {
    match sums.first_chunk::<8>() {
        Some(sums) => isa.mul_add8(min, sums, mins),
        None => mins[0] += min[0] * sums[0],
    }
}

/// `total + Σ scale · quant · x` over 32 values.
#[inline(always)]
fn add_part<I: Isa, Q: Quantised>(
    isa: I,
    quants: I::Bytes,
    x: &[f32],
    scales: &[f32],
    mut total: I::Floats,
) -> I::Floats {
    let vectors = Q::GROUP / I::LANES;
    for g in 0..32 / Q::GROUP {
        let x = &x[g * Q::GROUP..];
        let mut sum = isa.mul(isa.widen(quants, g * vectors), isa.load(x));
        for i in 1..vectors {
            sum = isa.mul_add(isa.widen(quants, g * vectors + i), isa.load(&x[i * I::LANES..]), sum);
        }
        total = isa.mul_add(sum, isa.splat(scales[g]), total);
    }
    total
}

/// `sums[i]` = Σ x`[32 i..32 i + 32]`.
pub(crate) struct SumsOf32<'a> {
    pub x: &'a [f32],
    pub sums: &'a mut [f32],
}

impl Kernel for SumsOf32<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        for (x, sum) in self.x.chunks_exact(32).zip(self.sums) {
            let mut total = isa.load(x);
            for x in x[I::LANES..].chunks_exact(I::LANES) {
                total = isa.add(total, isa.load(x));
            }
            *sum = isa.sum(total);
        }
    }
}
