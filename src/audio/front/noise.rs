//! Suppression of steady noise in the microphone's signal: a fan, a street, a kettle.

use sonora_ns::config::SuppressionLevel;
use sonora_ns::noise_suppressor::NoiseSuppressor as Suppressor;

use super::ProcessedBlock;
use super::pcm::{FULL_SCALE, sane};
use crate::config::Noise;

/// Noise suppressor of the crate `sonora-ns`, WebRTC's: a Wiener filter over an estimate of the
/// noise, which takes a second or two. It delays the sound by 96 samples (6 ms). (The suppressor of
/// the crate `aec3` is not used: it raises voices by 5 dB where it should lower the noise by 6.)
pub struct NoiseSuppressor {
    suppressor: Suppressor,
    level: SuppressionLevel,
}

impl NoiseSuppressor {
    /// Makes the suppressor; `None` where nothing is to be suppressed.
    pub fn new(noise: Noise) -> Option<Self> {
        let level = match noise {
            Noise::Off => return None,
            Noise::Low => SuppressionLevel::K6dB,
            Noise::High => SuppressionLevel::K18dB,
        };
        Some(NoiseSuppressor { suppressor: Suppressor::with_level(level), level })
    }

    pub fn process(&mut self, sound: &mut ProcessedBlock) {
        sound.iter_mut().for_each(|sample| *sample = sane(*sample) * FULL_SCALE);
        self.suppressor.analyze(sound);
        self.suppressor.process(sound);
        sound.iter_mut().for_each(|sample| *sample = sane(*sample / FULL_SCALE));
    }

    pub fn reset(&mut self) {
        self.suppressor = Suppressor::with_level(self.level);
    }
}
