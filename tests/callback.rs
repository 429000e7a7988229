//! What a sound card's callback calls never allocates, whatever the device's format, with its ring
//! full or empty.
//!
//! That it neither locks nor waits nor logs is to be read in `src/audio/device/line.rs`: rings,
//! atomics, copies.

use allocation_counter::measure;
use cpal::{FromSample, I24, Sample, U24};
use fastrand::Rng;
use ringbuf::traits::{Consumer, Producer};
use sotto::audio::device::{
    CaptureConsumer, CaptureProducer, Moment, PlaybackConsumer, PlaybackProducer, StreamFormat, feed, tap,
};

const CALLS: usize = 4_000;
const LONGEST: usize = 4_096;
const CHANNELS: [u16; 5] = [1, 2, 3, 6, 32];

/// What the other side did at some time, so that rings are seen empty, full and in between.
#[derive(Default)]
struct Seen {
    empty: bool,
    full: bool,
}

fn captures<T: Sample + FromSample<f32>>(sample: cpal::SampleFormat)
where
    f32: FromSample<T>,
{
    let (mut random, mut seen) = (Rng::with_seed(3), Seen::default());
    for channels in CHANNELS {
        let format = StreamFormat::new(16_000, channels, sample).unwrap();
        let (mut tap, mut end) = tap(format, "test");
        let counters = tap.counters();
        let data: Vec<T> = (0..LONGEST * usize::from(channels)).map(|_| (random.f32() - 0.5).to_sample()).collect();
        let mut sink = vec![0.0; LONGEST];
        for call in 0..CALLS {
            let frames = random.usize(0..LONGEST);
            let lost = counters.overrun();
            let info = measure(|| take(&mut tap, &data[..frames * usize::from(channels)], call));
            assert_eq!(info.count_total, 0, "{sample}, {channels} channels, {frames} frames");
            seen.full |= counters.overrun() > lost;
            seen.empty |= drain(&mut end, &mut sink, call);
        }
        assert_eq!(counters.calls(), CALLS as u64);
    }
    assert!(seen.full && seen.empty, "{sample}");
}

/// A callback, and at times an error.
fn take<T: Sample>(tap: &mut CaptureProducer, data: &[T], call: usize)
where
    f32: FromSample<T>,
{
    tap.take(data, Moment(call as u64));
    if call.is_multiple_of(100) {
        tap.counters().xrun();
        tap.counters().fail(1);
    }
}

/// For a while nobody reads, then everything is read.
fn drain(end: &mut CaptureConsumer, sink: &mut [f32], call: usize) -> bool {
    if call % 200 < 100 {
        return false;
    }
    while end.headings.try_pop().is_some() {}
    while end.samples.pop_slice(sink) > 0 {}
    true
}

fn plays<T: Sample + FromSample<f32>>(sample: cpal::SampleFormat) {
    let (mut random, mut seen) = (Rng::with_seed(5), Seen::default());
    for channels in CHANNELS {
        let format = StreamFormat::new(16_000, channels, sample).unwrap();
        let (mut feed, mut end) = feed(format, "test");
        let mut data = vec![T::EQUILIBRIUM; LONGEST * usize::from(channels)];
        let sound = vec![0.25; LONGEST];
        let mut pushed = 0;
        for call in 0..CALLS {
            pushed += wish(&mut end, &sound[..random.usize(0..LONGEST)], &mut random, pushed, call) as u64;
            let frames = random.usize(0..LONGEST);
            let info = measure(|| give(&mut feed, &mut data[..frames * usize::from(channels)], call));
            assert_eq!(info.count_total, 0, "{sample}, {channels} channels, {frames} frames");
            while let Some(sent) = if call % 3000 < 1500 { end.headings.try_pop() } else { None } {
                seen.empty |= sent.silent > 0;
                seen.full |= sent.frames > 0 && sent.silent == 0;
            }
        }
    }
    assert!(seen.full && seen.empty, "{sample}");
}

fn give<T: Sample + FromSample<f32>>(feed: &mut PlaybackConsumer, data: &mut [T], call: usize) {
    feed.fill(data, Moment(call as u64));
    if call.is_multiple_of(100) {
        feed.counters().xrun();
    }
}

/// Everything the other side can do, at random.
fn wish(end: &mut PlaybackProducer, sound: &[f32], random: &mut Rng, pushed: u64, call: usize) -> usize {
    match random.u8(0..16) {
        0 => end.set_gain(random.f32()),
        1 => end.hold(true),
        2 => end.drop_to(pushed),
        _ => end.hold(false),
    }
    if call % 400 < 300 { end.samples.push_slice(sound) } else { 0 }
}

#[test]
fn a_callback_allocates_nothing() {
    macro_rules! each {
        ($($format:ident: $type:ty),*) => {
            $(captures::<$type>(cpal::SampleFormat::$format); plays::<$type>(cpal::SampleFormat::$format);)*
        };
    }
    each!(I8: i8, I16: i16, I24: I24, I32: i32, I64: i64, U8: u8, U16: u16, U24: U24, U32: u32, U64: u64);
    each!(F32: f32, F64: f64);
}

#[test]
fn an_allocation_would_be_seen() {
    assert!(measure(|| drop(std::hint::black_box(vec![0u8; 100]))).count_total > 0);
}
