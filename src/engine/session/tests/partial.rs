//! Tests of partial transcripts while somebody speaks.

use super::*;
use crate::observe::Privacy;

/// Number of words of each partial transcript, and `None` for each final one.
fn understood(world: &World) -> Vec<Option<usize>> {
    let mut understood = Vec::new();
    for happening in &world.happened {
        match &happening.kind {
            EventKind::Partial(transcript) => understood.push(Some(transcript.text.split_whitespace().count())),
            EventKind::Understood(_) => understood.push(None),
            _ => {}
        }
    }
    understood
}

#[test]
fn words_come_while_they_are_said_and_none_behind_the_last() {
    let mut world = World::heard_by(TranscribesPartially::default(), Box::new(Hums));
    world.say(0, 4_500);
    world.until(SessionState::Speaking);
    let words = understood(&world);
    let [Some(2), so_far @ .., None] = &words[..] else { panic!("{words:?}") };
    assert!(!so_far.is_empty() && so_far.is_sorted_by(|a, b| a < b) && so_far[0] >= Some(4), "{words:?}");
    world.until(SessionState::Listening);
    let turns: Vec<_> = world.happened.iter().filter(|event| event.kind.privacy() == Privacy::Words).collect();
    assert_eq!(turns.len(), words.len() + 1, "the transcripts and the exchange");
    assert!(turns.iter().all(|event| event.turn == turns[0].turn && event.turn.is_some()), "{turns:?}");
}

#[test]
fn who_goes_on_after_a_pause_is_read_along_from_where_she_began() {
    let mut world = World::heard_by(TranscribesPartially::default(), Box::new(Hums));
    world.say(0, 1_900);
    world.pass(250);
    world.say(0, 1_500);
    world.until(SessionState::Speaking);
    // The first half was transcribed in the pause: a second of new speech later there are almost
    // three seconds.
    assert_eq!(understood(&world), [Some(2), None, Some(5), None]);
}

#[test]
fn what_is_read_along_holds_nothing_up() {
    let mut world =
        World::heard_by(TranscribesPartially { hangs: true, ..TranscribesPartially::default() }, Box::new(Hums));
    world.say(0, 3_000);
    world.until(SessionState::Speaking);
    assert_eq!(understood(&world), [None]);
}

#[test]
fn a_partial_transcription_that_panics_costs_no_words() {
    let transcriber = TranscribesPartially { panics: true, ..TranscribesPartially::default() };
    let mut world = World::heard_by_again(transcriber);
    world.say(0, 3_000);
    world.until(SessionState::Speaking);
    assert_eq!(understood(&world), [None]);
    assert!(world.happened.iter().any(|event| matches!(event.kind, EventKind::Replaced { .. })));
    assert!(!world.happened.iter().any(|event| matches!(event.kind, EventKind::Failed { .. })));
}

/// Conversation after a mumble over the answer, which is held for two seconds and then goes on, and
/// after the words that the mumble turns into.
fn mumbled(speaker: Box<dyn Synthesizer>) -> World {
    let reads = TranscribesPartially { words: Some(WORDS[1].1), ..TranscribesPartially::default() };
    let mut world = World::heard_by(reads, speaker);
    world.say(0, 800);
    world.until(SessionState::Speaking);
    world.pass(500);
    world.say(3, 2_500);
    assert_eq!(world.session.view(), SessionState::Speaking);
    world.say(3, 2_000);
    world
}

#[test]
fn words_over_an_answer_that_went_on_end_it_while_they_are_said() {
    let world = mumbled(Box::new(Hums));
    let [Exchange { how, .. }] = world.answers()[..] else { panic!("{:?}", world.answers()) };
    assert_eq!((*how, world.session.view()), (Ending::Interrupted, SessionState::Hearing));
}

#[test]
fn nobody_is_read_along_while_the_answer_is_in_the_making() {
    let (come_back, hangs) = std::sync::mpsc::channel::<()>();
    let world = mumbled(Box::new(Hangs(hangs, 0)));
    assert!(understood(&world).iter().all(Option::is_none));
    drop(come_back);
}
