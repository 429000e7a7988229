//! Work of the transcriber.

use std::sync::Arc;

use super::message::{ReplyTo, StageResult};
use crate::asr::Cancel;
use crate::engine::host::{FailureReport, Job, Stage, StageContext};
use crate::engine::stage::{StageKind, Transcriber};
use crate::types::SessionId;

/// Sound to transcribe.
pub(in crate::engine) struct TranscriptionJob {
    /// 16 kHz mono.
    pub samples: Arc<[f32]>,
    pub cancel: Cancel,
    /// Whether this is a partial transcription: the utterance is not over.
    pub partial: bool,
    pub reply: ReplyTo,
}

impl Job for TranscriptionJob {
    fn session(&self) -> SessionId {
        self.reply.session
    }

    /// Whole turns go first: somebody waits for an answer.
    fn priority(&self) -> u8 {
        u8::from(!self.partial)
    }

    fn replaces_waiting(&self) -> bool {
        true
    }

    fn is_current(&self) -> bool {
        self.reply.is_wanted()
    }

    /// A partial transcription takes nothing with it: the turn is transcribed when it is over.
    fn failure_report(&self) -> FailureReport {
        if self.partial { Box::new(|_| ()) } else { self.reply.failure_report(StageKind::Transcriber) }
    }
}

pub(in crate::engine) struct TranscriptionStage(pub Box<dyn Transcriber>);

impl Stage for TranscriptionStage {
    type Job = TranscriptionJob;

    fn start(&mut self, job: TranscriptionJob, context: &StageContext) {
        let TranscriptionJob { samples, cancel, partial, reply, .. } = job;
        if partial {
            // An error here will occur again in the final transcription and is reported there.
            if let Ok(transcript) = self.0.transcribe_partial(&samples, &cancel) {
                reply.send(context, StageResult::Partial(transcript, cancel));
            }
            return;
        }
        // A cancelled run also ends with an error, but its turn is stale by then and the message is
        // ignored.
        match self.0.transcribe(&samples, &cancel) {
            Ok(transcript) => reply.send(context, StageResult::Recognised(transcript)),
            Err(error) => reply.fail(context, StageKind::Transcriber, error),
        }
    }
}
