//! Products of activations and weights.

pub(crate) mod activations;
mod gemm;
mod matvec;
mod parts;
mod plain;
mod product;
mod short;
#[cfg(test)]
mod tests;
mod tiled;
mod tiled_bf16;

use crate::interleaved::InterleavedLayout;
use crate::matrix::Order;
use crate::pool::{SharedMut, lock};
use crate::tiles::bf16::Bf16Tiles;
use crate::{BlockType, Matrix, Pool, Simd, pruned, reference};
use activations::{Activations, Grouping};
use gemm::{Gemm, PANEL, PANEL_ROWS};
use matvec::MatVec;
use parts::Parts;
use product::Product;
use std::sync::Mutex;
use tiled_bf16::TiledBf16;

/// Range of bytes of weights that a thread processes at a time for a single token. Each piece
/// begins with memory that was not prefetched, so few pieces are better; but each thread should
/// take several, so that a disturbed thread takes fewer.
const PIECE_BYTES: std::ops::RangeInclusive<usize> = 16 << 10..=96 << 10;
/// Number of pieces per undisturbed thread, if the limits above allow it.
const PIECES: usize = 8;
/// Largest number of matrices in one call.
const MOST: usize = 4;

/// Working memory of [`matmul`]; grows to the size that the largest call needs and is then reused.
#[derive(Default)]
pub struct Scratch {
    /// Rounded activations, one for each rounding that the matrices of a call require.
    rounded: [Activations; MOST],
    /// Activations for tiles of bf16.
    parts: Parts,
    /// Panels, one for each thread; their locks never block, because no two threads have the same
    /// number.
    panels: Vec<Mutex<Vec<f32>>>,
    /// Setting of [`Scratch::as_steps`].
    steps: bool,
}

impl Scratch {
    /// Sets whether several tokens are multiplied bit-identical to single ones from now on, or in
    /// the fastest way. Plain weights sum the products of a single token in another order than
    /// those of many; quantised ones always in the same.
    pub fn as_steps(&mut self, steps: bool) {
        self.steps = steps;
    }
}

/// Whether a matrix should be packed in strips (see [`InterleavedLayout`]) before it is multiplied:
/// if it is quantised and its rows are not short.
pub fn wants_strips(kind: BlockType, cols: usize) -> bool {
    !short::is_short(cols) && Grouping::of(kind).is_some()
}

/// y`[n, rows]` = x`[n, cols]` · Wᵀ, W`[rows, cols]`. n = 1 is a decode step, n > 1 a part of a
/// prefill.
///
/// Panics if `x` or `y` has another length.
pub fn matmul(pool: &Pool, simd: Simd, w: &Matrix, x: &[f32], n: usize, y: &mut [f32], scratch: &mut Scratch) {
    matmul_all(pool, simd, [w], x, n, [y], scratch);
}

/// Multiplies the same x by up to four matrices, as one parallel task; see [`matmul`].
///
/// Panics if `x` or a `y` has another length.
pub fn matmul_all<const M: usize>(
    pool: &Pool,
    simd: Simd,
    w: [&Matrix; M],
    x: &[f32],
    n: usize,
    y: [&mut [f32]; M],
    scratch: &mut Scratch,
) {
    const { assert!(M <= MOST) };
    for (w, y) in w.iter().zip(&y) {
        assert_eq!(x.len(), n * w.cols(), "x is [{n}, {}]", w.cols());
        assert_eq!(y.len(), n * w.rows(), "y is [{n}, {}]", w.rows());
    }
    scratch.rounded.iter_mut().for_each(Activations::clear);
    scratch.parts.clear();
    let mut shares = [const { None }; M];
    for ((w, y), share) in w.into_iter().zip(y).zip(&mut shares) {
        match w.order() {
            _ if y.is_empty() => {}
            _ if w.cols() == 0 => y.fill(0.0),
            _ if simd.is_reference() => reference::matmul(w, x, y),
            Order::Rows { .. } if Grouping::of(w.kind()).is_some() => short::short(pool, simd, w, x, y),
            Order::BitPlanes(layout) => {
                let room = scratch.rounded.iter_mut().find(|rounded| rounded.is_free());
                let room = room.expect("no more ways of rounding than matrices");
                pruned::full(pool, simd, &layout, w.bytes(), x, y, room);
                room.clear();
            }
            Order::Rows { .. } if n > 1 && !scratch.steps => match simd.bf16_tiles() {
                Some(tiles) if w.kind() == BlockType::BF16 => {
                    tiled_gemm(pool, simd, tiles, w, x, y, &mut scratch.parts)
                }
                _ => plain_gemm(pool, simd, w, x, n, y, scratch),
            },
            Order::Rows { row_bytes } => {
                let unit = PIECE_ROWS;
                *share = Some(Share::new(pool, 1, Work::Rows(*w), y, w.rows().div_ceil(unit), unit * row_bytes));
            }
            Order::Strips(layout) => {
                let rounded = round(pool, simd, w.kind(), x, w.cols(), &mut scratch.rounded);
                let work = Work::Strips { layout, data: w.bytes(), rounded };
                *share = Some(Share::new(pool, n, work, y, layout.strips(), layout.strip_bytes()));
            }
        }
    }
    let pieces = shares.iter().flatten().map(|share| share.pieces).sum();
    pool.run(pieces, |mut piece, _| {
        for share in shares.iter().flatten() {
            match piece.checked_sub(share.pieces) {
                Some(left) => piece = left,
                None => return share.run(simd, x, &scratch.rounded, piece),
            }
        }
    });
}

/// Granularity of pieces of a matrix stored in rows.
const PIECE_ROWS: usize = 4;

/// Part of a call for one matrix, in pieces of whole units.
struct Share<'a, 'y> {
    work: Work<'a>,
    y: SharedMut<'y, f32>,
    units: usize,
    /// Number of units in a piece.
    size: usize,
    pieces: usize,
}

enum Work<'a> {
    /// Each token separately; a unit is [`PIECE_ROWS`].
    Rows(Matrix<'a>),
    /// A unit is a strip; `rounded` is the index of the activations that it is multiplied by.
    Strips { layout: InterleavedLayout, data: &'a [u8], rounded: usize },
}

impl<'a, 'y> Share<'a, 'y> {
    fn new(pool: &Pool, n: usize, work: Work<'a>, y: &'y mut [f32], units: usize, unit_bytes: usize) -> Self {
        let size = match n {
            1 => {
                let piece = units * unit_bytes / (PIECES * pool.threads());
                (piece.clamp(*PIECE_BYTES.start(), *PIECE_BYTES.end()) / unit_bytes).min(units.div_ceil(pool.threads()))
            }
            _ => 1,
        };
        let size = size.max(1);
        Share { work, y: SharedMut::new(y), units, size, pieces: units.div_ceil(size) }
    }

    fn run(&self, simd: Simd, x: &[f32], rounded: &[Activations; MOST], piece: usize) {
        let units = piece * self.size..self.units.min((piece + 1) * self.size);
        match &self.work {
            Work::Rows(w) => {
                let first = units.start * PIECE_ROWS;
                let rows = w.rows().min(units.end * PIECE_ROWS) - first;
                // The first token loads the piece into the cache for the others.
                for (token, x) in x.chunks_exact(w.cols()).enumerate() {
                    // SAFETY: pieces do not overlap, and each is run once.
                    let y = unsafe { self.y.slice(token * w.rows() + first, rows) };
                    simd.run(MatVec { w: w.slice_rows(first, rows), x, y });
                }
            }
            Work::Strips { layout, data, rounded: number } => {
                let x = &rounded[*number];
                simd.run(Product { layout, data, strips: units, x, y: self.y, tiles: simd.tiles() });
            }
        }
    }
}

/// Rounds x for weights of this type, unless that was done; returns the index in `rounded`.
fn round(pool: &Pool, simd: Simd, kind: BlockType, x: &[f32], cols: usize, rounded: &mut [Activations; MOST]) -> usize {
    let Some(grouping) = Grouping::of(kind) else { unreachable!("strips are of quantised weights") };
    if let Some(number) = rounded.iter().position(|rounded| rounded.is_for(grouping)) {
        return number;
    }
    let number = rounded.iter().position(Activations::is_free).expect("no more ways of rounding than matrices");
    rounded[number].round(pool, simd, grouping, x, cols);
    number
}

fn plain_gemm(pool: &Pool, simd: Simd, w: &Matrix, x: &[f32], n: usize, y: &mut [f32], scratch: &mut Scratch) {
    while scratch.panels.len() < pool.threads() {
        scratch.panels.push(Mutex::new(vec![0.0; PANEL]));
    }
    let (panels, y) = (&scratch.panels, SharedMut::new(y));
    pool.run(w.rows().div_ceil(PANEL_ROWS), |i, worker| {
        let first_row = i * PANEL_ROWS;
        let rows = PANEL_ROWS.min(w.rows() - first_row);
        let panel = &mut lock(&panels[worker])[..];
        simd.run(Gemm { w: w.slice_rows(first_row, rows), x, n, y, stride: w.rows(), first_row, panel });
    });
}

/// Used for any number of tokens, so that a token's products do not depend on the others; with two
/// tokens it should already run at the speed of memory.
fn tiled_gemm(pool: &Pool, simd: Simd, tiles: Bf16Tiles, w: &Matrix, x: &[f32], y: &mut [f32], parts: &mut Parts) {
    parts.take(pool, simd, x, w.cols());
    let (parts, y) = (&*parts, &SharedMut::new(y));
    pool.run(w.rows().div_ceil(tiled_bf16::PIECE), |i, _| {
        let first_row = i * tiled_bf16::PIECE;
        let piece = w.slice_rows(first_row, tiled_bf16::PIECE.min(w.rows() - first_row));
        simd.run(TiledBf16 { tiles, w: piece, x, parts, y, stride: w.rows(), first_row });
    });
}

/// Unpacks one row of weights, or any other run of whole blocks: `dst[i]` = value `i` of `src`.
///
/// Panics if `src` is not exactly `dst.len()` values of `kind`.
pub fn unpack_row(kind: BlockType, src: &[u8], dst: &mut [f32]) {
    reference::unpack(kind, src, dst);
}
