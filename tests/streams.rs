//! Files and streams as the program meets them: standard input and output, odd names, an output
//! that is the input.

mod common;

use std::ffi::OsStr;
use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Runs the program in `dir` with `input` on its standard input.
fn sotto(dir: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    run(dir, &arguments, input)
}

fn run(dir: &Path, arguments: &[&OsStr], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sotto"));
    command.args(arguments).current_dir(dir);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("sotto starts");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // A program that refuses its arguments reads nothing.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn succeeded(output: Output) -> Vec<u8> {
    assert!(output.status.success(), "{:?}: {}", output.status, told(&output));
    output.stdout
}

fn json(output: Output) -> Value {
    serde_json::from_slice(&succeeded(output)).expect("stdout is one JSON object")
}

fn sample() -> PathBuf {
    common::fixture("speech-sample/speech.wav")
}

#[test]
fn sound_goes_through_standard_streams() {
    let dir = tempfile::tempdir().unwrap();
    let spoken = succeeded(sotto(dir.path(), &["say", "What is the capital of France?", "-o", "-"], b""));
    let wav = hound::WavReader::new(Cursor::new(&spoken)).unwrap();
    assert!(wav.duration() > wav.spec().sample_rate, "a second and more");
    let header = 44;
    assert_eq!(spoken.len(), header + wav.len() as usize * 2, "the sizes in the header are true");

    let heard = succeeded(sotto(dir.path(), &["transcribe", "-"], &spoken));
    assert!(String::from_utf8(heard).unwrap().contains("capital of France"));
    let object = json(sotto(dir.path(), &["transcribe", "-", "--json"], &spoken));
    assert_eq!((&object["file"], &object["complete"]), (&"-".into(), &true.into()));

    let answered = sotto(dir.path(), &["once", "-", "-o", "-", "--set", "llm.temperature=0"], &spoken);
    assert!(told(&answered).contains("Paris"), "the text goes to standard error: {}", told(&answered));
    let answer = succeeded(answered);
    assert!(hound::WavReader::new(Cursor::new(&answer)).unwrap().duration() > 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "no file was written");
}

#[test]
fn a_stream_that_cannot_serve_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let sample = sample();
    let sample = sample.to_str().unwrap();
    for (arguments, code, said) in [
        (&["say", "hello", "-o", "-", "--json"][..], 2, "cannot both go to standard output"),
        (&["once", sample, "-o", "-", "--json"], 2, "cannot both go to standard output"),
        (&["transcribe", "-", "-"], 2, "named twice"),
        (&["transcribe", "-"], 1, "standard input"),
        (&["once", "-"], 1, "standard input"),
    ] {
        let output = sotto(dir.path(), arguments, b"this is no sound");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", told(&output));
        assert!(told(&output).contains(said) && !told(&output).contains("/tmp"), "{arguments:?}: {}", told(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn an_output_that_is_the_input_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::copy(sample(), path("q.wav")).unwrap();
    fs::create_dir(path("model")).unwrap();
    for name in ["model/model.bin", "model/config.json", "model/model.safetensors"] {
        fs::write(path(name), "mine").unwrap();
    }
    std::os::unix::fs::symlink("q.wav", path("link.wav")).unwrap();
    std::os::unix::fs::symlink("model", path("linked")).unwrap();
    fs::hard_link(path("q.wav"), path("hard.wav")).unwrap();
    let before = fs::read(path("q.wav")).unwrap();
    for arguments in [
        ["once", "q.wav", "-o", "q.wav"],
        ["once", "q.wav", "-o", "./model/../q.wav"],
        ["once", "q.wav", "-o", "link.wav"],
        ["once", "link.wav", "-o", "q.wav"],
        ["once", "q.wav", "-o", "hard.wav"],
    ] {
        let output = sotto(dir.path(), &arguments, b"");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", told(&output));
        assert!(told(&output).contains("is read itself"), "{arguments:?}: {}", told(&output));
    }
    for arguments in
        [["models", "import", "whisper", "model", "linked/."], ["models", "import", "whisper", "model", "model"]]
    {
        let output = sotto(dir.path(), &arguments, b"");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", told(&output));
    }
    assert_eq!(fs::read(path("q.wav")).unwrap(), before);
    assert_eq!(fs::read(path("model/model.bin")).unwrap(), b"mine");

    // Standard input may be the file as well.
    let mut command = Command::new(env!("CARGO_BIN_EXE_sotto"));
    command.args(["once", "-", "-o", "q.wav"]).current_dir(dir.path());
    let output = command.stdin(fs::File::open(path("q.wav")).unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert_eq!(fs::read(path("q.wav")).unwrap(), before);
}

// The file systems of macOS take no such name.
#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_not_utf8_goes_into_json() {
    let dir = tempfile::tempdir().unwrap();
    let [question, answer, speech] = [&b"q\xff.wav"[..], b"a\xff.wav", b"s\xff.wav"].map(OsStr::from_bytes);
    let lossy = |name: &OsStr| Value::from(name.to_string_lossy());
    fs::copy(sample(), dir.path().join(question)).unwrap();
    let word = |text: &'static str| OsStr::new(text);

    let heard = json(run(dir.path(), &[word("transcribe"), question, word("--json")], b""));
    assert_eq!(heard["file"], lossy(question));
    let said = json(run(dir.path(), &[word("say"), word("hello"), word("-o"), speech, word("--json")], b""));
    assert_eq!(said["audio"], lossy(speech));
    let once = json(run(dir.path(), &[word("once"), question, word("-o"), answer, word("--json")], b""));
    assert_eq!(once["audio"], lossy(answer), "{once:#}");
    for name in [answer, speech] {
        assert!(dir.path().join(name).exists(), "the file itself has its own name");
    }
}

#[test]
fn a_chat_goes_on_after_a_bad_line() {
    let dir = tempfile::tempdir().unwrap();
    let long = "word ".repeat(600);
    let lines: [&[u8]; 6] = [
        b"\n",
        b"What is the capital of Fr\xe9nce?\n",
        long.as_bytes(),
        b"\n/now\n",
        b"What is the capital of France?\n",
        b"  \n",
    ];
    let settings = ["--set", "llm.context=512", "--set", "llm.temperature=0"];
    let output = sotto(dir.path(), &[&["chat", "--json"], &settings[..]].concat(), &lines.concat());
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let answers: Vec<Value> = String::from_utf8(output.stdout.clone())
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect();
    let errors: Vec<_> = answers.iter().map(|answer| answer["error"].as_str().unwrap_or_default()).collect();
    let wanted = ["blank line", "not UTF-8 from byte 26", "context is 512", "/now is no command", "", "blank line"];
    assert_eq!(errors.len(), wanted.len(), "{errors:#?}");
    for ((error, wanted), number) in errors.iter().zip(wanted).zip(1..) {
        assert!(error.contains(wanted) && error.is_empty() == wanted.is_empty(), "{number}: {error}");
        assert!(wanted.is_empty() || told(&output).contains(&format!("line {number}: ")), "{}", told(&output));
    }
    assert!(answers[4]["reply"].as_str().unwrap().contains("Paris"), "{}", answers[4]);
    assert!(told(&output).contains("3 of 6 lines could not be answered"), "{}", told(&output));
}

// Elsewhere there is no such limit.
#[cfg(target_os = "linux")]
#[test]
fn a_limit_of_the_system_is_out_of_memory() {
    let sample = sample();
    let sample = sample.to_str().unwrap();
    for (kib, command) in [
        (200_000, format!("transcribe '{sample}'")),
        (700_000, format!("transcribe --set asr.backend=whisper.cpp '{sample}'")),
        (200_000, "say hello -o hello.wav".to_owned()),
        (300_000, "chat hello".to_owned()),
        (900_000, format!("once '{sample}'")),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let line = format!("ulimit -v {kib} && exec '{}' {command}", env!("CARGO_BIN_EXE_sotto"));
        let output = Command::new("sh").args(["-c", &line]).current_dir(dir.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{command}: {}", told(&output));
        let told = told(&output);
        assert!(told.contains("out of memory") && !told.contains("verify"), "{command}: {told}");
    }
}
