//! Events of a session with their times: one enum that the waterfall and the tests read. Recordings
//! of a conversation, and their replay.

mod recording;
mod replay;
mod waterfall;

pub use recording::{RecordedConversation, RecordedInput, Recorder, RecordingError};
pub use replay::{Replay, ReplayEvent, ReplayEventKind};
pub use waterfall::{Timings, Waterfall};

use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::types::TurnId;

/// Event on the way from a question to its answer, without any of its words. The order of the
/// variants is the order of a successful turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Words were recognised while somebody still speaks.
    PartialTranscript,
    /// The last sample of speech was captured: zero of the waterfall.
    LastSpeechSample,
    /// The silence after it was long enough (or the file ended): the turn is certain.
    TurnDecided,
    Transcript,
    FirstToken,
    /// The first piece of the answer was handed to the synthesizer.
    FirstSentence,
    /// The synthesizer returned its first sound, even if silent.
    FirstPcm,
    /// The first audible sample was played.
    FirstAudible,
    /// The language model wrote its last token.
    LastToken,
    /// The last sound of the answer was written.
    Done,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Stamped {
    pub turn: TurnId,
    pub at: Instant,
    pub event: Event,
}

/// Events of a session in the order they were noted. Clones share one journal.
///
/// At most [`Journal::CAPACITY`] events are kept; the oldest are dropped first.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Vec<Stamped>>>);

impl Journal {
    pub const CAPACITY: usize = 4096;

    pub fn note(&self, turn: TurnId, event: Event) {
        self.note_at(turn, Instant::now(), event);
    }

    pub fn note_at(&self, turn: TurnId, at: Instant, event: Event) {
        let mut events = self.lock();
        if events.len() == Self::CAPACITY {
            events.remove(0);
        }
        events.push(Stamped { turn, at, event });
    }

    /// Events of `turn`.
    pub fn of(&self, turn: TurnId) -> Vec<Stamped> {
        self.lock().iter().filter(|stamped| stamped.turn == turn).cloned().collect()
    }

    /// Latest occurrence of `event`, in any turn.
    pub fn last(&self, event: Event) -> Option<Stamped> {
        self.lock().iter().rfind(|stamped| stamped.event == event).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Stamped>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
