//! Activations times weights.

mod format;
mod gemm;
mod matvec;
#[cfg(test)]
mod tests;
mod unpack;

use crate::pool::{SharedMut, lock};
use crate::{BlockType, Matrix, Pool, Simd, reference};
use gemm::{Gemm, PANEL, PANEL_ROWS};
use matvec::{MatVec, Prepare, Prepared};
use std::sync::Mutex;

/// Bytes of weights that a thread takes at a time when there is one token: a few microseconds of reading.
const MATVEC_BYTES: usize = 32 << 10;

/// Room that [`matmul`] works in; grows to what the largest call needs and is then reused.
#[derive(Default)]
pub struct Scratch {
    prepared: Prepared,
    /// One for each thread; a lock that is never waited for, because no two threads have the same number.
    panels: Vec<Mutex<Vec<f32>>>,
}

impl Scratch {
    fn panels(&mut self, threads: usize) -> &[Mutex<Vec<f32>>] {
        while self.panels.len() < threads {
            self.panels.push(Mutex::new(vec![0.0; PANEL]));
        }
        &self.panels
    }
}

/// y`[n, rows]` = x`[n, cols]` · Wᵀ, W`[rows, cols]`. n = 1 is a decoding step, n > 1 a piece of a prompt.
///
/// Panics if `x` or `y` has another length.
pub fn matmul(pool: &Pool, simd: Simd, w: &Matrix, x: &[f32], n: usize, y: &mut [f32], scratch: &mut Scratch) {
    assert_eq!(x.len(), n * w.cols(), "x is [{n}, {}]", w.cols());
    assert_eq!(y.len(), n * w.rows(), "y is [{n}, {}]", w.rows());
    match n {
        _ if y.is_empty() => {}
        _ if w.cols() == 0 => y.fill(0.0),
        _ if simd.is_reference() => reference::matmul(w, x, y),
        1 => matvec(pool, simd, w, x, y, scratch),
        _ => gemm(pool, simd, w, x, n, y, scratch),
    }
}

fn matvec(pool: &Pool, simd: Simd, w: &Matrix, x: &[f32], y: &mut [f32], scratch: &mut Scratch) {
    simd.run(Prepare { kind: w.kind(), x, prepared: &mut scratch.prepared });
    let prepared = &scratch.prepared;
    let rows = (MATVEC_BYTES / w.row(0).len()).max(1).next_multiple_of(4).min(w.rows().div_ceil(pool.threads()).max(1));
    pool.for_pieces(y, rows, |i, y, _| {
        let w = w.slice_rows(i * rows, y.len());
        simd.run(MatVec { w, x, prepared, y });
    });
}

fn gemm(pool: &Pool, simd: Simd, w: &Matrix, x: &[f32], n: usize, y: &mut [f32], scratch: &mut Scratch) {
    let (panels, y) = (scratch.panels(pool.threads()), SharedMut::new(y));
    pool.run(w.rows().div_ceil(PANEL_ROWS), |i, worker| {
        let first_row = i * PANEL_ROWS;
        let rows = PANEL_ROWS.min(w.rows() - first_row);
        let panel = &mut lock(&panels[worker])[..];
        simd.run(Gemm { w: w.slice_rows(first_row, rows), x, n, y, stride: w.rows(), first_row, panel });
    });
}

/// Unpacks one row of weights, or any other run of whole blocks: `dst[i]` = value `i` of `src`.
///
/// Panics if `src` is not exactly `dst.len()` values of `kind`.
pub fn unpack_row(kind: BlockType, src: &[u8], dst: &mut [f32]) {
    reference::unpack(kind, src, dst);
}
