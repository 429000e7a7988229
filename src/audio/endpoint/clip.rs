//! A session's sound from a recording and into memory, on a clock that the owner moves.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{AudioInput, AudioOutput};
use crate::audio::device::{BLOCK, CapturedBlock, Clock, Moment, PlaybackCount};
use crate::types::{Ms, SampleRate};

/// Amount of sound that may wait to be heard.
const AHEAD: Ms = Ms(40.0);

/// Clock that stands still until it is moved.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    pub fn advance(&self, span: Duration) {
        let nanoseconds = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanoseconds, Ordering::AcqRel);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::Acquire))
    }
}

/// Microphone that hears a recording from the beginning of the clock's time, and then silence.
pub struct ClipInput {
    clock: Arc<dyn Clock>,
    samples: Arc<[f32]>,
    position: u64,
}

impl ClipInput {
    /// Makes an input of `samples` at 16 kHz.
    pub fn new(samples: Arc<[f32]>, clock: Arc<dyn Clock>) -> Self {
        ClipInput { clock, samples, position: 0 }
    }
}

impl AudioInput for ClipInput {
    fn read(&mut self) -> Option<CapturedBlock> {
        let moment =
            |position: u64| Moment((u128::from(position) * 1_000_000_000 / u128::from(SampleRate::HEARING.0)) as u64);
        if moment(self.position + BLOCK as u64) > self.clock.now() {
            return None;
        }
        let (position, mut samples) = (self.position, [0.0; BLOCK]);
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(self.samples.len());
        let recorded = &self.samples[from..(from + BLOCK).min(self.samples.len())];
        samples[..recorded.len()].copy_from_slice(recorded);
        self.position += BLOCK as u64;
        Some(CapturedBlock { position, at: moment(position), missing: 0, samples })
    }
}

/// Loudspeaker that keeps the samples that it has played, at the pace of the clock.
pub struct ClipOutput {
    clock: Arc<dyn Clock>,
    rate: SampleRate,
    waiting: VecDeque<f32>,
    count: PlaybackCount,
    /// Moment up to which the clock was followed, and the part of a sample left over.
    followed: Moment,
    rest: f64,
    held: bool,
    gain: f32,
    played: Arc<Mutex<Vec<f32>>>,
}

/// Samples that a [`ClipOutput`] has played and nobody has taken yet.
#[derive(Clone)]
pub struct PlayedSamples(Arc<Mutex<Vec<f32>>>);

impl PlayedSamples {
    pub fn take(&self) -> Vec<f32> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

impl ClipOutput {
    /// Makes an output at `rate`, and the place where its sound can be taken from.
    pub fn new(rate: SampleRate, clock: Arc<dyn Clock>) -> (Self, PlayedSamples) {
        let played = Arc::new(Mutex::new(Vec::new()));
        let followed = clock.now();
        let output = ClipOutput {
            clock,
            rate,
            waiting: VecDeque::new(),
            count: PlaybackCount::default(),
            followed,
            rest: 0.0,
            held: false,
            gain: 1.0,
            played: played.clone(),
        };
        (output, PlayedSamples(played))
    }

    /// Plays what time has passed for. Time without sound is not saved up.
    fn follow(&mut self) {
        let now = self.clock.now();
        let passed = now.since(self.followed).as_secs_f64() * f64::from(self.rate.0) + self.rest;
        self.followed = now;
        let count = if self.held { 0 } else { (passed as usize).min(self.waiting.len()) };
        self.rest = if count > 0 { passed.fract() } else { 0.0 };
        let mut played = self.played.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        played.extend(self.waiting.drain(..count).map(|sample| sample * self.gain));
        self.count.played += count as u64;
        self.count.queued -= count as u64;
    }
}

impl AudioOutput for ClipOutput {
    fn room(&mut self) -> usize {
        self.follow();
        self.rate.samples(AHEAD).saturating_sub(self.waiting.len())
    }

    fn write(&mut self, samples: &[f32]) -> usize {
        self.follow();
        self.waiting.extend(samples);
        self.count.written += samples.len() as u64;
        self.count.queued += samples.len() as u64;
        samples.len()
    }

    fn end(&mut self) {}

    fn flush(&mut self) {
        self.follow();
        self.count.dropped += self.count.queued;
        self.count.queued = 0;
        self.waiting.clear();
    }

    fn duck(&mut self, gain: f32) {
        self.follow();
        self.gain = gain;
    }

    fn hold(&mut self, held: bool) {
        self.follow();
        self.held = held;
    }

    fn tally(&mut self) -> PlaybackCount {
        self.follow();
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> (ManualClock, Arc<dyn Clock>) {
        let clock = ManualClock::default();
        (clock.clone(), Arc::new(clock))
    }

    #[test]
    fn a_recording_comes_in_blocks_and_ends_in_silence() {
        let (manual, clock) = clock();
        let mut input = ClipInput::new(vec![0.5; BLOCK + 40].into(), clock);
        assert!(input.read().is_none());
        manual.advance(Duration::from_millis(25));
        let [first, second] = [input.read().unwrap(), input.read().unwrap()];
        assert!(input.read().is_none(), "the third block is not over");
        assert_eq!((first.at, second.at), (Moment(0), Moment(10_000_000)));
        assert!(first.samples.iter().all(|sample| *sample == 0.5));
        assert_eq!(second.samples.iter().filter(|sample| **sample == 0.5).count(), 40);
        manual.advance(Duration::from_millis(10));
        assert_eq!(input.read().unwrap().samples, [0.0; BLOCK]);
    }

    #[test]
    fn sound_is_played_at_the_pace_of_the_clock() {
        let (manual, clock) = clock();
        let (mut output, played) = ClipOutput::new(SampleRate(1_000), clock);
        manual.advance(Duration::from_secs(5));
        assert_eq!((output.room(), output.write(&[0.5; 30]), output.room()), (40, 30, 10));
        manual.advance(Duration::from_millis(10));
        output.duck(0.5);
        manual.advance(Duration::from_millis(5));
        output.hold(true);
        manual.advance(Duration::from_millis(500));
        output.hold(false);
        assert_eq!(output.tally(), PlaybackCount { written: 30, played: 15, dropped: 0, queued: 15 });
        output.flush();
        manual.advance(Duration::from_millis(500));
        assert_eq!(output.tally(), PlaybackCount { written: 30, played: 15, dropped: 15, queued: 0 });
        assert_eq!(played.take(), [vec![0.5; 10], vec![0.25; 5]].concat());
        assert!(played.take().is_empty());
    }
}
