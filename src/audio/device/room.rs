//! Acoustics of the simulated card: the path from a loudspeaker to a microphone.

use std::time::Duration;

/// Number of reflections in the reverberation tail.
const REFLECTIONS: u32 = 12;
/// Exponent of the decay over one reverberation time: 60 dB is e to the power of -6.9.
const DECAY: f64 = 6.9;
/// Gain of the first reflection, relative to the direct sound.
const FIRST_REFLECTION: f64 = 0.5;

/// Response from the loudspeaker to the microphone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SimulatedRoom {
    /// Delay from loudspeaker to microphone through the air.
    pub delay: Duration,
    /// Gain of the direct sound; 0.0 for headphones.
    pub gain: f32,
    /// Reverberation time: the reflections are 60 dB down after it.
    pub tail: Duration,
    /// Amplitude of the noise at the microphone.
    pub noise: f32,
}

impl SimulatedRoom {
    /// Room in which no sound of the loudspeaker reaches the microphone.
    pub const HEADPHONES: SimulatedRoom =
        SimulatedRoom { delay: Duration::ZERO, gain: 0.0, tail: Duration::ZERO, noise: 0.0 };

    /// Impulse response: delays in seconds, and gains.
    pub(super) fn taps(&self) -> Vec<(f64, f64)> {
        let (delay, gain, tail) = (self.delay.as_secs_f64(), f64::from(self.gain), self.tail.as_secs_f64());
        if gain == 0.0 {
            return Vec::new();
        }
        let mut random = fastrand::Rng::with_seed(1);
        let reflection = |i| {
            let after = (f64::from(i) + random.f64()) * tail / f64::from(REFLECTIONS);
            let sign = if random.bool() { 1.0 } else { -1.0 };
            (delay + after, gain * FIRST_REFLECTION * sign * (-DECAY * after / tail).exp())
        };
        let reflections = (0..REFLECTIONS).map(reflection).take_while(|_| tail > 0.0);
        std::iter::once((delay, gain)).chain(reflections).collect()
    }
}

/// Sound with a position in time: sample `n` at `from + n / rate`, in seconds.
#[derive(Clone, Debug)]
pub(super) struct Strip {
    pub from: f64,
    pub rate: f64,
    pub samples: Vec<f32>,
    /// Number of samples removed from the front.
    pub forgotten: usize,
}

impl Strip {
    pub fn new(from: f64, rate: f64, samples: Vec<f32>) -> Self {
        Strip { from, rate, samples, forgotten: 0 }
    }

    pub fn end(&self) -> f64 {
        self.from + (self.forgotten + self.samples.len()) as f64 / self.rate
    }

    /// Sample value at a time, by cubic interpolation (Catmull and Rom); silence outside.
    pub fn at(&self, seconds: f64) -> f64 {
        let place = (seconds - self.from) * self.rate - self.forgotten as f64;
        let whole = place.floor();
        if whole < -2.0 || whole > self.samples.len() as f64 + 2.0 {
            return 0.0;
        }
        let sample = |i: f64| match i {
            i if i < 0.0 => 0.0,
            i => self.samples.get(i as usize).map_or(0.0, |&sample| f64::from(sample)),
        };
        let [a, b, c, d] = [-1.0, 0.0, 1.0, 2.0].map(|i| sample(whole + i));
        let t = place - whole;
        b + 0.5 * t * (c - a + t * (2.0 * a - 5.0 * b + 4.0 * c - d + t * (3.0 * (b - c) + d - a)))
    }

    /// Discards the samples before `seconds`.
    pub fn forget_before(&mut self, seconds: f64) {
        let before = ((seconds - self.from) * self.rate) as usize;
        let count = before.saturating_sub(self.forgotten).min(self.samples.len());
        self.samples.drain(..count);
        self.forgotten += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strip_is_exact_at_its_samples_and_smooth_between() {
        let sound: Vec<f32> = (0..48_000).map(|i| (i as f32 * 0.02).sin()).collect();
        let mut strip = Strip::new(2.0, 48_000.0, sound);
        strip.forget_before(2.1);
        for place in [10_000.0, 10_000.25, 10_000.5, 47_990.0] {
            let heard = strip.at(2.0 + place / 48_000.0);
            assert!((heard - (place * 0.02).sin()).abs() < 1e-4, "{place}: {heard}");
        }
        assert_eq!((strip.at(1.9), strip.at(2.05), strip.at(3.1)), (0.0, 0.0, 0.0));
        assert!((strip.end() - 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_room_decays() {
        assert!(SimulatedRoom::HEADPHONES.taps().is_empty());
        let dry = SimulatedRoom { gain: 0.5, delay: Duration::from_millis(30), ..SimulatedRoom::HEADPHONES };
        assert_eq!(dry.taps(), [(0.03, 0.5)]);
        let taps = SimulatedRoom { tail: Duration::from_millis(100), ..dry }.taps();
        assert!(taps.iter().all(|&(delay, gain)| (0.03..=0.13).contains(&delay) && gain.abs() <= 0.5));
        assert!(taps.last().unwrap().1.abs() < 0.01 && taps.len() == 13);
    }
}
