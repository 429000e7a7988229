//! Peak performance of this machine, measured with the same vectors and threads as the kernels: the
//! yardstick for the figures of `cargo run --release -p sotto-kernels --example kernel -- time …`.

use crate::isa::{Isa, Kernel};
use crate::{Pool, Simd};

/// Number of bytes that a thread reads at a time.
const PIECE: usize = 64 << 10;
/// Number of independent sums: enough to hide the latency of a multiply-add.
const CHAINS: usize = 12;

/// Reads `bytes` once, with all threads, except for a rest of less than four vectors at the end;
/// the result, the largest numbers of some lanes, only prevents the compiler from removing reads.
pub fn read(pool: &Pool, simd: Simd, bytes: &[u8]) -> f32 {
    let mut sums = vec![0.0; bytes.len().div_ceil(PIECE)];
    pool.for_pieces(&mut sums, 1, |i, sum, _| {
        sum[0] = simd.run(Read { bytes: &bytes[i * PIECE..bytes.len().min((i + 1) * PIECE)] });
    });
    sums.iter().sum()
}

/// Runs multiply-adds without memory access; returns the number of floating-point operations (two
/// for each).
pub fn multiply_add(pool: &Pool, simd: Simd, rounds: usize) -> u64 {
    let mut done = vec![0; 64 * pool.threads()];
    pool.for_pieces(&mut done, 1, |_, done, _| {
        let (result, operations) = simd.run(MultiplyAdd { rounds });
        std::hint::black_box(result);
        done[0] = operations;
    });
    done.iter().sum()
}

struct Read<'a> {
    bytes: &'a [u8],
}

impl Kernel for Read<'_> {
    type Out = f32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f32 {
        let mut sums = [isa.zero(); 4];
        for bytes in self.bytes.chunks_exact(16 * I::LANES) {
            for (u, sum) in sums.iter_mut().enumerate() {
                *sum = isa.max(isa.load_f32(&bytes[4 * u * I::LANES..]), *sum);
            }
        }
        isa.sum(isa.add(isa.add(sums[0], sums[1]), isa.add(sums[2], sums[3])))
    }
}

struct MultiplyAdd {
    rounds: usize,
}

impl Kernel for MultiplyAdd {
    /// Result that depends on all of the work, and the number of operations.
    type Out = (f32, u64);

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> (f32, u64) {
        let mut sums = [isa.splat(1.0); CHAINS];
        let (a, b) = (isa.splat(std::hint::black_box(0.999)), isa.splat(std::hint::black_box(0.001)));
        for _ in 0..self.rounds {
            for sum in &mut sums {
                *sum = isa.mul_add(*sum, a, b);
            }
        }
        let total = sums.into_iter().reduce(|x, y| isa.add(x, y));
        (total.map_or(0.0, |total| isa.sum(total)), (2 * CHAINS * I::LANES * self.rounds) as u64)
    }
}
