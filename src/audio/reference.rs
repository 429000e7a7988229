//! What the speaker plays, by time: the canceller's reference.
//!
//! Samples count from the moment at which they were given to a device that had run dry, and then
//! one after another. They leave the speaker later by what the device holds, which is the same as
//! long as it does not run dry again: so the way from here to the microphone is always positive and
//! steady, whatever a device believes of its own latency (PulseAudio's null sinks are wrong by 120
//! ms), and the canceller finds it by itself.
//!
//! What was given in the 10 ms of a block of the microphone is read off at the microphone's rate:
//! interpolated with a windowed sinc (Smith, "Digital Audio Resampling", 2.2), because a block may
//! begin between two samples.

use std::collections::VecDeque;

use super::front::{BLOCK, ProcessedBlock};
use crate::types::{Ms, SampleRate};

/// Samples of the speaker on each side of a point that make its value.
const REACH: usize = 16;
/// Places between two samples for which the weights are kept.
const PHASES: usize = 128;
/// Of half the microphone's rate: what is above would fold back.
const PASS: f64 = 0.92;
/// What is played is kept so long: blocks of the microphone come late, and the canceller looks back
/// by itself.
const KEPT: Ms = Ms(1_000.0);
/// A device that is given more so late after the end of what it had has not run dry: we may have
/// been late ourselves.
const LATE: Ms = Ms(5.0);

/// The sound of a speaker in time.
pub struct EchoReference {
    rate: SampleRate,
    strips: VecDeque<Strip>,
    /// `[PHASES][2 · REACH]`
    weights: Vec<[f32; 2 * REACH]>,
}

/// Samples one after another, the first of them at `at` milliseconds.
struct Strip {
    at: f64,
    samples: VecDeque<f32>,
}

impl EchoReference {
    /// For a speaker that is given samples at `rate`.
    pub fn new(rate: SampleRate) -> EchoReference {
        EchoReference {
            rate,
            strips: VecDeque::new(),
            weights: (0..PHASES).map(|phase| weights(rate, phase)).collect(),
        }
    }

    /// The device was given these samples at the moment `at`.
    pub fn push(&mut self, at: Ms, samples: impl IntoIterator<Item = f32>) {
        let end = |strip: &Strip| strip.at + self.rate.duration(strip.samples.len()).0;
        match self.strips.back_mut() {
            Some(last) if at.0 <= end(last) + LATE.0 => last.samples.extend(samples),
            _ => self.strips.push_back(Strip { at: at.0, samples: samples.into_iter().collect() }),
        }
    }

    /// At the moment `at` the device dropped what it had.
    pub fn cut(&mut self, at: Ms) {
        for strip in &mut self.strips {
            strip.samples.truncate(self.rate.samples(Ms((at.0 - strip.at).max(0.0))));
        }
    }

    /// What goes with the microphone's 10 ms from `at` on.
    pub fn block(&mut self, at: Ms) -> ProcessedBlock {
        self.forget_before(at.0 - KEPT.0);
        let mut block = [0.0; BLOCK];
        for (n, sample) in block.iter_mut().enumerate() {
            let time = at.0 + SampleRate::HEARING.duration(n).0;
            *sample = self.strips.iter().map(|strip| self.sample(strip, time)).sum();
        }
        block
    }

    /// What `strip` gives at the moment `time`.
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

/// Of the samples around a point that is `phase / PHASES` behind one of them.
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

    /// What is off at most in blocks from 20 ms on, of a tone that is pushed in uneven stretches.
    fn worst(hertz: f64, wanted: f64, offset: f64) -> f32 {
        let mut reference = EchoReference::new(RATE);
        let mut from = 0;
        for count in [700, 13, 2_000, 441, 3_000] {
            let samples = (from..from + count).map(|n| tone(hertz, f64::from(n) / 22_050.0));
            // The first as it comes, the others while the device still has some.
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
