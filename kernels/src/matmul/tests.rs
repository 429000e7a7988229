//! Tests of every format against candle, and of every variant against the reference.

use super::*;
use crate::interleaved::STRIP;
use crate::repack_affine;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

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
        BlockType::Q2_K => GgmlDType::Q2K,
        BlockType::Q3_K => GgmlDType::Q3K,
        BlockType::Q4_K => GgmlDType::Q4K,
        BlockType::Q5_K => GgmlDType::Q5K,
        BlockType::Q6_K => GgmlDType::Q6K,
        BlockType::Affine(_) => panic!("candle has no {kind}"),
    }
}

/// Returns random weights in blocks of `kind`, and their values.
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

/// Returns random weights quantised by candle, and their values as unpacked by candle.
fn candle(kind: BlockType, rows: usize, cols: usize) -> (Vec<u8>, Vec<f32>) {
    let values = Tensor::from_vec(noise(rows * cols, 7), (rows, cols), &Device::Cpu).unwrap();
    let blocks = QTensor::quantize(&values, candle_type(kind)).unwrap();
    let back = blocks.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    (blocks.data().unwrap().into_owned(), back)
}

/// Weights as they are multiplied: in strips if they are quantised.
enum Ready {
    Rows(BlockType, (usize, usize), Vec<u8>),
    Strips(InterleavedLayout, Vec<u8>),
}

impl Ready {
    fn new(kind: BlockType, rows: usize, cols: usize, bytes: &[u8]) -> Ready {
        let Some(layout) = InterleavedLayout::new(kind, rows, cols) else {
            return Ready::Rows(kind, (rows, cols), bytes.to_vec());
        };
        let mut strips = vec![0xee; layout.bytes()];
        let row_bytes = kind.row_bytes(cols).unwrap();
        let pieces = strips.chunks_exact_mut(layout.strip_bytes()).zip(bytes.chunks(STRIP * row_bytes));
        pieces.enumerate().for_each(|(strip, (dst, rows))| layout.pack(strip, rows, dst));
        Ready::Strips(layout, strips)
    }

    fn matrix(&self) -> Matrix<'_> {
        match self {
            Ready::Rows(kind, (rows, cols), bytes) => Matrix::new(*kind, *rows, *cols, bytes).unwrap(),
            Ready::Strips(layout, strips) => Matrix::strips(layout, strips),
        }
    }
}

#[test]
fn strips_hold_what_the_file_holds() {
    for kind in BlockType::all() {
        for (rows, blocks) in [(1, 1), (16, 2), (37, 3)] {
            let cols = blocks * kind.block_len().max(32);
            let (bytes, _) = weights(kind, rows, cols);
            let ready = Ready::new(kind, rows, cols, &bytes);
            let as_in_file = Matrix::new(kind, rows, cols, &bytes).unwrap();
            for row in 0..rows {
                let (mut found, mut expected) = (vec![0.0; cols], vec![0.0; cols]);
                ready.matrix().unpack_row(row, &mut found);
                as_in_file.unpack_row(row, &mut expected);
                assert_eq!(found, expected, "{kind} {rows}x{cols} row {row}");
            }
        }
    }
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

/// Tolerance of f32 sums against f64, relative to Σ |w| |x|.
const SUMS: f64 = 1e-6;
/// Tolerance of rounded activations with quantised weights, relative to Σ |w| max |x|, with the
/// maximum of the group (see `activations`).
const ROUNDING: f64 = 1.0 / 65000.0;
const LEAST: f64 = 1e-35;

/// Allowed error of the product of a row and a token.
fn allowed(kind: BlockType, w: &[f32], x: &[f32]) -> f64 {
    let product = |(w, x): (&f32, &f32)| f64::from(*w).abs() * f64::from(*x).abs();
    let sums = SUMS * w.iter().zip(x).map(product).sum::<f64>();
    let Some(Grouping { group, .. }) = Grouping::of(kind) else { return sums };
    let groups = w.chunks_exact(group).zip(x.chunks_exact(group));
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
    let ready = Ready::new(kind, rows, cols, &bytes);
    let mut y = vec![f32::NAN; n * rows];
    matmul(pool, simd, &ready.matrix(), x, n, &mut y, &mut Scratch::default());
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
    for simd in Simd::with_and_without_tiles() {
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
                (37, 3 * block, 35),
                (64, 256, 5),
                (3, 256, 101),
            ] {
                assert_product(simd, &pool, kind, shape);
            }
        }
    }
}

/// Values that are difficult with a scale for each group.
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
    for simd in Simd::with_and_without_tiles() {
        for kind in BlockType::all() {
            for x in cases {
                for n in [1, 3, 16] {
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
    for simd in Simd::with_and_without_tiles() {
        for kind in BlockType::all() {
            let (bytes, _) = weights(kind, 5, 512);
            let ready = Ready::new(kind, 5, 512, &bytes);
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for (n, at) in [(1, 0), (1, 511), (4, 3 * 512 - 1), (17, 16 * 512 - 1)] {
                    let mut x = noise(n * 512, 9);
                    x[at] = bad;
                    let mut y = vec![0.0; n * 5];
                    matmul(&pool, simd, &ready.matrix(), &x, n, &mut y, &mut Scratch::default());
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
    for simd in Simd::with_and_without_tiles() {
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
    for simd in Simd::with_and_without_tiles() {
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

/// A token's products are bit-identical for any number of threads and any other tokens.
#[test]
fn neither_threads_nor_neighbours_change_a_bit() {
    for kind in [BlockType::Q4_K, BlockType::Q6_K, BlockType::Q8_0, BlockType::affine(5, 64)] {
        assert_as_alone(kind, &mut Scratch::default());
    }
}

#[test]
fn steps_at_once_are_as_alone_with_plain_weights_too() {
    for kind in [BlockType::F32, BlockType::F16, BlockType::BF16, BlockType::Q4_K] {
        let mut scratch = Scratch::default();
        scratch.as_steps(true);
        assert_as_alone(kind, &mut scratch);
    }
}

fn assert_as_alone(kind: BlockType, scratch: &mut Scratch) {
    let (bytes, _) = weights(kind, 301, 512);
    let ready = Ready::new(kind, 301, 512, &bytes);
    let x = noise(47 * 512, 5);
    for simd in Simd::with_and_without_tiles().into_iter().filter(|simd| !simd.is_reference()) {
        let mut product = |threads, x: &[f32]| {
            let mut y = vec![0.0; x.len() / 512 * 301];
            matmul(&Pool::new(threads), simd, &ready.matrix(), x, x.len() / 512, &mut y, scratch);
            y
        };
        let alone: Vec<f32> = x.chunks_exact(512).flat_map(|x| product(1, x)).collect();
        for threads in [1, 2, 5] {
            assert_eq!(product(threads, &x), alone, "{kind} {} {threads} threads", simd.name());
        }
    }
}

/// Matrices of every layout and rounding in one call, and two that share activations for tiles,
/// against one at a time.
#[test]
fn several_matrices_at_once_are_each_as_alone() {
    for kinds in [
        [BlockType::Q4_K, BlockType::F32, BlockType::Q6_K, BlockType::Q8_0],
        [BlockType::BF16, BlockType::Q4_K, BlockType::F16, BlockType::BF16],
    ] {
        assert_together_as_alone(kinds);
    }
}

fn assert_together_as_alone(kinds: [BlockType; MOST]) {
    let (pool, cols) = (Pool::new(2), 768);
    let rows = [70, 33, 16, 5];
    let ready: Vec<Ready> = kinds
        .iter()
        .zip(rows)
        .map(|(kind, rows)| Ready::new(*kind, rows, cols, &weights(*kind, rows, cols).0))
        .collect();
    let matrices: Vec<Matrix> = ready.iter().map(Ready::matrix).collect();
    for simd in Simd::with_and_without_tiles() {
        let mut scratch = Scratch::default();
        for n in [1, 5, 20] {
            let x = noise(n * cols, n as u64);
            let mut together = rows.map(|rows| vec![f32::NAN; n * rows]);
            let [a, b, c, d] = &mut together;
            let w = [&matrices[0], &matrices[1], &matrices[2], &matrices[3]];
            matmul_all(&pool, simd, w, &x, n, [a, b, c, d], &mut scratch);
            for ((w, rows), together) in matrices.iter().zip(rows).zip(together) {
                let mut alone = vec![f32::NAN; n * rows];
                matmul(&pool, simd, w, &x, n, &mut alone, &mut Scratch::default());
                assert_eq!(together, alone, "{} {} n={n}", simd.name(), w.kind());
            }
        }
    }
}

#[test]
fn short_rows_are_as_exact_as_f32() {
    let (rows, cols) = (37_usize, 256_usize);
    for kind in BlockType::all().filter(|kind| Grouping::of(*kind).is_some() && cols.is_multiple_of(kind.block_len())) {
        let (bytes, values) = weights(kind, rows, cols);
        let w = Matrix::new(kind, rows, cols, &bytes).unwrap();
        let x = noise(3 * cols, 5);
        for simd in Simd::with_and_without_tiles() {
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
