//! Work of each stage for a job, on the thread of its [`Host`](super::host::Host), and the
//! messages by which it tells the session.
//!
//! A stage that fails at a job reports the error and takes the next job. A panic and a hang are
//! handled by the host.

mod answer;
mod detection;
mod message;
mod synthesis;
mod transcription;
mod turn_detection;

pub(super) use answer::{AnswerJob, AnswerStage};
pub(super) use detection::{DetectionStage, Scorer, Scores, scores};
pub(super) use message::{CurrentTurn, ReplyTo, StageMessage, StageResult};
pub(super) use synthesis::{SynthesisJob, SynthesisStage};
pub(super) use transcription::{TranscriptionJob, TranscriptionStage};
pub(super) use turn_detection::{TurnDetectionJob, TurnDetectionStage};
