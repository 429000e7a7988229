//! Chirp, and its detection in the microphone's sound.
//!
//! The chirp sweeps evenly over its band, so its autocorrelation is a pulse 0.2 ms wide. The pulse
//! exceeds the correlation of noise of the same power by the product of band and length, 1710 (32
//! dB). Beside the pulse it falls to -0.28 of its height, like that of a flat band from `f` to `g`:
//! `(sin 2πgτ - sin 2πfτ) / (2πτ(g - f))`.

use std::f64::consts::{PI, TAU};
use std::ops::RangeInclusive;

use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

use crate::types::{Ms, SampleRate};

/// Band in hertz. Small loudspeakers play all of it, and it lies within the band of 16 kHz sound.
const BAND: RangeInclusive<f64> = 300.0..=6_000.0;
/// Length of the chirp, and of its rise and fall, which prevent a click.
pub const LENGTH: Ms = Ms(300.0);
const EDGE: Ms = Ms(15.0);
/// Peak: 12 dB below full scale, about as loud as a voice.
const LEVEL: f64 = 0.25;

/// Ratio to the median size from which a peak of the correlation is accepted. In noise of constant
/// loudness the correlation is normal, and the median of its size is 0.674 deviations, so this is 8
/// deviations: by chance one of the 11 000 places exceeds it once in 10^11 chirps, and once in 10^4
/// where the noise swells by 3 dB above its median.
const STANDS_OUT: f32 = 12.0;
/// Gain below which an arrival is no echo: 60 dB below the chirp, three bits in 16-bit sound.
const LEAST_GAIN: f32 = 1e-3;
/// Least ratio of the direct sound to the strongest peak. The direct sound may be softer than a
/// reflection, but by no more than 6 dB: it must not be confused with the -0.28 beside the pulse of
/// a louder one.
const DIRECT: f32 = 0.5;
/// Time after the direct sound that counts for the echo's level; a little before it counts too,
/// because the pulse has a width.
const EARLY: Ms = Ms(30.0);
const BEFORE: usize = 16;

/// First arrival of the chirp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    /// Position of its first sample.
    pub at: usize,
    /// Amplitude relative to the chirp's own, including the reflections of the first 30 ms. Half of
    /// the pulse is missing at the beginning or end of the sound, which makes it 0.8 dB less.
    pub gain: f32,
}

/// Chirp with the data to find it.
pub struct Chirp {
    samples: Vec<f32>,
    energy: f32,
    /// Energy of the pulse: the sum of squares of the autocorrelation, which is 1 at its peak.
    pulse: f32,
}

impl Chirp {
    /// Makes the chirp at [`SampleRate::HEARING`].
    pub fn new() -> Chirp {
        let count = SampleRate::HEARING.samples(LENGTH);
        let edge = SampleRate::HEARING.samples(EDGE);
        let sample = |n: usize| {
            let t = n as f64 / f64::from(SampleRate::HEARING.0);
            let rise = (BAND.end() - BAND.start()) / (LENGTH.0 / 1000.0);
            let inside = n.min(count - 1 - n).min(edge) as f64 / edge as f64;
            let swell = 0.5 - 0.5 * (PI * inside).cos();
            (LEVEL * swell * (TAU * (BAND.start() * t + 0.5 * rise * t * t)).sin()) as f32
        };
        let samples: Vec<f32> = (0..count).map(sample).collect();
        let energy = samples.iter().map(|sample| sample * sample).sum();
        let mut chirp = Chirp { samples, energy, pulse: 1.0 };
        // Both sides of the peak count, which is the first lag here.
        let own = chirp.correlation(&chirp.samples, count);
        chirp.pulse = 2.0 * own.iter().skip(1).map(|c| c * c).sum::<f32>() + own[0] * own[0];
        chirp
    }

    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// Finds the first complete chirp in `heard`; `None` if nothing stands out enough. Samples that
    /// are not numbers count as silence.
    pub fn find(&self, heard: &[f32]) -> Option<Arrival> {
        let lags = (heard.len() + 1).checked_sub(self.samples.len())?;
        let correlation = self.correlation(heard, lags);
        let sizes: Vec<f32> = correlation.iter().map(|c| c.abs()).collect();
        let median = median(sizes.clone());
        let strongest = sizes.iter().copied().fold(0.0, f32::max);
        let believed = (STANDS_OUT * median).max(LEAST_GAIN);
        if strongest < believed {
            return None;
        }
        let mut at = sizes.iter().position(|&size| size >= believed.max(DIRECT * strongest))?;
        while sizes.get(at + 1).is_some_and(|&next| next > sizes[at]) {
            at += 1;
        }
        Some(Arrival { at, gain: self.gain(&correlation, at, median) })
    }

    /// Gain of the chirp: the energy of the pulses around `at` without the energy of the noise,
    /// over the energy of one pulse. By Parseval this is the response's energy in the chirp's band,
    /// independent of its position between two samples.
    fn gain(&self, correlation: &[f32], at: usize, median: f32) -> f32 {
        let end = (at + SampleRate::HEARING.samples(EARLY)).min(correlation.len());
        let pulses = &correlation[at.saturating_sub(BEFORE)..end];
        let deviation = median / 0.674;
        let energy = pulses.iter().map(|c| c * c).sum::<f32>() - pulses.len() as f32 * deviation * deviation;
        (energy.max(correlation[at] * correlation[at]) / self.pulse).sqrt()
    }

    /// Correlation with the chirp of `heard` from each of its first `lags` samples on, 1 for the
    /// chirp itself.
    fn correlation(&self, heard: &[f32], lags: usize) -> Vec<f32> {
        let size = (heard.len() + self.samples.len()).next_power_of_two();
        let (mut heard, chirp) = (spectrum(heard, size), spectrum(&self.samples, size));
        heard.iter_mut().zip(&chirp).for_each(|(heard, chirp)| *heard *= chirp.conj());
        let mut sound = vec![0.0; size];
        let inverse = RealFftPlanner::<f32>::new().plan_fft_inverse(size);
        // The ends of a product of such spectra are real up to rounding; the transform requires
        // them to be exactly real.
        heard[0].im = 0.0;
        heard[size / 2].im = 0.0;
        inverse.process(&mut heard, &mut sound).expect("the buffers are as long as the plan says");
        sound.truncate(lags);
        let scale = 1.0 / (size as f32 * self.energy);
        sound.iter_mut().for_each(|c| *c *= scale);
        sound
    }
}

impl Default for Chirp {
    fn default() -> Self {
        Self::new()
    }
}

fn spectrum(sound: &[f32], size: usize) -> Vec<Complex<f32>> {
    let sane = |sample: &f32| if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
    let mut padded: Vec<f32> = sound.iter().map(sane).collect();
    padded.resize(size, 0.0);
    let forward = RealFftPlanner::<f32>::new().plan_fft_forward(size);
    let mut spectrum = forward.make_output_vec();
    forward.process(&mut padded, &mut spectrum).expect("the buffers are as long as the plan says");
    spectrum
}

/// Median of some numbers; 0 for none.
pub(super) fn median(mut numbers: Vec<f32>) -> f32 {
    let middle = numbers.len() / 2;
    if numbers.is_empty() {
        return 0.0;
    }
    *numbers.select_nth_unstable_by(middle, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One second with the chirp at each delay and gain, in noise of an amplitude.
    fn heard(paths: &[(usize, f32)], noise: f32, seed: u64) -> Vec<f32> {
        let (chirp, mut random) = (Chirp::new(), fastrand::Rng::with_seed(seed));
        let mut sound: Vec<f32> = (0..16_000).map(|_| noise * (2.0 * random.f32() - 1.0)).collect();
        for &(delay, gain) in paths {
            sound[delay..].iter_mut().zip(chirp.samples()).for_each(|(sound, chirp)| *sound += gain * chirp);
        }
        sound
    }

    fn decibels(gain: f32) -> f32 {
        20.0 * gain.log10()
    }

    #[test]
    fn the_chirp_has_soft_edges_and_its_level() {
        let chirp = Chirp::new();
        let peak = chirp.samples().iter().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
        assert!((0.245..=0.25).contains(&peak), "{peak}");
        assert!(chirp.samples().first().unwrap().abs() < 1e-4 && chirp.samples().last().unwrap().abs() < 1e-3);
        assert_eq!(chirp.samples().len(), 4_800);
    }

    #[test]
    fn delay_and_gain_are_found_in_noise() {
        for delay in [16, 17, 480, 3_333, 11_184] {
            // In the last case the noise is 11 dB above the echo.
            for (gain, noise) in [(1.0, 0.0), (-0.5, 0.001), (0.1, 0.01), (0.02, 0.001), (0.02, 0.02)] {
                let found = Chirp::new().find(&heard(&[(delay, gain)], noise, 1)).unwrap();
                assert_eq!(found.at, delay, "{gain} in {noise}");
                let off = decibels(found.gain) - decibels(gain.abs());
                assert!(off.abs() < if noise < 0.02 { 0.5 } else { 2.0 }, "{delay}, {gain} in {noise}: {off:.2} dB");
            }
        }
    }

    #[test]
    fn without_an_echo_nothing_is_found() {
        let chirp = Chirp::new();
        for sound in [vec![], vec![0.1; 4_799], vec![0.0; 16_000], vec![f32::NAN; 16_000], vec![0.5; 16_000]] {
            assert_eq!(chirp.find(&sound), None, "{} of {:?}", sound.len(), sound.first());
        }
        let hum: Vec<f32> = (0..16_000).map(|n| 0.3 * (n as f32 * 0.04).sin()).collect();
        assert_eq!(chirp.find(&hum), None);
        assert_eq!(chirp.find(&heard(&[(500, 5e-4)], 0.0, 1)), None, "too soft to be an echo");
    }

    #[test]
    fn of_several_ways_the_first_counts() {
        for (paths, first) in [
            ([(800, 0.5), (900, 0.3)], 800),
            ([(800, 0.3), (912, 0.5)], 800),
            ([(1_600, 0.2), (6_000, 0.3)], 1_600),
            ([(700, -0.3), (760, 0.5)], 700),
        ] {
            assert_eq!(Chirp::new().find(&heard(&paths, 0.005, 2)).unwrap().at, first, "{paths:?}");
        }
        let both = Chirp::new().find(&heard(&[(800, 0.4), (900, 0.3)], 0.0, 1)).unwrap();
        assert!((both.gain - 0.5).abs() < 0.02, "an early reflection is part of the echo: {}", both.gain);
    }

    #[test]
    fn between_two_samples_the_level_is_the_same() {
        let fine = crate::audio::resample(Chirp::new().samples(), SampleRate(16_000), SampleRate(64_000)).unwrap();
        for shift in 0..4 {
            let shifted: Vec<f32> = std::iter::repeat_n(0.0, 4_000 + shift).chain(fine.clone()).collect();
            let mut sound: Vec<f32> = shifted.iter().step_by(4).copied().collect();
            sound.resize(16_000, 0.0);
            let found = Chirp::new().find(&sound).unwrap();
            assert!(found.at.abs_diff(1_000) <= 1 && decibels(found.gain).abs() < 0.3, "{shift}: {found:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn an_echo_is_placed_to_the_sample(delay in 0usize..11_200, gain in 0.01f32..1.0, snr in 0.0f32..60.0, seed: u64) {
            // Uniform noise has a third of the power of its amplitude, the chirp about half of
            // 0.0625.
            let noise = gain * LEVEL as f32 * 1.22 * 10f32.powf(-snr / 20.0);
            let found = Chirp::new().find(&heard(&[(delay, gain)], noise, seed)).unwrap();
            prop_assert_eq!(found.at, delay);
            prop_assert!((decibels(found.gain) - decibels(gain)).abs() < 1.0);
        }

        #[test]
        fn noise_alone_is_no_echo(noise in 0.0f32..1.0, seed: u64) {
            prop_assert_eq!(Chirp::new().find(&heard(&[], noise, seed)), None);
        }
    }
}
