//! AMX instructions, and the permission to use them.

use super::bf16::{Bf16Sums, TokenStep, WeightStep};
use super::{Sums, TILE};
use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};

/// Proof that the processor has AMX-TILE and AMX-INT8, and that the system saves the tiles of this
/// process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amx(());

/// Proof that the processor has AMX-TILE and AMX-BF16, and that the system saves the tiles of this
/// process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AmxBf16(());

/// Number of bytes of a row of a tile.
const ROW: usize = 64;

/// Configuration of all tiles, as `ldtilecfg` reads it.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Config {
    /// Creates a configuration from the rows and bytes per row of each tile.
    fn new<const N: usize>(shapes: [(usize, usize); N]) -> Config {
        let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
        for (tile, shape) in shapes.into_iter().enumerate() {
            (rows[tile], row_bytes[tile]) = (shape.0 as u8, shape.1 as u16);
        }
        Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
    }

    /// # Safety
    /// The processor must have AMX-TILE, and the system must let this process use it.
    unsafe fn load(&self) {
        // SAFETY: guaranteed by the caller; the instruction reads the 64 bytes of the
        // configuration.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const *self, options(nostack, preserves_flags, readonly)) }
    }
}

impl Amx {
    pub fn detect() -> Option<Amx> {
        may_use(INT8).then_some(Amx(()))
    }

    /// Configures the tiles: 0 and 1 are sums `[token][row]`, 2 and 3 activations
    /// `[token][column]`, 4 codes `[quad][row][4]`.
    pub fn configure(self, quads: usize) {
        let (whole, narrow) = ((TILE, ROW), (TILE, 4 * quads));
        // SAFETY: `self` exists.
        unsafe { Config::new([whole, whole, narrow, narrow, (quads, ROW)]).load() }
    }

    pub fn release(self) {
        // SAFETY: `self` exists.
        unsafe { release() }
    }

    /// Multiplies as [`super::Session::multiply`] does.
    ///
    /// # Safety
    /// The same conditions apply; and this thread must have been configured for `quads` quads.
    #[inline(always)]
    pub unsafe fn multiply(self, quads: usize, codes: *const u8, x: *const i8, sums: &mut Sums) {
        let width = 4 * quads;
        // SAFETY: guaranteed by the caller; the sums are sixteen rows of 64 bytes each.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tileloadd tmm4, [{codes} + {row}*1]",
                "tileloadd tmm2, [{high_x} + {width}*1]",
                "tileloadd tmm3, [{low_x} + {width}*1]",
                "tdpbsud tmm0, tmm2, tmm4",
                "tdpbsud tmm1, tmm3, tmm4",
                "tilestored [{high} + {row}*1], tmm0",
                "tilestored [{low} + {row}*1], tmm1",
                codes = in(reg) codes,
                row = in(reg) ROW,
                width = in(reg) width,
                high_x = in(reg) x,
                low_x = in(reg) x.add(TILE * width),
                high = in(reg) sums.high.as_mut_ptr(),
                low = in(reg) sums.low.as_mut_ptr(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _,
                options(nostack, preserves_flags),
            );
        }
    }
}

impl AmxBf16 {
    pub fn detect() -> Option<AmxBf16> {
        may_use(BF16).then_some(AmxBf16(()))
    }

    /// Configures the tiles: 0 to 3 are sums `[row][token]`, 4 and 5 weights `[row][column]`, 6 and
    /// 7 activations `[pair][token][2]`.
    pub fn configure(self) {
        // SAFETY: `self` exists.
        unsafe { Config::new([(TILE, ROW); 8]).load() }
    }

    pub fn release(self) {
        // SAFETY: `self` exists.
        unsafe { release() }
    }

    /// Multiplies as `Bf16Session::multiply` does. Instructions that add to the same sum
    /// are two or three apart, so that they need not wait long.
    ///
    /// # Safety
    /// `weights` and `x` must point at this many steps, at least one; this thread must have been
    /// configured.
    #[inline(always)]
    pub unsafe fn multiply(self, steps: usize, weights: *const WeightStep, x: *const TokenStep, sums: &mut Bf16Sums) {
        // SAFETY: guaranteed by the caller; the sums are two times sixteen rows of 64 bytes each,
        // high and low.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{weights} + {row}*1]",
                "tileloadd tmm5, [{weights} + {row}*1 + {tile}]",
                "tileloadd tmm6, [{x} + {row}*1 + {tile}]",
                "tileloadd tmm7, [{x} + {row}*1]",
                "tdpbf16ps tmm2, tmm4, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm6",
                "tileloadd tmm6, [{x} + {row}*1 + 2*{tile}]",
                "tdpbf16ps tmm0, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm5, tmm7",
                "tdpbf16ps tmm3, tmm5, tmm6",
                "add {weights}, 2*{tile}",
                "add {x}, 3*{tile}",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{high} + {row}*1], tmm0",
                "tilestored [{high} + {row}*1 + {tile}], tmm1",
                "tilestored [{low} + {row}*1], tmm2",
                "tilestored [{low} + {row}*1 + {tile}], tmm3",
                tile = const TILE * ROW,
                row = in(reg) ROW,
                steps = inout(reg) steps => _,
                weights = inout(reg) weights => _,
                x = inout(reg) x => _,
                high = in(reg) sums.high.as_mut_ptr(),
                low = in(reg) sums.low.as_mut_ptr(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

/// # Safety
/// The processor must have AMX-TILE, and the system must let this process use it.
unsafe fn release() {
    // SAFETY: guaranteed by the caller; no other code uses tiles.
    unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) }
}

/// Bits in register edx of leaf 7 of cpuid.
const BF16: u32 = 1 << 22;
const TILES: u32 = 1 << 24;
const INT8: u32 = 1 << 25;

/// Whether the processor has tiles with these products, and this process may use them.
fn may_use(products: u32) -> bool {
    let needed = TILES | products;
    let has = __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & needed == needed;
    has && system_saves_tiles() && is_permitted()
}

/// Whether the system saves configuration and data of tiles when it switches threads.
fn system_saves_tiles() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const TILE_STATE: u32 = 0b11 << 17;
    if __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let saved: u32;
    // SAFETY: OSXSAVE guarantees the instruction; it reads register 0.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") saved, out("edx") _, options(nomem, nostack, preserves_flags)) }
    saved & TILE_STATE == TILE_STATE
}

/// Requests tiles from Linux, which grants them only on request: arch_prctl(ARCH_REQ_XCOMP_PERM,
/// XFEATURE_XTILEDATA). The permission holds for all threads of the process.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: u64 = 158;
    const REQUEST_PERMISSION: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let result: i64;
    // SAFETY: the call takes two numbers and accesses no memory of this process.
    unsafe {
        asm!("syscall", inout("rax") ARCH_PRCTL => result, in("rdi") REQUEST_PERMISSION, in("rsi") TILE_DATA,
            out("rcx") _, out("r11") _, options(nostack));
    }
    result == 0
}

/// No other system that Sotto runs on has processors with tiles.
#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}
