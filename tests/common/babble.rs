//! Something like speech, for tests that must not depend on recordings.

use std::f32::consts::{PI, TAU};

use super::room::{Noise, RATE, TALKER_DB, scale};

/// Something with the rhythm, pitch and formants of speech, and of no language: four syllables a
/// second with a pause after every seventh, at [`TALKER_DB`].
pub fn babble(seed: u64, seconds: usize) -> Vec<f32> {
    let mut noise = Noise(seed);
    let pitch = 120.0 + 60.0 * noise.sample();
    let mut sound = vec![0.0; seconds * RATE];
    for (n, syllable) in sound.chunks_mut(RATE / 4).enumerate() {
        if n % 8 == 7 {
            continue;
        }
        let (glide, hiss) = (pitch * (1.0 + 0.2 * noise.sample()), 0.03 + 0.1 * noise.sample().abs());
        let mut formants = [500.0, 1500.0, 2600.0].map(|hertz| Resonator::new(hertz * (1.0 + 0.35 * noise.sample())));
        let (length, mut phase) = (syllable.len() as f32, 0.0);
        for (k, sample) in syllable.iter_mut().enumerate() {
            phase += glide * (1.0 - 0.15 * k as f32 / length) * (1.0 + 0.3 * noise.sample()) / RATE as f32;
            let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
            phase -= pulse;
            let source = pulse + hiss * noise.sample();
            let envelope = (PI * k as f32 / length).sin();
            *sample = envelope * formants.iter_mut().map(|formant| formant.process(source)).sum::<f32>();
        }
    }
    scale(&mut sound, TALKER_DB);
    sound
}

/// A formant: two poles, 100 Hz wide.
struct Resonator {
    poles: [f32; 2],
    last: [f32; 2],
}

impl Resonator {
    fn new(hertz: f32) -> Self {
        let radius = (-PI * 100.0 / RATE as f32).exp();
        Resonator { poles: [2.0 * radius * (TAU * hertz / RATE as f32).cos(), -radius * radius], last: [0.0; 2] }
    }

    fn process(&mut self, input: f32) -> f32 {
        let out = input + self.poles[0] * self.last[0] + self.poles[1] * self.last[1];
        self.last = [out, self.last[0]];
        out
    }
}
