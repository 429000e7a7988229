//! Product of a few rows with a matrix in the cache.

use super::prefetch::{AHEAD, ask_for};
use crate::isa::Isa;

/// Rows of a left factor, in pairs: row 2p + s begins at `of[s] + p * step`.
pub(super) struct Rows<'a> {
    pub x: &'a [f32],
    pub of: [usize; 2],
    pub step: usize,
    pub len: usize,
    pub pairs: usize,
}

impl<'a> Rows<'a> {
    #[inline(always)]
    fn row(&self, row: usize) -> &'a [f32] {
        &self.x[self.of[row % 2] + row / 2 * self.step..][..self.len]
    }
}

/// out`[rows, stride]` = scale · out + rows · w`[len, stride]`, in the first `columns` columns;
/// without a scale, the previous `out` is not read. Each value is one chain of multiply-adds in the
/// order of `len`, for any tile. With `cold`, `w` is not in the cache, and the memory after it is
/// prefetched.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) fn multiply<I: Isa>(
    isa: I,
    rows: &Rows,
    w: &[f32],
    stride: usize,
    columns: usize,
    scale: Option<f32>,
    cold: bool,
    out: &mut [f32],
) {
    // A single pair processes whole rows of 128 at once, so that memory is read in order.
    let whole = I::REGISTERS >= 32 && rows.pairs == 1;
    let mut at = 0;
    while at < columns {
        let vectors = match (columns - at) / I::LANES {
            0 | 1 => 1,
            2 | 3 => 2,
            8.. if whole => 8,
            _ => 4,
        };
        let mut row = 0;
        while row < 2 * rows.pairs {
            let out = &mut out[row * stride..];
            let cold = cold && at == 0 && row == 0;
            let four = I::REGISTERS >= 32 && row + 4 <= 2 * rows.pairs;
            if four {
                let rows = [rows.row(row), rows.row(row + 1), rows.row(row + 2), rows.row(row + 3)];
                Tile { isa, rows, w, stride, scale, cold }.columns_of(vectors, at, out);
                row += 4;
            } else {
                let tile = Tile { isa, rows: [rows.row(row), rows.row(row + 1)], w, stride, scale, cold };
                if vectors == 8 {
                    tile.columns::<8>(at, out)
                } else {
                    tile.columns_of(vectors, at, out)
                }
                row += 2;
            }
        }
        at += vectors * I::LANES;
    }
}

/// out`[stride]` = scale · out + row · w`[len, stride]`: the last of an odd number of rows.
#[inline(always)]
pub(super) fn multiply_row<I: Isa>(isa: I, row: &[f32], w: &[f32], stride: usize, scale: f32, out: &mut [f32]) {
    let tile = Tile { isa, rows: [row], w, stride, scale: Some(scale), cold: false };
    for at in (0..stride).step_by(I::LANES) {
        tile.columns::<1>(at, out);
    }
}

struct Tile<'a, I, const R: usize> {
    isa: I,
    rows: [&'a [f32]; R],
    w: &'a [f32],
    stride: usize,
    scale: Option<f32>,
    cold: bool,
}

impl<I: Isa, const R: usize> Tile<'_, I, R> {
    #[inline(always)]
    fn columns_of(&self, vectors: usize, at: usize, out: &mut [f32]) {
        match vectors {
            1 => self.columns::<1>(at, out),
            2 => self.columns::<2>(at, out),
            _ => self.columns::<4>(at, out),
        }
    }

    /// Computes `V` vectors of columns from `at` on.
    #[inline(always)]
    fn columns<const V: usize>(&self, at: usize, out: &mut [f32]) {
        let Tile { isa, rows, w, stride, scale, cold } = *self;
        let len = rows[0].len();
        assert!(rows.iter().all(|row| row.len() == len) && w.len() >= len * stride && at + V * I::LANES <= stride);
        let mut sums = [[isa.zero(); V]; R];
        if let Some(scale) = scale {
            for (r, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = isa.mul(isa.splat(scale), isa.load(&out[r * stride + at + v * I::LANES..]));
                }
            }
        }
        for d in 0..len {
            if cold {
                ask_for(isa, w.as_ptr().wrapping_add(d * stride + AHEAD / size_of::<f32>()), stride);
            }
            let mut vectors = [isa.zero(); V];
            for (v, vector) in vectors.iter_mut().enumerate() {
                // SAFETY: row d of w is inside it, and so are columns at.. + V vectors, as was
                // asserted.
                *vector = unsafe { isa.load_at(w.as_ptr().add(d * stride + at + v * I::LANES)) };
            }
            for (sums, row) in sums.iter_mut().zip(rows) {
                // SAFETY: each row has `len` values, as was asserted.
                let x = isa.splat(unsafe { *row.as_ptr().add(d) });
                for (sum, vector) in sums.iter_mut().zip(vectors) {
                    *sum = isa.mul_add(x, vector, *sum);
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                isa.store(sum, &mut out[r * stride + at + v * I::LANES..]);
            }
        }
    }
}
