//! An answer, from the moment it is prepared to its one end.

use super::command::{Ending, TurnCommand};
use super::command_buffer::{CommandBuffer, after};
use super::ledger::HeardText;
use super::settings::TurnSettings;
use crate::types::{Ms, TurnId};

#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) turn: TurnId,
    /// Where its question's sound begins: speech that goes on before anything is heard belongs to
    /// it.
    pub(super) asked_from: Ms,
    pub(super) ledger: HeardText,
    /// All of its sound is there.
    pub(super) complete: bool,
    pub(super) level: Level,
    /// Since when it makes room for somebody who speaks over it.
    pub(super) hushed: Option<Ms>,
    /// Since when it waits for a loudspeaker that is lost.
    pub(super) unheard_since: Option<Ms>,
    /// When it was last heard of.
    pub(super) last_sign: Ms,
    /// When a sound tells that Sotto thinks.
    pub(super) chime: Option<Ms>,
    /// How often it was interrupted by nothing.
    pub(super) false_alarms: u32,
}

/// How it is played.
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

    /// Whether it was begun and waits.
    pub(super) fn is_held(&self) -> bool {
        self.level == Level::Paused && self.ledger.is_audible()
    }

    /// Whether all of it was heard.
    pub(super) fn is_done(&self) -> bool {
        self.complete && self.ledger.is_played_out()
    }

    /// When it counts as hung. While it is paused it need not move, but the loudspeaker must come
    /// back.
    pub(super) fn stalls_at(&self, settings: &TurnSettings) -> Option<Ms> {
        if let Some(since) = self.unheard_since {
            return Some(after(since, settings.speaker_limit));
        }
        let patience = if self.ledger.is_audible() { settings.stall_limit } else { settings.think_limit };
        (self.level != Level::Paused).then(|| after(self.last_sign, patience))
    }

    /// Somebody perhaps speaks. Who asked may go on: before a word of the answer is heard it is
    /// held, so that no word of it need be taken back.
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

    /// Makes room for somebody who speaks. If it was often interrupted by nothing it is only
    /// ducked.
    pub(super) fn hush(&mut self, commands: &mut CommandBuffer, now: Ms, settings: &TurnSettings) {
        self.hushed.get_or_insert(now);
        if self.false_alarms < settings.false_alarms { self.pause(commands) } else { self.duck(commands) }
    }

    /// The same where only a word can stop it: it goes on softly, and if that was often for nothing
    /// as if nobody spoke.
    pub(super) fn soften(&mut self, commands: &mut CommandBuffer, now: Ms, settings: &TurnSettings) {
        if self.false_alarms < settings.false_alarms {
            self.hushed.get_or_insert(now);
            self.duck(commands);
        }
    }

    /// Waits for the loudspeaker, which is lost.
    pub(super) fn lose_speaker(&mut self, commands: &mut CommandBuffer, now: Ms) {
        self.unheard_since.get_or_insert(now);
        self.pause(commands);
    }

    /// The loudspeaker is back: goes on from the word where it stopped, unless it makes room for
    /// somebody who speaks.
    pub(super) fn find_speaker(&mut self, commands: &mut CommandBuffer, now: Ms) {
        if self.unheard_since.take().is_some() && self.hushed.is_none() {
            self.go_on(commands, now);
        }
    }

    /// Goes on at full level, once there is a loudspeaker.
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

    /// Its one end.
    pub(super) fn end(self, commands: &mut CommandBuffer, how: Ending) {
        let heard = if how == Ending::Done { self.ledger.text_end() } else { self.ledger.heard() };
        commands.say(TurnCommand::End { turn: self.turn, how, heard });
    }
}
