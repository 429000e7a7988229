use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::observe::{Replay, ReplayEvent, ReplayEventKind};
use crate::turn::tests::recorded::{Told, any_conversation, interrupted_conversation};
use crate::turn::{Ending, Notice, SessionState, TurnStage, TurnVerdict};
use crate::types::TurnId;

fn golden() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/conversation.jsonl")
}

/// Bytes of a recording of the conversation.
fn recorded((settings, told): &(TurnSettings, Vec<Told>)) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("talk.jsonl");
    let mut recorder = Recorder::create(&path, settings).unwrap();
    for (at, input, commands) in told {
        recorder.note(*at, input, commands).unwrap();
    }
    drop(recorder);
    std::fs::read(path).unwrap()
}

fn read(bytes: &[u8]) -> Result<RecordedConversation, RecordingError> {
    RecordedConversation::of("talk.jsonl".to_owned(), Box::new(Cursor::new(bytes.to_vec())))
}

fn replayed(bytes: &[u8]) -> Result<Vec<ReplayEvent>, RecordingError> {
    let events: Result<Vec<_>, _> = Replay::new(read(bytes)?).collect();
    Ok(events?.concat())
}

/// Error of a replay, as text.
fn refused(bytes: &[u8]) -> String {
    replayed(bytes).unwrap_err().to_string()
}

/// The recording with `old` replaced by `new`, once.
fn changed(bytes: &[u8], old: &str, new: &str) -> Vec<u8> {
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.contains(old), "there is no {old}");
    text.replacen(old, new, 1).into_bytes()
}

#[test]
fn a_recorded_conversation_is_replayed_with_its_events() {
    let conversation = interrupted_conversation();
    let bytes = recorded(&conversation);
    let events = replayed(&bytes).unwrap();
    let told: Vec<_> = events.iter().filter(|event| !matches!(event.what, ReplayEventKind::State(_))).collect();
    let decided = |question: &str| ReplayEventKind::Decided { question: Some(question.to_owned()) };
    let ended = |how, heard: &str| ReplayEventKind::Ended { how, heard: heard.to_owned(), bytes: heard.len() };
    let whole = "It is sunny today. Tomorrow it will rain. Take an umbrella with you.";
    let whats: Vec<_> = told.iter().map(|event| event.what.clone()).collect();
    assert_eq!(
        whats,
        [
            decided("How is the weather?"),
            ended(Ending::Interrupted, "It is sunny today. Tomorrow it"),
            decided("What about Paris?"),
            ended(Ending::Done, whole),
            ReplayEventKind::Notice(Notice::StageFailed(TurnStage::Transcriber)),
        ]
    );
    let turns: Vec<_> = told.iter().map(|event| event.turn).collect();
    assert!(turns[0] == turns[1] && turns[2] == turns[3] && turns[0] < turns[2], "{turns:?}");
    let state = |wanted| events.iter().find(|event| event.what == ReplayEventKind::State(wanted)).unwrap();
    assert_eq!(state(SessionState::Interrupted).turn, turns[0], "the answer is interrupted, not who speaks");
    assert_eq!(state(SessionState::Muted).turn, None);
    assert!(events.is_sorted_by_key(|event| event.at));
}

#[test]
fn the_first_difference_is_named() {
    let bytes = recorded(&interrupted_conversation());
    // The second question was recognised, and now is not.
    let text = String::from_utf8(bytes.clone()).unwrap();
    let heard = text.lines().position(|line| line.contains("recognised") && line.contains("Paris")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let at: f64 = serde_json::from_str::<serde_json::Value>(lines[heard]).unwrap()["at"].as_f64().unwrap();
    let flipped = lines[heard].replace("\"certain\"", "\"nothing\"");
    assert_ne!(flipped, lines[heard]);
    let error = refused(&changed(&bytes, lines[heard], &flipped));
    assert!(error.contains(&format!("input {heard}, at {at:.1} ms")), "{error}");
    assert!(error.contains("expected {\"prepare\":{\"turn\":") && error.contains("got no command"), "{error}");
    // A command that no longer comes, and one that is new.
    let mute = lines.iter().position(|line| line.contains("\"mute\"")).unwrap();
    let [had, has_not] = ["[{\"show\":\"muted\"}]", "[]"];
    assert!(lines[mute].contains(had), "{}", lines[mute]);
    let error = refused(&changed(&bytes, lines[mute], &lines[mute].replace(had, has_not)));
    assert!(error.contains("expected no command, got {\"show\":\"muted\"}"), "{error}");
    let error = refused(&changed(&bytes, lines[mute], &lines[mute].replace("\"mute\"", "\"unmute\"")));
    assert!(error.contains("expected {\"show\":\"muted\"}, got no command"), "{error}");
}

#[test]
fn the_settings_are_part_of_a_recording() {
    let bytes = recorded(&interrupted_conversation());
    assert_eq!(*read(&bytes).unwrap().settings(), interrupted_conversation().0);
    let error = refused(&changed(&bytes, "\"likely_silence\":200.0", "\"likely_silence\":1200.0"));
    assert!(error.contains("expected") && error.contains("turn machine has changed"), "{error}");
}

#[test]
fn a_new_file_is_written_for_its_owner_alone_and_none_is_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("talk.jsonl");
    Recorder::create(&path, &TurnSettings::default()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let header = std::fs::read(&path).unwrap();
    let error = Recorder::create(&path, &TurnSettings::default()).unwrap_err();
    assert!(error.is_misuse() && error.to_string().contains("talk.jsonl is there already"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), header);
    let error = Recorder::create(&folder.path().join("no/talk.jsonl"), &TurnSettings::default()).unwrap_err();
    assert!(!error.is_misuse() && error.to_string().contains("could not be written"), "{error}");
}

#[test]
fn a_killed_program_leaves_all_up_to_the_last_shown_state() {
    let (settings, told) = interrupted_conversation();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("talk.jsonl");
    let mut recorder = Recorder::create(&path, &settings).unwrap();
    let shows = |(_, _, commands): &Told| commands.iter().any(|command| matches!(command, TurnCommand::Show(_)));
    let shown = told.iter().rposition(shows).unwrap() + 1;
    for (at, input, commands) in &told[..shown] {
        recorder.note(*at, input, commands).unwrap();
    }
    // Read before the recorder is dropped.
    let mut recording = RecordedConversation::read(&path).unwrap();
    assert_eq!(recording.by_ref().map(Result::unwrap).count(), shown);
    assert!(!recording.is_truncated());
    drop(recorder);
}

#[test]
fn a_last_line_that_breaks_off_is_left_out() {
    let bytes = recorded(&interrupted_conversation());
    let last = bytes[..bytes.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
    let whole = read(&bytes).unwrap().count();
    for end in last + 1..bytes.len() - 1 {
        let mut recording = read(&bytes[..end]).unwrap();
        assert_eq!(recording.by_ref().map(Result::unwrap).count(), whole - 1);
        assert!(recording.is_truncated());
    }
    let mut recording = read(&bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(recording.by_ref().map(Result::unwrap).count(), whole, "only the line feed is missing");
    assert!(!recording.is_truncated());
}

#[test]
fn what_is_no_recording_is_refused_by_name() {
    let bytes = recorded(&interrupted_conversation());
    let own_header = "\"format\":\"sotto-conversation\",\"version\":1";
    let no_recording = |bytes: &[u8]| {
        let error = read(bytes).err().unwrap();
        assert!(error.is_misuse() && error.to_string().contains("talk.jsonl is no recording"), "{error}");
    };
    no_recording(b"");
    no_recording(b"\n");
    no_recording(b"RIFF\x00\xff\x13");
    no_recording(b"{\"question\":\"Why?\"}\n");
    no_recording(&vec![b'x'; MAX_LINE.0 as usize + 1]);
    no_recording(&changed(&bytes, "sotto-conversation", "sotto\\u001b[2J"));
    no_recording(&bytes[..60]);
    let newer = changed(&bytes, own_header, "\"format\":\"sotto-conversation\",\"version\":2");
    let error = read(&newer).err().unwrap();
    assert!(matches!(error, RecordingError::OtherVersion { version: 2, .. }), "{error}");
    for (old, new, why) in [
        ("\"false_alarms\":3", "\"false_alarms\":-3", "talk.jsonl:1: column"),
        ("\"false_alarms\":3,", "", "missing field `false_alarms`"),
        ("\"false_alarms\":3", "\"alarms\":3", "unknown field `alarms`"),
        ("\"word_check\":600.0", "\"word_check\":-1.0", "the setting word_check must be finite"),
        ("\"word_check\":600.0", "\"word_check\":\"nan\"", "the setting word_check must be finite"),
        ("\"word_check\":600.0", "\"word_check\":1e999", "number out of range"),
        ("\"own_sound\":0.4", "\"own_sound\":1e39", "number out of range"),
        ("\n{\"at\":", "\n{\"at\":x", "talk.jsonl:2: column 7: expected value;"),
        ("\n{\"at\":", "\n\n{\"at\":", "talk.jsonl:2: column"),
        ("\n{\"at\":", "\n{\"time\":0,\"at\":", "unknown field `time`"),
        ("\"voice\":{\"seen\"", "\"voice\":{\"sees\"", "unknown variant `sees`"),
    ] {
        let error = replayed(&changed(&bytes, old, new)).unwrap_err();
        assert!(error.is_misuse() && error.to_string().contains(why), "{new}: {error}");
    }
}

#[test]
fn long_lines_and_many_are_refused_and_never_written() {
    let (settings, told) = interrupted_conversation();
    let bytes = recorded(&(settings.clone(), told));
    let long = format!("\n{{\"at\":{}", " ".repeat(MAX_LINE.0 as usize));
    let error = refused(&changed(&bytes, "\n{\"at\":", &long));
    assert!(error.contains("talk.jsonl:2: the line is longer than the 1.0 MiB"), "{error}");
    let mut recording = read(&bytes).unwrap();
    recording.left = 2;
    let last = recording.nth(2).unwrap().unwrap_err();
    assert!(matches!(last, RecordingError::ManyLines { .. }) && recording.next().is_none(), "{last}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("talk.jsonl");
    let mut recorder = Recorder::create(&path, &settings).unwrap();
    recorder.left = 1;
    let mut note = |input: &TurnInput| recorder.note(Ms(0.0), input, &[]);
    assert!(note(&TurnInput::Tick).is_ok());
    assert!(matches!(note(&TurnInput::Tick), Err(RecordingError::Full { .. })));
    assert!(note(&TurnInput::Tick).is_ok(), "the error comes once");
    assert_eq!(RecordedConversation::read(&path).unwrap().count(), 1);

    let path = folder.path().join("long.jsonl");
    let mut recorder = Recorder::create(&path, &settings).unwrap();
    let (text, verdict) = ("x".repeat(MAX_LINE.0 as usize), TurnVerdict::Certain);
    let transcript = crate::turn::TurnTranscript { text, language: String::new(), verdict, ending: None };
    let error = recorder.note(Ms(0.0), &TurnInput::Recognised { turn: TurnId(1), transcript }, &[]).unwrap_err();
    assert!(error.to_string().contains("an input takes more than 1.0 MiB"), "{error}");
    assert!(recorder.note(Ms(0.0), &TurnInput::Tick, &[]).is_ok(), "the error comes once");
    assert_eq!(RecordedConversation::read(&path).unwrap().count(), 0);
}

/// Names in a recording are those that other output for programs has.
#[test]
fn names_are_those_for_programs() {
    use SessionState::*;
    fn json(value: &impl Serialize) -> String {
        match serde_json::to_value(value).unwrap() {
            serde_json::Value::Object(map) => map.into_iter().next().unwrap().0,
            other => other.as_str().unwrap().to_owned(),
        }
    }
    for state in [Waiting, Listening, Hearing, Thinking, Speaking, Interrupted, Muted, NoDevice, Closed] {
        assert_eq!(json(&state), state.name());
    }
    for how in [Ending::Done, Ending::Interrupted, Ending::Failed, Ending::Revised] {
        assert_eq!(json(&how), how.name());
    }
    for stage in
        [TurnStage::Detector, TurnStage::Transcriber, TurnStage::LanguageModel, TurnStage::Voice, TurnStage::Playback]
    {
        assert_eq!(json(&stage), stage.name());
        for notice in [Notice::StageFailed(stage), Notice::StageHangs(stage)] {
            assert_eq!(json(&notice), notice.name());
        }
    }
    for notice in [Notice::AnswerTooLong, Notice::IsMuted, Notice::IsWithoutDevice] {
        assert_eq!(json(&notice), notice.name());
    }
}

/// The recording that `tests/replay.rs` replays. With UPDATE_GOLDEN set it is written anew.
#[test]
fn the_kept_recording_is_what_the_machine_does_today() {
    let bytes = recorded(&interrupted_conversation());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden(), &bytes).unwrap();
    }
    let kept = std::fs::read(golden()).unwrap();
    let inputs = |bytes: &[u8]| read(bytes).unwrap().map(Result::unwrap).collect::<Vec<_>>();
    assert!(inputs(&kept) == inputs(&bytes), "see tests/golden/README.md");
    assert!(kept.len() < 100_000, "{} bytes", kept.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn any_conversation_is_replayed_as_it_was(conversation in any_conversation()) {
        let bytes = recorded(&conversation);
        let replay: Result<Vec<_>, _> = Replay::new(read(&bytes).unwrap()).collect();
        prop_assert_eq!(replay.map_err(|error| error.to_string()).map(|events| events.len()), Ok(conversation.1.len()));
    }

    #[test]
    fn a_damaged_file_is_refused_or_replayed_and_nothing_panics(
        conversation in any_conversation(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![
            Just(b"\n".to_vec()),
            Just(b"9".to_vec()),
            Just(b"-".to_vec()),
            Just(b"\"nan\"".to_vec()),
            Just(b"\xff".to_vec()),
            Just(b"[[[[".to_vec()),
            prop::collection::vec(any::<u8>(), 0..4),
        ], any::<bool>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = recorded(&conversation);
        let mut was_changed = false;
        for (at, put, insert) in damage {
            let at = at.index(bytes.len());
            let until = if insert { at } else { (at + put.len()).min(bytes.len()) };
            was_changed |= bytes[at..until] != put;
            bytes.splice(at..until, put);
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        match replayed(&bytes) {
            Ok(events) => prop_assert!(events.iter().all(|event| event.at.0.is_finite())),
            Err(error) => prop_assert!((was_changed || cut.is_some()) && error.to_string().contains("talk.jsonl"), "{}", error),
        }
    }
}
