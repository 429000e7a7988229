//! Error and output of one token, from the products of its key and query.

use super::{CHUNK, DeltaWeights, LOWEST_DECAY, SOFTPLUS_IS_LINEAR};
use crate::elementwise::{map_vectors, norm_row, padded};
use crate::isa::{Isa, silu};

/// Products of a token, known before its error.
pub(super) struct Token<'a> {
    pub i: usize,
    pub stride: usize,
    pub beta: f32,
    pub carried: f32,
    /// Factors e^(Gᵢ-Gⱼ) (kⱼ·kᵢ)
    pub k_parts: &'a [f32; CHUNK],
    /// Factors e^(Gᵢ-Gⱼ) (kⱼ·qᵢ)
    pub q_parts: &'a [f32; CHUNK],
}

impl Token<'_> {
    /// Writes uᵢ after the earlier ones, and oᵢ to `row`, which holds vᵢ.
    #[inline(always)]
    pub fn correct_and_read<I: Isa>(&self, isa: I, reads: &[f32], errors: &mut [f32], row: &mut [f32]) {
        let mut at = 0;
        while at + 4 * I::LANES <= self.stride {
            self.columns::<I, 4>(isa, at, reads, errors, row);
            at += 4 * I::LANES;
        }
        while at < self.stride {
            self.columns::<I, 1>(isa, at, reads, errors, row);
            at += I::LANES;
        }
    }

    #[inline(always)]
    fn columns<I: Isa, const V: usize>(&self, isa: I, at: usize, reads: &[f32], errors: &mut [f32], row: &mut [f32]) {
        let Token { i, stride, beta, carried, k_parts, q_parts } = *self;
        let (mut recalled, mut read) = ([isa.zero(); V], [isa.zero(); V]);
        for v in 0..V {
            let column = at + v * I::LANES;
            recalled[v] = isa.mul(isa.splat(carried), isa.load(&reads[column..]));
            read[v] = isa.mul(isa.splat(carried), isa.load(&reads[stride + column..]));
        }
        for (j, u) in errors.chunks_exact(stride).enumerate().take(i) {
            let (k_part, q_part) = (isa.splat(k_parts[j]), isa.splat(q_parts[j]));
            for v in 0..V {
                let u = isa.load(&u[at + v * I::LANES..]);
                recalled[v] = isa.mul_add(k_part, u, recalled[v]);
                read[v] = isa.mul_add(q_part, u, read[v]);
            }
        }
        for v in 0..V {
            let column = at + v * I::LANES;
            let value = isa.load(&row[column..]);
            let u = isa.mul(isa.splat(beta), isa.sub(value, recalled[v]));
            isa.store(u, &mut errors[i * stride + column..]);
            isa.store(isa.mul_add(isa.splat(q_parts[i]), u, read[v]), &mut row[column..]);
        }
    }
}

/// out = o / sqrt(mean(o²) + eps) · norm · silu(z)
#[inline(always)]
pub(super) fn gated_norm<I: Isa>(
    isa: I,
    o: &[f32],
    z: &[f32],
    weights: &DeltaWeights,
    normed: &mut [f32],
    out: &mut [f32],
) {
    norm_row(isa, o, weights.norm, weights.norm_eps, normed);
    map_vectors!(isa, z = z, o = normed, out => isa.mul(silu(isa, z), o));
}

/// g = rate · ln(1 + eˣ), from [`LOWEST_DECAY`] to 0: a state never grows by itself.
pub(super) fn log_decay(rate: f32, x: f32) -> f64 {
    let x = f64::from(x);
    let softplus = if x > SOFTPLUS_IS_LINEAR { x } else { x.exp().ln_1p() };
    (f64::from(rate) * softplus).clamp(LOWEST_DECAY, 0.0)
}

pub(super) fn sigmoid(x: f32) -> f32 {
    (1.0 / (1.0 + f64::from(-x).exp())) as f32
}
