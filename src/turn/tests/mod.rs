//! The machine under test, with a checker of its invariants behind every step.

mod checker;
mod defects;
mod interruptions;
mod properties;
mod turns;
mod world;

use super::{Weight, Weights};

/// Those of the starter's models.
pub(super) const WEIGHTS: Weights = Weights {
    voice: Weight { factor: 0.67, missing: 1.5 },
    words: Weight { factor: 0.59, missing: -2.0 },
    written: Weight { factor: 0.78, missing: 1.5 },
    bias: -1.28,
};
