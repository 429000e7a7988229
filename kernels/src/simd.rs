//! Instruction set of the kernels: detected once, carried as a value that proves the machine has
//! it.

#[cfg(target_arch = "aarch64")]
use crate::isa::Neon;
#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx2, Avx512};
use crate::isa::{Isa, Kernel, Portable};
use crate::tiles::Tiles;
use crate::tiles::bf16::Bf16Tiles;

/// A variant of the kernels that this machine can run; made only by [`Simd::detect`],
/// [`Simd::from_env`] and [`Simd::named`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Simd {
    variant: Variant,
    /// Tile instructions for many tokens and weights in strips.
    tiles: Option<Tiles>,
    /// Tile instructions for many tokens and weights of bf16.
    bf16_tiles: Option<Bf16Tiles>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    Reference,
    Portable,
    #[cfg(target_arch = "aarch64")]
    Neon(Neon<false>),
    #[cfg(target_arch = "aarch64")]
    NeonI8mm(Neon<true>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512<false>),
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Avx512<true>),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SimdError {
    #[error("{VARIABLE}={name}: no such kernels; choose one of {}", NAMES.join(", "))]
    Unknown { name: String },
    #[error("{VARIABLE}={name}: this processor lacks {needs}; unset {VARIABLE} to use the fastest kernels it can run")]
    Lacking { name: String, needs: &'static str },
}

/// Environment variable that forces one variant; for tests and debugging.
pub const VARIABLE: &str = "SOTTO_KERNELS";
/// Valid values of [`VARIABLE`], slowest first.
pub const NAMES: [&str; 8] = ["reference", "portable", "neon", "neoni8mm", "avx2", "avx512", "avx512vnni", "amx"];

impl Simd {
    /// Returns the fastest variant that this machine can run.
    pub fn detect() -> Simd {
        Simd::available().pop().unwrap_or(Simd::of(Variant::Portable))
    }

    /// Returns the variant that the environment variable `SOTTO_KERNELS` names; the fastest if it
    /// is not set or empty.
    pub fn from_env() -> Result<Simd, SimdError> {
        match std::env::var_os(VARIABLE) {
            Some(name) if !name.is_empty() => Simd::named(&name.to_string_lossy()),
            _ => Ok(Simd::detect()),
        }
    }

    /// Returns the variant of this name (one of [`NAMES`]), if this machine can run it.
    pub fn named(name: &str) -> Result<Simd, SimdError> {
        match name {
            "reference" => Ok(Simd::of(Variant::Reference)),
            "portable" => Ok(Simd::of(Variant::Portable)),
            "neon" => arm::neon().ok_or(arm::NEON_NEEDS),
            "neoni8mm" => arm::neoni8mm().ok_or(arm::NEONI8MM_NEEDS),
            "avx2" => x86::avx2().ok_or(x86::AVX2_NEEDS),
            "avx512" => x86::avx512().ok_or(x86::AVX512_NEEDS),
            "avx512vnni" => x86::avx512vnni().ok_or(x86::AVX512VNNI_NEEDS),
            "amx" => x86::amx().ok_or(Tiles::NEEDS),
            _ => return Err(SimdError::Unknown { name: name.to_owned() }),
        }
        .map_err(|needs| SimdError::Lacking { name: name.to_owned(), needs })
    }

    /// Returns every variant that this machine can run, slowest first.
    pub fn available() -> Vec<Simd> {
        NAMES.iter().filter_map(|name| Simd::named(name).ok()).collect()
    }

    pub fn name(self) -> &'static str {
        match self.variant {
            Variant::Reference => "reference",
            Variant::Portable => "portable",
            #[cfg(target_arch = "aarch64")]
            Variant::Neon(_) => "neon",
            #[cfg(target_arch = "aarch64")]
            Variant::NeonI8mm(_) => "neoni8mm",
            #[cfg(target_arch = "x86_64")]
            Variant::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Variant::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Variant::Avx512Vnni(_) if self.tiles.is_some() => "amx",
            #[cfg(target_arch = "x86_64")]
            Variant::Avx512Vnni(_) => "avx512vnni",
        }
    }

    fn of(variant: Variant) -> Simd {
        Simd { variant, tiles: None, bf16_tiles: None }
    }

    pub(crate) fn tiles(self) -> Option<Tiles> {
        self.tiles
    }

    pub(crate) fn bf16_tiles(self) -> Option<Bf16Tiles> {
        self.bf16_tiles
    }

    /// Returns every variant that this machine can run, and each with emulated tiles, for tests.
    #[cfg(test)]
    pub(crate) fn with_and_without_tiles() -> Vec<Simd> {
        let without = Simd::available().into_iter().filter(|simd| simd.tiles.is_none() && !simd.is_reference());
        let (tiles, bf16_tiles) = (Some(Tiles::Emulated), Some(Bf16Tiles::Emulated));
        let with = without.map(|simd| Simd { tiles, bf16_tiles, ..simd });
        Simd::available().into_iter().chain(with).collect()
    }

    pub(crate) fn is_reference(self) -> bool {
        self.variant == Variant::Reference
    }

    /// Runs `kernel` on this variant. The reference has no vectors: operations check for it first,
    /// and those without a reference implementation run portably.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Out {
        match self.variant {
            Variant::Reference | Variant::Portable => Portable.enter(kernel),
            #[cfg(target_arch = "aarch64")]
            Variant::Neon(isa) => isa.enter(kernel),
            #[cfg(target_arch = "aarch64")]
            Variant::NeonI8mm(isa) => isa.enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Variant::Avx2(isa) => isa.enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Variant::Avx512(isa) => isa.enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Variant::Avx512Vnni(isa) => isa.enter(kernel),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Avx2, Avx512, Bf16Tiles, Simd, Tiles, Variant};

    pub const AVX2_NEEDS: &str = Avx2::NEEDS;
    pub const AVX512_NEEDS: &str = Avx512::<false>::NEEDS;
    pub const AVX512VNNI_NEEDS: &str = Avx512::<true>::NEEDS;

    pub fn avx2() -> Option<Simd> {
        Avx2::detect().map(|isa| Simd::of(Variant::Avx2(isa)))
    }

    pub fn avx512() -> Option<Simd> {
        Avx512::detect().map(|isa| Simd::of(Variant::Avx512(isa)))
    }

    pub fn avx512vnni() -> Option<Simd> {
        Avx512::detect().map(|isa| Simd::of(Variant::Avx512Vnni(isa)))
    }

    /// Returns the variant with tiles of bytes, and with those of bf16 if the processor has them.
    pub fn amx() -> Option<Simd> {
        Some(Simd { tiles: Some(Tiles::detect()?), bf16_tiles: Bf16Tiles::detect(), ..avx512vnni()? })
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod x86 {
    use super::Simd;

    pub const AVX2_NEEDS: &str = "the x86-64 instruction set";
    pub const AVX512_NEEDS: &str = AVX2_NEEDS;
    pub const AVX512VNNI_NEEDS: &str = AVX2_NEEDS;

    pub fn avx2() -> Option<Simd> {
        None
    }

    pub fn avx512() -> Option<Simd> {
        None
    }

    pub fn avx512vnni() -> Option<Simd> {
        None
    }

    pub fn amx() -> Option<Simd> {
        None
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::{Neon, Simd, Variant};

    pub const NEON_NEEDS: &str = Neon::<false>::NEEDS;
    pub const NEONI8MM_NEEDS: &str = Neon::<true>::NEEDS;

    pub fn neon() -> Option<Simd> {
        Neon::detect().map(|isa| Simd::of(Variant::Neon(isa)))
    }

    pub fn neoni8mm() -> Option<Simd> {
        Neon::detect().map(|isa| Simd::of(Variant::NeonI8mm(isa)))
    }
}

#[cfg(not(target_arch = "aarch64"))]
mod arm {
    use super::Simd;

    pub const NEON_NEEDS: &str = "the AArch64 instruction set";
    pub const NEONI8MM_NEEDS: &str = NEON_NEEDS;

    pub fn neon() -> Option<Simd> {
        None
    }

    pub fn neoni8mm() -> Option<Simd> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::skipped;

    #[test]
    fn names_go_both_ways() {
        for simd in Simd::available() {
            assert_eq!(Simd::named(simd.name()), Ok(simd));
        }
        assert_eq!(Simd::available()[..2], [Simd::of(Variant::Reference), Simd::of(Variant::Portable)]);
    }

    /// All other tests run on the variants that this processor has.
    #[test]
    fn variants_that_this_processor_lacks_are_reported() {
        let (here, elsewhere) = match std::env::consts::ARCH {
            "x86_64" => (&["avx2", "avx512", "avx512vnni", "amx"][..], "NEON kernels: run \"make test-neon\""),
            "aarch64" => (&["neon", "neoni8mm"][..], "AVX kernels: they need an x86-64 processor"),
            _ => (&[][..], "AVX and NEON kernels: they need an x86-64 or a 64-bit Arm processor"),
        };
        for name in here.iter().filter(|name| Simd::named(name).is_err()) {
            skipped(&format!("{name} kernels"), "this processor does not have them");
        }
        let (what, why) = elsewhere.split_once(": ").unwrap();
        skipped(what, why);
    }

    /// Makes scripts/test-neon.sh fail if an emulated processor lacks the expected instructions.
    #[test]
    fn what_the_environment_names_runs_here() {
        let simd = Simd::from_env().unwrap();
        if let Some(name) = std::env::var_os(VARIABLE).filter(|name| !name.is_empty()) {
            assert_eq!(simd.name(), name.to_string_lossy());
        }
    }

    #[test]
    fn an_unknown_name_is_told_the_choices() {
        let message = Simd::named("sse9").unwrap_err().to_string();
        assert_eq!(
            message,
            "SOTTO_KERNELS=sse9: no such kernels; choose one of reference, portable, neon, neoni8mm, avx2, avx512, avx512vnni, amx"
        );
    }
}
