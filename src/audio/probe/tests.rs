//! Sound checks in simulated rooms, faster than real time.

use super::super::device::{DEFAULT, DeviceEvent, Simulated, SimulatedDevice, SimulatedRoom, run_here};
use super::*;
use crate::config::{AudioPlan, EchoMode as Canceller, Gain, Noise};

const STEP: Duration = Duration::from_millis(5);
const AUDIO: AudioPlan = AudioPlan { echo: Canceller::Aec3, noise: Noise::Off, gain: Gain::Off };

fn check(card: &Simulated, audio: &AudioPlan) -> Findings {
    let shared: Arc<dyn Card> = Arc::new(card.clone());
    let mut check = SoundCheck::open(shared, DEFAULT, DEFAULT, audio, &[], run_here()).unwrap();
    for _ in 0..12_000 {
        if let Some(findings) = check.step() {
            return findings;
        }
        card.advance(STEP);
    }
    panic!("a sound check of more than a minute");
}

fn room(delay: u64, gain: f32, noise: f32) -> SimulatedRoom {
    SimulatedRoom { delay: Duration::from_millis(delay), gain, tail: Duration::ZERO, noise }
}

#[test]
fn a_room_is_measured() {
    let found = check(&Simulated::usual(room(30, 0.5, 0.001)), &AUDIO);
    assert_eq!(found.microphone.as_ref().unwrap().device, "mic");
    assert_eq!(found.speaker.as_ref().unwrap().format.rate, SampleRate(48_000));
    // Uniform noise in ±0.001, of which the microphone's 16 kHz keep a third: -64.8 - 4.8 dB.
    assert!((-71.5..-67.5).contains(found.noise.as_ref().unwrap()), "{:?}", found.noise);
    let Ok(EchoMeasurement::Heard { chirps: 3, delay, spread, told: Some(told), level }) = found.echo else {
        panic!("{:?}", found.echo);
    };
    assert!((delay.0 - told.0 - 30.0).abs() < 1.0, "{delay:?}, of which the speaker knows {told:?}");
    assert!((20.0..=45.0).contains(&told.0), "20 ms of latency, and up to two blocks of 10 ms: {told:?}");
    assert!(spread.0 < 0.5 && (level + 6.0).abs() < 1.0, "{spread:?} {level}");
    let loss = found.loss.unwrap();
    assert!(loss.full_duplex && loss.enhancement > 12.0, "{loss:?}");
    assert_eq!((found.interruptions, found.clipped), (Interruptions::default(), 0));
}

#[test]
fn with_headphones_there_is_no_echo_and_all_is_well() {
    let found = check(&Simulated::usual(SimulatedRoom { noise: 0.001, ..SimulatedRoom::HEADPHONES }), &AUDIO);
    assert_eq!(found.echo, Ok(EchoMeasurement::Silent));
    assert_eq!(found.loss, Ok(EchoLossMeasurement { enhancement: f32::INFINITY, full_duplex: true }));
    let silent = check(&Simulated::usual(SimulatedRoom::HEADPHONES), &AUDIO);
    assert_eq!(silent.noise, Ok(f32::NEG_INFINITY));
}

#[test]
fn a_noisy_room_is_told_by_its_level_and_the_chirp_is_found_in_it() {
    let found = check(&Simulated::usual(room(30, 0.25, 0.05)), &AUDIO);
    assert!((-38.0..-33.0).contains(found.noise.as_ref().unwrap()), "{:?}", found.noise);
    let Ok(EchoMeasurement::Heard { chirps: 3, spread, level, .. }) = found.echo else { panic!("{:?}", found.echo) };
    assert!(spread.0 < 0.5 && (level + 12.0).abs() < 1.5, "{spread:?} {level}");
}

#[test]
fn without_a_canceller_only_half_duplex_will_do() {
    let loss =
        check(&Simulated::usual(room(30, 0.5, 0.0005)), &AudioPlan { echo: Canceller::Off, ..AUDIO }).loss.unwrap();
    assert!(!loss.full_duplex && loss.enhancement.abs() < 1.0, "{loss:?}");
}

#[test]
fn what_is_missing_is_said_and_the_rest_is_measured() {
    let of = |direction, name| SimulatedDevice::new(direction, name, 48_000, 1, cpal::SampleFormat::F32);
    let speaker = Simulated::new(vec![of(Direction::Output, "spk")], SimulatedRoom::HEADPHONES);
    let found = check(&speaker, &AUDIO);
    assert!(found.speaker.is_ok() && found.microphone.is_err());
    for reason in [found.noise.unwrap_err(), found.echo.unwrap_err(), found.loss.unwrap_err()] {
        assert!(reason.to_string().contains("there is no microphone"), "{reason}");
    }
    let microphone = Simulated::new(vec![of(Direction::Input, "mic")], room(0, 0.0, 0.001));
    let found = check(&microphone, &AUDIO);
    assert!(found.noise.is_ok(), "{:?}", found.noise);
    assert!(found.echo.unwrap_err().to_string().contains("there is no speaker"));
}

#[test]
fn a_device_that_is_lost_ends_the_check() {
    let card = Simulated::usual(room(30, 0.5, 0.001));
    card.plan(Moment(4_000_000_000), DeviceEvent::Unplug("spk".to_owned()));
    let found = check(&card, &AUDIO);
    assert!(found.noise.is_ok());
    assert!(matches!(found.echo, Err(Unmeasured::Lost { direction: Direction::Output, .. })), "{:?}", found.echo);
}

#[test]
fn chirps_that_disagree_are_not_called_steady() {
    let card = Simulated::usual(room(30, 0.5, 0.001));
    card.plan(Moment(3_900_000_000), DeviceEvent::Xrun("spk".to_owned(), Duration::from_millis(40)));
    let found = check(&card, &AUDIO);
    let echo = found.echo.unwrap();
    assert!(!echo.is_steady(), "{echo:?}");
    assert!(found.interruptions.xruns > 0);
    for (delays, steady) in [(vec![50.0, 50.5, 54.0], true), (vec![50.0, 50.0, 56.0], false), (vec![50.0, 50.0], false)]
    {
        let echo = EchoMeasurement::of(delays.iter().map(|delay| (Ms(*delay), 0.5)).collect(), None);
        assert_eq!(echo.is_steady(), steady, "{delays:?}");
    }
}
