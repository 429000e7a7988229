//! Tests of the wake word: without it, speech has no effect.

use super::world::CALL;
use super::*;

/// Conversation that waits for a wake word, and lets no voice interrupt.
fn with_name() -> World {
    let settings = [("audio.echo", "off"), ("detect.wake_word", "alexa"), ("turn.barge_in", "off")];
    World::set(SimulatedRoom::HEADPHONES, &settings, Box::new(Loud), None, Box::new(Hums))
}

#[test]
fn without_its_name_nothing_is_recognised_and_after_it_a_question_is_answered() {
    let mut world = with_name();
    assert_eq!(world.session.view(), SessionState::Waiting);
    world.say(0, 1000);
    world.pass(3000);
    let read =
        |world: &World| world.happened.iter().any(|happening| matches!(happening.kind, EventKind::Understood(_)));
    assert!(
        !read(&world) && world.history().is_empty() && world.session.view() == SessionState::Waiting,
        "{:?}",
        world.happened
    );

    world.say(CALL, 500);
    world.until(SessionState::Listening);
    world.pass(1000);
    world.say(0, 1000);
    world.until(SessionState::Speaking);
    world.until(SessionState::Listening);
    assert_eq!(world.history(), [WORDS[0].1]);

    // Within the follow-up window no wake word is needed; after it one is.
    world.pass(3000);
    world.say(0, 1000);
    world.until(SessionState::Speaking);
    world.until(SessionState::Listening);
    world.until(SessionState::Waiting);
    world.say(0, 1000);
    world.pass(3000);
    assert_eq!((world.history().len(), world.session.view()), (2, SessionState::Waiting));
}

#[test]
fn what_follows_the_name_in_one_breath_is_the_question() {
    let mut world = with_name();
    world.say(CALL, 480);
    world.say(1, 1000);
    world.until(SessionState::Speaking);
    assert_eq!(world.history(), [WORDS[1].1]);
}

#[test]
fn its_name_over_the_answer_stops_it_and_is_listened_to() {
    let mut world = with_name();
    world.say(CALL, 500);
    world.say(0, 1000);
    world.until(SessionState::Speaking);
    world.pass(1000);
    world.say(0, 1000);
    assert_eq!(world.session.view(), SessionState::Speaking, "other voices do not interrupt here");
    world.say(CALL, 500);
    world.pass(300);
    assert_eq!((world.answers()[0].how, world.loudness(50)), (Ending::Interrupted, 0.0));
    world.until(SessionState::Listening);
    world.say(1, 1000);
    world.until(SessionState::Speaking);
    assert_eq!(world.history()[1..], [WORDS[1].1]);
}
