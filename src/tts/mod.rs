//! (to be written)

pub mod ear;

pub use ear::for_ear;
