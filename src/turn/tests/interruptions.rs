//! Tests of voices over the answer.

use super::world::{Spoken, World, settings, spoken};
use crate::turn::{BargeIn, Ending, Notice, SessionState, TurnCommand, TurnInput, TurnSettings, TurnStage, VoiceEvent};
use crate::types::Ms;

/// Question whose answer is heard from 1920 on.
const QUESTION: Spoken = spoken(500.0, 1_500.0, "How is the weather?");
const WHOLE: &str = "It is sunny today. Tomorrow it will rain. Take an umbrella with you.";

fn world(script: &[Spoken]) -> World {
    World::new(settings(), script)
}

fn asked(over: Spoken) -> World {
    world(&[QUESTION, over])
}

#[test]
fn a_voice_ducks_at_once_and_speech_pauses() {
    let mut world = asked(spoken(3_000.0, 4_000.0, "What about Paris?"));
    world.run(20_000.0);
    let when = |wanted: fn(&TurnCommand) -> bool| world.when(2_000.0, wanted).unwrap();
    assert_eq!(when(|command| matches!(command, TurnCommand::Duck { .. })), 3_040.0, "the step after the first frame");
    assert_eq!(when(|command| matches!(command, TurnCommand::Pause { .. })), 3_200.0);
    // The words are requested 600 ms later, and transcription takes 150 ms.
    assert_eq!(when(|command| matches!(command, TurnCommand::End { .. })), 3_950.0);
    assert!(world.views().contains(&SessionState::Interrupted));
}

#[test]
fn what_has_no_words_lets_the_answer_go_on_from_its_word() {
    for (over, what) in [
        (spoken(3_000.0, 3_400.0, ""), "a cough"),
        (spoken(3_000.0, 3_400.0, "Mhm."), "a nod"),
        (spoken(3_000.0, 3_700.0, "Yeah, okay."), "two nods"),
        (spoken(3_000.0, 3_700.0, "Tomorrow it will rain"), "an echo"),
        (spoken(3_000.0, 3_500.0, "sunny today"), "a short echo"),
    ] {
        let mut world = asked(over);
        world.run(20_000.0);
        assert_eq!(world.exchanges(), [("How is the weather?", WHOLE, Ending::Done)], "{what}");
        let resumed = world.checked.said.iter().find_map(|(at, command)| match command {
            TurnCommand::Resume { from, .. } => Some((at.0, from.0)),
            _ => None,
        });
        // Paused at 1280 ms of the answer, inside "Tomorrow", and resumed after the silence has
        // been transcribed.
        assert_eq!(resumed, Some(((over.to + 64.0 + 150.0_f64).div_euclid(10.0) * 10.0 + 10.0, 1_000.0)), "{what}");
        assert_eq!(world.count(|command| matches!(command, TurnCommand::Pause { .. })), 1, "{what}");
    }
}

#[test]
fn a_click_only_ducks() {
    let mut world = asked(spoken(3_000.0, 3_090.0, ""));
    world.run(20_000.0);
    assert_eq!(world.exchanges(), [("How is the weather?", WHOLE, Ending::Done)]);
    assert_eq!(world.count(|command| matches!(command, TurnCommand::Duck { .. } | TurnCommand::Unduck { .. })), 2);
    assert_eq!(world.count(|command| matches!(command, TurnCommand::Pause { .. })), 0);
}

#[test]
fn a_nod_that_goes_on_is_a_turn() {
    let mut world = asked(spoken(3_000.0, 4_600.0, "Okay and what about Paris?"));
    world.run(20_000.0);
    let exchanges = world.exchanges();
    assert_eq!((exchanges[0].2, exchanges[1].0), (Ending::Interrupted, "Okay and what about Paris?"));
}

#[test]
fn noise_without_end_is_talked_over_after_two_seconds() {
    let mut world = asked(spoken(3_000.0, 60_000.0, ""));
    world.run(80_000.0);
    assert_eq!(world.when(3_000.0, |command| matches!(command, TurnCommand::Resume { .. })), Some(5_200.0));
    assert_eq!(world.exchanges(), [("How is the weather?", WHOLE, Ending::Done)]);
    assert_eq!(world.checked.machine.view(), SessionState::Listening);
}

#[test]
fn speech_and_noise_that_pause_often_are_told_apart_in_time() {
    let bursts = |words: &'static str| -> Vec<_> {
        let burst = |n| spoken(3_000.0 + 400.0 * f64::from(n), 3_250.0 + 400.0 * f64::from(n), words);
        [QUESTION].into_iter().chain((0..20).map(burst)).collect()
    };
    let mut noise = world(&bursts(""));
    noise.reply = vec!["It is sunny today."; 9];
    noise.run(40_000.0);
    assert_eq!(noise.exchanges()[0].2, Ending::Done);
    assert!(noise.when(3_000.0, |command| matches!(command, TurnCommand::Resume { .. })).unwrap() <= 5_200.0);
    let mut speech = world(&bursts("Go on."));
    speech.run(40_000.0);
    assert_eq!(speech.exchanges()[0].2, Ending::Interrupted);
    assert!(speech.when(3_000.0, |command| matches!(command, TurnCommand::End { .. })).unwrap() <= 3_600.0);
    assert_eq!(speech.exchanges()[1].0.split_whitespace().count(), 40);
}

#[test]
fn a_noisy_room_does_not_make_the_answer_stutter() {
    let coughs: Vec<_> =
        (0..12).map(|n| spoken(2_200.0 + 900.0 * f64::from(n), 2_500.0 + 900.0 * f64::from(n), "")).collect();
    let mut world = world(&[&[QUESTION], &coughs[..]].concat());
    world.reply = vec!["It is sunny today."; 8];
    world.run(60_000.0);
    assert_eq!(world.count(|command| matches!(command, TurnCommand::Pause { .. })), 3);
    assert_eq!(world.exchanges()[0].2, Ending::Done);
}

#[test]
fn a_cough_before_the_answer_does_not_cost_it() {
    for from in [1_600.0, 1_900.0, 2_200.0] {
        let mut world = asked(spoken(from, from + 400.0, ""));
        world.thinking = 1_500.0;
        world.run(20_000.0);
        assert_eq!(world.exchanges(), [("How is the weather?", WHOLE, Ending::Done)], "a cough at {from}");
    }
}

#[test]
fn who_goes_on_before_a_word_is_heard_asks_one_longer_question() {
    // Before anything is heard, and 30 ms into a word of 110.
    for (from, thinking) in [(1_950.0, 3_000.0), (2_300.0, 3_000.0), (1_930.0, 200.0)] {
        let mut world = asked(spoken(from, from + 800.0, "in Paris tomorrow."));
        world.thinking = thinking;
        world.run(20_000.0);
        assert_eq!(world.exchanges(), [("How is the weather? in Paris tomorrow.", WHOLE, Ending::Done)], "at {from}");
        assert_eq!(world.history[0].how, Ending::Revised);
    }
}

#[test]
fn stop_stops_and_asks_nothing() {
    for text in ["Stop.", "Stop it."] {
        for thinking in [200.0, 4_000.0] {
            let mut world = asked(spoken(3_000.0, 3_500.0, text));
            world.thinking = thinking;
            world.run(20_000.0);
            assert_eq!(world.history.len(), 1, "{text}: {:?}", world.history);
            assert_eq!(world.history[0].how, Ending::Interrupted);
            assert_eq!(world.checked.machine.view(), SessionState::Listening);
        }
    }
}

#[test]
fn words_after_stop_are_a_turn() {
    let mut world = asked(spoken(3_000.0, 5_000.0, "Stop. What time is it now?"));
    world.run(20_000.0);
    assert_eq!(world.exchanges()[1].0, "Stop. What time is it now?");
}

#[test]
fn without_barge_in_nobody_interrupts() {
    for said in ["What about Paris?", "Stop."] {
        let settings = TurnSettings { barge_in: BargeIn::Off, ..settings() };
        let mut world = World::new(settings, &[QUESTION, spoken(3_000.0, 4_000.0, said)]);
        world.run(20_000.0);
        assert_eq!(world.exchanges(), [("How is the weather?", WHOLE, Ending::Done)], "{said}");
        assert_eq!(world.count(|command| matches!(command, TurnCommand::Duck { .. } | TurnCommand::Pause { .. })), 0);
    }
}

/// The answer is ducked while a stop word is looked for, but not for its own echo, and only a
/// limited number of times.
#[test]
fn where_only_a_stop_word_counts_an_answer_goes_on_under_all_else() {
    let talk = |n: u32| spoken(2_200.0 + 700.0 * f64::from(n), 2_500.0 + 700.0 * f64::from(n), "And then he said");
    for (others, likeness, softer) in
        [(vec![talk(0)], 0.0, 1), (vec![talk(0)], 0.6, 0), ((0..4).map(talk).collect(), 0.0, 3)]
    {
        let settings = TurnSettings { barge_in: BargeIn::Stop, ..settings() };
        let mut world = World::new(settings, &[vec![QUESTION], others].concat());
        world.likeness = likeness;
        world.run(20_000.0);
        assert_eq!(world.exchanges(), [("How is the weather?", WHOLE, Ending::Done)]);
        for wanted in [
            |command: &TurnCommand| matches!(command, TurnCommand::Duck { .. }),
            |command: &TurnCommand| matches!(command, TurnCommand::Unduck { .. }),
        ] {
            assert_eq!(world.count(wanted), softer);
        }
        assert_eq!(world.count(|command| matches!(command, TurnCommand::Pause { .. })), 0);
    }
}

/// Sound with high similarity, as from a canceller that has lost the echo; its transcript may be
/// anything.
#[test]
fn sound_that_is_like_the_answer_interrupts_only_to_stop_it() {
    for (said, likeness, interrupts) in [
        ("Swipe.", 0.5, false),
        ("What about Paris?", 0.5, false),
        ("What about Paris?", 0.2, true),
        ("Stop.", 0.9, true),
        ("Okay, stop.", 0.9, true),
    ] {
        let mut world = asked(spoken(3_000.0, 4_000.0, said));
        world.likeness = likeness;
        world.run(20_000.0);
        let interrupted = world.exchanges()[0].2 == Ending::Interrupted;
        assert_eq!(interrupted, interrupts, "{said} {likeness}");
        assert!(interrupts || world.exchanges() == [("How is the weather?", WHOLE, Ending::Done)], "{said}");
    }
}

/// Only the beginning was like the answer: somebody speaks over the echo.
#[test]
fn who_speaks_on_over_an_echo_is_heard() {
    let mut world = asked(spoken(3_000.0, 5_000.0, "Rather tell me about Paris, please."));
    world.likeness = 0.6;
    world.run(3_900.0);
    world.likeness = 0.2;
    world.run(20_000.0);
    let exchanges = world.exchanges();
    assert_eq!((exchanges[0].2, exchanges[1].0), (Ending::Interrupted, "Rather tell me about Paris, please."));
}

/// Applies without echo cancellation, too: the answer itself is heard beside the word.
#[test]
fn a_stop_word_stops_an_answer_that_nobody_may_interrupt() {
    let settings = TurnSettings { barge_in: BargeIn::Stop, ..settings() };
    for said in ["Stop.", "Okay, stop.", "And then he said, wait. Stop.", "tomorrow it stop will rain"] {
        let mut world = World::new(settings.clone(), &[QUESTION, spoken(3_000.0, 3_500.0, said)]);
        world.run(20_000.0);
        assert_eq!(world.history.len(), 1, "{said}: {:?}", world.history);
        assert_eq!(world.history[0].how, Ending::Interrupted, "{said}");
        assert_eq!(world.checked.machine.view(), SessionState::Listening);
    }
    let mut own = World::new(settings, &[QUESTION, spoken(3_000.0, 5_500.0, "tomorrow it will rain take an umbrella")]);
    own.run(20_000.0);
    assert_eq!(own.exchanges(), [("How is the weather?", WHOLE, Ending::Done)]);
}

#[test]
fn our_own_last_words_are_not_answered() {
    // The answer is over at 4920; the microphone picks up its last words as an echo.
    let mut world = asked(spoken(4_980.0, 5_900.0, "an umbrella with you."));
    world.run(20_000.0);
    assert_eq!(world.exchanges(), [("How is the weather?", WHOLE, Ending::Done)]);
    assert_eq!(world.checked.machine.view(), SessionState::Listening);
}

#[test]
fn a_transcriber_that_hangs_over_an_answer_lets_it_go_on() {
    let mut world = asked(spoken(3_000.0, 4_000.0, "What about Paris?"));
    world.run(2_900.0);
    world.recognition = 1e9;
    world.run(60_000.0);
    assert_eq!(world.exchanges(), [("How is the weather?", WHOLE, Ending::Done)]);
    assert_eq!(world.notices(), [Notice::StageHangs(TurnStage::Transcriber)]);
}

#[test]
fn partial_words_end_the_answer_while_they_are_spoken() {
    let mut world = asked(spoken(3_000.0, 6_000.0, ""));
    world.run(3_300.0);
    let turn = world.checked.said.iter().rev().find_map(|(_, command)| match command {
        TurnCommand::BeginRecognition { turn, .. } => Some(*turn),
        _ => None,
    });
    let turn = turn.unwrap();
    let partial = |text: &str, verdict| {
        let transcript =
            crate::turn::TurnTranscript { text: text.to_owned(), language: "en".to_owned(), verdict, ending: None };
        TurnInput::Partial { turn, transcript }
    };
    use crate::turn::TurnVerdict::{Certain, Doubtful};
    for (text, verdict, ends) in [("Okay", Certain, false), ("What a", Doubtful, false), ("Okay what", Certain, true)] {
        let commands = world.checked.on(3_350.0, partial(text, verdict));
        assert_eq!(commands.iter().any(|command| matches!(command, TurnCommand::End { .. })), ends, "{text}");
    }
}

#[test]
fn a_voice_that_is_lost_after_a_dismissed_cough_leaves_the_answer_at_full_level() {
    let mut world = asked(spoken(3_000.0, 3_300.0, ""));
    world.run(3_650.0);
    for (at, event) in [(3_660.0, VoiceEvent::Seen { since: Ms(3_640.0) }), (3_700.0, VoiceEvent::Lost)] {
        let commands = world.checked.on(at, TurnInput::Voice(event));
        assert!(matches!(commands[..], [TurnCommand::Duck { .. } | TurnCommand::Unduck { .. }]), "{commands:?}");
    }
}
