//! The front end of the microphone: what the speaker played is taken out of what the microphone heard, then noise, and
//! the level is evened out.
//!
//! Architecture invariant: no device, no clock, no thread. Sound goes through in blocks of [`BLOCK`] samples, and the
//! block of the speaker that goes with a block of the microphone is the caller's to bring.

mod echo;
mod gain;
mod loss;
mod noise;
mod pcm;

pub use echo::{Aec3, EchoCanceller, LONGEST_DELAY};
pub use gain::GainControl;
pub use loss::EchoLoss;
pub use noise::NoiseSuppressor;

use crate::config::{Audio, Echo, Gain};

/// Samples of one block: 10 ms of one channel at [`crate::types::SampleRate::HEARING`].
pub const BLOCK: usize = 160;

/// 10 ms of sound, samples in -1.0..=1.0.
pub type Block = [f32; BLOCK];

/// The whole front end, as the settings want it. Not `Send`: make it on the thread that uses it.
pub struct Front {
    echo: Option<Aec3>,
    noise: Option<NoiseSuppressor>,
    gain: Option<GainControl>,
    loss: EchoLoss,
}

impl Front {
    pub fn new(plan: &Audio) -> Self {
        Front {
            echo: (plan.echo == Echo::Aec3).then(Aec3::new),
            noise: NoiseSuppressor::new(plan.noise),
            gain: (plan.gain == Gain::On).then(GainControl::new),
            loss: EchoLoss::new(),
        }
    }

    /// Makes what is listened to of what was heard; [`EchoCanceller::process`] says what `played` is. What comes out
    /// is finite and in -1.0..=1.0, whatever the devices bring.
    pub fn process(&mut self, microphone: &mut Block, played: &Block) {
        microphone.iter_mut().for_each(|sample| *sample = pcm::sane(*sample));
        let before = *microphone;
        if let Some(echo) = &mut self.echo {
            echo.process(microphone, played);
        }
        self.loss.update(&before, microphone, played);
        if let Some(noise) = &mut self.noise {
            noise.process(microphone);
        }
        if let Some(gain) = &mut self.gain {
            gain.process(microphone);
        }
    }

    /// How much of its own voice Sotto still hears.
    pub fn echo_loss(&self) -> &EchoLoss {
        &self.loss
    }

    /// Forgets room, noise and voice, as after the loss of a device.
    pub fn reset(&mut self) {
        if let Some(echo) = &mut self.echo {
            echo.reset();
        }
        if let Some(noise) = &mut self.noise {
            noise.reset();
        }
        if let Some(gain) = &mut self.gain {
            gain.reset();
        }
        self.loss.reset();
    }
}
