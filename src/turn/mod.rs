//! The conversation as a pure state machine: who has the floor, and what becomes of the answer.
//!
//! [`Machine::on`] is told what happened and when, and gives back [`TurnCommand`]s;
//! [`Machine::next_deadline`] says when it wants to be told that time has passed. Everything else,
//! sound, models, threads, clocks, is somebody else's.
//!
//! ```text
//!               voice (where the wake word is needed: within its window)
//!   ┌─ Listening ────────────────────────► Hearing ◄─────────────────────────────────────┐
//!   │     ▲  ▲   nothing was said           │  ▲ └ a pause: words are read, an answer    │
//!   │     │  └──────────────────────────────┤  │    is prepared and held; the voice goes │
//!   │     │                                 │  │    on: both are dropped                 │
//!   │     │                    turn certain │  │                                         │
//!   │     │       done, failed              ▼  │ stopped by key                          │
//!   │     └───────────────────────────── Answering ───── voice: ducks ─────┐             │
//!   │                                       ▲                              │ words:      │
//!   │      no words, a nod, an echo: goes   │        speech: pauses        ▼ the answer  │
//!   │      on from the word it stopped at   └───────────────────────── Interrupted ──────┘
//!   │                                                                         ends for good
//!   └─ muted, no device, closed: everything under way has ended, and voices are not heard
//! ```
//!
//! **When a turn ends.** The end-of-turn model, the transcriber and the language model each say how
//! likely it is over; what they say is added up (`evidence`), and the likelier it is, the less
//! silence ends the turn ([`EndOfTurn`]). Nothing shortens it below a floor.
//!
//! **Work ahead.** At the first pause the words are asked for and an answer is prepared. It is
//! confirmed when the turn is certain. When the voice goes on, the utterance gets a new number and
//! keeps its sound. That holds until a word of the answer was heard, and who perhaps speaks before
//! holds it; what is said then is a turn of its own.
//!
//! **Interruption.** Voice ducks the answer, speech pauses it, and words end it. An unclear
//! interruption is none. The words that interrupt are themselves the next turn.
//!
//! # Invariants
//! The property tests hold these over any inputs in any order at any times, nonsense included.
//! - One recognition and one answer are open at a time. A number is never used twice for either;
//!   every command names an open one.
//! - Nothing is confirmed before its turn is certain; nothing that was confirmed is discarded.
//!   Every confirmed answer has exactly one end, and nothing follows it.
//! - What the history keeps of an answer is what had left the speaker, in whole words; all of it
//!   when it is done.
//! - Ducking and unducking, pausing and resuming alternate, and an answer resumes no later than
//!   where it was paused.
//! - Every control takes effect at once: after a stop nothing is under way, and while muted nothing
//!   is listened to.
//! - When nothing happens any more, time alone leads to a state of rest, in a bounded number of
//!   deadlines. A deadline is never in the past.
//!
//! Architecture invariant: no I/O, no clock, no thread; this room knows of other rooms only the
//! units.

mod answer;
mod answering;
mod barge_in;
mod command;
mod command_buffer;
mod evidence;
mod hearing;
mod input;
mod ledger;
mod machine;
mod settings;
mod utterance;
mod words;

#[cfg(test)]
pub(crate) mod tests;

pub use command::{EarconKind, Ending, Notice, Reply, SessionState, TurnCommand};
pub use evidence::LogOdds;
pub use input::{
    AnswerEvent, Control, DeviceKind, PlaybackEvent, TurnInput, TurnStage, TurnTranscript, TurnVerdict, VoiceEvent,
};
pub use machine::{Machine, Pause};
pub use settings::{BargeIn, EndOfTurn, FeatureWeight, TurnSettings, TurnWeights};
