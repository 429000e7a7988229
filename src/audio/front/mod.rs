//! Front end of the microphone: echo cancellation, noise suppression and gain control.
//!
//! Architecture invariant: no device, no clock, no thread. Sound passes in blocks of [`BLOCK`]
//! samples; the caller supplies the block of played sound that belongs to a block of the
//! microphone.
//!
//! # Echo
//!
//! Results of `cargo run --release --example front -- rooms FOLDER` with 41 recorded voices on a
//! busy machine of two cores. The columns give the echo loss from 10 to 14 s of playing; "talker
//! kept", which is the correlation and the gain of a person's voice over the echo; and the share of
//! frames of echo alone that Silero takes for speech, before and behind the canceller. The room has
//! 120 ms of tail and 80 ms of delay, with an echo 10 dB below the talker, unless the row says
//! otherwise.
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
//! Both are ports of the same algorithm and take 55 µs for a block on an idle core. `aec3` is used
//! because its tuning is open: with longer filters it keeps more of the talker. Its weakness is
//! clocks that drift apart, so their rates should be matched before. From 1 s on both reach 24 dB
//! or more where the noise allows it.
//!
//! # Effect on recognition
//!
//! Results of `front process`, then the example `wer`, with Whisper tiny.en: wrong words of 565 in
//! 41 recordings, and the share of frames in which Silero decides as on the clean sound (missed,
//! added).
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
//! Whisper and Silero were trained with noise and soft voices: noise suppression adds word errors,
//! and gain hardly helps, so both are off unless the user asks for them.
//!
//! The canceller's suppressor adds word errors, too, while somebody speaks over the answer. So
//! voices are detected behind it, and words, including the wake word, are recognised from the
//! output of the adaptive filter ([`Front::words`]). The table gives the wrong words of the same 41
//! recordings spoken over another voice from the loudspeaker (`front process --over DB --echo
//! --words`) with Whisper base, which has 2.8 % wrong without an echo:
//!
//! | room | microphone | behind the suppressor | behind the filter |
//! |---|---|---|---|
//! | an echo 10 dB below the talker | 6.7 % | 8.3 % | 3.5 % |
//! | as loud as the talker | 66.9 % | 23.9 % | 5.3 % |
//! | 10 dB above the talker | 101.2 % | 71.0 % | 9.9 % |
//! | nothing played | 3.2 % | 3.0 % | 3.0 % |
//!
//! Sound that resembles the played sound (`detect::Likeness`) is recognised from behind the
//! suppressor all the same: before it, the rest of an echo that the filter has not learned yet was
//! recognised as words in 2 of 7 conversations with an echo as loud as the person. In nine
//! simulated rooms 53 noises over an answer passed for a voice; 3 of them were then recognised as
//! words that nobody said, against 7 with all of them read behind the suppressor. Of 37 pieces of
//! echo 2 were, against 3.

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

/// Block of 10 ms of sound, samples in -1.0..=1.0.
pub type ProcessedBlock = [f32; BLOCK];

/// Whole front end, as configured. It is not `Send`: make it on the thread that uses it.
pub struct Front {
    echo: Option<Aec3>,
    /// Removes offset and hum where there is no canceller, which has a filter of its own, of order
    /// 2 at 70 Hz, with which its figures above were measured.
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

    /// Turns a block of the microphone into the signal in which voices are detected;
    /// [`EchoCanceller::process`] describes `played`. The result is finite and in -1.0..=1.0,
    /// whatever the devices deliver.
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

    /// Signal for recognition of the last block: the output of the canceller's adaptive filter,
    /// before suppressor, noise suppression and gain, which add word errors. Without a canceller it
    /// is the microphone without offset and hum.
    pub fn words(&self) -> &ProcessedBlock {
        &self.words
    }

    /// Measure of the echo that is left behind the canceller.
    pub fn echo_loss(&self) -> &EchoLoss {
        &self.loss
    }

    /// Forgets the room, the noise and the voice, as after the loss of a device.
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
