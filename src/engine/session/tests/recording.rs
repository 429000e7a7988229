//! A session that is recorded and replayed.

use super::*;
use crate::observe::{RecordedConversation, Recorder, Replay, ReplayEventKind};

/// Shown state, decided turn or ended answer, with its time.
#[derive(Debug, PartialEq)]
enum Seen {
    State(SessionState),
    Decided(TurnId),
    Ended(TurnId, Ending, String),
}

/// Events of the session that the turn machine has caused.
fn of_session(events: &VecDeque<Event>) -> Vec<(Ms, Seen)> {
    let seen = |event: &Event| match &event.kind {
        EventKind::State(state) => Some(Seen::State(*state)),
        EventKind::Milestone(Milestone::TurnDecided) => event.turn.map(Seen::Decided),
        EventKind::Exchange(exchange) => {
            event.turn.map(|turn| Seen::Ended(turn, exchange.how, exchange.question.clone()))
        }
        _ => None,
    };
    events.iter().filter_map(|event| Some((event.at, seen(event)?))).collect()
}

#[test]
fn a_recorded_conversation_is_replayed_to_the_same_events() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("conversation.jsonl");
    let mut world = World::new();
    world.happened.clear();
    let mut recorder = Recorder::create(&file, world.session.turn_settings()).unwrap();
    // From the beginning: the world has let some time pass before.
    world.session = world.restarted();
    world.session.observe_turns(Box::new(move |at, input, commands| recorder.note(at, input, commands).unwrap()));
    world.pass(500);
    world.say(0, 1000);
    world.until(SessionState::Speaking);
    world.pass(2000);
    world.say(1, 1200);
    world.until(SessionState::Speaking);
    world.until(SessionState::Listening);
    let happened = of_session(&world.happened);
    let length = world.now() as f64;
    drop(world);

    let begun = std::time::Instant::now();
    let mut question = String::new();
    let mut replayed = Vec::new();
    for events in Replay::new(RecordedConversation::read(&file).unwrap()) {
        for event in events.unwrap() {
            let seen = match (event.what, event.turn) {
                (ReplayEventKind::State(state), _) => Seen::State(state),
                (ReplayEventKind::Decided { question: asked }, Some(turn)) => {
                    question = asked.unwrap_or_default();
                    Seen::Decided(turn)
                }
                (ReplayEventKind::Ended { how, .. }, Some(turn)) => Seen::Ended(turn, how, question.clone()),
                other => panic!("{other:?}"),
            };
            replayed.push((event.at, seen));
        }
    }
    assert_eq!(replayed, happened);
    let answers = happened.iter().filter(|(_, seen)| matches!(seen, Seen::Ended(..))).count();
    assert_eq!(answers, 2, "{happened:?}");
    println!("{length} ms of conversation replayed in {:?}", begun.elapsed());
}
