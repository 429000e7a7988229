//! State of an answer, from its preparation to its end.

use super::command::{Ending, TurnCommand};
use super::command_buffer::{CommandBuffer, after};
use super::ledger::HeardText;
use super::settings::TurnSettings;
use crate::types::{Ms, TurnId};

#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) turn: TurnId,
    /// Start of the question's sound. Speech that continues before anything of the answer is heard
    /// belongs to the question.
    pub(super) asked_from: Ms,
    pub(super) ledger: HeardText,
    /// Whether all of the answer's sound has arrived.
    pub(super) complete: bool,
    pub(super) level: Level,
    /// Time at which speech over the answer ducked or paused it.
    pub(super) hushed: Option<Ms>,
    /// Time since when it waits for a lost loudspeaker.
    pub(super) unheard_since: Option<Ms>,
    /// Time of the last sign of progress.
    pub(super) last_sign: Ms,
    /// Time at which a sound tells the user that the answer is being computed.
    pub(super) chime: Option<Ms>,
    /// Number of interruptions that turned out to have no words.
    pub(super) false_alarms: u32,
}

/// Playback level of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Full,
    Ducked,
    Paused,
}

impl Answer {
    pub(super) fn new(turn: TurnId, asked_from: Ms, now: Ms) -> Answer {
        Answer {
            turn,
            asked_from,
            ledger: HeardText::default(),
            complete: false,
            level: Level::Full,
            hushed: None,
            unheard_since: None,
            last_sign: now,
            chime: None,
            false_alarms: 0,
        }
    }

    pub(super) fn confirm(&mut self, commands: &mut CommandBuffer, now: Ms, settings: &TurnSettings) {
        commands.say(TurnCommand::Confirm { turn: self.turn });
        self.last_sign = now;
        self.chime = settings.chime_after.map(|span| after(now, span));
    }

    /// Whether playback has begun and is paused.
    pub(super) fn is_held(&self) -> bool {
        self.level == Level::Paused && self.ledger.is_audible()
    }

    /// Whether all of it was heard.
    pub(super) fn is_done(&self) -> bool {
        self.complete && self.ledger.is_played_out()
    }

    /// Time at which the answer counts as hung. While it is paused it need not make progress, but a
    /// lost loudspeaker must come back.
    pub(super) fn stalls_at(&self, settings: &TurnSettings) -> Option<Ms> {
        if let Some(since) = self.unheard_since {
            return Some(after(since, settings.speaker_limit));
        }
        let patience = if self.ledger.is_audible() { settings.stall_limit } else { settings.think_limit };
        (self.level != Level::Paused).then(|| after(self.last_sign, patience))
    }

    /// Ducks the answer for a possible voice. Before a word of the answer was heard it is paused
    /// instead: the user may continue the question, and then no spoken word has to be taken back.
    pub(super) fn make_room(&mut self, commands: &mut CommandBuffer) {
        if self.ledger.heard() > 0 { self.duck(commands) } else { self.pause(commands) }
    }

    fn duck(&mut self, commands: &mut CommandBuffer) {
        if self.level == Level::Full {
            self.level = Level::Ducked;
            commands.say(TurnCommand::Duck { turn: self.turn });
        }
    }

    fn pause(&mut self, commands: &mut CommandBuffer) {
        if self.level != Level::Paused {
            self.level = Level::Paused;
            commands.say(TurnCommand::Pause { turn: self.turn });
        }
    }

    /// Pauses the answer because somebody speaks. After too many false alarms it is only ducked.
    pub(super) fn hush(&mut self, commands: &mut CommandBuffer, now: Ms, settings: &TurnSettings) {
        self.hushed.get_or_insert(now);
        if self.false_alarms < settings.false_alarms { self.pause(commands) } else { self.duck(commands) }
    }

    /// Ducks the answer while only a stop word can end it. After too many false alarms it stays at
    /// full level.
    pub(super) fn soften(&mut self, commands: &mut CommandBuffer, now: Ms, settings: &TurnSettings) {
        if self.false_alarms < settings.false_alarms {
            self.hushed.get_or_insert(now);
            self.duck(commands);
        }
    }

    /// Pauses until the lost loudspeaker is back.
    pub(super) fn lose_speaker(&mut self, commands: &mut CommandBuffer, now: Ms) {
        self.unheard_since.get_or_insert(now);
        self.pause(commands);
    }

    /// Continues from the word at which playback stopped, now that the loudspeaker is back. If
    /// somebody speaks over the answer, it stays paused.
    pub(super) fn find_speaker(&mut self, commands: &mut CommandBuffer, now: Ms) {
        if self.unheard_since.take().is_some() && self.hushed.is_none() {
            self.go_on(commands, now);
        }
    }

    /// Continues at full level, if there is a loudspeaker.
    pub(super) fn go_on(&mut self, commands: &mut CommandBuffer, now: Ms) {
        self.hushed = None;
        if self.unheard_since.is_some() {
            return;
        }
        match std::mem::replace(&mut self.level, Level::Full) {
            Level::Full => return,
            Level::Ducked => commands.say(TurnCommand::Unduck { turn: self.turn }),
            Level::Paused => commands.say(TurnCommand::Resume { turn: self.turn, from: self.ledger.word_start() }),
        }
        self.last_sign = now;
    }

    /// Ends the answer and reports how much of its text was heard.
    pub(super) fn end(self, commands: &mut CommandBuffer, how: Ending) {
        let heard = if how == Ending::Done { self.ledger.text_end() } else { self.ledger.heard() };
        commands.say(TurnCommand::End { turn: self.turn, how, heard });
    }
}
