//! The event of a session: what happened, to which turn, and when. Every view, `--json` line, chart
//! and test reads this one stream.

use super::milestone::Milestone;
use super::waterfall::Timings;
use crate::asr::Transcript;
use crate::audio::device::DeviceChange;
use crate::turn::{Ending, Notice, SessionState, TurnStage};
use crate::types::{Ms, SessionId, TurnId};

/// Something that happened in a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub session: SessionId,
    /// Turn of the event, if it belongs to one.
    pub turn: Option<TurnId>,
    /// Time on the session's clock.
    pub at: Ms,
    pub kind: EventKind,
}

/// Kind of an event, with its content.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    Device(DeviceChange),
    State(SessionState),
    /// Transcript so far of an utterance that goes on.
    Partial(Transcript),
    /// Transcript at a pause, before the turn is certain to be over.
    Understood(Transcript),
    Milestone(Milestone),
    /// End of an answer, with its question.
    Exchange(Exchange),
    Notice(Notice),
    /// Failure of a stage.
    Failed {
        stage: TurnStage,
        why: String,
    },
    /// A stage was restarted or replaced, for the given number of times so far.
    Replaced {
        stage: &'static str,
        generation: u64,
        /// Number of its threads that hang and still hold their model.
        abandoned: usize,
    },
}

/// Question and answer, once the answer has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// Question as transcribed; empty where Sotto asked for it again.
    pub question: String,
    /// Length of the speech, its pauses included.
    pub spoken: Ms,
    /// Part of the answer that was heard.
    pub heard: String,
    pub how: Ending,
    pub timings: Option<Timings>,
    /// Number of underruns of the loudspeaker, the system's interruptions included.
    pub glitches: u64,
    /// Echo return loss of the echo canceller in dB, where it is known.
    pub echo_loss: Option<f32>,
}

/// Statement whether an event may be kept where nobody's words may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// Content that holds what somebody said, or what was answered.
    Words,
    /// Content without words.
    NoWords,
}

impl EventKind {
    /// Name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            EventKind::Device(_) => "device",
            EventKind::State(_) => "state",
            EventKind::Partial(_) => "partial",
            EventKind::Understood(_) => "understood",
            EventKind::Milestone(_) => "milestone",
            EventKind::Exchange(_) => "exchange",
            EventKind::Notice(_) => "notice",
            EventKind::Failed { .. } => "failed",
            EventKind::Replaced { .. } => "replaced",
        }
    }

    pub fn privacy(&self) -> Privacy {
        match self {
            EventKind::Partial(_) | EventKind::Understood(_) | EventKind::Exchange(_) => Privacy::Words,
            EventKind::Device(_)
            | EventKind::State(_)
            | EventKind::Milestone(_)
            | EventKind::Notice(_)
            | EventKind::Failed { .. }
            | EventKind::Replaced { .. } => Privacy::NoWords,
        }
    }
}
