//! Sound card on a virtual clock: as fast as the machine allows, and the same every time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cpal::{FromSample, Sample, SampleFormat};

use super::link::StreamFault;
use super::room::{SimulatedRoom, Strip};
use super::{
    AudioStream, CaptureProducer, Card, Clock, DEFAULT, DeviceError, DeviceInfo, Direction, Moment, PlaybackConsumer,
    StreamFormat,
};
use crate::types::SampleRate;

/// Time for which played sound is kept for the microphones, in seconds: more than any room's delay
/// and tail.
const MEMORY: f64 = 2.0;

/// A device to simulate.
#[derive(Clone, Debug)]
pub struct SimulatedDevice {
    pub name: String,
    pub direction: Direction,
    pub format: StreamFormat,
    /// Drift of its clock in parts per million.
    pub ppm: f64,
    /// Frames of a callback.
    pub period: u32,
    /// Latency from callback to loudspeaker, or from microphone to callback, beside the block
    /// itself.
    pub latency: Duration,
    /// Largest random delay of the times that callbacks report.
    pub jitter: Duration,
}

impl SimulatedDevice {
    /// Makes a device with an exact clock, blocks of 10 ms and 20 ms of latency.
    pub fn new(direction: Direction, name: &str, rate: u32, channels: u16, sample: SampleFormat) -> Self {
        SimulatedDevice {
            name: name.to_owned(),
            direction,
            format: StreamFormat { rate: SampleRate(rate), channels, sample },
            ppm: 0.0,
            period: rate / 100,
            latency: Duration::from_millis(20),
            jitter: Duration::ZERO,
        }
    }

    fn true_rate(&self) -> f64 {
        f64::from(self.format.rate.0) * (1.0 + self.ppm * 1e-6)
    }
}

/// Event at a device, given by its name.
#[derive(Clone, Debug)]
pub enum DeviceEvent {
    Unplug(String),
    Plug(String),
    /// Calls of its callback stop, without an error.
    Stall(String),
    /// Sound is lost or silent for this time.
    Xrun(String, Duration),
    /// The device becomes the default; streams that were opened as the default end.
    MakeDefault(String),
    /// The device's format changes to this one.
    Reformat(String, StreamFormat),
}

/// Simulated sound card. Clones share the same card. Time passes only by [`Simulated::advance`].
#[derive(Clone)]
pub struct Simulated {
    world: Arc<Mutex<World>>,
    clock: Arc<Virtual>,
}

#[derive(Default)]
struct Virtual(AtomicU64);

impl Clock for Virtual {
    fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::Acquire))
    }
}

struct World {
    devices: Vec<Slot>,
    streams: Vec<Running>,
    next_stream: u64,
    plans: Vec<(Moment, DeviceEvent)>,
    room: SimulatedRoom,
    taps: Vec<(f64, f64)>,
    /// Speech of people in the room.
    voices: Vec<Strip>,
    /// Sound played by the loudspeakers.
    played: Vec<Strip>,
    recording: bool,
    random: fastrand::Rng,
}

struct Slot {
    device: SimulatedDevice,
    plugged: bool,
    is_default: bool,
}

enum End {
    Microphone(CaptureProducer),
    Speaker(PlaybackConsumer, Strip),
}

struct Running {
    id: u64,
    device: usize,
    asked_for_default: bool,
    end: End,
    /// Time at which its frame 0 is at the device, in seconds, plus the silence of interruptions.
    from: f64,
    frames: u64,
    stalled: bool,
}

/// State of an open stream.
struct Open {
    id: u64,
    world: Arc<Mutex<World>>,
}

impl AudioStream for Open {}

impl Drop for Open {
    fn drop(&mut self) {
        let mut world = lock(&self.world);
        let Some(at) = world.streams.iter().position(|stream| stream.id == self.id) else { return };
        if let End::Speaker(_, strip) = world.streams.swap_remove(at).end {
            world.played.push(strip);
        }
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Simulated {
    /// Makes the card. The first device of each direction is its default.
    pub fn new(devices: Vec<SimulatedDevice>, room: SimulatedRoom) -> Self {
        let mut seen = Vec::new();
        let slots = devices.into_iter().map(|device| {
            let is_default = !seen.contains(&device.direction);
            seen.push(device.direction);
            Slot { device, plugged: true, is_default }
        });
        let world = World {
            devices: slots.collect(),
            streams: Vec::new(),
            next_stream: 0,
            plans: Vec::new(),
            room,
            taps: room.taps(),
            voices: Vec::new(),
            played: Vec::new(),
            recording: false,
            random: fastrand::Rng::with_seed(1),
        };
        Simulated { world: Arc::new(Mutex::new(world)), clock: Arc::default() }
    }

    /// Makes the usual card: one microphone and one loudspeaker, in stereo and 16 bits at 48 kHz.
    pub fn usual(room: SimulatedRoom) -> Self {
        let device = |direction, name| SimulatedDevice::new(direction, name, 48_000, 2, SampleFormat::I16);
        Simulated::new(vec![device(Direction::Input, "mic"), device(Direction::Output, "spk")], room)
    }

    /// Schedules an event.
    pub fn plan(&self, at: Moment, happening: DeviceEvent) {
        lock(&self.world).plans.push((at, happening));
    }

    /// Adds speech, which every microphone picks up from `at` on.
    pub fn say(&self, at: Moment, rate: SampleRate, samples: &[f32]) {
        lock(&self.world).voices.push(Strip::new(at.seconds(), f64::from(rate.0), samples.to_vec()));
    }

    /// Keeps what loudspeakers play from now on, for [`Simulated::recorded`]: 11 MB a minute.
    pub fn record(&self) {
        lock(&self.world).recording = true;
    }

    /// Sound of all loudspeakers together between two times, at `rate`.
    pub fn recorded(&self, from: Moment, to: Moment, rate: SampleRate) -> Vec<f32> {
        let world = lock(&self.world);
        let count = rate.samples(crate::types::Ms::from(to.since(from)));
        let time = |i: usize| from.seconds() + i as f64 / f64::from(rate.0);
        (0..count).map(|i| world.speakers_at(time(i)) as f32).collect()
    }

    /// Advances the time: callbacks are called and events happen, each at its time and in order.
    pub fn advance(&self, span: Duration) {
        let until = self.clock.now().plus(span);
        let mut world = lock(&self.world);
        loop {
            let callback = world.next_callback();
            let plan = world.plans.iter().enumerate().min_by_key(|(_, plan)| plan.0).map(|(i, plan)| (plan.0, i));
            match (plan, callback) {
                (Some((at, i)), _) if at <= until && callback.is_none_or(|(called, _)| at <= called) => {
                    self.pass(at);
                    let (_, happening) = world.plans.swap_remove(i);
                    world.happen(happening, self.clock.now());
                }
                (_, Some((at, i))) if at <= until => {
                    self.pass(at);
                    world.call(i);
                }
                _ => break,
            }
        }
        self.pass(until);
        world.forget(until.seconds());
    }

    fn pass(&self, to: Moment) {
        self.clock.0.fetch_max(to.0, Ordering::AcqRel);
    }

    fn open(
        &self,
        direction: Direction,
        name: &str,
        end: &mut dyn FnMut(&SimulatedDevice) -> End,
    ) -> Result<Box<dyn AudioStream>, DeviceError> {
        let mut world = lock(&self.world);
        let device = world.find(direction, name)?;
        let (id, about) = (world.next_stream, world.devices[device].device.clone());
        world.next_stream += 1;
        let now = self.clock.now().seconds();
        let from = if direction == Direction::Output { now + about.latency.as_secs_f64() } else { now };
        let mut end = end(&about);
        if let End::Speaker(_, strip) = &mut end {
            strip.from = from;
        }
        let asked_for_default = name == DEFAULT;
        world.streams.push(Running { id, device, asked_for_default, end, from, frames: 0, stalled: false });
        Ok(Box::new(Open { id, world: self.world.clone() }))
    }
}

impl Card for Simulated {
    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    fn devices(&self) -> Result<Vec<DeviceInfo>, DeviceError> {
        let world = lock(&self.world);
        let default = [Direction::Input, Direction::Output].map(|direction| world.find(direction, DEFAULT).ok());
        let plugged = world.devices.iter().enumerate().filter(|(_, slot)| slot.plugged);
        Ok(plugged
            .map(|(i, Slot { device, .. })| DeviceInfo {
                name: device.name.clone(),
                description: format!("simulated {}", device.direction),
                direction: device.direction,
                is_default: default.contains(&Some(i)),
                format: Some(device.format),
            })
            .collect())
    }

    fn open_input(
        &self,
        name: &str,
        connect: &mut dyn FnMut(StreamFormat, &str) -> CaptureProducer,
    ) -> Result<Box<dyn AudioStream>, DeviceError> {
        self.open(Direction::Input, name, &mut |device| End::Microphone(connect(device.format, &device.name)))
    }

    fn open_output(
        &self,
        name: &str,
        connect: &mut dyn FnMut(StreamFormat, &str) -> PlaybackConsumer,
    ) -> Result<Box<dyn AudioStream>, DeviceError> {
        self.open(Direction::Output, name, &mut |device| {
            let strip = Strip::new(0.0, device.true_rate(), Vec::new());
            End::Speaker(connect(device.format, &device.name), strip)
        })
    }
}

impl World {
    fn find(&self, direction: Direction, name: &str) -> Result<usize, DeviceError> {
        let fits = |slot: &Slot| slot.plugged && slot.device.direction == direction;
        let chosen =
            |slot: &Slot| fits(slot) && if name == DEFAULT { slot.is_default } else { slot.device.name == name };
        let any = self.devices.iter().position(fits).filter(|_| name == DEFAULT);
        let missing = || DeviceError::Missing { direction, name: name.to_owned() };
        self.devices.iter().position(chosen).or(any).ok_or_else(missing)
    }

    /// Time of the next callback, and the index of its device.
    fn next_callback(&self) -> Option<(Moment, usize)> {
        let due = |stream: &Running| {
            let device = &self.devices[stream.device].device;
            let latency = device.latency.as_secs_f64();
            let at = |frames| stream.from + frames as f64 / device.true_rate();
            Moment::at_seconds(match stream.end {
                End::Microphone(_) => at(stream.frames + u64::from(device.period)) + latency,
                End::Speaker(..) => at(stream.frames) - latency,
            })
        };
        let live = self.streams.iter().enumerate().filter(|(_, stream)| !stream.stalled);
        live.map(|(i, stream)| (due(stream), i)).min()
    }

    fn call(&mut self, i: usize) {
        let stream = &self.streams[i];
        let device = self.devices[stream.device].device.clone();
        let (from, rate, first) = (stream.from, device.true_rate(), stream.frames);
        let late = device.jitter.as_secs_f64() * self.random.f64();
        let at = Moment::at_seconds(from + first as f64 / rate + late);
        let period = u64::from(device.period);
        let air: Vec<f32> = match stream.end {
            End::Microphone(_) => (first..first + period).map(|n| self.heard_at(from + n as f64 / rate)).collect(),
            End::Speaker(..) => Vec::new(),
        };
        let stream = &mut self.streams[i];
        stream.frames += period;
        match &mut stream.end {
            End::Microphone(tap) => for_sample!(device.format.sample, give(tap, &air, device.format.channels, at)),
            End::Speaker(feed, strip) => {
                let sound = for_sample!(device.format.sample, fetch(feed, &device, at));
                strip.samples.extend(sound);
            }
        }
    }

    fn heard_at(&mut self, seconds: f64) -> f32 {
        let voices: f64 = self.voices.iter().map(|voice| voice.at(seconds)).sum();
        let echo: f64 = self.taps.iter().map(|&(delay, gain)| gain * self.speakers_at(seconds - delay)).sum();
        let noise = f64::from(self.room.noise) * (2.0 * self.random.f64() - 1.0);
        (voices + echo + noise) as f32
    }

    fn speakers_at(&self, seconds: f64) -> f64 {
        let open = self.streams.iter().filter_map(|stream| match &stream.end {
            End::Speaker(_, strip) => Some(strip),
            End::Microphone(_) => None,
        });
        open.chain(&self.played).map(|strip| strip.at(seconds)).sum()
    }

    fn happen(&mut self, happening: DeviceEvent, now: Moment) {
        match happening {
            DeviceEvent::Unplug(name) => {
                self.change(&name, |slot| slot.plugged = false);
                self.each_of(&name, |stream| stream.fail(StreamFault::GONE));
            }
            DeviceEvent::Plug(name) => self.change(&name, |slot| slot.plugged = true),
            DeviceEvent::Stall(name) => self.each_of(&name, |stream| stream.stalled = true),
            DeviceEvent::Xrun(name, span) => self.interrupt(&name, span),
            DeviceEvent::MakeDefault(name) => self.make_default(&name),
            DeviceEvent::Reformat(name, format) => {
                self.each_of(&name, |stream| stream.fail(StreamFault::CHANGED));
                self.change(&name, |slot| {
                    slot.device.format = format;
                    slot.device.period = format.rate.0 / 100;
                });
            }
        }
        self.forget(now.seconds());
    }

    fn change(&mut self, name: &str, change: impl Fn(&mut Slot)) {
        self.devices.iter_mut().filter(|slot| slot.device.name == name).for_each(change);
    }

    fn each_of(&mut self, name: &str, change: impl Fn(&mut Running)) {
        let devices = &self.devices;
        self.streams.iter_mut().filter(|stream| devices[stream.device].device.name == name).for_each(change);
    }

    /// Interrupts the device: its buffer ran over or dry, and the stream goes on later.
    fn interrupt(&mut self, name: &str, span: Duration) {
        let mut ended = Vec::new();
        self.each_of_mut(name, |stream, rate| {
            stream.counters().xrun();
            stream.from += span.as_secs_f64();
            if let End::Speaker(_, strip) = &mut stream.end {
                let new = Strip::new(stream.from + stream.frames as f64 / rate, rate, Vec::new());
                ended.push(std::mem::replace(strip, new));
            }
        });
        self.played.extend(ended);
    }

    fn each_of_mut(&mut self, name: &str, mut change: impl FnMut(&mut Running, f64)) {
        for stream in &mut self.streams {
            let device = &self.devices[stream.device].device;
            if device.name == name {
                change(stream, device.true_rate());
            }
        }
    }

    fn make_default(&mut self, name: &str) {
        let Some(direction) = self.devices.iter().find(|slot| slot.device.name == name).map(|s| s.device.direction)
        else {
            return;
        };
        for slot in self.devices.iter_mut().filter(|slot| slot.device.direction == direction) {
            slot.is_default = slot.device.name == name;
        }
        let devices = &self.devices;
        let following = |stream: &&mut Running| {
            let device = &devices[stream.device].device;
            stream.asked_for_default && device.direction == direction && device.name != name
        };
        self.streams.iter_mut().filter(following).for_each(|stream| stream.fail(StreamFault::CHANGED));
    }

    fn forget(&mut self, now: f64) {
        if self.recording {
            return;
        }
        self.voices.retain(|voice| voice.end() > now - MEMORY);
        self.played.retain(|strip| strip.end() > now - MEMORY);
        for stream in &mut self.streams {
            if let End::Speaker(_, strip) = &mut stream.end {
                strip.forget_before(now - MEMORY);
            }
        }
    }
}

impl Running {
    fn counters(&self) -> Arc<super::StreamCounters> {
        match &self.end {
            End::Microphone(tap) => tap.counters(),
            End::Speaker(feed, _) => feed.counters(),
        }
    }

    fn fail(&mut self, code: u32) {
        self.counters().fail(code);
        self.stalled = true;
    }
}

fn give<T: Sample + FromSample<f32>>(tap: &mut CaptureProducer, air: &[f32], channels: u16, at: Moment)
where
    f32: FromSample<T>,
{
    let frame = |&sample| std::iter::repeat_n(T::from_sample_(sample), usize::from(channels));
    tap.take(&air.iter().flat_map(frame).collect::<Vec<T>>(), at);
}

/// Sound that the loudspeaker plays in a callback, its channels mixed.
fn fetch<T: Sample + FromSample<f32>>(feed: &mut PlaybackConsumer, device: &SimulatedDevice, at: Moment) -> Vec<f32>
where
    f32: FromSample<T>,
{
    let channels = usize::from(device.format.channels);
    let mut frames = vec![T::EQUILIBRIUM; device.period as usize * channels];
    feed.fill(&mut frames, at);
    let mixed = |frame: &[T]| frame.iter().map(|&sample| f32::from_sample_(sample)).sum::<f32>() / channels as f32;
    frames.chunks_exact(channels).map(mixed).collect()
}

#[cfg(test)]
#[path = "simulated_tests.rs"]
mod tests;
