//! Activations times weights.

mod activations;
mod format;
mod gemm;
mod matvec;
mod packed;
mod short;
#[cfg(test)]
mod tests;

use crate::pool::{SharedMut, lock};
use crate::{BlockType, Matrix, Pool, Simd, reference};
use activations::{Activations, Rounded};
use format::Layout;
use gemm::{Gemm, PANEL, PANEL_COLS, PANEL_ROWS};
use matvec::MatVec;
use packed::{Multiply, Pack, Panel};
use std::sync::Mutex;

/// Bytes of weights that a thread takes at a time when there is one token. Each piece begins with memory that nobody has
/// asked for yet, so few are better; but each thread should take several, so that one that is disturbed takes fewer.
const MATVEC_BYTES: std::ops::RangeInclusive<usize> = 16 << 10..=96 << 10;
/// Pieces that a thread takes if none is disturbed, where the limits above allow it.
const MATVEC_PIECES: usize = 8;

/// Room that [`matmul`] works in; grows to what the largest call needs and is then reused.
#[derive(Default)]
pub struct Scratch {
    rounded: Activations,
    /// Of each, one for each thread; locks that are never waited for, because no two threads have the same number.
    plain_panels: Vec<Mutex<Vec<f32>>>,
    panels: Vec<Mutex<Panel>>,
}

/// One room for each thread.
fn rooms<T>(rooms: &mut Vec<Mutex<T>>, threads: usize, new: impl Fn() -> T) -> &[Mutex<T>] {
    while rooms.len() < threads {
        rooms.push(Mutex::new(new()));
    }
    rooms
}

/// y`[n, rows]` = x`[n, cols]` · Wᵀ, W`[rows, cols]`. n = 1 is a decoding step, n > 1 a piece of a prompt.
///
/// Panics if `x` or `y` has another length.
pub fn matmul(pool: &Pool, simd: Simd, w: &Matrix, x: &[f32], n: usize, y: &mut [f32], scratch: &mut Scratch) {
    assert_eq!(x.len(), n * w.cols(), "x is [{n}, {}]", w.cols());
    assert_eq!(y.len(), n * w.rows(), "y is [{n}, {}]", w.rows());
    match w.cols() {
        0 => y.fill(0.0),
        _ if short::is_short(w) && !simd.is_reference() => short::short(pool, simd, w, x, y),
        _ => long(pool, simd, w, x, n, y, scratch),
    }
}

/// Rows of any length, quantised weights in whole numbers.
fn long(pool: &Pool, simd: Simd, w: &Matrix, x: &[f32], n: usize, y: &mut [f32], scratch: &mut Scratch) {
    match n {
        _ if y.is_empty() => {}
        _ if simd.is_reference() => reference::matmul(w, x, y),
        1 => matvec(pool, simd, w, x, y, scratch),
        _ => match Layout::of(w.kind()) {
            None => plain_gemm(pool, simd, w, x, n, y, scratch),
            Some(layout) => gemm(pool, simd, w, layout, x, n, y, scratch),
        },
    }
}

fn matvec(pool: &Pool, simd: Simd, w: &Matrix, x: &[f32], y: &mut [f32], scratch: &mut Scratch) {
    let mut rounded = Rounded { words: &[], scales: &[], sums: &[] };
    if let Some(layout) = Layout::of(w.kind()) {
        scratch.rounded.round(pool, simd, layout, x, w.cols());
        rounded = scratch.rounded.part(layout, w.cols(), 0, 0, w.cols());
    }
    let piece = w.bytes().len() / (MATVEC_PIECES * pool.threads());
    let rows = piece.clamp(*MATVEC_BYTES.start(), *MATVEC_BYTES.end()) / w.row(0).len();
    let rows = rows.next_multiple_of(4).min(w.rows().div_ceil(pool.threads())).max(1);
    pool.for_pieces(y, rows, |i, y, _| {
        let w = w.slice_rows(i * rows, y.len());
        simd.run(MatVec { w, x, rounded, y });
    });
}

fn plain_gemm(pool: &Pool, simd: Simd, w: &Matrix, x: &[f32], n: usize, y: &mut [f32], scratch: &mut Scratch) {
    let panels = rooms(&mut scratch.plain_panels, pool.threads(), || vec![0.0; PANEL]);
    let y = SharedMut::new(y);
    pool.run(w.rows().div_ceil(PANEL_ROWS), |i, worker| {
        let first_row = i * PANEL_ROWS;
        let rows = PANEL_ROWS.min(w.rows() - first_row);
        let panel = &mut lock(&panels[worker])[..];
        simd.run(Gemm { w: w.slice_rows(first_row, rows), x, n, y, stride: w.rows(), first_row, panel });
    });
}

#[allow(clippy::too_many_arguments)]
fn gemm(
    pool: &Pool,
    simd: Simd,
    w: &Matrix,
    layout: Layout,
    x: &[f32],
    n: usize,
    y: &mut [f32],
    scratch: &mut Scratch,
) {
    let Scratch { rounded: x_rounded, panels, .. } = scratch;
    x_rounded.round(pool, simd, layout, x, w.cols());
    let (x, panels, y) = (&*x_rounded, rooms(panels, pool.threads(), Panel::new), SharedMut::new(y));
    let (cols, stride) = (w.cols(), w.rows());
    pool.run(w.rows().div_ceil(PANEL_ROWS), |i, worker| {
        let first_row = i * PANEL_ROWS;
        let rows = PANEL_ROWS.min(w.rows() - first_row);
        let w = w.slice_rows(first_row, rows);
        let panel = &mut *lock(&panels[worker]);
        for first in (0..cols).step_by(PANEL_COLS) {
            let count = PANEL_COLS.min(cols - first);
            simd.run(Pack { w, first, count, panel });
            simd.run(Multiply { panel, layout, x, cols, n, first, count, y, stride, first_row, rows });
        }
    });
}

/// Unpacks one row of weights, or any other run of whole blocks: `dst[i]` = value `i` of `src`.
///
/// Panics if `src` is not exactly `dst.len()` values of `kind`.
pub fn unpack_row(kind: BlockType, src: &[u8], dst: &mut [f32]) {
    reference::unpack(kind, src, dst);
}
