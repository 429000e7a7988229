//! Input of Smart Turn: the log-mel spectrogram of the last eight seconds, as the feature extractor
//! of Whisper makes it with `do_normalize`. It is published as transformers'
//! `WhisperFeatureExtractor`. The steps are, in order: zeros in front, zero mean and unit variance,
//! both ends mirrored, a Hann window of 25 ms every 10 ms, the power of its transform through
//! [`filters`](crate::mel::filters), the logarithm, and at most 80 dB below the loudest.

use crate::mel::{HOP, Mel, WINDOW};

/// Samples of the input at 16 kHz: 8 s.
pub(super) const SPAN: usize = 8 * 16_000;
/// Frames of the input.
pub(super) const FRAMES: usize = SPAN / HOP;
/// Half a window: frames are centred.
const EDGE: usize = WINDOW / 2;

/// Constant added to the variance, so that silence is not divided by zero.
const LEAST_VARIANCE: f64 = 1e-7;

/// The transform and its buffers.
pub(super) struct LogMel {
    mel: Mel,
    /// Input samples with mirrored ends.
    sound: Vec<f32>,
}

impl LogMel {
    pub(super) fn new() -> Self {
        LogMel { mel: Mel::default(), sound: vec![0.0; SPAN + 2 * EDGE] }
    }

    /// Features `[MELS, FRAMES]` of the last [`SPAN`] of `samples` (16 kHz).
    pub(super) fn of(&mut self, samples: &[f32]) -> Vec<f32> {
        self.lay(&samples[samples.len().saturating_sub(SPAN)..]);
        // The extractor drops the last frame.
        self.mel.features_of_padded(&self.sound[..(FRAMES - 1) * HOP + WINDOW])
    }

    /// Copies `samples` to the end of the input, normalised, and mirrors both ends without
    /// repeating the outermost sample.
    fn lay(&mut self, samples: &[f32]) {
        let total: f64 = samples.iter().map(|&sample| f64::from(sample)).sum();
        let mean = total / SPAN as f64;
        let square = |off: f64| off * off;
        let zeros = SPAN - samples.len();
        let off: f64 = samples.iter().map(|&sample| square(f64::from(sample) - mean)).sum();
        let variance = (off + zeros as f64 * square(mean)) / SPAN as f64;
        let scale = (variance + LEAST_VARIANCE).sqrt().recip();
        let (sound, normal) = (&mut self.sound, |sample: f32| ((f64::from(sample) - mean) * scale) as f32);
        sound[EDGE..EDGE + zeros].fill(normal(0.0));
        sound[EDGE + zeros..].iter_mut().zip(samples).for_each(|(to, &sample)| *to = normal(sample));
        let last = EDGE + SPAN - 1;
        for i in 1..=EDGE {
            sound[EDGE - i] = sound[EDGE + i];
            sound[last + i] = sound[last - i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mel::MELS;

    /// Test sound: a tone that swells and fades, one that rises, and a faint high one.
    fn sound(length: usize) -> Vec<f32> {
        let tone = |hertz: f64, t: f64| (std::f64::consts::TAU * hertz * t).sin();
        let at = |t: f64| 0.4 * tone(150.0, t) * tone(2.0, t) + 0.1 * tone(600.0 + 400.0 * t, t) + 0.02 * tone(5e3, t);
        (0..length).map(|n| at(n as f64 / 16_000.0) as f32).collect()
    }

    fn features(samples: &[f32]) -> Vec<f32> {
        LogMel::new().of(samples)
    }

    /// Band, frame, and the feature there.
    type Point = (usize, usize, f32);

    /// Length, mean and some features of 1.5 s and of 10 s of that sound, as pipecat-ai 1.14.0
    /// computes them with numpy, in code taken over from transformers.
    const GOLDEN: [(usize, f64, [Point; 10]); 2] = [
        (
            24_000,
            -0.043808,
            [
                (0, 0, -0.10529),
                (0, 645, -0.10529),
                (2, 650, 1.15473),
                (10, 655, 0.30116),
                (16, 690, -0.00789),
                (20, 700, -0.10529),
                (25, 760, -0.10529),
                (65, 720, -0.10529),
                (79, 799, -0.10529),
                (24, 799, 0.33812),
            ],
        ),
        (
            160_000,
            -0.041617,
            [
                (0, 0, 0.4475),
                (0, 645, 0.64415),
                (2, 650, 0.99825),
                (10, 655, 0.11366),
                (16, 690, -0.17819),
                (20, 700, -0.28703),
                (25, 760, -0.28703),
                (65, 720, -0.28703),
                (79, 799, 0.89107),
                (24, 799, -0.28703),
            ],
        ),
    ];

    #[test]
    fn features_are_those_of_the_training() {
        for (length, mean, points) in GOLDEN {
            let features = features(&sound(length));
            for (band, frame, expected) in points {
                let found = features[band * FRAMES + frame];
                assert!(
                    (found - expected).abs() < 1e-4,
                    "{length}, band {band}, frame {frame}: {found}, not {expected}"
                );
            }
            let found = features.iter().map(|&feature| f64::from(feature)).sum::<f64>() / features.len() as f64;
            assert!((found - mean).abs() < 1e-5, "{length}: the mean is {found}, not {mean}");
        }
    }

    #[test]
    fn zeros_in_front_are_as_none_and_what_was_long_ago_does_not_count() {
        let voice = sound(20_000);
        for zeros in [1, 100, HOP, WINDOW, WINDOW + 1, 50_000, SPAN - voice.len()] {
            let padded = features(&[vec![0.0; zeros], voice.clone()].concat());
            let alike = padded.iter().zip(features(&voice)).all(|(a, b)| (a - b).abs() < 1e-4);
            assert!(alike, "{zeros} zeros");
        }
        let late = sound(SPAN);
        assert_eq!(features(&[voice, late.clone()].concat()), features(&late));
    }

    #[test]
    fn a_second_sound_sees_nothing_of_the_first() {
        let mut log_mel = LogMel::new();
        for length in [0, 1, EDGE, EDGE + 1, WINDOW, SPAN - 1, SPAN, 3, 0] {
            let samples = sound(length);
            assert_eq!(log_mel.of(&samples), features(&samples), "{length} samples");
        }
    }

    #[test]
    fn any_sound_has_features() {
        for samples in [vec![0.0; 100], vec![1.0; SPAN], vec![f32::MAX; 9], vec![f32::NAN; 9], vec![f32::INFINITY; 9]] {
            assert_eq!(features(&samples).len(), MELS * FRAMES);
        }
    }
}
