//! (to be written)

pub mod args;
pub mod docs;
