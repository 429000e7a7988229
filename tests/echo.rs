//! Sotto's own voice in its own microphone, in rooms of all sorts: it does not answer itself, and
//! hears who talks over it.
//!
//! Voice, voice activity and canceller are the real ones. The transcriber takes everything for a
//! question, so that whatever of the echo were taken for speech would end the answer and be
//! answered. Time is the simulated card's.

mod common;
#[path = "common/conversation.rs"]
mod conversation;
#[path = "common/onnx.rs"]
mod onnx;

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::Result;
use conversation::{Answers, Conversation};
use sotto::asr::{Cancel, Transcript, Verdict};
use sotto::audio::device::SimulatedRoom;
use sotto::audio::{LONGEST, load_at};
use sotto::config::{AudioPlan, EchoMode, Plan, Sources, TtsPlan, load};
use sotto::detect::SileroVad;
use sotto::engine::{StageLoader, Stages, Synthesizer, Transcriber};
use sotto::memory::Budget;
use sotto::tts::{Sound, Voice};
use sotto::turn::{Ending, SessionState};
use sotto::types::{Bytes, SampleRate};

const QUESTION: &str = "What will the weather be like tomorrow?";
const ANSWER: &str = "It will be dry and mild until the evening. Then some rain comes from the west.";
/// Turns in each room.
const TURNS: usize = 10;
/// Synthesizer to microphone: by air and by the latency that a sound system hides, how loud, how
/// long it rings.
const ROOMS: [(u64, f32, u64); 5] = [(4, 0.3, 60), (15, 1.0, 120), (40, 0.5, 250), (80, 1.0, 120), (150, 0.3, 200)];

struct Believes;

impl Transcriber for Believes {
    fn transcribe(&mut self, _: &[f32], _: &Cancel) -> Result<Transcript> {
        let (text, language) = (QUESTION.to_owned(), "en".to_owned());
        Ok(Transcript {
            text,
            language,
            confidence: 0.9,
            ending: None,
            segments: Vec::new(),
            verdict: Verdict::Certain,
        })
    }
}

/// Some sound of a sentence, and which part of it that says.
type Piece = (Vec<f32>, std::ops::Range<f64>);

/// An answer's sentences as the real voice said them once.
#[derive(Clone)]
struct Said {
    rate: SampleRate,
    sentences: Vec<(String, Vec<Piece>)>,
}

impl Said {
    fn by(voice: &mut Voice) -> Said {
        let mut sentences = Vec::new();
        for sentence in sotto::tts::Sentences::cut(ANSWER) {
            let mut sounds = Vec::new();
            let mut keep = |sound: Sound| {
                sounds.push((sound.samples.to_vec(), sound.says.clone()));
                ControlFlow::Continue(())
            };
            voice.speak(&sentence, &mut keep).unwrap();
            sentences.push((sentence, sounds));
        }
        Said { rate: voice.rate(), sentences }
    }
}

impl Synthesizer for Said {
    fn rate(&self) -> SampleRate {
        self.rate
    }

    fn speak(&mut self, sentence: &str, _: &str, on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>) -> Result<()> {
        let (_, sounds) = self.sentences.iter().find(|(text, _)| text == sentence).expect("a sentence of the answer");
        for (samples, says) in sounds {
            if on_sound(Sound { samples, says: says.clone() }).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn within(room: SimulatedRoom, voice: Said, echo: EchoMode) -> Conversation {
    let permit = Budget::new(Bytes::mib(100)).reserve("silero", SileroVad::planned_bytes()).unwrap();
    let silero = common::model_file("silero-vad", "silero_vad.onnx");
    let stages = Stages {
        voice_activity: StageLoader::once(Box::new(SileroVad::load(&onnx::runtime(), &silero, permit).unwrap())),
        turn_detector: None,
        wake_word: None,
        transcriber: StageLoader::once(Box::new(Believes)),
        language_model: StageLoader::once(Box::new(Answers::new(ANSWER))),
        synthesizer: StageLoader::once(Box::new(voice)),
        turn_weights: None,
    };
    let plan = load(&Sources { cores: 1, ..Default::default() }).unwrap().plan;
    let plan = Plan { audio: AudioPlan { echo, ..plan.audio }, ..plan };
    Conversation::start(stages, &plan, room)
}

fn voice() -> Voice {
    let plan = TtsPlan { threads: 1, ..load(&Sources { cores: 1, ..Default::default() }).unwrap().plan.tts };
    let folder = common::model_file("piper-joe", "voice.json");
    let permit = Budget::new(Bytes::mib(1024)).reserve("voice", Bytes::mib(256)).unwrap();
    Voice::load(&onnx::runtime(), folder.parent().unwrap(), &plan, permit).unwrap()
}

/// A person's first words in a recording.
fn person() -> Vec<f32> {
    let file = common::fixture("speech-sample/speech.wav");
    let samples = load_at(&file, LONGEST, SampleRate::HEARING).unwrap().samples;
    let loud = samples.iter().position(|sample| sample.abs() > 0.05).unwrap();
    samples[loud.saturating_sub(800)..][..16_000].to_vec()
}

/// One who asks, then turn after turn, and who talks over the last answer.
struct Heard {
    world: Conversation,
    /// How the answer ended that was talked over.
    over: Option<Ending>,
}

fn converse(room: SimulatedRoom, said: &Said, person: &[f32], echo: EchoMode) -> Heard {
    let mut world = within(room, said.clone(), echo);
    for turn in 1..=TURNS {
        world.say(person);
        world.until(SessionState::Speaking);
        world.until(SessionState::Listening);
        world.pass(1500);
        assert_eq!(world.answers.len(), turn, "{room:?}: it answered itself");
    }
    let whole = world.answers.iter().all(|answer| answer.how == Ending::Done && answer.heard == ANSWER);
    assert!(whole, "{room:?}: {:#?}", world.answers);
    world.say(person);
    world.until(SessionState::Speaking);
    world.pass(1500);
    world.say(person);
    world.until(SessionState::Listening);
    let over = world.answers.get(TURNS).map(|answer| answer.how);
    Heard { world, over }
}

fn rooms() -> [SimulatedRoom; 5] {
    ROOMS.map(|(delay, gain, tail)| SimulatedRoom {
        delay: Duration::from_millis(delay),
        gain,
        tail: Duration::from_millis(tail),
        noise: 0.000_5,
    })
}

#[test]
fn in_fifty_turns_sotto_does_not_answer_itself_and_hears_who_talks_over_it() {
    let (said, person) = (Said::by(&mut voice()), person());
    for room in rooms() {
        let Heard { world, over } = converse(room, &said, &person, EchoMode::Aec3);
        assert_eq!(over, Some(Ending::Interrupted), "{room:?}: who talks over it is heard");
        assert!(world.answers.last().unwrap().echo_loss.is_some_and(|loss| loss > 15.0), "{:?}", world.answers.last());
    }
}

/// As where the canceller has lost the echo: all of it is heard, and read as a question.
#[test]
fn without_a_canceller_it_does_not_answer_itself_either_and_hears_who_is_louder_than_it() {
    let (said, person) = (Said::by(&mut voice()), person());
    for room in rooms() {
        let Heard { over, .. } = converse(room, &said, &person, EchoMode::Off);
        assert!(room.gain > 0.5 || over == Some(Ending::Interrupted), "{room:?}: who talks over it is heard");
    }
}
