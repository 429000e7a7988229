//! Whether a model computes what it should.
//!
//! Two questions, each with an answer in figures and a verdict:
//! - [`against`]: does the engine compute what others computed from the same weights? Expected
//!   tensors out of files.
//! - [`gate`]: does a quantised model still say what the unquantised one says? Held against
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

/// The largest of some errors. One that is no number is larger than all others.
fn worst(errors: impl IntoIterator<Item = f32>) -> f32 {
    errors.into_iter().fold(0.0, |worst, error| if error.is_nan() { f32::INFINITY } else { worst.max(error) })
}

/// Whether a figure keeps to its limit. One that is no number does not.
fn within<T: PartialOrd>(found: T, most: T) -> bool {
    found <= most
}

/// The place of the largest value, and how far the next is below it.
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
