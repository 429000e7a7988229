//! Acoustic echo cancellation: removes Sotto's own voice, which comes back from the loudspeaker
//! through the room, from the microphone's signal.

use aec3::api::config::EchoCanceller3Config;
use aec3::api::control::EchoControl;
use aec3::audio_processing::aec3::echo_canceller3::EchoCanceller3;
use aec3::audio_processing::high_pass_filter::HighPassFilter;

use super::pcm::Pcm;
use super::{BLOCK, ProcessedBlock};
use crate::types::{Ms, SampleRate};

/// Longest delay from a played sample to its echo in the microphone at which the echo is found. The
/// crate searches it with five overlapping filters that cover 512 ms together.
pub const LONGEST_DELAY: Ms = Ms(480.0);

/// Taps of the adaptive filters in blocks of 4 ms: 120 ms. The crate's own 52 ms leave the rest of
/// a room's tail to the suppressor, which also suppresses a person who talks: with an echo as loud
/// as that person, 0.54 of the person's voice is kept, and 0.65 with 120 ms, at the same echo loss.
const FILTER_BLOCKS: usize = 30;

/// Removes the echo of played sound from the microphone's signal.
pub trait EchoCanceller {
    /// Removes the echo of `played` from `microphone`. `played` left the loudspeaker in about the
    /// same 10 ms in which `microphone` was captured, and never later than its echo: the canceller
    /// finds the delay between the two by itself, from 4 ms (less than any pair of devices has) to
    /// [`LONGEST_DELAY`]. It is silence where nothing was played.
    fn process(&mut self, microphone: &mut ProcessedBlock, played: &ProcessedBlock);

    /// Forgets the room's response and the delay, as after the loss of a device.
    fn reset(&mut self);

    /// Last estimate of the delay from loudspeaker to microphone; zero until there is one.
    fn delay(&self) -> Ms;
}

/// Canceller of the crate `aec3`, a port of WebRTC's AEC3: an adaptive filter of the room's
/// response, and a suppressor for what the filter leaves. It delays the microphone by 128 samples
/// (8 ms).
///
/// The type is not `Send`: make it on the thread that uses it. The crate allocates at each block.
pub struct Aec3 {
    canceller: EchoCanceller3,
    /// High-pass filter, behind which WebRTC runs AEC3 as well, for the adaptive filter follows hum
    /// and offset: in a recorded room (a laptop's microphone) the echo loss is 28 dB with it and 11
    /// dB without.
    high_pass: HighPassFilter,
    heard: Vec<Vec<f32>>,
    microphone: Pcm,
    played: Pcm,
    linear: Pcm,
}

impl Aec3 {
    pub fn new() -> Self {
        let rate = SampleRate::HEARING.0 as i32;
        Aec3 {
            canceller: EchoCanceller3::new(tuning(), rate, 1, 1),
            high_pass: HighPassFilter::new(rate, 1),
            heard: vec![vec![0.0; BLOCK]],
            microphone: Pcm::new(),
            played: Pcm::new(),
            linear: Pcm::new(),
        }
    }

    /// Output of the adaptive filter alone for the last block: some 20 dB less echo, and all of a
    /// voice over it. It is 64 samples late.
    pub fn linear(&self) -> ProcessedBlock {
        let mut block = [0.0; BLOCK];
        self.linear.store(&mut block);
        block
    }
}

impl Default for Aec3 {
    fn default() -> Self {
        Self::new()
    }
}

impl EchoCanceller for Aec3 {
    fn process(&mut self, microphone: &mut ProcessedBlock, played: &ProcessedBlock) {
        self.played.load(played);
        self.canceller.analyze_render(self.played.buffer());
        self.microphone.load(microphone);
        // Clipping is detected before the filter, which would hide it.
        self.canceller.analyze_capture(self.microphone.buffer());
        self.heard[0].copy_from_slice(self.microphone.samples_mut());
        self.high_pass.process(&mut self.heard);
        self.microphone.samples_mut().copy_from_slice(&self.heard[0]);
        self.canceller.process_capture_with_linear_output(self.microphone.buffer(), self.linear.buffer(), false);
        self.microphone.store(microphone);
    }

    fn reset(&mut self) {
        *self = Self::new();
    }

    fn delay(&self) -> Ms {
        Ms(f64::from(self.canceller.metrics().delay_ms))
    }
}

fn tuning() -> EchoCanceller3Config {
    let mut config = EchoCanceller3Config::default();
    config.filter.main.length_blocks = FILTER_BLOCKS;
    config.filter.shadow.length_blocks = FILTER_BLOCKS;
    config.filter.export_linear_aec_output = true;
    config
}
