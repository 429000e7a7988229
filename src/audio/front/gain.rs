//! Automatic gain control: makes a voice far from the microphone as loud as a near one.

use aec3::audio_processing::agc2::input_volume_controller::Config as VolumeConfig;
use aec3::audio_processing::gain_controller2::{AdaptiveDigitalControllerConfig, GainController2};
use aec3::audio_processing::gain_controller2::{GainController2Config, InputVolumeControllerRuntimeConfig};

use super::ProcessedBlock;
use super::pcm::Pcm;
use crate::types::SampleRate;

/// Largest gain for a voice: the difference between one metre and thirty.
const MOST_DB: f32 = 30.0;

/// Gain control of the crate `aec3`, WebRTC's AGC2: it follows the level of speech (by a small
/// voice activity model of its own), raises it by at most 6 dB in a second, never lifts noise above
/// -50 dB of full scale, and limits peaks. It adds no delay.
pub struct GainControl {
    controller: GainController2,
    sound: Pcm,
}

impl GainControl {
    pub fn new() -> Self {
        GainControl { controller: controller(), sound: Pcm::new() }
    }

    pub fn process(&mut self, sound: &mut ProcessedBlock) {
        self.sound.load(sound);
        self.controller.process(false, self.sound.buffer());
        self.sound.store(sound);
    }

    pub fn reset(&mut self) {
        self.controller = controller();
    }
}

impl Default for GainControl {
    fn default() -> Self {
        Self::new()
    }
}

fn controller() -> GainController2 {
    // WebRTC begins 15 dB up, for calls; with a well-adjusted microphone that would start in the
    // limiter.
    let adaptive = AdaptiveDigitalControllerConfig { initial_gain_db: 0.0, max_gain_db: MOST_DB, ..Default::default() };
    let config = GainController2Config {
        adaptive_digital: adaptive,
        input_volume_controller: InputVolumeControllerRuntimeConfig { enabled: false },
        ..Default::default()
    };
    GainController2::new(config, VolumeConfig::default(), SampleRate::HEARING.0 as usize, 1, true)
}
