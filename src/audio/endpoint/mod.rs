//! The two ends of a session's sound: where it comes from and where it goes. Devices are one kind,
//! clips in memory another.

mod clip;

pub use clip::{ClipInput, ClipOutput, ManualClock, PlayedSamples};

use crate::audio::device::{Capture, CapturedBlock, DeviceChange, Playback, PlaybackCount};

/// Source of a session's sound: blocks of 10 ms at 16 kHz without end, each with its time.
pub trait AudioInput {
    /// Watches the source; call it every few milliseconds, before [`AudioInput::read`].
    fn poll(&mut self) -> Option<DeviceChange> {
        None
    }

    /// Returns the next block, once 10 ms more have passed.
    fn read(&mut self) -> Option<CapturedBlock>;
}

/// Destination of a session's sound, which takes samples in -1.0..=1.0 at one rate and counts those
/// that were heard.
pub trait AudioOutput {
    /// Watches the destination; call it every few milliseconds.
    fn poll(&mut self) -> Option<DeviceChange> {
        None
    }

    /// Number of samples that may be written now.
    fn room(&mut self) -> usize;

    /// Takes samples and returns how many it took.
    fn write(&mut self, samples: &[f32]) -> usize;

    /// Marks the end of a sound: running dry behind it is no underrun.
    fn end(&mut self);

    /// Drops the samples that were written and not yet heard.
    fn flush(&mut self);

    /// Sets the gain: 0.0 is silent, 1.0 as written.
    fn duck(&mut self, gain: f32);

    /// Pauses and keeps the samples that wait, or goes on.
    fn hold(&mut self, held: bool);

    /// Counts what was written so far.
    fn tally(&mut self) -> PlaybackCount;

    /// Number of interruptions of the sound so far.
    fn glitches(&mut self) -> u64 {
        0
    }
}

impl AudioInput for Capture {
    fn poll(&mut self) -> Option<DeviceChange> {
        Capture::poll(self)
    }

    fn read(&mut self) -> Option<CapturedBlock> {
        Capture::read(self)
    }
}

impl AudioOutput for Playback {
    fn poll(&mut self) -> Option<DeviceChange> {
        Playback::poll(self)
    }

    fn room(&mut self) -> usize {
        Playback::room(self)
    }

    fn write(&mut self, samples: &[f32]) -> usize {
        Playback::write(self, samples)
    }

    fn end(&mut self) {
        Playback::end(self);
    }

    fn flush(&mut self) {
        Playback::flush(self);
    }

    fn duck(&mut self, gain: f32) {
        Playback::duck(self, gain);
    }

    fn hold(&mut self, held: bool) {
        Playback::hold(self, held);
    }

    fn tally(&mut self) -> PlaybackCount {
        Playback::tally(self)
    }

    fn glitches(&mut self) -> u64 {
        self.underruns() + self.xruns()
    }
}
