//! Commands that the machine returns.

use serde::{Deserialize, Serialize};

use super::input::TurnStage;
use crate::types::{Ms, TurnId};

/// Command to carry out, in the order given.
///
/// A turn number is used for one recognition and one answer at most. A recognition is open from
/// `BeginRecognition` until it is cancelled or its words have arrived; an answer is open from
/// `Prepare` until `Discard` or `End`. One of each is open at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TurnCommand {
    /// Somebody speaks since `from` on the session's clock. Partial transcripts are welcome.
    BeginRecognition {
        turn: TurnId,
        from: Ms,
    },
    /// Transcribe the sound between the two moments, and score whether the turn is complete. Pad
    /// the sound as the transcriber needs it.
    Recognise {
        turn: TurnId,
        from: Ms,
        to: Ms,
    },
    /// Drop the recognition. Its computation must stop; ignoring the result is not enough.
    CancelRecognition {
        turn: TurnId,
    },
    /// Compute this answer ahead: hold its sound, call no tool, keep nothing in the history.
    Prepare {
        turn: TurnId,
        reply: Reply,
    },
    /// Drop the prepared answer, as if it had never existed.
    Discard {
        turn: TurnId,
    },
    /// Play the answer: its turn is certain. The question is added to the history.
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
    /// Continue playing at full level from position `from` of the answer's sound: the beginning of
    /// the word where it was paused.
    Resume {
        turn: TurnId,
        from: Ms,
    },
    /// Stop computing and playing the answer, which is over. The history keeps its first `heard`
    /// bytes.
    End {
        turn: TurnId,
        how: Ending,
        heard: usize,
    },
    Earcon(EarconKind),
    /// Tell the user once.
    Notice(Notice),
    /// Show that the state has changed.
    Show(SessionState),
}

/// Subject of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// Reply to the user's words.
    To { text: String, language: String },
    /// Request to repeat, because the words were not clear.
    AskAgain,
}

/// Way in which a confirmed answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All of it was heard.
    Done,
    Interrupted,
    Failed,
    /// The user went on before a word of it was heard. The question becomes part of a longer one
    /// with another number, and the history keeps neither.
    Revised,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EarconKind {
    Listening,
    Thinking,
}

/// Message for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    StageFailed(TurnStage),
    /// The stage made no progress for too long.
    #[serde(rename = "stage_timed_out")]
    StageHangs(TurnStage),
    /// The answer is longer than the machine can track.
    AnswerTooLong,
    /// The key cannot listen while the microphone is muted.
    #[serde(rename = "microphone_muted")]
    IsMuted,
    /// The key cannot listen without a device.
    #[serde(rename = "no_device")]
    IsWithoutDevice,
}

/// State of the conversation, for display.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// Waiting for the wake word.
    Waiting,
    Listening,
    /// Somebody speaks.
    Hearing,
    /// The turn is certain, and nothing of the answer is heard yet.
    Thinking,
    Speaking,
    /// Somebody speaks over the answer, which is held.
    Interrupted,
    Muted,
    NoDevice,
    Closed,
}

impl Ending {
    /// Name for programs.
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
    /// Name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Notice::StageFailed(_) => "stage_failed",
            Notice::StageHangs(_) => "stage_timed_out",
            Notice::AnswerTooLong => "answer_too_long",
            Notice::IsMuted => "microphone_muted",
            Notice::IsWithoutDevice => "no_device",
        }
    }

    /// Stage that the notice is about.
    pub fn stage(self) -> Option<TurnStage> {
        match self {
            Notice::StageFailed(stage) | Notice::StageHangs(stage) => Some(stage),
            Notice::AnswerTooLong | Notice::IsMuted | Notice::IsWithoutDevice => None,
        }
    }
}

impl SessionState {
    /// Name for programs.
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

    /// Whether nothing is in progress.
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
