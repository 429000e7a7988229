//! What a person is saying, from the first voiced sample to the moment when the turn is certain.

use super::answer::Answer;
use super::command::{Command, Notice};
use super::desk::{Desk, after, latest};
use super::evidence::Evidence;
use super::input::Transcript;
use super::settings::TurnSettings;
use super::words::tokens;
use crate::types::{Ms, TurnId};

/// Whether there is a voice at this moment, as voice activity tells it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Voice {
    /// None since.
    Quiet { since: Ms },
    /// Perhaps, since `since`; before it there was none since `quiet`.
    Seen { since: Ms, quiet: Ms },
    /// Somebody speaks.
    Speech,
}

impl Voice {
    /// Since when no speech was confirmed.
    pub(super) fn quiet_since(self) -> Option<Ms> {
        match self {
            Voice::Quiet { since } | Voice::Seen { quiet: since, .. } => Some(since),
            Voice::Speech => None,
        }
    }
}

/// One utterance. Each time it goes on after a pause it is revised: it gets a new number, and all that was made for the
/// older one is dropped.
#[derive(Clone, Debug)]
pub(super) struct Utterance {
    pub(super) turn: TurnId,
    /// Its first moment.
    pub(super) from: Ms,
    /// When it began under this number.
    pub(super) since: Ms,
    pub(super) reading: Reading,
    /// Up to where its words were asked for.
    pub(super) read_to: Ms,
    /// How likely the turn is complete, if anything has said so.
    pub(super) score: Option<f32>,
    /// How far its sound is like what the speaker played.
    pub(super) likeness: f32,
    /// How likely a sentence ends behind its words, once the language model has said what it can.
    pub(super) weighed: Option<Option<f32>>,
    /// The answer that is prepared in case the turn is over.
    pub(super) ahead: Option<Answer>,
    /// The turn is certain; only its words are waited for.
    pub(super) decided: bool,
    /// Why no answer to it could be prepared.
    pub(super) failed: Option<Notice>,
    /// It began over an answer.
    pub(super) over_answer: bool,
}

/// How far its words are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reading {
    /// The recogniser may follow it as it comes.
    Following,
    /// Its words were asked for.
    Asked {
        at: Ms,
    },
    Done(Transcript),
}

impl Utterance {
    pub(super) fn open(desk: &mut Desk, from: Ms, now: Ms) -> Utterance {
        let turn = desk.number();
        desk.say(Command::BeginRecognition { turn, from });
        Utterance {
            turn,
            from,
            since: now,
            reading: Reading::Following,
            read_to: from,
            score: None,
            likeness: 0.0,
            weighed: None,
            ahead: None,
            decided: false,
            failed: None,
            over_answer: false,
        }
    }

    /// It goes on, or begins elsewhere: what was made of it does not hold.
    pub(super) fn revise(&mut self, desk: &mut Desk, from: Ms, now: Ms) {
        self.give_up(desk);
        *self = Utterance { over_answer: self.over_answer, ..Utterance::open(desk, from, now) };
    }

    /// Ends all work for it.
    pub(super) fn give_up(&mut self, desk: &mut Desk) {
        if !matches!(self.reading, Reading::Done(_)) {
            desk.say(Command::CancelRecognition { turn: self.turn });
        }
        if let Some(ahead) = self.ahead.take() {
            desk.say(Command::Discard { turn: ahead.turn });
        }
    }

    /// Asks for the words up to `to`, unless they are there or on their way.
    pub(super) fn recognise(&mut self, desk: &mut Desk, to: Ms, now: Ms) {
        if self.reading == Reading::Following {
            self.reading = Reading::Asked { at: now };
            self.read_to = latest(self.from, to);
            desk.say(Command::Recognise { turn: self.turn, from: self.from, to: self.read_to });
        }
    }

    /// Whether more has been said than its words were asked for: they were looked for in the middle of the speech. What
    /// is decided in the middle is as it is.
    pub(super) fn is_read_in_part(&self, voice: Voice) -> bool {
        voice.quiet_since().map_or(!self.decided, |quiet| self.read_to.0 < quiet.0)
    }

    /// What was read is not all of it: listens on, under a new number, and asks again if it is all by now.
    pub(super) fn read_on(&mut self, desk: &mut Desk, from: Ms, voice: Voice, now: Ms) {
        self.revise(desk, from, now);
        if let Some(quiet) = voice.quiet_since() {
            self.recognise(desk, quiet, now);
        }
    }

    pub(super) fn words(&self) -> Option<&Transcript> {
        match &self.reading {
            Reading::Done(transcript) => Some(transcript),
            _ => None,
        }
    }

    /// When the silence since `quiet` ends the turn, as far as is known now.
    pub(super) fn ends_at(&self, quiet: Ms, settings: &TurnSettings) -> Ms {
        after(latest(quiet, self.from), self.silence_needed(settings))
    }

    /// What is known of it at a pause, once its words are there.
    pub(super) fn evidence(&self) -> Option<Evidence<'_>> {
        self.words().map(|transcript| Evidence { transcript, voice: self.score, words: self.weighed.flatten() })
    }

    /// The likelier it is that the turn is over, the less. Until the language model has weighed the words, as long as if
    /// nothing were known.
    fn silence_needed(&self, TurnSettings { end, weights, weigh_words, .. }: &TurnSettings) -> Ms {
        let unweighed = *weigh_words && self.ahead.is_some() && self.weighed.is_none();
        let evidence = self.evidence().filter(|_| !unweighed);
        let needed = match evidence.and_then(|evidence| evidence.over(weights)) {
            None => end.long,
            Some(over) if over >= end.likely => end.short,
            Some(over) if over >= end.possible => end.middle,
            Some(over) if over >= end.doubtful => end.long,
            Some(_) => end.hanging,
        };
        latest(needed, end.short)
    }
}

/// Whether two transcripts say the same, whatever their marks and capitals.
pub(super) fn agree(a: &Transcript, b: &Transcript) -> bool {
    a.verdict == b.verdict && tokens(&a.text) == tokens(&b.text)
}
