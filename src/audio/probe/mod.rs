//! Sound check: measures the path from the loudspeaker to the microphone.
//!
//! One sound is played without a gap: quiet, during which the room's noise is measured, three
//! chirps, and some speech. Its samples count from the moment the first was given to the
//! loudspeaker, as in the canceller's reference ([`super::reference`]). So a chirp's delay is the
//! one that the canceller has to find, and is the same for all three unless a device was
//! interrupted. The device's own clock gives the part of the delay that it knows of.
//!
//! Architecture invariant: no thread, nothing waits. [`SoundCheck::step`] drives the check, on any
//! card.

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
/// Time after which a device that is not open is given up: an idle sound server sleeps up to 2 s.
const OPENING_LIMIT: Duration = Duration::from_secs(8);
/// Time after which a loudspeaker that has not played its first silence is given up.
const WAKING_LIMIT: Duration = Duration::from_secs(5);
const WAKING: Ms = Ms(50.0);
/// Time of recording after the last of the sound: the longest delay, and a tail.
const TAIL: Ms = Ms(1_000.0);
/// Time before a chirp was given from which it is searched: a microphone that misjudges its own
/// latency may report times that are too early.
const EARLY: Ms = Ms(100.0);
/// Delay past the expected end after which the check ends with what it has.
const PATIENCE: Duration = Duration::from_secs(5);

/// A sound check in progress.
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
    /// Time from giving a sample to its playing, by the loudspeaker's own clock.
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
    /// Playing, from the first sample on.
    Playing {
        since: Moment,
    },
    /// Recording without a loudspeaker.
    Listening {
        since: Moment,
    },
}

/// Sound of the microphone since the played sound began.
#[derive(Default)]
struct Heard {
    samples: Vec<f32>,
    /// For each block, the time at which its first sample was at the microphone, in milliseconds,
    /// and the number of its missing samples.
    blocks: Vec<(f64, u16)>,
}

impl SoundCheck {
    /// Opens both devices by jobs given to `spawn`. `audio` configures the front end that is
    /// measured; `speech` at 16 kHz is its test sound, by default a noise that swells like speech.
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

    /// Length of the played sound.
    pub fn length(&self) -> Ms {
        self.score.length()
    }

    /// Advances the check; call it every few milliseconds, until it returns the findings.
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

    /// Goes on with the devices that are open, once both have opened or failed. Returns true if
    /// there is none.
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

    /// Waits until the loudspeaker has played its first silence: then its latency is that of a
    /// running device.
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

    /// Measures the time from giving a sample to its playing.
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
    /// Recording around the time at which a chirp was given: from a little before it to the latest
    /// possible echo, with the time of the first sample. `None` where it is incomplete.
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
