//! A conversation on a simulated card, on the card's own clock. Shared by the tests of echo and of
//! the wake word.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sotto::audio::device::{Card, DEFAULT, Simulated, SimulatedRoom};
use sotto::config::Plan;
use sotto::observe::Journal;
use sotto::pipeline::{Exchange, Live, SessionDevices, SessionEvent, Stages};
use sotto::turn::{Ending, SessionState};
use sotto::types::SampleRate;

/// What a stage may take, of real time.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Conversation {
    card: Simulated,
    pub live: Live,
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
        let live = Live::start(stages, plan, devices, Journal::default()).unwrap();
        let mut conversation = Conversation { card, live, answers: Vec::new() };
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
            while self.live.is_awaiting() {
                assert!(asked.elapsed() < PATIENCE, "a stage hangs; answers: {:?}", self.answers);
                self.step();
            }
        }
    }

    fn step(&mut self) {
        for happening in self.live.step(Duration::from_micros(400)).unwrap() {
            match happening {
                SessionEvent::Exchange(exchange) if exchange.how != Ending::Revised => self.answers.push(exchange),
                _ => {}
            }
        }
    }

    pub fn until(&mut self, view: SessionState) {
        for _ in 0..3000 {
            if self.live.view() == view {
                return;
            }
            self.pass(10);
        }
        panic!("never {view:?}, but {:?}; answers: {:?}", self.live.view(), self.answers);
    }

    /// Somebody says it, and it is over then.
    pub fn say(&mut self, words: &[f32]) {
        let at = self.card.clock().now().plus(Duration::from_millis(20));
        self.card.say(at, SampleRate::HEARING, words);
        self.pass(SampleRate::HEARING.duration(words.len()).0 as u64 + 20);
    }
}
