//! Tests of the machine, with a checker of its invariants at every step. `recorded` has
//! conversations for the tests of recordings.

mod checker;
mod defects;
mod interruptions;
mod properties;
pub(crate) mod recorded;
mod turns;
mod world;
