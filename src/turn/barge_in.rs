//! Barge-in: a voice ducks the answer, speech pauses it, words end it, and after anything else it
//! goes on.

use super::answer::Answer;
use super::command::Ending;
use super::command_buffer::after;
use super::input::{TurnTranscript, TurnVerdict};
use super::machine::{Machine, TurnPhase};
use super::settings::{BargeIn, TurnSettings};
use super::utterance::{TranscriptState, TurnUtterance, VoicePresence};
use super::words::{asks_to_stop, is_backchannel, is_echo, is_stop, tokens};
use crate::types::{Ms, TurnId};

/// Whether a transcript, spoken over `answer`, takes the turn. `likeness` is the similarity of its
/// sound to the played sound. A doubtful transcript does not take it: otherwise a distant
/// television would end every answer. A person who was misunderstood notices that the answer goes
/// on.
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

    /// Undoes the ducking for a voice that was none. The effect of earlier speech stays.
    pub(super) fn unduck_answer(&mut self) {
        match &mut self.state {
            TurnPhase::Answering(answer) => answer.go_on(&mut self.commands, self.now),
            TurnPhase::Interrupted { answer, .. } if answer.hushed.is_none() => {
                answer.go_on(&mut self.commands, self.now)
            }
            _ => {}
        }
    }

    /// Handles speech over the answer that began at `since`.
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

    /// Records how similar the speech over the answer is to the played sound. Where only a stop
    /// word can end the answer, the answer is ducked while the word is looked for, unless the sound
    /// is only its own echo.
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

    /// Handles speech that goes on after a pause, over the answer. Words that were requested in the
    /// pause are still used: with speech that pauses often, no others would ever be transcribed.
    /// Where only a stop word counts, each piece between pauses is transcribed alone, since it may
    /// be the answer's own echo, which goes on for long.
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

    /// Time at which speech that goes on is transcribed to look for words; `None` once the answer
    /// plays on under it.
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

    /// Time at which an interruption without words has lasted too long.
    pub(super) fn no_words_due(&self) -> Option<Ms> {
        match &self.state {
            TurnPhase::Interrupted { answer, .. } => answer.hushed.map(|at| after(at, self.settings.word_limit)),
            _ => None,
        }
    }

    /// Lets the answer play on after what seems to be a false alarm. The words of the person may
    /// still interrupt it later.
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

    /// Drops a finished utterance over the answer that does not take the turn. The answer is
    /// already playing on.
    pub(super) fn dismiss(&mut self) {
        match self.take_state() {
            TurnPhase::Interrupted { answer, over } if over.decided && over.words().is_some() => {
                self.state = TurnPhase::Answering(answer);
            }
            other => self.state = other,
        }
    }

    /// Ends the answer for good because of words. The utterance becomes the next turn, or the rest
    /// of the question if no word of the answer was heard yet.
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
