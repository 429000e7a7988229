//! Playback on a loudspeaker: samples go in at one rate, and their number that has been heard comes
//! out.

use std::collections::VecDeque;
use std::sync::Arc;

use ringbuf::traits::{Consumer, Observer, Producer};

use super::adjustable_resampler::AdjustableResampler;
use super::drift::DelayLockedLoop;
use super::line::{PlaybackProducer, PlayedHeader, feed};
use super::link::{DeviceChange, Link};
use super::{Card, Clock, Direction, Moment, Spawn};
use crate::audio::AudioError;
use crate::types::{Ms, SampleRate};

/// Largest number of reports that are kept; the oldest are dropped first.
const MOST_REPORTS: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlaybackSettings {
    /// Sample rate of what is written, independent of the device's own.
    pub rate: SampleRate,
    /// Amount of sound that may wait for the device's callback. The writer may be late by as much,
    /// and an interruption that is not a flush takes effect about as much later. At least two of
    /// the device's blocks.
    pub ahead: Ms,
}

impl PlaybackSettings {
    /// Makes settings with the usual 40 ms.
    pub fn at(rate: SampleRate) -> Self {
        PlaybackSettings { rate, ahead: Ms(40.0) }
    }
}

/// Account of the samples written: `written` is the sum of the others. Samples are settled in the
/// order in which they were written, so the first `played + dropped` of them are settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaybackCount {
    pub written: u64,
    /// Samples that have left the loudspeaker.
    pub played: u64,
    /// Samples that will never be played.
    pub dropped: u64,
    /// Samples that wait, here or in the device.
    pub queued: u64,
}

/// Samples that will never be heard: `dropped` of those written, from number `from` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushed {
    pub from: u64,
    pub dropped: u64,
    /// Whether the samples were lost with the device, not dropped by [`Playback::flush`].
    pub lost: bool,
}

/// Loudspeaker that may come and go. While it is away, [`Playback::room`] is zero; samples that
/// waited for it are dropped and reported, because it is unknown how much of the device's own
/// buffer was heard.
pub struct Playback {
    link: Link<PlaybackProducer>,
    clock: Arc<dyn Clock>,
    settings: PlaybackSettings,
    track: Option<Track>,
    ledger: Ledger,
    gain: f32,
    held: bool,
    xruns: u64,
}

impl Playback {
    /// Opens the loudspeaker of `card` called `name` or [`super::DEFAULT`], by a job given to
    /// `spawn`; until it is open it takes no samples. Errors when the rate cannot be resampled.
    pub fn open(card: Arc<dyn Card>, name: &str, settings: PlaybackSettings, spawn: Spawn) -> Result<Self, AudioError> {
        AdjustableResampler::new(settings.rate, SampleRate::HEARING)?;
        let (clock, wanted) = (card.clock(), name.to_owned());
        let open = move || {
            let mut ours = None;
            let stream = card.open_output(&wanted, &mut |format, device| {
                let (theirs, end) = feed(format, device);
                ours = Some(end);
                theirs
            })?;
            Ok((stream, ours.expect("a card connects what it opens")))
        };
        let link = Link::new(Direction::Output, name, Arc::new(open), spawn, clock.clone());
        let ledger = Ledger::default();
        Ok(Playback { link, clock, settings, track: None, ledger, gain: 1.0, held: false, xruns: 0 })
    }

    /// Watches the device and updates the counts; call it every few milliseconds.
    pub fn poll(&mut self) -> Option<DeviceChange> {
        let (change, left) = self.link.poll();
        let now = self.clock.now();
        if let Some(end) = left {
            self.close(end, now);
        }
        if let Some(end) = self.link.end() {
            let track = self.track.get_or_insert_with(|| {
                end.set_gain(self.gain);
                end.hold(self.held);
                Track::new(end, self.settings.rate, self.ledger.written)
            });
            track.account(end, &mut self.ledger, now);
            track.hand_over(end);
        }
        change
    }

    /// Closes the lost device, and counts the sound that was still in it as dropped.
    fn close(&mut self, mut end: PlaybackProducer, now: Moment) {
        self.xruns += end.counters.xruns();
        let Some(mut track) = self.track.take() else { return };
        track.account(&mut end, &mut self.ledger, now);
        if !track.flushes.is_empty() || self.ledger.written > self.ledger.settled() {
            self.ledger.drop_to(self.ledger.written, true);
        }
    }

    /// Number of samples that may be written now so that no more than the target waits for the
    /// device.
    pub fn room(&mut self) -> usize {
        let ahead = self.settings.rate.samples(self.settings.ahead);
        match (self.link.end(), &self.track) {
            (Some(end), Some(track)) => track.room(end, ahead, self.ledger.written),
            _ => 0,
        }
    }

    /// Takes samples in -1.0..=1.0 and returns how many it took: all of them within
    /// [`Playback::room`], at most about a second beyond it, and none without a device.
    pub fn write(&mut self, samples: &[f32]) -> usize {
        let (Some(end), Some(track)) = (self.link.end(), &mut self.track) else { return 0 };
        let count = samples.len().min(track.fits(end));
        self.ledger.written += count as u64;
        track.write(end, &samples[..count], self.ledger.written);
        count
    }

    /// Marks the end of an answer: its very last sample is played too, and running dry behind it is
    /// no underrun. Call it after the last sample; more may be written afterwards.
    pub fn end(&mut self) {
        if let (Some(end), Some(track)) = (self.link.end(), &mut self.track) {
            track.finish(end, self.ledger.written);
        }
    }

    /// Drops the samples that are queued and not yet played, except 5 ms in which the sound fades;
    /// those count as played. Once silence has reached the loudspeaker, [`Playback::flushed`]
    /// returns exactly which samples were dropped. What is written from now on is played.
    pub fn flush(&mut self) {
        let written = self.ledger.written;
        match (self.link.end(), &mut self.track) {
            (Some(end), Some(track)) => track.flush(end, written),
            _ => self.ledger.drop_to(written, false),
        }
    }

    /// Returns the next report of dropped samples, by [`Playback::flush`] or with a device.
    pub fn flushed(&mut self) -> Option<Flushed> {
        self.ledger.flushed.pop_front()
    }

    /// Sets the gain from the next callback on, within 5 ms: 0.0 is silent, 1.0 as written.
    pub fn duck(&mut self, gain: f32) {
        self.gain = gain;
        if let Some(end) = self.link.end() {
            end.set_gain(gain);
        }
    }

    /// Pauses from the next callback on, after a fade of 5 ms, and keeps the waiting samples; or
    /// resumes.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
        if let Some(end) = self.link.end() {
            end.hold(held);
        }
    }

    /// Number of samples that have left the loudspeaker by the device's clock.
    pub fn played(&mut self) -> u64 {
        self.tally().played
    }

    pub fn tally(&mut self) -> PlaybackCount {
        let now = self.clock.now();
        if let (Some(end), Some(track)) = (self.link.end(), &mut self.track) {
            track.account(end, &mut self.ledger, now);
        }
        let Ledger { written, played, dropped, .. } = self.ledger;
        PlaybackCount { written, played, dropped, queued: written - played - dropped }
    }

    /// Number of times that the loudspeaker ran dry in the middle of a sound. The silence then
    /// played is not counted as samples.
    pub fn underruns(&self) -> u64 {
        self.ledger.underruns
    }

    /// Number of interruptions that the device reported.
    pub fn xruns(&mut self) -> u64 {
        self.xruns + self.link.end().map_or(0, |end| end.counters.xruns())
    }

    /// Drift of the device's clock against the session's, in parts per million; positive is fast.
    /// `None` without a device.
    pub fn drift_ppm(&self) -> Option<f64> {
        self.track.as_ref().map(|track| track.clock.ppm())
    }
}

/// Counts over all devices of this playback.
#[derive(Default)]
struct Ledger {
    written: u64,
    played: u64,
    dropped: u64,
    underruns: u64,
    flushed: VecDeque<Flushed>,
}

impl Ledger {
    fn settled(&self) -> u64 {
        self.played + self.dropped
    }

    fn play_to(&mut self, sample: u64) {
        self.played += sample.saturating_sub(self.settled());
    }

    fn drop_to(&mut self, sample: u64, lost: bool) {
        let (from, dropped) = (self.settled(), sample.saturating_sub(self.settled()));
        self.dropped += dropped;
        report(&mut self.flushed, Flushed { from, dropped, lost });
    }
}

/// Rounds down, but takes a sample that rounding left a little short as whole.
fn whole(sample: f64) -> u64 {
    (sample + 1e-6).floor() as u64
}

fn report<T>(reports: &mut VecDeque<T>, new: T) {
    if reports.len() == MOST_REPORTS {
        reports.pop_front();
    }
    reports.push_back(new);
}

/// Flush that the callback has yet to carry out: it drops what was put into the ring buffer before
/// `frame`, and with it every sample before `sample`.
struct Flush {
    frame: u64,
    sample: u64,
}

/// State of a stream since it was opened. Frames are the device's, samples the writer's.
struct Track {
    resampler: AdjustableResampler,
    clock: DelayLockedLoop,
    /// Frames put into the ring buffer, and those that wait until it has space.
    pushed: u64,
    waiting: Vec<f32>,
    /// Start of the resampler's current sound, in frames and samples.
    begun: (u64, u64),
    /// Pairs of frame and sample; between two pairs the relation is linear.
    points: VecDeque<(f64, f64)>,
    /// Callbacks whose sound has not left the loudspeaker yet.
    sent: VecDeque<PlayedHeader>,
    flushes: VecDeque<Flush>,
    /// Frames behind which silence is no underrun.
    ends: VecDeque<u64>,
    /// Frame at which the ring buffer last ran dry.
    dry: Option<u64>,
    /// Longest block that the device asked for.
    block: usize,
}

impl Track {
    fn new(end: &PlaybackProducer, rate: SampleRate, sample: u64) -> Self {
        Track {
            resampler: AdjustableResampler::new(rate, end.format.rate).expect("both rates are accepted"),
            clock: DelayLockedLoop::new(end.format.rate),
            pushed: 0,
            waiting: Vec::new(),
            begun: (0, sample),
            points: [(0.0, sample as f64)].into(),
            sent: VecDeque::new(),
            flushes: VecDeque::new(),
            ends: [0].into(),
            dry: None,
            block: 0,
        }
    }

    /// Sample at which `frame` begins. Behind a flush it is the first sample after those dropped.
    fn first_of(&self, frame: u64) -> u64 {
        whole(self.exactly(frame))
    }

    fn exactly(&self, frame: u64) -> f64 {
        self.between(frame as f64, self.points.partition_point(|point| point.0 <= frame as f64))
    }

    /// Number of samples whose frames all come before `frame`, without those that a flush dropped
    /// there.
    fn before(&self, frame: u64) -> u64 {
        match self.points.partition_point(|point| point.0 < frame as f64) {
            at if self.points.get(at).is_some_and(|point| point.0 == frame as f64) => self.points[at].1 as u64,
            behind => whole(self.between(frame as f64, behind)),
        }
    }

    fn between(&self, frame: f64, behind: usize) -> f64 {
        let (from, to) = (self.points[behind.saturating_sub(1)], self.points.get(behind));
        to.map_or(from.1, |to| from.1 + (frame - from.0) * (to.1 - from.1) / (to.0 - from.0))
    }

    fn room(&self, end: &PlaybackProducer, ahead: usize, written: u64) -> usize {
        let taken = self.pushed - end.samples.occupied_len() as u64;
        let queued = written.saturating_sub(self.first_of(taken)) as usize;
        let blocks = self.frames_to_samples(2 * self.block);
        ahead.max(blocks).saturating_sub(queued).min(self.fits(end))
    }

    /// Number of samples for which the ring buffer has space.
    fn fits(&self, end: &PlaybackProducer) -> usize {
        self.frames_to_samples(end.samples.vacant_len().saturating_sub(self.waiting.len()))
    }

    fn frames_to_samples(&self, frames: usize) -> usize {
        (frames as f64 / self.resampler.ratio()) as usize
    }

    fn write(&mut self, end: &mut PlaybackProducer, samples: &[f32], written: u64) {
        if self.clock.time_of(0.0).is_some() {
            self.resampler.steer(self.clock.relative());
        }
        self.resampler.push(samples, &mut self.waiting);
        let (frames, sample) = self.begun;
        // The last few samples in the resampler do not fill a chunk yet and have no frame.
        let worked = (sample + self.resampler.worked()).min(written);
        let point = (frames as f64 + self.resampler.due(), worked as f64);
        if self.points.back().is_none_or(|last| last.0 < point.0) {
            self.points.push_back(point);
        }
        self.hand_over(end);
    }

    fn hand_over(&mut self, end: &mut PlaybackProducer) {
        let pushed = end.samples.push_slice(&self.waiting);
        self.waiting.drain(..pushed);
        self.pushed += pushed as u64;
    }

    fn finish(&mut self, end: &mut PlaybackProducer, written: u64) {
        self.resampler.finish(&mut self.waiting);
        let made = self.pushed + self.waiting.len() as u64;
        self.points.retain(|point| point.0 < made as f64 || point.0 == self.begun.0 as f64);
        self.cut(made, written);
        self.hand_over(end);
    }

    fn flush(&mut self, end: &mut PlaybackProducer, written: u64) {
        self.resampler.reset();
        self.waiting.clear();
        let reached = self.first_of(self.pushed);
        self.points.retain(|point| point.0 <= self.pushed as f64);
        self.points.push_back((self.pushed as f64, reached as f64));
        self.cut(self.pushed, written);
        self.flushes.push_back(Flush { frame: self.pushed, sample: written });
        end.drop_to(self.pushed);
    }

    /// Ends a sound before `frame` and `sample`; the next begins there.
    fn cut(&mut self, frame: u64, sample: u64) {
        self.points.push_back((frame as f64, sample as f64));
        self.begun = (frame, sample);
        self.ends.push_back(frame);
    }

    /// Reads the callbacks' headers, and counts as played what has been heard by `now`.
    fn account(&mut self, end: &mut PlaybackProducer, ledger: &mut Ledger, now: Moment) {
        while let Some(sent) = end.headings.try_pop() {
            self.clock.note(sent.first, sent.at);
            self.block = self.block.max((sent.frames + sent.silent) as usize);
            self.watch_for_underrun(&sent, ledger);
            self.sent.push_back(sent);
        }
        while let Some(sent) = self.sent.front() {
            let done = (now.since(sent.at).as_secs_f64() * f64::from(end.format.rate.0) + 1e-6) as u64;
            let frames = u64::from(sent.frames);
            ledger.play_to(self.before(sent.sound + done.min(frames)));
            if done < frames || now < sent.at {
                break;
            }
            let gone = sent.sound + frames + u64::from(sent.dropped);
            while self.flushes.front().is_some_and(|flush| flush.frame <= gone) {
                let flush = self.flushes.pop_front().expect("it was there");
                ledger.drop_to(flush.sample, false);
            }
            self.sent.pop_front();
            self.forget_before(gone);
        }
    }

    fn watch_for_underrun(&mut self, sent: &PlayedHeader, ledger: &mut Ledger) {
        let reached = sent.sound + u64::from(sent.frames);
        while self.ends.front().is_some_and(|&end| end < sent.sound) {
            self.ends.pop_front();
        }
        let dry = sent.silent > 0 && !sent.held;
        if dry && self.dry != Some(reached) && !self.ends.contains(&reached) {
            ledger.underruns += 1;
        }
        if dry {
            self.dry = Some(reached);
        }
    }

    fn forget_before(&mut self, frame: u64) {
        while self.points.get(1).is_some_and(|point| point.0 <= frame as f64) {
            self.points.pop_front();
        }
    }
}
