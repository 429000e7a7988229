//! Short rows of quantised weights, which are unpacked and multiplied by unrounded activations.
//!
//! The rounding of activations to 16 bits is noise that averages out over the terms of a row; in a
//! short row there are too few terms, and small models are the ones with changed answers. Up to
//! [`SHORT`] columns a product is small enough that exactness costs no noticeable time.
//!
//! Only models made for tests use it, and products with few inputs: no weight of a model of the
//! catalogue has so few columns. It therefore combines existing parts, a row at a time (the
//! reference unpacks it, the kernel for plain f32 multiplies it), and is not optimised.

use super::matvec::MatVec;
use crate::pool::SharedMut;
use crate::{BlockType, Matrix, Pool, Simd, reference};

/// Number of columns of the longest row that counts as short. The narrowest usable chat model has
/// 576.
const SHORT: usize = 512;
/// Number of rows that a thread processes at a time.
const ROWS: usize = 16;

/// Whether rows of this many quantised weights are multiplied here.
pub(super) fn is_short(cols: usize) -> bool {
    cols <= SHORT
}

/// y`[n, rows]` = x`[n, cols]` · Wᵀ. Each row is computed for each token separately, so results are
/// bit-identical for any n and any number of threads.
pub(super) fn short(pool: &Pool, simd: Simd, w: &Matrix, x: &[f32], y: &mut [f32]) {
    let (rows, cols, y) = (w.rows(), w.cols(), SharedMut::new(y));
    pool.run(rows.div_ceil(ROWS), |i, _| {
        let (mut values, mut bytes) = ([0.0; SHORT], [0; SHORT * size_of::<f32>()]);
        let (values, bytes) = (&mut values[..cols], &mut bytes[..cols * size_of::<f32>()]);
        for row in i * ROWS..rows.min((i + 1) * ROWS) {
            reference::unpack(w.kind(), w.row(row), values);
            bytes.as_chunks_mut().0.iter_mut().zip(&*values).for_each(|(bytes, value)| *bytes = value.to_le_bytes());
            let w = Matrix::new(BlockType::F32, 1, cols, bytes).expect("a row of f32");
            for (token, x) in x.chunks_exact(cols).enumerate() {
                // SAFETY: each place is written by the one task that has its row.
                let y = unsafe { y.slice(token * rows + row, 1) };
                simd.run(MatVec { w, x, y });
            }
        }
    });
}
