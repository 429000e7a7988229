//! How loud sound is.

/// The mean square of some samples; none have none. A sine of full level has a half.
pub fn power(samples: &[f32]) -> f32 {
    samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len().max(1) as f32
}

/// A power in decibels of full scale: a sine of full level has -3, silence is minus infinity.
pub fn decibels(power: f32) -> f32 {
    10.0 * power.log10()
}

#[cfg(test)]
mod tests {
    use super::*;

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
