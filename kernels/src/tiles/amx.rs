//! The instructions, and the permission to use them.

use super::{Sums, TILE};
use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};

/// Proof that the processor has AMX-TILE and AMX-INT8, and that the system saves the tiles of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amx(());

/// Bytes of a row of a tile.
const ROW: usize = 64;

/// The configuration of all tiles, as `ldtilecfg` reads it.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Amx {
    pub fn detect() -> Option<Amx> {
        (has_instructions() && system_saves_tiles() && is_permitted()).then_some(Amx(()))
    }

    /// Tiles 0 and 1 are sums `[token][row]`, 2 and 3 activations `[token][column]`, 4 codes `[quad][row][4]`.
    pub fn configure(self, quads: usize) {
        let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
        row_bytes[..5].copy_from_slice(&[ROW, ROW, 4 * quads, 4 * quads, ROW].map(|bytes| bytes as u16));
        rows[..5].copy_from_slice(&[TILE, TILE, TILE, TILE, quads].map(|rows| rows as u8));
        let config = Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows };
        // SAFETY: `self` exists, so the processor has the instruction; it reads the 64 bytes of the configuration.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, preserves_flags, readonly)) }
    }

    pub fn release(self) {
        // SAFETY: `self` exists, so the processor has the instruction; nobody else uses tiles.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) }
    }

    /// See [`super::Session::multiply`].
    ///
    /// # Safety
    /// As there; and this thread must have been configured for `quads` quads.
    #[inline(always)]
    pub unsafe fn multiply(self, quads: usize, codes: *const u8, x: *const i8, sums: &mut Sums) {
        let width = 4 * quads;
        // SAFETY: as the caller says; the sums are sixteen rows of 64 bytes each.
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

/// AMX-TILE and AMX-INT8: leaf 7 of cpuid.
fn has_instructions() -> bool {
    const TILE_AND_INT8: u32 = 0b11 << 24;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & TILE_AND_INT8 == TILE_AND_INT8
}

/// Whether the system saves configuration and data of tiles when it changes threads.
fn system_saves_tiles() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const TILE_STATE: u32 = 0b11 << 17;
    if __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let saved: u32;
    // SAFETY: OSXSAVE says that the instruction is there; it reads register 0.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") saved, out("edx") _, options(nomem, nostack, preserves_flags)) }
    saved & TILE_STATE == TILE_STATE
}

/// Linux gives no process tiles that has not asked for them: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA). It holds
/// for all threads of the process.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: u64 = 158;
    const REQUEST_PERMISSION: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let result: i64;
    // SAFETY: the call takes two numbers and touches no memory of this process.
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
