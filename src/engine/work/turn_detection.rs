//! Work of the turn detector.

use std::sync::Arc;

use super::message::{ReplyTo, StageResult};
use crate::engine::host::{FailureReport, Job, Stage, StageContext};
use crate::engine::stage::{StageKind, TurnDetector};
use crate::types::SessionId;

/// Pause to score.
pub(in crate::engine) struct TurnDetectionJob {
    /// The turn so far, 16 kHz mono.
    pub samples: Arc<[f32]>,
    pub reply: ReplyTo,
}

impl Job for TurnDetectionJob {
    fn session(&self) -> SessionId {
        self.reply.session
    }

    fn replaces_waiting(&self) -> bool {
        true
    }

    fn is_current(&self) -> bool {
        self.reply.is_wanted()
    }

    fn failure_report(&self) -> FailureReport {
        self.reply.failure_report(StageKind::TurnDetector)
    }
}

pub(in crate::engine) struct TurnDetectionStage(pub Box<dyn TurnDetector>);

impl Stage for TurnDetectionStage {
    type Job = TurnDetectionJob;

    fn start(&mut self, job: TurnDetectionJob, context: &StageContext) {
        match self.0.complete(&job.samples) {
            Ok(probability) => job.reply.send(context, StageResult::TurnScored(probability)),
            Err(error) => job.reply.fail(context, StageKind::TurnDetector, error),
        }
    }
}
