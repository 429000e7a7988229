//! Tests of whole conversations on a simulated sound card, with scripted models: what is heard,
//! what stops, what the history keeps.

mod partial;
mod wake_word;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::asr::{NoSpeech, Verdict};
use crate::audio::device::{Card, DEFAULT, DeviceEvent as Event, Moment, Simulated, SimulatedRoom};
use crate::config::{EchoMode, Flag, Sources};
use crate::detect::{FRAME, WAKE_STEP};
use crate::pipeline::stage::{
    LanguageModel, Synthesizer, Transcriber, TurnDetector, VoiceActivityDetector, WakeWordDetector,
};
use crate::tts::Sound;
use crate::turn::TurnWeights;
use crate::types::SampleRate;

const RATE: SampleRate = SampleRate(8000);

/// Detector that takes loud sound for a voice.
struct Loud;

impl VoiceActivityDetector for Loud {
    fn step(&mut self, frame: &[f32; FRAME]) -> Result<f32> {
        let loudest = frame.iter().fold(0.0f32, |loudest, sample| loudest.max(sample.abs()));
        Ok(if loudest > 0.1 { 0.95 } else { 0.05 })
    }

    fn reset(&mut self) {}
}

/// Transcriber that reads the pitch of a voice: the number of zero crossings selects the words.
struct Reads;

/// Words, and the period of the tone that stands for them, in samples at 16 kHz.
const WORDS: [(usize, &str); 7] = [
    (16, "What is the weather like today?"),
    (32, "No, tell me about Berlin."),
    (64, "mhm"),
    (128, ""),
    (48, "Wie ist das Wetter heute?"),
    (NAME, "Sotto."),
    (96, "Stop."),
];
const STOP: usize = 6;
/// Period of the tone for the wake word.
const NAME: usize = 24;
/// Fewest voiced samples that give words: 50 ms.
const LEAST: usize = 800;

/// Wake word detector that fires in the step in which the tone ends; the flag is true if the step
/// before was full of it.
struct Called(bool);

impl WakeWordDetector for Called {
    fn step(&mut self, step: &[f32; WAKE_STEP]) -> Result<f32> {
        let crossings = step.windows(2).filter(|pair| pair[0] * pair[1] < 0.0).count();
        let full = crossings.abs_diff(2 * WAKE_STEP / NAME) < 8 && step.iter().all(|sample| sample.abs() > 0.1);
        let before = std::mem::replace(&mut self.0, full);
        Ok(if before && !full { 0.9 } else { 0.0 })
    }

    fn reset(&mut self) {}
}

impl Transcriber for Reads {
    fn transcribe(&mut self, samples: &[f32], _: &Cancel) -> Result<asr::Transcript> {
        // The front end's high-pass filter bends the flat tops of a tone down to near zero.
        let voiced: Vec<f32> = samples.iter().copied().filter(|sample| sample.abs() > 0.01).collect();
        let crossings = voiced.windows(2).filter(|pair| pair[0] * pair[1] < 0.0).count().max(1);
        let period = 2 * voiced.len() / crossings;
        let (_, text) = WORDS.iter().min_by_key(|(of, _)| of.abs_diff(period)).unwrap();
        let text = if voiced.len() < LEAST { "" } else { *text };
        let verdict = if text.is_empty() { Verdict::Nothing(NoSpeech::NoWords) } else { Verdict::Certain };
        let language = if text.starts_with("Wie") { "de" } else { "en" };
        let (text, language) = (text.to_owned(), language.to_owned());
        Ok(asr::Transcript { text, language, confidence: 0.9, ending: None, segments: Vec::new(), verdict })
    }
}

/// Transcriber with partial transcripts: a word for each half second of voice, or fixed `words`.
/// With `hangs` it never ends.
#[derive(Default)]
struct TranscribesPartially {
    words: Option<&'static str>,
    hangs: bool,
}

impl Transcriber for TranscribesPartially {
    fn transcribe(&mut self, samples: &[f32], cancel: &Cancel) -> Result<asr::Transcript> {
        Reads.transcribe(samples, cancel)
    }

    fn can_transcribe_partially(&self) -> bool {
        true
    }

    fn transcribe_partial(&mut self, samples: &[f32], cancel: &Cancel) -> Result<asr::Transcript> {
        while self.hangs && !cancel.is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let voiced = samples.iter().filter(|sample| sample.abs() > 0.05).count();
        let words = self.words.map_or_else(|| "word ".repeat((voiced + 4000) / 8000), str::to_owned);
        Ok(asr::Transcript { text: words, verdict: Verdict::Certain, ..Reads.transcribe(samples, cancel)? })
    }
}

/// Turn detector with a fixed score, which counts its calls; without a score it fails.
struct Judges(Option<f32>, Arc<AtomicUsize>);

impl TurnDetector for Judges {
    fn complete(&mut self, _: &[f32]) -> Result<f32> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.ok_or_else(|| anyhow::anyhow!("scripted"))
    }
}

/// Language model that gives a long answer, and records the questions and the parts of the answers
/// that were heard.
struct Talks(Arc<Mutex<Vec<String>>>);

const ANSWER: &str = "It will be dry and mild until the evening. Then some rain comes from the west. \
                      Take an umbrella with you when you leave the house after eight.";

impl LanguageModel for Talks {
    fn sentence_end_probability(&mut self, _: &str) -> Result<Option<f32>> {
        Ok(None)
    }

    fn answer(&mut self, question: &str, on_piece: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<usize> {
        self.0.lock().unwrap().push(question.to_owned());
        let broken = ANSWER.split_inclusive(' ').any(|piece| on_piece(piece).is_break());
        Ok(usize::from(broken))
    }

    fn keep_heard(&mut self, heard: &str) {
        *self.0.lock().unwrap().last_mut().unwrap() += &format!(" -> {heard}");
    }

    fn forget_last(&mut self) {
        self.0.lock().unwrap().pop();
    }

    fn forget_all(&mut self) {}
}

/// Synthesizer that speaks a letter in 50 ms: noise that swells and fades.
struct Hums;

impl Synthesizer for Hums {
    fn rate(&self) -> SampleRate {
        RATE
    }

    fn speak(&mut self, sentence: &str, on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>) -> Result<()> {
        let pieces = sentence.len().div_ceil(10);
        let place = |n: usize| (n * 10) as f64 / sentence.len() as f64;
        for n in 0..pieces {
            let letters = 10.min(sentence.len() - n * 10);
            let mut random = fastrand::Rng::with_seed(n as u64);
            let mut noise =
                |i: usize| 0.3 * (i as f32 * std::f32::consts::PI / 400.0).sin() * (2.0 * random.f32() - 1.0);
            let samples: Vec<f32> = (0..letters * 400).map(|i| noise(i % 400)).collect();
            if on_sound(Sound { samples: &samples, says: place(n)..place(n + 1).min(1.0) }).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Conversation with a person who says what the test tells her.
struct World {
    card: Simulated,
    live: Live,
    history: Arc<Mutex<Vec<String>>>,
    happened: VecDeque<SessionEvent>,
}

impl World {
    fn new() -> World {
        World::within(SimulatedRoom::HEADPHONES, EchoMode::Off)
    }

    fn within(room: SimulatedRoom, echo: EchoMode) -> World {
        World::with(room, echo, Box::new(Loud), Box::new(Hums))
    }

    fn with(
        room: SimulatedRoom,
        echo: EchoMode,
        detector: Box<dyn VoiceActivityDetector>,
        synthesizer: Box<dyn Synthesizer>,
    ) -> World {
        let echo = if echo == EchoMode::Off { "off" } else { "aec3" };
        World::set(room, &[("audio.echo", echo)], detector, None, synthesizer)
    }

    fn set(
        room: SimulatedRoom,
        settings: &[(&str, &str)],
        detector: Box<dyn VoiceActivityDetector>,
        turn_detector: Option<Box<dyn TurnDetector>>,
        synthesizer: Box<dyn Synthesizer>,
    ) -> World {
        let (history, transcriber): (Arc<Mutex<_>>, _) = (Arc::default(), Box::new(Reads));
        let language_model = Box::new(Talks(Arc::clone(&history)));
        let stages = Stages {
            voice_activity: detector,
            turn_detector,
            wake_word: None,
            transcriber,
            language_model,
            synthesizer,
            turn_weights: Some(TurnWeights::default()),
        };
        World { history, ..World::start(room, settings, stages) }
    }

    fn heard_by(transcriber: TranscribesPartially, synthesizer: Box<dyn Synthesizer>) -> World {
        let (detector, language_model, transcriber) =
            (Box::new(Loud), Box::new(Talks(Arc::default())), Box::new(transcriber));
        let stages = Stages {
            voice_activity: detector,
            turn_detector: None,
            wake_word: None,
            transcriber,
            language_model,
            synthesizer,
            turn_weights: Some(TurnWeights::default()),
        };
        World::start(SimulatedRoom::HEADPHONES, &[("audio.echo", "off")], stages)
    }

    fn start(room: SimulatedRoom, settings: &[(&str, &str)], stages: Stages) -> World {
        let flag = |&(path, value): &(&str, &str)| Flag { path: path.into(), value: value.into(), name: path.into() };
        let sources = Sources { cores: 1, flags: settings.iter().map(flag).collect(), ..Default::default() };
        let plan = crate::config::load(&sources).unwrap().plan;
        let wake_word = plan.detect.wake_word.is_some().then(|| Box::new(Called(false)) as Box<dyn WakeWordDetector>);
        let stages = Stages { wake_word, ..stages };
        let card = Simulated::usual(room);
        card.record();
        let devices = SessionDevices {
            card: Arc::new(card.clone()),
            microphone: DEFAULT.to_owned(),
            speaker: DEFAULT.to_owned(),
        };
        let live = Live::start(stages, &plan, devices, Journal::default()).unwrap();
        let mut world = World { card, live, history: Arc::default(), happened: VecDeque::new() };
        world.pass(500);
        world
    }

    fn now(&self) -> u64 {
        Ms::from(self.card.clock().now()).0 as u64
    }

    /// Advances time in blocks of 10 ms; stages get a millisecond of real time for each.
    fn pass(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / 10 {
            self.card.advance(Duration::from_millis(10));
            self.happened.extend(self.live.step(Duration::from_millis(1)).unwrap());
        }
    }

    /// Speaks words of [`WORDS`] for this long, and waits until they have been played.
    fn say(&mut self, words: usize, milliseconds: u64) {
        let period = WORDS[words].0;
        let tone =
            (0..milliseconds as usize * 16).map(|i| if (i / (period / 2)).is_multiple_of(2) { 0.5 } else { -0.5 });
        let at = Moment((self.now() + 20) * 1_000_000);
        self.card.say(at, SampleRate::HEARING, &tone.collect::<Vec<f32>>());
        self.pass(milliseconds + 20);
    }

    /// Waits for the state.
    fn until(&mut self, view: SessionState) {
        for _ in 0..3000 {
            if self.live.view() == view {
                return;
            }
            self.pass(10);
        }
        panic!("never {view:?}, but {:?}: {:?}", self.live.view(), self.happened);
    }

    fn answers(&self) -> Vec<&Exchange> {
        let mut answers = Vec::new();
        for happening in &self.happened {
            if let SessionEvent::Exchange(answered) = happening {
                answers.push(answered);
            }
        }
        answers
    }

    /// Peak of the sound that left the loudspeaker in the last `milliseconds`.
    fn loudness(&self, milliseconds: u64) -> f32 {
        let moment = |at: u64| Moment(at * 1_000_000);
        let sound = self.card.recorded(moment(self.now() - milliseconds), moment(self.now()), RATE);
        sound.iter().fold(0.0, |loudest, sample| loudest.max(sample.abs()))
    }

    fn history(&self) -> Vec<String> {
        self.history.lock().unwrap().clone()
    }
}

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
fn a_turn_detector_that_fails_is_reported_once_and_asked_no_more() {
    let (mut world, asked) = with_judge(None);
    for n in 1..=2 {
        wait(&mut world);
        world.until(SessionState::Listening);
        assert_eq!(world.answers().len(), n);
    }
    let failures: Vec<_> = world.happened.iter().filter(|it| matches!(it, SessionEvent::Failed(_))).collect();
    assert!(matches!(&failures[..], [SessionEvent::Failed(why)] if why.contains("scripted")), "{failures:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
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
        (world.live.view(), world.loudness(50)),
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
        assert_eq!(world.live.view(), SessionState::Interrupted, "{}", WORDS[words].1);
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
    world.card.plan(soon, Event::Unplug("spk".to_owned()));
    world.until(SessionState::NoDevice);
    let later = Moment((world.now() + 3000) * 1_000_000);
    world.card.plan(later, Event::Plug("spk".to_owned()));
    world.until(SessionState::Speaking);
    world.until(SessionState::Listening);
    let [Exchange { heard, how, .. }] = world.answers()[..] else { panic!("{:?}", world.answers()) };
    assert_eq!((heard.as_str(), *how), (ANSWER, Ending::Done), "it goes on where it was cut off");
}

#[test]
fn a_question_asked_while_the_loudspeaker_is_away_is_answered_when_it_is_back() {
    let mut world = World::new();
    let soon = Moment((world.now() + 100) * 1_000_000);
    world.card.plan(soon, Event::Unplug("spk".to_owned()));
    world.until(SessionState::NoDevice);
    world.say(1, 800);
    world.pass(2000);
    assert!(world.answers().is_empty());
    world.card.plan(Moment((world.now() + 100) * 1_000_000), Event::Plug("spk".to_owned()));
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
    world.live.control(Control::Stop);
    world.pass(60);
    assert_eq!((world.live.view(), world.loudness(20)), (SessionState::Listening, 0.0));
    world.live.control(Control::Mute);
    world.say(0, 1000);
    assert_eq!(world.live.view(), SessionState::Muted);
    world.live.control(Control::Unmute);
    world.pass(1000);
    assert_eq!((world.live.view(), world.answers().len()), (SessionState::Listening, 1));
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
    assert_eq!(alone.live.view(), SessionState::Speaking);
    alone.until(SessionState::Listening);
    assert_eq!((alone.answers().len(), alone.answers()[0].heard.as_str()), (1, ANSWER));

    let mut strict = set(&[("turn.barge_in", "stop")]);
    strict.say(0, 1000);
    strict.until(SessionState::Speaking);
    strict.pass(1000);
    strict.say(1, 600);
    strict.pass(1000);
    assert_eq!(strict.live.view(), SessionState::Speaking);
    strict.say(STOP, 600);
    strict.until(SessionState::Listening);
    let stopped = strict.answers()[0].clone();
    assert_eq!((strict.answers().len(), stopped.how), (1, Ending::Interrupted));
    assert!(!stopped.heard.is_empty() && stopped.heard.len() < ANSWER.len(), "{}", stopped.heard);

    let mut patient = set(&[("turn.possible_silence_ms", "900"), ("turn.unlikely_silence_ms", "900")]);
    patient.say(0, 1000);
    patient.pass(700);
    assert_eq!(patient.live.view(), SessionState::Hearing);
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

    fn speak(&mut self, sentence: &str, on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>) -> Result<()> {
        self.1 += 1;
        if self.1 == 2 {
            let _dropped = self.0.recv();
        }
        Hums.speak(sentence, on_sound)
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
    fn step(&mut self, frame: &[f32; FRAME]) -> Result<f32> {
        self.0 = self.0.saturating_sub(1);
        if self.0 > 0 { Err(anyhow::anyhow!("scripted")) } else { Loud.step(frame) }
    }

    fn reset(&mut self) {}
}

#[test]
fn ears_that_fail_for_a_moment_are_no_end_and_dead_ones_are() {
    let with = |frames| World::with(SimulatedRoom::HEADPHONES, EchoMode::Off, Box::new(Deaf(frames)), Box::new(Hums));
    let mut world = with(10);
    let told = world.happened.iter().filter(|happening| matches!(happening, SessionEvent::Failed(_))).count();
    assert_eq!(told, 1, "{:?}", world.happened);
    world.say(0, 1000);
    world.until(SessionState::Speaking);
    let mut world = with(1_000);
    let failed = (0..200).find_map(|_| {
        world.card.advance(Duration::from_millis(10));
        world.live.step(Duration::ZERO).err()
    });
    assert!(failed.is_some_and(|error| error.to_string().contains("scripted")));
}
