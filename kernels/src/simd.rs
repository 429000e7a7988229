//! Which instructions the kernels use: found out once, carried as a value that proves the machine has them.

/// A variant of the kernels that this machine can run; made only by [`Simd::detect`], [`Simd::from_env`] and
/// [`Simd::named`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Simd(pub(crate) Variant);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    Reference,
    Portable,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SimdError {
    #[error("{VARIABLE}={name}: no such kernels; choose one of {}", NAMES.join(", "))]
    Unknown { name: String },
    #[error("{VARIABLE}={name}: this processor lacks {needs}; unset {VARIABLE} to use the fastest kernels it can run")]
    Lacking { name: String, needs: &'static str },
}

/// Forces one variant; for tests and for finding faults.
pub const VARIABLE: &str = "SOTTO_KERNELS";
/// What [`VARIABLE`] may say, slowest first.
pub const NAMES: [&str; 4] = ["reference", "portable", "avx2", "avx512"];

impl Simd {
    /// The fastest variant that this machine can run.
    pub fn detect() -> Simd {
        Simd(Variant::Portable)
    }

    /// The variant that the environment variable `SOTTO_KERNELS` names; the fastest if it is not set or empty.
    pub fn from_env() -> Result<Simd, SimdError> {
        match std::env::var_os(VARIABLE) {
            Some(name) if !name.is_empty() => Simd::named(&name.to_string_lossy()),
            _ => Ok(Simd::detect()),
        }
    }

    /// The variant of this name (one of [`NAMES`]), if this machine can run it.
    pub fn named(name: &str) -> Result<Simd, SimdError> {
        match name {
            "reference" => Ok(Simd(Variant::Reference)),
            "portable" => Ok(Simd(Variant::Portable)),
            "avx2" | "avx512" => Err(SimdError::Lacking { name: name.to_owned(), needs: "its instructions" }),
            _ => Err(SimdError::Unknown { name: name.to_owned() }),
        }
    }

    /// Every variant that this machine can run, slowest first.
    pub fn available() -> Vec<Simd> {
        NAMES.iter().filter_map(|name| Simd::named(name).ok()).collect()
    }

    pub fn name(self) -> &'static str {
        match self.0 {
            Variant::Reference => "reference",
            Variant::Portable => "portable",
        }
    }
}
