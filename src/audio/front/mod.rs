//! The front end of the microphone: what the speaker played is taken out of what the microphone
//! heard, then noise, and the level is evened out.
//!
//! Architecture invariant: no device, no clock, no thread. Sound goes through in blocks of
//! [`BLOCK`] samples, and the block of the speaker that goes with a block of the microphone is the
//! caller's to bring.
//!
//! # Echo
//!
//! `cargo run --release --example front -- rooms FOLDER`, 41 recorded voices, a machine of two
//! cores at work: echo loss from 10 to 14 s of playing; the correlation of what is kept of a talker
//! over the echo, and its gain; the share of frames of echo alone that Silero takes for speech,
//! before and behind the canceller. A room of 120 ms, 80 ms of delay, an echo 10 dB below the
//! talker, but for what is named.
//!
//! | room | aec3 | talker kept | speech | sonora | talker kept | speech |
//! |---|---|---|---|---|---|---|
//! | | 33 dB | 0.94, 0.86 | 90 -> 0 % | 35 dB | 0.90, 0.78 | 0 % |
//! | tail of 250 ms | 35 | 0.93, 0.82 | 90 -> 0 | 37 | 0.85, 0.68 | 0 |
//! | delay of 480 ms | 34 | 0.94, 0.85 | 92 -> 0 | 36 | 0.91, 0.79 | 0 |
//! | echo as loud as the talker | 38 | 0.85, 0.67 | 92 -> 0 | 43 | 0.76, 0.52 | 0 |
//! | echo 10 dB above the talker | 44 | 0.63, 0.34 | 93 -> 0 | 55 | 0.52, 0.22 | 0 |
//! | clocks apart by 100 ppm | 16 | 0.93, 0.90 | 90 -> 1 | 33 | 0.89, 0.77 | 0 |
//! | delay jumps by 60 ms | | 0.95, 0.90 | | | 0.92, 0.85 | |
//! | speaker driven hard | 19 | 0.93, 0.83 | 91 -> 0 | 21 | 0.89, 0.75 | 0 |
//! | noise 14 dB below the echo | 14 | 0.97, 0.91 | 88 -> 0 | 15 | 0.95, 0.88 | 0 |
//! | all: 250 ms, 0 dB, 200 ppm, driven hard | 7 | 0.64, 0.64 | 92 -> 2 | 24 | 0.69, 0.51 | 0 |
//! | delay of 600 ms: not found | 2 | 0.91, 0.90 | 91 -> 82 | 2 | 0.93, 0.93 | 88 |
//!
//! Both are ports of the same algorithm and take 55 µs for a block on a quiet core. `aec3` is used
//! because its tuning is open: with longer filters it keeps more of the talker. It pays where
//! clocks run apart, so they should be brought together before. From 1 s on both have 24 dB or more
//! where the noise allows it.
//!
//! # What it does to words
//!
//! `front process`, then the example `wer`, Whisper tiny.en: wrong words of 565 in 41 recordings,
//! and the share of frames in which Silero decides as it does on the clean sound (missed, added).
//!
//! | sound | front end | wrong words | as in the clean sound |
//! |---|---|---|---|
//! | clean | off | 25 (4.4 %) | 99.5 % (0.2, 0.3) |
//! | clean | echo | 28 (5.0 %) | 98.6 % (0.7, 0.8) |
//! | an exercise bike 10 dB below | off | 43 (7.6 %) | 96.9 % (1.8, 1.3) |
//! | the same | noise high | 53 (9.4 %) | 96.1 % (3.2, 0.7) |
//! | 24 dB softer | off | 15 (2.7 %) | 95.2 % (4.1, 0.7) |
//! | 24 dB softer | gain | | 95.8 % (3.1, 1.1) |
//! | another voice as loud, from the speaker | off | | 89.7 % (0.2, 10.1) |
//! | the same | echo | | 88.3 % (11.1, 0.6) |
//!
//! Whisper and Silero have learned noise and soft voices: suppression costs words, and gain hardly
//! helps, so both are off unless the user asks.
//!
//! The canceller's suppressor costs words, too, while somebody speaks over the answer. So voices
//! are listened for behind it, and words, the wake word among them, are read from what the adaptive
//! filter leaves ([`Front::words`]). Wrong words of the same 41 recordings spoken over another
//! voice from the speaker (`front process --over DB --echo --words`), Whisper base, without which
//! 2.8 % are wrong:
//!
//! | room | microphone | behind the suppressor | behind the filter |
//! |---|---|---|---|
//! | an echo 10 dB below the talker | 6.7 % | 8.3 % | 3.5 % |
//! | as loud as the talker | 66.9 % | 23.9 % | 5.3 % |
//! | 10 dB above the talker | 101.2 % | 71.0 % | 9.9 % |
//! | nothing played | 3.2 % | 3.0 % | 3.0 % |
//!
//! What is like the sound that was played (`hear::Likeness`) is read behind the suppressor all the
//! same: before it the rest of an echo that the filter has not learned yet is read as words, in 2
//! of 7 conversations with an echo as loud as the person. Of 53 noises over an answer in nine
//! simulated rooms that passed for a voice 3 were then read as words that nobody said, with all
//! behind the suppressor 7; of 37 pieces of echo that did 2, and 3.

mod echo;
mod gain;
mod loss;
mod noise;
mod pcm;

pub use echo::{Aec3, EchoCanceller, LONGEST_DELAY};
pub use gain::GainControl;
pub use loss::EchoLoss;
pub use noise::NoiseSuppressor;

use super::HighPass;
use crate::config::{AudioPlan, EchoMode, Gain};
use crate::types::SampleRate;

/// Samples of one block: 10 ms of one channel at [`crate::types::SampleRate::HEARING`].
pub const BLOCK: usize = 160;

/// 10 ms of sound, samples in -1.0..=1.0.
pub type ProcessedBlock = [f32; BLOCK];

/// The whole front end, as the settings want it. Not `Send`: make it on the thread that uses it.
pub struct Front {
    echo: Option<Aec3>,
    /// Takes offset and hum out where no canceller does: it has a filter of its own, of order 2 at
    /// 70 Hz, on which its figures above were measured.
    high_pass: HighPass,
    noise: Option<NoiseSuppressor>,
    gain: Option<GainControl>,
    loss: EchoLoss,
    words: ProcessedBlock,
}

impl Front {
    pub fn new(plan: &AudioPlan) -> Self {
        Front {
            echo: (plan.echo == EchoMode::Aec3).then(Aec3::new),
            high_pass: HighPass::new(SampleRate::HEARING),
            noise: NoiseSuppressor::new(plan.noise),
            gain: (plan.gain == Gain::On).then(GainControl::new),
            loss: EchoLoss::new(),
            words: [0.0; BLOCK],
        }
    }

    /// Makes what voices are listened for in of what was heard; [`EchoCanceller::process`] says
    /// what `played` is. What comes out is finite and in -1.0..=1.0, whatever the devices bring.
    pub fn process(&mut self, microphone: &mut ProcessedBlock, played: &ProcessedBlock) {
        microphone.iter_mut().for_each(|sample| *sample = pcm::sane(*sample));
        let before = *microphone;
        if let Some(echo) = &mut self.echo {
            echo.process(microphone, played);
            self.words = echo.linear();
        } else {
            self.high_pass.process(microphone);
            microphone.iter_mut().for_each(|sample| *sample = pcm::sane(*sample));
            self.words = *microphone;
        }
        self.loss.update(&before, microphone, played);
        if let Some(noise) = &mut self.noise {
            noise.process(microphone);
        }
        if let Some(gain) = &mut self.gain {
            gain.process(microphone);
        }
    }

    /// What is recognised of the last block: what the canceller's adaptive filter left of it,
    /// before suppressor, noise suppression and gain, which cost words. Without a canceller, the
    /// microphone without offset and hum.
    pub fn words(&self) -> &ProcessedBlock {
        &self.words
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
        self.high_pass = HighPass::new(SampleRate::HEARING);
        if let Some(noise) = &mut self.noise {
            noise.reset();
        }
        if let Some(gain) = &mut self.gain {
            gain.reset();
        }
        self.loss.reset();
    }
}
