//! Short sounds without speech: two sine partials under a raised cosine.
//!
//! Each is soft, because it comes unasked, and its samples begin and end at zero, because a step is
//! heard as a click.

use std::f64::consts::{PI, TAU};

use crate::types::{Ms, SampleRate};

/// A short soft sound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EarconSound {
    /// Frequencies in hertz, the louder first.
    partials: [f64; 2],
    length: Ms,
}

/// Largest possible sample: -22 dB of full scale. The loudest sample of an answer has -5 to -6 dB:
/// measured on three that piper-joe, the voice of the starter profile, spoke.
const PEAK: f64 = 0.08;
/// Amplitude of the second partial relative to the first: 9 dB less, so that one pitch is heard.
const SECOND: f64 = 0.26;

impl EarconSound {
    /// Sound for listening: high, as a question ends (A5 and the E above).
    pub const LISTENING: EarconSound = EarconSound { partials: [880.0, 1318.5], length: Ms(120.0) };
    /// Sound for an answer that takes a while: low and longer (E4 and the B above).
    pub const THINKING: EarconSound = EarconSound { partials: [329.6, 493.9], length: Ms(180.0) };

    /// Samples of the sound, from zero to zero.
    pub fn samples(&self, rate: SampleRate) -> Vec<f32> {
        let count = rate.samples(self.length);
        let last = count.saturating_sub(1).max(1) as f64;
        let sample = |n: usize| {
            let seconds = n as f64 / f64::from(rate.0);
            let [first, second] = self.partials.map(|hertz| (TAU * hertz * seconds).sin());
            let swell = 0.5 - 0.5 * (2.0 * PI * n as f64 / last).cos();
            (PEAK * swell * ((1.0 - SECOND) * first + SECOND * second)) as f32
        };
        (0..count).map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_soft_and_does_not_click() {
        for earcon in [EarconSound::LISTENING, EarconSound::THINKING] {
            for rate in [SampleRate(16_000), SampleRate(22_050)] {
                let samples = earcon.samples(rate);
                let loudest = samples.iter().fold(0.0f32, |loudest, sample| loudest.max(sample.abs()));
                // -20 dB at most, and still audible.
                assert!((0.04..=0.1).contains(&loudest), "{loudest}");
                assert!(samples[0].abs() < 1e-6 && samples[samples.len() - 1].abs() < 1e-6);
                // No step is larger than those of the tone itself at its loudest.
                let steepest = TAU * earcon.partials[1] * PEAK / f64::from(rate.0);
                assert!(samples.windows(2).all(|pair| f64::from((pair[1] - pair[0]).abs()) <= steepest));
                let length = rate.duration(samples.len()).0;
                assert!((80.0..=200.0).contains(&length), "{length}");
            }
        }
        assert!(EarconSound::THINKING.samples(SampleRate(0)).is_empty());
    }
}
