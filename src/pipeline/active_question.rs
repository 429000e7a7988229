//! State of one question in progress: its results so far, and the part of them that the listener
//! already has.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::once::{OnceAnswer, OnceOutcome, Sink};
use super::stage::Result;
use crate::asr::{Transcript, Verdict};
use crate::observe::{Event, Journal, Timings};
use crate::types::{Frame, Ms, TurnId};

/// Amplitude from which a sample is audible: -50 dBFS.
const AUDIBLE: f32 = 0.003;

/// Question that is being answered.
pub(super) struct ActiveQuestion<'a> {
    pub(super) turn: TurnId,
    sink: &'a mut dyn Sink,
    /// Length of the speech, once there was some.
    pub(super) heard: Option<Ms>,
    pub(super) file_over: bool,
    decided: bool,
    pub(super) transcript: Option<Transcript>,
    reply: String,
    /// Text and sound of a turn that is not yet certain.
    held: Vec<Held>,
    audible: bool,
    pub(super) spoken: bool,
}

enum Held {
    Text(String),
    Sound(Frame),
}

impl<'a> ActiveQuestion<'a> {
    pub(super) fn new(turn: TurnId, sink: &'a mut dyn Sink) -> Self {
        ActiveQuestion {
            turn,
            sink,
            heard: None,
            file_over: false,
            decided: false,
            transcript: None,
            reply: String::new(),
            held: Vec::new(),
            audible: false,
            spoken: false,
        }
    }

    /// Starts the question again under a new number, because speech went on.
    pub(super) fn restart(&mut self, turn: TurnId) -> Result<()> {
        self.turn = turn;
        self.decided = false;
        self.transcript = None;
        self.reply.clear();
        self.held.clear();
        self.audible = false;
        self.spoken = false;
        self.sink.begin()
    }

    pub(super) fn decide(&mut self, journal: &Journal) -> Result<()> {
        if self.decided {
            return Ok(());
        }
        self.decided = true;
        journal.note(self.turn, Event::TurnDecided);
        for held in std::mem::take(&mut self.held) {
            match held {
                Held::Text(piece) => self.sink.text(&piece)?,
                Held::Sound(frame) => self.play(&frame, journal)?,
            }
        }
        Ok(())
    }

    pub(super) fn piece(&mut self, piece: String) -> Result<()> {
        self.reply.push_str(&piece);
        if self.decided {
            return self.sink.text(&piece);
        }
        self.held.push(Held::Text(piece));
        Ok(())
    }

    pub(super) fn sound(&mut self, frame: Frame, journal: &Journal) -> Result<()> {
        if self.decided {
            return self.play(&frame, journal);
        }
        self.held.push(Held::Sound(frame));
        Ok(())
    }

    fn play(&mut self, frame: &Frame, journal: &Journal) -> Result<()> {
        let first_audible = || frame.samples.iter().position(|sample| sample.abs() >= AUDIBLE);
        if let Some(offset) = (!self.audible).then(first_audible).flatten() {
            self.audible = true;
            let until = frame.rate.duration(offset).0 / 1000.0;
            journal.note_at(self.turn, Instant::now() + Duration::from_secs_f64(until), Event::FirstAudible);
        }
        self.sink.sound(&frame.samples)
    }

    /// Outcome of the question, once no more results can arrive.
    pub(super) fn outcome(&mut self, journal: &Journal) -> Result<Option<OnceOutcome>> {
        if !self.file_over {
            return Ok(None);
        }
        let Some(heard) = self.heard else {
            return Ok(Some(OnceOutcome::Silence { why: "no speech was found".to_owned() }));
        };
        let Some(transcript) = &self.transcript else { return Ok(None) };
        if let Verdict::Nothing(why) = &transcript.verdict {
            return Ok(Some(OnceOutcome::Silence { why: why.to_string() }));
        }
        if !(self.spoken && self.decided) {
            return Ok(None);
        }
        journal.note(self.turn, Event::Done);
        let timings = Timings::of(&journal.of(self.turn)).context("the turn has no last speech sample")?;
        Ok(Some(OnceOutcome::Answered(Box::new(OnceAnswer {
            transcript: transcript.clone(),
            reply: self.reply.trim().to_owned(),
            heard,
            timings,
        }))))
    }
}
