//! Tests of everything above a card, on the simulated one.

use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;
use crate::audio::device::{
    BLOCK, Capture, CapturedBlock, DeviceChange, Flushed, Playback, PlaybackCount, PlaybackSettings, RETRY_LIMIT,
    SILENT_LIMIT, run_here,
};

const VOICE: SampleRate = SampleRate(22_050);
const STEP: Duration = Duration::from_millis(5);

fn ms(count: u64) -> Moment {
    Moment(count * 1_000_000)
}

fn tone(rate: u32, hertz: f64, seconds: f64) -> Vec<f32> {
    let count = (f64::from(rate) * seconds) as usize;
    (0..count).map(|i| (TAU * hertz * i as f64 / f64::from(rate)).sin() as f32 * 0.5).collect()
}

/// Test voice, different at every moment, band-limited well below 4 kHz.
fn murmur(rate: u32, seconds: f64) -> Vec<f32> {
    let partial = |i: usize| {
        let t = i as f64 / f64::from(rate);
        let of = |hertz: f64, sway: f64| (TAU * (hertz * t + 20.0 * (sway * t).sin())).sin();
        (0.3 * of(300.0, 1.1) + 0.2 * of(710.0, 0.7) + 0.1 * of(1900.0, 0.3)) as f32
    };
    (0..(f64::from(rate) * seconds) as usize).map(partial).collect()
}

/// Correlation of two sounds, 1.0 when they are equal up to gain.
fn alike(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1e-30)
}

struct Bench {
    card: Simulated,
    capture: Capture,
    playback: Playback,
    blocks: Vec<CapturedBlock>,
    changes: Vec<DeviceChange>,
    /// Samples yet to be written, as space allows.
    script: std::collections::VecDeque<f32>,
}

impl Bench {
    fn new(card: Simulated) -> Self {
        let shared: Arc<dyn Card> = Arc::new(card.clone());
        let capture = Capture::open(shared.clone(), DEFAULT, run_here());
        let playback = Playback::open(shared, DEFAULT, PlaybackSettings::at(VOICE), run_here()).unwrap();
        let mut bench =
            Bench { card, capture, playback, blocks: Vec::new(), changes: Vec::new(), script: Default::default() };
        bench.attend();
        bench
    }

    fn attend(&mut self) {
        self.changes.extend(self.capture.poll());
        self.changes.extend(self.playback.poll());
        while let Some(block) = self.capture.read() {
            self.blocks.push(block);
        }
        self.attend_playback();
    }

    fn attend_playback(&mut self) {
        let room = self.playback.room().min(self.script.len());
        let piece: Vec<f32> = self.script.drain(..room).collect();
        assert_eq!(self.playback.write(&piece), room);
        let tally = self.playback.tally();
        assert_eq!(tally.written, tally.played + tally.dropped + tally.queued);
    }

    fn run(&mut self, seconds: f64) {
        for _ in 0..(seconds / STEP.as_secs_f64()).round() as usize {
            self.card.advance(STEP);
            self.attend();
        }
    }

    fn sound(&self) -> Vec<f32> {
        self.blocks.iter().flat_map(|block| block.samples).collect()
    }

    fn lines(&self) -> Vec<String> {
        self.changes.iter().map(DeviceChange::to_string).collect()
    }

    fn assert_positions(&self) {
        for (i, block) in self.blocks.iter().enumerate() {
            assert_eq!(block.position, (i * BLOCK) as u64);
        }
    }
}

fn device(direction: Direction, rate: u32, channels: u16, sample: SampleFormat) -> SimulatedDevice {
    SimulatedDevice::new(direction, &direction.to_string(), rate, channels, sample)
}

#[test]
fn a_microphone_of_any_kind_gives_the_same_sound_at_the_same_time() {
    use SampleFormat::*;
    let kinds = [(8_000, 1, U8), (16_000, 1, F32), (44_100, 2, I16), (48_000, 6, I24), (96_000, 2, I32)];
    for (rate, channels, sample) in kinds.into_iter().chain([(192_000, 1, F64), (48_000, 2, U16), (22_050, 3, I8)]) {
        let card = Simulated::new(vec![device(Direction::Input, rate, channels, sample)], SimulatedRoom::HEADPHONES);
        card.say(ms(0), SampleRate(48_000), &murmur(48_000, 3.0));
        let mut bench = Bench::new(card);
        bench.run(2.0);
        bench.assert_positions();
        assert_eq!(bench.capture.missing(), 0, "{rate}");
        let (heard, said) = (bench.sound(), murmur(16_000, 3.0));
        let likeness = alike(&heard[1_600..], &said[1_600..heard.len()]);
        // The position is right to half a sample, to which 1900 Hz is sensitive.
        assert!(likeness > 0.995, "{rate} Hz, {channels} channels, {sample}: {likeness}");
        let last = bench.blocks.last().unwrap();
        assert!((last.at.seconds() - last.position as f64 / 16_000.0).abs() < 1e-4, "{rate}: {:?}", last.at);
    }
}

#[test]
fn clocks_that_drift_are_measured_and_both_directions_keep_the_sessions_time() {
    for (jitter, within, off) in [(0, 1.0, 0.002), (3, 40.0, 0.005)] {
        let mut mic = device(Direction::Input, 48_000, 1, SampleFormat::I16);
        let mut spk = device(Direction::Output, 44_100, 2, SampleFormat::F32);
        (mic.ppm, spk.ppm) = (180.0, -120.0);
        (mic.jitter, spk.jitter) = (Duration::from_millis(jitter), Duration::from_millis(jitter));
        let mut bench = Bench::new(Simulated::new(vec![mic, spk], SimulatedRoom::HEADPHONES));
        bench.script.extend(std::iter::repeat_n(0.1, VOICE.0 as usize * 130));
        bench.run(60.0);
        let early = bench.playback.played();
        bench.run(60.0);
        bench.assert_positions();
        let rate = (bench.playback.played() - early) as f64 / 60.0 / f64::from(VOICE.0);
        assert!((rate - 1.0).abs() * 1e6 < within, "{}", (rate - 1.0) * 1e6);
        assert!((bench.capture.drift_ppm().unwrap() - 180.0).abs() < within, "{:?}", bench.capture.drift_ppm());
        assert!((bench.playback.drift_ppm().unwrap() + 120.0).abs() < within, "{:?}", bench.playback.drift_ppm());
        // At the very beginning nothing else is known, so a late block counts as a loss.
        assert!(bench.capture.missing() <= 16 * jitter, "{}", bench.capture.missing());
        assert_eq!(bench.playback.underruns(), 0);
        for block in &bench.blocks[1_000..] {
            let off_by = block.at.seconds() - block.position as f64 / 16_000.0;
            assert!(off_by.abs() < off, "{jitter} ms of jitter, {} s: {off_by}", block.at.seconds());
        }
    }
}

#[test]
fn the_echo_comes_after_the_rooms_delay_and_stays_there() {
    let room = SimulatedRoom { delay: Duration::from_millis(30), gain: 0.5, ..SimulatedRoom::HEADPHONES };
    let mut mic = device(Direction::Input, 48_000, 1, SampleFormat::F32);
    let mut spk = device(Direction::Output, 48_000, 1, SampleFormat::F32);
    (mic.ppm, spk.ppm) = (90.0, -90.0);
    let mut bench = Bench::new(Simulated::new(vec![mic, spk], room));
    bench.script.extend(murmur(VOICE.0, 40.0));
    bench.run(35.0);
    let said = murmur(SampleRate::HEARING.0, 40.0);
    let mut delays = Vec::new();
    for second in [5, 20, 34] {
        let heard: Vec<f32> = bench.blocks[second * 100..second * 100 + 50].iter().flat_map(|b| b.samples).collect();
        let likeness = |delay: usize| alike(&heard, &said[second * 16_000 - delay..][..heard.len()]);
        let best = (480..3_200).max_by(|a, b| likeness(*a).total_cmp(&likeness(*b))).unwrap();
        assert!(likeness(best) > 0.99, "{second} s: {} after {best} samples", likeness(best));
        delays.push(best);
    }
    let spread = delays.iter().max().unwrap() - delays.iter().min().unwrap();
    assert!(spread <= 16, "{delays:?} samples: a millisecond at most, while the drift is still being learnt");
}

#[test]
fn what_nobody_read_in_time_is_silence_and_the_rest_is_in_its_place() {
    let card = Simulated::usual(SimulatedRoom::HEADPHONES);
    card.say(ms(0), SampleRate(48_000), &murmur(48_000, 10.0));
    let mut bench = Bench::new(card);
    bench.run(1.0);
    bench.card.advance(Duration::from_secs(5));
    bench.run(2.0);
    bench.assert_positions();
    assert_eq!(bench.capture.overruns(), 48_000 * 2);
    assert!((bench.capture.missing() as f64 - 32_000.0).abs() < 10.0, "{}", bench.capture.missing());
    let (heard, said) = (bench.sound(), murmur(16_000, 10.0));
    for span in [1_000..15_000, 17_000..62_000, 98_000..122_000] {
        assert!(alike(&heard[span.clone()], &said[span.clone()]) > 0.999, "{span:?}");
    }
    assert!(heard[65_000..94_000].iter().all(|&sample| sample == 0.0));
}

#[test]
fn an_interrupted_microphone_keeps_its_place() {
    let card = Simulated::usual(SimulatedRoom::HEADPHONES);
    card.say(ms(0), SampleRate(48_000), &murmur(48_000, 8.0));
    card.plan(ms(2_000), DeviceEvent::Xrun("mic".into(), Duration::from_millis(300)));
    let mut bench = Bench::new(card);
    bench.run(5.0);
    bench.assert_positions();
    assert_eq!(bench.capture.xruns(), 1);
    assert!((bench.capture.missing() as f64 - 4_800.0).abs() < 20.0, "{}", bench.capture.missing());
    let (heard, said) = (bench.sound(), murmur(16_000, 8.0));
    assert!(alike(&heard[40_000..], &said[40_000..heard.len()]) > 0.999);
}

#[test]
fn devices_that_go_come_back_and_the_session_goes_on() {
    let card = Simulated::usual(SimulatedRoom::HEADPHONES);
    card.say(ms(0), SampleRate(48_000), &murmur(48_000, 12.0));
    for name in ["mic", "spk"] {
        card.plan(ms(2_000), DeviceEvent::Unplug(name.into()));
        card.plan(ms(5_000), DeviceEvent::Plug(name.into()));
    }
    let mut bench = Bench::new(card);
    bench.script.extend(murmur(VOICE.0, 2.5));
    bench.run(10.0);
    bench.assert_positions();
    assert_eq!(bench.changes.len(), 6, "{:#?}", bench.lines());
    assert!(bench.lines()[2].contains("\"mic\" was unplugged"), "{:#?}", bench.lines());
    assert!(bench.lines()[4..].iter().all(|line| line.contains("is back after")), "{:#?}", bench.lines());
    // The silence came as time passed, not at the end: 3 s, and up to the longest wait more.
    let missing = bench.capture.missing() as f64 / 16_000.0;
    assert!((3.0..3.0 + RETRY_LIMIT.as_secs_f64()).contains(&missing), "{missing}");
    let (heard, said) = (bench.sound(), murmur(16_000, 12.0));
    assert!(heard.len() > 159_000);
    assert!(alike(&heard[150_000..], &said[150_000..heard.len()]) > 0.99);
    let flushed = bench.playback.flushed().unwrap();
    let tally = bench.playback.tally();
    assert!(flushed.lost && flushed.dropped > 0 && flushed.dropped == tally.dropped, "{flushed:?}");
    // The loudspeaker had played to within its latency; unwritten samples waited for its return.
    assert!((flushed.from as f64 / f64::from(VOICE.0) - 1.95).abs() < 0.07, "{flushed:?}");
    assert_eq!(bench.script.len(), 0);
}

#[test]
fn silence_is_handed_out_while_a_microphone_is_away() {
    let card = Simulated::usual(SimulatedRoom::HEADPHONES);
    card.plan(ms(1_000), DeviceEvent::Unplug("mic".into()));
    let mut bench = Bench::new(card);
    for second in 1..6 {
        bench.run(1.0);
        let behind = 16_000 * second - bench.blocks.len() as i64 * BLOCK as i64;
        assert!((0..1_600).contains(&behind), "{second}: {behind}");
    }
    bench.assert_positions();
}

#[test]
fn the_default_is_followed_and_a_name_is_not() {
    let names = ["first", "second"];
    let devices = names.map(|name| SimulatedDevice::new(Direction::Input, name, 48_000, 1, SampleFormat::F32)).to_vec();
    let card = Simulated::new(devices, SimulatedRoom::HEADPHONES);
    card.plan(ms(1_000), DeviceEvent::MakeDefault("second".into()));
    card.plan(ms(8_000), DeviceEvent::Unplug("second".into()));
    let named = Capture::open(Arc::new(card.clone()), "first", run_here());
    let mut bench = Bench::new(card.clone());
    let mut named = (named, Vec::new());
    for _ in 0..3_000 {
        card.advance(STEP);
        bench.attend();
        named.1.extend(named.0.poll());
        while named.0.read().is_some() {}
    }
    let opened = bench.lines().into_iter().filter(|line| line.starts_with("microphone") && line.contains("Hz"));
    let opened: Vec<_> = opened.map(|line| line.split('"').nth(1).unwrap().to_owned()).collect();
    assert_eq!(opened, ["first", "second", "first"]);
    assert_eq!(named.1.len(), 1);
    bench.assert_positions();
}

#[test]
fn a_device_that_falls_silent_is_opened_again() {
    let card = Simulated::usual(SimulatedRoom::HEADPHONES);
    card.plan(ms(8_000), DeviceEvent::Stall("mic".into()));
    let mut bench = Bench::new(card);
    bench.run(7.9 + SILENT_LIMIT.as_secs_f64());
    assert_eq!(bench.changes.len(), 2);
    bench.run(1.0);
    assert!(bench.lines()[2].contains("gone silent"), "{:#?}", bench.lines());
    assert!(bench.lines()[3].contains("is back"), "{:#?}", bench.lines());
    bench.assert_positions();
}

#[test]
fn a_device_that_comes_back_with_another_format_goes_on() {
    let card = Simulated::usual(SimulatedRoom::HEADPHONES);
    let format = |rate| StreamFormat::new(rate, 1, SampleFormat::I32).unwrap();
    card.plan(ms(1_000), DeviceEvent::Reformat("mic".into(), format(16_000)));
    card.plan(ms(1_000), DeviceEvent::Reformat("spk".into(), format(8_000)));
    card.say(ms(0), SampleRate(48_000), &murmur(48_000, 5.0));
    let mut bench = Bench::new(card);
    bench.script.extend(murmur(VOICE.0, 2.0));
    bench.run(4.0);
    bench.assert_positions();
    let (heard, said) = (bench.sound(), murmur(16_000, 5.0));
    assert!(alike(&heard[32_000..], &said[32_000..heard.len()]) > 0.999);
    bench.playback.end();
    bench.run(0.2);
    assert_eq!(bench.playback.tally().queued, 0);
}

#[test]
fn a_card_without_devices_is_told_once_and_taken_when_it_comes() {
    let card = Simulated::usual(SimulatedRoom::HEADPHONES);
    card.plan(ms(0), DeviceEvent::Unplug("mic".into()));
    card.plan(ms(20_000), DeviceEvent::Plug("mic".into()));
    card.advance(Duration::ZERO);
    let mut bench = Bench::new(card);
    bench.run(30.0);
    let lines = bench.lines();
    let of_mic: Vec<_> = lines.iter().filter(|line| line.contains("microphone")).collect();
    assert_eq!(of_mic.len(), 2, "{of_mic:#?}");
    assert!(of_mic[0].contains("there is no microphone \"default\"") && of_mic[1].contains("is back"), "{of_mic:#?}");
    bench.assert_positions();
}

#[test]
fn what_was_written_is_heard_as_written_and_counted_to_the_sample() {
    for (rate, channels, sample) in
        [(48_000, 2, SampleFormat::I16), (44_100, 1, SampleFormat::F32), (8_000, 2, SampleFormat::U8)]
    {
        let card = Simulated::new(vec![device(Direction::Output, rate, channels, sample)], SimulatedRoom::HEADPHONES);
        card.record();
        let mut bench = Bench::new(card);
        let said = tone(VOICE.0, 440.0, 1.0);
        bench.script.extend(&said);
        // Writing starts with the first moment, so the sound leaves the loudspeaker 20 ms later.
        bench.attend();
        for _ in 0..300 {
            bench.run(0.005);
            let time = bench.card.clock().now().seconds() - 0.02;
            let (played, due) = (bench.playback.played() as f64, (time * f64::from(VOICE.0)).clamp(0.0, 22_050.0));
            // A frame of 8 kHz is three samples.
            assert!((played - due).abs() <= 4.0, "{rate}: {played}, {due}");
            if bench.script.is_empty() && bench.playback.tally().queued > 0 {
                bench.playback.end();
            }
        }
        assert_eq!(bench.playback.tally(), PlaybackCount { written: 22_050, played: 22_050, dropped: 0, queued: 0 });
        assert_eq!(bench.playback.underruns(), 0, "{rate}");
        let heard = bench.card.recorded(ms(20), ms(1_020), VOICE);
        assert!(alike(&heard[500..21_500], &said[500..21_500]) > 0.99, "{rate}: {}", alike(&heard, &said));
        let after = bench.card.recorded(ms(1_022), ms(1_400), VOICE);
        assert!(after.iter().all(|sample| sample.abs() < 1e-2), "{rate}");
    }
}

#[test]
fn a_flush_is_soon_soft_and_exact() {
    let card = Simulated::new(vec![device(Direction::Output, 48_000, 1, SampleFormat::F32)], SimulatedRoom::HEADPHONES);
    card.record();
    let mut bench = Bench::new(card);
    bench.script.extend(std::iter::repeat_n(0.5, 44_100));
    bench.run(0.503);
    bench.script.clear();
    bench.playback.flush();
    let written = bench.playback.tally().written;
    assert_eq!(bench.playback.flushed(), None);
    // The fade begins at the next callback: 10 ms to that, 20 ms of latency, and the fade.
    bench.run(0.045);
    let Flushed { from, dropped, lost } = bench.playback.flushed().unwrap();
    let tally = bench.playback.tally();
    assert_eq!((tally.played, tally.dropped, tally.queued, lost), (from, dropped, 0, false));
    assert_eq!(from + dropped, written);
    // Sound at the loudspeaker, counted independently of the playback's own counts.
    let heard = bench.card.recorded(ms(0), ms(700), SampleRate(48_000));
    let sounding = heard.iter().filter(|sample| sample.abs() > 1e-4).count() as f64;
    let counted = from as f64 * 48_000.0 / 22_050.0;
    assert!((sounding - counted).abs() <= 4.0, "{sounding} {counted}");
    let end = heard.iter().rposition(|sample| sample.abs() > 1e-4).unwrap();
    assert!((end as f64 / 48.0 - 503.0) < 37.0, "{end}");
    let steps = heard[end - 400..].windows(2).map(|pair| (pair[1] - pair[0]).abs());
    assert!(steps.fold(0.0, f32::max) < 0.5 / 240.0 * 1.5, "a fade of 5 ms");
    // Playback goes on.
    bench.script.extend(std::iter::repeat_n(0.5, 2_205));
    bench.run(0.08);
    bench.playback.end();
    bench.run(0.3);
    let tally = bench.playback.tally();
    assert_eq!((tally.played, tally.queued), (from + 2_205, 0));
    assert_eq!(bench.playback.underruns(), 0);
}

#[test]
fn a_flush_of_nothing_and_one_without_a_device_report_too() {
    let card = Simulated::usual(SimulatedRoom::HEADPHONES);
    card.plan(ms(500), DeviceEvent::Unplug("spk".into()));
    let mut bench = Bench::new(card);
    bench.run(0.2);
    bench.playback.flush();
    bench.run(0.1);
    assert_eq!(bench.playback.flushed(), Some(Flushed { from: 0, dropped: 0, lost: false }));
    bench.run(0.3);
    assert_eq!((bench.playback.room(), bench.playback.write(&[0.1; 100])), (0, 0));
    bench.playback.flush();
    assert_eq!(bench.playback.flushed(), Some(Flushed { from: 0, dropped: 0, lost: false }));
}

#[test]
fn running_dry_in_the_middle_is_an_underrun_and_at_the_end_is_not() {
    let mut bench = Bench::new(Simulated::usual(SimulatedRoom::HEADPHONES));
    for pieces in 1..4 {
        bench.script.extend(std::iter::repeat_n(0.5, 2_205));
        bench.run(0.6);
        assert_eq!(bench.playback.underruns(), pieces);
    }
    bench.playback.end();
    bench.run(0.3);
    assert_eq!(bench.playback.played(), 3 * 2_205);
    bench.script.extend(std::iter::repeat_n(0.5, 2_205));
    bench.run(0.08);
    bench.playback.end();
    bench.run(0.5);
    assert_eq!((bench.playback.underruns(), bench.playback.played()), (3, 4 * 2_205));
}

#[test]
fn ducking_and_holding_are_soft_and_lose_nothing() {
    let card = Simulated::new(vec![device(Direction::Output, 48_000, 1, SampleFormat::F32)], SimulatedRoom::HEADPHONES);
    card.record();
    let mut bench = Bench::new(card);
    bench.script.extend(std::iter::repeat_n(0.5, 22_050));
    bench.run(0.3);
    bench.playback.duck(0.25);
    bench.run(0.1);
    bench.playback.hold(true);
    bench.run(0.2);
    let held = bench.playback.tally();
    bench.run(1.0);
    assert_eq!(bench.playback.tally(), held);
    bench.playback.duck(1.0);
    bench.playback.hold(false);
    bench.run(0.3);
    let level = |at| bench.card.recorded(ms(at), ms(at + 1), SampleRate(48_000))[0];
    for (at, wanted) in [(290, 0.5), (360, 0.125), (500, 0.0), (1_500, 0.0), (1_750, 0.5)] {
        assert!((level(at) - wanted).abs() < 0.01, "{at}: {}", level(at));
    }
    bench.run(0.5);
    bench.playback.end();
    bench.run(0.3);
    assert_eq!(bench.playback.tally(), PlaybackCount { written: 22_050, played: 22_050, dropped: 0, queued: 0 });
}

#[derive(Clone, Debug)]
enum Act {
    Write(usize),
    End,
    Flush,
    Hold(bool),
    Duck(f32),
    Unplug,
    Plug,
    Xrun(u64),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1usize..6_000).prop_map(Act::Write),
        1 => Just(Act::End),
        1 => Just(Act::Flush),
        1 => any::<bool>().prop_map(Act::Hold),
        1 => (0.0f32..1.0).prop_map(Act::Duck),
        1 => Just(Act::Unplug),
        2 => Just(Act::Plug),
        1 => (1u64..300).prop_map(Act::Xrun),
        6 => (1u64..200).prop_map(Act::Wait),
    ]
}

fn perform(bench: &mut Bench, act: Act) {
    let now = bench.card.clock().now();
    match act {
        Act::Write(count) => bench.script.extend(std::iter::repeat_n(0.3, count)),
        Act::End => bench.playback.end(),
        Act::Flush => {
            bench.script.clear();
            bench.playback.flush();
        }
        Act::Hold(held) => bench.playback.hold(held),
        Act::Duck(gain) => bench.playback.duck(gain),
        Act::Unplug => bench.card.plan(now, DeviceEvent::Unplug("spk".into())),
        Act::Plug => bench.card.plan(now, DeviceEvent::Plug("spk".into())),
        Act::Xrun(span) => bench.card.plan(now, DeviceEvent::Xrun("spk".into(), Duration::from_millis(span))),
        Act::Wait(steps) => bench.run(steps as f64 * 0.005),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_sample_is_settled_once_whatever_happens(acts in proptest::collection::vec(act(), 1..40)) {
        let mut bench = Bench::new(Simulated::usual(SimulatedRoom::HEADPHONES));
        let mut settled = 0;
        for act in acts {
            perform(&mut bench, act);
            let tally = bench.playback.tally();
            prop_assert!(tally.played + tally.dropped >= settled);
            settled = tally.played + tally.dropped;
        }
        bench.card.plan(ms(0), DeviceEvent::Plug("spk".into()));
        bench.playback.hold(false);
        bench.run(2.0 * RETRY_LIMIT.as_secs_f64());
        bench.playback.end();
        bench.run(1.0);
        let tally = bench.playback.tally();
        prop_assert_eq!(tally.queued, 0, "{:?}", tally);
        let reports: Vec<Flushed> = std::iter::from_fn(|| bench.playback.flushed()).collect();
        prop_assert_eq!(reports.iter().map(|report| report.dropped).sum::<u64>(), tally.dropped);
        prop_assert!(reports.windows(2).all(|pair| pair[0].from + pair[0].dropped <= pair[1].from));
        bench.assert_positions();
    }
}
