//! Blocks in the form that the crate `aec3` works on.

use aec3::audio_processing::audio_buffer::AudioBuffer;

use super::{BLOCK, ProcessedBlock};
use crate::types::SampleRate;

/// Full scale of the crates: their levels and thresholds are those of 16-bit samples, held as
/// `f32`.
pub(super) const FULL_SCALE: f32 = 32768.0;

/// Level below which a sample is set to zero: 1e-20 of full scale is 400 dB down. Denormal numbers
/// make filters many times slower.
const NOTHING: f32 = 1e-20;

/// One block of one channel.
pub(super) struct Pcm(AudioBuffer);

impl Pcm {
    pub(super) fn new() -> Self {
        let rate = SampleRate::HEARING.0 as usize;
        Pcm(AudioBuffer::from_sample_rates(rate, 1, rate, 1, rate))
    }

    pub(super) fn load(&mut self, block: &ProcessedBlock) {
        for (to, from) in self.samples_mut().iter_mut().zip(block) {
            *to = sane(*from) * FULL_SCALE;
        }
    }

    pub(super) fn store(&self, block: &mut ProcessedBlock) {
        for (to, from) in block.iter_mut().zip(self.0.channel(0)) {
            *to = sane(from / FULL_SCALE);
        }
    }

    pub(super) fn samples_mut(&mut self) -> &mut [f32] {
        &mut self.0.channel_mut(0)[..BLOCK]
    }

    pub(super) fn buffer(&mut self) -> &mut AudioBuffer {
        &mut self.0
    }
}

/// Clips `sample` to full scale, and turns one that is not a number into silence. A driver may
/// deliver anything.
pub(super) fn sane(sample: f32) -> f32 {
    if sample.abs() > NOTHING { sample.clamp(-1.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_microphone_can_hear_is_made_silence_or_clipped() {
        for (sample, made) in [
            (f32::NAN, 0.0),
            (f32::INFINITY, 1.0),
            (f32::NEG_INFINITY, -1.0),
            (3.5, 1.0),
            (-1.25, -1.0),
            (f32::MIN_POSITIVE / 4.0, 0.0),
            (-0.0, 0.0),
            (0.25, 0.25),
            (1.0 / 32768.0, 1.0 / 32768.0),
        ] {
            let mut pcm = Pcm::new();
            let mut block = [sample; BLOCK];
            pcm.load(&block);
            assert_eq!(pcm.samples_mut(), [made * FULL_SCALE; BLOCK], "{sample}");
            pcm.store(&mut block);
            assert_eq!(block, [made; BLOCK], "{sample}");
        }
    }
}
