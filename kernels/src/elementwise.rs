//! Operations that go over vectors once or twice.

use crate::{Simd, reference};

/// y`[n, dim]` = x / sqrt(mean(x²) + eps) · weight, row by row; weight`[dim]`. Panics if the lengths disagree.
pub fn rms_norm(_simd: Simd, x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    assert!(x.len() == y.len() && x.len().is_multiple_of(weight.len().max(1)), "x and y are [n, {}]", weight.len());
    if !weight.is_empty() {
        reference::rms_norm(x, weight, eps, y);
    }
}

/// x = exp(x - max(x)) / Σ exp(x - max(x)), over the whole slice.
pub fn softmax(_simd: Simd, x: &mut [f32]) {
    reference::softmax(x);
}

/// y = gate / (1 + exp(-gate)) · up, value by value. Panics if the lengths disagree.
pub fn silu_mul(_simd: Simd, gate: &[f32], up: &[f32], y: &mut [f32]) {
    assert!(gate.len() == y.len() && up.len() == y.len(), "gate, up and y have one length");
    reference::silu_mul(gate, up, y);
}

/// y += x, value by value. Panics if the lengths disagree.
pub fn add(_simd: Simd, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "x and y have one length");
    reference::add(x, y);
}

/// The place of the largest value, the first of equals; NaN is never chosen. `None` if there is nothing to choose.
pub fn argmax(_simd: Simd, x: &[f32]) -> Option<usize> {
    reference::argmax(x)
}
