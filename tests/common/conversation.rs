//! A conversation on a simulated card, on the card's own clock. Shared by the tests of echo and of
//! the wake word.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use sotto::audio::device::{Card, DEFAULT, Simulated, SimulatedRoom};
use sotto::config::Plan;
use sotto::engine::{ChatTurn, Engine, LanguageModel, Session, SessionAudio, SessionDevices, Stages};
use sotto::observe::{EventKind, Exchange};
use sotto::turn::{Ending, SessionState};
use sotto::types::{SampleRate, SessionId};

/// What a stage may take, of real time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Language model with one answer, in one piece.
pub struct Answers {
    answer: &'static str,
    is_begun: bool,
}

impl Answers {
    pub fn new(answer: &'static str) -> Self {
        Answers { answer, is_begun: false }
    }
}

impl LanguageModel for Answers {
    fn sentence_end_probability(&mut self, _: &ChatTurn) -> Result<Option<f32>> {
        Ok(Some(0.9))
    }

    fn begin(&mut self, _: &ChatTurn) -> Result<()> {
        self.is_begun = true;
        Ok(())
    }

    fn next_piece(&mut self, _: SessionId) -> Result<Option<String>> {
        Ok(std::mem::take(&mut self.is_begun).then(|| self.answer.to_owned()))
    }
}

pub struct Conversation {
    card: Simulated,
    pub session: Session,
    /// What was asked and answered, but for answers that were taken back before a word of them was
    /// heard.
    pub answers: Vec<Exchange>,
}

impl Conversation {
    pub fn start(stages: Stages, plan: &Plan, room: SimulatedRoom) -> Conversation {
        let card = Simulated::usual(room);
        let devices = SessionDevices {
            card: Arc::new(card.clone()),
            microphone: DEFAULT.to_owned(),
            speaker: DEFAULT.to_owned(),
        };
        let engine = Engine::start(stages, plan).unwrap();
        let audio = SessionAudio::open(devices, engine.rate()).unwrap();
        let session = Session::start(engine, audio, plan);
        let mut conversation = Conversation { card, session, answers: Vec::new() };
        conversation.pass(500);
        conversation
    }

    /// Lets time pass, in steps of 10 ms. It stands still while a stage has something to do: a busy
    /// machine is no slow stage.
    pub fn pass(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / 10 {
            self.card.advance(Duration::from_millis(10));
            self.step();
            let asked = Instant::now();
            while self.session.is_awaiting() {
                assert!(asked.elapsed() < PATIENCE, "a stage hangs; answers: {:?}", self.answers);
                self.step();
            }
        }
    }

    fn step(&mut self) {
        for event in self.session.step(Duration::from_micros(400)).unwrap() {
            match event.kind {
                EventKind::Exchange(exchange) if exchange.how != Ending::Revised => self.answers.push(exchange),
                _ => {}
            }
        }
    }

    pub fn until(&mut self, view: SessionState) {
        for _ in 0..3000 {
            if self.session.view() == view {
                return;
            }
            self.pass(10);
        }
        panic!("never {view:?}, but {:?}; answers: {:?}", self.session.view(), self.answers);
    }

    /// Somebody says it, and it is over then.
    pub fn say(&mut self, words: &[f32]) {
        let at = self.card.clock().now().plus(Duration::from_millis(20));
        self.card.say(at, SampleRate::HEARING, words);
        self.pass(SampleRate::HEARING.duration(words.len()).0 as u64 + 20);
    }
}
