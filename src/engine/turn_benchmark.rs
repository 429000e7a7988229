//! Recorded turns in real time: what somebody waits for, and whether Sotto lets her finish.
//!
//! Each recording is said into the microphone of a simulated card whose clock runs with the
//! system's, in a conversation of its own. Everything between microphone and speaker is what
//! [`Session`] does. Times count from the recording's own last sample of speech, which the graph
//! does not know, to when sound leaves the simulated speaker.

mod pauses;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use pauses::{PauseFeatures, PauseKind, without_ends};

use super::Engine;
use super::once::PlaybackPace;
use super::session::{Session, SessionAudio, SessionDevices, TICK};
use super::stage::Result;
use crate::audio::device::{Card, DEFAULT, Moment, Simulated, SimulatedRoom};
use crate::config::{DetectPlan, Plan};
use crate::level::power;
use crate::observe::{Event, EventKind, Milestone, Timings};
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

/// A session in a simulated room.
pub struct TurnBenchmark {
    card: Simulated,
    session: Session,
    /// The moment 0 of the card's clock, where that runs with the system's.
    origin: Instant,
    pace: PlaybackPace,
    /// Events since the recording began.
    events: Vec<Event>,
}

impl TurnBenchmark {
    /// Turns are timed in real time only.
    pub fn start(engine: Arc<Engine>, plan: &Plan, pace: PlaybackPace) -> Result<TurnBenchmark> {
        let card = Simulated::usual(ROOM);
        let devices = SessionDevices {
            card: Arc::new(card.clone()),
            microphone: DEFAULT.to_owned(),
            speaker: DEFAULT.to_owned(),
        };
        // Nobody says the wake word in a recording.
        let plan = Plan { detect: DetectPlan { wake_word: None, ..plan.detect.clone() }, ..plan.clone() };
        let audio = SessionAudio::open(devices, engine.rate())?;
        let session = Session::start(engine, audio, &plan);
        Ok(TurnBenchmark { card, session, origin: Instant::now(), pace, events: Vec::new() })
    }

    /// Says a recording and waits for what comes of it.
    pub fn play(&mut self, recording: &Recording) -> Result<BenchmarkedTurn> {
        self.rest()?;
        self.session.forget();
        let begin = self.card.clock().now().plus(LEAD);
        self.card.say(begin, SampleRate::HEARING, &recording.samples);
        let at = |sample| Ms(Ms::from(begin).0 + SampleRate::HEARING.duration(sample).0);
        let (last, end) = (at(recording.speech.end), at(recording.samples.len()));
        let first = self.first_answer(last)?;
        // Who was cut off speaks on, and what is said then is no part of the next turn.
        while self.now().0 < end.0 {
            self.step()?;
        }
        Ok(self.classify(first, last))
    }

    /// The first answer of which something is heard, if only the beginning of a word before it was
    /// held and taken back.
    fn first_answer(&mut self, last: Ms) -> Result<Option<(TurnId, String)>> {
        self.events.clear();
        let mut heard: Option<Ms> = None;
        while heard.is_some() || self.now().0 < last.0 + Ms::from(PATIENCE).0 {
            let before = self.events.len();
            self.step()?;
            for event in &self.events[before..] {
                match &event.kind {
                    EventKind::Milestone(Milestone::FirstAudible) => heard = Some(event.at),
                    EventKind::Exchange(answer) if answer.how != Ending::Revised || heard.is_some() => {
                        return Ok(event.turn.map(|turn| (turn, answer.question.clone())));
                    }
                    _ => {}
                }
            }
            if heard.is_some_and(|at| self.now().0 - at.0 > Ms::from(TASTE).0) {
                self.session.control(Control::Stop);
            }
        }
        Ok(None)
    }

    fn classify(&self, first: Option<(TurnId, String)>, last: Ms) -> BenchmarkedTurn {
        let Some((turn, question)) = first else {
            return BenchmarkedTurn { outcome: TurnOutcome::Missed, question: String::new() };
        };
        let milestones = counted_from(last, turn, &self.events);
        let decided = milestones.iter().find(|(milestone, _)| *milestone == Milestone::TurnDecided);
        let outcome = match Timings::from_milestones(&milestones) {
            _ if decided.is_some_and(|(_, at)| at.0 < last.0) => TurnOutcome::CutOff,
            _ if question.is_empty() => TurnOutcome::AskedAgain,
            Some(timings) if timings.first_audio.is_some() => TurnOutcome::Answered(timings),
            _ => TurnOutcome::Missed,
        };
        BenchmarkedTurn { outcome, question }
    }

    /// Waits until nothing is under way any more.
    fn rest(&mut self) -> Result<()> {
        self.session.control(Control::Stop);
        let mut quiet_since = self.now();
        while self.now().0 - quiet_since.0 < Ms::from(LEAD).0 {
            self.step()?;
            if !matches!(self.session.view(), SessionState::Listening | SessionState::Waiting) {
                quiet_since = self.now();
                self.session.control(Control::Stop);
            }
        }
        Ok(())
    }

    /// Lets some time pass: what has passed of the system's, or a tick and as long as the stages
    /// take for what is wanted of them.
    fn step(&mut self) -> Result<()> {
        if self.pace == PlaybackPace::RealTime {
            let passed = Moment(self.origin.elapsed().as_nanos() as u64).since(self.card.clock().now());
            self.card.advance(passed);
            self.events.extend(self.session.step(TICK)?);
            return Ok(());
        }
        self.card.advance(TICK);
        self.events.extend(self.session.step(Duration::ZERO)?);
        let asked = Instant::now();
        while self.session.is_awaiting() && asked.elapsed() < PATIENCE {
            self.events.extend(self.session.step(TICK)?);
        }
        Ok(())
    }

    /// By the card's clock.
    fn now(&self) -> Ms {
        Ms::from(self.card.clock().now())
    }
}

/// Milestones of `turn` with `last` as the last sample of speech.
fn counted_from(last: Ms, turn: TurnId, events: &[Event]) -> Vec<(Milestone, Ms)> {
    let milestone = |event: &Event| match event.kind {
        EventKind::Milestone(Milestone::LastSpeechSample) => Some((Milestone::LastSpeechSample, last)),
        EventKind::Milestone(milestone) => Some((milestone, event.at)),
        _ => None,
    };
    events.iter().filter(|event| event.turn == Some(turn)).filter_map(milestone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SessionId;

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
        let event = |turn, milestone| Event {
            session: SessionId(1),
            turn: Some(TurnId(turn)),
            at: Ms(1_040.0),
            kind: EventKind::Milestone(milestone),
        };
        let events =
            [event(1, Milestone::LastSpeechSample), event(1, Milestone::TurnDecided), event(2, Milestone::Done)];
        let timings = Timings::from_milestones(&counted_from(Ms(1_000.0), TurnId(1), &events)).unwrap();
        assert_eq!((timings.turn_end, timings.done), (Some(40.0), None));
    }
}
