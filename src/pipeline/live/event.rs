//! Types for the callers and views of a conversation.

use std::sync::Arc;

use crate::asr;
use crate::audio::device::{Card, DeviceChange};
use crate::observe::Timings;
use crate::turn::{Ending, Notice, SessionState};
use crate::types::TurnId;

/// Sound card and devices of a conversation.
pub struct SessionDevices {
    pub card: Arc<dyn Card>,
    /// Device name, or [`DEFAULT`](crate::audio::device::DEFAULT).
    pub microphone: String,
    /// Device name of the loudspeaker, as for the microphone.
    pub speaker: String,
}

/// Event of a conversation, for a view or a program.
#[derive(Clone, Debug)]
pub enum SessionEvent {
    Device(DeviceChange),
    State(SessionState),
    /// Transcript so far of an utterance that goes on.
    Partial(asr::Transcript),
    /// Transcript at a pause, before the turn is certain to be over.
    Understood(asr::Transcript),
    /// End of an answer, with its question.
    Exchange(Exchange),
    Notice(Notice),
    /// Failure of a stage: its error text.
    Failed(String),
}

/// Question and answer, once the answer has ended.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub turn: TurnId,
    /// Question as transcribed; empty where Sotto asked for it again.
    pub question: String,
    /// Part of the answer that was heard.
    pub heard: String,
    pub how: Ending,
    pub timings: Option<Timings>,
    /// Number of underruns of the loudspeaker, the system's interruptions included.
    pub glitches: u64,
    /// Echo return loss of the echo canceller in dB, where it is known.
    pub echo_loss: Option<f32>,
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
