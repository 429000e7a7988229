//! Types for the callers of a session.

use std::sync::Arc;

use crate::audio::device::{Capture, Card, Clock, Playback, PlaybackSettings};
use crate::audio::{AudioError, AudioInput, AudioOutput};
use crate::engine::detached;
use crate::turn::SessionState;
use crate::types::SampleRate;

/// Sound card and devices of a session.
pub struct SessionDevices {
    pub card: Arc<dyn Card>,
    /// Device name, or [`DEFAULT`](crate::audio::device::DEFAULT).
    pub microphone: String,
    /// Device name of the loudspeaker, as for the microphone.
    pub speaker: String,
}

/// Source and destination of a session's sound, and its clock.
pub struct SessionAudio {
    pub clock: Arc<dyn Clock>,
    pub input: Box<dyn AudioInput>,
    pub output: Box<dyn AudioOutput>,
}

impl SessionAudio {
    /// Opens devices, for answers at `rate`. Devices that are not there are waited for.
    pub fn open(devices: SessionDevices, rate: SampleRate) -> Result<SessionAudio, AudioError> {
        let SessionDevices { card, microphone, speaker } = devices;
        let spawn = detached();
        let output = Playback::open(card.clone(), &speaker, PlaybackSettings::at(rate), spawn.clone())?;
        let (clock, input) = (card.clock(), Capture::open(card, &microphone, spawn));
        Ok(SessionAudio { clock, input: Box::new(input), output: Box::new(output) })
    }
}

/// State, level and answer at this moment, for a view.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StatusSnapshot<'a> {
    pub view: SessionState,
    /// Level of the microphone in dBFS; minus infinity where there is no sound.
    pub level: f32,
    /// Text of the current answer that was heard.
    pub heard: &'a str,
    /// Text of the current answer that is written but not heard yet.
    pub ahead: &'a str,
}
