//! From probabilities to turns: a pure state machine.

use std::ops::Range;

use super::FRAME;
use super::energy::Fall;
use crate::config::DetectPlan;
use crate::types::{Ms, SampleRate};

/// Silence after which a turn may be over, long before it certainly is: recognition can begin
/// ahead. 64 ms, two frames: of 72 recorded utterances 27 contain a pause of 200 ms, so many such
/// beginnings are taken back.
const PAUSE: u64 = 2 * FRAME as u64;
/// Silence after which a sound too short for speech is forgotten. 128 ms: the closure of a stop
/// consonant is shorter.
const FORGOTTEN: u64 = 4 * FRAME as u64;

/// What the last frame decided. Positions are samples at 16 kHz from the start of the sound.
#[derive(Clone, Debug, PartialEq)]
pub enum SpeechEvent {
    /// Somebody speaks since `at`.
    Started { at: u64 },
    /// A short silence since `at`: perhaps the end.
    Paused { at: u64 },
    /// It was not: the voice is back.
    Resumed { at: u64 },
    /// The turn is over.
    TurnEnded(SegmentedTurn),
}

/// A stretch of speech.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentedTurn {
    /// First sample of speech.
    pub start: u64,
    /// One past the last sample of speech, as voice activity sees it; see [`super::speech_end`].
    pub end: u64,
    /// What to recognise: the speech with its padding. Never overlaps the turn before.
    pub keep: Range<u64>,
}

/// Watches probabilities, one for each frame of [`FRAME`] samples.
#[derive(Clone, Debug)]
pub struct Segmenter {
    speech_threshold: f32,
    silence_threshold: f32,
    min_speech: u64,
    min_silence: u64,
    speech_pad: u64,
    max_turn: u64,
    /// Samples heard so far.
    heard: u64,
    /// Where the last turn's kept sound ended: the next begins no earlier.
    free: u64,
    fall: Fall,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Silent,
    /// A voice perhaps: `voiced` samples of it since `start`.
    Candidate {
        start: u64,
        voiced: u64,
        quiet: Option<u64>,
    },
    /// A turn. `quiet` is since when there is no voice, `paused` whether that was told.
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

    /// The same with the power of the loudest part of the frame: speech is over as soon as its
    /// energy falls.
    pub fn push_with_power(&mut self, probability: f32, loudest: f32) -> Option<SpeechEvent> {
        let silent = self.fall.is_silent(loudest);
        self.take(probability, silent)
    }

    /// Whether a voice may be coming back, by so much power in sound that is no whole frame yet.
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

    /// Where a voice perhaps began that is not speech yet.
    pub fn candidate(&self) -> Option<u64> {
        match self.state {
            State::Candidate { start, .. } => Some(start),
            _ => None,
        }
    }

    /// Whether a turn is open and its voice is there: no frame of silence has begun a pause.
    pub fn is_voiced(&self) -> bool {
        matches!(self.state, State::Speaking { quiet: None, .. })
    }

    /// The sound is over: the turn that is still open, if any, ends here.
    pub fn finish(&mut self) -> Option<SegmentedTurn> {
        let State::Speaking { start, quiet, .. } = self.state else { return None };
        Some(self.end_turn(start, quiet.unwrap_or(self.heard), false))
    }

    /// Since when there is no voice. What lies between the two thresholds leaves it as it is; no
    /// number is no voice.
    fn quiet_since(&self, quiet: Option<u64>, probability: f32, at: u64) -> Option<u64> {
        match probability {
            p if p >= self.speech_threshold => None,
            p if p >= self.silence_threshold => quiet,
            _ => quiet.or(Some(at)),
        }
    }

    /// A candidate becomes a turn when enough of it was voice, and nothing when it pauses before.
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
