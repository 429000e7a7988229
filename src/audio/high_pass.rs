//! High-pass filter that removes everything below a voice: offset, rumble, mains hum.

use biquad::{Biquad, Coefficients, DirectForm2Transposed, ToHertz, Type};

use crate::types::SampleRate;

/// Corner frequency in hertz. Words are recognised by the harmonics of a voice when its
/// fundamental, down to 70 Hz, is lowered.
///
/// Orders 2, 4, 6 and 8 were tried at corners from 70 to 100 Hz. On 12 recordings with hum as loud
/// as 60 % of their peak, order 2 at 70 Hz lost three, order 4 at 80 Hz one, and none was lost from
/// order 4 at 100 Hz or order 6 at 85 Hz on. On 41 clean ones Whisper base has 16 words of 565
/// wrong without a filter, 16 or 17 with order 4, and 18 to 20 with order 6.
const CORNER: f64 = 100.0;
/// The quality factors of a Butterworth filter of order 4: 50 Hz is lowered by 24 dB, 60 Hz by 18
/// dB.
const QUALITIES: [f64; 2] = [0.541_196_10, 1.306_562_97];
/// Level below which a value is taken as zero: 1e-20 of full scale is 400 dB down.
const NOTHING: f64 = 1e-20;

/// A Butterworth high-pass of order 4 at 100 Hz, sample by sample.
#[derive(Clone, Debug)]
pub struct HighPass {
    sections: [DirectForm2Transposed<f64>; 2],
    /// First sample, taken as the level before the sound: so an offset makes no jump.
    rest: Option<f64>,
}

impl HighPass {
    /// Makes a filter for sound of `rate`, at least 4 kHz.
    pub fn new(rate: SampleRate) -> HighPass {
        let section = |quality| {
            let corner = Coefficients::from_params(Type::HighPass, f64::from(rate.0).hz(), CORNER.hz(), quality);
            DirectForm2Transposed::new(corner.expect("the corner is far below half the rate"))
        };
        HighPass { sections: QUALITIES.map(section), rest: None }
    }

    /// Filters one sample, which must be finite.
    pub fn next(&mut self, sample: f32) -> f32 {
        let sample = f64::from(sample);
        // The last term keeps the filter's state from denormal numbers, which make it many times
        // slower.
        let moved = sample - *self.rest.get_or_insert(sample) + NOTHING;
        let filtered = self.sections.iter_mut().fold(moved, |sample, section| section.run(sample));
        if filtered.abs() > NOTHING { filtered as f32 } else { 0.0 }
    }

    /// Filters `samples` in place.
    pub fn process(&mut self, samples: &mut [f32]) {
        samples.iter_mut().for_each(|sample| *sample = self.next(*sample));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::{decibels, power};

    fn tone(rate: u32, hertz: f64) -> Vec<f32> {
        let turn = std::f64::consts::TAU * hertz / f64::from(rate);
        (0..rate).map(|n| (0.5 * (turn * f64::from(n)).sin()) as f32).collect()
    }

    #[test]
    fn tones_at_each_rate_pass_or_are_lowered() {
        for rate in [4_000, 16_000, 48_000, 384_000] {
            for (hertz, least, most) in [
                (5.0, -300.0, -90.0),
                (50.0, -24.6, -23.6),
                (60.0, -18.3, -17.3),
                (100.0, -3.2, -2.8),
                (200.0, -0.1, 0.0),
            ] {
                let mut sound = tone(rate, hertz);
                let before = power(&sound[rate as usize / 2..]);
                HighPass::new(SampleRate(rate)).process(&mut sound);
                let change = decibels(power(&sound[rate as usize / 2..]) / before);
                assert!((least..=most + 0.01).contains(&change), "{rate}: {hertz} Hz by {change:.2} dB");
            }
        }
    }

    #[test]
    fn constant_sound_becomes_silence_at_once() {
        for offset in [0.0, 0.4, -1.0, 1e-30] {
            let mut sound = [offset; 1_000];
            HighPass::new(SampleRate::HEARING).process(&mut sound);
            assert!(sound.iter().all(|sample| sample.abs() < 1e-15), "{offset}");
        }
    }

    #[test]
    fn pieces_give_what_the_whole_gives() {
        let mut whole = tone(16_000, 120.0);
        let mut pieces = whole.clone();
        HighPass::new(SampleRate::HEARING).process(&mut whole);
        let mut filter = HighPass::new(SampleRate::HEARING);
        pieces.chunks_mut(160).for_each(|piece| filter.process(piece));
        assert_eq!(pieces, whole);
    }
}
