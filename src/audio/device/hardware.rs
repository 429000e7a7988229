//! The machine's own microphones and loudspeakers, through `cpal`.

use std::sync::Arc;
use std::time::Duration;

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{
    BufferSize, Data, Error, ErrorKind, FromSample, Sample, SampleFormat, SizedSample, StreamConfig, StreamInstant,
    SupportedBufferSize, SupportedStreamConfigRange,
};

use super::link::StreamFault;
use super::{
    AudioStream, CaptureProducer, Card, Clock, DEFAULT, DEVICE_RATES, DeviceError, DeviceInfo, Direction,
    MOST_CHANNELS, Moment, PlaybackConsumer, StreamCounters, StreamFormat, SystemClock,
};
use crate::types::{Ms, SampleRate};

/// Sample rates in order of preference: those that most devices have natively, then those that lose
/// little.
const RATES: [u32; 9] = [48_000, 44_100, 96_000, 32_000, 192_000, 24_000, 22_050, 16_000, 8_000];
/// Longest latency of a device that is believed.
const MOST_LATENCY: Duration = Duration::from_secs(2);
/// Interval at which a stream without sound checks whether its device is still there.
const LOOK: Duration = Duration::from_millis(200);
/// Names in the ALSA library that are no devices: they convert for another one, or do nothing.
const NO_DEVICES: [&str; 9] =
    ["null", "lavrate", "samplerate", "speexrate", "speex", "upmix", "vdownmix", "usbstream", "jack"];

/// The sound system of this machine: ALSA on Linux (with PulseAudio and PipeWire behind it), Core
/// Audio on macOS.
#[derive(Clone, Copy, Debug)]
pub struct Hardware {
    clock: SystemClock,
    period: Ms,
}

impl Hardware {
    /// Opens the sound system with a callback every 10 ms, where the device allows a choice: the
    /// latency of a device is about two callbacks.
    pub fn new(clock: SystemClock) -> Self {
        Hardware { clock, period: Ms(10.0) }
    }

    /// Sets the time between callbacks: longer blocks arrive later and are interrupted more rarely
    /// on a busy machine.
    pub fn with_period(self, period: Ms) -> Self {
        Hardware { period, ..self }
    }

    fn buffer(&self, supported: SupportedBufferSize, rate: u32) -> BufferSize {
        let wanted = SampleRate(rate).samples(self.period) as u32;
        match supported {
            SupportedBufferSize::Range { min, max } if (min..=max).contains(&wanted) => BufferSize::Fixed(wanted),
            _ => BufferSize::Default,
        }
    }

    /// Builds a stream with blocks of the chosen length, or of the device's own if it refuses.
    fn build<S>(&self, choice: &Choice, mut build: impl FnMut(StreamConfig) -> Result<S, Error>) -> Result<S, Error> {
        let Choice { format, buffer } = *choice;
        let config = |buffer_size| StreamConfig { channels: format.channels, sample_rate: format.rate.0, buffer_size };
        let asked = self.buffer(buffer, format.rate.0);
        match build(config(asked)) {
            Err(error) if asked != BufferSize::Default && error.kind() == ErrorKind::UnsupportedConfig => {
                build(config(BufferSize::Default))
            }
            built => built,
        }
    }
}

impl Card for Hardware {
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock)
    }

    /// Opens every device for a moment, to find out whether it can be opened.
    fn devices(&self) -> Result<Vec<DeviceInfo>, DeviceError> {
        hush();
        let host = cpal::default_host();
        let no_system = |error: Error| DeviceError::NoSoundSystem { why: error.to_string() };
        let found: Vec<_> = host.devices().map_err(no_system)?.collect();
        let mut listed = Vec::new();
        for direction in [Direction::Input, Direction::Output] {
            let default = default_of(&host, direction);
            let default_name = default.as_ref().map(name_of);
            // ALSA may or may not list its default, under the same name.
            let extra =
                default.iter().filter(|default| !found.iter().any(|device| name_of(device) == name_of(default)));
            for device in found.iter().chain(extra) {
                let name = name_of(device);
                let is_default = default_name.as_ref() == Some(&name);
                let ours = is_default || supports(device, direction);
                // Only likely devices are opened: "jack" opens JACK's library, which writes its
                // complaints to stderr.
                if ours
                    && !NO_DEVICES.contains(&name.as_str())
                    && let Ok(choice) = choose(device, direction)
                {
                    let description = device.description().map_or(name.clone(), |about| about.name().to_owned());
                    listed.push(DeviceInfo { name, description, direction, is_default, format: Some(choice.format) });
                }
            }
        }
        Ok(listed)
    }

    fn open_input(
        &self,
        name: &str,
        connect: &mut dyn FnMut(StreamFormat, &str) -> CaptureProducer,
    ) -> Result<Box<dyn AudioStream>, DeviceError> {
        hush();
        let tell = |error: Error| told(Direction::Input, name, &error);
        let device = find(Direction::Input, name)?;
        let choice = choose(&device, Direction::Input).map_err(tell)?;
        let sample = choice.format.sample;
        let stream = self.build(&choice, |config| {
            let (mut tap, clock) = (connect(choice.format, name), self.clock);
            let counters = tap.counters();
            let data = move |data: &Data, info: &cpal::InputCallbackInfo| {
                let times = info.timestamp();
                let at = clock.now().minus(between(times.capture, times.callback));
                for_sample!(sample, take(&mut tap, data, at));
            };
            device.build_input_stream_raw(config, sample, data, move |error| note(&counters, &error), Some(LOOK))
        });
        start(stream.map_err(tell)?).map_err(tell)
    }

    fn open_output(
        &self,
        name: &str,
        connect: &mut dyn FnMut(StreamFormat, &str) -> PlaybackConsumer,
    ) -> Result<Box<dyn AudioStream>, DeviceError> {
        hush();
        let tell = |error: Error| told(Direction::Output, name, &error);
        let device = find(Direction::Output, name)?;
        let choice = choose(&device, Direction::Output).map_err(tell)?;
        let sample = choice.format.sample;
        let stream = self.build(&choice, |config| {
            let (mut feed, clock) = (connect(choice.format, name), self.clock);
            let counters = feed.counters();
            let data = move |data: &mut Data, info: &cpal::OutputCallbackInfo| {
                let times = info.timestamp();
                let at = clock.now().plus(between(times.callback, times.playback));
                for_sample!(sample, fill(&mut feed, data, at));
            };
            device.build_output_stream_raw(config, sample, data, move |error| note(&counters, &error), Some(LOOK))
        });
        start(stream.map_err(tell)?).map_err(tell)
    }
}

/// Silences ALSA's messages about its configuration on this thread from now on. A missing device is
/// reported by the returned error, once and not at each attempt.
fn hush() {
    #[cfg(target_os = "linux")]
    let _still_heard_where_there_is_no_memory = alsa::Output::local_error_handler();
}

struct Open {
    _stream: cpal::Stream,
}

impl AudioStream for Open {}

fn start(stream: cpal::Stream) -> Result<Box<dyn AudioStream>, Error> {
    stream.play()?;
    Ok(Box::new(Open { _stream: stream }))
}

fn take<T: SizedSample>(tap: &mut CaptureProducer, data: &Data, at: Moment)
where
    f32: FromSample<T>,
{
    if let Some(samples) = data.as_slice::<T>() {
        tap.take(samples, at);
    }
}

fn fill<T: SizedSample + Sample + FromSample<f32>>(feed: &mut PlaybackConsumer, data: &mut Data, at: Moment) {
    if let Some(samples) = data.as_slice_mut::<T>() {
        feed.fill(samples, at);
    }
}

/// Notes an error in the error callback. It is short, because a broken stream may call it without
/// end.
fn note(counters: &StreamCounters, error: &Error) {
    match error.kind() {
        ErrorKind::Xrun => counters.xrun(),
        // The stream goes on: on another device, or at a lower priority than requested.
        ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied => {}
        ErrorKind::DeviceNotAvailable => counters.fail(StreamFault::GONE),
        ErrorKind::StreamInvalidated => counters.fail(StreamFault::CHANGED),
        _ => counters.doubt(),
    }
}

fn between(earlier: StreamInstant, later: StreamInstant) -> Duration {
    later.saturating_duration_since(earlier).min(MOST_LATENCY)
}

fn name_of(device: &cpal::Device) -> String {
    device.id().map_or_else(|_| device.to_string(), |id| id.id().to_owned())
}

fn default_of(host: &cpal::Host, direction: Direction) -> Option<cpal::Device> {
    match direction {
        Direction::Input => host.default_input_device(),
        Direction::Output => host.default_output_device(),
    }
}

fn supports(device: &cpal::Device, direction: Direction) -> bool {
    match direction {
        Direction::Input => device.supports_input(),
        Direction::Output => device.supports_output(),
    }
}

/// Finds a device by its name or its description, with a new host: a host whose server has ended is
/// of no use.
fn find(direction: Direction, name: &str) -> Result<cpal::Device, DeviceError> {
    let host = cpal::default_host();
    if name == DEFAULT {
        let why = || format!("it has no {direction}");
        return default_of(&host, direction).ok_or_else(|| DeviceError::NoSoundSystem { why: why() });
    }
    let devices = host.devices().map_err(|error| told(direction, name, &error))?;
    let called = |device: &cpal::Device| device.description().is_ok_and(|about| about.name() == name);
    let mut fitting = devices.filter(|device| supports(device, direction));
    let found = fitting.find(|device| name_of(device) == name || called(device));
    found.ok_or_else(|| DeviceError::Missing { direction, name: name.to_owned() })
}

/// Format with which a device is opened.
struct Choice {
    format: StreamFormat,
    buffer: SupportedBufferSize,
}

fn choose(device: &cpal::Device, direction: Direction) -> Result<Choice, Error> {
    let ranges: Vec<_> = match direction {
        Direction::Input => device.supported_input_configs()?.collect(),
        Direction::Output => device.supported_output_configs()?.collect(),
    };
    let fitting = ranges.iter().filter_map(|range| Some((range, rate_in(range)?)));
    let fitting = fitting.filter_map(|(range, rate)| {
        let format = StreamFormat::new(rate, range.channels(), range.sample_format()).ok()?;
        Some(Choice { format, buffer: *range.buffer_size() })
    });
    let best = fitting.min_by_key(|choice| dislike(&choice.format, direction));
    best.ok_or_else(|| {
        let (least, most) = (DEVICE_RATES.start(), DEVICE_RATES.end());
        let why = format!("it offers no {least} to {most} Hz with at most {MOST_CHANNELS} channels");
        Error::with_message(ErrorKind::UnsupportedConfig, why)
    })
}

fn rate_in(range: &SupportedStreamConfigRange) -> Option<u32> {
    let (least, most) = (range.min_sample_rate(), range.max_sample_rate());
    let own = most.min(*DEVICE_RATES.end());
    let usual = RATES.into_iter().find(|rate| (least..=most).contains(rate));
    usual.or_else(|| (own >= least && DEVICE_RATES.contains(&own)).then_some(own))
}

/// Rank of a format, lower is better: first by the rate, then by the number of useful channels,
/// then by the finest samples.
fn dislike(format: &StreamFormat, direction: Direction) -> (usize, u16, usize) {
    let rate = RATES.iter().position(|&rate| rate == format.rate.0).unwrap_or(RATES.len());
    let useful = if direction == Direction::Input { 1 } else { 2 };
    let kinds = [SampleFormat::F32, SampleFormat::I32, SampleFormat::I24, SampleFormat::I16];
    let kind = kinds.iter().position(|&kind| kind == format.sample).unwrap_or(kinds.len());
    (rate, format.channels.abs_diff(useful), kind)
}

fn told(direction: Direction, name: &str, error: &Error) -> DeviceError {
    let name = name.to_owned();
    match error.kind() {
        ErrorKind::HostUnavailable => DeviceError::NoSoundSystem { why: error.to_string() },
        // The default is always listed; if it cannot be reached, there is no device behind it.
        ErrorKind::DeviceNotAvailable if name == DEFAULT => {
            DeviceError::NoSoundSystem { why: format!("its default {direction} does not answer") }
        }
        ErrorKind::DeviceNotAvailable => DeviceError::Missing { direction, name },
        ErrorKind::DeviceBusy => DeviceError::Busy { direction, name },
        ErrorKind::PermissionDenied => DeviceError::Denied { direction, name },
        _ => DeviceError::Failed { direction, name, why: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(channels: u16, rates: (u32, u32), sample: SampleFormat) -> SupportedStreamConfigRange {
        SupportedStreamConfigRange::new(channels, rates.0, rates.1, SupportedBufferSize::Unknown, sample)
    }

    #[test]
    fn the_usual_rate_the_useful_channels_and_the_finest_samples_are_chosen() {
        for (rates, wanted) in [
            ((8_000, 192_000), Some(48_000)),
            ((44_100, 44_100), Some(44_100)),
            ((16_000, 16_000), Some(16_000)),
            ((8_000, 11_025), Some(8_000)),
            ((11_025, 11_025), Some(11_025)),
            ((384_000, 384_000), None),
            ((1, 4_000), None),
            ((176_400, 384_000), Some(192_000)),
        ] {
            assert_eq!(rate_in(&range(2, rates, SampleFormat::I16)), wanted, "{rates:?}");
        }
        let format = |rate, channels, sample| StreamFormat::new(rate, channels, sample).unwrap();
        let fine = format(48_000, 2, SampleFormat::F32);
        for worse in [
            format(48_000, 2, SampleFormat::I16),
            format(48_000, 1, SampleFormat::F32),
            format(48_000, 8, SampleFormat::F32),
            format(44_100, 2, SampleFormat::F32),
        ] {
            assert!(dislike(&fine, Direction::Output) < dislike(&worse, Direction::Output), "{worse}");
        }
        let mono = format(48_000, 1, SampleFormat::U8);
        assert!(dislike(&mono, Direction::Input) < dislike(&fine, Direction::Input));
    }

    #[test]
    fn what_a_stream_says_becomes_a_count_or_its_end() {
        for (kind, fault) in [
            (ErrorKind::Xrun, None),
            (ErrorKind::DeviceChanged, None),
            (ErrorKind::RealtimeDenied, None),
            (ErrorKind::DeviceNotAvailable, Some(StreamFault::GONE)),
            (ErrorKind::StreamInvalidated, Some(StreamFault::CHANGED)),
            (ErrorKind::BackendError, None),
            (ErrorKind::Other, None),
        ] {
            let counters = StreamCounters::default();
            note(&counters, &Error::new(kind));
            assert_eq!(counters.fault(), fault, "{kind}");
            assert_eq!(counters.xruns(), u64::from(kind == ErrorKind::Xrun));
            let doubtful = matches!(kind, ErrorKind::BackendError | ErrorKind::Other);
            assert_eq!(counters.doubts(), u64::from(doubtful));
        }
    }
}
