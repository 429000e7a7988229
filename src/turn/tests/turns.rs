//! Tests of when a turn begins and ends, and of keys, devices and failures.

use super::world::{Spoken, World, settings, spoken};
use crate::turn::words::{Completeness, completeness};
use crate::turn::{
    Control, DeviceKind, EarconKind, Ending, Notice, Reply, SessionState, TurnCommand, TurnInput, TurnSettings,
    TurnStage, TurnTranscript, TurnVerdict, VoiceEvent,
};
use crate::types::{Ms, TurnId};

const QUESTION: Spoken = spoken(500.0, 1_500.0, "How is the weather?");
const WHOLE: &str = "It is sunny today. Tomorrow it will rain. Take an umbrella with you.";

fn world(script: &[Spoken]) -> World {
    World::new(settings(), script)
}

fn confirmed(command: &TurnCommand) -> bool {
    matches!(command, TurnCommand::Confirm { .. })
}

#[test]
fn silence_is_weighed_with_what_is_said() {
    for (text, score, needed) in [
        ("How is the weather?", Some(0.99), 200.0),
        ("How is the weather?", Some(0.8), 400.0),
        ("How is the weather?", None, 400.0),
        ("How is the weather?", Some(0.3), 700.0),
        ("Turn on the light", Some(0.9), 400.0),
        ("Turn on the light", Some(0.3), 700.0),
        ("I would like to", Some(0.9), 1_250.0),
        ("I would like to", None, 1_250.0),
    ] {
        let mut world = world(&[spoken(500.0, 1_500.0, text)]);
        (world.score, world.recognition) = (score, 60.0);
        world.run(10_000.0);
        assert_eq!(world.when(0.0, confirmed), Some(1_500.0 + needed), "{text}, {score:?}");
    }
    assert_eq!(completeness("I would like to", "en"), Completeness::Incomplete);
}

#[test]
fn turn_ends_by_all_three_probabilities() {
    for (text, score, weighed, ending, needed) in [
        ("How is the weather?", Some(0.95), Some(0.5), Some(0.95), 200.0),
        ("How is the weather?", Some(0.95), Some(0.5), Some(0.4), 400.0),
        ("How is the weather?", Some(0.3), Some(0.5), Some(0.95), 400.0),
        ("How is the weather?", None, Some(0.25), None, 400.0),
        ("How is the weather?", Some(0.8), None, None, 400.0),
        ("How is the weather.", Some(0.95), Some(0.003), Some(0.95), 400.0),
        ("How is the weather.", None, Some(0.003), Some(0.95), 700.0),
        ("How is the weather.", Some(0.3), Some(0.003), Some(0.8), 1_250.0),
        ("Turn on the light", Some(0.95), Some(0.3), Some(0.95), 200.0),
        ("Turn on the", Some(0.95), Some(0.03), Some(0.8), 1_250.0),
    ] {
        let mut world =
            World::new(TurnSettings { use_sentence_end: true, ..settings() }, &[spoken(500.0, 1_500.0, text)]);
        (world.score, world.recognition, world.weighed, world.ending) = (score, 60.0, weighed, ending);
        world.run(10_000.0);
        let told = format!("{text}, {score:?}, {weighed:?}, {ending:?}");
        assert_eq!(world.when(0.0, confirmed), Some(1_500.0 + needed), "{told}");
    }
}

#[test]
fn the_language_model_is_waited_for_and_where_it_says_nothing_silence_decides() {
    let mut world = World::new(TurnSettings { use_sentence_end: true, ..settings() }, &[QUESTION]);
    (world.score, world.recognition, world.weighed) = (Some(1.0), 350.0, Some(1.0));
    world.run(10_000.0);
    // A pause is reported after 64 ms, and weighing the words takes 60.
    assert_eq!(world.when(0.0, confirmed), Some(1_500.0 + 70.0 + 350.0 + 60.0));
}

#[test]
fn slow_words_are_waited_for() {
    let mut world = world(&[QUESTION]);
    (world.recognition, world.score) = (2_000.0, Some(1.0));
    world.run(10_000.0);
    assert_eq!(world.when(0.0, |command| *command == TurnCommand::Show(SessionState::Thinking)), Some(2_200.0));
    assert_eq!(world.when(0.0, confirmed), Some(3_570.0));
}

#[test]
fn what_was_prepared_holds_while_the_words_do() {
    for (again, kept) in [("how is the weather", true), ("How is the leather?", false)] {
        let mut world = world(&[QUESTION]);
        world.run(1_800.0);
        let Some(TurnCommand::Prepare { turn, .. }) = world.checked.said.last().map(|(_, command)| command.clone())
        else {
            panic!("nothing was prepared");
        };
        let transcript = TurnTranscript {
            text: again.to_owned(),
            language: "en".to_owned(),
            verdict: TurnVerdict::Certain,
            ending: None,
        };
        let commands = world.checked.on(1_800.0, TurnInput::Recognised { turn, transcript });
        let expected = match &commands[..] {
            [] => true,
            [TurnCommand::Discard { turn: old }, TurnCommand::Prepare { turn: new, .. }] => {
                !(*old == turn && *new > turn)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(expected, kept, "{again}");
    }
}

#[test]
fn doubtful_words_are_asked_for_again_and_noise_is_not_answered() {
    for (verdict, reply) in [(TurnVerdict::Doubtful, Some(Reply::AskAgain)), (TurnVerdict::Nothing, None)] {
        let mut world = world(&[spoken(500.0, 1_500.0, "Hrmblgr")]);
        world.recognition = 1e6;
        world.run(1_600.0);
        let transcript = TurnTranscript { text: "Hrmblgr".to_owned(), language: String::new(), verdict, ending: None };
        let commands = world.checked.on(1_600.0, TurnInput::Recognised { turn: TurnId(1), transcript });
        let prepared = commands.into_iter().find_map(|command| match command {
            TurnCommand::Prepare { reply, .. } => Some(reply),
            _ => None,
        });
        assert_eq!(prepared, reply);
        assert_eq!(world.checked.pass(3_000.0).iter().any(confirmed), reply.is_some());
    }
}

#[test]
fn a_voice_that_may_come_back_keeps_the_turn_open() {
    let seen = |since| TurnInput::Voice(VoiceEvent::Seen { since: Ms(since) });
    let mut world = world(&[QUESTION]).at(1_880.0, seen(1_860.0)).at(2_100.0, TurnInput::Voice(VoiceEvent::Lost));
    world.run(10_000.0);
    assert_eq!(world.when(0.0, confirmed), Some(2_100.0));
}

#[test]
fn a_voice_that_comes_to_nothing_is_forgotten() {
    let seen = |since| TurnInput::Voice(VoiceEvent::Seen { since: Ms(since) });
    // In a pause, and over the answer.
    let mut world = world(&[QUESTION]).at(1_850.0, seen(1_840.0));
    world.run(2_500.0);
    assert_eq!(world.when(0.0, confirmed), Some(2_340.0));
    let mut ducked = self::world(&[QUESTION]).at(2_500.0, seen(2_490.0));
    ducked.run(3_500.0);
    assert_eq!(ducked.when(0.0, |command| matches!(command, TurnCommand::Unduck { .. })), Some(2_990.0));
}

#[test]
fn a_late_wake_up_does_not_change_what_was_due_before() {
    let mut world = world(&[QUESTION]);
    world.run(1_800.0);
    let commands = world.checked.machine.on(Ms(2_500.0), TurnInput::Voice(VoiceEvent::Resumed { since: Ms(2_450.0) }));
    assert!(matches!(commands[..], [TurnCommand::Confirm { .. }, TurnCommand::Pause { .. }, ..]), "{commands:?}");
}

#[test]
fn an_utterance_without_end_is_taken_as_it_is() {
    let mut world = world(&[spoken(500.0, 50_000.0, "On and on it goes.")]);
    world.run(31_000.0);
    assert_eq!(world.when(0.0, |command| matches!(command, TurnCommand::Recognise { .. })), Some(30_500.0));
}

fn with_wake_word(script: &[Spoken]) -> World {
    World::new(TurnSettings { wake_word: true, ..settings() }, script)
}

#[test]
fn without_its_name_it_does_not_listen() {
    let mut ignored = with_wake_word(&[QUESTION]);
    ignored.run(10_000.0);
    assert!(ignored.checked.said.is_empty() && ignored.checked.machine.view() == SessionState::Waiting);

    // Said without a pause: the words after the wake word are the question.
    let mut breath = with_wake_word(&[spoken(500.0, 2_500.0, "Sotto how is the weather?")])
        .at(1_000.0, TurnInput::WakeWord { until: Ms(910.0) });
    breath.run(10_000.0);
    assert_eq!(breath.exchanges()[0].0, "how is the weather?");

    // Wake word said alone.
    let mut alone = with_wake_word(&[spoken(500.0, 900.0, ""), spoken(4_000.0, 5_000.0, "How is the weather?")])
        .at(950.0, TurnInput::WakeWord { until: Ms(900.0) });
    alone.run(12_000.0);
    assert_eq!(alone.exchanges()[0].0, "How is the weather?");
    assert_eq!(alone.count(|command| *command == TurnCommand::Earcon(EarconKind::Listening)), 1);
}

#[test]
fn after_an_answer_no_name_is_needed_for_a_while() {
    for (wait, heard) in [(2_000.0, true), (9_000.0, false)] {
        let mut world = with_wake_word(&[QUESTION, spoken(4_920.0 + wait, 5_920.0 + wait, "And in Paris?")])
            .at(200.0, TurnInput::WakeWord { until: Ms(200.0) });
        world.run(40_000.0);
        assert_eq!(world.exchanges().len(), if heard { 2 } else { 1 }, "after {wait} ms");
        assert_eq!(world.checked.machine.view(), SessionState::Waiting);
    }
}

#[test]
fn its_name_interrupts_the_answer() {
    let mut world = with_wake_word(&[QUESTION, spoken(3_000.0, 5_000.0, "Sotto what about Paris?")])
        .at(200.0, TurnInput::WakeWord { until: Ms(200.0) })
        .at(3_550.0, TurnInput::WakeWord { until: Ms(3_500.0) });
    world.run(20_000.0);
    assert_eq!(world.when(3_000.0, |command| matches!(command, TurnCommand::End { .. })), Some(3_550.0));
    assert_eq!(world.exchanges()[1].0, "what about Paris?");
}

#[test]
fn the_talk_key_holds_the_floor_through_pauses() {
    let mut world = world(&[spoken(800.0, 1_500.0, "How is"), spoken(4_000.0, 5_000.0, "the weather?")])
        .at(500.0, TurnInput::Control(Control::TalkKeyDown))
        .at(5_100.0, TurnInput::Control(Control::TalkKeyUp));
    world.run(10_000.0);
    assert_eq!(world.exchanges(), [("How is the weather?", WHOLE, Ending::Done)]);
    assert_eq!(world.when(0.0, confirmed), Some(5_220.0), "as soon as the words are there");
}

#[test]
fn a_talk_key_that_hears_nothing_answers_nothing() {
    let mut world = world(&[])
        .at(500.0, TurnInput::Control(Control::TalkKeyDown))
        .at(900.0, TurnInput::Control(Control::TalkKeyUp));
    world.run(5_000.0);
    assert_eq!(world.views(), [SessionState::Hearing, SessionState::Thinking, SessionState::Listening]);
    assert!(world.history.is_empty());
}

#[test]
fn keys_end_the_answer_at_once() {
    for (control, view) in [
        (Control::Stop, SessionState::Listening),
        (Control::ListenNow, SessionState::Listening),
        (Control::TalkKeyDown, SessionState::Hearing),
        (Control::Mute, SessionState::Muted),
    ] {
        // While the answer is computed, played, and spoken over.
        for (at, over) in [(1_910.0, 9e5), (3_000.0, 9e5), (3_400.0, 3_000.0)] {
            let mut world = world(&[QUESTION, spoken(over, over + 2_000.0, "")]).at(at, TurnInput::Control(control));
            world.run(at);
            let shown = world.checked.machine.view();
            let talked_over = control == Control::ListenNow && over < at;
            assert_eq!(shown, if talked_over { SessionState::Hearing } else { view }, "{control:?} at {at}");
            assert_eq!(world.history[0].how, Ending::Interrupted);
        }
    }
}

#[test]
fn a_key_cannot_listen_through_a_muted_microphone() {
    let mut world = world(&[QUESTION])
        .at(100.0, TurnInput::Control(Control::Mute))
        .at(9_000.0, TurnInput::Control(Control::ListenNow));
    world.run(9_000.0);
    assert_eq!((world.notices(), world.history.len()), (vec![Notice::IsMuted], 0));
    world.checked.on(9_010.0, TurnInput::Control(Control::Unmute));
    assert_eq!(world.checked.machine.view(), SessionState::Listening);
}

#[test]
fn a_device_that_returns_is_listened_to_again() {
    let question = spoken(9_000.0, 10_000.0, "How is the weather?");
    let mut world = world(&[QUESTION, question])
        .at(3_000.0, TurnInput::DeviceLost(DeviceKind::Speaker))
        .at(3_010.0, TurnInput::DeviceLost(DeviceKind::Microphone))
        .at(5_000.0, TurnInput::DeviceBack(DeviceKind::Microphone))
        .at(6_000.0, TurnInput::DeviceBack(DeviceKind::Speaker));
    world.run(5_500.0);
    assert_eq!(world.checked.machine.view(), SessionState::NoDevice);
    world.run(20_000.0);
    let ends: Vec<_> = world.exchanges().iter().map(|exchange| exchange.2).collect();
    assert_eq!(ends, [Ending::Interrupted, Ending::Done]);
}

#[test]
fn answer_waits_for_a_lost_loudspeaker_and_goes_on_at_the_word() {
    let mut world = world(&[QUESTION])
        .at(3_000.0, TurnInput::DeviceLost(DeviceKind::Speaker))
        .at(8_000.0, TurnInput::DeviceBack(DeviceKind::Speaker));
    world.run(7_000.0);
    assert_eq!((world.checked.machine.view(), world.history.len()), (SessionState::NoDevice, 0));
    let resumed = |command: &TurnCommand| matches!(command, TurnCommand::Resume { .. });
    assert_eq!(world.when(0.0, resumed), None);
    world.run(20_000.0);
    assert_eq!(world.when(0.0, resumed), Some(8_000.0));
    let heard = "It is sunny today. Tomorrow it will rain. Take an umbrella with you.";
    assert_eq!(world.exchanges(), [("How is the weather?", heard, Ending::Done)]);
}

#[test]
fn question_without_a_loudspeaker_is_answered_when_it_returns() {
    let next = spoken(4_000.0, 5_000.0, "And what is the time?");
    // If nothing of the first answer was heard, both are one question.
    for (lost, asked) in [(500.0, "How is the weather? And what is the time?"), (3_000.0, "And what is the time?")] {
        let mut world = world(&[QUESTION, next])
            .at(lost, TurnInput::DeviceLost(DeviceKind::Speaker))
            .at(9_000.0, TurnInput::DeviceBack(DeviceKind::Speaker));
        world.run(20_000.0);
        let last = world.exchanges().last().map(|exchange| (exchange.0, exchange.2));
        assert_eq!(last, Some((asked, Ending::Done)), "lost at {lost}");
    }
}

#[test]
fn answer_ends_when_the_loudspeaker_stays_away() {
    let mut world = world(&[QUESTION]).at(3_000.0, TurnInput::DeviceLost(DeviceKind::Speaker));
    world.run(60_000.0);
    assert_eq!(world.notices(), [Notice::StageHangs(TurnStage::Playback)]);
    assert_eq!(world.exchanges().iter().map(|exchange| exchange.2).collect::<Vec<_>>(), [Ending::Failed]);
    assert_eq!(world.checked.machine.view(), SessionState::NoDevice);
}

#[test]
fn a_failure_is_told_once_and_ends_in_listening() {
    use TurnStage::{Detector, LanguageModel, Playback, Transcriber, Voice};
    for (at, stage) in [
        (1_600.0, Transcriber),
        (1_600.0, Detector),
        (1_800.0, LanguageModel),
        (3_000.0, LanguageModel),
        (3_000.0, Voice),
        (3_000.0, Playback),
    ] {
        for turn in [None, Some(TurnId(1))] {
            let mut world = world(&[QUESTION]).at(at, TurnInput::StageFailed { stage, turn });
            world.run(20_000.0);
            assert_eq!(world.notices(), [Notice::StageFailed(stage)], "{stage:?} at {at}, {turn:?}");
            assert_eq!(world.checked.machine.view(), SessionState::Listening);
            let ends: Vec<_> = world.history.iter().map(|exchange| exchange.how).collect();
            assert_eq!(ends, if at < 1_900.0 { vec![] } else { vec![Ending::Failed] });
        }
    }
}

#[test]
fn an_answer_that_never_comes_is_given_up() {
    let mut world = world(&[QUESTION]);
    world.thinking = 1e9;
    world.run(100_000.0);
    assert_eq!(world.notices(), [Notice::StageHangs(TurnStage::LanguageModel)]);
    assert_eq!(world.when(0.0, |command| *command == TurnCommand::Earcon(EarconKind::Thinking)), Some(2_900.0));
    assert_eq!(world.exchanges(), [("How is the weather?", "", Ending::Failed)]);
}
