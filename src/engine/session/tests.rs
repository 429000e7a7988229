//! Tests of whole conversations on a simulated sound card, with scripted models: what is heard,
//! what stops, what the history keeps.

mod faults;
mod partial;
mod recording;
mod sharing;
mod wake_word;
mod world;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::audio::device::{DeviceEvent, Moment, SimulatedRoom};
use crate::config::EchoMode;
use crate::detect::{FRAME, VadState};
use crate::engine::stage::{Synthesizer, VoiceActivityDetector};
use crate::observe::Exchange;
use crate::tts::Sound;
use crate::turn::Ending;
use crate::types::SampleRate;
use world::{ANSWER, Hums, Judges, Loud, RATE, STOP, TranscribesPartially, WORDS, World};

#[test]
fn a_question_is_answered_aloud_and_the_next_one_too() {
    let mut world = World::new();
    for n in 1..=2 {
        world.say(0, 1000);
        world.until(SessionState::Speaking);
        assert!(world.loudness(20) < 0.4);
        world.until(SessionState::Listening);
        assert_eq!(world.answers().len(), n);
        let Exchange { question, heard, how, timings, glitches, .. } = world.answers()[n - 1];
        assert_eq!((question.as_str(), heard.as_str(), *how, *glitches), (WORDS[0].1, ANSWER, Ending::Done, 0));
        assert!(timings.is_some_and(|timings| timings.first_audio.is_some()), "{timings:?}");
    }
    assert_eq!(world.history(), [WORDS[0].1; 2], "all of each was heard");
}

/// Conversation with a turn detector of this score, which fails without one; and the count of its
/// calls.
fn with_judge(sure: Option<f32>) -> (World, Arc<AtomicUsize>) {
    let asked = Arc::default();
    let turn_detector = Box::new(Judges(sure, Arc::clone(&asked)));
    (
        World::set(
            SimulatedRoom::HEADPHONES,
            &[("audio.echo", "off")],
            Box::new(Loud),
            Some(turn_detector),
            Box::new(Hums),
        ),
        asked,
    )
}

/// Time from the end of a finished sentence to its answer, in milliseconds.
fn wait(world: &mut World) -> u64 {
    world.say(0, 1000);
    let end = world.now();
    world.until(SessionState::Speaking);
    world.now() - end
}

#[test]
fn a_finished_sentence_is_answered_the_sooner_the_surer_the_judge_is() {
    let [sure, unsure] = [0.95, 0.01].map(|sure| wait(&mut with_judge(Some(sure)).0));
    let unjudged = wait(&mut World::new());
    // Silences of 510, 700 and 1250 ms, plus the latency of the stages.
    assert!(sure + 100 < unjudged && unjudged + 300 < unsure, "{sure}, {unjudged}, {unsure} ms");
}

#[test]
fn a_turn_detector_that_fails_is_reported_once() {
    let (mut world, asked) = with_judge(None);
    for n in 1..=2 {
        wait(&mut world);
        world.until(SessionState::Listening);
        assert_eq!(world.answers().len(), n);
    }
    let failures: Vec<_> = world.happened.iter().filter(|it| matches!(it.kind, EventKind::Failed { .. })).collect();
    assert!(
        matches!(&failures[..], [Event { kind: EventKind::Failed { why, .. }, .. }] if why.contains("scripted")),
        "{failures:?}"
    );
    assert_eq!(asked.load(Ordering::Relaxed), 2, "it may have recovered");
}

#[test]
fn who_speaks_over_the_answer_is_heard_and_the_history_keeps_what_she_heard() {
    let mut world = World::new();
    world.say(0, 1000);
    world.until(SessionState::Speaking);
    world.pass(2000);
    assert!(world.loudness(100) > 0.25);
    world.say(1, 600);
    assert_eq!(
        (world.session.view(), world.loudness(50)),
        (SessionState::Interrupted, 0.0),
        "confirmed speech silences it"
    );
    world.say(1, 600);
    world.until(SessionState::Speaking);
    let Exchange { heard, how, .. } = world.answers()[0];
    assert_eq!(*how, Ending::Interrupted);
    assert!(ANSWER.starts_with(heard.as_str()) && (30..70).contains(&heard.len()), "{heard:?}");
    let heard = heard.clone();
    world.until(SessionState::Listening);
    assert_eq!(world.history(), [format!("{} -> {heard}", WORDS[0].1), WORDS[1].1.to_owned()]);
}

#[test]
fn a_nod_and_a_noise_only_hold_the_answer_up() {
    for (words, milliseconds) in [(2, 400), (3, 400)] {
        let mut world = World::new();
        world.say(0, 1000);
        world.until(SessionState::Speaking);
        world.pass(1500);
        world.say(words, milliseconds);
        assert_eq!(world.session.view(), SessionState::Interrupted, "{}", WORDS[words].1);
        world.until(SessionState::Speaking);
        world.pass(300);
        assert!(world.loudness(100) > 0.25, "it is taken up again");
        world.until(SessionState::Listening);
        let [Exchange { heard, how, .. }] = world.answers()[..] else { panic!("{:?}", world.answers()) };
        assert_eq!((heard.as_str(), *how), (ANSWER, Ending::Done));
        assert_eq!(world.history(), [WORDS[0].1]);
    }
}

#[test]
fn devices_may_go_and_come_back() {
    let mut world = World::new();
    world.say(0, 1000);
    world.until(SessionState::Speaking);
    world.pass(1000);
    let soon = Moment((world.now() + 100) * 1_000_000);
    world.card.plan(soon, DeviceEvent::Unplug("spk".to_owned()));
    world.until(SessionState::NoDevice);
    let later = Moment((world.now() + 3000) * 1_000_000);
    world.card.plan(later, DeviceEvent::Plug("spk".to_owned()));
    world.until(SessionState::Speaking);
    world.until(SessionState::Listening);
    let [Exchange { heard, how, .. }] = world.answers()[..] else { panic!("{:?}", world.answers()) };
    assert_eq!((heard.as_str(), *how), (ANSWER, Ending::Done), "it goes on where it was cut off");
}

#[test]
fn a_question_asked_while_the_loudspeaker_is_away_is_answered_when_it_is_back() {
    let mut world = World::new();
    let soon = Moment((world.now() + 100) * 1_000_000);
    world.card.plan(soon, DeviceEvent::Unplug("spk".to_owned()));
    world.until(SessionState::NoDevice);
    world.say(1, 800);
    world.pass(2000);
    assert!(world.answers().is_empty());
    world.card.plan(Moment((world.now() + 100) * 1_000_000), DeviceEvent::Plug("spk".to_owned()));
    world.until(SessionState::Speaking);
    world.until(SessionState::Listening);
    let [Exchange { question, heard, .. }] = world.answers()[..] else { panic!("{:?}", world.answers()) };
    assert_eq!((question.as_str(), heard.as_str()), (WORDS[1].1, ANSWER));
}

/// The loudspeaker is louder at the microphone than the person; even ducked, the detector takes it
/// for a voice.
#[test]
fn its_own_voice_from_the_speaker_does_not_interrupt_it() {
    let (delay, tail) = (Duration::from_millis(8), Duration::from_millis(60));
    let room = SimulatedRoom { delay, gain: 2.5, tail, noise: 0.0005 };
    let mut world = World::within(room, EchoMode::Aec3);
    for _ in 0..3 {
        world.say(0, 1000);
        world.until(SessionState::Speaking);
        world.until(SessionState::Listening);
    }
    let answers = world.answers();
    let Exchange { heard, echo_loss, .. } = answers.last().unwrap();
    assert!(echo_loss.is_some_and(|loss| loss > 20.0), "{echo_loss:?}");
    assert_eq!((answers.len(), heard.as_str()), (3, ANSWER));
    let mut without = World::within(room, EchoMode::Off);
    without.say(0, 1000);
    without.until(SessionState::Speaking);
    without.until(SessionState::Interrupted);
}

#[test]
fn stopping_by_key_is_at_once() {
    let mut world = World::new();
    world.say(0, 1000);
    world.until(SessionState::Speaking);
    world.pass(1000);
    world.session.control(Control::Stop);
    world.pass(60);
    assert_eq!((world.session.view(), world.loudness(20)), (SessionState::Listening, 0.0));
    world.session.control(Control::Mute);
    world.say(0, 1000);
    assert_eq!(world.session.view(), SessionState::Muted);
    world.session.control(Control::Unmute);
    world.pass(1000);
    assert_eq!((world.session.view(), world.answers().len()), (SessionState::Listening, 1));
}

#[test]
fn the_plan_says_who_may_interrupt_and_when_a_turn_ends() {
    let set = |settings: &[(&str, &str)]| {
        let settings = [&[("audio.echo", "off")], settings].concat();
        World::set(SimulatedRoom::HEADPHONES, &settings, Box::new(Loud), None, Box::new(Hums))
    };
    let mut alone = set(&[("turn.barge_in", "off")]);
    alone.say(0, 1000);
    alone.until(SessionState::Speaking);
    alone.pass(1000);
    alone.say(1, 600);
    assert_eq!(alone.session.view(), SessionState::Speaking);
    alone.until(SessionState::Listening);
    assert_eq!((alone.answers().len(), alone.answers()[0].heard.as_str()), (1, ANSWER));

    let mut strict = set(&[("turn.barge_in", "stop")]);
    strict.say(0, 1000);
    strict.until(SessionState::Speaking);
    strict.pass(1000);
    strict.say(1, 600);
    strict.pass(1000);
    assert_eq!(strict.session.view(), SessionState::Speaking);
    strict.say(STOP, 600);
    strict.until(SessionState::Listening);
    let stopped = strict.answers()[0].clone();
    assert_eq!((strict.answers().len(), stopped.how), (1, Ending::Interrupted));
    assert!(!stopped.heard.is_empty() && stopped.heard.len() < ANSWER.len(), "{}", stopped.heard);

    let mut patient = set(&[("turn.possible_silence_ms", "900"), ("turn.unlikely_silence_ms", "900")]);
    patient.say(0, 1000);
    patient.pass(700);
    assert_eq!(patient.session.view(), SessionState::Hearing);
    patient.until(SessionState::Speaking);
}

#[test]
fn a_question_in_a_language_without_a_voice_is_told_so_and_never_reaches_the_model() {
    let mut world = World::new();
    world.say(4, 1000);
    world.until(SessionState::Speaking);
    world.until(SessionState::Listening);
    assert_eq!(world.answers()[0].heard, "Sorry, I can only speak English.");
    world.say(0, 1000);
    world.until(SessionState::Speaking);
    world.until(SessionState::Listening);
    assert_eq!(world.history(), [WORDS[0].1]);
}

/// Synthesizer that hums the first sentence, and hangs in the second until the other end of the
/// channel is dropped.
struct Hangs(std::sync::mpsc::Receiver<()>, usize);

impl Synthesizer for Hangs {
    fn rate(&self) -> SampleRate {
        RATE
    }

    fn speak(
        &mut self,
        sentence: &str,
        language: &str,
        on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>,
    ) -> Result<()> {
        self.1 += 1;
        if self.1 == 2 {
            let _dropped = self.0.recv();
        }
        Hums.speak(sentence, language, on_sound)
    }
}

#[test]
fn a_voice_that_hangs_in_the_middle_of_an_answer_is_given_up() {
    let (come_back, hangs) = std::sync::mpsc::channel::<()>();
    let mut world = World::with(SimulatedRoom::HEADPHONES, EchoMode::Off, Box::new(Loud), Box::new(Hangs(hangs, 0)));
    world.say(0, 1000);
    world.until(SessionState::Speaking);
    world.until(SessionState::Listening);
    let Exchange { heard, how, .. } = world.answers()[0].clone();
    assert!(how == Ending::Failed && ANSWER.starts_with(&heard) && !heard.is_empty(), "{how:?} {heard:?}");
    drop(come_back);
    world.say(1, 800);
    world.until(SessionState::Speaking);
    world.until(SessionState::Listening);
    let first = format!("{} -> {heard}", WORDS[0].1);
    assert_eq!(world.history(), [first, WORDS[1].1.to_owned()], "what was heard of it is remembered");
}

/// Voice activity detector that fails for this many frames.
struct Deaf(u32);

impl VoiceActivityDetector for Deaf {
    fn step(&mut self, state: &mut VadState, frame: &[f32; FRAME]) -> Result<f32> {
        self.0 = self.0.saturating_sub(1);
        if self.0 > 0 { Err(anyhow::anyhow!("scripted")) } else { Loud.step(state, frame) }
    }
}

#[test]
fn ears_that_fail_for_a_moment_are_no_end_and_dead_ones_are() {
    let with = |frames| World::with(SimulatedRoom::HEADPHONES, EchoMode::Off, Box::new(Deaf(frames)), Box::new(Hums));
    let mut world = with(10);
    let told = world.happened.iter().filter(|happening| matches!(happening.kind, EventKind::Failed { .. })).count();
    assert_eq!(told, 1, "{:?}", world.happened);
    world.say(0, 1000);
    world.until(SessionState::Speaking);
    let mut world = with(1_000);
    let failed = (0..200).find_map(|_| {
        world.card.advance(Duration::from_millis(10));
        world.session.step(Duration::ZERO).err()
    });
    assert!(failed.is_some_and(|error| error.to_string().contains("scripted")));
}
