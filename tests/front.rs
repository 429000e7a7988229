//! The front end of the microphone in simulated rooms: what it takes away, what it leaves, and what
//! it withstands.

#[allow(dead_code)]
#[path = "common/babble.rs"]
mod babble;
#[path = "common/room.rs"]
mod room;

use allocation_counter::measure;
use babble::babble;
use room::{Noise, RATE, SimulatedRoom, decibel, kept, power};
use sotto::audio::HighPass;
use sotto::audio::front::{Aec3, BLOCK, EchoCanceller, Front, LONGEST_DELAY, ProcessedBlock};
use sotto::config::{AudioPlan, EchoMode, Gain, Noise as Suppressed};
use sotto::types::SampleRate;

/// Samples by which the canceller delays the microphone.
const LATENCY: usize = 128;

/// The most that the crate `aec3` may allocate for one block: its canceller was seen to take 45,
/// its gain control 80.
const ALLOCATIONS_PER_BLOCK: u64 = 200;

const ALL: AudioPlan = AudioPlan { echo: EchoMode::Aec3, noise: Suppressed::High, gain: Gain::On };
const NONE: AudioPlan = AudioPlan { echo: EchoMode::Off, noise: Suppressed::Off, gain: Gain::Off };

fn run(front: &mut dyn EchoCanceller, microphone: &[f32], played: &[f32]) -> Vec<f32> {
    in_blocks(&mut |block, played| front.process(block, played), microphone, played)
}

/// The same for the whole front end.
fn through(front: &mut Front, microphone: &[f32], played: &[f32]) -> Vec<f32> {
    in_blocks(&mut |block, played| front.process(block, played), microphone, played)
}

fn in_blocks(
    process: &mut dyn FnMut(&mut ProcessedBlock, &ProcessedBlock),
    microphone: &[f32],
    played: &[f32],
) -> Vec<f32> {
    let mut out = Vec::with_capacity(microphone.len());
    for (heard, played) in microphone.chunks_exact(BLOCK).zip(played.chunks_exact(BLOCK)) {
        let mut block: ProcessedBlock = heard.try_into().unwrap();
        process(&mut block, played.try_into().unwrap());
        out.extend(block);
    }
    out
}

/// Echo return loss enhancement in dB from second to second.
fn erle(before: &[f32], after: &[f32], seconds: std::ops::Range<usize>) -> f64 {
    let span = seconds.start * RATE..seconds.end * RATE;
    decibel(power(&before[span.clone()])) - decibel(power(&after[span]))
}

fn mix(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| (a + b).clamp(-1.0, 1.0)).collect()
}

#[test]
fn the_echo_goes_in_every_room_the_canceller_is_made_for() {
    let played = babble(1, 8);
    let base = SimulatedRoom::default();
    let mut wrong = Vec::new();
    for (room, at_least) in [
        (base, 20.0),
        (SimulatedRoom { tail_ms: 60, ..base }, 20.0),
        (SimulatedRoom { tail_ms: 250, ..base }, 20.0),
        (SimulatedRoom { delay_ms: 4, ..base }, 20.0),
        (SimulatedRoom { delay_ms: 8, ..base }, 20.0),
        (SimulatedRoom { delay_ms: 20, ..base }, 20.0),
        (SimulatedRoom { delay_ms: 200, ..base }, 20.0),
        (SimulatedRoom { delay_ms: LONGEST_DELAY.0 as i32, ..base }, 20.0),
        (SimulatedRoom { echo_db: 0.0, ..base }, 20.0),
        (SimulatedRoom { echo_db: -20.0, ..base }, 15.0),
        (SimulatedRoom { drift_ppm: 50.0, ..base }, 20.0),
        (SimulatedRoom { jump_ms: 40, ..base }, 20.0),
        (SimulatedRoom { jump_ms: -40, ..base }, 20.0),
        (SimulatedRoom { drive: 0.0, ..base }, 20.0),
        (SimulatedRoom { drive: 4.0, ..base }, 15.0),
    ] {
        let mut canceller = Aec3::new();
        let heard = room.echo(&played);
        let out = run(&mut canceller, &heard, &played);
        let loss = erle(&heard, &out, 6..8);
        let found = canceller.delay().0;
        if loss < at_least || (found - f64::from(room.delay_ms + room.jump_ms)).abs() > 12.0 {
            wrong.push(format!("{room:?}: {loss:.1} dB, delay {found} ms"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_echo_beyond_the_longest_delay_is_not_found() {
    let played = babble(1, 8);
    let room = SimulatedRoom { delay_ms: 600, ..SimulatedRoom::default() };
    let mut canceller = Aec3::new();
    let heard = room.echo(&played);
    let loss = erle(&heard, &run(&mut canceller, &heard, &played), 6..8);
    assert!(loss < 10.0, "the documented limit is too low: {loss:.1} dB at {} ms", room.delay_ms);
}

#[test]
fn who_talks_over_the_answer_is_kept() {
    let (played, talker) = (babble(1, 12), babble(2, 12));
    let silence = vec![0.0; played.len()];
    for (echo_db, correlation, gain) in [(-20.0, 0.9, 0.8), (-10.0, 0.85, 0.6), (0.0, 0.7, 0.4)] {
        let late: Vec<f32> = [&silence[..6 * RATE], &talker[6 * RATE..]].concat();
        let alone = run(&mut Aec3::new(), &late, &silence);
        let heard = mix(&SimulatedRoom { echo_db, ..SimulatedRoom::default() }.echo(&played), &late);
        let out = run(&mut Aec3::new(), &heard, &played);
        let (found, level) = kept(&out[7 * RATE..], &alone[7 * RATE..]);
        assert!(found >= correlation && level >= gain, "{echo_db} dB: {found:.2}, gain {level:.2}");
    }
}

/// The suppressor takes much of who speaks over the answer, so words are read before it.
#[test]
fn words_over_the_answer_are_kept() {
    let (played, talker) = (babble(1, 12), babble(2, 12));
    let silence = vec![0.0; played.len()];
    let words = |microphone: &[f32], played: &[f32]| {
        let mut front = Front::new(&AudioPlan { echo: EchoMode::Aec3, ..NONE });
        let mut take = |block: &mut ProcessedBlock, played: &ProcessedBlock| {
            front.process(block, played);
            *block = *front.words();
        };
        in_blocks(&mut take, microphone, played)
    };
    let late: Vec<f32> = [&silence[..6 * RATE], &talker[6 * RATE..]].concat();
    let alone = words(&late, &silence);
    for echo_db in [-20.0, -10.0, 0.0, 5.0] {
        let echo = SimulatedRoom { echo_db, ..SimulatedRoom::default() }.echo(&played);
        let out = words(&mix(&echo, &late), &played);
        let (found, level) = kept(&out[7 * RATE..], &alone[7 * RATE..]);
        assert!(found >= 0.93 && (0.9..1.1).contains(&level), "{echo_db} dB: {found:.2}, gain {level:.2}");
        let loss = erle(&echo, &out, 3..6);
        assert!(loss >= 10.0, "{echo_db} dB: {loss:.1} dB of the echo");
    }
}

#[test]
fn where_nothing_is_played_only_hum_and_time_are_lost() {
    let talker = babble(2, 6);
    let silence = vec![0.0; talker.len()];
    let out = run(&mut Aec3::new(), &talker, &silence);
    let last = 2 * RATE..6 * RATE - LATENCY;
    // The high-pass filter turns the phase of a deep voice, hence not 1.
    let (found, level) = kept(&out[last.start + LATENCY..last.end + LATENCY], &talker[last.clone()]);
    assert!(found > 0.8 && (0.8..1.05).contains(&level), "{found:.2}, gain {level:.2}");
    let hum: Vec<f32> = (0..talker.len()).map(|n| 0.1 + 0.1 * (n as f32 * 0.003).sin()).collect();
    let out = run(&mut Aec3::new(), &hum, &silence);
    assert!(erle(&hum, &out, 2..6) > 12.0);
}

#[test]
fn a_minute_of_silence_from_the_speaker_is_no_harm() {
    let (played, pause) = (babble(1, 6), vec![0.0; 60 * RATE]);
    let room = SimulatedRoom::default();
    let mut canceller = Aec3::new();
    run(&mut canceller, &room.echo(&played), &played);
    let quiet = Noise(9).white(pause.len(), -70.0);
    let out = run(&mut canceller, &quiet, &pause);
    assert!((decibel(power(&out[RATE..])) + 70.0).abs() < 3.0);
    let heard = room.echo(&played);
    let loss = erle(&heard, &run(&mut canceller, &heard, &played), 0..1);
    assert!(loss > 15.0, "the room is known from before: {loss:.1} dB");
}

#[test]
fn a_reset_canceller_is_a_new_one() {
    let played = babble(1, 4);
    let heard = SimulatedRoom::default().echo(&played);
    let mut canceller = Aec3::new();
    let first = run(&mut canceller, &heard, &played);
    assert!(run(&mut canceller, &heard, &played) != first, "it has learned");
    canceller.reset();
    assert_eq!(canceller.delay().0, Aec3::new().delay().0);
    assert!(run(&mut canceller, &heard, &played) == first);
}

#[test]
fn no_sample_breaks_the_front_end_for_long() {
    let played = babble(1, 8);
    let heard = SimulatedRoom::default().echo(&played);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, f32::MIN_POSITIVE / 2.0, 1.0] {
        let (mut microphone, mut speaker) = (heard.clone(), played.clone());
        for at in (RATE..3 * RATE).step_by(37) {
            microphone[at] = bad;
            speaker[at + 1] = bad;
        }
        for plan in [ALL, NONE, AudioPlan { echo: EchoMode::Aec3, ..NONE }] {
            let mut front = Front::new(&plan);
            let mut process = |block: &mut ProcessedBlock, played: &ProcessedBlock| {
                front.process(block, played);
                let mut made = block.iter().chain(front.words());
                assert!(made.all(|x| x.is_finite() && x.abs() <= 1.0), "{bad} {plan:?}");
            };
            let out = in_blocks(&mut process, &microphone, &speaker);
            let loss = erle(&heard, &out, 6..8);
            // With the gain control on, what is left is raised again.
            let at_least = if plan == NONE { -1e-9 } else { 8.0 };
            assert!(loss > at_least, "{bad} {plan:?}: {loss:.1} dB");
        }
    }
}

#[test]
fn front_end_with_everything_off_takes_out_offset_and_hum_alone() {
    let (heard, played) = (babble(2, 4), babble(1, 4));
    let hum = |n: usize| 0.2 + 0.2 * (n as f32 * std::f32::consts::TAU * 50.0 / RATE as f32).sin();
    let humming: Vec<f32> = heard.iter().enumerate().map(|(n, sample)| sample + hum(n)).collect();
    let clean = through(&mut Front::new(&NONE), &heard, &played);
    let mut filtered = heard.clone();
    HighPass::new(SampleRate::HEARING).process(&mut filtered);
    assert!(clean == filtered);
    let out = through(&mut Front::new(&NONE), &humming, &played);
    let rest: Vec<f32> = out.iter().zip(&clean).map(|(made, clean)| made - clean).collect();
    assert!(decibel(power(&rest[RATE..]) / power(&humming[RATE..])) < -20.0);
}

#[test]
fn a_reset_front_end_is_a_new_one() {
    let played = babble(1, 4);
    let heard = mix(&SimulatedRoom::default().echo(&played), &babble(2, 4));
    let mut front = Front::new(&ALL);
    let first = through(&mut front, &heard, &played);
    assert!(front.echo_loss().enhancement().is_some());
    front.reset();
    assert_eq!(front.echo_loss().enhancement(), None);
    assert!(through(&mut front, &heard, &played) == first);
}

#[test]
fn noise_goes_and_the_voice_stays() {
    let talker = [vec![0.0; 4 * RATE], babble(2, 4)].concat();
    let silence = vec![0.0; talker.len()];
    let noisy = mix(&talker, &Noise(5).white(talker.len(), -46.0));
    for (noise, at_least, correlation) in [(Suppressed::Low, 4.0, 0.9), (Suppressed::High, 12.0, 0.9)] {
        let plan = AudioPlan { noise, ..NONE };
        let out = through(&mut Front::new(&plan), &noisy, &silence);
        let loss = erle(&noisy, &out, 3..4);
        assert!(loss > at_least, "{noise:?}: {loss:.1} dB");
        // The suppressor delays by 96 samples.
        let alone = through(&mut Front::new(&NONE), &talker, &silence);
        let (found, gain) = kept(&out[4 * RATE + 96..], &alone[4 * RATE..alone.len() - 96]);
        assert!(found > correlation && gain > 0.7, "{noise:?}: {found:.2}, gain {gain:.2}");
    }
}

#[test]
fn a_far_voice_is_raised_and_a_near_one_is_not_clipped() {
    let silence = vec![0.0; 20 * RATE];
    for (level, least, most) in [(-50.0, -40.0, -20.0), (-26.0, -30.0, -15.0), (-12.0, -24.0, -8.0)] {
        let mut voice = babble(2, 20);
        room::scale(&mut voice, level);
        voice.iter_mut().for_each(|x| *x = x.clamp(-1.0, 1.0));
        let out = through(&mut Front::new(&AudioPlan { gain: Gain::On, ..NONE }), &voice, &silence);
        let late = decibel(room::active_power(&out[15 * RATE..]));
        assert!((least..most).contains(&late), "{level} dB became {late:.1}");
        let clipped = out.iter().filter(|x| x.abs() >= 0.999).count();
        assert!(clipped <= out.len() / 1000, "{level} dB: {clipped} clipped");
    }
}

#[test]
fn the_running_measure_says_which_room_can_be_talked_over() {
    let (played, quiet) = (babble(1, 16), vec![0.0; 3 * RATE]);
    let lead = |sound: &[f32]| [&quiet, sound].concat();
    let base = SimulatedRoom::default();
    for (plan, room, trusted) in [
        (ALL, base, true),
        (ALL, SimulatedRoom { echo_db: 0.0, ..base }, true),
        (ALL, SimulatedRoom { delay_ms: 600, ..base }, false),
        (NONE, base, false),
        (NONE, SimulatedRoom { echo_db: -60.0, floor_db: -60.0, ..base }, true),
    ] {
        let mut front = Front::new(&plan);
        through(&mut front, &room.echo(&lead(&played)), &lead(&played));
        let found = front.echo_loss().enhancement();
        assert_eq!(front.echo_loss().full_duplex(), Some(trusted), "{plan:?} {room:?}: {found:?} dB");
    }
}

#[test]
fn what_the_crate_allocates_does_not_grow() {
    let played = babble(1, 3);
    let heard = SimulatedRoom::default().echo(&played);
    let mut front = Front::new(&ALL);
    through(&mut front, &heard, &played);
    let mut block = [0.1; BLOCK];
    let seen = measure(|| (0..200).for_each(|_| front.process(&mut block, &[0.1; BLOCK])));
    assert!(seen.count_total <= 200 * ALLOCATIONS_PER_BLOCK, "{} for a block", seen.count_total / 200);
    assert!(seen.count_current <= 0, "{} left after 200 blocks", seen.count_current);
    let mut front = Front::new(&NONE);
    assert_eq!(measure(|| (0..200).for_each(|_| front.process(&mut block, &[0.1; BLOCK]))).count_total, 0);
}
