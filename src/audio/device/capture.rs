//! A microphone as the rest of the house sees it: blocks of 10 ms at 16 kHz that never stop, each
//! with its place in time.

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
/// While there is no device, silence is handed out so far behind the clock: what a device brings
/// when it opens is then not cut off.
const BEHIND: Duration = Duration::from_millis(50);
/// A block so much later than the device's clock says has lost something before it, reported or
/// not.
const LATE: f64 = 0.25;
/// The same after the device has reported an interruption.
const LATE_AFTER_XRUN: f64 = 0.002;
/// An error of phase is pulled in over so many seconds,
const PULL: f64 = 5.0;
/// but never faster than by this: times that jitter must not become a pitch that wavers.
const MOST_PULL: f64 = 5e-5;

/// 10 ms of sound at 16 kHz.
#[derive(Clone, Debug, PartialEq)]
pub struct CapturedBlock {
    /// Of its first sample: samples at 16 kHz since the capture began.
    pub position: u64,
    /// When its first sample was at the microphone.
    pub at: Moment,
    /// Samples that are silence because there was nothing: the device was gone, or not read in
    /// time.
    pub missing: u16,
    pub samples: [f32; BLOCK],
}

/// A microphone that is always there. [`Capture::read`] hands out blocks without end; what a device
/// did not deliver is silence, marked in [`CapturedBlock::missing`]. Silence rather than an event,
/// because all that follow count time in samples: the echo canceller stays aligned, and a turn ends
/// by silence when the microphone is pulled out in the middle of a word. The event comes as well,
/// from [`Capture::poll`].
///
/// A position is a time: the capture's beginning and 1/16000 s of the session for each sample,
/// whatever the device's clock does; to within a few milliseconds where the device tells its times
/// well. [`CapturedBlock::at`] is always the better of both.
pub struct Capture {
    link: Link<CaptureConsumer>,
    flow: Flow,
    /// Of streams that have ended.
    overruns: u64,
    xruns: u64,
}

impl Capture {
    /// A microphone of `card` by its name or [`super::DEFAULT`]. It is opened where `spawn` puts
    /// it, and until then there is silence. The capture begins now.
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

    /// Looks after the device; to be called every few milliseconds, before [`Capture::read`].
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

    /// The next block, once 10 ms more have passed.
    pub fn read(&mut self) -> Option<CapturedBlock> {
        match self.link.end() {
            Some(end) => while self.flow.lacks() > 0 && self.flow.take_in(end) {},
            None => self.flow.wait_in_silence(),
        }
        (self.flow.lacks() == 0).then(|| self.flow.hand_out())
    }

    /// How fast the device's clock is by the session's, in parts per million; positive is fast.
    /// None without a device.
    pub fn drift_ppm(&self) -> Option<f64> {
        self.flow.track.as_ref().map(|track| track.clock.ppm())
    }

    /// Samples handed out as silence because there was nothing.
    pub fn missing(&self) -> u64 {
        self.flow.missing
    }

    /// Frames of the device that were lost because [`Capture::read`] was not called for some
    /// seconds.
    pub fn overruns(&mut self) -> u64 {
        self.overruns + self.link.end().map_or(0, |end| end.counters.overrun())
    }

    /// Interruptions that the device reported.
    pub fn xruns(&mut self) -> u64 {
        self.xruns + self.link.end().map_or(0, |end| end.counters.xruns())
    }
}

/// From callbacks to blocks.
struct Flow {
    clock: Arc<dyn Clock>,
    began: Moment,
    /// Of the first sample in `ready`.
    position: u64,
    /// What is to be handed out; none is a sample that was lost.
    ready: VecDeque<Option<f32>>,
    /// Lost samples that come after it.
    silence: u64,
    /// The stream, from its first block on.
    track: Option<Track>,
    /// A position in the sound that came last, and its time in seconds.
    anchor: (f64, f64),
    missing: u64,
    raw: Vec<f32>,
    made: Vec<f32>,
}

struct Track {
    resampler: AdjustableResampler,
    clock: DelayLockedLoop,
    /// The frame that should come next.
    next: u64,
    xruns: u64,
    /// The frame and the position at which the resampler's sound begins.
    from: u64,
    base: u64,
    /// Samples that were handed out as silence before the device brought them.
    surplus: usize,
}

impl Flow {
    fn new(clock: Arc<dyn Clock>) -> Self {
        let (began, anchor) = (clock.now(), (0.0, clock.now().seconds()));
        let (ready, raw, made) = (VecDeque::new(), Vec::new(), Vec::new());
        Flow { clock, began, position: 0, ready, silence: 0, track: None, anchor, missing: 0, raw, made }
    }

    /// How many samples the next block lacks.
    fn lacks(&self) -> usize {
        BLOCK.saturating_sub(self.ready.len())
    }

    /// The position behind all that is known.
    fn end(&self) -> u64 {
        self.position + self.ready.len() as u64 + self.silence
    }

    fn position_at(&self, seconds: f64) -> f64 {
        (seconds - self.began.seconds()) * RATE
    }

    /// Adds some of the silence that is due, or the sound of one callback. False if there is
    /// neither.
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

    /// The first callback of a stream says where in time it stands.
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

    /// `lost` samples are missing before what comes now.
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

    /// Puts what was made to what is ready.
    fn keep(&mut self) {
        let Some(track) = &mut self.track else { return };
        let surplus = track.surplus.min(self.made.len());
        track.surplus -= surplus;
        self.ready.extend(self.made[surplus..].iter().map(|&sample| Some(sample)));
    }

    /// The stream has ended; what the resampler holds is the end of its sound.
    fn stop(&mut self) {
        self.made.clear();
        if let Some(track) = &mut self.track {
            track.resampler.finish(&mut self.made);
        }
        self.keep();
        self.track = None;
    }

    /// Silence up to a little before now.
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
    /// How many samples at 16 kHz were lost before this callback: by a ring that was full, or in
    /// the device.
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
