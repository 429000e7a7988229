//! A voice over the answer: voice ducks it, speech pauses it, words end it, and everything else
//! lets it go on.

use super::answer::Answer;
use super::command::Ending;
use super::command_buffer::after;
use super::input::{TurnTranscript, TurnVerdict};
use super::machine::{Machine, TurnPhase};
use super::settings::{BargeIn, TurnSettings};
use super::utterance::{TranscriptState, TurnUtterance, VoicePresence};
use super::words::{asks_to_stop, is_backchannel, is_echo, is_stop, tokens};
use crate::types::{Ms, TurnId};

/// Whether somebody wants the floor by these words, said over `answer` in sound so like it.
/// Doubtful words do not: what a television says from afar would end every answer, and who is not
/// understood hears that he was not.
fn claims_floor(answer: &Answer, transcript: &TurnTranscript, likeness: f32, settings: &TurnSettings) -> bool {
    let TurnTranscript { text, language, verdict, .. } = transcript;
    if *verdict != TurnVerdict::Certain {
        return false;
    }
    let said = answer.ledger.spoken_within(settings.echo_window);
    match settings.barge_in {
        BargeIn::On if is_echo(text, &said, true) => false,
        BargeIn::On if likeness < settings.own_sound => !tokens(text).is_empty() && !is_backchannel(text, language),
        BargeIn::On | BargeIn::Stop => asks_to_stop(text, &said),
        BargeIn::Off => false,
    }
}

impl Machine {
    pub(super) fn duck_answer(&mut self) {
        if self.settings.barge_in != BargeIn::On {
            return;
        }
        if let TurnPhase::Answering(answer) | TurnPhase::Interrupted { answer, .. } = &mut self.state {
            answer.make_room(&mut self.commands);
        }
    }

    /// The voice was none: what it did is undone, but not what speech before it did.
    pub(super) fn unduck_answer(&mut self) {
        match &mut self.state {
            TurnPhase::Answering(answer) => answer.go_on(&mut self.commands, self.now),
            TurnPhase::Interrupted { answer, .. } if answer.hushed.is_none() => {
                answer.go_on(&mut self.commands, self.now)
            }
            _ => {}
        }
    }

    /// Somebody speaks over the answer since `since`.
    pub(super) fn interrupt(&mut self, since: Ms) {
        match self.take_state() {
            TurnPhase::Answering(mut answer) if self.settings.barge_in != BargeIn::Off => {
                if self.settings.barge_in == BargeIn::On {
                    answer.hush(&mut self.commands, self.now, &self.settings);
                }
                let over = TurnUtterance::open(&mut self.commands, since, self.now);
                self.state = TurnPhase::Interrupted { answer, over: TurnUtterance { over_answer: true, ..over } };
            }
            other => self.state = other,
        }
    }

    /// What is said over the answer is so like it. Where only a stop word counts, an answer is
    /// softer while that is looked for, unless it is only its own sound.
    pub(super) fn compare_with_played(&mut self, turn: TurnId, likeness: f32) {
        let Some(utterance) = self.utterance_mut().filter(|it| it.turn == turn && likeness.is_finite()) else { return };
        utterance.likeness = likeness;
        if let TurnPhase::Interrupted { answer, .. } = &mut self.state
            && (self.settings.barge_in, self.voice) == (BargeIn::Stop, VoicePresence::Speech)
            && likeness < self.settings.own_sound
        {
            answer.soften(&mut self.commands, self.now, &self.settings);
        }
    }

    /// Who spoke over the answer and paused speaks on. Words that were asked for in the pause may
    /// still show that there are some: of speech that pauses often no other would ever be read.
    /// Where only a stop word counts, each piece between pauses is read for itself: it may be our
    /// own voice, which goes on for long.
    pub(super) fn interrupt_again(&mut self, since: Ms) {
        let stops_only = self.settings.barge_in == BargeIn::Stop;
        let TurnPhase::Interrupted { answer, over } = &mut self.state else { return };
        if self.now.0 >= after(over.from, self.settings.longest_turn).0 {
            return;
        }
        match over.reading {
            TranscriptState::Following => return,
            TranscriptState::Asked { .. } => (over.decided, over.score) = (false, None),
            TranscriptState::Done(_) => {
                over.revise(&mut self.commands, if stops_only { since } else { over.from }, self.now)
            }
        }
        if !stops_only {
            answer.hush(&mut self.commands, self.now, &self.settings);
        }
    }

    /// When speech that goes on is looked through for words. No longer once the answer plays on
    /// under it.
    pub(super) fn word_check_due(&self) -> Option<Ms> {
        match (&self.state, self.voice) {
            (TurnPhase::Interrupted { answer, over }, VoicePresence::Speech)
                if answer.hushed.is_some() && over.reading == TranscriptState::Following =>
            {
                Some(after(over.since, self.settings.word_check))
            }
            _ => None,
        }
    }

    pub(super) fn check_for_words(&mut self) {
        if let TurnPhase::Interrupted { over, .. } = &mut self.state {
            over.recognise(&mut self.commands, self.now, self.now);
        }
    }

    /// When an interruption without words has lasted too long.
    pub(super) fn no_words_due(&self) -> Option<Ms> {
        match &self.state {
            TurnPhase::Interrupted { answer, .. } => answer.hushed.map(|at| after(at, self.settings.word_limit)),
            _ => None,
        }
    }

    /// A false alarm, so far: the answer plays on, and who speaks may still turn out to say
    /// something.
    pub(super) fn let_answer_go_on(&mut self) {
        let TurnPhase::Interrupted { answer, .. } = &mut self.state else { return };
        if answer.hushed.is_some() {
            answer.false_alarms += 1;
            answer.go_on(&mut self.commands, self.now);
        }
    }

    pub(super) fn read_partial(&mut self, turn: TurnId, transcript: &TurnTranscript) {
        let TurnPhase::Interrupted { answer, over } = &self.state else { return };
        let open = over.turn == turn && over.words().is_none();
        if open && claims_floor(answer, transcript, over.likeness, &self.settings) {
            self.yield_floor(transcript);
        }
    }

    pub(super) fn read_interruption(&mut self, transcript: TurnTranscript) {
        let TurnPhase::Interrupted { answer, over } = &mut self.state else { return };
        if !matches!(over.reading, TranscriptState::Asked { .. }) {
            return;
        }
        let claims = claims_floor(answer, &transcript, over.likeness, &self.settings);
        over.reading = TranscriptState::Done(transcript.clone());
        if claims {
            self.yield_floor(&transcript);
        } else if over.is_read_in_part(self.voice) {
            over.read_on(&mut self.commands, over.from, self.voice, self.now);
        } else {
            self.let_answer_go_on();
            self.dismiss();
        }
    }

    /// Drops an utterance over the answer that is over and claims nothing; the answer goes on
    /// already.
    pub(super) fn dismiss(&mut self) {
        match self.take_state() {
            TurnPhase::Interrupted { answer, over } if over.decided && over.words().is_some() => {
                self.state = TurnPhase::Answering(answer);
            }
            other => self.state = other,
        }
    }

    /// Words: the answer ends for good, and what is being said is the next turn, or the rest of the
    /// question when no word of the answer was heard yet.
    fn yield_floor(&mut self, transcript: &TurnTranscript) {
        if self.settings.barge_in == BargeIn::Stop {
            return self.finish(Ending::Interrupted);
        }
        let TurnPhase::Interrupted { answer, mut over } = self.take_state() else { return };
        let room = self.now.0 < after(answer.asked_from, self.settings.longest_turn).0;
        if answer.ledger.heard() > 0 || is_stop(&transcript.text) || !room {
            self.end_answer(answer, Ending::Interrupted);
            let read = over.words().is_some();
            self.state = TurnPhase::Hearing(over);
            if read {
                self.use_words();
            }
            return;
        }
        let from = answer.asked_from;
        self.end_answer(answer, Ending::Revised);
        over.over_answer = false;
        over.read_on(&mut self.commands, from, self.voice, self.now);
        self.state = TurnPhase::Hearing(over);
    }
}
