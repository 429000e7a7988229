//! Number of encoder positions for a sound. The encoder's work grows with more than the square of
//! them, and with too few Whisper repeats itself.

use super::guard::RetryLimit;
use crate::types::SampleRate;

/// Encoder positions per second of sound, and a margin so that the sound ends before the context
/// does.
const POSITIONS_PER_SECOND: usize = 50;
const MARGIN: usize = 32;
/// Multiple to which encoder positions are rounded up: whole tiles for the matrix kernels.
const POSITION_STEP: usize = 64;
/// Smallest encoder context, by the width of the model. With less, tiny repeats itself in one of
/// six utterances; base in 8 of 97 with 256, in 2 with 320, and in none with 384. Each repetition
/// costs half a second.
const LEAST_POSITIONS: usize = 384;
const LEAST_POSITIONS_TINY: usize = 512;
const TINY: usize = 384;
/// Context in which repetitions are rare in any model.
const SAFE_POSITIONS: usize = 512;

/// Smallest and largest encoder context of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Context {
    least: usize,
    whole: usize,
}

impl Context {
    /// Makes the limits for a model of this width whose encoder has `whole` positions.
    pub fn new(width: usize, whole: usize) -> Self {
        Context { least: if width > TINY { LEAST_POSITIONS } else { LEAST_POSITIONS_TINY }, whole }
    }

    /// Context for so many samples.
    pub fn fitted(self, samples: usize) -> usize {
        let needed = (samples * POSITIONS_PER_SECOND).div_ceil(SampleRate::HEARING.0 as usize) + MARGIN;
        needed.next_multiple_of(POSITION_STEP).clamp(self.least, self.whole)
    }

    /// Contexts to try next, in order, when the text repeated itself with the fitted context.
    pub fn more(self, fitted: usize) -> impl Iterator<Item = (usize, RetryLimit)> + use<> {
        let Context { whole, .. } = self;
        let twice = (2 * fitted).max(SAFE_POSITIONS).min(whole);
        let steps = [(twice, RetryLimit::Short), (whole, RetryLimit::Long)];
        steps.into_iter().filter(move |&(positions, patience)| {
            positions > fitted && (patience == RetryLimit::Long || positions < whole)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_fits_the_sound_and_grows_when_that_fails() {
        let base = Context::new(512, 1500);
        for (seconds, fitted, more) in [
            (1, 384, vec![768, 1500]),
            (5, 384, vec![768, 1500]),
            (9, 512, vec![1024, 1500]),
            (20, 1088, vec![1500]),
            (28, 1472, vec![1500]),
            (60, 1500, vec![]),
        ] {
            assert_eq!(base.fitted(seconds * 16_000), fitted, "{seconds} s");
            assert_eq!(base.more(fitted).map(|(positions, _)| positions).collect::<Vec<_>>(), more, "{seconds} s");
        }
        assert_eq!(Context::new(384, 1500).fitted(16_000), 512);
    }
}
