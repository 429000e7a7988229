//! Watchdog of a stream: it ends a stream that has failed, and opens it again. Nothing here waits:
//! opening and closing run on another thread.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError, bounded};

use super::line::StreamCounters;
use super::{AudioStream, Clock, DeviceError, Direction, Moment, Spawn, StreamFormat};

/// Time without a callback after which a stream is dead, even if it reports nothing. On a machine
/// with more work than cores, a working sound server may be late by a second.
pub const SILENT_LIMIT: Duration = Duration::from_millis(2_000);
/// Time allowed to the first callback: Bluetooth has to connect, and an idle sound server sleeps up
/// to 2 s.
pub const STARTING_LIMIT: Duration = Duration::from_secs(5);
/// Time after which a stream that reports errors and delivers no sound has failed.
const DOUBT_LIMIT: Duration = Duration::from_millis(250);
/// Limit for that before the first calls: PulseAudio's plugin cannot report its latency until the
/// server has woken up.
const STARTING_DOUBT_LIMIT: Duration = Duration::from_millis(2_500);
/// Number of calls that count as the first: they fill the device's buffer.
const FIRST_CALLS: u64 = 10;
/// Delay of the first attempt to reopen a device; each later one waits twice as long as the last.
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// Longest delay between attempts, which then go on for ever: a kiosk's microphone may be plugged
/// in again the next day.
pub const RETRY_LIMIT: Duration = Duration::from_secs(5);
/// Time after which an attempt to open a device is given up.
const OPENING_LIMIT: Duration = Duration::from_secs(10);
/// Largest number of attempts that may hang at once; each occupies a thread that cannot be ended.
const MOST_HANGING: usize = 4;

/// Reason why a stream ended.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamFault {
    /// The device is gone.
    Gone,
    /// The sound system reports it: its server was ended, or the driver failed.
    Backend,
    /// The device has another format now, or the default is another device.
    Changed,
    /// No callback for [`SILENT_LIMIT`].
    Silent,
    /// The stream could not be opened at all.
    Unopened(DeviceError),
}

impl StreamFault {
    /// Code for [`StreamCounters::fail`] of a device that is gone.
    pub const GONE: u32 = 1;
    pub const CHANGED: u32 = 2;

    fn of(code: u32) -> StreamFault {
        if code == Self::CHANGED { StreamFault::Changed } else { StreamFault::Gone }
    }
}

/// Change in the state of a device: reported once, however often opening is tried in between.
#[derive(Clone, Debug, PartialEq)]
pub enum DeviceChange {
    /// The device works: for the first time, or again after an absence.
    Opened {
        direction: Direction,
        device: String,
        format: StreamFormat,
        away: Option<Duration>,
    },
    Lost {
        direction: Direction,
        device: String,
        why: StreamFault,
    },
}

impl std::fmt::Display for DeviceChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DeviceChange::Opened { direction, device, format, away: None } => {
                write!(f, "{direction} \"{device}\" is open: {format}")
            }
            DeviceChange::Opened { direction, device, format, away: Some(away) } => {
                write!(f, "{direction} \"{device}\" is back after {:.1} s: {format}", away.as_secs_f64())
            }
            DeviceChange::Lost { why: StreamFault::Unopened(error), .. } => {
                write!(f, "{error}; trying again until it works")
            }
            DeviceChange::Lost { direction, device, why } => {
                let why = match why {
                    StreamFault::Gone => "was unplugged or switched off",
                    StreamFault::Changed => "has changed",
                    StreamFault::Silent => "has gone silent",
                    _ => "failed, or its sound server has ended",
                };
                write!(f, "{direction} \"{device}\" {why}; it is taken back when it returns")
            }
        }
    }
}

/// The program's end of an open stream's ring buffer.
pub trait End: Send + 'static {
    fn counters(&self) -> &StreamCounters;
    fn device(&self) -> &str;
    fn format(&self) -> StreamFormat;
}

type Opened<E> = Result<(Box<dyn AudioStream>, E), DeviceError>;
/// Function that opens the stream; it may hang.
pub type Open<E> = Arc<dyn Fn() -> Opened<E> + Send + Sync>;

enum State<E> {
    Waiting { until: Moment },
    Opening { answer: Receiver<Opened<E>>, since: Moment },
    Running { stream: Option<Box<dyn AudioStream>>, end: E, watch: Watch },
}

/// The watchdog of a stream.
struct Watch {
    opened: Moment,
    calls: u64,
    called: Moment,
    /// Number of errors, and the time since when there were some without a call.
    doubts: u64,
    doubted: Option<Moment>,
}

impl Watch {
    fn new(opened: Moment) -> Self {
        Watch { opened, calls: 0, called: opened, doubts: 0, doubted: None }
    }

    fn look(&mut self, counters: &StreamCounters, now: Moment) -> Option<StreamFault> {
        if counters.calls() != self.calls {
            (self.calls, self.called, self.doubted) = (counters.calls(), now, None);
        }
        if counters.doubts() != self.doubts {
            self.doubts = counters.doubts();
            self.doubted.get_or_insert(now);
        }
        let starting = now.since(self.opened) < STARTING_LIMIT;
        let silent = now.since(self.called) >= if starting { STARTING_LIMIT } else { SILENT_LIMIT };
        let patience = if self.calls < FIRST_CALLS { STARTING_DOUBT_LIMIT } else { DOUBT_LIMIT };
        let failed = self.doubted.is_some_and(|since| now.since(since) >= patience);
        let fault = counters.fault().map(StreamFault::of).or(failed.then_some(StreamFault::Backend));
        fault.or(silent.then_some(StreamFault::Silent))
    }
}

pub struct Link<E: End> {
    open: Open<E>,
    spawn: Spawn,
    clock: Arc<dyn Clock>,
    direction: Direction,
    /// Name as it was requested.
    name: String,
    state: State<E>,
    wait: Duration,
    /// Time since when there is no sound, once that was reported.
    lost: Option<Moment>,
    hanging: Vec<Receiver<Opened<E>>>,
}

impl<E: End> Link<E> {
    pub fn new(direction: Direction, name: &str, open: Open<E>, spawn: Spawn, clock: Arc<dyn Clock>) -> Self {
        let state = State::Waiting { until: clock.now() };
        let (name, wait) = (name.to_owned(), RETRY_FIRST);
        Link { open, spawn, clock, direction, name, state, wait, lost: None, hanging: Vec::new() }
    }

    /// The program's end of the ring buffer while the stream runs.
    pub fn end(&mut self) -> Option<&mut E> {
        match &mut self.state {
            State::Running { end, .. } => Some(end),
            _ => None,
        }
    }

    /// Checks the stream; call it every few milliseconds. With [`DeviceChange::Lost`] of a stream
    /// that ran, it returns the program's end of the ring buffer, for the rest of the sound in it.
    pub fn poll(&mut self) -> (Option<DeviceChange>, Option<E>) {
        let now = self.clock.now();
        if let State::Waiting { until } = self.state {
            if now < until || !self.may_try() {
                return (None, None);
            }
            self.begin_opening(now);
        }
        match &mut self.state {
            State::Waiting { .. } => (None, None),
            State::Opening { .. } => (self.look_at_opening(now), None),
            State::Running { end, watch, .. } => {
                let fault = watch.look(end.counters(), now);
                fault.map_or((None, None), |why| self.give_up(why, now))
            }
        }
    }

    /// Limits the number of attempts that hang. An attempt that has returned at last is forgotten,
    /// and what it opened is closed.
    fn may_try(&mut self) -> bool {
        let spawn = &self.spawn;
        self.hanging.retain(|answer| match answer.try_recv() {
            Ok(late) => {
                spawn(Box::new(move || drop(late)));
                false
            }
            Err(TryRecvError::Disconnected) => false,
            Err(TryRecvError::Empty) => true,
        });
        self.hanging.len() < MOST_HANGING
    }

    fn begin_opening(&mut self, now: Moment) {
        let (answer, result) = bounded(1);
        let open = self.open.clone();
        (self.spawn)(Box::new(move || {
            // The result is no longer wanted: what was opened is closed here.
            let _ = answer.send(open());
        }));
        self.state = State::Opening { answer: result, since: now };
    }

    fn look_at_opening(&mut self, now: Moment) -> Option<DeviceChange> {
        let State::Opening { answer, since } = &self.state else { return None };
        let failed =
            |why: &str| DeviceError::Failed { direction: self.direction, name: self.name.clone(), why: why.to_owned() };
        match answer.try_recv() {
            Ok(Ok((stream, end))) => Some(self.run(stream, end, now)),
            Ok(Err(error)) => self.try_later(error, now),
            Err(TryRecvError::Empty) if now.since(*since) < OPENING_LIMIT => None,
            Err(TryRecvError::Empty) => {
                self.hanging.push(answer.clone());
                self.try_later(failed("the sound system does not answer"), now)
            }
            Err(TryRecvError::Disconnected) => self.try_later(failed("the sound system's code broke off"), now),
        }
    }

    fn run(&mut self, stream: Box<dyn AudioStream>, end: E, now: Moment) -> DeviceChange {
        let (device, format) = (end.device().to_owned(), end.format());
        self.state = State::Running { stream: Some(stream), end, watch: Watch::new(now) };
        let away = self.lost.take().map(|lost| now.since(lost));
        DeviceChange::Opened { direction: self.direction, device, format, away }
    }

    fn try_later(&mut self, error: DeviceError, now: Moment) -> Option<DeviceChange> {
        self.state = State::Waiting { until: now.plus(self.wait) };
        self.wait = (self.wait * 2).min(RETRY_LIMIT);
        let first = self.lost.is_none();
        self.lost.get_or_insert(now);
        let (direction, device) = (self.direction, self.name.clone());
        first.then_some(DeviceChange::Lost { direction, device, why: StreamFault::Unopened(error) })
    }

    fn give_up(&mut self, why: StreamFault, now: Moment) -> (Option<DeviceChange>, Option<E>) {
        let was = std::mem::replace(&mut self.state, State::Waiting { until: now });
        let State::Running { stream, end, watch } = was else { return (None, None) };
        // A stream that fails as soon as it is open is not retried quickly.
        if now.since(watch.opened) >= RETRY_LIMIT {
            self.wait = RETRY_FIRST;
        }
        // A device that only changed is present: retry at once.
        if why != StreamFault::Changed || self.wait > RETRY_FIRST {
            self.state = State::Waiting { until: now.plus(self.wait) };
        }
        self.wait = (self.wait * 2).min(RETRY_LIMIT);
        (self.spawn)(Box::new(move || drop(stream)));
        self.lost = Some(now);
        let change = DeviceChange::Lost { direction: self.direction, device: end.device().to_owned(), why };
        (Some(change), Some(end))
    }
}

impl<E: End> Drop for Link<E> {
    fn drop(&mut self) {
        let open = match &mut self.state {
            State::Running { stream, .. } => stream.take(),
            State::Opening { answer, .. } => answer.try_recv().ok().and_then(Result::ok).map(|(stream, _)| stream),
            State::Waiting { .. } => None,
        };
        if open.is_some() {
            (self.spawn)(Box::new(move || drop(open)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::audio::device::line::{CaptureConsumer, tap};
    use crate::audio::device::{DeviceJob, run_here};
    use crate::types::SampleRate;

    struct Nothing(Arc<Mutex<u32>>);

    impl AudioStream for Nothing {}

    impl Drop for Nothing {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }

    /// Clock that the test sets.
    #[derive(Default)]
    struct Set(Mutex<Moment>);

    impl Clock for Set {
        fn now(&self) -> Moment {
            *self.0.lock().unwrap()
        }
    }

    fn opening(closed: Arc<Mutex<u32>>) -> Open<CaptureConsumer> {
        let format = StreamFormat { rate: SampleRate(16_000), channels: 1, sample: cpal::SampleFormat::F32 };
        Arc::new(move || Ok((Box::new(Nothing(closed.clone())) as Box<dyn AudioStream>, tap(format, "test").1)))
    }

    #[test]
    fn attempts_that_hang_are_few_and_block_nobody_and_close_what_they_open_at_last() {
        let (closed, clock) = (Arc::new(Mutex::new(0)), Arc::new(Set::default()));
        let hung: Arc<Mutex<Vec<DeviceJob>>> = Arc::default();
        let jobs = hung.clone();
        let spawn: Spawn = Arc::new(move |job| jobs.lock().unwrap().push(job));
        let mut link = Link::new(Direction::Input, "test", opening(closed.clone()), spawn, clock.clone());
        let mut told = Vec::new();
        for second in 0..600 {
            *clock.0.lock().unwrap() = Moment(second * 1_000_000_000);
            told.extend(link.poll().0);
        }
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].to_string().contains("does not answer"), "{}", told[0]);
        assert_eq!(hung.lock().unwrap().len(), MOST_HANGING);
        // All return at once: the next attempt is made, and what they opened is closed.
        for _ in 0..2 {
            let jobs = std::mem::take(&mut *hung.lock().unwrap());
            jobs.into_iter().for_each(|job| job());
            *clock.0.lock().unwrap() = clock.now().plus(RETRY_LIMIT);
            told.extend(link.poll().0);
        }
        assert!(link.end().is_some() && told.len() == 2, "{told:?}");
        assert_eq!(*closed.lock().unwrap(), MOST_HANGING as u32);
        drop(link);
        hung.lock().unwrap().drain(..).for_each(|job| job());
        assert_eq!(*closed.lock().unwrap(), MOST_HANGING as u32 + 1);
    }

    #[test]
    fn a_device_that_fails_as_soon_as_it_is_open_is_tried_more_and_more_rarely() {
        let (closed, clock) = (Arc::new(Mutex::new(0)), Arc::new(Set::default()));
        let mut link = Link::new(Direction::Input, "test", opening(closed), run_here(), clock.clone());
        let mut opened = Vec::new();
        for tenth in 0..1_200 {
            *clock.0.lock().unwrap() = Moment(tenth * 100_000_000);
            if let Some(DeviceChange::Opened { .. }) = link.poll().0 {
                opened.push(tenth);
                link.end().unwrap().counters().fail(StreamFault::GONE);
            }
        }
        assert!((20..40).contains(&opened.len()), "{opened:?}");
    }
}
