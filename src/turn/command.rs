//! What the machine wants done.

use super::input::TurnStage;
use crate::types::{Ms, TurnId};

/// Something to do, in the order given.
///
/// A number is for one recognition and one answer at most. A recognition is open from
/// `BeginRecognition` until it is cancelled or its words have come; an answer from `Prepare` until
/// `Discard` or `End`. One of each is open at a time.
#[derive(Clone, Debug, PartialEq)]
pub enum TurnCommand {
    /// Somebody speaks since `from` on the session's clock. Partial transcripts are welcome.
    BeginRecognition {
        turn: TurnId,
        from: Ms,
    },
    /// Read the sound between the two moments, and score whether the turn is complete. Pad it as
    /// the transcriber needs.
    Recognise {
        turn: TurnId,
        from: Ms,
        to: Ms,
    },
    /// Its words are not wanted any more. What is computed for it is to stop, not only to be
    /// ignored.
    CancelRecognition {
        turn: TurnId,
    },
    /// Compute this answer ahead: hold its sound, run no tool, keep nothing.
    Prepare {
        turn: TurnId,
        reply: Reply,
    },
    /// The prepared answer is not wanted; it never was.
    Discard {
        turn: TurnId,
    },
    /// The turn is certain: let the answer's sound go. Its question belongs to the history.
    Confirm {
        turn: TurnId,
    },
    /// Play softly.
    Duck {
        turn: TurnId,
    },
    /// Play at full level.
    Unduck {
        turn: TurnId,
    },
    /// Stop playing and keep the sound.
    Pause {
        turn: TurnId,
    },
    /// Play on at full level, from `from` of the answer's sound: the beginning of the word where it
    /// was paused.
    Resume {
        turn: TurnId,
        from: Ms,
    },
    /// The answer is over: stop computing and playing it. The history keeps its first `heard`
    /// bytes.
    End {
        turn: TurnId,
        how: Ending,
        heard: usize,
    },
    Earcon(EarconKind),
    /// Tell the person, once.
    Notice(Notice),
    /// The state has changed.
    Show(SessionState),
}

/// What to answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// These words of the person.
    To { text: String, language: String },
    /// The words were not clear: ask for them again.
    AskAgain,
}

/// How a confirmed answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All of it was heard.
    Done,
    Interrupted,
    Failed,
    /// The person went on before a word of it was heard: its question is part of a longer one that
    /// comes under another number. The history keeps neither.
    Revised,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarconKind {
    Listening,
    Thinking,
}

/// What a person should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    StageFailed(TurnStage),
    /// It said nothing for too long.
    StageHangs(TurnStage),
    /// The answer is longer than can be followed.
    AnswerTooLong,
    /// The key cannot listen while the microphone is muted.
    IsMuted,
    /// The key cannot listen without a device.
    IsWithoutDevice,
}

/// The state of the conversation, for the eye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// For the wake word.
    Waiting,
    Listening,
    /// Somebody speaks.
    Hearing,
    /// The turn is certain and nothing of the answer is heard yet.
    Thinking,
    Speaking,
    /// Somebody speaks over the answer, which is held.
    Interrupted,
    Muted,
    NoDevice,
    Closed,
}

impl Ending {
    /// The name that programs read.
    pub fn name(self) -> &'static str {
        match self {
            Ending::Done => "done",
            Ending::Interrupted => "interrupted",
            Ending::Failed => "failed",
            Ending::Revised => "revised",
        }
    }
}

impl Notice {
    /// The name that programs read.
    pub fn name(self) -> &'static str {
        match self {
            Notice::StageFailed(_) => "stage_failed",
            Notice::StageHangs(_) => "stage_timed_out",
            Notice::AnswerTooLong => "answer_too_long",
            Notice::IsMuted => "microphone_muted",
            Notice::IsWithoutDevice => "no_device",
        }
    }

    /// The stage that it is about.
    pub fn stage(self) -> Option<TurnStage> {
        match self {
            Notice::StageFailed(stage) | Notice::StageHangs(stage) => Some(stage),
            Notice::AnswerTooLong | Notice::IsMuted | Notice::IsWithoutDevice => None,
        }
    }
}

impl SessionState {
    /// The name that programs read.
    pub fn name(self) -> &'static str {
        match self {
            SessionState::Waiting => "waiting",
            SessionState::Listening => "listening",
            SessionState::Hearing => "hearing",
            SessionState::Thinking => "thinking",
            SessionState::Speaking => "speaking",
            SessionState::Interrupted => "interrupted",
            SessionState::Muted => "muted",
            SessionState::NoDevice => "no_device",
            SessionState::Closed => "closed",
        }
    }

    /// Whether nothing is under way.
    pub fn is_at_rest(self) -> bool {
        matches!(
            self,
            SessionState::Waiting
                | SessionState::Listening
                | SessionState::Muted
                | SessionState::NoDevice
                | SessionState::Closed
        )
    }
}
