//! A speaker as the rest of the house sees it: samples go in at one rate, and it says which of them
//! have been heard.

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

/// Reports that nobody fetches are forgotten beyond this many, the oldest first.
const MOST_REPORTS: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlaybackSettings {
    /// Of what is written, whatever the device's own.
    pub rate: SampleRate,
    /// How much may wait for the device's callback: as much as the writer may be late, and about as
    /// much later an interruption takes effect when it is not a flush. Two of the device's blocks
    /// at least.
    pub ahead: Ms,
}

impl PlaybackSettings {
    /// With the usual 40 ms.
    pub fn at(rate: SampleRate) -> Self {
        PlaybackSettings { rate, ahead: Ms(40.0) }
    }
}

/// What became of the samples written: `written` is the sum of the others. Samples are settled in
/// the order in which they were written, so the first `played + dropped` of them are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaybackCount {
    pub written: u64,
    /// Have left the speaker.
    pub played: u64,
    /// Never will.
    pub dropped: u64,
    /// Wait, here or in the device.
    pub queued: u64,
}

/// Samples that will never be heard: of those written, `dropped` from number `from` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushed {
    pub from: u64,
    pub dropped: u64,
    /// Not by [`Playback::flush`]: the device was lost with them.
    pub lost: bool,
}

/// A speaker that may come and go. While it is away there is no [`Playback::room`]; what waited for
/// it is dropped and reported, because nobody can say how much of the device's own buffer was
/// heard.
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
    /// A speaker of `card` by its name or [`super::DEFAULT`]. It is opened where `spawn` puts it,
    /// and until then there is no room. Errors when the rate is none that can be resampled.
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

    /// Looks after the device and the accounts; to be called every few milliseconds.
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

    /// The device is lost, and what was still on its way.
    fn close(&mut self, mut end: PlaybackProducer, now: Moment) {
        self.xruns += end.counters.xruns();
        let Some(mut track) = self.track.take() else { return };
        track.account(&mut end, &mut self.ledger, now);
        if !track.flushes.is_empty() || self.ledger.written > self.ledger.settled() {
            self.ledger.drop_to(self.ledger.written, true);
        }
    }

    /// How many samples may be written now so that no more than the target waits for the device.
    pub fn room(&mut self) -> usize {
        let ahead = self.settings.rate.samples(self.settings.ahead);
        match (self.link.end(), &self.track) {
            (Some(end), Some(track)) => track.room(end, ahead, self.ledger.written),
            _ => 0,
        }
    }

    /// Takes samples of -1.0..=1.0 and says how many: all of them within [`Playback::room`], at
    /// most about a second of them beyond it, and none without a device.
    pub fn write(&mut self, samples: &[f32]) -> usize {
        let (Some(end), Some(track)) = (self.link.end(), &mut self.track) else { return 0 };
        let count = samples.len().min(track.fits(end));
        self.ledger.written += count as u64;
        track.write(end, &samples[..count], self.ledger.written);
        count
    }

    /// What was written is whole: its very end is played too, and running dry behind it is no
    /// underrun. To be called after the last sample of an answer; more may be written afterwards.
    pub fn end(&mut self) {
        if let (Some(end), Some(track)) = (self.link.end(), &mut self.track) {
            track.finish(end, self.ledger.written);
        }
    }

    /// Drops what is queued and not yet played, but for 5 ms in which it fades; those count as
    /// played. Once silence has reached the speaker, [`Playback::flushed`] says exactly which
    /// samples were dropped. What is written from now on is played.
    pub fn flush(&mut self) {
        let written = self.ledger.written;
        match (self.link.end(), &mut self.track) {
            (Some(end), Some(track)) => track.flush(end, written),
            _ => self.ledger.drop_to(written, false),
        }
    }

    /// The next report of what was dropped, by [`Playback::flush`] or with a device.
    pub fn flushed(&mut self) -> Option<Flushed> {
        self.ledger.flushed.pop_front()
    }

    /// Louder or softer from the next callback on, within 5 ms: 0.0 is silent, 1.0 as written.
    pub fn duck(&mut self, gain: f32) {
        self.gain = gain;
        if let Some(end) = self.link.end() {
            end.set_gain(gain);
        }
    }

    /// Plays nothing from the next callback on, after a fade of 5 ms, and keeps what waits; or goes
    /// on with it.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
        if let Some(end) = self.link.end() {
            end.hold(held);
        }
    }

    /// How many samples have left the speaker by the device's clock.
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

    /// How often the speaker ran dry in the middle of what was written: silence was played, which
    /// counts as nothing.
    pub fn underruns(&self) -> u64 {
        self.ledger.underruns
    }

    /// Interruptions that the device reported.
    pub fn xruns(&mut self) -> u64 {
        self.xruns + self.link.end().map_or(0, |end| end.counters.xruns())
    }

    /// How fast the device's clock is by the session's, in parts per million; positive is fast.
    /// None without a device.
    pub fn drift_ppm(&self) -> Option<f64> {
        self.track.as_ref().map(|track| track.clock.ppm())
    }
}

/// Over all devices there were.
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

/// A whole sample that rounding left a little short of one is whole.
fn whole(sample: f64) -> u64 {
    (sample + 1e-6).floor() as u64
}

fn report<T>(reports: &mut VecDeque<T>, new: T) {
    if reports.len() == MOST_REPORTS {
        reports.pop_front();
    }
    reports.push_back(new);
}

/// A flush that the callback has yet to obey: it drops what went into the ring before `frame`, and
/// with it every sample before `sample`.
struct Flush {
    frame: u64,
    sample: u64,
}

/// A stream from its opening on. Frames are the device's, samples the writer's.
struct Track {
    resampler: AdjustableResampler,
    clock: DelayLockedLoop,
    /// Frames that went into the ring, and those that wait for room in it.
    pushed: u64,
    waiting: Vec<f32>,
    /// Where the resampler's present sound began, in frames and samples.
    begun: (u64, u64),
    /// Which frame stands for which sample: straight between two points.
    points: VecDeque<(f64, f64)>,
    /// Callbacks whose sound is still on its way.
    sent: VecDeque<PlayedHeader>,
    flushes: VecDeque<Flush>,
    /// Frames behind which silence is right.
    ends: VecDeque<u64>,
    /// The frame at which the ring ran dry last.
    dry: Option<u64>,
    /// The longest block that the device asked for.
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

    /// The sample with which `frame` begins. Behind a flush that is the first sample after what was
    /// dropped.
    fn first_of(&self, frame: u64) -> u64 {
        whole(self.exactly(frame))
    }

    fn exactly(&self, frame: u64) -> f64 {
        self.between(frame as f64, self.points.partition_point(|point| point.0 <= frame as f64))
    }

    /// The samples whose frames all come before `frame`. Those that a flush dropped there are not
    /// among them.
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

    /// Samples for which the ring has room.
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
        // Of what is in the resampler, the last few samples do not fill a chunk yet and stand for
        // no frame.
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

    /// A sound ends before `frame` and `sample`, and the next begins there.
    fn cut(&mut self, frame: u64, sample: u64) {
        self.points.push_back((frame as f64, sample as f64));
        self.begun = (frame, sample);
        self.ends.push_back(frame);
    }

    /// Takes in what the callbacks did, and settles what has been heard by `now`.
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
