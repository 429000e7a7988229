//! A chirp, and where it is in what a microphone heard.
//!
//! The chirp sweeps evenly over its band, so its correlation with itself is a pulse: as high as the
//! product of band and length, 1710 (32 dB), over what noise of the same power gives, and 0.2 ms
//! wide. Beside the pulse it falls to -0.28 of its height: that of a flat band from `f` to `g` is
//! `(sin 2πgτ - sin 2πfτ) / (2πτ(g - f))`.

use std::f64::consts::{PI, TAU};
use std::ops::RangeInclusive;

use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

use crate::types::{Ms, SampleRate};

/// Small loudspeakers have it all, and at 16 kHz it is heard whole.
const BAND: RangeInclusive<f64> = 300.0..=6_000.0;
/// How long it is, and how long it rises and falls, so that it does not click.
pub const LENGTH: Ms = Ms(300.0);
const EDGE: Ms = Ms(15.0);
/// Peak: 12 dB below full scale, about as loud as a voice.
const LEVEL: f64 = 0.25;

/// A peak of the correlation is believed from so many times its median size on. In noise of one
/// loudness the correlation is normal, and the median of its size is 0.674 deviations, so this is 8
/// deviations: by chance one of the 11 000 places has that once in 10^11 chirps, and where the
/// noise swells by 3 dB above its median once in 10^4.
const STANDS_OUT: f32 = 12.0;
/// An echo 60 dB below the chirp is none: of 16 bits it would fill three.
const LEAST_GAIN: f32 = 1e-3;
/// The direct sound may be softer than a reflection, but not by more than 6 dB: it must not be
/// mistaken for the -0.28 beside the pulse of a louder one.
const DIRECT: f32 = 0.5;
/// What comes so soon after the direct sound counts to the echo's level; and a little of what is
/// before it, because the pulse has a width.
const EARLY: Ms = Ms(30.0);
const BEFORE: usize = 16;

/// The chirp where it first arrives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    /// Its first sample.
    pub at: usize,
    /// Its amplitude over the chirp's own, the reflections of the first 30 ms with it. Half of the
    /// pulse is missing from what begins or ends with it, which makes it 0.8 dB less.
    pub gain: f32,
}

/// The chirp, and all that finding it needs.
pub struct Chirp {
    samples: Vec<f32>,
    energy: f32,
    /// The sum of squares of the correlation with itself, which is 1 at its peak: the pulse's own
    /// energy.
    pulse: f32,
}

impl Chirp {
    /// At [`SampleRate::HEARING`].
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
        // On both sides of the peak, which is the first lag here.
        let own = chirp.correlation(&chirp.samples, count);
        chirp.pulse = 2.0 * own.iter().skip(1).map(|c| c * c).sum::<f32>() + own[0] * own[0];
        chirp
    }

    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// Where the chirp first is in `heard`, as a whole; none if nothing stands out as it would.
    /// What is no number counts as silence.
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

    /// The energy of the pulses around `at` without that of the noise, over the energy of one
    /// pulse. By Parseval this is the response's energy in the chirp's band, wherever between two
    /// samples it is.
    fn gain(&self, correlation: &[f32], at: usize, median: f32) -> f32 {
        let end = (at + SampleRate::HEARING.samples(EARLY)).min(correlation.len());
        let pulses = &correlation[at.saturating_sub(BEFORE)..end];
        let deviation = median / 0.674;
        let energy = pulses.iter().map(|c| c * c).sum::<f32>() - pulses.len() as f32 * deviation * deviation;
        (energy.max(correlation[at] * correlation[at]) / self.pulse).sqrt()
    }

    /// The correlation of `heard` from each of its first `lags` samples on with the chirp, 1 for
    /// the chirp itself.
    fn correlation(&self, heard: &[f32], lags: usize) -> Vec<f32> {
        let size = (heard.len() + self.samples.len()).next_power_of_two();
        let (mut heard, chirp) = (spectrum(heard, size), spectrum(&self.samples, size));
        heard.iter_mut().zip(&chirp).for_each(|(heard, chirp)| *heard *= chirp.conj());
        let mut sound = vec![0.0; size];
        let inverse = RealFftPlanner::<f32>::new().plan_fft_inverse(size);
        // The ends of a product of such spectra are real to rounding; the transform wants them
        // exactly so.
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

/// The middle of some numbers; 0 of none.
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

    /// A second in which the chirp comes at each delay with a gain, in noise of an amplitude.
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
            // The last has the noise 11 dB above the echo.
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
            // Uniform noise has a third of its amplitude's power, the chirp about half of 0.0625.
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
