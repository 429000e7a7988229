//! How loud sound is.

use crate::types::SampleRate;

/// Loudness is compared over 20 ms.
pub const STEPS_PER_SECOND: usize = 50;
/// Steps of a passage, 400 ms, and how many of them are as loud as the passage is said to be: a
/// word has 80 ms of vowels, a click is shorter.
const PASSAGE: usize = 20;
const HELD: usize = 4;
/// Speech rises and falls by 20 dB and more; a fan, hiss or tone by under 3.
const STEADY: f32 = 2.0;

/// The mean square of some samples; none have none. A sine of full level has a half.
pub fn power(samples: &[f32]) -> f32 {
    samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len().max(1) as f32
}

/// A power in decibels of full scale: a sine of full level has -3, silence is minus infinity.
pub fn decibels(power: f32) -> f32 {
    10.0 * power.log10()
}

/// The power of each whole step of 20 ms.
pub fn steps(samples: &[f32], rate: SampleRate) -> Vec<f32> {
    samples.chunks_exact((rate.0 as usize / STEPS_PER_SECOND).max(1)).map(power).collect()
}

/// Tells whether loudness never changes, as of a fan or a tone or of silence, by the powers of all
/// steps. It needs two.
pub fn is_steady(powers: &[f32]) -> bool {
    let mut sorted = powers.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let at = |share: f32| sorted[((sorted.len() - 1) as f32 * share) as usize];
    sorted.len() > 1 && at(0.95).max(sustained(powers)) <= at(0.05) * STEADY
}

/// The power of the loudest passage, by the powers of all steps: what its louder steps hold, so
/// that a click does not count.
pub fn sustained(powers: &[f32]) -> f32 {
    let held = |passage: &[f32]| {
        let mut sorted = passage.to_vec();
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        sorted.get(HELD.min(sorted.len()).saturating_sub(1)).copied().unwrap_or(0.0)
    };
    match powers.len() {
        ..PASSAGE => held(powers),
        _ => powers.windows(PASSAGE).map(held).fold(0.0, f32::max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_sound_is_told_from_speech() {
        for (powers, steady) in [
            (vec![], false),
            (vec![1.0], false),
            (vec![0.0; 100], true),
            ([1.0, 1.9].repeat(50), true),
            ([1.0, 2.1].repeat(50), false),
            ([0.0, 1e-12].repeat(50), false),
            ([vec![1.0; 1_000], vec![9.0; 10]].concat(), false),
        ] {
            assert_eq!(is_steady(&powers), steady, "{powers:?}");
        }
    }

    #[test]
    fn loudest_passage_ignores_clicks_and_silence() {
        let voice = vec![4.0; HELD];
        for (powers, loudest) in [
            (vec![], 0.0),
            (vec![3.0], 3.0),
            ([vec![0.0; 3_000], voice.clone()].concat(), 4.0),
            ([vec![1e6; 3], vec![0.0; 100], voice].concat(), 4.0),
        ] {
            assert_eq!(sustained(&powers), loudest);
        }
    }

    #[test]
    fn levels_are_those_of_the_textbook() {
        let sine: Vec<f32> = (0..160).map(|n| (n as f32 * std::f32::consts::TAU / 16.0).sin()).collect();
        for (samples, expected) in [(&sine[..], -3.0103), (&[0.5, -0.5], -6.0206), (&[1.0], 0.0)] {
            assert!((decibels(power(samples)) - expected).abs() < 1e-3, "{expected}");
        }
        for silence in [&[][..], &[0.0; 9]] {
            assert_eq!((power(silence), decibels(power(silence))), (0.0, f32::NEG_INFINITY));
        }
    }
}
