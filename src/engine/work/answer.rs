//! Work of the language model: answers, cut into sentences. Answers of several sessions are written
//! in turns, that with the fewest sentences first: who has heard nothing yet waits least.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::message::{ReplyTo, StageResult};
use crate::engine::host::{FailureReport, Job, Stage, StageContext};
use crate::engine::stage::{ChatTurn, LanguageModel, StageKind};
use crate::tts::Sentences;
use crate::types::{SessionId, TurnId};

/// Longest time that an answer waits for the synthesizer to begin, and interval at which it checks
/// whether that is still wanted.
const HEAD_START: Duration = Duration::from_millis(200);
const NOTICE: Duration = Duration::from_millis(10);

/// Answer to write.
pub(in crate::engine) struct AnswerJob {
    pub turn: ChatTurn,
    /// Two-letter code of the answer's language, or empty.
    pub language: String,
    /// Turn of the session whose first sound was made last.
    pub begun: Receiver<TurnId>,
    pub reply: ReplyTo,
}

impl Job for AnswerJob {
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
        self.reply.failure_report(StageKind::LanguageModel)
    }
}

pub(in crate::engine) struct AnswerStage {
    model: Box<dyn LanguageModel>,
    active: Vec<ActiveAnswer>,
}

/// Answer that is being written.
struct ActiveAnswer {
    cutter: Sentences,
    /// Number of sentences and of pieces so far.
    sentences: usize,
    pieces: usize,
    /// Until when it waits for its first sound, so that the synthesizer has the processor to itself
    /// while the user waits for it. The rest of the answer is written faster than it is spoken.
    waits_until: Option<Instant>,
    begun: Receiver<TurnId>,
    reply: ReplyTo,
}

impl AnswerStage {
    pub fn new(model: Box<dyn LanguageModel>) -> Self {
        AnswerStage { model, active: Vec::new() }
    }

    /// Reads the question and scores it. The turn always gets a score, or it would wait in vain.
    fn score(&mut self, job: &AnswerJob, context: &StageContext) {
        // An error here will occur again when the answer begins, and is reported there.
        let probability = self.model.sentence_end_probability(&job.turn).unwrap_or_default();
        job.reply.send(context, StageResult::SentenceEndScored(probability));
    }

    /// Index of the answer to go on with: that with the fewest sentences of those that do not wait.
    /// If all wait, it waits a little for the first.
    fn next(&mut self) -> Option<usize> {
        self.active.iter_mut().for_each(ActiveAnswer::look_for_sound);
        let ready = self.active.iter().enumerate().filter(|(_, answer)| answer.waits_until.is_none());
        let next = ready.min_by_key(|(_, answer)| answer.sentences).map(|(at, _)| at);
        if next.is_none()
            && let Some(answer) = self.active.first_mut()
        {
            answer.wait_for_sound();
        }
        next
    }

    /// Writes the next piece. Returns whether the answer goes on.
    fn write(&mut self, at: usize, context: &StageContext) -> bool {
        let answer = &mut self.active[at];
        if !answer.is_wanted(context) {
            self.model.stop(answer.reply.session);
            return false;
        }
        match self.model.next_piece(answer.reply.session) {
            Ok(Some(piece)) => {
                answer.piece(&piece, context);
                true
            }
            Ok(None) => {
                answer.finish(context);
                false
            }
            Err(error) => {
                answer.reply.fail(context, StageKind::LanguageModel, error);
                false
            }
        }
    }
}

impl Stage for AnswerStage {
    type Job = AnswerJob;

    fn start(&mut self, job: AnswerJob, context: &StageContext) {
        self.active.retain(|answer| answer.reply.session != job.reply.session);
        self.score(&job, context);
        let AnswerJob { turn, language, begun, reply } = job;
        let cutter = Sentences::expecting(&language);
        let answer = ActiveAnswer { cutter, sentences: 0, pieces: 0, waits_until: None, begun, reply };
        match self.model.begin(&turn) {
            Ok(()) => self.active.push(answer),
            Err(error) => answer.reply.fail(context, StageKind::LanguageModel, error),
        }
    }

    fn advance(&mut self, context: &StageContext) {
        context.beat();
        if let Some(at) = self.next() {
            let goes_on = self.write(at, context);
            // Behind the others with as many sentences.
            let answer = self.active.remove(at);
            if goes_on {
                self.active.push(answer);
            }
        }
    }

    fn active(&self) -> Vec<SessionId> {
        self.active.iter().map(|answer| answer.reply.session).collect()
    }

    fn close(&mut self, session: SessionId) {
        self.active.retain(|answer| answer.reply.session != session);
        self.model.close(session);
    }
}

impl ActiveAnswer {
    fn is_wanted(&self, context: &StageContext) -> bool {
        self.reply.is_wanted() && context.is_current()
    }

    fn piece(&mut self, piece: &str, context: &StageContext) {
        if self.pieces == 0 {
            self.reply.send(context, StageResult::FirstToken);
        }
        self.pieces += 1;
        self.reply.send(context, StageResult::Piece(piece.to_owned()));
        for sentence in self.cutter.push(piece) {
            self.sentence(sentence, context);
        }
    }

    fn sentence(&mut self, sentence: String, context: &StageContext) {
        self.sentences += 1;
        if self.sentences == 1 {
            self.waits_until = Some(Instant::now() + HEAD_START);
        }
        self.reply.send(context, StageResult::Sentence(sentence));
    }

    fn finish(&mut self, context: &StageContext) {
        if self.is_wanted(context) {
            if let Some(sentence) = self.cutter.finish() {
                self.sentence(sentence, context);
            }
            self.reply.send(context, StageResult::Written);
        }
    }

    /// Ends the wait for the first sound once it is made, the time is over or the turn is.
    fn look_for_sound(&mut self) {
        let Some(until) = self.waits_until else { return };
        let is_made = self.begun.try_iter().any(|turn| turn == self.reply.turn);
        if is_made || Instant::now() >= until || !self.reply.is_wanted() {
            self.waits_until = None;
        }
    }

    fn wait_for_sound(&mut self) {
        match self.begun.recv_timeout(NOTICE) {
            Ok(turn) if turn == self.reply.turn => self.waits_until = None,
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.waits_until = None,
        }
    }
}
