//! Played sound by time: the echo canceller's reference.
//!
//! Samples are placed one after another, from the moment at which the first was given to a device
//! that had run dry. They leave the loudspeaker later, by the amount that the device holds, which
//! stays the same as long as it does not run dry again. So the delay from here to the microphone is
//! always positive and steady, even when a device misreports its own latency (PulseAudio's null
//! sinks are wrong by 120 ms), and the canceller finds it by itself.
//!
//! The reference for a block of the microphone is read at the microphone's rate. It is interpolated
//! with a windowed sinc (Smith, "Digital Audio Resampling", 2.2), because a block may begin between
//! two samples.

use std::collections::VecDeque;

use super::front::{BLOCK, ProcessedBlock};
use crate::types::{Ms, SampleRate};

/// Samples on each side of a point that determine its value.
const REACH: usize = 16;
/// Number of positions between two samples with stored weights.
const PHASES: usize = 128;
/// Cutoff relative to half the microphone's rate: higher frequencies would alias.
const PASS: f64 = 0.92;
/// Time for which played sound is kept: blocks of the microphone arrive late, and the canceller
/// also looks back by itself.
const KEPT: Ms = Ms(1_000.0);
/// Largest delay of new sound after the end of the last at which a device has not run dry: the
/// program may have been late itself.
const LATE: Ms = Ms(5.0);

/// Sound of a loudspeaker by time.
pub struct EchoReference {
    rate: SampleRate,
    strips: VecDeque<Strip>,
    /// Weights `[PHASES][2 · REACH]`.
    weights: Vec<[f32; 2 * REACH]>,
}

/// Consecutive samples, the first of them at `at` milliseconds.
struct Strip {
    at: f64,
    samples: VecDeque<f32>,
}

impl EchoReference {
    /// Makes the reference of a loudspeaker that takes samples at `rate`.
    pub fn new(rate: SampleRate) -> EchoReference {
        EchoReference {
            rate,
            strips: VecDeque::new(),
            weights: (0..PHASES).map(|phase| weights(rate, phase)).collect(),
        }
    }

    /// Adds samples given to the device at the moment `at`.
    pub fn push(&mut self, at: Ms, samples: impl IntoIterator<Item = f32>) {
        let end = |strip: &Strip| strip.at + self.rate.duration(strip.samples.len()).0;
        match self.strips.back_mut() {
            Some(last) if at.0 <= end(last) + LATE.0 => last.samples.extend(samples),
            _ => self.strips.push_back(Strip { at: at.0, samples: samples.into_iter().collect() }),
        }
    }

    /// Notes that the device dropped its waiting samples at the moment `at`.
    pub fn cut(&mut self, at: Ms) {
        for strip in &mut self.strips {
            strip.samples.truncate(self.rate.samples(Ms((at.0 - strip.at).max(0.0))));
        }
    }

    /// Reference for the microphone's 10 ms from `at` on.
    pub fn block(&mut self, at: Ms) -> ProcessedBlock {
        self.forget_before(at.0 - KEPT.0);
        let mut block = [0.0; BLOCK];
        for (n, sample) in block.iter_mut().enumerate() {
            let time = at.0 + SampleRate::HEARING.duration(n).0;
            *sample = self.strips.iter().map(|strip| self.sample(strip, time)).sum();
        }
        block
    }

    /// Value of `strip` at the moment `time`.
    fn sample(&self, strip: &Strip, time: f64) -> f32 {
        let place = (time - strip.at) * f64::from(self.rate.0) / 1000.0;
        let (whole, part) = (place.floor(), place.fract().rem_euclid(1.0));
        if whole < -(REACH as f64) || whole > (strip.samples.len() + REACH) as f64 {
            return 0.0;
        }
        let weights = &self.weights[((part * PHASES as f64) as usize).min(PHASES - 1)];
        let first = whole as i64 + 1 - REACH as i64;
        let value = |n: i64| usize::try_from(n).ok().and_then(|n| strip.samples.get(n)).copied().unwrap_or(0.0);
        weights.iter().zip(first..).map(|(weight, n)| weight * value(n)).sum()
    }

    fn forget_before(&mut self, time: f64) {
        for strip in &mut self.strips {
            let old = self.rate.samples(Ms((time - strip.at).max(0.0))).min(strip.samples.len());
            strip.samples.drain(..old);
            strip.at += self.rate.duration(old).0;
        }
        self.strips.retain(|strip| !strip.samples.is_empty());
    }
}

/// Weights of the samples around a point that is `phase / PHASES` behind one of them.
fn weights(rate: SampleRate, phase: usize) -> [f32; 2 * REACH] {
    use std::f64::consts::PI;
    let cutoff = (PASS * f64::from(SampleRate::HEARING.0) / f64::from(rate.0)).min(1.0);
    let behind = (phase as f64 + 0.5) / PHASES as f64;
    std::array::from_fn(|n| {
        let x = n as f64 + 1.0 - REACH as f64 - behind;
        let sinc = if x == 0.0 { 1.0 } else { (PI * cutoff * x).sin() / (PI * cutoff * x) };
        let window = 0.5 + 0.5 * (PI * x / REACH as f64).cos();
        (cutoff * sinc * window) as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: SampleRate = SampleRate(22_050);

    fn tone(hertz: f64, seconds: f64) -> f32 {
        (std::f64::consts::TAU * hertz * seconds).sin() as f32
    }

    /// Largest error in blocks from 20 ms on, for a tone that is pushed in uneven stretches.
    fn worst(hertz: f64, wanted: f64, offset: f64) -> f32 {
        let mut reference = EchoReference::new(RATE);
        let mut from = 0;
        for count in [700, 13, 2_000, 441, 3_000] {
            let samples = (from..from + count).map(|n| tone(hertz, f64::from(n) / 22_050.0));
            // The first is given at its time, the others while the device still has some.
            let early = if count == 700 { 0.0 } else { 11.0 };
            reference.push(Ms(offset + f64::from(from) * 1000.0 / 22_050.0 - early), samples);
            from += count;
        }
        let mut worst = 0.0f32;
        for n in 2..24 {
            let at = f64::from(n) * 10.0 + 0.37;
            for (i, sample) in reference.block(Ms(offset + at)).into_iter().enumerate() {
                let expected = wanted as f32 * tone(hertz, (at + i as f64 / 16.0) / 1000.0);
                worst = worst.max((sample - expected).abs());
            }
        }
        worst
    }

    #[test]
    fn what_is_played_is_read_off_at_any_time_and_at_the_microphones_rate() {
        for (hertz, wanted, within) in
            [(100.0, 1.0, 0.02), (1_000.0, 1.0, 0.02), (5_000.0, 1.0, 0.1), (9_500.0, 0.0, 0.1)]
        {
            for offset in [0.0, 123_456.789] {
                let off = worst(hertz, wanted, offset);
                assert!(off < within, "{hertz} Hz, {offset} ms: {off}");
            }
        }
    }

    #[test]
    fn where_nothing_is_played_there_is_silence_and_nothing_is_kept_for_ever() {
        let mut reference = EchoReference::new(RATE);
        assert_eq!(reference.block(Ms(50.0)), [0.0; BLOCK]);
        for second in 0..60 {
            reference.push(Ms(f64::from(second) * 1000.0), vec![0.5; 4_410]);
            let at = f64::from(second) * 1000.0;
            assert!(reference.block(Ms(at + 100.0))[80] > 0.4);
            assert_eq!(reference.block(Ms(at + 500.0)), [0.0; BLOCK]);
        }
        assert!(reference.strips.len() < 4);
        reference.push(Ms(100_000.0), vec![0.5; 22_050]);
        reference.cut(Ms(100_500.0));
        assert!(reference.block(Ms(100_480.0))[80] > 0.4);
        assert_eq!(reference.block(Ms(100_510.0)), [0.0; BLOCK]);
    }
}
