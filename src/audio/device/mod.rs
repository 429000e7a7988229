//! Microphones and loudspeakers: real ones and a simulated card, behind one trait.
//!
//! [`Card`] only opens streams; everything above it is the same for all cards. The card's callback
//! works on one end of a ring buffer ([`CaptureProducer`], [`PlaybackConsumer`]), and the program
//! polls the other: [`Capture`] hands out blocks of 10 ms, and [`Playback`] takes samples and
//! reports which of them have left the loudspeaker. Both watch their stream, end one that has
//! failed or fallen silent, and open it again (`link`).
//!
//! Every time is a [`Moment`] of the session clock. Sound cards have clocks of their own, some ten
//! to hundred parts per million off. Each stream's clock is measured against the session's
//! (`drift`), and *both* directions are resampled so that a second of sound is a second of the
//! session. So a position in the microphone's sound, a position in the loudspeaker's sound and a
//! time-out all mean the same second, and the delay from loudspeaker to microphone does not drift.
//!
//! Architecture invariant: no thread is started here, and nothing here waits. Opening and closing a
//! stream may hang, so both run as jobs given to [`Spawn`].

/// Calls `$job::<T>($($argument),*)` with the type of a sample format's samples.
/// [`StreamFormat::new`] has refused the others.
macro_rules! for_sample {
    ($format:expr, $job:ident($($argument:expr),*)) => {
        match $format {
            cpal::SampleFormat::I8 => $job::<i8>($($argument),*),
            cpal::SampleFormat::I16 => $job::<i16>($($argument),*),
            cpal::SampleFormat::I24 => $job::<cpal::I24>($($argument),*),
            cpal::SampleFormat::I32 => $job::<i32>($($argument),*),
            cpal::SampleFormat::I64 => $job::<i64>($($argument),*),
            cpal::SampleFormat::U8 => $job::<u8>($($argument),*),
            cpal::SampleFormat::U16 => $job::<u16>($($argument),*),
            cpal::SampleFormat::U24 => $job::<cpal::U24>($($argument),*),
            cpal::SampleFormat::U32 => $job::<u32>($($argument),*),
            cpal::SampleFormat::U64 => $job::<u64>($($argument),*),
            cpal::SampleFormat::F64 => $job::<f64>($($argument),*),
            _ => $job::<f32>($($argument),*),
        }
    };
}

mod adjustable_resampler;
mod capture;
mod drift;
mod hardware;
mod line;
mod link;
mod playback;
mod room;
mod simulated;

pub use capture::{BLOCK, Capture, CapturedBlock};
pub use hardware::Hardware;
pub use line::{
    CaptureConsumer, CaptureProducer, CapturedHeader, PlaybackConsumer, PlaybackProducer, PlayedHeader, StreamCounters,
    feed, tap,
};
pub use link::{DeviceChange, RETRY_LIMIT, SILENT_LIMIT, STARTING_LIMIT, StreamFault};
pub use playback::{Flushed, Playback, PlaybackCount, PlaybackSettings};
pub use room::SimulatedRoom;
pub use simulated::{DeviceEvent, Simulated, SimulatedDevice};

use std::sync::Arc;
use std::time::{Duration, Instant};

use cpal::SampleFormat;

use crate::types::{Ms, SampleRate};

/// Name of the device that the system has chosen; it follows a change of that choice.
pub const DEFAULT: &str = crate::config::DEFAULT_DEVICE;
/// Sample rates accepted from a device, in samples per second.
pub const DEVICE_RATES: std::ops::RangeInclusive<u32> = 8_000..=192_000;
/// Largest number of channels accepted from a device.
pub const MOST_CHANNELS: u16 = 64;

/// Point in time on the session clock, in nanoseconds since the session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// Time since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    pub fn plus(self, span: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The moment `span` earlier, but not before the session began.
    pub fn minus(self, span: Duration) -> Moment {
        Moment(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Seconds since the session began, exact to a nanosecond for a hundred days.
    fn seconds(self) -> f64 {
        self.0 as f64 * 1e-9
    }

    fn at_seconds(seconds: f64) -> Moment {
        Moment((seconds.max(0.0) * 1e9).round() as u64)
    }
}

impl From<Moment> for Ms {
    fn from(moment: Moment) -> Ms {
        Ms(moment.0 as f64 * 1e-6)
    }
}

/// Session clock. It never goes back. Reading it neither waits nor allocates, so callbacks may read
/// it.
pub trait Clock: Send + Sync {
    fn now(&self) -> Moment;
}

/// The machine's monotonic clock, from the creation of the value.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    pub fn start() -> Self {
        SystemClock(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment::default().plus(self.0.elapsed())
    }
}

/// Function that runs a job elsewhere, so that the caller goes on at once. Threads belong to the
/// pipeline, which supplies this; the simulated card's tests supply [`run_here`].
pub type Spawn = Arc<dyn Fn(DeviceJob) + Send + Sync>;
pub type DeviceJob = Box<dyn FnOnce() + Send>;

/// Makes a [`Spawn`] that does the job at once: only for cards that cannot hang.
pub fn run_here() -> Spawn {
    Arc::new(|job| job())
}

/// Format of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamFormat {
    pub rate: SampleRate,
    pub channels: u16,
    pub sample: SampleFormat,
}

impl StreamFormat {
    /// Makes a format. Errors when the rate or the number of channels is not accepted, or the
    /// samples are not numbers (DSD).
    pub fn new(rate: u32, channels: u16, sample: SampleFormat) -> Result<Self, DeviceError> {
        let format = StreamFormat { rate: SampleRate(rate), channels, sample };
        let accepted = DEVICE_RATES.contains(&rate) && (1..=MOST_CHANNELS).contains(&channels);
        if accepted && !sample.is_dsd() { Ok(format) } else { Err(DeviceError::StreamFormat { format }) }
    }
}

impl std::fmt::Display for StreamFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} Hz, {} channels, {}", self.rate.0, self.channels, self.sample)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Input,
    Output,
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Direction::Input => "microphone",
            Direction::Output => "speaker",
        })
    }
}

/// Entry for one direction of a device in the list of devices.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceInfo {
    /// Name by which the device is opened, the same after a restart.
    pub name: String,
    /// Description for a person.
    pub description: String,
    pub direction: Direction,
    /// Whether [`DEFAULT`] opens this device now.
    pub is_default: bool,
    /// Format that would be used; `None` when the system does not report it without opening the
    /// device, or refuses.
    pub format: Option<StreamFormat>,
}

/// A running stream. Dropping it closes it, which may hang: drop it in a job given to [`Spawn`].
pub trait AudioStream: Send {}

/// A sound system. All methods but [`Card::clock`] may hang in foreign code and belong on a thread
/// that no other waits for.
pub trait Card: Send + Sync {
    fn clock(&self) -> Arc<dyn Clock>;

    /// Lists every device, each direction as an entry of its own.
    fn devices(&self) -> Result<Vec<DeviceInfo>, DeviceError>;

    /// Opens a microphone by its name or as [`DEFAULT`], and starts it. `connect` makes the
    /// callback's end of the ring buffer once the format is known.
    fn open_input(
        &self,
        name: &str,
        connect: &mut dyn FnMut(StreamFormat, &str) -> CaptureProducer,
    ) -> Result<Box<dyn AudioStream>, DeviceError>;

    /// Opens a loudspeaker, otherwise like [`Card::open_input`].
    fn open_output(
        &self,
        name: &str,
        connect: &mut dyn FnMut(StreamFormat, &str) -> PlaybackConsumer,
    ) -> Result<Box<dyn AudioStream>, DeviceError>;
}

/// Reason why a device could not be listed or opened.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DeviceError {
    #[error("there is no sound system: {why}; start it (PulseAudio, PipeWire), or ask from a file with \"sotto once\"")]
    NoSoundSystem { why: String },
    #[error("there is no {direction} \"{name}\"; \"sotto devices\" lists what there is")]
    Missing { direction: Direction, name: String },
    #[error("the {direction} \"{name}\" is in use by another program; close that, or choose another device")]
    Busy { direction: Direction, name: String },
    #[error(
        "the {direction} \"{name}\" may not be used: allow it in the system's settings, or join the group \"audio\""
    )]
    Denied { direction: Direction, name: String },
    #[error(
        "a device offers {format}; {} to {} Hz, at most {MOST_CHANNELS} channels and plain numbers are accepted: change its profile",
        DEVICE_RATES.start(), DEVICE_RATES.end()
    )]
    StreamFormat { format: StreamFormat },
    #[error("the {direction} \"{name}\" could not be opened: {why}; \"sotto devices\" lists what there is")]
    Failed { direction: Direction, name: String, why: String },
}
