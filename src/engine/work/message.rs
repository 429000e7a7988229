//! Messages of the stages to a session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::Sender;

use crate::asr::{Cancel, Transcript};
use crate::audio::device::Clock;
use crate::engine::host::{FailureReport, StageContext};
use crate::engine::stage::StageKind;
use crate::types::{Frame, Ms, SessionId, TurnId};

/// Result of a stage for a turn of a session.
pub(in crate::engine) struct StageMessage {
    pub turn: TurnId,
    /// Time of the result on the session's clock.
    pub at: Ms,
    pub result: StageResult,
}

pub(in crate::engine) enum StageResult {
    Recognised(Transcript),
    /// Partial transcript of speech that goes on. It is stale once it is cancelled.
    Partial(Transcript, Cancel),
    /// Probability that a sentence ends where the question ends. It is sent once for each job that
    /// asks for it.
    SentenceEndScored(Option<f32>),
    /// Probability that the turn is complete, 0 to 1.
    TurnScored(f32),
    /// The language model has written its first token.
    FirstToken,
    Piece(String),
    /// Next sentence of the answer, whole.
    Sentence(String),
    /// The text of the answer is complete.
    Written,
    /// The synthesizer has made its first sound of the answer.
    FirstSound,
    Sound(Frame),
    /// All sound of one sentence was sent.
    SentenceSpoken,
    Failed(StageKind, anyhow::Error),
}

/// Destination of the results for a turn, and the clock that stamps them.
#[derive(Clone)]
pub(in crate::engine) struct ReplyTo {
    pub session: SessionId,
    pub turn: TurnId,
    /// Turn whose results the session wants.
    pub current: CurrentTurn,
    pub clock: Arc<dyn Clock>,
    pub inbox: Sender<StageMessage>,
}

impl ReplyTo {
    /// Whether the session still wants results for the turn.
    pub(super) fn is_wanted(&self) -> bool {
        self.current.is(self.turn)
    }

    /// Sends a result, unless the thread was abandoned. A session that is over gets none.
    pub(super) fn send(&self, context: &StageContext, result: StageResult) {
        if context.is_current() {
            self.deliver(result);
        }
    }

    /// Sends an error of the stage in a job that it goes on after.
    pub(super) fn fail(&self, context: &StageContext, stage: StageKind, error: anyhow::Error) {
        let error = error.context(format!("the {} failed", stage.title()));
        self.send(context, StageResult::Failed(stage, error));
    }

    /// Makes the report for a job in which the stage itself fails.
    pub(super) fn failure_report(&self, stage: StageKind) -> FailureReport {
        let reply = self.clone();
        Box::new(move |error| reply.deliver(StageResult::Failed(stage, error)))
    }

    fn deliver(&self, result: StageResult) {
        let message = StageMessage { turn: self.turn, at: Ms::from(self.clock.now()), result };
        let _over = self.inbox.send(message);
    }
}

/// Number of the turn whose results are wanted, shared by a session and the stages. Work for
/// another number stops by itself; nobody has to reset a flag.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct CurrentTurn(Arc<AtomicU64>);

impl CurrentTurn {
    pub fn get(&self) -> TurnId {
        TurnId(self.0.load(Ordering::Acquire))
    }

    pub fn is(&self, turn: TurnId) -> bool {
        self.get() == turn
    }

    /// Makes `turn` the current one; the results of others become stale.
    pub fn set(&self, turn: TurnId) {
        self.0.store(turn.0, Ordering::Release);
    }

    /// Makes no turn the current one.
    pub fn clear(&self) {
        self.set(TurnId::default());
    }
}
