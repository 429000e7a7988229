//! The checked configuration.
mod plan;
pub use plan::*;
