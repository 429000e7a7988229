//! Every pause of a recording with what the models say of it: what the weights of turn taking are
//! fitted to.
//!
//! Nothing is timed here, so the card's clock stands still while a model works, and what is
//! observed does not depend on the machine. No turn ends in the recording: the silences are longer
//! than its pauses.

use std::ops::Range;

use super::{LEAD, Recording, Result, TurnBenchmark};
use crate::audio::device::Card;
use crate::config::Plan;
use crate::level::power;
use crate::turn::{self, LogOdds};
use crate::types::{Ms, SampleRate};

/// The silence that would end a turn. The longest pause in 188 orders and 41 sentences lasts 1.1 s.
const ENDLESS: Ms = Ms(5_000.0);
/// How long the end of a recording is observed: all that is said of it is said by then.
const TAIL: Ms = Ms(700.0);
/// A pause within this span of one that was put in is that one: voice activity and energy do not
/// see a voice fall silent at the same sample.
const NEAR: Ms = Ms(250.0);
/// How long the pauses are that are put in.
const MADE: Ms = Ms(600.0);
/// The least speech between two of them.
const APART: Ms = Ms(1_000.0);
/// The share of the speech, at its beginning and its end, in which none is put.
const EDGE: f64 = 0.1;

/// A pause in a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct PauseFeatures {
    pub kind: PauseKind,
    /// When the voice fell silent, from the beginning of what is said.
    pub at: Ms,
    /// How long it was silent: at the end, as long as that was observed.
    pub silence: Ms,
    /// Log-odds by the models before the voice was back; `None` where no words were transcribed
    /// that could be over.
    pub evidence: Option<LogOdds>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseKind {
    /// Nothing more is said.
    End,
    /// The speaker paused.
    Own,
    /// Inserted pause.
    Made,
}

/// Plan for a conversation in which no pause ends a turn.
pub fn without_ends(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    let turn = &mut plan.turn;
    for silence in
        [&mut turn.likely_silence, &mut turn.possible_silence, &mut turn.unlikely_silence, &mut turn.incomplete_silence]
    {
        *silence = ENDLESS;
    }
    plan
}

impl Recording {
    /// Copy with up to `most` pauses where the voice is weakest.
    pub fn with_pauses(&self, most: usize) -> Recording {
        let mut places = self.weakest(most);
        places.sort_unstable();
        // From the last on: what is before stays where it is.
        places.iter().rev().fold(self.clone(), |recording, at| recording.paused_at(*at, MADE))
    }

    /// The places where the voice is weakest, that are far enough from each other, the weakest
    /// first.
    fn weakest(&self, most: usize) -> Vec<usize> {
        let (width, apart) = (SampleRate::HEARING.samples(super::DIP), SampleRate::HEARING.samples(APART));
        let edge = (self.speech.len() as f64 * EDGE) as usize;
        let from = self.speech.start + edge;
        let windows = self.samples[from..self.speech.end - edge].windows(width).enumerate().step_by(width / 4);
        let mut windows: Vec<_> = windows.map(|(at, window)| (power(window), from + at + width / 2)).collect();
        windows.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let mut places: Vec<usize> = Vec::new();
        for (_, at) in windows {
            if places.len() < most && places.iter().all(|place| place.abs_diff(at) >= apart) {
                places.push(at);
            }
        }
        places
    }
}

impl TurnBenchmark {
    /// Says a recording and tells its pauses, each with all that is said of it until the voice is
    /// back.
    pub fn pauses(&mut self, recording: &Recording) -> Result<Vec<PauseFeatures>> {
        self.rest()?;
        self.session.forget();
        let begin = self.card.clock().now().plus(LEAD);
        self.card.say(begin, SampleRate::HEARING, &recording.samples);
        let (begin, length) = (Ms::from(begin), SampleRate::HEARING.duration(recording.samples.len()));
        let mut watched = Watched::default();
        while self.now().0 < begin.0 + length.0 + TAIL.0 {
            self.step()?;
            watched.see(self.session.pause(), self.now());
        }
        watched.see(None, self.now());
        let pause = |(pause, silence)| recording.pause(pause, silence, begin);
        let mut pauses: Vec<_> = watched.over.into_iter().map(pause).collect();
        pauses.iter_mut().last().into_iter().for_each(|last| last.kind = PauseKind::End);
        Ok(pauses)
    }
}

/// The pauses so far.
#[derive(Default)]
struct Watched {
    /// Each with how long it lasted.
    over: Vec<(turn::Pause, Ms)>,
    /// The one that lasts, and how long it was quiet so far.
    now: Option<(turn::Pause, Ms)>,
}

impl Watched {
    fn see(&mut self, pause: Option<turn::Pause>, at: Ms) {
        self.over.extend(self.now.take_if(|(last, _)| pause.is_none_or(|pause| pause.since != last.since)));
        let Some(pause) = pause else { return };
        let lasts = self.now.map_or(Ms(0.0), |(_, lasts)| lasts);
        self.now = Some((pause, if pause.seen { lasts } else { Ms(at.0 - pause.since.0) }));
    }
}

impl Recording {
    /// A pause that was observed in this recording, which began at the moment `begin`, and was not
    /// its end.
    fn pause(&self, pause: turn::Pause, silence: Ms, begin: Ms) -> PauseFeatures {
        let at = Ms(pause.since.0 - begin.0);
        let is_within = |range: &Range<usize>| {
            let [from, to] = [range.start, range.end].map(|sample| SampleRate::HEARING.duration(sample).0);
            (from - NEAR.0..to + NEAR.0).contains(&at.0)
        };
        let kind = if self.made.iter().any(is_within) { PauseKind::Made } else { PauseKind::Own };
        PauseFeatures { kind, at, silence, evidence: pause.evidence }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three seconds of a voice that is weak at one and at two seconds.
    fn recording() -> Recording {
        let weak = |i: usize| [16_000usize, 32_000].iter().any(|at| at.abs_diff(i) < 400);
        let samples: Vec<f32> = (0..48_000).map(|i| if weak(i) { 0.01 } else { 0.5 }).collect();
        Recording::new(&samples, 0..48_000)
    }

    #[test]
    fn pauses_go_where_the_voice_is_weakest() {
        let paused = recording().with_pauses(2);
        let [first, second] = &paused.made[..] else { panic!("{:?}", paused.made) };
        assert!(first.start.abs_diff(16_000) <= 400, "{first:?}");
        assert!(second.start.abs_diff(32_000 + first.len()) <= 400, "{second:?}");
        assert_eq!(paused.speech, 0..48_000 + first.len() + second.len());
        assert!(paused.made.iter().all(|made| paused.samples[made.clone()].iter().all(|sample| *sample == 0.0)));
        assert!(recording().with_pauses(0).made.is_empty());
    }

    #[test]
    fn a_pause_is_made_or_the_speakers_own() {
        let paused = recording().with_pauses(1);
        let made = SampleRate::HEARING.duration(paused.made[0].start).0;
        for (at, kind) in
            [(made - 100.0, PauseKind::Made), (made + 500.0, PauseKind::Made), (made + 900.0, PauseKind::Own)]
        {
            let pause = turn::Pause { since: Ms(1_000.0 + at), seen: false, evidence: None, over: None };
            assert_eq!(paused.pause(pause, Ms(400.0), Ms(1_000.0)).kind, kind, "{at}");
        }
    }

    #[test]
    fn a_pause_lasts_until_the_voice_is_back() {
        let pause = |since, seen| Some(turn::Pause { since: Ms(since), seen, evidence: None, over: None });
        let mut watched = Watched::default();
        for (told, at) in [
            (None, 0.0),
            (pause(5.0, false), 10.0),
            (pause(5.0, true), 15.0),
            (pause(5.0, false), 20.0),
            (pause(5.0, true), 25.0),
            (None, 30.0),
            (pause(40.0, false), 45.0),
        ] {
            watched.see(told, Ms(at));
        }
        watched.see(None, Ms(60.0));
        let lasted: Vec<_> = watched.over.iter().map(|(pause, lasted)| (pause.since.0, lasted.0)).collect();
        assert_eq!(lasted, [(5.0, 15.0), (40.0, 5.0)]);
    }
}
