//! One token: every weight is read once, so weights are taken apart in registers and never written anywhere.

use super::format::{ForFormat, Plain, Quantised, Scales, for_format, offset, widen};
use crate::isa::{Isa, Kernel};
use crate::{Affine, BlockType, Matrix, reference};
use std::marker::PhantomData;

/// Rows that are worked on together; they share what is loaded of x.
const ROWS: usize = 2;

/// y`[rows]` = W · x.
pub(crate) struct MatVec<'a> {
    pub w: Matrix<'a>,
    pub x: &'a [f32],
    pub prepared: &'a Prepared,
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
        let MatVecOn { isa, work: MatVec { w, x, prepared, y } } = self;
        for_rows(&w, y, QuantisedDot { isa, x, prepared, format: PhantomData::<Q> });
    }

    #[inline(always)]
    fn affine(self, _: Affine) {
        let MatVecOn { work: MatVec { w, x, y, .. }, .. } = self;
        reference::matmul(&w, x, y);
    }
}

/// The body once for each part of a block: 1, or 8. Written out, so that the part is a constant in shifts and places.
macro_rules! with_parts {
    ($parts:expr, $part:ident => $body:block) => {
        with_parts!(@ $part, $body, 0);
        if $parts == 8 {
            with_parts!(@ $part, $body, 1, 2, 3, 4, 5, 6, 7);
        }
    };
    (@ $part:ident, $body:block, $($number:literal),*) => {
        $({
            let $part: usize = $number;
            $body
        })*
    };
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
    prepared: &'a Prepared,
    format: PhantomData<Q>,
}

impl<I: Isa, Q: Quantised> Dot for QuantisedDot<'_, I, Q> {
    #[inline(always)]
    fn dot<const R: usize>(&self, rows: [&[u8]; R]) -> [f32; R] {
        let QuantisedDot { isa, x, prepared: Prepared { sums, offsets }, .. } = self;
        let (isa, len, bytes) = (*isa, Q::KIND.block_len(), Q::KIND.block_bytes());
        let parts = len / 32;
        assert!(offset::<I, Q>() == 0.0 || offsets.len() >= x.len() / Q::GROUP * I::LANES);
        let mut totals = [isa.zero(); R];
        let mut mins = [[0.0; 8]; R];
        for (b, x) in x.chunks_exact(len).enumerate() {
            let mut blocks = [(&[][..], Scales::one(0.0, 0.0)); R];
            for (r, (block, scales)) in blocks.iter_mut().enumerate() {
                *block = &rows[r][b * bytes..][..bytes];
                *scales = Q::scales(isa, block);
                if Q::HAS_MIN {
                    add_mins(isa, &scales.mins, &sums[b * parts..][..parts], &mut mins[r]);
                }
            }
            let group = b * parts * (32 / Q::GROUP);
            // SAFETY: one vector for each group of x was found above.
            let offsets = unsafe { offsets.as_ptr().add(group * I::LANES) };
            with_parts!(parts, part => {
                for ((block, scales), total) in blocks.iter().zip(&mut totals) {
                    let codes = Q::codes(isa, block, part);
                    *total = add_part::<I, Q>(isa, codes, x, part, offsets, scales, *total);
                }
            });
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

/// `total + Σ scale · (code - zero) · x` over the 32 values of a part of a block. x and `offsets` are those of the block.
#[inline(always)]
fn add_part<I: Isa, Q: Quantised>(
    isa: I,
    codes: I::Bytes,
    x: &[f32],
    part: usize,
    offsets: *const f32,
    scales: &Scales,
    mut total: I::Floats,
) -> I::Floats {
    let vectors = Q::GROUP / I::LANES;
    for g in 0..32 / Q::GROUP {
        let group = 32 / Q::GROUP * part + g;
        let mut sum = match offset::<I, Q>() {
            0.0 => isa.zero(),
            // SAFETY: `offsets` points to one vector for each group of x.
            _ => unsafe { isa.load_at(offsets.add(group * I::LANES)) },
        };
        for i in 0..vectors {
            let quants = widen::<I, Q>(isa, codes, g * vectors + i);
            sum = isa.mul_add(quants, isa.load(&x[group * Q::GROUP + i * I::LANES..]), sum);
        }
        total = isa.mul_add(sum, isa.splat(scales.scales[group]), total);
    }
    total
}

/// What the products of all rows need to know of x.
#[derive(Default)]
pub(crate) struct Prepared {
    /// Σ x over each 32 values, for the mins of formats that have them.
    sums: Vec<f32>,
    /// For each group that shares a scale, lane by lane: -Σ [`offset`] · x. A sum that begins there ends without the
    /// offset, and what is rounded away stays small, because the offset never leaves the group.
    offsets: Vec<f32>,
}

/// Fills `prepared` for weights of `kind`.
pub(crate) struct Prepare<'a> {
    pub kind: BlockType,
    pub x: &'a [f32],
    pub prepared: &'a mut Prepared,
}

impl Kernel for Prepare<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        for_format(self.kind, PrepareOn { isa, x: self.x, prepared: self.prepared });
    }
}

struct PrepareOn<'a, I> {
    isa: I,
    x: &'a [f32],
    prepared: &'a mut Prepared,
}

impl<I: Isa> ForFormat for PrepareOn<'_, I> {
    type Out = ();

    #[inline(always)]
    fn plain<P: Plain>(self) {}

    #[inline(always)]
    fn quantised<Q: Quantised>(self) {
        let PrepareOn { isa, x, prepared: Prepared { sums, offsets } } = self;
        if Q::HAS_MIN {
            sums.resize(x.len() / 32, 0.0);
            for (x, sum) in x.chunks_exact(32).zip(sums) {
                *sum = isa.sum(sum_of_lanes(isa, x));
            }
        }
        if offset::<I, Q>() != 0.0 {
            offsets.resize(x.len() / Q::GROUP * I::LANES, 0.0);
            for (x, offset_of_group) in x.chunks_exact(Q::GROUP).zip(offsets.chunks_exact_mut(I::LANES)) {
                isa.store(isa.mul(sum_of_lanes(isa, x), isa.splat(-offset::<I, Q>())), offset_of_group);
            }
        }
    }

    #[inline(always)]
    fn affine(self, _: Affine) {}
}

#[inline(always)]
fn sum_of_lanes<I: Isa>(isa: I, x: &[f32]) -> I::Floats {
    let mut total = isa.zero();
    for x in x.chunks_exact(I::LANES) {
        total = isa.add(total, isa.load(x));
    }
    total
}
