//! The head: logits from the last hidden values, for all tokens or only for candidates of the best.
//!
//! Sampling needs the best token or the best 20; the head has one row for each of 250,000. If its
//! codes can be split ([`PrunedMatrix`]), a coarse pass over two thirds of its bytes finds the rows
//! that cannot be among the best. Only the others are computed, bit-identical to the full head. The
//! sampled token is always the same; the saving depends on the model. If a step read more than the
//! full head would have, the next steps use the full head, and more of them after each failure.

use sotto_kernels::{Best, PrunedMatrix, PrunedScratch};

/// Steps with the full head after screening failed: at the first failure, and at most.
const PAUSE: std::ops::RangeInclusive<u32> = 8..=128;

/// Extent of the logits after a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logits {
    /// Logits of at least the requested tokens; -∞ for others.
    Best,
    All,
}

/// Logits requested of the head.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    Best(Best<'a>),
    All,
}

impl Wanted<'_> {
    pub fn logits(&self) -> Logits {
        match self {
            Wanted::Best(_) => Logits::Best,
            Wanted::All => Logits::All,
        }
    }
}

/// Statistics of screening, and its working memory.
#[derive(Default)]
pub struct HeadPruning {
    scratch: PrunedScratch,
    /// Remaining steps that use the full head.
    paused: u32,
    /// Length of the last pause in steps; 0 before the first failure.
    pause: u32,
    /// Steps that requested the best tokens, and the bytes that the head read for them.
    pub(super) steps: usize,
    pub(super) bytes: usize,
}

impl HeadPruning {
    /// Calls `product` to find the best rows and return the number of computed strips, if that may
    /// save time. Returns whether it was called.
    pub(super) fn screen(
        &mut self,
        screen: &PrunedMatrix,
        product: impl FnOnce(&mut PrunedScratch) -> Option<usize>,
    ) -> bool {
        let tried = self.pays();
        let computed = tried.then(|| product(&mut self.scratch)).flatten();
        let read = computed.map_or(screen.full_bytes(), |strips| screen.screened_bytes(strips));
        self.learn(computed.map(|_| read <= screen.full_bytes()));
        self.steps += 1;
        self.bytes += read;
        tried
    }

    fn pays(&self) -> bool {
        self.paused == 0
    }

    /// Records whether screening saved time, if it was tried.
    fn learn(&mut self, paid: Option<bool>) {
        match paid {
            None => self.paused = self.paused.saturating_sub(1),
            Some(true) => self.pause = 0,
            Some(false) => {
                self.pause = (2 * self.pause).clamp(*PAUSE.start(), *PAUSE.end());
                self.paused = self.pause;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_pay_is_tried_less_and_less_often() {
        let mut screening = HeadPruning::default();
        let mut tries = |steps: usize, pays: bool| {
            let mut tried = Vec::new();
            for step in 0..steps {
                let try_it = screening.pays();
                tried.extend(try_it.then_some(step));
                screening.learn(try_it.then_some(pays));
            }
            tried
        };
        assert_eq!(tries(3, true), [0, 1, 2]);
        assert_eq!(tries(500, false), [0, 9, 26, 59, 124, 253, 382]);
        let again = tries(20, true);
        assert_eq!((again[0], again.len()), (11, 9), "what paid once is tried at every step");
        assert_eq!(tries(10, false), [0, 9]);
    }
}
