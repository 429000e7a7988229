//! The sound check: what lies between the speaker and the microphone of this place.
//!
//! One sound is played without a gap: quiet, in which the room's noise is heard, three chirps, and
//! some speech. Its samples count from the moment the first of them was given to the speaker, as
//! the canceller's reference does ([`super::reference`]), so a chirp's delay is what the canceller
//! has to find, and is the same for all three unless a device was interrupted. How much of it a
//! device knows of is told by its own clock.
//!
//! Architecture invariant: no thread, nothing waits. The check is driven by [`SoundCheck::step`],
//! on any card.

mod chirp;
mod found;
mod score;

pub use chirp::{Arrival, Chirp};
pub use found::{EchoLossMeasurement, EchoMeasurement, Findings, Interruptions, Opened, STEADY, Unmeasured};

use std::sync::Arc;
use std::time::Duration;

use self::score::{CHIRPS, Score};
use super::device::{
    Capture, Card, Clock, DeviceChange, Direction, Moment, Playback, PlaybackSettings, Spawn, StreamFault,
};
use super::front::{BLOCK, Front, LONGEST_DELAY};
use super::{AudioError, EchoReference};
use crate::config::AudioPlan;
use crate::level::{decibels, power};
use crate::types::{Ms, SampleRate};

const RATE: SampleRate = SampleRate::HEARING;
/// Devices that are not open after this are not waited for: a sound server that was idle sleeps up
/// to 2 s.
const OPENING_LIMIT: Duration = Duration::from_secs(8);
/// A speaker that has not played its first bit of silence by then takes no sound.
const WAKING_LIMIT: Duration = Duration::from_secs(5);
const WAKING: Ms = Ms(50.0);
/// The microphone is listened to for so long after the last of the sound: the longest delay, and a
/// tail.
const TAIL: Ms = Ms(1_000.0);
/// A chirp is looked for from so long before it was given: a microphone that misjudges its own
/// latency may tell times that are too early.
const EARLY: Ms = Ms(100.0);
/// So much later than it should be over, the check ends with what it has.
const PATIENCE: Duration = Duration::from_secs(5);

/// A sound check on its way.
pub struct SoundCheck {
    clock: Arc<dyn Clock>,
    capture: Capture,
    playback: Playback,
    front: Front,
    reference: EchoReference,
    score: Score,
    written: usize,
    stage: Stage,
    microphone: Result<Opened, Unmeasured>,
    speaker: Result<Opened, Unmeasured>,
    heard: Heard,
    /// From a sample's giving to its playing, by the speaker's own clock.
    told: Option<Ms>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Opening {
        since: Moment,
    },
    Waking {
        since: Moment,
    },
    /// From the first sample on.
    Playing {
        since: Moment,
    },
    /// There is a microphone alone.
    Listening {
        since: Moment,
    },
}

/// What the microphone brought since the sound began.
#[derive(Default)]
struct Heard {
    samples: Vec<f32>,
    /// When each block's first sample was at the microphone, in milliseconds, and how many of its
    /// samples there were not.
    blocks: Vec<(f64, u16)>,
}

impl SoundCheck {
    /// Opens both devices where `spawn` puts it. `audio` says what the front end of the
    /// conversation would do; `speech` at 16 kHz is what it is tried with, and without any a noise
    /// that swells like speech.
    pub fn open(
        card: Arc<dyn Card>,
        microphone: &str,
        speaker: &str,
        audio: &AudioPlan,
        speech: &[f32],
        spawn: Spawn,
    ) -> Result<SoundCheck, AudioError> {
        let clock = card.clock();
        let capture = Capture::open(card.clone(), microphone, spawn.clone());
        let playback = Playback::open(card, speaker, PlaybackSettings::at(RATE), spawn)?;
        let unopened = |direction| Err(Unmeasured::NotOpen(direction));
        Ok(SoundCheck {
            stage: Stage::Opening { since: clock.now() },
            clock,
            capture,
            playback,
            front: Front::new(audio),
            reference: EchoReference::new(RATE),
            score: Score::new(speech),
            written: 0,
            microphone: unopened(Direction::Input),
            speaker: unopened(Direction::Output),
            heard: Heard::default(),
            told: None,
        })
    }

    /// How long it will be heard.
    pub fn length(&self) -> Ms {
        self.score.length()
    }

    /// To be called every few milliseconds, until it has found all that it will.
    pub fn step(&mut self) -> Option<Findings> {
        let changes = [self.capture.poll(), self.playback.poll()];
        changes.into_iter().flatten().for_each(|change| self.device_changed(change));
        self.listen();
        let now = self.clock.now();
        let done = match self.stage {
            Stage::Opening { since } => self.wait_for_devices(now, since),
            Stage::Waking { since } => self.wake(now, since),
            Stage::Playing { since } => self.play(now, since),
            Stage::Listening { since } => self.microphone.is_err() || now.since(since) > self.score.quiet_end(),
        };
        done.then(|| self.findings())
    }

    fn device_changed(&mut self, change: DeviceChange) {
        let (direction, state) = match &change {
            DeviceChange::Opened { direction, device, format, .. } => {
                (*direction, Ok(Opened { device: device.clone(), format: *format }))
            }
            DeviceChange::Lost { direction, why: StreamFault::Unopened(error), .. } => {
                (*direction, Err(Unmeasured::Refused(error.clone())))
            }
            DeviceChange::Lost { direction, device, .. } => {
                (*direction, Err(Unmeasured::Lost { direction: *direction, device: device.clone() }))
            }
        };
        match direction {
            Direction::Input => self.microphone = state,
            Direction::Output => self.speaker = state,
        }
    }

    fn listen(&mut self) {
        while let Some(block) = self.capture.read() {
            let (at, mut samples) = (Ms::from(block.at), block.samples);
            if let Stage::Playing { since } | Stage::Listening { since } = self.stage
                && block.at >= since
            {
                self.heard.samples.extend(samples);
                self.heard.blocks.push((at.0, block.missing));
                self.front.process(&mut samples, &self.reference.block(at));
            }
        }
    }

    /// Goes on with what is there, once both have said what becomes of them. True if that is
    /// nothing.
    fn wait_for_devices(&mut self, now: Moment, since: Moment) -> bool {
        let late = now.since(since) > OPENING_LIMIT;
        let settled = |state: &Result<Opened, Unmeasured>| late || !matches!(state, Err(Unmeasured::NotOpen(_)));
        if !settled(&self.microphone) || !settled(&self.speaker) {
            return false;
        }
        match (&self.microphone, &self.speaker) {
            (Ok(_), Ok(_)) => {
                let silence = vec![0.0; RATE.samples(WAKING)];
                self.playback.write(&silence);
                self.playback.end();
                self.stage = Stage::Waking { since: now };
            }
            (Ok(_), Err(_)) => self.stage = Stage::Listening { since: now },
            (Err(_), _) => return true,
        }
        false
    }

    /// Waits until the speaker has played its first silence: then its delay is that of a device at
    /// work.
    fn wake(&mut self, now: Moment, since: Moment) -> bool {
        if self.playback.tally().queued == 0 {
            self.stage = Stage::Playing { since: now };
        } else if now.since(since) > WAKING_LIMIT {
            self.speaker = Err(Unmeasured::TakesNoSound);
            self.stage = Stage::Listening { since: now };
        }
        self.microphone.is_err()
    }

    fn play(&mut self, now: Moment, since: Moment) -> bool {
        let rest = &self.score.samples()[self.written..];
        let room = self.playback.room().min(rest.len());
        if room > 0 {
            if self.written == 0 {
                self.stage = Stage::Playing { since: now };
            }
            let taken = self.playback.write(&rest[..room]);
            self.reference.push(Ms::from(now), rest[..taken].iter().copied());
            self.written += taken;
            if self.written == self.score.samples().len() {
                self.playback.end();
            }
        }
        self.ask_the_speaker(since);
        let over = since.plus(Duration::from_secs_f64((self.score.length().0 + TAIL.0) / 1000.0));
        let heard = self.heard.blocks.last().is_some_and(|(at, _)| *at >= Ms::from(over).0);
        heard || self.microphone.is_err() || self.speaker.is_err() || now > over.plus(PATIENCE)
    }

    /// How long after its giving it has played what it has by now.
    fn ask_the_speaker(&mut self, since: Moment) {
        let waking = RATE.samples(WAKING) as u64;
        let tally = self.playback.tally();
        let played = tally.played.saturating_sub(waking) as usize;
        if played > 0 && tally.queued > 0 {
            let at = Ms::from(self.clock.now()).0 - RATE.duration(played).0;
            self.told = Some(Ms((at - Ms::from(since).0).max(0.0)));
        }
    }

    fn findings(&mut self) -> Findings {
        let begin = match self.stage {
            Stage::Playing { since } | Stage::Listening { since } => Ms::from(since).0,
            Stage::Opening { .. } | Stage::Waking { .. } => f64::INFINITY,
        };
        let clipped = self.heard.samples.iter().filter(|sample| sample.abs() >= found::FULL).count();
        Findings {
            microphone: self.microphone.clone(),
            speaker: self.speaker.clone(),
            noise: self.noise(begin),
            echo: self.echo(begin),
            loss: self.loss(),
            clipped,
            interruptions: Interruptions {
                overruns: self.capture.overruns(),
                missing: self.heard.blocks.iter().map(|(_, missing)| u64::from(*missing)).sum(),
                underruns: self.playback.underruns(),
                xruns: self.capture.xruns() + self.playback.xruns(),
            },
        }
    }

    fn noise(&self, begin: f64) -> Result<f32, Unmeasured> {
        self.microphone.clone()?;
        let quiet = self.score.quiet();
        let quiet = begin + quiet.start.0..begin + quiet.end.0;
        let frames = self.heard.samples.chunks_exact(BLOCK).zip(&self.heard.blocks);
        let frames = frames.filter(|(_, (at, missing))| *missing == 0 && quiet.contains(at));
        let powers: Vec<f32> = frames.map(|(frame, _)| power(frame)).collect();
        match powers.len() {
            0 => Err(Unmeasured::Deaf),
            _ => Ok(decibels(chirp::median(powers))),
        }
    }

    fn echo(&self, begin: f64) -> Result<EchoMeasurement, Unmeasured> {
        self.both()?;
        let chirp = Chirp::new();
        let places = (0..CHIRPS).map(|n| begin + self.score.chirp(n).0);
        let windows: Vec<_> = places.filter_map(|at| Some((at, self.heard.around(at)?))).collect();
        if windows.len() < CHIRPS {
            return Err(Unmeasured::Deaf);
        }
        let arrivals = windows.into_iter().filter_map(|(given, (first, sound))| {
            let found = chirp.find(sound)?;
            Some((Ms(first + RATE.duration(found.at).0 - given), found.gain))
        });
        Ok(EchoMeasurement::of(arrivals.collect(), self.told))
    }

    fn loss(&self) -> Result<EchoLossMeasurement, Unmeasured> {
        self.both()?;
        let measured = self.front.echo_loss();
        match (measured.enhancement(), measured.full_duplex()) {
            (Some(enhancement), Some(full_duplex)) => Ok(EchoLossMeasurement { enhancement, full_duplex }),
            _ => Err(Unmeasured::Deaf),
        }
    }

    fn both(&self) -> Result<(), Unmeasured> {
        self.microphone.clone()?;
        self.speaker.clone()?;
        Ok(())
    }
}

impl Heard {
    /// What was heard around the time at which a chirp was given: from a little before it as far as
    /// its echo may be, with the time of the first sample. None where that was not heard whole.
    fn around(&self, at: f64) -> Option<(f64, &[f32])> {
        let block = self.blocks.partition_point(|(begin, _)| *begin <= at - EARLY.0).checked_sub(1)?;
        let span = RATE.samples(Ms(EARLY.0 + LONGEST_DELAY.0 * 1.25 + chirp::LENGTH.0));
        let blocks = span.div_ceil(BLOCK);
        let whole = self.blocks.get(block..block + blocks)?.iter().all(|(_, missing)| *missing == 0);
        let first = block * BLOCK;
        whole.then(|| (self.blocks[block].0, &self.samples[first..first + blocks * BLOCK]))
    }
}

#[cfg(test)]
mod tests;
