//! Matrices of bytes that the processor multiplies in one instruction: AMX of Sapphire Rapids
//! (2023) and later. Those of bf16 are in [`bf16`].
//!
//! A product multiplies sixteen tokens by sixteen rows of weights. Activations are integers of 16
//! bits, so there are two products, one of their high and one of their low bytes; sums are exact,
//! so results are bit-identical to those without tiles. The instructions are assembly, because
//! their intrinsics are not stable in Rust 1.95, and they are used only after they have given the
//! known answer to a product ([`Tiles::detect`]).

#[cfg(target_arch = "x86_64")]
mod amx;
pub(crate) mod bf16;

#[cfg(target_arch = "x86_64")]
use amx::Amx;

/// Number of tokens of a tile, and of rows of weights.
pub(crate) const TILE: usize = 16;
/// Largest number of quads of columns in a product.
pub(crate) const MOST_QUADS: usize = 8;

/// Proof that the processor multiplies tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tiles {
    #[cfg(target_arch = "x86_64")]
    Amx(Amx),
    /// Software implementation, which the instructions are tested and verified against.
    #[cfg(test)]
    Emulated,
}

/// Result of a product: `[token][row]`, of the high and of the low bytes of the activations.
#[derive(Clone, Default, Debug, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Sums {
    pub high: [[i32; TILE]; TILE],
    pub low: [[i32; TILE]; TILE],
}

impl Tiles {
    pub const NEEDS: &'static str = "AMX-INT8 or AVX-512 VNNI, or a system that lets programs use AMX";

    /// Detects the instructions; `None` if the processor has no tiles, the system does not let this
    /// process use them, or a product is wrong.
    pub fn detect() -> Option<Tiles> {
        #[cfg(target_arch = "x86_64")]
        {
            static FOUND: std::sync::OnceLock<Option<Amx>> = std::sync::OnceLock::new();
            (*FOUND.get_or_init(|| Amx::detect().filter(|amx| proves(Tiles::Amx(*amx))))).map(Tiles::Amx)
        }
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// Configures the calling thread for products over `quads` quads of columns, until the result
    /// is dropped.
    ///
    /// Panics if `quads` is 0 or above [`MOST_QUADS`].
    pub fn begin(self, quads: usize) -> Session {
        assert!((1..=MOST_QUADS).contains(&quads), "products go over 1 to {MOST_QUADS} quads, not {quads}");
        match self {
            #[cfg(target_arch = "x86_64")]
            Tiles::Amx(amx) => amx.configure(quads),
            #[cfg(test)]
            Tiles::Emulated => {}
        }
        Session { tiles: self, quads }
    }
}

/// Proof that the thread is configured for tiles.
pub(crate) struct Session {
    tiles: Tiles,
    quads: usize,
}

impl Session {
    /// Sets `sums` to Σ code · activation over the quads of the session.
    ///
    /// # Safety
    /// `codes` must point at the unsigned bytes `[quad][row][4]`, `x` at the signed bytes `[high,
    /// low][token][column]`.
    #[inline(always)]
    pub unsafe fn multiply(&self, codes: *const u8, x: *const i8, sums: &mut Sums) {
        match self.tiles {
            // SAFETY: guaranteed by the caller; the session has been begun for as many quads.
            #[cfg(target_arch = "x86_64")]
            Tiles::Amx(amx) => unsafe { amx.multiply(self.quads, codes, x, sums) },
            #[cfg(test)]
            Tiles::Emulated => {
                let (codes_len, x_len) = (self.quads * 4 * TILE, 2 * self.quads * 4 * TILE);
                // SAFETY: guaranteed by the caller.
                let (codes, x) =
                    unsafe { (std::slice::from_raw_parts(codes, codes_len), std::slice::from_raw_parts(x, x_len)) };
                *sums = by_hand(codes, x);
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        match self.tiles {
            #[cfg(target_arch = "x86_64")]
            Tiles::Amx(amx) => amx.release(),
            #[cfg(test)]
            Tiles::Emulated => {}
        }
    }
}

/// Expected result of [`Session::multiply`].
#[cfg(any(test, target_arch = "x86_64"))]
fn by_hand(codes: &[u8], x: &[i8]) -> Sums {
    let mut sums = Sums::default();
    let cols = codes.len() / TILE;
    let (high, low) = x.split_at(x.len() / 2);
    for (sums, x) in [(&mut sums.high, high), (&mut sums.low, low)] {
        for (sums, x) in sums.iter_mut().zip(x.chunks_exact(cols)) {
            for (row, sum) in sums.iter_mut().enumerate() {
                let code = |col: usize| i32::from(codes[col / 4 * 4 * TILE + 4 * row + col % 4]);
                *sum = x.iter().enumerate().map(|(col, x)| code(col) * i32::from(*x)).sum();
            }
        }
    }
    sums
}

/// Whether tiles give the expected results for bytes of every value, over short and over long
/// products.
#[cfg(any(test, target_arch = "x86_64"))]
fn proves(tiles: Tiles) -> bool {
    [MOST_QUADS / 2, MOST_QUADS].into_iter().all(|quads| {
        let codes: Vec<u8> = (0..quads * 4 * TILE).map(|i| (i * 7 + i / 256 * 3) as u8).collect();
        let x: Vec<i8> = (0..2 * quads * 4 * TILE).map(|i| (i * 11 + i / 256 * 5) as i8).collect();
        let mut sums = Sums::default();
        // SAFETY: both are as long as quads make them.
        unsafe { tiles.begin(quads).multiply(codes.as_ptr(), x.as_ptr(), &mut sums) };
        sums == by_hand(&codes, &x)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_that_of_matrices() {
        // One code and one activation at a time, each at a different place.
        for (row, token, col) in [(0, 0, 0), (3, 5, 17), (15, 15, 31)] {
            let (mut codes, mut x) = (vec![0; 32 * TILE], vec![0; 2 * 32 * TILE]);
            codes[col / 4 * 64 + 4 * row + col % 4] = 200;
            x[token * 32 + col] = -3;
            x[32 * TILE + token * 32 + col] = 100;
            let sums = by_hand(&codes, &x);
            assert_eq!((sums.high[token][row], sums.low[token][row]), (-600, 20_000));
            let others = sums.high.as_flattened().iter().chain(sums.low.as_flattened()).filter(|sum| **sum != 0);
            assert_eq!(others.count(), 2);
        }
    }

    #[test]
    fn tiles_prove_themselves() {
        assert!(proves(Tiles::Emulated));
        assert!(Tiles::detect().is_none_or(proves));
    }
}
