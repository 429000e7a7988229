//! The two ends of a ring buffer between a device's callback and the rest of the program.
//!
//! Architecture invariant: the functions that the callback calls ([`CaptureProducer::take`],
//! [`PlaybackConsumer::fill`], [`StreamCounters::fail`]) never allocate, lock, wait or log. They
//! move samples through a ring buffer and count in atomics (`tests/callback.rs` proves it).
//!
//! Every callback leaves a header beside its samples. By it the other end knows for each sample its
//! number and its time, even when some samples were lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use cpal::{FromSample, Sample};
use ringbuf::traits::{Consumer, Observer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};

use super::link::End;
use super::{Moment, StreamFormat};

/// Length of a ring buffer in seconds: the longest time without reading a microphone that loses
/// nothing, and more than the 2 s that PulseAudio delivers at once when it wakes up.
const RING: u32 = 3;
/// Headers in a ring buffer: one second of callbacks of 1 ms.
const HEADINGS: usize = 1024;
/// Length of a fade from silence to full gain, or back: short enough for a person who interrupts,
/// long enough not to click.
pub const FADE_MS: u32 = 5;

/// Counters of a stream, written by its callbacks and read by all.
#[derive(Debug, Default)]
pub struct StreamCounters {
    /// Number of calls of the data callback.
    calls: AtomicU64,
    /// Number of interruptions that the device reported: sound was lost before a callback got it,
    /// or silence was played.
    xruns: AtomicU64,
    /// Number of frames from callbacks that found the ring buffer full.
    overrun: AtomicU64,
    /// Number of errors after which the stream may have failed.
    doubts: AtomicU64,
    /// First error after which the stream has failed: 0 for none, or the argument of
    /// [`StreamCounters::fail`].
    fault: AtomicU32,
}

impl StreamCounters {
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub fn xruns(&self) -> u64 {
        self.xruns.load(Ordering::Relaxed)
    }

    /// Number of the device's frames that were lost because they were not read in time.
    pub fn overrun(&self) -> u64 {
        self.overrun.load(Ordering::Relaxed)
    }

    /// Notes, for the error callback, that the device lost or invented sound and goes on.
    pub fn xrun(&self) {
        self.xruns.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes, for the error callback, an error that may have ended the stream.
    pub fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::Relaxed);
    }

    pub fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::Relaxed)
    }

    /// Notes, for the error callback, that the stream has failed. The first `code` stays; it is
    /// not 0.
    pub fn fail(&self, code: u32) {
        let _ = self.fault.compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub fn fault(&self) -> Option<u32> {
        Some(self.fault.load(Ordering::Relaxed)).filter(|&code| code != 0)
    }
}

/// Header of one call of a microphone's callback.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CapturedHeader {
    /// Number of its first frame since the stream began, lost frames included.
    pub first: u64,
    /// Number of frames in the ring buffer. A call is kept whole or not at all.
    pub frames: u32,
    /// Time at which the first frame was at the device.
    pub at: Moment,
    /// Value of [`StreamCounters::xruns`] at this time.
    pub xruns: u64,
}

/// The callback's end of a microphone's ring buffer, which writes sound.
pub struct CaptureProducer {
    samples: HeapProd<f32>,
    headings: HeapProd<CapturedHeader>,
    counters: Arc<StreamCounters>,
    channels: usize,
    next: u64,
}

/// The reader's end of a microphone's ring buffer.
pub struct CaptureConsumer {
    pub samples: HeapCons<f32>,
    pub headings: HeapCons<CapturedHeader>,
    pub counters: Arc<StreamCounters>,
    pub format: StreamFormat,
    pub device: String,
}

/// Makes a ring buffer for a microphone of this format.
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
    /// Counters that the error callback and the watchdog use.
    pub fn counters(&self) -> Arc<StreamCounters> {
        self.counters.clone()
    }

    /// Mixes a block of interleaved frames to one channel and keeps it, or counts it as lost if the
    /// ring buffer is full. `at` is the time at which its first frame was captured.
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
        // The header comes last: a reader that gets it finds its samples there.
        let taken = CapturedHeader { first, frames: frames as u32, at, xruns: self.counters.xruns() };
        let _ = self.headings.try_push(taken);
    }
}

/// Mean of a frame's channels. Samples that are not numbers are silence.
fn mixed<T: Sample>(frame: &[T]) -> f32
where
    f32: FromSample<T>,
{
    let sum: f32 = frame.iter().map(|sample| f32::from_sample_(*sample)).sum();
    if sum.is_finite() { sum / frame.len() as f32 } else { 0.0 }
}

/// Header of one call of a loudspeaker's callback: first sound, then silence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PlayedHeader {
    /// Number of its first frame since the stream began.
    pub first: u64,
    /// Frames of sound that had left the ring buffer before, dropped ones included.
    pub sound: u64,
    /// Frames of sound in this call.
    pub frames: u32,
    /// Frames of silence after the sound.
    pub silent: u32,
    /// Frames dropped after the sound.
    pub dropped: u32,
    /// Whether silence was requested: it is then no underrun.
    pub held: bool,
    /// Time at which the first frame will be at the loudspeaker.
    pub at: Moment,
}

/// Requests to a loudspeaker's callback.
#[derive(Debug)]
struct PlaybackControls {
    /// Bits of the gain, an `f32` in 0.0..=1.0.
    gain: AtomicU32,
    /// Whether to play nothing and keep the waiting sound.
    held: AtomicBool,
    /// Frame of sound below which waiting sound is dropped.
    drop_to: AtomicU64,
}

/// The callback's end of a loudspeaker's ring buffer, which reads sound.
pub struct PlaybackConsumer {
    samples: HeapCons<f32>,
    headings: HeapProd<PlayedHeader>,
    counters: Arc<StreamCounters>,
    wishes: Arc<PlaybackControls>,
    channels: usize,
    next: u64,
    /// Frames of sound that have left the ring buffer.
    sound: u64,
    gain: f32,
    /// Change of the gain per frame.
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

/// The writer's end of a loudspeaker's ring buffer.
pub struct PlaybackProducer {
    pub samples: HeapProd<f32>,
    pub headings: HeapCons<PlayedHeader>,
    pub counters: Arc<StreamCounters>,
    wishes: Arc<PlaybackControls>,
    pub format: StreamFormat,
    pub device: String,
}

/// Makes a ring buffer for a loudspeaker of this format.
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

    /// Drops, after a fade, everything that was put into the ring buffer before frame `sound`.
    pub fn drop_to(&self, sound: u64) {
        self.wishes.drop_to.store(sound, Ordering::Release);
    }
}

impl PlaybackConsumer {
    pub fn counters(&self) -> Arc<StreamCounters> {
        self.counters.clone()
    }

    /// Fills a block of interleaved frames with sound, the same on every channel, and the rest with
    /// silence. `at` is the time at which its first frame will be at the loudspeaker.
    pub fn fill<T: Sample + FromSample<f32>>(&mut self, interleaved: &mut [T], at: Moment) {
        let frames = interleaved.len() / self.channels;
        let (first, before) = (self.next, self.sound);
        self.next += frames as u64;
        self.counters.calls.fetch_add(1, Ordering::Relaxed);
        // Sound without space for its header is kept for a later call.
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

    /// Plays until the block is full, the ring buffer empty, or the sound faded out. Returns the
    /// number of frames played.
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

    /// Drops the requested frames once the fade is over; the next sound begins at its full gain.
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
