//! What a signal leaves behind: no half-written file, no process, and what was ready.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

const SIGNALS: [(&str, i32); 3] = [("INT", 130), ("TERM", 143), ("HUP", 129)];

fn sotto(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sotto"));
    command.args(arguments).current_dir(dir).stdin(Stdio::null());
    command
}

fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Waits until there is something; the program must still be at work then.
fn wait_for<T>(child: &mut Child, mut find: impl FnMut() -> Option<T>) -> T {
    loop {
        let at_work = child.try_wait().unwrap().is_none();
        if let Some(found) = find() {
            return found;
        }
        assert!(at_work, "the program has ended before");
        sleep(Duration::from_millis(10));
    }
}

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn no_signal_leaves_a_half_written_file() {
    let text = "This is a rather long sentence, which takes a while to say. ".repeat(200);
    for (signal, code) in SIGNALS {
        let dir = tempfile::tempdir().unwrap();
        let mut child = sotto(dir.path(), &["say", &text, "-o", "speech.wav"]).spawn().unwrap();
        wait_for(&mut child, || names(dir.path()).pop());
        send(signal, &child);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert_eq!(names(dir.path()), [""; 0], "{signal}");
    }
}

#[test]
fn a_hang_up_that_is_ignored_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let say = format!("trap '' HUP; exec '{}' say 'Good morning.' -o speech.wav", env!("CARGO_BIN_EXE_sotto"));
    let mut child = Command::new("sh").args(["-c", &say]).current_dir(dir.path()).spawn().unwrap();
    wait_for(&mut child, || names(dir.path()).pop());
    send("HUP", &child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(names(dir.path()), ["speech.wav"]);
}

#[test]
fn an_interrupted_transcription_tells_how_far_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let sample = common::fixture("speech-sample/speech.wav");
    let mut reader = hound::WavReader::open(&sample).unwrap();
    let mut long = hound::WavWriter::create(dir.path().join("long.wav"), reader.spec()).unwrap();
    let once: Vec<i16> = reader.samples().map(Result::unwrap).collect();
    once.repeat(100).into_iter().for_each(|sample| long.write_sample(sample).unwrap());
    long.finalize().unwrap();
    for (signal, code) in SIGNALS {
        let arguments = ["transcribe", sample.to_str().unwrap(), "long.wav", "--set", "asr.model=whisper-tiny.en"];
        let mut command = sotto(dir.path(), &arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        assert!(first.contains("speech.wav\t") && first.contains("ailed"), "{first}");
        // Now it is about the long file.
        sleep(Duration::from_secs(1));
        send(signal, &child);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let (mut rest, mut told) = (String::new(), String::new());
        out.read_to_string(&mut rest).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(told.contains("interrupted: long.wav is read up to") && told.contains("not all of it"), "{told}");
        assert!(rest.is_empty() || rest.starts_with("long.wav\t"), "{rest}");
    }
}

#[test]
fn an_interrupted_pull_takes_pip_along() {
    for (signal, code) in SIGNALS {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("bin")).unwrap();
        // A pip that has begun to write, and says which process it is.
        let script = format!(
            "#!/bin/sh\necho begun > \"$TMPDIR/part\"\necho $$ > '{}'\nexec sleep 600\n",
            path("pid").display()
        );
        fs::write(path("bin/python3"), script).unwrap();
        fs::set_permissions(path("bin/python3"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let paths = format!("{}:{}", path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = sotto(dir.path(), &["models", "pull", "piper-joe"]);
        command.env("PATH", paths).env("SOTTO_MODELS_DIR", path("models")).env("HF_HUB_OFFLINE", "1");
        command.env("HF_HUB_CACHE", path("hf"));
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let pid = wait_for(&mut child, || fs::read_to_string(path("pid")).ok().filter(|pid| pid.ends_with('\n')));
        let work = path("models/.work/piper-joe");
        assert!(work.join("wheel/tmp/part").exists());
        send(signal, &child);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(!work.join("wheel").exists(), "{signal}: {:?}", names(&work));
        let alive = Command::new("kill").args(["-0", pid.trim()]).stderr(Stdio::null()).status().unwrap();
        assert!(!alive.success(), "{signal}: pip goes on");
    }
}
