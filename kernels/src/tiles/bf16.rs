//! Tiles of bf16, for weights in that format, if the processor has TDPBF16PS.
//!
//! Weights are the left operand, in the layout of the file; activations are the right one, each as
//! a sum of three bf16 numbers (see `matmul::parts`). Sums are f32, rounded in the order that the
//! processor's manual states ([`tdpbf16ps`]).

use super::TILE;
#[cfg(target_arch = "x86_64")]
use super::amx::AmxBf16;

/// Number of columns of a tile of weights.
pub(crate) const STEP: usize = 32;
/// Number of pairs of columns, in which activations are ordered.
pub(crate) const PAIRS: usize = STEP / 2;
/// Number of rows of weights multiplied together: two tiles.
pub(crate) const ROWS: usize = 2 * TILE;
/// Number of parts of an activation: high, middle, low.
pub(crate) const PARTS: usize = 3;

/// Proof that the processor multiplies tiles of bf16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bf16Tiles {
    #[cfg(target_arch = "x86_64")]
    Amx(AmxBf16),
    /// Software implementation, which the instruction is tested and verified against.
    #[cfg(test)]
    Emulated,
}

/// Some columns of weights, `[row]`, in the layout of a file.
#[derive(Clone)]
#[repr(C, align(64))]
pub(crate) struct WeightStep(pub [[u8; 2 * STEP]; ROWS]);

impl WeightStep {
    pub const ZERO: WeightStep = WeightStep([[0; 2 * STEP]; ROWS]);
}

/// Activations of sixteen tokens for the same columns, `[part][pair][token]`; the first of a pair
/// is in the lower half of its number.
#[derive(Clone)]
#[repr(C, align(64))]
pub(crate) struct TokenStep(pub [[[u32; TILE]; PAIRS]; PARTS]);

impl TokenStep {
    pub const ZERO: TokenStep = TokenStep([[[0; TILE]; PAIRS]; PARTS]);
}

/// Result of a product: `[row][token]`, of the high parts and of the other two.
#[derive(Clone, Debug, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Bf16Sums {
    pub high: [[f32; TILE]; ROWS],
    pub low: [[f32; TILE]; ROWS],
}

impl Bf16Sums {
    pub const ZERO: Bf16Sums = Bf16Sums { high: [[0.0; TILE]; ROWS], low: [[0.0; TILE]; ROWS] };
}

impl Bf16Tiles {
    /// Detects the instruction; `None` if the processor has no such tiles, the system does not let
    /// this process use them, or a product is wrong.
    pub fn detect() -> Option<Bf16Tiles> {
        #[cfg(target_arch = "x86_64")]
        {
            static FOUND: std::sync::OnceLock<Option<AmxBf16>> = std::sync::OnceLock::new();
            let proved = || AmxBf16::detect().filter(|amx| proves(Bf16Tiles::Amx(*amx)));
            (*FOUND.get_or_init(proved)).map(Bf16Tiles::Amx)
        }
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// Configures the calling thread for products, until the result is dropped.
    pub fn begin(self) -> Bf16Session {
        match self {
            #[cfg(target_arch = "x86_64")]
            Bf16Tiles::Amx(amx) => amx.configure(),
            #[cfg(test)]
            Bf16Tiles::Emulated => {}
        }
        Bf16Session { tiles: self, bound_to_thread: std::marker::PhantomData }
    }
}

/// Proof that the thread is configured for tiles of bf16.
pub(crate) struct Bf16Session {
    tiles: Bf16Tiles,
    bound_to_thread: std::marker::PhantomData<*const ()>,
}

impl Bf16Session {
    /// Sets `sums` to Σ weight · activation over the columns of both.
    ///
    /// Panics if they have different numbers of steps, or none.
    #[inline(always)]
    pub fn multiply(&self, weights: &[WeightStep], x: &[TokenStep], sums: &mut Bf16Sums) {
        assert!(weights.len() == x.len() && !x.is_empty(), "{} steps of weights, {} of x", weights.len(), x.len());
        match self.tiles {
            // SAFETY: both have as many steps; the session has configured this thread.
            #[cfg(target_arch = "x86_64")]
            Bf16Tiles::Amx(amx) => unsafe { amx.multiply(weights.len(), weights.as_ptr(), x.as_ptr(), sums) },
            #[cfg(test)]
            Bf16Tiles::Emulated => *sums = by_hand(weights, x),
        }
    }
}

impl Drop for Bf16Session {
    fn drop(&mut self) {
        match self.tiles {
            #[cfg(target_arch = "x86_64")]
            Bf16Tiles::Amx(amx) => amx.release(),
            #[cfg(test)]
            Bf16Tiles::Emulated => {}
        }
    }
}

/// Expected result of [`Bf16Session::multiply`].
#[cfg(any(test, target_arch = "x86_64"))]
fn by_hand(weights: &[WeightStep], x: &[TokenStep]) -> Bf16Sums {
    let mut sums = Bf16Sums::ZERO;
    for (weights, TokenStep([high, middle, low])) in weights.iter().zip(x) {
        for (row, weights) in weights.0.iter().enumerate() {
            tdpbf16ps(&mut sums.low[row], weights, middle);
            tdpbf16ps(&mut sums.high[row], weights, high);
            tdpbf16ps(&mut sums.low[row], weights, low);
        }
    }
    sums
}

/// Computes a row of TDPBF16PS as Intel's Software Developer's Manual describes it: fused
/// multiply-adds of the first of all pairs in order and, separately, of the second; their sum is
/// added to the previous value. Each step is rounded to nearest, ties to even, treats subnormal
/// numbers as zeros and returns zeros for them.
#[cfg(any(test, target_arch = "x86_64"))]
fn tdpbf16ps(sums: &mut [f32; TILE], weights: &[u8; 2 * STEP], x: &[[u32; TILE]; PAIRS]) {
    for (token, sum) in sums.iter_mut().enumerate() {
        let mut chains = [0.0; 2];
        for (weights, x) in weights.as_chunks().0.iter().zip(x) {
            let products = values(u32::from_le_bytes(*weights)).into_iter().zip(values(x[token]));
            for (chain, (w, x)) in chains.iter_mut().zip(products) {
                *chain = flushed(w.mul_add(x, *chain));
            }
        }
        *sum = flushed(*sum + flushed(chains[0] + chains[1]));
    }
}

/// Returns the two bf16 numbers of a pair.
#[cfg(any(test, target_arch = "x86_64"))]
fn values(pair: u32) -> [f32; 2] {
    [pair << 16, pair & 0xffff_0000].map(|bits| flushed(f32::from_bits(bits)))
}

#[cfg(any(test, target_arch = "x86_64"))]
fn flushed(value: f32) -> f32 {
    if value.is_subnormal() { 0.0f32.copysign(value) } else { value }
}

/// Whether tiles give the expected results: for integers at every place, over one and over several
/// steps, and for sums that reveal the rounding. None of them depends on the order of summation.
#[cfg(any(test, target_arch = "x86_64"))]
fn proves(tiles: Bf16Tiles) -> bool {
    let gives = |weights: &[WeightStep], x: &[TokenStep]| {
        let mut sums = Bf16Sums::ZERO;
        tiles.begin().multiply(weights, x, &mut sums);
        sums == by_hand(weights, x)
    };
    [1, 3].into_iter().all(|steps| {
        let (weights, x) = whole_numbers(steps);
        gives(&weights, &x)
    }) && ROUNDED.iter().all(|(terms, _)| {
        let (weights, x) = terms_at(3, 5, terms);
        gives(&[weights], &[x])
    })
}

/// Products whose sum is rounded, and the expected result.
#[cfg(any(test, target_arch = "x86_64"))]
const ROUNDED: [(&[(f32, f32)], f32); 10] = {
    const fn power(n: i32) -> f32 {
        f32::from_bits(if n < -126 { 1 << (n + 149) } else { ((n + 127) as u32) << 23 })
    }
    [
        // Ties go to the even number, on either side of zero and in either direction.
        (&[(1.0, 1.0), (power(-12), power(-12))], 1.0),
        (&[(1.0, 1.0), (power(-12), 2.0 * power(-12)), (power(-12), power(-12))], 1.0 + power(-22)),
        (&[(-1.0, 1.0), (power(-12), -power(-12))], -1.0),
        // Values above a tie are rounded up.
        (&[(1.0, 1.0), (1.5 * power(-12), power(-12))], 1.0 + power(-23)),
        // Products are not rounded to fewer than their 16 bits.
        (&[(1.9921875, 1.9921875), (-1.9921875, 1.984_375)], 1.9921875 * power(-7)),
        // Subnormal numbers are zero: on either side, as a product, and as a sum.
        (&[(power(-127), power(100))], 0.0),
        (&[(power(100), power(-130))], 0.0),
        (&[(power(-63), power(-64))], 0.0),
        (&[(1.5 * power(-126), 1.0), (power(-126), -1.0)], 0.0),
        // The smallest number that is not subnormal.
        (&[(power(-63), power(-63))], power(-126)),
    ]
};

/// Integers of at most 100, different at every place.
#[cfg(any(test, target_arch = "x86_64"))]
fn whole_numbers(steps: usize) -> (Vec<WeightStep>, Vec<TokenStep>) {
    let number = |i: usize| (i * 37 % 201) as f32 - 100.0;
    let (mut weights, mut x) = (vec![WeightStep::ZERO; steps], vec![TokenStep::ZERO; steps]);
    let pairs = weights.iter_mut().flat_map(|step| step.0.as_flattened_mut().as_chunks_mut().0);
    pairs.enumerate().for_each(|(i, pair)| *pair = pair_of(number(2 * i), number(2 * i + 1)).to_le_bytes());
    let pairs = x.iter_mut().flat_map(|step| step.0.as_flattened_mut().as_flattened_mut());
    pairs.enumerate().for_each(|(i, pair)| *pair = pair_of(number(2 * i + 11), number(3 * i + 7)));
    (weights, x)
}

/// Builds a row and a token with these products, in one chain of sums.
#[cfg(any(test, target_arch = "x86_64"))]
fn terms_at(row: usize, token: usize, terms: &[(f32, f32)]) -> (WeightStep, TokenStep) {
    let (mut weights, mut x) = (WeightStep::ZERO, TokenStep::ZERO);
    for (pair, &(w, factor)) in terms.iter().enumerate() {
        weights.0[row][4 * pair..][..4].copy_from_slice(&pair_of(w, 0.0).to_le_bytes());
        x.0[0][pair][token] = pair_of(factor, 0.0);
    }
    (weights, x)
}

/// Packs two numbers that bf16 represents exactly.
#[cfg(any(test, target_arch = "x86_64"))]
fn pair_of(first: f32, second: f32) -> u32 {
    first.to_bits() >> 16 | second.to_bits() & 0xffff_0000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::skipped;

    #[test]
    fn tiles_prove_themselves() {
        assert!(proves(Bf16Tiles::Emulated));
        assert!(Bf16Tiles::detect().is_none_or(proves));
    }

    #[test]
    fn sums_are_rounded_as_the_manual_says() {
        for (terms, expected) in ROUNDED {
            let (weights, x) = terms_at(19, 5, terms);
            let sums = by_hand(&[weights], &[x]);
            assert_eq!(sums.high[19][5].to_bits(), expected.to_bits(), "{terms:?} gives {:e}", sums.high[19][5]);
        }
        // Added one by one, each is lost beside 1; their sum would not be.
        let half_unit = (2f32.powi(-12), 2f32.powi(-12));
        let (weights, x) = terms_at(0, 0, &[(1.0, 1.0), half_unit, half_unit, half_unit]);
        assert_eq!(by_hand(&[weights], &[x]).high[0][0], 1.0);
    }

    /// The processor, if it has such tiles, adds in the documented order.
    #[test]
    fn the_processor_rounds_in_the_order_of_the_manual() {
        let Some(tiles) = Bf16Tiles::detect() else {
            return skipped("bf16 products on AMX tiles", "this processor has no AMX; an emulation is tested");
        };
        let (mut weights, mut x) = whole_numbers(16);
        let mut noise = (1u32..).map(|i| i.wrapping_mul(0x9e37_79b9));
        let mut number = || noise.next().map_or(0, |bits| bits >> 16 & 0x81ff | 0x3e00);
        for byte in weights.iter_mut().flat_map(|step| step.0.as_flattened_mut().as_chunks_mut().0) {
            *byte = (number() | number() << 16).to_le_bytes();
        }
        for pair in x.iter_mut().flat_map(|step| step.0.as_flattened_mut().as_flattened_mut()) {
            *pair = number() | number() << 16;
        }
        let mut sums = Bf16Sums::ZERO;
        tiles.begin().multiply(&weights, &x, &mut sums);
        assert_eq!(sums, by_hand(&weights, &x));
    }

    #[test]
    fn a_product_is_that_of_matrices() {
        // One weight and one activation at a time, each at a different place.
        for (row, token, col) in [(0, 0, 0), (3, 5, 17), (16, 15, 8), (31, 15, 31)] {
            let (mut weights, mut x) = (WeightStep::ZERO, TokenStep::ZERO);
            weights.0[row][2 * col..][..2].copy_from_slice(&half::bf16::from_f32(20.0).to_le_bytes());
            for (part, value) in [3.0f32, 0.5, 0.25].into_iter().enumerate() {
                x.0[part][col / 2][token] = value.to_bits() >> 16 << (16 * (col % 2));
            }
            let sums = by_hand(&[weights], &[x]);
            assert_eq!((sums.high[row][token], sums.low[row][token]), (60.0, 15.0));
            let others = sums.high.as_flattened().iter().chain(sums.low.as_flattened()).filter(|sum| **sum != 0.0);
            assert_eq!(others.count(), 2);
        }
    }
}
