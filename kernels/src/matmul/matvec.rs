//! One token: every weight is read once, so weights are taken apart in registers and never written anywhere.

use super::format::{ForFormat, Plain, Quantised, for_format};
use crate::Matrix;
use crate::isa::{Isa, Kernel};

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
        for_rows(&w, y, |rows| plain_dot::<I, P, ROWS>(isa, rows, x), |row| plain_dot::<I, P, 1>(isa, row, x));
    }

    #[inline(always)]
    fn quantised<Q: Quantised>(self) {
        let MatVecOn { isa, work: MatVec { w, x, sums, y } } = self;
        for_rows(
            &w,
            y,
            |rows| quantised_dot::<I, Q, ROWS>(isa, rows, x, sums),
            |row| quantised_dot::<I, Q, 1>(isa, row, x, sums),
        );
    }
}

#[inline(always)]
fn for_rows(
    w: &Matrix,
    y: &mut [f32],
    several: impl Fn([&[u8]; ROWS]) -> [f32; ROWS],
    one: impl Fn([&[u8]; 1]) -> [f32; 1],
) {
    let mut groups = y.chunks_exact_mut(ROWS);
    let mut row = 0;
    for y in &mut groups {
        y.copy_from_slice(&several(std::array::from_fn(|r| w.row(row + r))));
        row += ROWS;
    }
    for y in groups.into_remainder() {
        [*y] = one([w.row(row)]);
        row += 1;
    }
}

#[inline(always)]
fn plain_dot<I: Isa, P: Plain, const R: usize>(isa: I, rows: [&[u8]; R], x: &[f32]) -> [f32; R] {
    const UNROLL: usize = 4;
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
    std::array::from_fn(|r| {
        let [a, b, c, d] = sums[r];
        let tail = rows[r][whole * P::BYTES..].chunks_exact(P::BYTES).zip(&x[whole..]);
        let tail: f32 = tail.map(|(w, x)| P::load_one(w) * x).sum();
        isa.sum(isa.add(isa.add(a, b), isa.add(c, d))) + tail
    })
}

#[inline(always)]
fn quantised_dot<I: Isa, Q: Quantised, const R: usize>(isa: I, rows: [&[u8]; R], x: &[f32], sums: &[f32]) -> [f32; R] {
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
                totals[r] =
                    add_part::<I, Q>(isa, quants, &x[32 * part..], &all.scales[32 / Q::GROUP * part..], totals[r]);
            }
        }
    }
    std::array::from_fn(|r| isa.sum(totals[r]) - mins[r].iter().sum::<f32>())
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
        let product = |i: usize| (isa.widen(quants, g * vectors + i), isa.load(&x[g * Q::GROUP + i * I::LANES..]));
        let (q, x0) = product(0);
        let mut sum = isa.mul(q, x0);
        for i in 1..vectors {
            let (q, xi) = product(i);
            sum = isa.mul_add(q, xi, sum);
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
