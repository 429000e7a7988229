//! Real streams through a real sound server.
//!
//! The server is found through the environment, which a running program should not change: each
//! test runs itself again as a child that has it.

#![cfg(target_os = "linux")]

#[path = "common/pulse.rs"]
mod pulse;

use std::f64::consts::TAU;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pulse::{Server, server};
use sotto::audio::device::{
    BLOCK, Capture, CapturedBlock, Card, DEFAULT, DeviceChange, DeviceJob, Direction, Hardware, Playback,
    PlaybackSettings, Spawn, SystemClock,
};
use sotto::types::{Ms, SampleRate};

/// What a program plays is what a microphone hears.
const LOOP: &str = "\
    load-module module-null-sink sink_name=spk rate=48000 channels=2\n\
    set-default-sink spk\n\
    set-default-source spk.monitor\n";

const VOICE: SampleRate = SampleRate(22_050);
/// Names the length of the device's blocks to the child, in milliseconds.
const PERIOD: &str = "SOTTO_TEST_PERIOD_MS";
/// Longer blocks than a conversation would have: the machine that tests may be busy. Where it
/// interrupts the sound nothing can be said of it, and it is played again with longer ones.
const PERIODS_MS: [u32; 4] = [25, 100, 400, 400];
/// Sound is prepared for so many blocks.
const AHEAD: f64 = 8.0;

/// What the child prints before it tells how.
const INTERRUPTED: &str = "interrupted: ";

/// Runs the ignored test `name` of this file with the server's environment; `act` is done when it
/// prints a line.
fn run_within(server: &mut Server, name: &str, period_ms: u32, mut act: impl FnMut(&mut Server, &str)) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.env(PERIOD, period_ms.to_string());
    child.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]);
    server.lend(&mut child).env("HOME", server.path("home"));
    let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut said = Vec::new();
    for line in lines.map_while(Result::ok) {
        act(server, &line);
        said.push(line);
    }
    assert!(child.wait().unwrap().success(), "{}", said.join("\n"));
}

fn threads() -> Spawn {
    Arc::new(|job: DeviceJob| drop(std::thread::spawn(job)))
}

/// A conversation's ends, looked after every few milliseconds.
struct Ends {
    capture: Capture,
    playback: Playback,
    blocks: Vec<CapturedBlock>,
    changes: Vec<DeviceChange>,
    written: usize,
    period: Ms,
    /// How often the microphone brought more at once than the speaker has in store: the server had
    /// stood still.
    bursts: usize,
}

impl Ends {
    fn open() -> Self {
        let period = Ms(std::env::var(PERIOD).unwrap().parse().unwrap());
        let card: Arc<dyn Card> = Arc::new(Hardware::new(SystemClock::start()).with_period(period));
        let settings = PlaybackSettings { rate: VOICE, ahead: Ms(AHEAD * period.0) };
        Ends {
            capture: Capture::open(card.clone(), DEFAULT, threads()),
            playback: Playback::open(card, DEFAULT, settings, threads()).unwrap(),
            blocks: Vec::new(),
            changes: Vec::new(),
            written: 0,
            period,
            bursts: 0,
        }
    }

    fn attend(&mut self, sound: &[f32]) {
        self.changes.extend(self.capture.poll());
        self.changes.extend(self.playback.poll());
        let before = self.blocks.len();
        while let Some(block) = self.capture.read() {
            self.blocks.push(block);
        }
        let brought = ((self.blocks.len() - before) * BLOCK) as f64 / f64::from(SampleRate::HEARING.0) * 1000.0;
        self.bursts += usize::from(brought > 2.0 * self.period.0);
        let room = self.playback.room().min(sound.len() - self.written);
        self.written += self.playback.write(&sound[self.written..self.written + room]);
        std::thread::sleep(Duration::from_millis(3));
    }

    /// Until something is so, within a minute.
    fn until(&mut self, what: &str, sound: &[f32], so: impl Fn(&mut Ends) -> bool) {
        let begun = Instant::now();
        while !so(self) {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}: {:?}", self.changes);
            self.attend(sound);
        }
    }

    fn lost(&self) -> usize {
        self.changes.iter().filter(|change| matches!(change, DeviceChange::Lost { .. })).count()
    }

    fn opened(&self) -> usize {
        self.changes.len() - self.lost()
    }

    /// What the machine has done to the sound: somebody did not come in time, server, callback or
    /// this thread.
    fn interruptions(&mut self) -> Interruptions {
        Interruptions {
            at_the_microphone: self.capture.xruns() + self.capture.overruns(),
            in_bursts: self.bursts,
            at_the_speaker: self.playback.xruns() + self.playback.underruns(),
            lost: self.lost(),
        }
    }
}

#[derive(Debug, PartialEq)]
struct Interruptions {
    at_the_microphone: u64,
    in_bursts: usize,
    at_the_speaker: u64,
    lost: usize,
}

/// From 100 Hz to 2 kHz in a time that a correlation cannot mistake.
fn sweep(seconds: f64) -> Vec<f32> {
    let ratio: f64 = (2_000.0_f64 / 100.0).ln();
    let phase = |t: f64| TAU * 100.0 * seconds / ratio * ((t / seconds * ratio).exp() - 1.0);
    let count = (f64::from(VOICE.0) * seconds) as usize;
    (0..count).map(|i| 0.5 * phase(i as f64 / f64::from(VOICE.0)).sin() as f32).collect()
}

/// Correlation, 1.0 for the same sound at any gain.
fn alike(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1e-30)
}

/// Where `wanted` is in `heard`, and how alike they are there.
fn place(heard: &[f32], wanted: &[f32]) -> (usize, f64) {
    let last = heard.len().saturating_sub(wanted.len());
    (0..=last)
        .map(|at| (at, alike(&heard[at..at + wanted.len()], wanted)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or((0, 0.0))
}

/// At 96 kHz, where a whole sample is a fine measure of time.
fn fine(sound: &[f32]) -> Vec<f32> {
    sotto::audio::resample(sound, SampleRate::HEARING, SampleRate(96_000)).unwrap()
}

#[test]
fn what_is_played_is_captured() {
    let Some(mut server) = server(LOOP) else { return };
    let mut interruptions = Vec::new();
    for period_ms in PERIODS_MS {
        server.start();
        let seen = interruptions.len();
        run_within(&mut server, "within_a_server", period_ms, |_, line| {
            interruptions.extend(line.split_once(INTERRUPTED).map(|(_, how)| how.to_owned()));
        });
        if interruptions.len() == seen {
            return;
        }
        server.kill();
    }
    panic!("this machine is too busy for sound: {interruptions:#?}");
}

#[test]
#[ignore = "run by what_is_played_is_captured, with a server"]
fn within_a_server() {
    let card = Hardware::new(SystemClock::start());
    let devices = card.devices().unwrap();
    for direction in [Direction::Input, Direction::Output] {
        assert!(devices.iter().any(|device| device.direction == direction && device.is_default), "{devices:#?}");
    }
    let sound = sweep(3.0);
    let mut ends = Ends::open();
    ends.until("both open", &[], |ends| ends.opened() == 2);
    // A null sink that was idle sleeps up to 2 s before its first block.
    ends.until("a quiet beginning", &[], |ends| ends.blocks.len() > 400);
    let before = ends.interruptions();
    ends.until("all written", &sound, |ends| ends.written == 66_150);
    ends.playback.end();
    ends.until("all played", &sound, |ends| ends.playback.tally().queued == 0);
    let end = ends.blocks.len() + 60;
    ends.until("heard too", &sound, |ends| ends.blocks.len() > end);
    for (i, block) in ends.blocks.iter().enumerate() {
        assert_eq!(block.position, (i * BLOCK) as u64);
    }
    let after = ends.interruptions();
    if before != after {
        println!("{INTERRUPTED}{before:?}, then {after:?}");
        return;
    }
    let tally = ends.playback.tally();
    assert_eq!((tally.played, tally.dropped), (66_150, 0));
    let heard: Vec<f32> = ends.blocks.iter().flat_map(|block| block.samples).collect();
    let wanted = sotto::audio::resample(&sound, VOICE, SampleRate::HEARING).unwrap();
    // By pieces of half a second: each is where it belongs to a millisecond, whatever the clocks do
    // meanwhile.
    let begin = place(&heard, &wanted[8_000..16_000]).0 as i64 - 8_000;
    let mut worst = 1.0f64;
    for piece in 1..5 {
        let near = (begin + piece * 8_000 - 20) as usize;
        let wanted = fine(&wanted[piece as usize * 8_000..(piece as usize + 1) * 8_000]);
        let (at, likeness) = place(&fine(&heard[near..near + 8_040]), &wanted);
        println!("piece {piece}: {:+.2} ms, correlation {likeness:.5}", (at as f64 - 120.0) / 96.0);
        worst = worst.min(likeness);
    }
    println!("drift {:?} and {:?} ppm", ends.capture.drift_ppm(), ends.playback.drift_ppm());
    assert!(worst > 0.99, "{worst}");
}

#[test]
fn a_server_that_ends_is_missed_and_taken_back() {
    let Some(mut server) = server(LOOP) else { return };
    server.start();
    run_within(&mut server, "within_a_server_that_ends", PERIODS_MS[0], |server, line| match line {
        // The harness writes the test's name in front of its first line.
        line if line.ends_with("kill it") => server.kill(),
        "start it" => server.start(),
        _ => {}
    });
}

#[test]
#[ignore = "run by a_server_that_ends_is_missed_and_taken_back, with a server"]
fn within_a_server_that_ends() {
    let sound = sweep(120.0);
    let mut ends = Ends::open();
    ends.until("both open", &[], |ends| ends.opened() == 2);
    ends.until("a second of it", &sound, |ends| ends.playback.played() > 22_050);
    println!("kill it");
    ends.until("both lost", &sound, |ends| ends.lost() == 2);
    let blocks = ends.blocks.len();
    ends.until("silence meanwhile", &sound, |ends| ends.blocks.len() > blocks + 100);
    assert!(ends.blocks.last().unwrap().missing == BLOCK as u16);
    println!("start it");
    ends.until("both back", &sound, |ends| ends.opened() == 4);
    let (played, blocks) = (ends.playback.played(), ends.blocks.len());
    ends.until("it plays on", &sound, |ends| ends.playback.played() > played + 11_025);
    ends.until("it is heard", &sound, |ends| {
        ends.blocks[blocks..].iter().any(|block| block.samples.iter().any(|sample| sample.abs() > 0.1))
    });
    assert_eq!(ends.changes.len(), 6, "{:#?}", ends.changes);
    ends.changes.iter().for_each(|change| println!("{change}"));
    for (i, block) in ends.blocks.iter().enumerate() {
        assert_eq!(block.position, (i * BLOCK) as u64);
    }
}

#[test]
fn the_program_lists_devices() {
    let Some(mut server) = server(LOOP) else { return };
    server.start();
    let told = sotto_devices(&server, &["--json"]);
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let listed: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    for direction in ["inputs", "outputs"] {
        let devices = listed[direction].as_array().unwrap();
        assert!(devices.iter().any(|device| device["default"] == true && device["name"] == DEFAULT), "{listed:#}");
    }
    server.kill();
    let told = sotto_devices(&server, &[]);
    assert_eq!(told.status.code(), Some(4), "{}", String::from_utf8_lossy(&told.stdout));
    assert!(String::from_utf8_lossy(&told.stderr).contains("no sound system"), "{told:?}");
}

fn sotto_devices(server: &Server, arguments: &[&str]) -> std::process::Output {
    let mut sotto = Command::new(env!("CARGO_BIN_EXE_sotto"));
    sotto.arg("devices").args(arguments);
    server.lend(&mut sotto).env("HOME", server.path("home"));
    sotto.output().unwrap()
}
