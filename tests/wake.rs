//! The wake word with the real models, on our own voice that says "Alexa" and on people who do not;
//! and whole conversations that begin with it.
//!
//! No package carries people who say a wake word, so the calls are synthetic: `sotto say "Alexa."`
//! at three speeds, with a second of silence around each. `cargo run --release --example wake`
//! measures recordings of people.

mod common;
#[path = "common/conversation.rs"]
mod conversation;
#[path = "common/onnx.rs"]
mod onnx;

use std::ops::{ControlFlow, Deref, DerefMut};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::Result;
use conversation::{Answers, Conversation};
use sotto::asr::{Cancel, NoSpeech, Transcript, Verdict};
use sotto::audio::device::SimulatedRoom;
use sotto::audio::{LONGEST, load_at};
use sotto::config::{Flag, Sources, load};
use sotto::detect::{DetectError, SileroVad, Spotter, WAKE_STEP, WakeFeatures, WakeState, WakeWordModel};
use sotto::engine::{StageLoader, Stages, Synthesizer, Transcriber};
use sotto::memory::{Budget, Permit, resident};
use sotto::tts::Sound;
use sotto::turn::{Ending, SessionState};
use sotto::types::{Bytes, SampleRate};

/// The committed calls, from the slowest to the fastest.
const CALLS: [&str; 3] = ["alexa-slow.wav", "alexa.wav", "alexa-fast.wav"];
/// The recordings of people and of other voices in which nobody says the wake word: 100 s.
const OTHERS: [&str; 6] = [
    "speech-sample/speech.wav",
    "speech-reading/two_cities.wav",
    "speech-conversation/conversation.wav",
    "speech-synthetic/en-counting.wav",
    "speech-synthetic/en-hello.wav",
    "speech-synthetic/en-pangram.wav",
];

/// One test at a time: one of them watches the memory of the process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn permit(bytes: Bytes) -> Permit {
    Budget::new(Bytes::mib(100)).reserve("wake word", bytes).unwrap()
}

fn features() -> WakeFeatures {
    let folder = common::model_file("openwakeword", "embedding_model.onnx");
    WakeFeatures::load(&onnx::runtime(), folder.parent().unwrap(), permit(WakeFeatures::planned_bytes())).unwrap()
}

fn word(model: &Path) -> Result<WakeWordModel, DetectError> {
    WakeWordModel::load(&onnx::runtime(), features(), model, permit(WakeWordModel::planned_bytes()))
}

fn alexa() -> WakeWordModel {
    word(&common::model_file("alexa", "alexa_v0.1.onnx")).unwrap()
}

fn silero() -> SileroVad {
    let model = common::model_file("silero-vad", "silero_vad.onnx");
    SileroVad::load(&onnx::runtime(), &model, permit(SileroVad::planned_bytes())).unwrap()
}

fn samples(file: &Path) -> Vec<f32> {
    load_at(file, LONGEST, SampleRate::HEARING).unwrap().samples
}

/// The wake word, said at an even speed.
fn call() -> Vec<f32> {
    calls().swap_remove(1)
}

fn calls() -> Vec<Vec<f32>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wake");
    CALLS.iter().map(|name| samples(&folder.join(name))).collect()
}

/// The part of a call that is not silence, about.
const CALL: std::ops::Range<usize> = 16_000..28_000;

fn question() -> Vec<f32> {
    samples(&common::fixture("speech-sample/speech.wav"))
}

fn scores(word: &mut WakeWordModel, samples: &[f32]) -> Vec<f32> {
    let mut state = WakeState::default();
    samples.as_chunks::<WAKE_STEP>().0.iter().map(|step| word.step(&mut state, step).unwrap()).collect()
}

/// How often the word is heard.
fn heard(word: &mut WakeWordModel, samples: &[f32]) -> usize {
    let mut spotter = Spotter::new(0.5);
    scores(word, samples).into_iter().filter(|score| spotter.push(*score)).count()
}

/// A step of the question, and the first numbers of what openwakeword 0.5.1 for Python makes of it,
/// with their sum.
const EMBEDDINGS: [(usize, [f32; 6], f32); 2] = [
    (20, [-11.0864, 8.8717, -10.5461, 7.0419, 0.8106, 20.7333], 1122.085),
    (59, [-8.0509, 18.159, -1.4451, -4.1088, 3.7672, 25.6547], 1164.071),
];
/// The steps of the call whose scores by the same chain, after 2 s of silence more, are above 0.02.
const SCORES: [(usize, f32); 15] = [
    (17, 0.85833),
    (18, 0.99998),
    (19, 1.0),
    (20, 1.0),
    (21, 1.0),
    (22, 1.0),
    (23, 1.0),
    (24, 0.99999),
    (25, 0.99317),
    (26, 0.95066),
    (27, 0.9972),
    (28, 0.99844),
    (29, 0.98754),
    (30, 0.99472),
    (31, 0.93829),
];

#[test]
fn features_and_scores_are_those_of_the_python_package() {
    let _alone = alone();
    let mut features = features();
    let mut state = features.silence();
    for (n, step) in question().as_chunks::<WAKE_STEP>().0.iter().enumerate() {
        let found = features.step(&mut state, step).unwrap();
        if let Some((_, first, sum)) = EMBEDDINGS.iter().find(|(at, ..)| *at == n) {
            let differs = found.iter().zip(first).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let total: f32 = found.iter().map(|number| number.abs()).sum();
            assert!(differs < 1e-2 && (total - sum).abs() < 0.5, "step {n}: {found:?}");
        }
    }
    let found = scores(&mut alexa(), &call());
    for (n, score) in found.iter().enumerate() {
        let wanted = SCORES.iter().find(|(at, _)| *at == n).map_or(0.0, |(_, score)| *score);
        assert!((score - wanted).abs() < if wanted == 0.0 { 0.021 } else { 1e-3 }, "step {n}: {score}, not {wanted}");
    }
}

#[test]
fn the_wake_word_is_detected_once_and_other_speech_never() {
    let _alone = alone();
    let mut word = alexa();
    for (name, call) in CALLS.iter().zip(calls()) {
        assert_eq!(heard(&mut word, &call), 1, "{name}");
    }
    for other in OTHERS {
        assert_eq!(heard(&mut word, &samples(&common::fixture(other))), 0, "{other}");
    }
}

#[test]
fn a_new_state_forgets_and_nonsense_passes() {
    let _alone = alone();
    let (mut word, sound) = (alexa(), call());
    let first = scores(&mut word, &sound);
    let mut state = WakeState::default();
    assert!(word.step(&mut state, &[f32::NAN; WAKE_STEP]).is_ok_and(|score| (0.0..=1.0).contains(&score)));
    for level in [f32::INFINITY, 1e30] {
        assert!(word.step(&mut state, &[level; WAKE_STEP]).is_ok());
    }
    assert_eq!(scores(&mut word, &sound), first);
    assert_eq!(heard(&mut word, &vec![0.0; 100 * WAKE_STEP]), 0);
}

#[test]
fn what_is_no_classifier_is_refused() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let damaged = folder.path().join("damaged.onnx");
    let whole = std::fs::read(common::model_file("alexa", "alexa_v0.1.onnx")).unwrap();
    for length in [0, 1_000, whole.len() / 2] {
        std::fs::write(&damaged, &whole[..length]).unwrap();
        assert!(matches!(word(&damaged), Err(DetectError::Onnx(_))), "cut at {length}");
    }
    let other = common::model_file("silero-vad", "silero_vad.onnx");
    let refused = word(&other).err().unwrap().to_string();
    assert!(refused.contains("silero_vad.onnx") && refused.contains("no classifier of openWakeWord"), "{refused}");
    let nothing = WakeFeatures::load(&onnx::runtime(), folder.path(), permit(Bytes(1)));
    assert!(matches!(nothing, Err(DetectError::Onnx(_))));
}

#[test]
fn the_memory_is_what_was_planned() {
    let _alone = alone();
    let planned = WakeFeatures::planned_bytes().0 + WakeWordModel::planned_bytes().0;
    // ONNX Runtime sets itself up with its first session, which in a conversation is that of voice
    // activity.
    let _first = silero();
    let before = resident().unwrap();
    let mut word = alexa();
    scores(&mut word, &question());
    let held = resident().unwrap().0.saturating_sub(before.0);
    assert!(held <= planned, "planned {}, held {}", Bytes(planned), Bytes(held));
}

const QUESTION: &str = "What will the weather be like tomorrow?";

/// Takes a second of sound for a question and less for nothing, and counts how often it was asked.
struct Believes(Arc<AtomicUsize>);

impl Transcriber for Believes {
    fn transcribe(&mut self, samples: &[f32], _: &Cancel) -> Result<Transcript> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let (text, verdict) = match samples.len() {
            16_000.. => (QUESTION, Verdict::Certain),
            _ => ("", Verdict::Nothing(NoSpeech::NoWords)),
        };
        let (text, language) = (text.to_owned(), "en".to_owned());
        Ok(Transcript { text, language, confidence: 0.9, ending: None, segments: Vec::new(), verdict })
    }
}

/// Says every answer in a person's voice, some seconds of it.
struct Recorded(Vec<f32>);

impl Synthesizer for Recorded {
    fn rate(&self) -> SampleRate {
        SampleRate::HEARING
    }

    fn speak(&mut self, _: &str, _: &str, on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>) -> Result<()> {
        let _broken_off = on_sound(Sound { samples: &self.0, says: 0.0..1.0 });
        Ok(())
    }
}

struct World {
    conversation: Conversation,
    read: Arc<AtomicUsize>,
}

impl World {
    /// A room in which Sotto hears itself, and no voice but its name interrupts.
    fn new() -> World {
        let (read, question) = (Arc::default(), question());
        let stages = Stages {
            voice_activity: StageLoader::once(Box::new(silero())),
            turn_detector: None,
            wake_word: Some(StageLoader::once(Box::new(alexa()))),
            transcriber: StageLoader::once(Box::new(Believes(Arc::clone(&read)))),
            language_model: StageLoader::once(Box::new(Answers::new("It will be dry and mild until the evening."))),
            synthesizer: StageLoader::once(Box::new(Recorded(question[..6 * 16_000].to_vec()))),
            turn_weights: None,
        };
        let settings = [("detect.wake_word", "alexa"), ("turn.barge_in", "off")];
        let flag = |(path, value): (&str, &str)| Flag { path: path.into(), value: value.into(), name: path.into() };
        let plan = load(&Sources { cores: 1, flags: settings.map(flag).to_vec(), ..Default::default() }).unwrap().plan;
        let (delay, tail) = (Duration::from_millis(15), Duration::from_millis(120));
        let room = SimulatedRoom { delay, gain: 0.3, tail, noise: 0.000_5 };
        World { conversation: Conversation::start(stages, &plan, room), read }
    }

    fn read(&self) -> usize {
        self.read.load(Ordering::Relaxed)
    }
}

impl Deref for World {
    type Target = Conversation;

    fn deref(&self) -> &Conversation {
        &self.conversation
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Conversation {
        &mut self.conversation
    }
}

#[test]
fn a_conversation_begins_with_the_wake_word_and_goes_on_without_it() {
    let _alone = alone();
    let (mut world, person) = (World::new(), question()[..3 * 8_000].to_vec());
    let call = call();
    world.say(&person);
    world.pass(2000);
    assert_eq!((world.read(), world.session.view()), (0, SessionState::Waiting), "nobody has called");

    // Called; what is asked then is answered, and so is what follows the answer.
    world.say(&call);
    for turn in 1..=2 {
        world.say(&person);
        world.until(SessionState::Speaking);
        world.until(SessionState::Listening);
        assert_eq!((world.answers.len(), world.answers[turn - 1].how), (turn, Ending::Done));
        world.pass(1000);
    }
    world.until(SessionState::Waiting);
    let read = world.read();
    world.say(&person);
    world.pass(2000);
    assert_eq!((world.read(), world.answers.len()), (read, 2), "the window is over");
}

/// Each call comes at four places of an answer that is as loud.
#[test]
fn the_wake_word_over_an_answer_stops_it() {
    let _alone = alone();
    let person = question()[..3 * 8_000].to_vec();
    let mut stopped = 0;
    for (call, delay) in calls().iter().flat_map(|call| [0, 500, 1_000, 1_500].map(|delay| (call, delay))) {
        let mut world = World::new();
        world.say(&self::call());
        world.say(&person);
        world.until(SessionState::Speaking);
        world.say(&person);
        assert!(world.answers.is_empty(), "{:?}", world.answers);
        world.pass(delay);
        world.say(&call[CALL]);
        world.pass(100);
        if world.answers.is_empty() {
            continue;
        }
        assert_eq!(world.answers[0].how, Ending::Interrupted);
        stopped += 1;
        world.until(SessionState::Listening);
        if stopped > 1 {
            continue;
        }
        world.say(&person);
        world.until(SessionState::Speaking);
        world.until(SessionState::Listening);
        assert_eq!(world.answers.last().map(|answer| answer.how), Some(Ending::Done));
    }
    println!("{stopped} of 12 calls over an answer stopped it");
    assert!(stopped >= 8, "{stopped} of 12");
}
