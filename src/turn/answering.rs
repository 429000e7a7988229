//! Handling of an answer: its progress, its playback and its end.

use super::answer::Answer;
use super::command::{EarconKind, Ending, Notice, TurnCommand};
use super::command_buffer::{after, latest};
use super::input::{AnswerEvent, PlaybackEvent, TurnStage};
use super::machine::{Machine, Recent, TurnPhase};
use super::settings::BargeIn;
use crate::types::{Ms, TurnId};

impl Machine {
    pub(super) fn follow_answer(&mut self, turn: TurnId, event: AnswerEvent) {
        let now = self.now;
        let Some(answer) = self.answer_mut(turn) else { return };
        answer.last_sign = now;
        match event {
            AnswerEvent::FirstSentence => {}
            AnswerEvent::Complete => answer.complete = true,
            AnswerEvent::Sound { .. } if answer.complete => {}
            AnswerEvent::Sound { length, at, text } => {
                if answer.ledger.push(length, at, text).is_err() {
                    self.fail_answer(Notice::AnswerTooLong);
                }
            }
        }
        self.settle();
    }

    pub(super) fn follow_playback(&mut self, turn: TurnId, event: PlaybackEvent) {
        let now = self.now;
        let (TurnPhase::Answering(answer) | TurnPhase::Interrupted { answer, .. }) = &mut self.state else { return };
        // The device counts the sound inside a lost loudspeaker as played, but it is unknown
        // whether it was heard.
        if answer.turn != turn || answer.unheard_since.is_some() {
            return;
        }
        answer.last_sign = now;
        match event {
            PlaybackEvent::Played { position } => answer.ledger.played(position),
            PlaybackEvent::Drained if answer.complete => answer.ledger.played_all(),
            // The synthesizer is slower than the loudspeaker; more sound will follow.
            PlaybackEvent::Drained => {}
        }
        if answer.ledger.is_audible() {
            answer.chime = None;
        }
        self.settle();
    }

    /// Ends the answer once all of it was heard.
    pub(super) fn settle(&mut self) {
        if self.active().is_some_and(Answer::is_done) {
            self.finish(Ending::Done);
        }
    }

    /// Ends the confirmed answer, if there is one. A person who speaks over it then has the turn,
    /// unless the sound may be the answer's own echo.
    pub(super) fn finish(&mut self, how: Ending) {
        match self.take_state() {
            TurnPhase::Answering(answer) => self.end_answer(answer, how),
            TurnPhase::Interrupted { answer, mut over } if self.settings.barge_in != BargeIn::On => {
                over.give_up(&mut self.commands);
                self.end_answer(answer, how);
            }
            TurnPhase::Interrupted { answer, over } => {
                self.end_answer(answer, how);
                self.state = TurnPhase::Hearing(over);
            }
            other => self.state = other,
        }
    }

    pub(super) fn end_answer(&mut self, answer: Answer, how: Ending) {
        let text = answer.ledger.spoken_within(self.settings.echo_window);
        if !text.is_empty() {
            self.recent = Some(Recent { text, until: after(self.now, self.settings.echo_tail) });
        }
        let until = after(self.now, self.settings.follow_up);
        self.attentive_until = Some(self.attentive_until.map_or(until, |earlier| latest(earlier, until)));
        answer.end(&mut self.commands, how);
    }

    /// Handles an answer that cannot be given. If its turn is not certain yet, the failure is
    /// reported only once it is.
    fn fail_answer(&mut self, notice: Notice) {
        if let TurnPhase::Hearing(utterance) = &mut self.state {
            if let Some(ahead) = utterance.ahead.take() {
                self.commands.say(TurnCommand::Discard { turn: ahead.turn });
                utterance.failed = Some(notice);
            }
        } else {
            self.finish(Ending::Failed);
            self.commands.say(TurnCommand::Notice(notice));
        }
    }

    /// Gives up an answer that has made no progress for too long.
    pub(super) fn give_up_answer(&mut self) {
        let playing = self.active().is_some_and(|it| it.ledger.is_audible() || it.unheard_since.is_some());
        let stage = if playing { TurnStage::Playback } else { TurnStage::LanguageModel };
        self.fail_answer(Notice::StageHangs(stage));
    }

    pub(super) fn stage_failed(&mut self, stage: TurnStage, turn: Option<TurnId>) {
        let concerns_words = matches!(stage, TurnStage::Detector | TurnStage::Transcriber);
        let notice = Notice::StageFailed(stage);
        let unread = self.utterance().filter(|utterance| utterance.words().is_none()).map(|utterance| utterance.turn);
        let answering = self.answer_mut_any().map(|answer| answer.turn);
        let meant = |work: Option<TurnId>| work.is_some() && (turn.is_none() || turn == work);
        if !concerns_words && meant(answering) {
            self.fail_answer(notice);
        } else if concerns_words && meant(unread) {
            self.drop_utterance();
            self.commands.say(TurnCommand::Notice(notice));
        } else if turn.is_none() {
            self.commands.say(TurnCommand::Notice(notice));
        }
    }

    pub(super) fn chime_due(&self) -> Option<Ms> {
        match &self.state {
            TurnPhase::Answering(answer) => answer.chime,
            _ => None,
        }
    }

    pub(super) fn chime(&mut self) {
        if let TurnPhase::Answering(answer) = &mut self.state
            && answer.chime.take().is_some()
        {
            self.commands.say(TurnCommand::Earcon(EarconKind::Thinking));
        }
    }

    /// Returns the answer of this turn, prepared or confirmed.
    fn answer_mut(&mut self, turn: TurnId) -> Option<&mut Answer> {
        self.answer_mut_any().filter(|answer| answer.turn == turn)
    }

    fn answer_mut_any(&mut self) -> Option<&mut Answer> {
        match &mut self.state {
            TurnPhase::Hearing(utterance) => utterance.ahead.as_mut(),
            TurnPhase::Answering(answer) | TurnPhase::Interrupted { answer, .. } => Some(answer),
            TurnPhase::Listening => None,
        }
    }
}
