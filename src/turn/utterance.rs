//! Utterance of a person, from the first voiced sample to the moment when the turn is certain.

use super::answer::Answer;
use super::command::{Notice, TurnCommand};
use super::command_buffer::{CommandBuffer, after, latest};
use super::evidence::Evidence;
use super::input::TurnTranscript;
use super::settings::TurnSettings;
use super::words::tokens;
use crate::types::{Ms, TurnId};

/// Whether there is a voice at this moment, as voice activity tells it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum VoicePresence {
    /// None since.
    Quiet { since: Ms },
    /// Perhaps, since `since`; before it there was none since `quiet`.
    Seen { since: Ms, quiet: Ms },
    /// Somebody speaks.
    Speech,
}

impl VoicePresence {
    /// Since when no speech was confirmed.
    pub(super) fn quiet_since(self) -> Option<Ms> {
        match self {
            VoicePresence::Quiet { since } | VoicePresence::Seen { quiet: since, .. } => Some(since),
            VoicePresence::Speech => None,
        }
    }
}

/// One utterance. Each time it goes on after a pause it is revised: it gets a new number, and all
/// that was made for the older one is dropped.
#[derive(Clone, Debug)]
pub(super) struct TurnUtterance {
    pub(super) turn: TurnId,
    /// Moment at which it begins.
    pub(super) from: Ms,
    /// When it began under this number.
    pub(super) since: Ms,
    pub(super) reading: TranscriptState,
    /// Moment up to which a transcript was asked for.
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
    /// Whether it began over an answer.
    pub(super) over_answer: bool,
}

/// How far its words are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TranscriptState {
    /// The transcriber may follow it as it comes.
    Following,
    /// A transcript was asked for.
    Asked {
        at: Ms,
    },
    Done(TurnTranscript),
}

impl TurnUtterance {
    pub(super) fn open(commands: &mut CommandBuffer, from: Ms, now: Ms) -> TurnUtterance {
        let turn = commands.number();
        commands.say(TurnCommand::BeginRecognition { turn, from });
        TurnUtterance {
            turn,
            from,
            since: now,
            reading: TranscriptState::Following,
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

    /// Revises it: it goes on, or begins elsewhere, so its transcript and answer no longer hold.
    pub(super) fn revise(&mut self, commands: &mut CommandBuffer, from: Ms, now: Ms) {
        self.give_up(commands);
        *self = TurnUtterance { over_answer: self.over_answer, ..TurnUtterance::open(commands, from, now) };
    }

    /// Ends all work for it.
    pub(super) fn give_up(&mut self, commands: &mut CommandBuffer) {
        if !matches!(self.reading, TranscriptState::Done(_)) {
            commands.say(TurnCommand::CancelRecognition { turn: self.turn });
        }
        if let Some(ahead) = self.ahead.take() {
            commands.say(TurnCommand::Discard { turn: ahead.turn });
        }
    }

    /// Asks for the words up to `to`, unless they are there or on their way.
    pub(super) fn recognise(&mut self, commands: &mut CommandBuffer, to: Ms, now: Ms) {
        if self.reading == TranscriptState::Following {
            self.reading = TranscriptState::Asked { at: now };
            self.read_to = latest(self.from, to);
            commands.say(TurnCommand::Recognise { turn: self.turn, from: self.from, to: self.read_to });
        }
    }

    /// Whether more has been said than its words were asked for: they were looked for in the middle
    /// of the speech. What is decided in the middle is as it is.
    pub(super) fn is_read_in_part(&self, voice: VoicePresence) -> bool {
        voice.quiet_since().map_or(!self.decided, |quiet| self.read_to.0 < quiet.0)
    }

    /// Goes on under a new number where the transcript is not all of it, and asks again if it is
    /// all by now.
    pub(super) fn read_on(&mut self, commands: &mut CommandBuffer, from: Ms, voice: VoicePresence, now: Ms) {
        self.revise(commands, from, now);
        if let Some(quiet) = voice.quiet_since() {
            self.recognise(commands, quiet, now);
        }
    }

    pub(super) fn words(&self) -> Option<&TurnTranscript> {
        match &self.reading {
            TranscriptState::Done(transcript) => Some(transcript),
            _ => None,
        }
    }

    /// When the silence since `quiet` ends the turn, as far as is known now.
    pub(super) fn ends_at(&self, quiet: Ms, settings: &TurnSettings) -> Ms {
        after(latest(quiet, self.from), self.silence_needed(settings))
    }

    /// Evidence at a pause, once the transcript is there.
    pub(super) fn evidence(&self) -> Option<Evidence<'_>> {
        self.words().map(|transcript| Evidence { transcript, voice: self.score, words: self.weighed.flatten() })
    }

    /// The likelier it is that the turn is over, the less. Until the language model has weighed the
    /// words, as long as if nothing were known.
    fn silence_needed(&self, TurnSettings { end, weights, use_sentence_end, .. }: &TurnSettings) -> Ms {
        let unweighed = *use_sentence_end && self.ahead.is_some() && self.weighed.is_none();
        let evidence = self.evidence().filter(|_| !unweighed);
        let needed = match evidence.and_then(|evidence| evidence.over(weights)) {
            None => end.unlikely_silence,
            Some(over) if over >= end.likely => end.likely_silence,
            Some(over) if over >= end.possible => end.possible_silence,
            Some(over) if over >= end.doubtful => end.unlikely_silence,
            Some(_) => end.incomplete_silence,
        };
        latest(needed, end.likely_silence)
    }
}

/// Whether two transcripts say the same, whatever their marks and capitals.
pub(super) fn agree(a: &TurnTranscript, b: &TurnTranscript) -> bool {
    a.verdict == b.verdict && tokens(&a.text) == tokens(&b.text)
}
