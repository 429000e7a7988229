//! Steady noise is taken out of the microphone: a fan, a street, a kettle.

use aec3::audio_processing::ns::{NoiseSuppressor as Suppressor, NsConfig, SuppressionLevel};

use super::Block;
use super::pcm::Pcm;
use crate::config::Noise;
use crate::types::SampleRate;

/// The noise suppressor of the crate `aec3`, WebRTC's: a Wiener filter over an estimate of the noise, which it takes
/// seconds to learn. It delays the sound by 96 samples (6 ms).
pub struct NoiseSuppressor {
    suppressor: Suppressor,
    level: SuppressionLevel,
    sound: Pcm,
}

impl NoiseSuppressor {
    /// `None` where nothing is to be suppressed.
    pub fn new(noise: Noise) -> Option<Self> {
        let level = match noise {
            Noise::Off => return None,
            Noise::Low => SuppressionLevel::K6dB,
            Noise::High => SuppressionLevel::K18dB,
        };
        Some(NoiseSuppressor { suppressor: suppressor(level), level, sound: Pcm::new() })
    }

    pub fn process(&mut self, sound: &mut Block) {
        self.sound.load(sound);
        self.suppressor.analyze(self.sound.buffer());
        self.suppressor.process(self.sound.buffer());
        self.sound.store(sound);
    }

    pub fn reset(&mut self) {
        self.suppressor = suppressor(self.level);
    }
}

fn suppressor(target_level: SuppressionLevel) -> Suppressor {
    let config = NsConfig { target_level, ..NsConfig::default() };
    Suppressor::new(config, SampleRate::HEARING.0 as usize, 1)
}
