//! Measurement of the true rate of a device's clock.

use super::Moment;
use crate::types::SampleRate;

/// Bandwidth of the loop for the first blocks, in hertz. It then narrows to one over the time of
/// measurement; at that bandwidth the loop follows six times faster than it narrows.
const WIDEST: f64 = 0.25;
/// Final bandwidth in hertz: jitter of 1 ms in the blocks' times moves the measured rate by about 4
/// ppm, and a step of the true rate is followed within 20 s.
const NARROWEST: f64 = 0.02;
/// Jitter in seconds beyond which the loop becomes slower in proportion: sound servers report times
/// with errors of 10 ms, which hide the drift over a short time.
const CALM: f64 = 1e-3;
/// Error in seconds beyond which it is not jitter: the device was interrupted, or a sound server
/// has just woken up.
const JUMP: f64 = 0.05;
/// Time over which the jitter is averaged, in seconds.
const JITTER_SPAN: f64 = 1.0;
/// Time of measurement in seconds after which a correction is applied in full. It grows gradually
/// until then, more slowly with more jitter.
const CONFIDENT: f64 = 30.0;
/// Largest drift that is believed, as a fraction. No sound card is further off; larger values are
/// jitter.
pub const MOST_DRIFT: f64 = 1e-3;

/// Second-order delay-locked loop over the times of a stream's blocks (F. Adriaensen, "Using a DLL
/// to filter time", Linux Audio Conference 2005), for blocks of any length. It returns the time at
/// which a frame passed, smoother than the callbacks' own times, and the seconds of the session
/// that a frame takes.
#[derive(Clone, Debug)]
pub struct DelayLockedLoop {
    nominal: f64,
    /// Length of a frame in seconds of the session.
    per_frame: f64,
    /// A frame, and the time in seconds at which it passed.
    frame: u64,
    time: f64,
    begun: f64,
    /// Mean size of the error in seconds.
    jitter: f64,
    started: bool,
}

impl DelayLockedLoop {
    pub fn new(rate: SampleRate) -> Self {
        let nominal = 1.0 / f64::from(rate.0);
        DelayLockedLoop { nominal, per_frame: nominal, frame: 0, time: 0.0, begun: 0.0, jitter: 0.0, started: false }
    }

    /// Notes that frame number `frame` passed at about `at`.
    pub fn note(&mut self, frame: u64, at: Moment) {
        let at = at.seconds();
        let frames = frame.saturating_sub(self.frame) as f64;
        if !self.started {
            (self.frame, self.time, self.begun, self.started) = (frame, at, at, true);
            return;
        }
        if frames == 0.0 {
            return;
        }
        let span = frames * self.nominal;
        let predicted = self.time + frames * self.per_frame;
        let error = at - predicted;
        if error.abs() > JUMP {
            // The measured rate stays; the rest is measured anew.
            (self.frame, self.time, self.begun) = (frame, at, at);
            return;
        }
        self.jitter += (error.abs() - self.jitter) * (span / JITTER_SPAN).min(1.0);
        let bandwidth = (1.0 / (predicted - self.begun).max(span)).clamp(NARROWEST, WIDEST);
        let bandwidth = bandwidth * (CALM / self.jitter.max(CALM));
        // Blocks too long for the loop to be stable are taken as they are.
        let omega = (std::f64::consts::TAU * bandwidth * span).min(0.5);
        self.frame = frame;
        self.time = predicted + std::f64::consts::SQRT_2 * omega * error;
        let per_frame = self.per_frame + omega * omega * error / frames;
        self.per_frame = per_frame.clamp(self.nominal * (1.0 - MOST_DRIFT), self.nominal * (1.0 + MOST_DRIFT));
    }

    /// Notes a loss of frames: `frame` passed at `at`, and the rate is unchanged.
    pub fn jump(&mut self, frame: u64, at: Moment) {
        if !self.started {
            return self.note(frame, at);
        }
        (self.frame, self.time) = (frame, at.seconds());
    }

    /// Time at which `frame` passed or will pass, in seconds of the session. `None` before the
    /// first block.
    pub fn time_of(&self, frame: f64) -> Option<f64> {
        self.started.then_some(self.time + (frame - self.frame as f64) * self.per_frame)
    }

    /// Rate of the device by the session clock, relative to its nominal rate, as far as it is
    /// trusted yet; above 1 it is fast.
    pub fn relative(&self) -> f64 {
        let confidence = ((self.time - self.begun) / (CONFIDENT * self.jitter.max(CALM) / CALM)).clamp(0.0, 1.0);
        1.0 + (self.nominal / self.per_frame - 1.0) * confidence
    }

    /// Measured drift in parts per million, without regard to trust.
    pub fn ppm(&self) -> f64 {
        (self.nominal / self.per_frame - 1.0) * 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_found_through_jitter() {
        for (ppm, jitter, within) in [(0.0, 0.0, 0.1), (100.0, 0.0, 0.5), (-200.0, 1e-3, 12.0), (80.0, 5e-3, 60.0)] {
            let mut random = fastrand::Rng::with_seed(7);
            let mut clock = DelayLockedLoop::new(SampleRate(48_000));
            let rate = 48_000.0 * (1.0 + ppm * 1e-6);
            let mut frame = 0;
            while frame < 48_000 * 60 {
                let late = random.f64() * jitter;
                clock.note(frame, Moment::at_seconds(3.0 + frame as f64 / rate + late));
                frame += [480, 441, 1024][random.usize(0..3)];
            }
            assert!((clock.ppm() - ppm).abs() <= within, "{ppm} ppm with {jitter} s: {}", clock.ppm());
            let time = clock.time_of(48_000.0 * 60.0).unwrap();
            assert!((time - 3.0 - 48_000.0 * 60.0 / rate).abs() <= jitter + 1e-5, "{time}");
        }
    }

    #[test]
    fn a_gap_does_not_touch_the_rate() {
        let mut clock = DelayLockedLoop::new(SampleRate(16_000));
        for block in 0..1000 {
            clock.note(block * 160, Moment(block * 10_000_000));
        }
        let before = clock.ppm();
        clock.jump(160_000, Moment(11_000_000_000));
        assert_eq!(clock.ppm(), before);
        assert!((clock.time_of(160_160.0).unwrap() - 11.01).abs() < 1e-6);
    }

    #[test]
    fn nonsense_times_stay_within_bounds() {
        let mut clock = DelayLockedLoop::new(SampleRate(8_000));
        assert_eq!(clock.time_of(0.0), None);
        for at in [0, u64::MAX / 2, 5, u64::MAX / 4, 0] {
            clock.note(clock.frame + 80, Moment(at));
            assert!(clock.ppm().abs() <= 1_002.0, "{}", clock.ppm());
        }
    }
}
