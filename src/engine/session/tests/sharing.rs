//! Several sessions on one engine.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::world::{Reads, plan, stages};
use super::*;
use crate::engine::stage::{ChatTurn, LanguageModel, StageLoader, Stages};

/// Language model that repeats the question, a letter at a time, of several sessions at once.
#[derive(Default)]
struct Repeats {
    active: Vec<(SessionId, VecDeque<char>)>,
    /// Sessions in the order in which their pieces were written.
    order: Arc<Mutex<Vec<SessionId>>>,
}

impl LanguageModel for Repeats {
    fn sentence_end_probability(&mut self, _: &ChatTurn) -> Result<Option<f32>> {
        Ok(None)
    }

    fn begin(&mut self, turn: &ChatTurn) -> Result<()> {
        let before = turn.history.iter().map(|past| past.question.as_str());
        let text: String = before.chain([turn.question.as_str()]).collect::<Vec<_>>().join(" Then: ");
        self.active.retain(|(session, _)| *session != turn.session);
        self.active.push((turn.session, format!("Well. {text}").chars().collect()));
        Ok(())
    }

    fn next_piece(&mut self, session: SessionId) -> Result<Option<String>> {
        self.order.lock().unwrap().push(session);
        let (_, rest) = self.active.iter_mut().find(|(of, _)| *of == session).expect("it was begun");
        Ok(rest.pop_front().map(String::from))
    }
}

#[test]
fn two_sessions_at_once_are_answered_each_with_its_own_words() {
    let (plan, order) = (plan(&[("audio.echo", "off")]), Arc::default());
    let model = Repeats { order: Arc::clone(&order), ..Repeats::default() };
    let stages = Stages {
        language_model: StageLoader::once(Box::new(model)),
        ..stages(Box::new(Loud), None, Box::new(Reads), &Arc::default(), Box::new(Hums))
    };
    let engine = Engine::start(stages, &plan).unwrap();
    let mut worlds = [(); 2].map(|()| World::of(engine.clone(), SimulatedRoom::HEADPHONES, &plan));
    assert_ne!(worlds[0].session.id(), worlds[1].session.id());
    for round in 0..2 {
        for (n, world) in worlds.iter_mut().enumerate() {
            // Right behind an answer its own words would be taken for its echo.
            world.pass(2000);
            world.begin_to_say(n, 1000);
        }
        for _ in 0..3000 {
            worlds.iter_mut().for_each(|world| world.pass(10));
            if worlds.iter().all(|world| world.answers().len() > round) {
                break;
            }
        }
        for (n, world) in worlds.iter().enumerate() {
            let asked = vec![WORDS[n].1; round + 1].join(" Then: ");
            let Exchange { heard, how, .. } = world.answers()[round];
            assert_eq!((heard.as_str(), *how), (format!("Well. {asked}").as_str(), Ending::Done));
        }
    }
    let order = order.lock().unwrap();
    let changes = order.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes > 4, "the answers are written in turns: {changes} changes");
}

#[test]
fn what_holds_one_session_up_holds_up_no_other() {
    let plan = plan(&[("audio.echo", "off")]);
    let stages = stages(Box::new(Loud), None, Box::new(Reads), &Arc::default(), Box::new(Hums));
    let engine = Engine::start(stages, &plan).unwrap();
    // Nobody takes its sound while the other is asked and answered.
    let mut waits = World::of(engine.clone(), SimulatedRoom::HEADPHONES, &plan);
    waits.say(0, 1000);
    waits.until(SessionState::Speaking);
    let mut other = World::of(engine, SimulatedRoom::HEADPHONES, &plan);
    other.say(1, 1000);
    other.until(SessionState::Speaking);
    other.until(SessionState::Listening);
    assert_eq!(other.answers()[0].heard, ANSWER);
    waits.until(SessionState::Listening);
    assert_eq!(waits.answers()[0].heard, ANSWER);
}
