//! Tests of split weights against strips, and of the best rows against the full product.

use super::*;
use crate::interleaved::{BitPlanes, LowThree};
use crate::{BlockType, repack_affine};
use half::f16;

/// Deterministic pseudo-random numbers: xorshift, to about ±1.
fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn q8_0(values: &[f32]) -> Vec<u8> {
    let block = |values: &[f32]| {
        let scale = f16::from_f32(values.iter().fold(0f32, |most, value| most.max(value.abs())) / 127.0);
        let code = |value: &f32| if scale.to_f32() > 0.0 { (value / scale.to_f32()).round() as i8 as u8 } else { 0 };
        scale.to_le_bytes().into_iter().chain(values.iter().map(code)).collect::<Vec<u8>>()
    };
    values.chunks_exact(32).flat_map(block).collect()
}

fn affine8(values: &[f32], group: usize) -> Vec<u8> {
    let BlockType::Affine(kind) = BlockType::affine(8, group) else { unreachable!() };
    let (mut codes, mut scales, mut biases) = (Vec::new(), Vec::new(), Vec::new());
    for values in values.chunks_exact(group) {
        let least = values.iter().copied().fold(f32::INFINITY, f32::min);
        let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let scale = (most - least) / 255.0;
        codes.extend(values.iter().map(|value| if scale > 0.0 { ((value - least) / scale).round() as u8 } else { 0 }));
        scales.push(scale);
        biases.push(least);
    }
    let mut bytes = vec![0; BlockType::affine(8, group).row_bytes(values.len()).unwrap()];
    repack_affine(kind, &codes, &scales, &biases, &mut bytes);
    bytes
}

const KINDS: [usize; 4] = [0, 32, 64, 128];

/// A matrix in strips, the same split, and the values of its rows.
struct Both {
    layout: InterleavedLayout,
    strips: Vec<u8>,
    parted: Vec<u8>,
    screen: PrunedMatrix,
}

impl Both {
    /// Creates 8-bit weights; affine in groups of `group`, Q8_0 if it is 0.
    fn new(values: &[f32], cols: usize, group: usize) -> Both {
        let (kind, bytes) = match group {
            0 => (BlockType::Q8_0, q8_0(values)),
            _ => (BlockType::affine(8, group), affine8(values, group)),
        };
        let layout = InterleavedLayout::new(kind, values.len() / cols, cols).unwrap();
        let mut strips = vec![0; layout.bytes()];
        let rows = bytes.chunks(STRIP * kind.row_bytes(cols).unwrap());
        let pieces = strips.chunks_exact_mut(layout.strip_bytes()).zip(rows);
        pieces.enumerate().for_each(|(strip, (dst, rows))| layout.pack(strip, rows, dst));
        let mut parted = strips.clone();
        let screen = PrunedMatrix::part(&Pool::new(2), &layout, &mut parted).unwrap();
        Both { layout, strips, parted, screen }
    }

    fn full(&self, simd: Simd, x: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; self.layout.rows()];
        let w = Matrix::strips(&self.layout, &self.strips);
        crate::matmul(&Pool::new(1), simd, &w, x, 1, &mut y, &mut Default::default());
        y
    }

    fn best(&self, simd: Simd, x: &[f32], best: &Best) -> (Option<usize>, Vec<f32>) {
        let mut y = vec![0.5; self.layout.rows()];
        let mut scratch = PrunedScratch::default();
        let computed = self.screen.best(&Pool::new(2), simd, &self.parted, x, best, &mut y, &mut scratch);
        (computed, y)
    }

    /// Checks that the best are those of the full product, to the bit and in its order, and that
    /// all else is reported correctly.
    fn check(&self, case: &str, x: &[f32], best: &Best) {
        for simd in Simd::available() {
            let (full, (computed, found)) = (self.full(simd, x), self.best(simd, x, best));
            assert_eq!(top(&found, best), top(&full, best), "{case}: {} computed {computed:?}", simd.name());
            for (row, (found, full)) in found.iter().zip(&full).enumerate() {
                let same = found.to_bits() == full.to_bits() || *found == f32::NEG_INFINITY && computed.is_some();
                assert!(same, "{case}: {} row {row}: {found} for {full}", simd.name());
            }
        }
    }
}

/// Returns ids and bits of the best, ties by the lowest id, as a sampler sorts them.
fn top(y: &[f32], best: &Best) -> Vec<(usize, u32)> {
    let counts = |row: &usize| y[*row].is_finite() && (best.counts)(*row);
    let mut rows: Vec<usize> = (0..y.len()).filter(counts).collect();
    rows.sort_by(|&a, &b| y[b].total_cmp(&y[a]).then(a.cmp(&b)));
    rows.into_iter().take(best.count).map(|row| (row, y[row].to_bits())).collect()
}

fn best(count: usize) -> Best<'static> {
    Best { count, counts: &|_| true }
}

#[test]
fn parted_weights_are_the_same_weights() {
    for group in KINDS {
        for (rows, cols) in [(1, 128), (37, 640), (160, 1024)] {
            let both = Both::new(&noise(rows * cols, 3), cols, group);
            let (strips, parted) =
                (Matrix::strips(&both.layout, &both.strips), Matrix::planes(both.screen.layout(), &both.parted));
            assert_eq!(parted.bytes().len(), strips.bytes().len());
            for row in 0..rows {
                let (mut a, mut b) = (vec![0.0; cols], vec![0.0; cols]);
                strips.unpack_row(row, &mut a);
                parted.unpack_row(row, &mut b);
                assert_eq!(a, b, "group {group}, {rows} x {cols}, row {row}");
            }
            let x = noise(3 * cols, 4);
            for simd in Simd::available() {
                let expected: Vec<f32> = x.chunks_exact(cols).flat_map(|x| both.full(simd, x)).collect();
                let mut y = vec![0.0; 3 * rows];
                crate::matmul(&Pool::new(2), simd, &parted, &x, 3, &mut y, &mut Default::default());
                assert_eq!(y, expected, "group {group}, {rows} x {cols}, {}", simd.name());
                let few = rows.div_ceil(3);
                for whole in [strips, parted] {
                    let (x, mut y) = (&x[..cols], vec![0.0; few]);
                    crate::matmul(&Pool::new(2), simd, &whole.top(few), x, 1, &mut y, &mut Default::default());
                    assert_eq!(y, expected[..few], "the first {few} of {rows} x {cols}, {}", simd.name());
                }
            }
        }
    }
}

#[test]
fn only_eight_bits_are_parted() {
    for kind in BlockType::all() {
        let Some(layout) = InterleavedLayout::new(kind, 16, 256) else { continue };
        let mut data = vec![0; layout.bytes()];
        let eight = kind == BlockType::Q8_0 || matches!(kind, BlockType::Affine(kind) if kind.bits() == 8);
        assert_eq!(PrunedMatrix::part(&Pool::new(1), &layout, &mut data).is_some(), eight, "{kind}");
    }
}

/// An x along the residual of a row reaches the limit of the inequality; a bound that is too low
/// fails here.
#[test]
fn no_product_exceeds_its_bound() {
    for group in KINDS {
        let (rows, cols) = (48, 1024);
        let both = Both::new(&noise(rows * cols, 5), cols, group);
        for row in (0..rows).step_by(5) {
            let mut values = vec![0.0; cols];
            Matrix::strips(&both.layout, &both.strips).unpack_row(row, &mut values);
            let residual: Vec<f32> = (0..cols)
                .map(|col| {
                    let strip = &both.parted[row / STRIP * both.layout.strip_bytes()..];
                    let low = &strip[both.screen.layout().low_at()..][col / 32 * 192..];
                    let code = LowThree::code(low, row % STRIP, col % 32);
                    f32::from(code) - layout::MIDDLE
                })
                .collect();
            for scale in [1e-30, 1e-3, 1.0, 1e12] {
                let x: Vec<f32> = residual.iter().map(|value| value * scale).collect();
                let case = format!("group {group}, row {row}, scale {scale}");
                both.check(&case, &x, &best(1));
                let mut uppers = Vec::new();
                let simd = *Simd::available().last().unwrap();
                let mut rounded = Activations::default();
                let pool = Pool::new(1);
                rounded.round(&pool, simd, Grouping::of(both.layout.kind()).unwrap(), &x, cols);
                let norm = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
                let mut y = vec![0.0; rows];
                both.screen.coarse(&pool, simd, &both.parted, &rounded, reach(norm), &mut y, &mut uppers);
                let full = both.full(simd, &x);
                for (strip, (upper, products)) in uppers.iter().zip(full.chunks(STRIP)).enumerate() {
                    let most = products.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    assert!(*upper >= most, "{case}: strip {strip}: {most} exceeds {upper}");
                }
            }
        }
    }
}

#[test]
fn a_row_far_above_the_others_is_all_that_is_computed() {
    let (rows, cols) = (3200, 512);
    let mut values = noise(rows * cols, 6);
    let x = noise(cols, 7);
    values[1234 * cols..][..cols].copy_from_slice(&x);
    let both = Both::new(&values, cols, 0);
    both.check("one above", &x, &best(1));
    let (computed, found) = both.best(Simd::detect(), &x, &best(1));
    assert!(computed.unwrap() <= 3, "{computed:?} strips");
    assert_eq!(found.iter().filter(|product| product.is_finite()).count(), 16 * computed.unwrap());
}

#[test]
fn the_best_are_the_same_whatever_comes() {
    let (rows, cols) = (333, 576);
    let plain = noise(rows * cols, 8);
    let equal: Vec<f32> = noise(cols, 9).repeat(rows);
    let mut outlier = noise(cols, 10);
    outlier[77] = 3e4;
    let with = |at: usize, value: f32| {
        let mut x = noise(cols, 11);
        x[at] = value;
        x
    };
    let mut gross = plain.clone();
    gross[5 * cols..6 * cols].fill(6e6);
    let cases = [
        ("random", &plain, noise(cols, 11)),
        ("an outlier", &plain, outlier),
        ("equal rows", &equal, noise(cols, 12)),
        ("zero x", &plain, vec![0.0; cols]),
        ("tiny x", &plain, vec![1e-38; cols]),
        ("huge x", &plain, vec![1e30; cols]),
        ("a row beyond f16", &gross, noise(cols, 13)),
        ("NaN", &plain, with(3, f32::NAN)),
        ("infinity", &plain, with(570, f32::INFINITY)),
    ];
    for (case, values, x) in cases {
        for group in [0, 64] {
            let both = Both::new(values, cols, group);
            for count in [1, 2, 20, 332, 333, 1000] {
                both.check(&format!("{case}, group {group}, best {count}"), &x, &best(count));
            }
            for (from, to) in [(7, 40), (300, 333), (330, 333), (333, 333)] {
                let counts = |row| (from..to).contains(&row);
                both.check(&format!("{case}, {from} to {to}"), &x, &Best { count: 5, counts: &counts });
            }
        }
    }
}

/// Rows and x of any sizes, with ties, because there are few distinct levels.
#[test]
fn the_best_are_those_of_the_full_product() {
    for seed in 0..150 {
        let draws: Vec<usize> = noise(5, seed + 100).iter().map(|draw| draw.to_bits() as usize >> 7).collect();
        let (rows, cols, count) = (1 + draws[0] % 400, 128 * (1 + draws[1] % 8), 1 + draws[2] % 50);
        let levels = [1.0, 3.0, 1e6][draws[3] % 3];
        let few = |values: Vec<f32>| values.into_iter().map(move |value| (value * levels).round() / levels);
        let values: Vec<f32> = few(noise(rows * cols, seed)).collect();
        // Powers make some columns far larger than the rest.
        let power = (draws[4] % 12) as i32;
        let x: Vec<f32> = few(noise(cols, seed ^ 1)).map(|x| x * x.abs().powi(power)).collect();
        let case = format!("seed {seed}: {rows} x {cols}, levels {levels}, power {power}, best {count}");
        Both::new(&values, cols, KINDS[seed as usize % KINDS.len()]).check(&case, &x, &best(count));
    }
}
