//! Sotto's own voice in its own microphone, in rooms of all sorts: it does not answer itself, and hears who talks over it.
//!
//! Voice, voice activity and canceller are the real ones. The recogniser takes everything for a question, so that whatever
//! of the echo were taken for speech would end the answer and be answered. Time is the simulated card's.

mod common;
#[path = "common/conversation.rs"]
mod conversation;
#[path = "common/onnx.rs"]
mod onnx;

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::Result;
use conversation::Conversation;
use sotto::asr::{Cancel, Transcript, Verdict};
use sotto::audio::device::Room;
use sotto::audio::{LONGEST, load_at};
use sotto::config::{Sources, Tts, load};
use sotto::hear::SileroVad;
use sotto::memory::Budget;
use sotto::pipeline::{Recogniser, Speaker, Stages, Thinker};
use sotto::tts::{Sound, Voice};
use sotto::turn::{Ending, View};
use sotto::types::{Bytes, SampleRate};

const QUESTION: &str = "What will the weather be like tomorrow?";
const ANSWER: &str = "It will be dry and mild until the evening. Then some rain comes from the west.";
/// Turns in each room.
const TURNS: usize = 10;
/// Speaker to microphone: by air and by the latency that a sound system hides, how loud, how long it rings.
const ROOMS: [(u64, f32, u64); 5] = [(4, 0.3, 60), (15, 1.0, 120), (40, 0.5, 250), (80, 1.0, 120), (150, 0.3, 200)];

struct Believes;

impl Recogniser for Believes {
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

struct Knows;

impl Thinker for Knows {
    fn weigh(&mut self, _: &str) -> Result<Option<f32>> {
        Ok(Some(0.9))
    }

    fn answer(&mut self, _: &str, on_piece: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<usize> {
        let _broken_off = on_piece(ANSWER);
        Ok(1)
    }

    fn keep_heard(&mut self, _: &str) {}

    fn forget_last(&mut self) {}

    fn forget_all(&mut self) {}
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

impl Speaker for Said {
    fn rate(&self) -> SampleRate {
        self.rate
    }

    fn speak(&mut self, sentence: &str, on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>) -> Result<()> {
        let (_, sounds) = self.sentences.iter().find(|(text, _)| text == sentence).expect("a sentence of the answer");
        for (samples, says) in sounds {
            if on_sound(Sound { samples, says: says.clone() }).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn within(room: Room, voice: Said) -> Conversation {
    let permit = Budget::new(Bytes::mib(100)).reserve("silero", SileroVad::planned_bytes()).unwrap();
    let silero = common::model_file("silero-vad", "silero_vad.onnx");
    let stages = Stages {
        detector: Box::new(SileroVad::load(&onnx::runtime(), &silero, permit).unwrap()),
        judge: None,
        name: None,
        recogniser: Box::new(Believes),
        thinker: Box::new(Knows),
        speaker: Box::new(voice),
    };
    let plan = load(&Sources { cores: 1, ..Default::default() }).unwrap().plan;
    Conversation::start(stages, &plan, room)
}

fn voice() -> Voice {
    let plan = Tts { threads: 1, ..load(&Sources { cores: 1, ..Default::default() }).unwrap().plan.tts };
    let folder = common::model_file("piper-joe", "voice.json");
    let permit = Budget::new(Bytes::mib(1024)).reserve("voice", Bytes::mib(256)).unwrap();
    Voice::load(&onnx::runtime(), folder.parent().unwrap(), &plan, permit).unwrap()
}

/// A person's first words in a recording.
fn person() -> Vec<f32> {
    let file = common::model_file("sample-question", "question.wav");
    let samples = load_at(&file, LONGEST, SampleRate::HEARING).unwrap().samples;
    let loud = samples.iter().position(|sample| sample.abs() > 0.05).unwrap();
    samples[loud.saturating_sub(800)..][..16_000].to_vec()
}

#[test]
fn in_fifty_turns_sotto_does_not_answer_itself_and_hears_who_talks_over_it() {
    let (said, person) = (Said::by(&mut voice()), person());
    for (delay, gain, tail) in ROOMS {
        let (delay, tail) = (Duration::from_millis(delay), Duration::from_millis(tail));
        let mut world = within(Room { delay, gain, tail, noise: 0.000_5 }, said.clone());
        for turn in 1..=TURNS {
            world.say(&person);
            world.until(View::Speaking);
            world.until(View::Listening);
            world.pass(1500);
            assert_eq!(world.answers.len(), turn, "{delay:?} {gain}: it answered itself");
        }
        let whole = world.answers.iter().all(|answer| answer.how == Ending::Done && answer.heard == ANSWER);
        assert!(whole, "{delay:?} {gain}: {:#?}", world.answers);

        world.say(&person);
        world.until(View::Speaking);
        world.pass(1500);
        world.say(&person);
        world.until(View::Listening);
        let over = world.answers.get(TURNS).map(|answer| answer.how);
        assert_eq!(over, Some(Ending::Interrupted), "{delay:?} {gain}: who talks over it is heard");
        assert!(world.answers.last().unwrap().echo_loss.is_some_and(|loss| loss > 15.0), "{:?}", world.answers.last());
    }
}
