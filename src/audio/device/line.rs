//! The two ends of a ring between a device's callback and the rest of the house.
//!
//! Architecture invariant: what the callback calls ([`CaptureProducer::take`],
//! [`PlaybackConsumer::fill`], [`StreamCounters::fail`]) never allocates, locks, waits or logs: it
//! moves samples through a ring and counts in atomics (`tests/callback.rs` proves it).
//!
//! Every callback leaves a heading beside its samples, so that the other side knows for each sample
//! which one it is and when it passed, also when some could not be kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use cpal::{FromSample, Sample};
use ringbuf::traits::{Consumer, Observer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};

use super::link::End;
use super::{Moment, StreamFormat};

/// How much sound a ring holds, in seconds: as long as the other side may be away from a microphone
/// without loss, and more than the 2 s that PulseAudio delivers at once when it wakes up.
const RING: u32 = 3;
/// Headings a ring holds: a second of callbacks of a millisecond.
const HEADINGS: usize = 1024;
/// Gain goes from nothing to full, or back, in so many milliseconds: short enough for a person who
/// interrupts, long enough not to click.
pub const FADE_MS: u32 = 5;

/// What a stream has to tell besides its sound; the callbacks write, everybody reads.
#[derive(Debug, Default)]
pub struct StreamCounters {
    /// Calls of the data callback.
    calls: AtomicU64,
    /// Interruptions that the device reported: sound was lost before a callback saw it, or silence
    /// played.
    xruns: AtomicU64,
    /// Frames that a callback brought and that found no room.
    overrun: AtomicU64,
    /// Errors after which the stream may be no good.
    doubts: AtomicU64,
    /// The first error after which the stream is no good: 0 for none, or what
    /// [`StreamCounters::fail`] was given.
    fault: AtomicU32,
}

impl StreamCounters {
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub fn xruns(&self) -> u64 {
        self.xruns.load(Ordering::Relaxed)
    }

    /// Frames of the device that were lost because nobody took them in time.
    pub fn overrun(&self) -> u64 {
        self.overrun.load(Ordering::Relaxed)
    }

    /// For the error callback: the device lost or invented sound, and goes on.
    pub fn xrun(&self) {
        self.xruns.fetch_add(1, Ordering::Relaxed);
    }

    /// For the error callback: something failed, and perhaps the stream with it.
    pub fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::Relaxed);
    }

    pub fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::Relaxed)
    }

    /// For the error callback: the stream is no good any more. The first `code` stays; it is not 0.
    pub fn fail(&self, code: u32) {
        let _ = self.fault.compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub fn fault(&self) -> Option<u32> {
        Some(self.fault.load(Ordering::Relaxed)).filter(|&code| code != 0)
    }
}

/// Of one call of a microphone's callback.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CapturedHeader {
    /// Its first frame, counted since the stream began, the lost ones too.
    pub first: u64,
    /// How many were kept: all of them or the heading would not be here.
    pub frames: u32,
    /// When the first one was at the device.
    pub at: Moment,
    /// [`StreamCounters::xruns`] at this time.
    pub xruns: u64,
}

/// A microphone's callback's end: it takes sound in.
pub struct CaptureProducer {
    samples: HeapProd<f32>,
    headings: HeapProd<CapturedHeader>,
    counters: Arc<StreamCounters>,
    channels: usize,
    next: u64,
}

/// The other end.
pub struct CaptureConsumer {
    pub samples: HeapCons<f32>,
    pub headings: HeapCons<CapturedHeader>,
    pub counters: Arc<StreamCounters>,
    pub format: StreamFormat,
    pub device: String,
}

/// A ring for a microphone of this format.
pub fn tap(format: StreamFormat, device: &str) -> (CaptureProducer, CaptureConsumer) {
    let (samples, samples_out) = HeapRb::new((format.rate.0 * RING) as usize).split();
    let (headings, headings_out) = HeapRb::new(HEADINGS).split();
    let counters = Arc::new(StreamCounters::default());
    let tap = CaptureProducer {
        samples,
        headings,
        counters: counters.clone(),
        channels: usize::from(format.channels),
        next: 0,
    };
    (tap, CaptureConsumer { samples: samples_out, headings: headings_out, counters, format, device: device.to_owned() })
}

impl CaptureProducer {
    /// What the error callback and the watchdog look at.
    pub fn counters(&self) -> Arc<StreamCounters> {
        self.counters.clone()
    }

    /// Mixes a block of interleaved frames to one channel and keeps it, or counts it as lost if
    /// there is no room. `at` is when its first frame was captured.
    pub fn take<T: Sample>(&mut self, interleaved: &[T], at: Moment)
    where
        f32: FromSample<T>,
    {
        let frames = interleaved.len() / self.channels;
        let first = self.next;
        self.next += frames as u64;
        self.counters.calls.fetch_add(1, Ordering::Relaxed);
        if self.samples.vacant_len() < frames || self.headings.is_full() {
            self.counters.overrun.fetch_add(frames as u64, Ordering::Relaxed);
            return;
        }
        self.samples.push_iter(interleaved.chunks_exact(self.channels).map(mixed));
        // The heading comes last: whoever sees it finds its samples there.
        let taken = CapturedHeader { first, frames: frames as u32, at, xruns: self.counters.xruns() };
        let _ = self.headings.try_push(taken);
    }
}

/// The mean of a frame's channels. A device that sends no numbers is silent.
fn mixed<T: Sample>(frame: &[T]) -> f32
where
    f32: FromSample<T>,
{
    let sum: f32 = frame.iter().map(|sample| f32::from_sample_(*sample)).sum();
    if sum.is_finite() { sum / frame.len() as f32 } else { 0.0 }
}

/// Of one call of a speaker's callback: first sound, then silence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PlayedHeader {
    /// Its first frame, counted since the stream began.
    pub first: u64,
    /// Frames of sound that had gone through the ring before, the dropped ones too.
    pub sound: u64,
    /// Frames of sound in this call.
    pub frames: u32,
    /// Frames of silence after them.
    pub silent: u32,
    /// Frames dropped after the sound.
    pub dropped: u32,
    /// Silence was asked for: it is no underrun.
    pub held: bool,
    /// When the first one will be at the speaker.
    pub at: Moment,
}

/// What the other side asks of a speaker's callback.
#[derive(Debug)]
struct PlaybackControls {
    /// The bits of the gain, an `f32` of 0.0..=1.0.
    gain: AtomicU32,
    /// Play nothing and keep what waits.
    held: AtomicBool,
    /// Drop whatever waits below this frame of sound.
    drop_to: AtomicU64,
}

/// A speaker's callback's end: it gives sound out.
pub struct PlaybackConsumer {
    samples: HeapCons<f32>,
    headings: HeapProd<PlayedHeader>,
    counters: Arc<StreamCounters>,
    wishes: Arc<PlaybackControls>,
    channels: usize,
    next: u64,
    /// Frames of sound that went through.
    sound: u64,
    gain: f32,
    /// How far the gain moves in a frame.
    slope: f32,
}

impl End for CaptureConsumer {
    fn counters(&self) -> &StreamCounters {
        &self.counters
    }

    fn device(&self) -> &str {
        &self.device
    }

    fn format(&self) -> StreamFormat {
        self.format
    }
}

impl End for PlaybackProducer {
    fn counters(&self) -> &StreamCounters {
        &self.counters
    }

    fn device(&self) -> &str {
        &self.device
    }

    fn format(&self) -> StreamFormat {
        self.format
    }
}

/// The other end.
pub struct PlaybackProducer {
    pub samples: HeapProd<f32>,
    pub headings: HeapCons<PlayedHeader>,
    pub counters: Arc<StreamCounters>,
    wishes: Arc<PlaybackControls>,
    pub format: StreamFormat,
    pub device: String,
}

/// A ring for a speaker of this format.
pub fn feed(format: StreamFormat, device: &str) -> (PlaybackConsumer, PlaybackProducer) {
    let (samples, samples_out) = HeapRb::new((format.rate.0 * RING) as usize).split();
    let (headings, headings_out) = HeapRb::new(HEADINGS).split();
    let counters = Arc::new(StreamCounters::default());
    let wishes = PlaybackControls { gain: 1f32.to_bits().into(), held: false.into(), drop_to: 0.into() };
    let wishes = Arc::new(wishes);
    let feed = PlaybackConsumer {
        samples: samples_out,
        headings,
        counters: counters.clone(),
        wishes: wishes.clone(),
        channels: usize::from(format.channels),
        next: 0,
        sound: 0,
        gain: 1.0,
        slope: 1000.0 / (FADE_MS * format.rate.0) as f32,
    };
    (feed, PlaybackProducer { samples, headings: headings_out, counters, wishes, format, device: device.to_owned() })
}

impl PlaybackProducer {
    pub fn set_gain(&self, gain: f32) {
        self.wishes.gain.store(gain.clamp(0.0, 1.0).to_bits(), Ordering::Relaxed);
    }

    pub fn hold(&self, held: bool) {
        self.wishes.held.store(held, Ordering::Relaxed);
    }

    /// Everything that went into the ring before its frame `sound` is dropped, after a fade.
    pub fn drop_to(&self, sound: u64) {
        self.wishes.drop_to.store(sound, Ordering::Release);
    }
}

impl PlaybackConsumer {
    pub fn counters(&self) -> Arc<StreamCounters> {
        self.counters.clone()
    }

    /// Fills a block of interleaved frames with sound, the same on every channel, and the rest with
    /// silence. `at` is when its first frame will be at the speaker.
    pub fn fill<T: Sample + FromSample<f32>>(&mut self, interleaved: &mut [T], at: Moment) {
        let frames = interleaved.len() / self.channels;
        let (first, before) = (self.next, self.sound);
        self.next += frames as u64;
        self.counters.calls.fetch_add(1, Ordering::Relaxed);
        // Sound that nobody could account for is kept for a later call.
        let noted = !self.headings.is_full();
        let drop_to = self.wishes.drop_to.load(Ordering::Acquire);
        let held = self.wishes.held.load(Ordering::Relaxed);
        let dropping = drop_to > self.sound;
        let played = if noted { self.play(interleaved, dropping || held, drop_to) } else { 0 };
        interleaved[played * self.channels..].fill(T::EQUILIBRIUM);
        let dropped = if noted && dropping { self.drop_below(drop_to, held) } else { 0 };
        let silent = (frames - played) as u32;
        let held = held || dropping;
        let _ = self.headings.try_push(PlayedHeader {
            first,
            sound: before,
            frames: played as u32,
            silent,
            dropped,
            held,
            at,
        });
    }

    /// Plays until the block is full, the ring empty, or the sound faded out; says how many frames
    /// it played.
    fn play<T: Sample + FromSample<f32>>(&mut self, interleaved: &mut [T], fade_out: bool, drop_to: u64) -> usize {
        let wanted = if fade_out { 0.0 } else { f32::from_bits(self.wishes.gain.load(Ordering::Relaxed)) };
        let most = if fade_out && drop_to > self.sound { drop_to - self.sound } else { u64::MAX };
        let mut played = 0;
        for frame in interleaved.chunks_exact_mut(self.channels) {
            if (fade_out && self.gain <= 0.0) || played as u64 == most {
                break;
            }
            let Some(sample) = self.samples.try_pop() else { break };
            self.gain += (wanted - self.gain).clamp(-self.slope, self.slope);
            frame.fill((sample * self.gain).to_sample());
            played += 1;
        }
        self.sound += played as u64;
        played
    }

    /// Once the fade is over, drops what is to be dropped; the next sound begins at its full gain.
    fn drop_below(&mut self, drop_to: u64, held: bool) -> u32 {
        if self.gain > 0.0 && !self.samples.is_empty() && drop_to > self.sound {
            return 0;
        }
        let dropped = self.samples.skip((drop_to - self.sound) as usize);
        self.sound += dropped as u64;
        self.gain = if held { 0.0 } else { f32::from_bits(self.wishes.gain.load(Ordering::Relaxed)) };
        dropped as u32
    }
}
