//! Scalar reference implementation, which every other variant is compared with. Written for
//! readability, accumulating in f64.

use crate::affine::{Affine, HEAD, code_in_part};
use crate::attention::{AttentionShape, KeyValues};
use crate::block::BlockType;
use crate::conv::HeadLayout;
use crate::deltanet::DeltaWeights;
use crate::matrix::Matrix;
use half::{bf16, f16};

/// Unpacks whole blocks of `kind` into values: `dst[i]` = value `i`. `src` must hold exactly
/// `dst.len()` values.
pub fn unpack(kind: BlockType, src: &[u8], dst: &mut [f32]) {
    assert_eq!(kind.row_bytes(dst.len()), Some(src.len()), "{kind}: {} bytes for {} values", src.len(), dst.len());
    let blocks = src.chunks_exact(kind.block_bytes()).zip(dst.chunks_exact_mut(kind.block_len()));
    for (block, values) in blocks {
        match kind {
            BlockType::F32 => values[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
            BlockType::F16 => values[0] = half_at(block, 0),
            BlockType::BF16 => values[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32(),
            BlockType::Q8_0 => q8_0(block, values),
            BlockType::Q4_0 => nibbles(half_at(block, 0), -8, 0.0, 0, &block[2..], values),
            BlockType::Q4_1 => nibbles(half_at(block, 0), 0, half_at(block, 2), 0, &block[4..], values),
            BlockType::Q5_0 => nibbles(half_at(block, 0), -16, 0.0, word_at(block, 2), &block[6..], values),
            BlockType::Q5_1 => nibbles(half_at(block, 0), 0, half_at(block, 2), word_at(block, 4), &block[8..], values),
            BlockType::Q2_K => q2_k(block, values),
            BlockType::Q3_K => q3_k(block, values),
            BlockType::Q4_K => qk(block, &[0; 32], &block[16..], values),
            BlockType::Q5_K => qk(block, &block[16..48], &block[48..], values),
            BlockType::Q6_K => q6_k(block, values),
            BlockType::Affine(kind) => affine(kind, block, values),
        }
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn word_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

fn q8_0(block: &[u8], values: &mut [f32]) {
    let d = half_at(block, 0);
    for (value, &q) in values.iter_mut().zip(&block[2..]) {
        *value = d * f32::from(q as i8);
    }
}

/// Unpacks `d * (q + offset) + m`, where q is a nibble with its fifth bit in `high`.
fn nibbles(d: f32, offset: i32, m: f32, high: u32, qs: &[u8], values: &mut [f32]) {
    for (i, value) in values.iter_mut().enumerate() {
        let nibble = i32::from(qs[i % 16] >> (4 * (i / 16)) & 15);
        let q = nibble | ((high >> i & 1) << 4) as i32;
        *value = d * (q + offset) as f32 + m;
    }
}

/// Unpacks sixteen groups of 16, each with a scale and a minimum of four bits in one byte. In each
/// half of 128 values the bit pairs of `qs` belong to the four quarters in order.
fn q2_k(block: &[u8], values: &mut [f32]) {
    let (scales, qs, d, m) = (&block[..16], &block[16..80], half_at(block, 80), half_at(block, 82));
    for (i, value) in values.iter_mut().enumerate() {
        let scale = scales[i / 16];
        let q = qs[32 * (i / 128) + i % 32] >> (2 * (i % 128 / 32)) & 3;
        *value = d * f32::from(scale & 15) * f32::from(q) - m * f32::from(scale >> 4);
    }
}

/// Unpacks sixteen groups of 16. Bit pairs are as in Q2_K; bit `i / 32` of `qh[i % 32]` is the
/// third bit of value `i`.
fn q3_k(block: &[u8], values: &mut [f32]) {
    let (qh, qs, scales, d) = (&block[..32], &block[32..96], &block[96..108], half_at(block, 108));
    for (i, value) in values.iter_mut().enumerate() {
        let low = qs[32 * (i / 128) + i % 32] >> (2 * (i % 128 / 32)) & 3;
        let high = qh[i % 32] >> (i / 32) & 1;
        let scale = i32::from(six_bits_of_sixteen(i / 16, scales)) - 32;
        let q = i32::from(low | high << 2) - 4;
        *value = d * scale as f32 * q as f32;
    }
}

/// Returns scale `g` of the sixteen that Q3_K packs into twelve bytes: nibbles in eight, the upper
/// bit pairs in four.
pub(crate) fn six_bits_of_sixteen(g: usize, scales: &[u8]) -> u8 {
    let low = scales[g % 8] >> (4 * (g / 8)) & 15;
    low | (scales[8 + g % 4] >> (2 * (g / 4)) & 3) << 4
}

/// Unpacks Q4_K and Q5_K: eight groups of 32 with a scale and a minimum of six bits each. Bit `g`
/// of `high[i]` is the fifth bit of value `i` of group `g`.
fn qk(block: &[u8], high: &[u8], qs: &[u8], values: &mut [f32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (g, group) in values.chunks_exact_mut(32).enumerate() {
        let (scale, min) = six_bits(g, &block[4..16]);
        let (d, m) = (d * f32::from(scale), m * f32::from(min));
        for (i, value) in group.iter_mut().enumerate() {
            let nibble = qs[32 * (g / 2) + i] >> (4 * (g % 2)) & 15;
            let q = nibble | (high[i] >> g & 1) << 4;
            *value = d * f32::from(q) - m;
        }
    }
}

/// Returns scale and minimum of group `g` out of the twelve bytes that hold eight of each.
fn six_bits(g: usize, scales: &[u8]) -> (u8, u8) {
    if g < 4 {
        return (scales[g] & 63, scales[g + 4] & 63);
    }
    let low = scales[g + 4];
    (low & 15 | scales[g - 4] >> 6 << 4, low >> 4 | scales[g] >> 6 << 4)
}

/// Unpacks sixteen groups of 16. In each half of 128 values the low nibbles of `ql` are the first
/// 64, the high ones the rest; the bit pairs of `qh` belong to the four quarters in order.
fn q6_k(block: &[u8], values: &mut [f32]) {
    let (ql, qh, scales, d) = (&block[..128], &block[128..192], &block[192..208], half_at(block, 208));
    for (i, value) in values.iter_mut().enumerate() {
        let (part, quarter, at) = (i / 128, i % 128 / 32, i % 32);
        let low = ql[64 * part + 32 * (quarter % 2) + at] >> (4 * (quarter / 2)) & 15;
        let high = qh[32 * part + at] >> (2 * quarter) & 3;
        let q = i32::from(low | high << 4) - 32;
        *value = d * f32::from(scales[i / 16] as i8) * q as f32;
    }
}

/// Unpacks `scale * q + bias`, rounded once.
fn affine(kind: Affine, block: &[u8], values: &mut [f32]) {
    let [scale, bias] = [0, 4].map(|at| f64::from(f32::from_bits(word_at(block, at))));
    let parts = block[HEAD..].chunks_exact(kind.part_bytes());
    for (part, values) in parts.zip(values.chunks_exact_mut(32)) {
        for (i, value) in values.iter_mut().enumerate() {
            *value = (scale * f64::from(code_in_part(kind, part, i)) + bias) as f32;
        }
    }
}

/// y`[n, rows]` = x`[n, cols]` · Wᵀ.
pub fn matmul(w: &Matrix, x: &[f32], y: &mut [f32]) {
    let mut row = vec![0.0; w.cols()];
    for r in 0..w.rows() {
        w.unpack_row(r, &mut row);
        for t in 0..y.len() / w.rows() {
            y[t * w.rows() + r] = dot(&row, &x[t * w.cols()..][..w.cols()]) as f32;
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    for (x, y) in x.chunks_exact(weight.len()).zip(y.chunks_exact_mut(weight.len())) {
        let scale = 1.0 / (dot(x, x) / x.len() as f64 + f64::from(eps)).sqrt();
        for ((y, &x), &w) in y.iter_mut().zip(x).zip(weight) {
            *y = (f64::from(x) * scale * f64::from(w)) as f32;
        }
    }
}

pub fn silu_mul(gate: &[f32], y: &mut [f32]) {
    for (y, &g) in y.iter_mut().zip(gate) {
        *y = (f64::from(g) / (1.0 + f64::from(-g).exp()) * f64::from(*y)) as f32;
    }
}

pub fn sigmoid_mul(gate: &[f32], y: &mut [f32]) {
    for (y, &g) in y.iter_mut().zip(gate) {
        *y = (f64::from(*y) / (1.0 + f64::from(-g).exp())) as f32;
    }
}

pub fn add(x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += x;
    }
}

/// Computes the short convolution of a DeltaNet layer over all of a sequence, in f64; see
/// [`crate::delta_rule`] for the shapes.
pub fn mix_heads(heads: &HeadLayout, taps: &[f32], raw: &[f32]) -> Vec<f64> {
    let (channels, keys) = (heads.channels(), heads.key_width());
    let rows = taps.len() / channels;
    let mut mixed = Vec::with_capacity(raw.len());
    for t in 0..raw.len() / channels {
        for c in 0..channels {
            let tap = |j: usize| match (t + j + 1).checked_sub(rows) {
                Some(from) => f64::from(taps[j * channels + c]) * f64::from(raw[from * channels + c]),
                None => 0.0,
            };
            let y: f64 = (0..rows).map(tap).sum();
            mixed.push(y / (1.0 + (-y).exp()));
        }
    }
    for token in mixed.chunks_exact_mut(channels) {
        for (head, x) in token[..2 * keys].chunks_exact_mut(heads.key_dim).enumerate() {
            let length = (x.iter().map(|x| x * x).sum::<f64>() + 1e-6).sqrt();
            let by = if head < heads.key_heads { (heads.key_dim as f64).sqrt() } else { 1.0 };
            x.iter_mut().for_each(|x| *x /= length * by);
        }
    }
    mixed
}

/// Computes the gated delta rule token by token, in f64, with its gated norm; see
/// [`crate::delta_rule`] for the shapes. s`[value_heads, key_dim, value_dim]` is updated to the
/// state after the last token.
pub fn delta_rule(
    heads: &HeadLayout,
    mixed: &[f64],
    z: &[f32],
    a: &[f32],
    b: &[f32],
    weights: &DeltaWeights,
    s: &mut [f64],
) -> Vec<f64> {
    let HeadLayout { value_heads, key_dim, value_dim, .. } = *heads;
    let mut out = vec![0.0; z.len()];
    for (i, out) in out.chunks_exact_mut(value_dim).enumerate() {
        let (t, head) = (i / value_heads, i % value_heads);
        let token = &mixed[t * heads.channels()..][..heads.channels()];
        let q = &token[heads.key_head(head) * key_dim..][..key_dim];
        let k = &token[heads.key_width() + heads.key_head(head) * key_dim..][..key_dim];
        let v = &token[2 * heads.key_width() + head * value_dim..][..value_dim];
        let beta = 1.0 / (1.0 + (-f64::from(b[i])).exp());
        let x = f64::from(a[i]) + f64::from(weights.dt_bias[head]);
        let decay = (f64::from(weights.rate[head]) * if x > 20.0 { x } else { x.exp().ln_1p() }).exp();
        let s = &mut s[head * key_dim * value_dim..][..key_dim * value_dim];
        s.iter_mut().for_each(|s| *s *= decay);
        for c in 0..value_dim {
            let recalled: f64 = (0..key_dim).map(|d| s[d * value_dim + c] * k[d]).sum();
            let u = beta * (v[c] - recalled);
            (0..key_dim).for_each(|d| s[d * value_dim + c] += k[d] * u);
            out[c] = (0..key_dim).map(|d| s[d * value_dim + c] * q[d]).sum();
        }
        let mean = out.iter().map(|o| o * o).sum::<f64>() / value_dim as f64;
        for (c, out) in out.iter_mut().enumerate() {
            let z = f64::from(z[i * value_dim + c]);
            *out *= f64::from(weights.norm[c]) / (mean + f64::from(weights.norm_eps)).sqrt() * z / (1.0 + (-z).exp());
        }
    }
    out
}

/// Computes attention in f64; see [`crate::attention()`] for the shapes.
pub fn attention(shape: &AttentionShape, q: &[f32], cache: &impl KeyValues, start: usize, out: &mut [f32]) {
    let d = shape.head_dim;
    let n = q.len() / (shape.heads * d);
    let (mut key, mut value) = (vec![0.0; d], vec![0.0; d]);
    for (i, (q, out)) in q.chunks_exact(d).zip(out.chunks_exact_mut(d)).enumerate() {
        let (token, head) = (i / shape.heads, i % shape.heads);
        let kv_head = head / (shape.heads / shape.kv_heads);
        let visible = if shape.causal { start + token + 1 } else { start + n };
        let scores: Vec<f64> = (0..visible)
            .map(|position| {
                cache.load(kv_head, position, &mut key, &mut value);
                dot(q, &key) * f64::from(shape.scale)
            })
            .collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
        let mut mean = vec![0.0; d];
        for (position, score) in scores.iter().enumerate() {
            cache.load(kv_head, position, &mut key, &mut value);
            for (m, &v) in mean.iter_mut().zip(&value) {
                *m += (score - max).exp() / sum * f64::from(v);
            }
        }
        for (o, m) in out.iter_mut().zip(mean) {
            *o = m as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_blocks() {
        // Each block is written by hand: d = 0.5 (0x3800), m = 2 (0x4000), nibbles 0x21 repeated.
        let mut values = [0.0; 32];
        let mut q4_0 = vec![0x00, 0x38];
        q4_0.extend([0x21; 16]);
        unpack(BlockType::Q4_0, &q4_0, &mut values);
        assert_eq!((values[0], values[15], values[16], values[31]), (-3.5, -3.5, -3.0, -3.0));

        let mut q5_1 = vec![0x00, 0x38, 0x00, 0x40, 0x01, 0x00, 0x00, 0x80];
        q5_1.extend([0x21; 16]);
        unpack(BlockType::Q5_1, &q5_1, &mut values);
        assert_eq!((values[0], values[1], values[30], values[31]), (10.5, 2.5, 3.0, 11.0));

        let mut q8_0 = vec![0x00, 0x38];
        q8_0.extend((0..32u8).map(|i| i.wrapping_sub(16)));
        unpack(BlockType::Q8_0, &q8_0, &mut values);
        assert_eq!((values[0], values[16], values[31]), (-8.0, 0.0, 7.5));
    }

    #[test]
    fn known_super_blocks() {
        // d = 1, m = 1; group 0 has scale 3 and minimum 5; group 4 scale 0b10_0001 = 33 and minimum
        // 0b01_0010 = 18.
        let mut q4_k = vec![0u8; 144];
        (q4_k[1], q4_k[3]) = (0x3c, 0x3c);
        (q4_k[4], q4_k[8], q4_k[12]) = (3 | 0b1000_0000, 5 | 0b0100_0000, 0b0010_0001);
        q4_k[16] = 0x07;
        q4_k[16 + 64] = 0x0a;
        let mut values = [0.0; 256];
        unpack(BlockType::Q4_K, &q4_k, &mut values);
        assert_eq!((values[0], values[1], values[128], values[129]), (16.0, -5.0, 312.0, -18.0));

        // d = 1, m = 0.5; group 1 has scale 3 and minimum 4; value 16 has code 2, value 17 code 0.
        let mut q2_k = vec![0u8; 84];
        (q2_k[81], q2_k[83], q2_k[1], q2_k[16 + 16]) = (0x3c, 0x38, 0x43, 0b10);
        unpack(BlockType::Q2_K, &q2_k, &mut values);
        assert_eq!((values[0], values[16], values[17]), (0.0, 4.0, -2.0));

        // d = 1; scale of group 9 is 0b10_0101 - 32 = 5; value 144 is in the first quarter of the
        // second half: code 6 - 4.
        let mut q3_k = vec![0u8; 110];
        (q3_k[109], q3_k[96 + 1], q3_k[96 + 9]) = (0x3c, 0x50, 0b10_0000);
        (q3_k[32 + 32 + 16], q3_k[16]) = (0b10, 1 << 4);
        unpack(BlockType::Q3_K, &q3_k, &mut values);
        assert_eq!((values[0], values[144], values[145]), (128.0, 10.0, -20.0));

        // d = 1, scale of group 1 = -2; value 16 has nibble 5 and high bits 3: q = 53 - 32 = 21.
        let mut q6_k = vec![0u8; 210];
        (q6_k[209], q6_k[193], q6_k[16], q6_k[128 + 16]) = (0x3c, 0xfe, 0x05, 0x03);
        unpack(BlockType::Q6_K, &q6_k, &mut values);
        assert_eq!((values[0], values[16], values[17]), (0.0, -42.0, 64.0));
    }
}
