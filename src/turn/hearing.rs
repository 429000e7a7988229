//! Handling of speech while no answer is active, and the decision that a turn is certain.

use super::answer::Answer;
use super::command::{Notice, Reply, TurnCommand};
use super::command_buffer::after;
use super::input::{TurnStage, TurnTranscript, TurnVerdict, VoiceEvent};
use super::machine::{Machine, TurnPhase};
use super::utterance::{TranscriptState, TurnUtterance, VoicePresence, agree};
use super::words::{is_echo, is_stop, word_count};
use crate::types::{Ms, TurnId};

impl Machine {
    pub(super) fn hear_voice(&mut self, event: VoiceEvent) {
        if !self.ears_are_open() {
            return;
        }
        match (event, self.voice) {
            (VoiceEvent::Seen { since }, VoicePresence::Quiet { since: quiet }) => {
                self.voice = VoicePresence::Seen { since: self.moment(since), quiet };
                self.duck_answer();
            }
            (VoiceEvent::Lost | VoiceEvent::Ended { .. }, VoicePresence::Seen { .. }) => self.voice_lost(),
            (
                VoiceEvent::Confirmed { since } | VoiceEvent::Resumed { since },
                VoicePresence::Quiet { .. } | VoicePresence::Seen { .. },
            ) => {
                let since = self.moment(since);
                self.voice = VoicePresence::Speech;
                self.speech_confirmed(since);
            }
            (VoiceEvent::Paused { since } | VoiceEvent::Ended { since }, VoicePresence::Speech) => {
                let since = self.moment(since);
                self.voice = VoicePresence::Quiet { since };
                self.read_up_to(since);
            }
            _ => {}
        }
    }

    /// Handles a possible voice that turned out to be none.
    pub(super) fn voice_lost(&mut self) {
        if let VoicePresence::Seen { quiet, .. } = self.voice {
            self.voice = VoicePresence::Quiet { since: quiet };
            self.unduck_answer();
        }
    }

    fn speech_confirmed(&mut self, since: Ms) {
        let attentive = self.is_attentive_at(since);
        match &mut self.state {
            TurnPhase::Listening if attentive => self.open_utterance(since),
            TurnPhase::Listening => {}
            TurnPhase::Hearing(utterance) => {
                let whole = self.now.0 >= after(utterance.from, self.settings.longest_turn).0;
                if utterance.reading != TranscriptState::Following && !whole {
                    utterance.revise(&mut self.commands, utterance.from, self.now);
                }
            }
            TurnPhase::Answering(_) => self.interrupt(since),
            TurnPhase::Interrupted { .. } => self.interrupt_again(since),
        }
    }

    fn open_utterance(&mut self, from: Ms) {
        self.state = TurnPhase::Hearing(TurnUtterance::open(&mut self.commands, from, self.now));
    }

    /// Requests the words so far, since the turn may be over.
    fn read_up_to(&mut self, to: Ms) {
        let (commands, now) = (&mut self.commands, self.now);
        if let TurnPhase::Hearing(utterance) | TurnPhase::Interrupted { over: utterance, .. } = &mut self.state {
            utterance.recognise(commands, to, now);
        }
    }

    pub(super) fn hear_score(&mut self, turn: TurnId, probability: f32) {
        if let Some(utterance) = self.utterance_mut().filter(|utterance| utterance.turn == turn)
            && probability.is_finite()
        {
            utterance.score = Some(probability);
        }
    }

    pub(super) fn words_weighed(&mut self, turn: TurnId, probability: Option<f32>) {
        if let Some(utterance) = self.utterance_mut().filter(|utterance| utterance.turn == turn) {
            utterance.weighed = Some(probability.filter(|probability| probability.is_finite()));
        }
    }

    /// Handles a transcript that was requested.
    pub(super) fn read(&mut self, turn: TurnId, transcript: TurnTranscript) {
        match &self.state {
            TurnPhase::Hearing(utterance) if utterance.turn == turn => self.read_question(transcript),
            TurnPhase::Interrupted { over, .. } if over.turn == turn => self.read_interruption(transcript),
            _ => {}
        }
    }

    fn read_question(&mut self, transcript: TurnTranscript) {
        let TurnPhase::Hearing(utterance) = &mut self.state else { return };
        match &utterance.reading {
            TranscriptState::Following => return,
            TranscriptState::Asked { .. } => {}
            // Same transcript again: the prepared answer is still valid.
            TranscriptState::Done(before) if agree(before, &transcript) => return,
            TranscriptState::Done(_) => {
                utterance.give_up(&mut self.commands);
                utterance.turn = self.commands.number();
                utterance.weighed = None;
            }
        }
        utterance.reading = TranscriptState::Done(transcript);
        self.use_words();
    }

    /// Uses the transcript of the utterance: prepares the answer to it, or listens on if it does
    /// not cover all of the speech.
    pub(super) fn use_words(&mut self) {
        let TurnPhase::Hearing(utterance) = &mut self.state else { return };
        if utterance.is_read_in_part(self.voice) {
            utterance.read_on(&mut self.commands, utterance.from, self.voice, self.now);
            return;
        }
        self.prepare();
        self.conclude();
    }

    fn prepare(&mut self) {
        let TurnPhase::Hearing(utterance) = &self.state else { return };
        let Some(reply) = self.reply_to(utterance) else { return };
        let TurnPhase::Hearing(utterance) = &mut self.state else { return };
        let turn = utterance.turn;
        utterance.ahead = Some(Answer::new(turn, utterance.from, self.now));
        self.commands.say(TurnCommand::Prepare { turn, reply });
    }

    fn reply_to(&self, utterance: &TurnUtterance) -> Option<Reply> {
        let TurnTranscript { text, language, verdict, .. } = utterance.words()?;
        let words = word_count(text);
        let stops = utterance.over_answer && is_stop(text);
        let echoes = self
            .recent
            .as_ref()
            .is_some_and(|recent| utterance.from.0 <= recent.until.0 && is_echo(text, &recent.text, false));
        match verdict {
            TurnVerdict::Nothing => None,
            _ if stops || echoes => None,
            TurnVerdict::Doubtful => Some(Reply::AskAgain),
            TurnVerdict::Certain if words == 0 => None,
            TurnVerdict::Certain => Some(Reply::To { text: text.clone(), language: language.clone() }),
        }
    }

    /// Ends the turn, even if its transcript has not arrived.
    pub(super) fn decide(&mut self) {
        let (commands, now) = (&mut self.commands, self.now);
        if let TurnPhase::Hearing(utterance) | TurnPhase::Interrupted { over: utterance, .. } = &mut self.state {
            utterance.decided = true;
            utterance.recognise(commands, now, now);
            self.conclude();
            self.dismiss();
        }
    }

    /// Confirms the answer, once the turn is certain and its transcript has arrived.
    fn conclude(&mut self) {
        if !matches!(&self.state, TurnPhase::Hearing(utterance) if utterance.decided && utterance.words().is_some()) {
            return;
        }
        let TurnPhase::Hearing(utterance) = self.take_state() else { return };
        if let Some(mut answer) = utterance.ahead {
            answer.confirm(&mut self.commands, self.now, &self.settings);
            if self.gates.no_speaker {
                answer.lose_speaker(&mut self.commands, self.now);
            }
            self.state = TurnPhase::Answering(answer);
            self.settle();
        } else if let Some(notice) = utterance.failed {
            self.commands.say(TurnCommand::Notice(notice));
        }
    }

    pub(super) fn give_up_words(&mut self) {
        self.commands.say(TurnCommand::Notice(Notice::StageHangs(TurnStage::Transcriber)));
        self.drop_utterance();
    }

    /// Drops the current utterance; an answer under it goes on.
    pub(super) fn drop_utterance(&mut self) {
        match self.take_state() {
            TurnPhase::Hearing(mut utterance) => utterance.give_up(&mut self.commands),
            TurnPhase::Interrupted { mut answer, mut over } => {
                over.give_up(&mut self.commands);
                answer.go_on(&mut self.commands, self.now);
                self.state = TurnPhase::Answering(answer);
            }
            other => self.state = other,
        }
    }

    /// Handles the wake word.
    pub(super) fn hear_wake_word(&mut self, until: Ms) {
        if !self.ears_are_open() {
            return;
        }
        self.listen_from(until);
        // The wake word is not part of the question.
        if let TurnPhase::Hearing(utterance) = &mut self.state
            && utterance.from.0 < until.0
        {
            utterance.revise(&mut self.commands, until, self.now);
        }
    }

    /// Starts to listen on request, by key or wake word. If somebody is already speaking,
    /// everything after `from` counts.
    pub(super) fn listen_from(&mut self, from: Ms) {
        self.fall_silent();
        self.attend(self.settings.wake_window);
        if matches!((&self.state, self.voice), (TurnPhase::Listening, VoicePresence::Speech)) {
            self.open_utterance(from);
        }
    }
}
