//! Decision when a wake word was spoken, by its scores.

use super::STEP;
use crate::types::{Ms, SampleRate};

/// Time after a word in which no other is detected: the scores of a word fall and rise again 0.6 to
/// 0.9 s after it (in 8 of 12 recordings of people who said "Alexa"), and nobody says it twice
/// within a second.
const REFRACTORY: Ms = Ms(1_200.0);

/// Detects spoken words in a classifier's scores.
#[derive(Clone, Debug)]
pub struct Spotter {
    threshold: f32,
    /// Number of steps in which no word is detected.
    deaf: usize,
    /// Whether the score has to fall before it can rise again.
    above: bool,
}

impl Spotter {
    /// Makes a spotter that detects a word in a step whose score is `threshold` or more, 0 to 1.
    pub fn new(threshold: f32) -> Self {
        Spotter { threshold, deaf: 0, above: false }
    }

    /// Takes the score of the next step, and returns whether the word was spoken.
    pub fn push(&mut self, score: f32) -> bool {
        let above = score >= self.threshold;
        let before = std::mem::replace(&mut self.above, above);
        let heard = above && !before && self.deaf == 0;
        self.deaf = if heard { SampleRate::HEARING.samples(REFRACTORY) / STEP } else { self.deaf.saturating_sub(1) };
        heard
    }

    /// Forgets the scores so far, before another sound.
    pub fn reset(&mut self) {
        *self = Spotter::new(self.threshold);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(scores: &[f32]) -> Vec<usize> {
        let mut spotter = Spotter::new(0.5);
        scores.iter().enumerate().filter_map(|(n, score)| spotter.push(*score).then_some(n)).collect()
    }

    #[test]
    fn a_word_is_heard_once_however_its_scores_rise_and_fall() {
        let mut word = vec![0.0, 0.49, 0.5, 1.0, 1.0, 0.2, 0.1, 0.0, 0.0, 0.7, 0.9, 0.1];
        assert_eq!(heard(&word), [2]);
        // The scores repeat after the 15 steps in which nothing is detected.
        word.resize(18, 0.0);
        word.extend([0.9, 0.9, 0.0]);
        assert_eq!(heard(&word), [2, 18]);
        // A score that rose meanwhile has to fall first.
        assert_eq!(heard(&[0.9; 100]), [0]);
        assert_eq!(heard(&[f32::NAN; 3]), Vec::<usize>::new());
    }

    #[test]
    fn after_a_reset_it_hears_at_once() {
        let mut spotter = Spotter::new(0.5);
        assert!(spotter.push(0.9));
        spotter.reset();
        assert!(spotter.push(0.9));
    }
}
