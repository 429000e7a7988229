//! The machine under test, with a checker of its invariants behind every step.

mod checker;
mod defects;
mod interruptions;
mod properties;
mod turns;
mod world;
