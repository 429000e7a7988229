//! Every format against candle, every variant against the reference.

use super::*;
use crate::repack_affine;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

/// Numbers that look random and are the same in every run: xorshift, to about ±1.
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

fn candle_type(kind: BlockType) -> GgmlDType {
    match kind {
        BlockType::F32 => GgmlDType::F32,
        BlockType::F16 => GgmlDType::F16,
        BlockType::BF16 => GgmlDType::BF16,
        BlockType::Q8_0 => GgmlDType::Q8_0,
        BlockType::Q4_0 => GgmlDType::Q4_0,
        BlockType::Q4_1 => GgmlDType::Q4_1,
        BlockType::Q5_0 => GgmlDType::Q5_0,
        BlockType::Q5_1 => GgmlDType::Q5_1,
        BlockType::Q4_K => GgmlDType::Q4K,
        BlockType::Q5_K => GgmlDType::Q5K,
        BlockType::Q6_K => GgmlDType::Q6K,
        BlockType::Affine(_) => panic!("candle has no {kind}"),
    }
}

/// Random weights in blocks of `kind`, and their values.
fn weights(kind: BlockType, rows: usize, cols: usize) -> (Vec<u8>, Vec<f32>) {
    let BlockType::Affine(affine) = kind else { return candle(kind, rows, cols) };
    let mut bytes = vec![0; kind.row_bytes(rows * cols).unwrap()];
    let groups = rows * cols / affine.group();
    let codes: Vec<u8> =
        noise(groups * affine.group() / 8 * affine.bits(), 11).iter().map(|v| v.to_bits() as u8).collect();
    repack_affine(affine, &codes, &noise(groups, 12), &noise(groups, 13), &mut bytes);
    let mut values = vec![0.0; rows * cols];
    unpack_row(kind, &bytes, &mut values);
    (bytes, values)
}

/// Random weights as candle quantises them, and what candle makes of them again.
fn candle(kind: BlockType, rows: usize, cols: usize) -> (Vec<u8>, Vec<f32>) {
    let values = Tensor::from_vec(noise(rows * cols, 7), (rows, cols), &Device::Cpu).unwrap();
    let blocks = QTensor::quantize(&values, candle_type(kind)).unwrap();
    let back = blocks.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    (blocks.data().unwrap().into_owned(), back)
}

#[test]
fn unpacks_as_candle_does() {
    for kind in BlockType::GGML {
        let (blocks, expected) = candle(kind, 5, 1024);
        let mut values = vec![0.0; 5 * 1024];
        unpack_row(kind, &blocks, &mut values);
        for (i, (value, expected)) in values.iter().zip(&expected).enumerate() {
            let unit = f32::EPSILON * expected.abs();
            assert!((value - expected).abs() <= unit, "{kind} value {i}: {value} is not {expected}");
        }
    }
}

/// What f32 sums may lose against f64, relative to Σ |w| |x|.
const SUMS: f64 = 1e-6;
/// What activations may lose when they meet quantised weights, relative to Σ |w| max |x|, with the maximum of the group
/// (see `activations`), and then in any case.
const ROUNDING: f64 = 1.0 / 65000.0;
const LEAST: f64 = 1e-35;

/// How far the product of a row and a token may be off.
fn allowed(kind: BlockType, w: &[f32], x: &[f32]) -> f64 {
    let product = |(w, x): (&f32, &f32)| f64::from(*w).abs() * f64::from(*x).abs();
    let sums = SUMS * w.iter().zip(x).map(product).sum::<f64>();
    let Some(layout) = Layout::of(kind) else { return sums };
    let groups = w.chunks_exact(layout.group).zip(x.chunks_exact(layout.group));
    let rounding = groups.map(|(w, x)| {
        let most = x.iter().fold(0.0f64, |most, x| most.max(f64::from(x.abs())));
        w.iter().map(|w| f64::from(w.abs()) * (ROUNDING * most + LEAST)).sum::<f64>()
    });
    sums + rounding.sum::<f64>()
}

fn assert_product(simd: Simd, pool: &Pool, kind: BlockType, shape: (usize, usize, usize)) {
    assert_product_with(simd, pool, kind, shape, &noise(shape.1 * shape.2, 3));
}

fn assert_product_with(simd: Simd, pool: &Pool, kind: BlockType, (rows, cols, n): (usize, usize, usize), x: &[f32]) {
    let (bytes, values) = weights(kind, rows, cols);
    let w = Matrix::new(kind, rows, cols, &bytes).unwrap();
    let mut y = vec![f32::NAN; n * rows];
    long(pool, simd, &w, x, n, &mut y, &mut Scratch::default());
    for (i, y) in y.into_iter().enumerate() {
        let (t, r) = (i / rows, i % rows);
        let (w, x) = (&values[r * cols..][..cols], &x[t * cols..][..cols]);
        let expected: f64 = w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
        let (off, most) = ((f64::from(y) - expected).abs(), allowed(kind, w, x) + f64::from(f32::MIN_POSITIVE));
        let at = format!("{} {kind} {rows}x{cols} n={n}: token {t} row {r}", simd.name());
        assert!(off <= most, "{at}: {y} is not {expected}, off by {off:e} of {most:e}");
    }
}

#[test]
fn every_variant_multiplies_alike() {
    let pool = Pool::new(3);
    for simd in Simd::available() {
        for kind in BlockType::all() {
            let block = kind.block_len().max(32);
            for shape in [
                (1, block, 1),
                (2, 2 * block, 1),
                (33, 3 * block, 1),
                (257, block, 1),
                (1, block, 2),
                (3, 2 * block, 3),
                (37, 5 * block, 7),
                (5, 1280, 4),
                (64, 256, 5),
                (3, 256, 101),
            ] {
                assert_product(simd, &pool, kind, shape);
            }
        }
    }
}

/// Values that a scale for each group makes difficult.
#[test]
fn every_variant_multiplies_extremes() {
    let pool = Pool::new(2);
    let cases: [fn(usize) -> f32; 8] = [
        // Outliers.
        |i| if i == 77 { 3e4 } else { (i as f32 * 0.7).sin() },
        |i| if i == 128 { -1e20 } else { (i as f32 * 0.7).sin() },
        |_| 0.0,
        |i| f32::from(i == 200),
        |_| -1.7,
        // Groups of every size, then subnormal and very small ones.
        |i| (i as f32).cos() * 2f32.powi((i / 16 * 7 % 160) as i32 - 130),
        |i| (i as f32).cos() * 1e-39,
        |i| (i as f32).cos() * 1e-30,
    ];
    for simd in Simd::available() {
        for kind in BlockType::all() {
            for x in cases {
                for n in [1, 3] {
                    let x: Vec<f32> = (0..n * 512).map(|i| x(i % 512)).collect();
                    assert_product_with(simd, &pool, kind, (3, 512, n), &x);
                }
            }
        }
    }
}

#[test]
fn what_is_not_finite_is_never_lost() {
    let pool = Pool::new(2);
    for simd in Simd::available() {
        for kind in BlockType::all() {
            let (bytes, _) = weights(kind, 5, 512);
            let w = Matrix::new(kind, 5, 512, &bytes).unwrap();
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for (n, at) in [(1, 0), (1, 511), (4, 3 * 512 - 1)] {
                    let mut x = noise(n * 512, 9);
                    x[at] = bad;
                    let mut y = vec![0.0; n * 5];
                    long(&pool, simd, &w, &x, n, &mut y, &mut Scratch::default());
                    for (i, y) in y.iter().enumerate() {
                        let case = format!("{} {kind} {bad} at {at} of {n}: {y}", simd.name());
                        assert_eq!(y.is_finite(), i / 5 != at / 512, "{case}");
                    }
                }
            }
        }
    }
}

#[test]
fn plain_weights_of_any_width() {
    let pool = Pool::new(2);
    for simd in Simd::available() {
        for kind in [BlockType::F32, BlockType::F16, BlockType::BF16] {
            for cols in [1, 7, 8, 31, 32, 33, 255, 257, 1031] {
                for n in [1, 2, 8] {
                    assert_product(simd, &pool, kind, (5, cols, n));
                }
            }
        }
    }
}

#[test]
fn nothing_times_something() {
    let (pool, mut scratch) = (Pool::new(2), Scratch::default());
    for simd in Simd::available() {
        let empty = Matrix::new(BlockType::F32, 3, 0, &[]).unwrap();
        let mut y = [1.0; 6];
        matmul(&pool, simd, &empty, &[], 2, &mut y, &mut scratch);
        assert_eq!(y, [0.0; 6]);
        let none = Matrix::new(BlockType::F32, 0, 4, &[]).unwrap();
        matmul(&pool, simd, &none, &[0.0; 8], 2, &mut [], &mut scratch);
        let some = Matrix::new(BlockType::Q8_0, 1, 32, &[0; 34]).unwrap();
        matmul(&pool, simd, &some, &[], 0, &mut [], &mut scratch);
    }
}

#[test]
fn more_threads_change_nothing() {
    // Plain, quantised, affine; 512 columns of the quantised are short rows.
    for kind in [BlockType::F32, BlockType::BF16, BlockType::Q8_0, BlockType::Q4_K, BlockType::affine(5, 64)] {
        for (n, cols) in [(1, 512), (9, 512), (1, 1280), (9, 1280)] {
            let (bytes, _) = weights(kind, 301, cols);
            let w = Matrix::new(kind, 301, cols, &bytes).unwrap();
            let x = noise(n * cols, 5);
            let product = |threads| {
                let mut y = vec![0.0; n * 301];
                matmul(&Pool::new(threads), Simd::detect(), &w, &x, n, &mut y, &mut Scratch::default());
                y
            };
            let alone = product(1);
            assert!([2, 5].into_iter().all(|threads| product(threads) == alone), "{kind} n={n} cols={cols}");
        }
    }
}

#[test]
fn short_rows_are_as_exact_as_f32() {
    let (rows, cols) = (37_usize, 256_usize);
    for kind in BlockType::all().filter(|kind| Layout::of(*kind).is_some() && cols.is_multiple_of(kind.block_len())) {
        let (bytes, values) = weights(kind, rows, cols);
        let w = Matrix::new(kind, rows, cols, &bytes).unwrap();
        let x = noise(3 * cols, 5);
        for simd in Simd::available() {
            for threads in [1, 2] {
                let pool = Pool::new(threads);
                let (mut all, mut alone) = (vec![0.0; 3 * rows], vec![0.0; rows]);
                matmul(&pool, simd, &w, &x, 3, &mut all, &mut Scratch::default());
                matmul(&pool, simd, &w, &x[cols..2 * cols], 1, &mut alone, &mut Scratch::default());
                assert_eq!(all[rows..2 * rows], alone, "{kind} {} {threads}", simd.name());
                for (row, y) in alone.iter().enumerate() {
                    let terms = values[row * cols..][..cols].iter().zip(&x[cols..]).map(|(w, x)| f64::from(w * x));
                    let (exact, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
                    assert!((f64::from(*y) - exact).abs() <= 1e-6 * size, "{kind} {} row {row}", simd.name());
                }
            }
        }
    }
}
