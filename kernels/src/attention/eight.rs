//! Attention over keys and values in 8 bits: a group of values of sixteen positions is unpacked at
//! a time, and used for all rows of the tile.

use std::ops::Range;

use half::f16;

use super::{AttentionShape, Block, KeyValues, Scores, Tiles};
use crate::isa::Isa;
use crate::kv::{GROUP, KEY_BLOCK, KvCache8, TILE};

impl KeyValues for KvCache8 {
    fn capacity(&self) -> usize {
        self.capacity()
    }

    fn is_for(&self, shape: &AttentionShape) -> bool {
        self.is_for(shape.kv_heads, shape.head_dim)
    }

    fn load(&self, head: usize, position: usize, key: &mut [f32], value: &mut [f32]) {
        self.load(head, position, key, value);
    }
}

impl Tiles for KvCache8 {
    /// Each scale belongs to a position, so it is a factor of the sum over the values of a group: Σ
    /// scale · Σ q · code.
    #[inline(always)]
    fn score<I: Isa, const R: usize>(&self, isa: I, block: &Block<R>, scores: &mut Scores<R>) {
        let (codes, scales) = self.key_block(block.head, block.position);
        for scores in scores.iter_mut() {
            scores[block.at..block.at + KEY_BLOCK].fill(0.0);
        }
        let mut keys = [0.0; TILE];
        for (group, (codes, scales)) in codes.chunks(TILE).zip(scales.chunks_exact(KEY_BLOCK)).enumerate() {
            widen(isa, codes, &mut keys);
            let keys = &keys[..codes.len()];
            for lane in (0..KEY_BLOCK).step_by(I::LANES) {
                let mut sums = [isa.zero(); R];
                for (i, keys) in keys.chunks_exact(KEY_BLOCK).enumerate() {
                    let keys = isa.load(&keys[lane..]);
                    for (sum, q) in sums.iter_mut().zip(&block.q) {
                        *sum = isa.mul_add(isa.splat(q[group * GROUP + i]), keys, *sum);
                    }
                }
                let scale = isa.mul(isa.load_halves(&scales[lane..]), isa.splat(block.scale));
                for (scores, sum) in scores.iter_mut().zip(sums) {
                    let scores = &mut scores[block.at + lane..];
                    isa.store(isa.mul_add(sum, scale, isa.load(scores)), scores);
                }
            }
        }
    }

    #[inline(always)]
    fn add_values<I: Isa, const R: usize>(
        &self,
        isa: I,
        head: usize,
        (first, count): (usize, usize),
        weights: &Scores<R>,
        outs: &mut [&mut [f32]; R],
    ) {
        let mut values = [0.0; TILE];
        for block in (0..count).step_by(KEY_BLOCK) {
            let positions = KEY_BLOCK.min(count - block);
            let (codes, scales) = self.values(head, first + block, positions);
            let (dim, groups) = (codes.len() / positions, scales.len() / positions);
            for group in 0..groups {
                let columns = group * GROUP..dim.min((group + 1) * GROUP);
                for (n, to) in values.chunks_exact_mut(GROUP).enumerate().take(positions) {
                    unpack(isa, &codes[n * dim..][columns.clone()], scales[n * groups + group], to);
                }
                add_group(isa, (block, positions), columns, &values, weights, outs);
            }
        }
    }
}

/// outs`[r]``[columns]` += weights`[r]` · values, for the values `[positions, 32]` of a group, the
/// first of them at `block` of the weights. There may be fewer than 32 columns.
#[inline(always)]
fn add_group<I: Isa, const R: usize>(
    isa: I,
    (block, positions): (usize, usize),
    columns: Range<usize>,
    values: &[f32; TILE],
    weights: &Scores<R>,
    outs: &mut [&mut [f32]; R],
) {
    let mut totals = [[0.0; GROUP]; R];
    for at in (0..GROUP).step_by(2 * I::LANES) {
        let mut sums = [[isa.zero(); 2]; R];
        for (n, values) in values.chunks_exact(GROUP).enumerate().take(positions) {
            let pair = [isa.load(&values[at..]), isa.load(&values[at + I::LANES..])];
            for (sums, weights) in sums.iter_mut().zip(weights) {
                let weight = isa.splat(weights[block + n]);
                for (sum, values) in sums.iter_mut().zip(pair) {
                    *sum = isa.mul_add(weight, values, *sum);
                }
            }
        }
        for (total, sums) in totals.iter_mut().zip(sums) {
            isa.store(sums[0], &mut total[at..]);
            isa.store(sums[1], &mut total[at + I::LANES..]);
        }
    }
    for (out, total) in outs.iter_mut().zip(totals) {
        out[columns.clone()].iter_mut().zip(total).for_each(|(out, total)| *out += total);
    }
}

/// Converts codes to f32; their number is a multiple of sixteen.
#[inline(always)]
fn widen<I: Isa>(isa: I, codes: &[u8], to: &mut [f32; TILE]) {
    for (codes, to) in codes.chunks_exact(I::LANES).zip(to.chunks_exact_mut(I::LANES)) {
        isa.store(isa.load_i8(codes), to);
    }
}

/// Converts up to 32 codes times their scale; fills up to 32 with zeros.
#[inline(always)]
fn unpack<I: Isa>(isa: I, codes: &[u8], scale: f16, to: &mut [f32]) {
    let mut whole = [0; GROUP];
    whole[..codes.len()].copy_from_slice(codes);
    let scale = isa.splat(isa.f16_to_f32(scale.to_bits()));
    for (codes, to) in whole.chunks_exact(I::LANES).zip(to.chunks_exact_mut(I::LANES)) {
        isa.store(isa.mul(isa.load_i8(codes), scale), to);
    }
}
