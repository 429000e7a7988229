//! The profile "qwen" where no hub can be reached, as a person meets it: one line, and the
//! starter's language model.

mod common;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

const ABSENT: &str = "qwen3.5-0.8b";
const PRESENT: &str = "qwen2.5-coder-0.5b";
/// Nothing listens there.
const ENDPOINT: &str = "http://127.0.0.1:1";
const NAMED: [&str; 2] = ["--set", "llm.model=qwen3.5-0.8b"];

/// A folder with the installed models of the starter profile and no other.
fn starter() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let file = common::model_file(PRESENT, "model.gguf");
    let models = file.parent().and_then(Path::parent).unwrap();
    for model in ["onnxruntime", "silero-vad", "smart-turn", "whisper-base", PRESENT, "piper-joe"] {
        symlink(models.join(model), dir.path().join(model)).unwrap();
    }
    dir
}

fn sotto(models: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sotto"))
        .args(arguments)
        .args(["--set", "models.profile=qwen"])
        .envs([("HF_ENDPOINT", ENDPOINT), ("HF_HUB_OFFLINE", "0"), ("NO_PROXY", "127.0.0.1")])
        .env("SOTTO_MODELS_DIR", models)
        .env("HF_HUB_CACHE", models.join("hf"))
        .output()
        .unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8(output.stderr.clone()).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn pulling_the_pipeline_goes_on_with_the_starter() {
    let models = starter();
    let output = sotto(models.path(), &["models", "pull", "--json"]);
    let said = lines(&output);
    assert!(output.status.success(), "{said:?}");
    assert_eq!(said.len(), 1, "{said:?}");
    for part in [ENDPOINT, "cannot be reached", ABSENT, PRESENT] {
        assert!(said[0].contains(part), "{part} in {said:?}");
    }
    let pulled = String::from_utf8(output.stdout).unwrap();
    assert!(pulled.contains(PRESENT) && pulled.contains("piper-joe") && !pulled.contains(ABSENT), "{pulled}");
}

/// Arguments, and whether what they print is right.
type Case = (&'static [&'static str], fn(&str) -> bool);

#[test]
fn the_starter_answers_and_one_line_says_so() {
    let models = starter();
    let cases: [Case; 3] = [
        (&["check"], str::is_empty),
        (&["plan"], |printed| printed.contains(PRESENT) && !printed.contains(ABSENT)),
        (&["chat", "Say yes.", "--set", "llm.max_tokens=2"], |printed| !printed.trim().is_empty()),
    ];
    for (arguments, is_right) in cases {
        let output = sotto(models.path(), arguments);
        let said = lines(&output);
        assert!(output.status.success(), "{arguments:?}: {said:?}");
        let told: Vec<_> = said.iter().filter(|line| line.contains(ABSENT)).collect();
        assert!(told.len() == 1 && told[0].contains(PRESENT), "{arguments:?}: {said:?}");
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(is_right(&printed), "{arguments:?}: {printed:?}");
    }
}

#[test]
fn a_model_that_was_named_is_the_one_or_none() {
    let models = starter();
    for (arguments, code) in [
        (&["models", "pull", ABSENT][..], 1),
        (&["models", "pull", NAMED[0], NAMED[1]][..], 1),
        (&["chat", "Hi", NAMED[0], NAMED[1]][..], 3),
    ] {
        let output = sotto(models.path(), arguments);
        let said = lines(&output).join("\n");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(ABSENT) && !said.contains(PRESENT), "{arguments:?}: {said}");
    }
}
