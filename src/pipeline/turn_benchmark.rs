//! Recorded turns in real time: what somebody waits for, and whether Sotto lets her finish.
//!
//! Each recording is said into the microphone of a simulated card whose clock runs with the
//! system's, in a conversation of its own. Everything between microphone and speaker is what
//! [`Live`] does. Times count from the recording's own last sample of speech, which the graph does
//! not know, to when sound leaves the simulated speaker.

mod pauses;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use pauses::{PauseFeatures, PauseKind, without_ends};

use super::listen::PlaybackPace;
use super::live::{Live, SessionDevices, SessionEvent, TICK};
use super::stage::{Result, Stages};
use crate::audio::device::{Card, DEFAULT, Moment, Simulated, SimulatedRoom};
use crate::config::Plan;
use crate::level::power;
use crate::observe::{Event, Journal, Stamped, Timings};
use crate::turn::{Control, Ending, SessionState};
use crate::types::{Ms, SampleRate, TurnId};

/// Quiet before each recording: the conversation is at rest when it begins.
const LEAD: Duration = Duration::from_millis(500);
/// How much of an answer is heard before it is stopped.
const TASTE: Duration = Duration::from_millis(300);
/// Without an answer for so long after its last sample a turn counts as missed.
const PATIENCE: Duration = Duration::from_secs(10);
/// A pause is put where the voice is weakest in the middle of the speech: this share of it, on both
/// sides, is no middle.
const EDGE: f64 = 0.3;
/// A place for a pause is judged by the energy of so much sound around it.
const DIP: Ms = Ms(30.0);

/// Quiet around the speech of a recording that is kept.
const MARGIN: Ms = Ms(300.0);
/// Quiet in a recording is what has this share of the speech's power, -25 dB, looked at in steps of
/// 10 ms.
const QUIET: f32 = 0.003;
const STEP: usize = 160;

/// A living room: a speaker some 2 m from the microphone, and some noise.
const ROOM: SimulatedRoom =
    SimulatedRoom { delay: Duration::from_millis(6), gain: 0.25, tail: Duration::from_millis(150), noise: 0.000_5 };

/// Recording of one turn.
#[derive(Clone, Debug)]
pub struct Recording {
    /// At 16 kHz.
    samples: Vec<f32>,
    /// From the first to the last sample of speech.
    speech: Range<usize>,
    /// The quiet that was put in.
    made: Vec<Range<usize>>,
}

impl Recording {
    /// A recording at 16 kHz, with the stretch of it that is speech. Of the quiet around it little
    /// is said.
    pub fn new(samples: &[f32], speech: Range<usize>) -> Self {
        let margin = SampleRate::HEARING.samples(MARGIN);
        let from = speech.start.saturating_sub(margin);
        let samples = samples[from..(speech.end + margin).min(samples.len())].to_vec();
        Recording { samples, speech: speech.start - from..speech.end - from, made: Vec::new() }
    }

    /// Copy with a pause of length `pause` where the voice is weakest in the middle of the speech.
    /// Where it pauses there already, only the rest is put in.
    pub fn with_pause(&self, pause: Ms) -> Recording {
        self.paused_at(self.dip(), pause)
    }

    /// Copy with a pause at sample `at`, counted before any pause was inserted.
    fn paused_at(&self, at: usize, pause: Ms) -> Recording {
        let quiet = vec![0.0; SampleRate::HEARING.samples(pause).saturating_sub(self.quiet_around(at))];
        let samples = [&self.samples[..at], &quiet, &self.samples[at..]].concat();
        let later = self.made.iter().map(|made| made.start + quiet.len()..made.end + quiet.len());
        let made = std::iter::once(at..at + quiet.len()).chain(later).collect();
        Recording { samples, speech: self.speech.start..self.speech.end + quiet.len(), made }
    }

    /// How long it is quiet around sample `at`.
    fn quiet_around(&self, at: usize) -> usize {
        let speech = &self.samples[self.speech.clone()];
        let limit = power(speech) * QUIET;
        let before = self.samples[..at].rchunks(STEP).take_while(|step| power(step) < limit).count();
        let after = self.samples[at..].chunks(STEP).take_while(|step| power(step) < limit).count();
        (before + after) * STEP
    }

    fn dip(&self) -> usize {
        let (edge, width) = ((self.speech.len() as f64 * EDGE) as usize, SampleRate::HEARING.samples(DIP));
        let middle = &self.samples[self.speech.start + edge..self.speech.end - edge];
        let weakest = middle.windows(width).enumerate().step_by(width / 4);
        let weakest = weakest.min_by(|(_, a), (_, b)| power(a).total_cmp(&power(b)));
        self.speech.start + edge + weakest.map_or(middle.len() / 2, |(at, _)| at + width / 2)
    }
}

/// Result of one recording.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchmarkedTurn {
    pub outcome: TurnOutcome,
    /// Transcript of the question.
    pub question: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TurnOutcome {
    /// Answered, with times from its last sample of speech.
    Answered(Timings),
    /// The words were not certain, and Sotto asked for them again.
    AskedAgain,
    /// The turn was taken for over before it was, and some of an answer to half of it was heard.
    CutOff,
    /// No answer came.
    Missed,
}

/// The house with its simulated room.
pub struct TurnBenchmark {
    card: Simulated,
    live: Live,
    journal: Journal,
    /// The moment 0 of the card's clock, where that runs with the system's.
    origin: Instant,
    pace: PlaybackPace,
}

impl TurnBenchmark {
    /// Turns are timed in real time only.
    pub fn start(stages: Stages, plan: &Plan, pace: PlaybackPace) -> Result<TurnBenchmark> {
        let (card, journal) = (Simulated::usual(ROOM), Journal::default());
        let devices = SessionDevices {
            card: Arc::new(card.clone()),
            microphone: DEFAULT.to_owned(),
            speaker: DEFAULT.to_owned(),
        };
        // Nobody says the wake word in a recording.
        let stages = Stages { wake_word: None, ..stages };
        let live = Live::start(stages, plan, devices, journal.clone())?;
        Ok(TurnBenchmark { card, live, journal, origin: Instant::now(), pace })
    }

    /// Says a recording and waits for what comes of it.
    pub fn play(&mut self, recording: &Recording) -> Result<BenchmarkedTurn> {
        self.rest()?;
        self.live.forget();
        let begin = self.card.clock().now().plus(LEAD);
        self.card.say(begin, SampleRate::HEARING, &recording.samples);
        let at = |sample| self.at(begin) + Duration::from_secs_f64(SampleRate::HEARING.duration(sample).0 / 1000.0);
        let (last, end) = (at(recording.speech.end), at(recording.samples.len()));
        let first = self.first_answer(last)?;
        // Who was cut off speaks on, and what is said then is no part of the next turn.
        while Instant::now() < end {
            self.step()?;
        }
        Ok(self.classify(first, last))
    }

    /// The first answer of which something is heard, if only the beginning of a word before it was
    /// held and taken back.
    fn first_answer(&mut self, last: Instant) -> Result<Option<(TurnId, String)>> {
        let begin = Instant::now();
        let mut heard = None;
        while heard.is_some() || Instant::now() < last + PATIENCE {
            for happening in self.step()? {
                if let SessionEvent::Exchange(answer) = happening
                    && (answer.how != Ending::Revised || self.heard_since(begin).is_some())
                {
                    return Ok(Some((answer.turn, answer.question)));
                }
            }
            heard = self.heard_since(begin);
            if heard.is_some_and(|at| at.elapsed() > TASTE) {
                self.live.control(Control::Stop);
            }
        }
        Ok(None)
    }

    /// When an answer's first sound after `begin` left the speaker.
    fn heard_since(&self, begin: Instant) -> Option<Instant> {
        self.journal.last(Event::FirstAudible).map(|stamped| stamped.at).filter(|at| *at > begin)
    }

    fn classify(&self, first: Option<(TurnId, String)>, last: Instant) -> BenchmarkedTurn {
        let Some((turn, question)) = first else {
            return BenchmarkedTurn { outcome: TurnOutcome::Missed, question: String::new() };
        };
        let events = counted_from(last, self.journal.of(turn));
        let decided = events.iter().find(|stamped| stamped.event == Event::TurnDecided);
        let outcome = match Timings::of(&events) {
            _ if decided.is_some_and(|decided| decided.at < last) => TurnOutcome::CutOff,
            _ if question.is_empty() => TurnOutcome::AskedAgain,
            Some(timings) if timings.first_audio.is_some() => TurnOutcome::Answered(timings),
            _ => TurnOutcome::Missed,
        };
        BenchmarkedTurn { outcome, question }
    }

    /// Waits until nothing is under way any more.
    fn rest(&mut self) -> Result<()> {
        self.live.control(Control::Stop);
        let mut quiet_since = self.now();
        while self.now().0 - quiet_since.0 < Ms::from(LEAD).0 {
            self.step()?;
            if !matches!(self.live.view(), SessionState::Listening | SessionState::Waiting) {
                quiet_since = self.now();
                self.live.control(Control::Stop);
            }
        }
        Ok(())
    }

    /// Lets some time pass: what has passed of the system's, or a tick and as long as the stages
    /// take for what is wanted of them.
    fn step(&mut self) -> Result<Vec<SessionEvent>> {
        if self.pace == PlaybackPace::RealTime {
            let passed = Moment(self.origin.elapsed().as_nanos() as u64).since(self.card.clock().now());
            self.card.advance(passed);
            return self.live.step(TICK);
        }
        self.card.advance(TICK);
        let mut happened = self.live.step(Duration::ZERO)?;
        let asked = Instant::now();
        while self.live.is_awaiting() && asked.elapsed() < PATIENCE {
            happened.extend(self.live.step(TICK)?);
        }
        Ok(happened)
    }

    /// By the card's clock.
    fn now(&self) -> Ms {
        Ms::from(self.card.clock().now())
    }

    fn at(&self, moment: Moment) -> Instant {
        self.origin + moment.since(Moment(0))
    }
}

/// Events with `last` as the last sample of speech.
fn counted_from(last: Instant, events: Vec<Stamped>) -> Vec<Stamped> {
    let zero = |stamped: Stamped| match stamped.event {
        Event::LastSpeechSample => Stamped { at: last, ..stamped },
        _ => stamped,
    };
    events.into_iter().map(zero).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_goes_where_the_voice_is_weakest_in_the_middle() {
        let (second, margin) = (16_000, 4_800);
        let mut samples = vec![0.0; second];
        samples.extend((0..2 * second).map(|i| if i.abs_diff(second) < 400 { 0.01 } else { 0.5 }));
        samples.extend(vec![0.0; second]);
        let recording = Recording::new(&samples, second..3 * second);
        assert_eq!(
            (recording.samples.len(), &recording.speech),
            (2 * second + 2 * margin, &(margin..2 * second + margin))
        );
        let paused = recording.with_pause(Ms(300.0));
        // Some 50 ms were quiet before, as far as whole steps of it go.
        let added = paused.samples.len() - recording.samples.len();
        assert!((3840..=4320).contains(&added), "{added}");
        assert_eq!(paused.speech, margin..2 * second + margin + added);
        let inner = &paused.samples[2 * margin..2 * second];
        let quiet = inner.iter().position(|sample| *sample == 0.0).unwrap() + 2 * margin;
        assert!(quiet.abs_diff(margin + second) <= 400, "{quiet}");
        assert!(paused.samples[quiet..quiet + added].iter().all(|sample| *sample == 0.0));

        let short = Recording::new(&[0.5; 100], 0..100).with_pause(Ms(300.0));
        assert_eq!(short.samples.len(), 4900);
    }

    #[test]
    fn stages_count_from_the_recordings_own_end() {
        let now = Instant::now();
        let stamped = |at, event| Stamped { turn: TurnId(1), at, event };
        let late = now + Duration::from_millis(40);
        let events = vec![stamped(late, Event::LastSpeechSample), stamped(late, Event::TurnDecided)];
        assert_eq!(Timings::of(&counted_from(now, events)).unwrap().turn_end, Some(40.0));
    }
}
