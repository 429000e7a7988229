//! Every format against candle, every variant against the reference.

use super::unpack::Unpack;
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

#[test]
fn every_variant_unpacks_alike() {
    for simd in Simd::available() {
        for kind in BlockType::all() {
            for blocks in [1, 2, 7, 31, 33] {
                let len = blocks * kind.block_len();
                // Any byte is a quant; the scales of candle's blocks are finite.
                let (mut bytes, _) = weights(kind, 1, len.next_multiple_of(32));
                bytes.truncate(blocks * kind.block_bytes());
                let (mut values, mut expected) = (vec![0.0; len], vec![0.0; len]);
                simd.run(Unpack { kind, src: &bytes, dst: &mut values });
                reference::unpack(kind, &bytes, &mut expected);
                assert_eq!(values, expected, "{} {kind} {blocks}", simd.name());
            }
        }
    }
}

/// What f32 sums may lose against f64, relative to the sum of magnitudes.
const TOLERANCE: f32 = 1e-6;

fn assert_product(simd: Simd, pool: &Pool, kind: BlockType, (rows, cols, n): (usize, usize, usize)) {
    let (bytes, values) = weights(kind, rows, cols);
    let w = Matrix::new(kind, rows, cols, &bytes).unwrap();
    let x = noise(n * cols, 3);
    let (mut y, mut expected) = (vec![f32::NAN; n * rows], vec![f32::NAN; n * rows]);
    matmul(pool, simd, &w, &x, n, &mut y, &mut Scratch::default());
    reference::matmul(&w, &x, &mut expected);
    for (i, (y, e)) in y.iter().zip(&expected).enumerate() {
        let (t, r) = (i / rows, i % rows);
        let magnitude = |(w, x): (&f32, &f32)| (w * x).abs();
        let most: f32 = values[r * cols..][..cols].iter().zip(&x[t * cols..]).map(magnitude).sum();
        let at = format!("{} {kind} {rows}x{cols} n={n}: token {t} row {r}", simd.name());
        assert!((y - e).abs() <= TOLERANCE * most + f32::MIN_POSITIVE, "{at}: {y} is not {e}");
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
    let (bytes, _) = candle(BlockType::Q4_K, 301, 512);
    let w = Matrix::new(BlockType::Q4_K, 301, 512, &bytes).unwrap();
    for n in [1, 9] {
        let x = noise(n * 512, 5);
        let product = |threads| {
            let mut y = vec![0.0; n * 301];
            matmul(&Pool::new(threads), Simd::detect(), &w, &x, n, &mut y, &mut Scratch::default());
            y
        };
        let alone = product(1);
        assert!([2, 5].into_iter().all(|threads| product(threads) == alone), "n={n}");
    }
}
