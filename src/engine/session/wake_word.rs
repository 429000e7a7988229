//! Wake word detection on a stream: takes blocks of any length, and returns the times at which the
//! word was said.

use crate::config;
use crate::detect::{Spotter, WAKE_STEP};
use crate::engine::stage::Result;
use crate::engine::work::Scores;
use crate::types::{Ms, SampleRate};

pub(super) struct WakeWordListener {
    scores: Scores<WAKE_STEP>,
    spotter: Spotter,
    /// Samples of the step that is not full yet.
    step: Box<[f32; WAKE_STEP]>,
    filled: usize,
    /// Number of consecutive steps that could not be scored.
    failures: u32,
}

impl WakeWordListener {
    pub(super) fn new(scores: Scores<WAKE_STEP>, plan: &config::WakeWordPlan) -> Self {
        let (spotter, step) = (Spotter::new(plan.threshold), Box::new([0.0; WAKE_STEP]));
        WakeWordListener { scores, spotter, step, filled: 0, failures: 0 }
    }

    /// Processes the next samples, the first of which reached the microphone at `at`. Returns the
    /// times at which the word ended, and an error for each step that could not be scored.
    pub(super) fn detect(&mut self, mut samples: &[f32], at: Ms) -> Vec<Result<Ms>> {
        let (length, mut said) = (samples.len(), Vec::new());
        while !samples.is_empty() {
            let (now, later) = samples.split_at(samples.len().min(WAKE_STEP - self.filled));
            self.step[self.filled..][..now.len()].copy_from_slice(now);
            self.filled += now.len();
            samples = later;
            if self.filled == WAKE_STEP {
                self.filled = 0;
                let end = Ms(at.0 + SampleRate::HEARING.duration(length - samples.len()).0);
                said.extend(self.score().map(|heard| heard.map(|()| end)));
            }
        }
        said
    }

    /// Number of consecutive steps that could not be scored.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    fn score(&mut self) -> Option<Result<()>> {
        let score = (self.scores)(&self.step);
        self.failures = if score.is_err() { self.failures + 1 } else { 0 };
        // The spotter counts steps, so it gets a value for each, also after an error.
        let heard = self.spotter.push(*score.as_ref().unwrap_or(&0.0));
        score.err().map(Err).or(heard.then_some(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores a step by its first sample, and fails on NaN.
    fn first(step: &[f32; WAKE_STEP]) -> Result<f32> {
        if step[0].is_nan() { Err(anyhow::anyhow!("scripted")) } else { Ok(step[0]) }
    }

    fn ear() -> WakeWordListener {
        WakeWordListener::new(Box::new(first), &config::WakeWordPlan { model: "sotto".to_owned(), threshold: 0.5 })
    }

    #[test]
    fn whatever_blocks_the_sound_comes_in_the_word_is_heard_at_the_same_moment() {
        let sound: Vec<f32> = (0..60 * WAKE_STEP).map(|n| [0.0, 0.9][usize::from(n / WAKE_STEP % 20 == 7)]).collect();
        for block in [1, 7, 160, 480, 1280, 1281, 5000, 100_000] {
            let (mut ear, mut at) = (ear(), 1000.0);
            let mut heard = Vec::new();
            for samples in sound.chunks(block) {
                heard.extend(ear.detect(samples, Ms(at)).into_iter().map(|said| said.unwrap().0.round()));
                at += samples.len() as f64 / 16.0;
            }
            assert_eq!(heard, [1640.0, 3240.0, 4840.0], "{block}");
        }
    }

    #[test]
    fn steps_that_cannot_be_scored_are_counted_and_hear_nothing() {
        let mut ear = ear();
        let said = ear.detect(&[f32::NAN; 3 * WAKE_STEP], Ms(0.0));
        assert!(said.len() == 3 && said.iter().all(Result::is_err) && ear.failures() == 3);
        assert!(ear.detect(&[0.9; WAKE_STEP], Ms(240.0)).pop().is_some_and(|said| said.is_ok()) && ear.failures() == 0);
    }
}
