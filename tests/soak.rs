//! A long conversation on a simulated card, faster than real time: questions, interruptions, nods,
//! noises, keys, devices that go and come, and stages that fail. Afterwards nothing is stuck,
//! nothing has grown, and every question was answered or said to have failed.
//!
//! The tests hold a few minutes of it, `make soak` an hour. `SOAK_SEED` repeats one that failed.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail};
use sotto::asr::{Cancel, NoSpeech, Transcript, Verdict};
use sotto::audio::device::{
    Card, DEFAULT, DeviceEvent as Event, Direction, Moment, Simulated, SimulatedDevice, SimulatedRoom, StreamFormat,
};
use sotto::config::{Sources, load};
use sotto::detect::{FRAME, VadState};
use sotto::engine::{
    ChatTurn, Engine, LanguageModel, Session, SessionAudio, SessionDevices, StageLoader, Stages, Synthesizer,
    Transcriber, VoiceActivityDetector,
};
use sotto::memory::resident;
use sotto::observe::EventKind;
use sotto::tts::Sound;
use sotto::turn::{Control, Ending, SessionState};
use sotto::types::{Bytes, SampleRate, SessionId};

/// How long the conversation is, in simulated minutes, where `SOAK_MINUTES` does not say it.
const MINUTES: u64 = 3;
/// A share of it is for caches and buffers to find their size; what is held then may not grow by
/// more than this.
const SETTLING: f64 = 0.3;
const GROWTH: Bytes = Bytes::mib(8);
/// No state but rest lasts so long: what hangs is given up after a minute at most.
const STUCK: u64 = 100_000;
/// One in so many calls of a stage fails.
const FAILS: u32 = 25;

const VOICE: SampleRate = SampleRate(8000);
/// What is said, by the period of the tone that says it, in samples at 16 kHz.
const WORDS: [(usize, &str); 5] =
    [(16, "What is the weather like today?"), (32, "No, tell me about Berlin."), (64, "mhm"), (96, "Stop."), (160, "")];
const QUESTION: usize = 0;
const ANOTHER: usize = 1;
const NOD: usize = 2;
const STOP: usize = 3;
const NOISE: usize = 4;

/// Fails now and then, the same for the same seed.
#[derive(Clone)]
struct Chance(Arc<Mutex<fastrand::Rng>>);

impl Chance {
    fn take(&self) -> Result<()> {
        if self.0.lock().unwrap().u32(0..FAILS) == 0 {
            bail!("scripted");
        }
        Ok(())
    }
}

/// Hears a voice in what is loud. Fails more rarely: it is called thirty times a second.
struct Loud(Chance);

impl VoiceActivityDetector for Loud {
    fn step(&mut self, _: &mut VadState, frame: &[f32; FRAME]) -> Result<f32> {
        if self.0.0.lock().unwrap().u32(0..40 * FAILS) == 0 {
            bail!("scripted");
        }
        let loudest = frame.iter().fold(0.0f32, |loudest, sample| loudest.max(sample.abs()));
        Ok(if loudest > 0.1 { 0.95 } else { 0.05 })
    }
}

/// Reads a voice by its pitch.
struct Reads(Chance);

impl Transcriber for Reads {
    fn transcribe(&mut self, samples: &[f32], _: &Cancel) -> Result<Transcript> {
        self.0.take()?;
        let voiced: Vec<f32> = samples.iter().copied().filter(|sample| sample.abs() > 0.05).collect();
        let crossings = voiced.windows(2).filter(|pair| pair[0] * pair[1] < 0.0).count().max(1);
        let period = 2 * voiced.len() / crossings;
        let (_, text) = WORDS.iter().min_by_key(|(of, _)| of.abs_diff(period)).unwrap();
        let verdict = if text.is_empty() { Verdict::Nothing(NoSpeech::NoWords) } else { Verdict::Certain };
        let (text, language) = ((*text).to_owned(), "en".to_owned());
        Ok(Transcript { text, language, confidence: 0.9, ending: None, segments: Vec::new(), verdict })
    }

    fn can_transcribe_partially(&self) -> bool {
        true
    }
}

struct Talks {
    chance: Chance,
    rest: VecDeque<&'static str>,
}

impl LanguageModel for Talks {
    fn sentence_end_probability(&mut self, _: &ChatTurn) -> Result<Option<f32>> {
        self.chance.take()?;
        Ok(Some(0.5))
    }

    fn begin(&mut self, _: &ChatTurn) -> Result<()> {
        let answer = "It will be dry and mild until the evening. Then some rain comes from the west.";
        self.rest = answer.split_inclusive(' ').collect();
        Ok(())
    }

    fn next_piece(&mut self, _: SessionId) -> Result<Option<String>> {
        if self.rest.is_empty() {
            self.chance.take()?;
        }
        Ok(self.rest.pop_front().map(str::to_owned))
    }
}

/// Says a letter in 40 ms.
struct Hums(Chance);

impl Synthesizer for Hums {
    fn rate(&self) -> SampleRate {
        VOICE
    }

    fn speak(&mut self, sentence: &str, _: &str, on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>) -> Result<()> {
        self.0.take()?;
        let samples: Vec<f32> = (0..320).map(|i| 0.2 * (i as f32 * 0.3).sin()).collect();
        let place = |n: usize| n as f64 / sentence.len() as f64;
        for n in 0..sentence.len() {
            if on_sound(Sound { samples: &samples, says: place(n)..place(n + 1) }).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Two microphones and two speakers, no two of them alike.
fn card() -> Simulated {
    let device = |direction, name, rate, channels, sample, ppm| SimulatedDevice {
        ppm,
        jitter: Duration::from_millis(2),
        ..SimulatedDevice::new(direction, name, rate, channels, sample)
    };
    let room =
        SimulatedRoom { delay: Duration::from_millis(8), gain: 0.1, tail: Duration::from_millis(60), noise: 0.000_5 };
    let devices = vec![
        device(Direction::Input, "mic", 48_000, 2, cpal::SampleFormat::I16, 40.0),
        device(Direction::Input, "headset", 16_000, 1, cpal::SampleFormat::F32, 0.0),
        device(Direction::Output, "spk", 48_000, 2, cpal::SampleFormat::I16, -30.0),
        device(Direction::Output, "hdmi", 44_100, 6, cpal::SampleFormat::F32, 0.0),
    ];
    Simulated::new(devices, room)
}

struct Soak {
    card: Simulated,
    session: Session,
    random: fastrand::Rng,
    /// How often what came of questions.
    tally: BTreeMap<String, u64>,
    /// Answers and failures of any kind that were told.
    accounted: u64,
}

impl Soak {
    fn begin(seed: u64) -> Soak {
        let chance = Chance(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed ^ 1))));
        let stages = Stages {
            voice_activity: StageLoader::once(Box::new(Loud(chance.clone()))),
            transcriber: StageLoader::once(Box::new(Reads(chance.clone()))),
            language_model: StageLoader::once(Box::new(Talks { chance: chance.clone(), rest: VecDeque::new() })),
            synthesizer: StageLoader::once(Box::new(Hums(chance))),
            turn_detector: None,
            wake_word: None,
            turn_weights: None,
        };
        let plan = load(&Sources { cores: 1, ..Default::default() }).unwrap().plan;
        let card = card();
        let devices = SessionDevices {
            card: Arc::new(card.clone()),
            microphone: DEFAULT.to_owned(),
            speaker: DEFAULT.to_owned(),
        };
        let engine = Engine::start(stages, &plan).unwrap();
        let audio = SessionAudio::open(devices, engine.rate()).unwrap();
        let session = Session::start(engine, audio, &plan);
        let random = fastrand::Rng::with_seed(seed);
        Soak { card, session, random, tally: BTreeMap::new(), accounted: 0 }
    }

    fn now(&self) -> u64 {
        self.card.clock().now().0 / 1_000_000
    }

    fn count(&mut self, what: &str) {
        *self.tally.entry(what.to_owned()).or_default() += 1;
    }

    /// Lets time pass, in steps of 10 ms; stages have a millisecond of real time for each.
    fn pass(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds.div_ceil(10) {
            self.card.advance(Duration::from_millis(10));
            let events = self.session.step(Duration::from_millis(1)).expect("the conversation goes on");
            events.into_iter().for_each(|event| self.account(event.kind));
        }
    }

    fn account(&mut self, kind: EventKind) {
        match kind {
            EventKind::Exchange(answer) if answer.how == Ending::Revised => self.count("revised"),
            EventKind::Exchange(answer) => {
                self.accounted += 1;
                self.count(&format!("answer {}", answer.how.name()));
            }
            EventKind::Failed { .. } => {
                self.accounted += 1;
                self.count("failure told");
            }
            EventKind::Notice(_) | EventKind::Device(_) | EventKind::Partial(_) | EventKind::Replaced { .. } => {
                self.count(kind.name());
            }
            EventKind::Understood(_) | EventKind::State(_) | EventKind::Milestone(_) => {}
        }
    }

    fn until(&mut self, views: &[SessionState]) {
        let deadline = self.now() + STUCK;
        while !views.contains(&self.session.view()) {
            assert!(self.now() < deadline, "stuck in {:?} at {} ms: {:?}", self.session.view(), self.now(), self.tally);
            self.pass(10);
        }
    }

    fn say(&mut self, words: usize, milliseconds: u64) {
        let period = WORDS[words].0;
        let tone =
            (0..milliseconds as usize * 16).map(|i| if (i / (period / 2)).is_multiple_of(2) { 0.5 } else { -0.5 });
        let at = Moment((self.now() + 20) * 1_000_000);
        self.card.say(at, SampleRate::HEARING, &tone.collect::<Vec<f32>>());
        self.pass(milliseconds + 20);
    }

    fn plan(&mut self, after: u64, event: Event) {
        let at = Moment((self.now() + after) * 1_000_000);
        self.card.plan(at, event);
    }

    /// One question, and what happens while it is answered.
    fn round(&mut self) {
        self.until(&[SessionState::Listening]);
        let wait = self.random.u64(200..1500);
        self.pass(wait);
        let before = self.accounted;
        let length = self.random.u64(700..2500);
        self.say(QUESTION, length);
        self.until(&[SessionState::Speaking, SessionState::Listening]);
        if self.session.view() == SessionState::Speaking {
            let wait = self.random.u64(0..2500);
            self.pass(wait);
            self.disturb();
        }
        self.until(&[SessionState::Listening]);
        self.pass(50);
        assert!(self.accounted > before, "the question at {} ms came to nothing: {:?}", self.now(), self.tally);
        self.count("round");
    }

    fn disturb(&mut self) {
        match self.random.u32(0..14) {
            0 | 1 => self.say(ANOTHER, 900),
            2 => self.say(NOD, 500),
            3 => self.say(STOP, 600),
            4 | 5 => {
                let length = self.random.u64(30..700);
                self.say(NOISE, length);
            }
            6 => self.session.control(Control::Stop),
            7 => {
                self.session.control(Control::Mute);
                self.say(ANOTHER, 900);
                assert_eq!(self.session.view(), SessionState::Muted);
                self.session.control(Control::Unmute);
            }
            8 | 9 => self.lose_a_device(),
            10 => {
                let name = self.device();
                self.plan(0, Event::Stall(name));
            }
            11 => {
                let (name, lost) = (self.device(), Duration::from_millis(self.random.u64(1..400)));
                self.plan(0, Event::Xrun(name, lost));
            }
            12 => {
                let name = self.device();
                self.plan(0, Event::MakeDefault(name));
            }
            _ => {
                let format = StreamFormat { rate: SampleRate(32_000), channels: 1, sample: cpal::SampleFormat::F32 };
                self.plan(0, Event::Reformat("spk".to_owned(), format));
            }
        }
        self.pass(100);
    }

    /// Both of a kind go, so that there is none, and come back.
    fn lose_a_device(&mut self) {
        let names = if self.random.bool() { ["mic", "headset"] } else { ["spk", "hdmi"] };
        let back = self.random.u64(100..6000);
        for name in names.map(str::to_owned) {
            self.plan(10, Event::Unplug(name.clone()));
            self.plan(10 + back, Event::Plug(name));
        }
        self.pass(back + 20);
    }

    fn device(&mut self) -> String {
        ["mic", "headset", "spk", "hdmi"][self.random.usize(0..4)].to_owned()
    }
}

/// What must not grow.
#[derive(Clone, Copy, Debug)]
struct Held {
    memory: Option<Bytes>,
    threads: Option<usize>,
    handles: Option<usize>,
}

impl Held {
    fn now() -> Held {
        let entries = |path| std::fs::read_dir(path).ok().map(Iterator::count);
        Held { memory: resident(), threads: entries("/proc/self/task"), handles: entries("/proc/self/fd") }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn a_long_conversation_gets_stuck_nowhere_and_grows_nothing() {
    let (minutes, seed) = (number("SOAK_MINUTES").unwrap_or(MINUTES), number("SOAK_SEED").unwrap_or(7));
    println!("{minutes} minutes with SOAK_SEED={seed}");
    let end = minutes * 60_000;
    let mut soak = Soak::begin(seed);
    let mut settled = None;
    while soak.now() < end {
        soak.round();
        if settled.is_none() && soak.now() as f64 > SETTLING * end as f64 {
            settled = Some(Held::now());
        }
    }
    let (before, after) = (settled.expect("rounds are shorter than the conversation"), Held::now());
    println!("{:?}\n{before:?}\n{after:?}", soak.tally);
    assert_eq!((before.threads, before.handles), (after.threads, after.handles));
    if let (Some(before), Some(after)) = (before.memory, after.memory) {
        assert!(after.0 <= before.0 + GROWTH.0, "grew from {before} to {after}");
    }
    for what in ["round", "answer done", "answer interrupted", "failure told", "device"] {
        assert!(soak.tally.contains_key(what), "{what} never happened: {:?}", soak.tally);
    }
}
