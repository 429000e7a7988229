//! Tests for the defects of the system that Sotto grew out of, as far as they concern turns. Each
//! test has the number of its defect.
//!
//! The other two concern the language model: `defect_6_…` is in `llm::tools::tests`, `defect_8_…`
//! in `llm::conversation::tests`.

use super::world::{World, settings, spoken};
use crate::turn::{Control, Ending, SessionState, TurnCommand, TurnInput, TurnSettings};

const QUESTION: super::world::Spoken = spoken(500.0, 1_500.0, "How is the weather?");
const WHOLE: &str = "It is sunny today. Tomorrow it will rain. Take an umbrella with you.";

fn world(script: &[super::world::Spoken]) -> World {
    World::new(settings(), script)
}

/// Defect 1: the first sound waits for the last token.
#[test]
fn defect_1_the_first_piece_is_heard_before_the_answer_is_complete() {
    let mut world = world(&[QUESTION]);
    world.thinking = 1_000.0;
    world.run(20_000.0);
    assert_eq!(world.exchanges(), [("How is the weather?", WHOLE, Ending::Done)]);
    let views = [SessionState::Hearing, SessionState::Thinking, SessionState::Speaking, SessionState::Listening];
    assert_eq!(world.views(), views);
}

/// Defect 2: a burst of noise drops most of the answer without reporting its end, and the next
/// command is lost.
#[test]
fn defect_2_noise_over_the_answer_loses_neither_it_nor_the_next_command() {
    for (noise, length) in [(100.0, "a click"), (400.0, "a cough"), (1_500.0, "a lorry"), (4_000.0, "a vacuum cleaner")]
    {
        let burst = spoken(3_000.0, 3_000.0 + noise, "");
        let mut plain = world(&[QUESTION, burst]);
        plain.run(20_000.0);
        assert_eq!(plain.exchanges(), [("How is the weather?", WHOLE, Ending::Done)], "{length}");

        let from = burst.to + 500.0;
        let mut commanded = world(&[QUESTION, burst, spoken(from, from + 800.0, "Turn off the lights.")]);
        commanded.reply = vec!["It is sunny today."; 9];
        commanded.run(40_000.0);
        let exchanges = commanded.exchanges();
        assert_eq!(exchanges.len(), 2, "{length}: {exchanges:?}");
        assert_eq!(exchanges[0].2, Ending::Interrupted, "{length}");
        assert_eq!((exchanges[1].0, exchanges[1].2), ("Turn off the lights.", Ending::Done), "{length}");
    }
}

/// Defect 3: after an interruption the history holds all of the answer, heard or not.
#[test]
fn defect_3_the_history_holds_what_was_heard() {
    for (from, heard) in [
        // The answer is heard from 1920 on and paused 200 ms after the voice begins.
        (2_200.0, "It is"),
        (3_000.0, "It is sunny today."),
        (3_600.0, "It is sunny today. Tomorrow it will"),
        (4_500.0, "It is sunny today. Tomorrow it will rain. Take an umbrella"),
    ] {
        let mut world = world(&[QUESTION, spoken(from, from + 800.0, "No, in Paris please.")]);
        world.run(20_000.0);
        let exchanges = world.exchanges();
        assert_eq!(exchanges[0], ("How is the weather?", heard, Ending::Interrupted), "from {from}");
        assert_eq!(exchanges[1], ("No, in Paris please.", WHOLE, Ending::Done), "from {from}");
    }
}

/// Defect 4: a short pause in the middle of a sentence makes two turns and two answers.
#[test]
fn defect_4_a_pause_in_a_sentence_makes_no_two_turns() {
    for (pause, first, score) in [
        (100.0, "Turn on.", Some(1.0)),
        (150.0, "Turn on.", Some(1.0)),
        (150.0, "Turn on the", None),
        (300.0, "Turn on the", Some(0.9)),
        (300.0, "Turn on", Some(0.9)),
        (600.0, "Turn on", Some(0.2)),
        (600.0, "Turn on.", Some(0.2)),
        (1_000.0, "Turn on the", Some(0.2)),
    ] {
        let from = 1_500.0 + pause;
        let mut world = world(&[spoken(500.0, 1_500.0, first), spoken(from, from + 700.0, "kitchen light.")]);
        (world.score, world.recognition) = (score, 60.0);
        world.run(20_000.0);
        let question = format!("{first} kitchen light.");
        assert_eq!(world.exchanges(), [(question.as_str(), WHOLE, Ending::Done)], "{pause} ms after {first:?}");
        assert_eq!(world.count(|command| matches!(command, TurnCommand::Confirm { .. })), 1);
    }
}

/// Defect 5: no answer is ever computed ahead with the default settings.
#[test]
fn defect_5_work_runs_ahead_at_the_default_settings() {
    for (score, decided) in [(Some(0.99), 510.0), (None, 800.0), (Some(0.3), 850.0)] {
        let mut world = World::new(TurnSettings::default(), &[QUESTION]);
        (world.score, world.recognition) = (score, 60.0);
        world.run(20_000.0);
        let after = |wanted: fn(&TurnCommand) -> bool| world.when(0.0, wanted).unwrap() - QUESTION.to;
        assert_eq!(after(|command| matches!(command, TurnCommand::Recognise { .. })), 70.0);
        assert_eq!(after(|command| matches!(command, TurnCommand::Prepare { .. })), 130.0);
        assert_eq!(after(|command| matches!(command, TurnCommand::Confirm { .. })), decided, "{score:?}");
    }
}

/// Defect 7: cancelling only sets a flag; decoding goes on and disturbs the next turn.
#[test]
fn defect_7_what_is_cancelled_ends_at_once_and_disturbs_nothing() {
    let mut world = world(&[QUESTION, spoken(5_000.0, 6_000.0, "How is the weather?")])
        .at(3_000.0, TurnInput::Control(Control::Stop));
    world.run(3_000.0);
    assert_eq!(world.exchanges().len(), 1);
    let TurnCommand::End { turn: stopped, .. } =
        *world.checked.said.iter().map(|(_, command)| command).find(|c| matches!(c, TurnCommand::End { .. })).unwrap()
    else {
        unreachable!("it was looked for")
    };
    // Late events of the old answer, both at rest and during the next answer.
    for (at, late) in [(3_100.0, 0.0), (7_500.0, 100.0)] {
        world.run(at);
        let before = world.checked.said.len();
        let event = crate::turn::AnswerEvent::Complete;
        world.checked.on(at + late, TurnInput::Answer { turn: stopped, event });
        let event = crate::turn::PlaybackEvent::Drained;
        world.checked.on(at + late, TurnInput::Playback { turn: stopped, event });
        let stage = crate::turn::TurnStage::LanguageModel;
        world.checked.on(at + late, TurnInput::StageFailed { stage, turn: Some(stopped) });
        assert_eq!(world.checked.said.len(), before);
    }
    world.run(20_000.0);
    assert_eq!(world.exchanges()[1], ("How is the weather?", WHOLE, Ending::Done));
}
