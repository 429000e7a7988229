//! The head: from the last hidden values to logits, of all tokens or only of those among which the
//! best are.
//!
//! An answer looks at the best token, or at the best 20; the head has a row for each of 250,000.
//! Where its codes can be parted ([`PrunedMatrix`]), a coarse pass over two thirds of its bytes
//! tells which rows cannot be among the best, and only the others are computed, to the bit as the
//! full head computes them. What is chosen is the same, always; how much is saved depends on the
//! model. So a step that read more than the full head would have is followed by steps that take the
//! full head, more of them each time it fails.

use sotto_kernels::{Best, PrunedMatrix, PrunedScratch};

/// Steps with the full head after screening failed for the first time, and at most.
const PAUSE: std::ops::RangeInclusive<u32> = 8..=128;

/// Which logits of the last position are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Logits {
    #[default]
    None,
    /// At least those of the tokens that were looked for; -∞ for others.
    Best,
    All,
}

/// Which logits are wanted.
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

/// What screening has come to so far, and the room it works in.
#[derive(Default)]
pub struct HeadPruning {
    scratch: PrunedScratch,
    /// Steps that are still to take the full head.
    paused: u32,
    /// How many it will be after the next failure; 0 before the first.
    pause: u32,
    /// Steps that asked for the best, and the bytes that the head read for them.
    pub(super) steps: usize,
    pub(super) bytes: usize,
}

impl HeadPruning {
    /// Has `product` find the best and tell how many strips it computed, if that may pay; returns
    /// whether it was called.
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

    /// Whether screening paid, if it was tried.
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
