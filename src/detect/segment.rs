//! Segmentation of sound into turns by the probability of speech: a pure state machine.

use std::ops::Range;

use super::FRAME;
use super::energy::Fall;
use crate::config::DetectPlan;
use crate::types::{Ms, SampleRate};

/// Silence after which a turn may be over, long before that is certain: recognition can begin
/// early. 64 ms, two frames: of 72 recorded utterances 27 contain a pause of 200 ms, so many of
/// these early starts are withdrawn.
const PAUSE: u64 = 2 * FRAME as u64;
/// Silence after which a sound too short for speech is discarded: 128 ms; the closure of a stop
/// consonant is shorter.
const FORGOTTEN: u64 = 4 * FRAME as u64;

/// Event at a frame. Positions are samples at 16 kHz from the start of the sound.
#[derive(Clone, Debug, PartialEq)]
pub enum SpeechEvent {
    /// Speech began at `at`.
    Started { at: u64 },
    /// A short silence began at `at`: perhaps the end of the turn.
    Paused { at: u64 },
    /// The voice is back: the pause was not the end.
    Resumed { at: u64 },
    /// The turn is over.
    TurnEnded(SegmentedTurn),
}

/// A stretch of speech.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentedTurn {
    /// First sample of speech.
    pub start: u64,
    /// Position after the last sample of speech, by the voice activity detector; see
    /// [`super::speech_end`].
    pub end: u64,
    /// Range to recognise: the speech with its padding. It never overlaps the previous turn.
    pub keep: Range<u64>,
}

/// Segments a sound by its probabilities of speech, one for each frame of [`FRAME`] samples.
#[derive(Clone, Debug)]
pub struct Segmenter {
    speech_threshold: f32,
    silence_threshold: f32,
    min_speech: u64,
    min_silence: u64,
    speech_pad: u64,
    max_turn: u64,
    /// Number of samples so far.
    heard: u64,
    /// End of the last turn's kept range: the next begins no earlier.
    free: u64,
    fall: Fall,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Silent,
    /// Possible voice: `voiced` samples of it since `start`.
    Candidate {
        start: u64,
        voiced: u64,
        quiet: Option<u64>,
    },
    /// Turn in progress. `quiet` is the start of a silence, `paused` whether it was reported.
    Speaking {
        start: u64,
        quiet: Option<u64>,
        paused: bool,
    },
}

impl Segmenter {
    pub fn new(hear: &DetectPlan) -> Self {
        let samples = |span: Ms| SampleRate::HEARING.samples(span) as u64;
        Segmenter {
            speech_threshold: hear.speech_threshold,
            silence_threshold: hear.silence_threshold,
            min_speech: samples(hear.min_speech),
            min_silence: samples(hear.min_silence),
            speech_pad: samples(hear.speech_pad),
            max_turn: samples(hear.max_turn).max(FRAME as u64),
            heard: 0,
            free: 0,
            fall: Fall::default(),
            state: State::Silent,
        }
    }

    /// Takes the probability of the next frame.
    pub fn push(&mut self, probability: f32) -> Option<SpeechEvent> {
        self.take(probability, false)
    }

    /// Takes the probability of the next frame and the power of its loudest part: speech is over as
    /// soon as its energy falls.
    pub fn push_with_power(&mut self, probability: f32, loudest: f32) -> Option<SpeechEvent> {
        let silent = self.fall.is_silent(loudest);
        self.take(probability, silent)
    }

    /// Whether a voice may be coming back, by the power of sound that is not yet a whole frame.
    pub fn may_resume(&self, loudest: f32) -> bool {
        let quiet = matches!(self.state, State::Silent | State::Speaking { paused: true, .. });
        quiet && self.fall.is_broken_by(loudest)
    }

    fn take(&mut self, probability: f32, silent: bool) -> Option<SpeechEvent> {
        let at = self.heard;
        self.heard += FRAME as u64;
        match self.state {
            State::Silent if probability >= self.speech_threshold => {
                self.state = State::Candidate { start: at, voiced: 0, quiet: None };
                self.confirm(at, at, 0, None)
            }
            State::Silent => None,
            State::Candidate { start, voiced, quiet } => {
                let quiet = self.quiet_since(quiet, probability, at);
                self.confirm(at, start, voiced, quiet)
            }
            State::Speaking { start, quiet, paused } => {
                let quiet = match silent {
                    true => quiet.or(Some(at)),
                    false => self.quiet_since(quiet, probability, at),
                };
                self.follow(at, start, quiet, paused)
            }
        }
    }

    /// Start of a possible voice that is not yet speech.
    pub fn candidate(&self) -> Option<u64> {
        match self.state {
            State::Candidate { start, .. } => Some(start),
            _ => None,
        }
    }

    /// Whether a turn is in progress with its voice present: no frame of silence has begun a pause.
    pub fn is_voiced(&self) -> bool {
        matches!(self.state, State::Speaking { quiet: None, .. })
    }

    /// Ends the sound, and with it the turn in progress, if any.
    pub fn finish(&mut self) -> Option<SegmentedTurn> {
        let State::Speaking { start, quiet, .. } = self.state else { return None };
        Some(self.end_turn(start, quiet.unwrap_or(self.heard), false))
    }

    /// Start of the silence, updated by a frame. Between the two thresholds it stays unchanged; a
    /// probability that is not a number counts as silence.
    fn quiet_since(&self, quiet: Option<u64>, probability: f32, at: u64) -> Option<u64> {
        match probability {
            p if p >= self.speech_threshold => None,
            p if p >= self.silence_threshold => quiet,
            _ => quiet.or(Some(at)),
        }
    }

    /// Turns a candidate into a turn when enough of it was voice, and discards it when a pause
    /// comes first.
    fn confirm(&mut self, at: u64, start: u64, voiced: u64, quiet: Option<u64>) -> Option<SpeechEvent> {
        let voiced = voiced + if quiet.is_none() { FRAME as u64 } else { 0 };
        if voiced >= self.min_speech {
            self.state = State::Speaking { start, quiet, paused: false };
            return Some(SpeechEvent::Started { at: start });
        }
        let lost = quiet.is_some_and(|since| at + FRAME as u64 - since >= FORGOTTEN);
        self.state = if lost { State::Silent } else { State::Candidate { start, voiced, quiet } };
        None
    }

    fn follow(&mut self, at: u64, start: u64, quiet: Option<u64>, paused: bool) -> Option<SpeechEvent> {
        let silence = quiet.map_or(0, |since| self.heard - since);
        if let Some(since) = quiet
            && silence >= self.min_silence
        {
            return Some(SpeechEvent::TurnEnded(self.end_turn(start, since, false)));
        }
        if self.heard - start >= self.max_turn {
            let cut = quiet.is_none();
            return Some(SpeechEvent::TurnEnded(self.end_turn(start, quiet.unwrap_or(self.heard), cut)));
        }
        let pausing = silence >= PAUSE;
        self.state = State::Speaking { start, quiet, paused: quiet.is_some() && (paused || pausing) };
        match quiet {
            Some(since) if pausing && !paused => Some(SpeechEvent::Paused { at: since }),
            None if paused => Some(SpeechEvent::Resumed { at }),
            _ => None,
        }
    }

    fn end_turn(&mut self, start: u64, end: u64, cut: bool) -> SegmentedTurn {
        let speech_pad = if cut { 0 } else { self.speech_pad };
        let keep = self.keep_from(start)..(end + speech_pad).min(self.heard);
        self.free = keep.end;
        self.state = State::Silent;
        SegmentedTurn { start, end, keep }
    }

    fn keep_from(&self, start: u64) -> u64 {
        start.saturating_sub(self.speech_pad).max(self.free)
    }
}

#[cfg(test)]
mod tests;
