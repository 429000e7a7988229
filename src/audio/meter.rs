//! Level meter of a microphone, for display.

use crate::level::{decibels, power};

/// Share of the displayed power that remains in the next block of 10 ms: the display falls by 20 dB
/// in 200 ms, which the eye can follow.
const FALL: f32 = 0.794;

/// Follows the peak power of the last moments.
#[derive(Clone, Copy, Debug, Default)]
pub struct LevelMeter {
    power: f32,
}

impl LevelMeter {
    /// Takes the next 10 ms.
    pub fn take(&mut self, block: &[f32]) {
        self.power = power(block).max(self.power * FALL);
    }

    /// Level in dBFS: a sine of full level has -3, silence is minus infinity.
    pub fn decibels(&self) -> f32 {
        decibels(self.power)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_at_once_and_falls_slowly() {
        let mut meter = LevelMeter::default();
        assert_eq!(meter.decibels(), f32::NEG_INFINITY);
        let sine: Vec<f32> = (0..160).map(|n| (n as f32 * std::f32::consts::TAU / 16.0).sin()).collect();
        meter.take(&sine);
        assert!((meter.decibels() + 3.01).abs() < 0.01);
        (0..20).for_each(|_| meter.take(&[0.0; 160]));
        assert!((meter.decibels() + 23.0).abs() < 0.2, "{}", meter.decibels());
        meter.take(&[]);
        meter.take(&[0.5; 160]);
        assert!((meter.decibels() + 6.02).abs() < 0.01);
    }
}
