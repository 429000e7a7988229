//! Cost of an answer.

use super::super::speculation::Guesses;
use crate::types::Ms;

/// Cost of prefill and decode for one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GenerationStats {
    /// Tokens of the prompt computed for this answer.
    pub prefilled_tokens: usize,
    /// Time to compute the prompt.
    pub prefill: Ms,
    /// Time to compute the answer, including the time between its pieces.
    pub decode: Ms,
    /// Tokens of the answer computed during `decode`, one by one or speculatively.
    pub steps: usize,
    /// Draft tokens that were computed, accepted or rejected.
    pub guesses: Guesses,
}

impl GenerationStats {
    /// Prefill speed; `None` if every token of the prompt was already computed.
    pub fn prefill_tokens_per_second(&self) -> Option<f64> {
        per_second(self.prefilled_tokens, self.prefill)
    }

    /// Decode speed; `None` if no step was needed.
    pub fn decode_tokens_per_second(&self) -> Option<f64> {
        per_second(self.steps, self.decode)
    }
}

fn per_second(tokens: usize, span: Ms) -> Option<f64> {
    (tokens > 0 && span.0 > 0.0).then(|| tokens as f64 * 1000.0 / span.0)
}
