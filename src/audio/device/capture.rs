//! Capture from a microphone: blocks of 10 ms at 16 kHz without end, each with its position in
//! time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ringbuf::traits::Consumer;

use super::adjustable_resampler::AdjustableResampler;
use super::drift::DelayLockedLoop;
use super::line::{CaptureConsumer, CapturedHeader, tap};
use super::link::{DeviceChange, Link};
use super::{Card, Clock, Direction, Moment, Spawn};
use crate::types::SampleRate;

/// Samples of a block: 10 ms.
pub const BLOCK: usize = 160;
const RATE: f64 = SampleRate::HEARING.0 as f64;
/// Delay behind the clock with which silence is handed out while there is no device: the first
/// sound of a device that opens is then not cut off.
const BEHIND: Duration = Duration::from_millis(50);
/// Delay of a block, in seconds by the device's clock, that shows that samples before it were lost,
/// reported or not.
const LATE: f64 = 0.25;
/// Delay that shows a loss after the device has reported an interruption, in seconds.
const LATE_AFTER_XRUN: f64 = 0.002;
/// Time in which a phase error is corrected, in seconds.
const PULL: f64 = 5.0;
/// Fastest correction of a phase error, as a fraction of the rate: jitter in the times must not
/// become an audible change of pitch.
const MOST_PULL: f64 = 5e-5;

/// 10 ms of sound at 16 kHz.
#[derive(Clone, Debug, PartialEq)]
pub struct CapturedBlock {
    /// Position of the first sample: samples at 16 kHz since the capture began.
    pub position: u64,
    /// Time at which the first sample was at the microphone.
    pub at: Moment,
    /// Number of samples that are silence because there was no sound: the device was gone, or was
    /// not read in time.
    pub missing: u16,
    pub samples: [f32; BLOCK],
}

/// Microphone that is always present. [`Capture::read`] hands out blocks without end; what a device
/// did not deliver is silence, marked in [`CapturedBlock::missing`]. It is silence and not only an
/// event, because all later stages count time in samples: the echo canceller stays aligned, and a
/// turn ends by silence when the microphone is unplugged in the middle of a word. [`Capture::poll`]
/// returns the event as well.
///
/// Positions are times: the beginning of the capture plus 1/16000 s of the session for each sample,
/// independent of the device's clock, and exact to a few milliseconds where the device reports its
/// times well. [`CapturedBlock::at`] is always the more exact of the two.
pub struct Capture {
    link: Link<CaptureConsumer>,
    flow: Flow,
    /// Overruns of streams that have ended.
    overruns: u64,
    xruns: u64,
}

impl Capture {
    /// Opens the microphone of `card` called `name` or [`super::DEFAULT`], by a job given to
    /// `spawn`; until it is open there is silence. The capture begins now.
    pub fn open(card: Arc<dyn Card>, name: &str, spawn: Spawn) -> Self {
        let (clock, wanted) = (card.clock(), name.to_owned());
        let open = move || {
            let mut ours = None;
            let stream = card.open_input(&wanted, &mut |format, device| {
                let (theirs, end) = tap(format, device);
                ours = Some(end);
                theirs
            })?;
            Ok((stream, ours.expect("a card connects what it opens")))
        };
        let link = Link::new(Direction::Input, name, Arc::new(open), spawn, clock.clone());
        Capture { link, flow: Flow::new(clock), overruns: 0, xruns: 0 }
    }

    /// Watches the device; call it every few milliseconds, before [`Capture::read`].
    pub fn poll(&mut self) -> Option<DeviceChange> {
        let (change, left) = self.link.poll();
        if let Some(mut end) = left {
            while self.flow.take_in(&mut end) {}
            self.flow.stop();
            self.overruns += end.counters.overrun();
            self.xruns += end.counters.xruns();
        }
        change
    }

    /// Returns the next block, once 10 ms more have passed.
    pub fn read(&mut self) -> Option<CapturedBlock> {
        match self.link.end() {
            Some(end) => while self.flow.lacks() > 0 && self.flow.take_in(end) {},
            None => self.flow.wait_in_silence(),
        }
        (self.flow.lacks() == 0).then(|| self.flow.hand_out())
    }

    /// Drift of the device's clock against the session's, in parts per million; positive is fast.
    /// `None` without a device.
    pub fn drift_ppm(&self) -> Option<f64> {
        self.flow.track.as_ref().map(|track| track.clock.ppm())
    }

    /// Number of samples handed out as silence because there was no sound.
    pub fn missing(&self) -> u64 {
        self.flow.missing
    }

    /// Number of the device's frames that were lost because [`Capture::read`] was not called for
    /// some seconds.
    pub fn overruns(&mut self) -> u64 {
        self.overruns + self.link.end().map_or(0, |end| end.counters.overrun())
    }

    /// Number of interruptions that the device reported.
    pub fn xruns(&mut self) -> u64 {
        self.xruns + self.link.end().map_or(0, |end| end.counters.xruns())
    }
}

/// Conversion of callbacks to blocks.
struct Flow {
    clock: Arc<dyn Clock>,
    began: Moment,
    /// Position of the first sample in `ready`.
    position: u64,
    /// Samples to hand out; `None` is a sample that was lost.
    ready: VecDeque<Option<f32>>,
    /// Number of lost samples that come after `ready`.
    silence: u64,
    /// The current stream, from its first block on.
    track: Option<Track>,
    /// Position in the latest sound, and its time in seconds.
    anchor: (f64, f64),
    missing: u64,
    raw: Vec<f32>,
    made: Vec<f32>,
}

struct Track {
    resampler: AdjustableResampler,
    clock: DelayLockedLoop,
    /// Number of the frame that should come next.
    next: u64,
    xruns: u64,
    /// Frame and position at which the resampler's sound begins.
    from: u64,
    base: u64,
    /// Samples that were handed out as silence before the device delivered them.
    surplus: usize,
}

impl Flow {
    fn new(clock: Arc<dyn Clock>) -> Self {
        let (began, anchor) = (clock.now(), (0.0, clock.now().seconds()));
        let (ready, raw, made) = (VecDeque::new(), Vec::new(), Vec::new());
        Flow { clock, began, position: 0, ready, silence: 0, track: None, anchor, missing: 0, raw, made }
    }

    /// Number of samples that the next block lacks.
    fn lacks(&self) -> usize {
        BLOCK.saturating_sub(self.ready.len())
    }

    /// Position behind all samples received.
    fn end(&self) -> u64 {
        self.position + self.ready.len() as u64 + self.silence
    }

    fn position_at(&self, seconds: f64) -> f64 {
        (seconds - self.began.seconds()) * RATE
    }

    /// Adds some of the silence that is due, or the sound of one callback. Returns false if there
    /// is neither.
    fn take_in(&mut self, end: &mut CaptureConsumer) -> bool {
        if self.silence > 0 {
            self.add_silence();
            return true;
        }
        let Some(&taken) = end.headings.try_peek() else { return false };
        let Some(track) = &mut self.track else {
            self.start(end, &taken);
            return true;
        };
        let lost = track.lost_before(&taken);
        if lost > 0 {
            self.close_gap(lost, &taken);
            return true;
        }
        end.headings.skip(1);
        self.raw.resize(taken.frames as usize, 0.0);
        end.samples.pop_slice(&mut self.raw);
        self.resample(&taken);
        true
    }

    fn add_silence(&mut self) {
        let count = self.silence.min(self.lacks().max(1) as u64);
        self.silence -= count;
        self.ready.extend(std::iter::repeat_n(None, count as usize));
    }

    /// Places a stream in time by its first callback.
    fn start(&mut self, end: &CaptureConsumer, taken: &CapturedHeader) {
        let began = self.position_at(taken.at.min(self.clock.now()).seconds()).max(0.0).round() as u64;
        self.silence += began.saturating_sub(self.end());
        let surplus = self.end().saturating_sub(began) as usize;
        let rate = end.format.rate;
        let resampler =
            AdjustableResampler::new(rate, SampleRate::HEARING).expect("the rates of a format are accepted");
        let (next, xruns) = (taken.first, taken.xruns);
        let clock = DelayLockedLoop::new(rate);
        self.track = Some(Track { resampler, clock, next, xruns, from: next, base: began, surplus });
    }

    /// Fills the gap of `lost` samples before the next sound.
    fn close_gap(&mut self, lost: u64, taken: &CapturedHeader) {
        let Some(track) = &mut self.track else { return };
        let overrun = taken.first != track.next;
        (track.next, track.xruns) = (taken.first, taken.xruns);
        if !overrun {
            track.clock.jump(taken.first, taken.at);
        }
        self.made.clear();
        track.resampler.finish(&mut self.made);
        track.from = taken.first;
        self.keep();
        self.silence = lost;
        let base = self.end();
        if let Some(track) = &mut self.track {
            track.base = base;
        }
    }

    fn resample(&mut self, taken: &CapturedHeader) {
        let Some(track) = &mut self.track else { return };
        track.clock.note(taken.first, taken.at);
        (track.next, track.xruns) = (taken.first + u64::from(taken.frames), taken.xruns);
        self.made.clear();
        track.resampler.push(&self.raw, &mut self.made);
        let at = track.clock.time_of((track.from + track.resampler.worked()) as f64);
        let time = at.unwrap_or(taken.at.seconds());
        let position = track.base as f64 + track.resampler.due();
        self.anchor = (position, time);
        let late = (time - self.began.seconds()) - position / RATE;
        track.resampler.steer((1.0 + (late / PULL).clamp(-MOST_PULL, MOST_PULL)) / track.clock.relative());
        self.keep();
    }

    /// Moves the resampler's output to `ready`.
    fn keep(&mut self) {
        let Some(track) = &mut self.track else { return };
        let surplus = track.surplus.min(self.made.len());
        track.surplus -= surplus;
        self.ready.extend(self.made[surplus..].iter().map(|&sample| Some(sample)));
    }

    /// Ends the stream; the resampler's rest is the end of its sound.
    fn stop(&mut self) {
        self.made.clear();
        if let Some(track) = &mut self.track {
            track.resampler.finish(&mut self.made);
        }
        self.keep();
        self.track = None;
    }

    /// Adds silence up to a little before now.
    fn wait_in_silence(&mut self) {
        let now = self.position_at(self.clock.now().minus(BEHIND).seconds());
        let due = (now.max(0.0) as u64).saturating_sub(self.end());
        if self.silence + due >= self.lacks() as u64 {
            self.silence += due;
            self.add_silence();
        }
    }

    fn hand_out(&mut self) -> CapturedBlock {
        let at = match self.ready.front() {
            Some(Some(_)) => self.anchor.1 - (self.anchor.0 - self.position as f64) / RATE,
            _ => self.began.seconds() + self.position as f64 / RATE,
        };
        let mut block =
            CapturedBlock { position: self.position, at: Moment::at_seconds(at), missing: 0, samples: [0.0; BLOCK] };
        for (sample, ready) in block.samples.iter_mut().zip(self.ready.drain(..BLOCK)) {
            *sample = ready.unwrap_or_default();
            block.missing += u16::from(ready.is_none());
        }
        self.position += BLOCK as u64;
        self.missing += u64::from(block.missing);
        block
    }
}

impl Track {
    /// Number of samples at 16 kHz that were lost before this callback: by a full ring buffer, or
    /// in the device.
    fn lost_before(&self, taken: &CapturedHeader) -> u64 {
        let Some(expected) = self.clock.time_of(self.next as f64) else { return 0 };
        let (at, least) = match taken.first != self.next {
            true => (self.clock.time_of(taken.first as f64).unwrap_or(expected), 0.0),
            false if taken.xruns != self.xruns => (taken.at.seconds(), LATE_AFTER_XRUN),
            false => (taken.at.seconds(), LATE),
        };
        let late = at - expected;
        if late > least { (late * RATE).round() as u64 } else { 0 }
    }
}
