//! Activations times weights.

use crate::{BlockType, Matrix, Pool, Simd, reference};

/// Room that [`matmul`] and [`crate::attention`] work in; grows to the largest call and is then reused.
#[derive(Default)]
pub struct Scratch {}

/// y`[n, rows]` = x`[n, cols]` · Wᵀ, W`[rows, cols]`. n = 1 is a decoding step, n > 1 a piece of a prompt.
///
/// Panics if `x` or `y` has another length.
pub fn matmul(_pool: &Pool, _simd: Simd, w: &Matrix, x: &[f32], n: usize, y: &mut [f32], _scratch: &mut Scratch) {
    assert_eq!(x.len(), n * w.cols(), "x is [{n}, {}]", w.cols());
    assert_eq!(y.len(), n * w.rows(), "y is [{n}, {}]", w.rows());
    reference::matmul(w, x, y);
}

/// Unpacks one row of weights, or any other run of whole blocks: `dst[i]` = value `i` of `src`.
///
/// Panics if `src` is not exactly `dst.len()` values of `kind`.
pub fn unpack_row(kind: BlockType, src: &[u8], dst: &mut [f32]) {
    reference::unpack(kind, src, dst);
}
