//! End to end: `sotto replay` on the kept recording, on copies of it that were changed, and on
//! files that are none.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn kept() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/conversation.jsonl")).unwrap()
}

/// Replays `recording` from stdin.
fn replay(recording: &[u8], flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sotto"));
    command.args(["replay", "-"]).args(flags).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut sotto = command.spawn().unwrap();
    // A recording that is refused is not read to its end.
    let _refused = sotto.stdin.take().unwrap().write_all(recording);
    sotto.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_conversation_is_told_line_by_line_and_faster_than_it_was() {
    let output = replay(kept().as_bytes(), &[]);
    let (told, summary) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{summary}");
    let wanted = [
        "    0:00.700     1  hearing",
        "    0:01.900     1  turn decided: \"How is the weather?\"",
        "    0:02.800     1  interrupted",
        "    0:05.050     1  answer interrupted, heard 30 bytes: \"It is sunny today. Tomorrow it\"",
        "    0:05.500     4  turn decided: \"What about Paris?\"",
        "    0:10.000        muted",
        "    0:11.900        notice: stage failed (transcriber)",
    ];
    let mut lines = told.lines();
    for line in wanted {
        assert!(lines.any(|found| found == line), "{line} is missing in\n{told}");
    }
    let inputs = kept().lines().count() - 1;
    assert!(summary.starts_with(&format!("sotto: {inputs} inputs of ")), "{summary}");
    let words: Vec<_> = summary.split_whitespace().collect();
    let times = words.iter().position(|word| *word == "times").expect(summary);
    assert!(words[times - 1].parse::<f64>().unwrap() > 10.0, "{summary}");
    assert!(replay(kept().as_bytes(), &["--quiet"]).stderr.is_empty());
}

#[test]
fn programs_get_an_object_a_line() {
    let output = replay(kept().as_bytes(), &["--json"]);
    let events: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let of_kind = |kind: &str| events.iter().filter(|event| event["kind"] == kind).collect::<Vec<_>>();
    assert_eq!(of_kind("decided")[1]["question"], "What about Paris?");
    let ended = of_kind("ended")[0];
    assert_eq!((&ended["at"], &ended["turn"]), (&Value::from(5_050.0), &Value::from(1)));
    assert_eq!((&ended["how"], &ended["heard_bytes"]), (&Value::from("interrupted"), &Value::from(30)));
    assert_eq!(of_kind("notice")[0]["stage"], "transcriber");
    assert!(of_kind("state").len() > 8 && events.iter().all(|event| event["at"].is_f64()), "{events:?}");
}

#[test]
fn another_command_than_the_recorded_one_ends_with_code_1() {
    let changed = kept().replacen("\"How is the weather?\"", "\"How is the water?\"", 1);
    let output = replay(changed.as_bytes(), &[]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("standard input: the machine takes input 6, at 1720.0 ms, otherwise"), "{error}");
    assert!(error.contains("expected {\"prepare\":") && error.contains("got {\"prepare\":"), "{error}");
    assert!(text(&output.stdout).ends_with("hearing\n"), "what came before it is told");
}

#[test]
fn what_is_no_recording_ends_with_code_2() {
    let newer = kept().replacen("\"version\":1", "\"version\":7", 1);
    let damaged = kept().replacen("\"tick\"", "\"tock\"", 1);
    for (recording, why) in [
        ("", "standard input is no recording of a conversation: it is empty"),
        ("RIFF....WAVEfmt ", "is no recording of a conversation: its first line is no header"),
        (newer.as_str(), "is a recording of version 7, made by sotto 0.1.0; sotto"),
        (damaged.as_str(), "unknown variant `tock`"),
    ] {
        let output = replay(recording.as_bytes(), &[]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_file_that_a_killed_program_left_is_replayed_up_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("talk.jsonl");
    fs::write(&file, &kept()[..kept().len() - 20]).unwrap();
    let replay = |file: &Path| Command::new(env!("CARGO_BIN_EXE_sotto")).arg("replay").arg(file).output().unwrap();
    let output = replay(&file);
    let notes = text(&output.stderr);
    assert!(output.status.success(), "{notes}");
    assert!(notes.contains("talk.jsonl ends inside a line"), "{notes}");
    assert!(notes.contains(&format!("sotto: {} inputs of ", kept().lines().count() - 2)), "{notes}");
    let output = replay(&folder.path().join("none.jsonl"));
    assert_eq!(output.status.code(), Some(1), "a file that cannot be read is no wrong file");
    assert!(text(&output.stderr).contains("none.jsonl could not be read"), "{}", text(&output.stderr));
}

/// No model is loaded for that, and none need be there.
#[test]
fn a_file_that_is_there_is_not_recorded_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("talk.jsonl");
    fs::write(&file, "mine").unwrap();
    for (name, why) in [(file.to_str().unwrap(), "talk.jsonl is there already"), ("-", "name a file to record to")] {
        let output = Command::new(env!("CARGO_BIN_EXE_sotto")).args(["run", "--record", name]).output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}
