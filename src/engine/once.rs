//! A spoken question from a recording to a spoken answer: a session whose microphone hears the
//! recording. Turns end as they do in a conversation with devices.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};

use super::Engine;
use super::session::{Session, SessionAudio, TICK};
use super::stage::Result;
use crate::asr::{Transcript, Verdict};
use crate::audio::device::Clock;
use crate::audio::{ClipInput, ClipOutput, ManualClock, PlayedSamples};
use crate::config::{AudioPlan, DetectPlan, EchoMode, Plan, TurnPlan};
use crate::observe::{Event, EventKind, Exchange, Milestone, Timings};
use crate::turn::{Control, Ending, SessionState};
use crate::types::{Ms, SampleRate, TurnId};

/// Silence behind a recording in which its last turn ends: longer than any that a turn waits for.
const TAIL: Ms = Ms(3_000.0);
/// Without any event for so long, of real time, a stage hangs and was not replaced.
const PATIENCE: Duration = Duration::from_secs(120);

/// Speech that ends no longer before the longest turn does was cut there: its end is known to some
/// frames.
const NEARLY: Ms = Ms(100.0);

/// Pace at which a recording is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaybackPace {
    /// As fast as possible: time passes as fast as the session can follow, and as in reality while
    /// a stage works. So an answer comes soon, and its times are those of a conversation.
    Fast,
    /// A second of sound takes a second.
    RealTime,
}

/// How a recording is heard.
#[derive(Clone, Copy, Debug)]
pub struct OnceOptions {
    pub pace: PlaybackPace,
    /// Whether the whole recording is one turn: no silence ends it, as with a talk key that is held
    /// down.
    pub whole: bool,
}

/// Result of a recording.
#[derive(Clone, Debug)]
pub enum OnceOutcome {
    /// The turns that were answered, in their order; at least one.
    Answered(Vec<OnceAnswer>),
    /// Nobody spoke, or what sounded like speech was none; the reason says what was there.
    Silence { why: String },
}

#[derive(Clone, Debug)]
pub struct OnceAnswer {
    pub transcript: Transcript,
    pub reply: String,
    /// Length of the speech, its pauses included.
    pub heard: Ms,
    pub timings: Timings,
}

/// Destination of the sound of answers while they are spoken, at the rate of [`Engine::rate`].
pub type AnswerSink<'s> = dyn FnMut(&[f32]) -> Result<()> + 's;

/// Answers the question in `samples` (16 kHz mono) into `sink`. A recording that holds more than
/// one turn is a conversation, in which speech over an answer ends it.
pub fn answer_file(
    engine: &Arc<Engine>,
    plan: &Plan,
    samples: Arc<[f32]>,
    options: OnceOptions,
    sink: &mut AnswerSink,
) -> Result<OnceOutcome> {
    let mut recording = PlayedRecording::start(engine, plan, samples, options, sink);
    while !recording.is_over() {
        recording.step()?;
    }
    recording.outcome()
}

/// How a session behaves with a recording: there is no loudspeaker that the microphone could hear,
/// and nobody to hear an earcon or to say a wake word.
fn plan_for_recordings(plan: &Plan) -> Plan {
    Plan {
        audio: AudioPlan { echo: EchoMode::Off, ..plan.audio.clone() },
        detect: DetectPlan { wake_word: None, ..plan.detect.clone() },
        turn: TurnPlan { earcons: false, ..plan.turn.clone() },
        ..plan.clone()
    }
}

/// Session that hears a recording.
struct PlayedRecording<'s> {
    session: Session,
    sink: &'s mut AnswerSink<'s>,
    played: PlayedSamples,
    clock: ManualClock,
    options: OnceOptions,
    /// Whether the talk key is down.
    talking: bool,
    /// Real time at which the clock stood at 0.
    origin: Instant,
    /// End of the recording, on the session's clock.
    end: Ms,
    longest_turn: Ms,
    /// Last event, of real time.
    heard_of: Instant,
    transcripts: Vec<(TurnId, Transcript)>,
    answers: Vec<OnceAnswer>,
}

impl<'s> PlayedRecording<'s> {
    fn start(
        engine: &Arc<Engine>,
        plan: &Plan,
        samples: Arc<[f32]>,
        options: OnceOptions,
        sink: &'s mut AnswerSink<'s>,
    ) -> Self {
        let manual = ManualClock::default();
        let clock: Arc<dyn Clock> = Arc::new(manual.clone());
        let end = SampleRate::HEARING.duration(samples.len());
        let (output, played) = ClipOutput::new(engine.rate(), clock.clone());
        let input = ClipInput::new(samples, clock.clone());
        let audio = SessionAudio { clock, input: Box::new(input), output: Box::new(output) };
        PlayedRecording {
            session: Session::start(engine.clone(), audio, &plan_for_recordings(plan)),
            sink,
            played,
            clock: manual,
            options,
            talking: false,
            origin: Instant::now(),
            end,
            longest_turn: plan.detect.max_turn,
            heard_of: Instant::now(),
            transcripts: Vec::new(),
            answers: Vec::new(),
        }
    }

    fn now(&self) -> Ms {
        Ms::from(self.clock.now())
    }

    /// Whether the recording was heard to its end and nothing more is to come of it.
    fn is_over(&self) -> bool {
        let heard = self.now().0 >= self.end.0 + TAIL.0;
        heard && self.session.view() == SessionState::Listening && !self.session.is_awaiting()
    }

    /// Lets some time pass and follows what happens.
    fn step(&mut self) -> Result<()> {
        let begun = Instant::now();
        let waits = self.options.pace == PlaybackPace::RealTime || self.session.is_awaiting();
        let events = self.session.step(if waits { TICK } else { Duration::ZERO })?;
        match self.options.pace {
            PlaybackPace::RealTime => {
                let passed = self.origin.elapsed().as_secs_f64() - self.now().0 / 1000.0;
                self.clock.advance(Duration::from_secs_f64(passed.max(0.0)));
            }
            PlaybackPace::Fast => self.clock.advance(if waits { begun.elapsed() } else { TICK }),
        }
        if !events.is_empty() {
            self.heard_of = Instant::now();
        } else if self.heard_of.elapsed() > PATIENCE && self.session.is_awaiting() {
            bail!("no stage has answered for {} s: one of them hangs; try again", PATIENCE.as_secs());
        }
        if self.options.whole {
            self.hold_talk_key();
        }
        let sound = self.played.take();
        if !sound.is_empty() {
            (self.sink)(&sound)?;
        }
        events.into_iter().try_for_each(|event| self.follow(event))
    }

    /// Holds the talk key down from the first speech to the end of the recording.
    fn hold_talk_key(&mut self) {
        let is_over = self.now().0 >= self.end.0;
        if is_over && self.talking {
            self.session.control(Control::TalkKeyUp);
        } else if !is_over && !self.talking && self.session.view() == SessionState::Hearing {
            self.session.control(Control::TalkKeyDown);
            self.talking = true;
        }
    }

    fn follow(&mut self, Event { turn, kind, .. }: Event) -> Result<()> {
        match (kind, turn) {
            (EventKind::Understood(transcript), Some(turn)) => self.transcripts.push((turn, transcript)),
            // While the talk key is down, only the length of a turn ends it.
            (EventKind::Milestone(Milestone::TurnDecided), _) if self.talking && self.now().0 < self.end.0 => {
                return Err(self.too_long());
            }
            (EventKind::Exchange(exchange), Some(turn)) => self.end_answer(turn, exchange)?,
            (EventKind::Failed { why, .. }, _) => return Err(anyhow!("{why}")),
            _ => {}
        }
        Ok(())
    }

    fn end_answer(&mut self, turn: TurnId, exchange: Exchange) -> Result<()> {
        if exchange.spoken.0 + NEARLY.0 >= self.longest_turn.0 {
            return Err(self.too_long());
        }
        // An answer that is interrupted ends after the interruption was transcribed.
        let transcript = self.transcripts.iter().rfind(|(of, _)| *of == turn).map(|(_, transcript)| transcript);
        if let (Some(transcript), Some(timings)) = (transcript, exchange.timings)
            && exchange.how != Ending::Revised
        {
            let (transcript, reply, heard) = (transcript.clone(), exchange.heard, exchange.spoken);
            self.answers.push(OnceAnswer { transcript, reply, heard, timings });
        }
        Ok(())
    }

    fn too_long(&self) -> anyhow::Error {
        anyhow!(
            "the speech lasts longer than {:.1} s, the most that a question may last ([detect] max_turn_ms); for long \
             recordings use \"sotto transcribe\"",
            self.longest_turn.0 / 1000.0
        )
    }

    fn outcome(mut self) -> Result<OnceOutcome> {
        if !self.answers.is_empty() {
            return Ok(OnceOutcome::Answered(self.answers));
        }
        let why = match self.transcripts.pop().map(|(_, transcript)| transcript.verdict) {
            Some(Verdict::Nothing(why)) => why.to_string(),
            _ => "no speech was found".to_owned(),
        };
        Ok(OnceOutcome::Silence { why })
    }
}
