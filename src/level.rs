//! Loudness of sound: powers, decibels and steps.

use crate::types::SampleRate;

/// Number of steps per second over which loudness is compared: 20 ms each.
pub const STEPS_PER_SECOND: usize = 50;
/// Steps of a passage, 400 ms, and the number of its loudest steps that give its loudness: a word
/// has 80 ms of vowels, a click is shorter.
const PASSAGE: usize = 20;
const HELD: usize = 4;
/// Ratio below which loudness is steady, 3 dB: speech varies by 20 dB and more; a fan, hiss or tone
/// by less than this.
const STEADY: f32 = 2.0;

/// Mean square of some samples; zero for none. A sine of full level has a half.
pub fn power(samples: &[f32]) -> f32 {
    samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len().max(1) as f32
}

/// Converts a power to dBFS: a sine of full level has -3, silence is minus infinity.
pub fn decibels(power: f32) -> f32 {
    10.0 * power.log10()
}

/// Powers of each whole step of 20 ms.
pub fn steps(samples: &[f32], rate: SampleRate) -> Vec<f32> {
    samples.chunks_exact((rate.0 as usize / STEPS_PER_SECOND).max(1)).map(power).collect()
}

/// Detects by the powers of all steps whether loudness never changes, as of a fan, a tone or
/// silence. At least two steps are needed.
pub fn is_steady(powers: &[f32]) -> bool {
    let mut sorted = powers.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let at = |share: f32| sorted[((sorted.len() - 1) as f32 * share) as usize];
    sorted.len() > 1 && at(0.95).max(sustained(powers)) <= at(0.05) * STEADY
}

/// Power of the loudest passage, by the powers of all steps: the level of its louder steps, so that
/// a click does not count.
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
