//! Tests of the machine, with a checker of its invariants at every step.

mod checker;
mod defects;
mod interruptions;
mod properties;
mod turns;
mod world;
