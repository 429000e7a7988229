//! Verification that a model computes correct results.
//!
//! Two checks, each with figures and a verdict:
//! - [`against`]: does the engine compute the same as others with the same weights? Compares with
//!   expected tensors from files.
//! - [`gate`]: does a quantised model still agree with the unquantised one? Compares with
//!   [`super::reference`], token by token over a text.

pub mod against;
mod error;
mod expected;
pub mod gate;
mod passages;
mod precision;

pub use error::VerifyError;
pub use expected::Expected;
pub use precision::Precision;

/// Largest of some errors. NaN counts as larger than all others.
fn worst(errors: impl IntoIterator<Item = f32>) -> f32 {
    errors.into_iter().fold(0.0, |worst, error| if error.is_nan() { f32::INFINITY } else { worst.max(error) })
}

/// Whether a figure is within its limit. NaN is not.
fn within<T: PartialOrd>(found: T, most: T) -> bool {
    found <= most
}

/// Index of the largest value, and its margin over the next.
fn best(values: &[f32]) -> (usize, f32) {
    let (mut place, mut first, mut second) = (0, f32::NEG_INFINITY, f32::NEG_INFINITY);
    for (n, &value) in values.iter().enumerate() {
        match value {
            _ if value > first => (place, first, second) = (n, value, first),
            _ => second = second.max(value),
        }
    }
    (place, first - second)
}
