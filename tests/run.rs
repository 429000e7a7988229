//! End to end: `sotto run` with a microphone and a speaker of a real sound server, real models, and
//! another program that speaks to it.

#![cfg(target_os = "linux")]

mod common;
#[path = "common/pulse.rs"]
mod pulse;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use pulse::{Server, server};
use serde_json::Value;

/// A speaker, and a microphone that hears what is played into a sink of its own, and the speaker as
/// loud as that.
const ROOM: &str = "\
    load-module module-null-sink sink_name=spk rate=48000 channels=2\n\
    load-module module-null-sink sink_name=micfeed rate=48000 channels=1\n\
    load-module module-remap-source source_name=mic master=micfeed.monitor\n\
    load-module module-loopback source=spk.monitor sink=micfeed latency_msec=40\n\
    set-default-sink spk\n\
    set-default-source mic\n";
/// What the recorded person says from 1.0 to 4.7 s, without a pause.
const PERSON: &str = "It was the best of times, it was the worst of times.";
const PERSON_MS: std::ops::Range<u32> = 1_000..4_700;
const QUESTION: &str = "What is the capital of France, and why is it famous?";
const INTERRUPTION: &str = "No, please tell me about Berlin instead.";
const PATIENCE: Duration = Duration::from_secs(120);

/// `sotto run`, and what it says.
struct Conversation {
    server: Server,
    sotto: Child,
    lines: Receiver<Value>,
    said: Vec<Value>,
}

impl Conversation {
    fn begin(mut server: Server, arguments: &[&str]) -> Self {
        server.start();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sotto"));
        command.args(["run", "--json", "--set", "llm.temperature=0"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.args(arguments);
        let mut sotto = server.lend(&mut command).spawn().unwrap();
        let (tell, lines) = channel();
        let stdout = BufReader::new(sotto.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _nobody_waits = tell.send(serde_json::from_str(&line).expect("a line is a JSON object"));
            }
        });
        let mut conversation = Conversation { server, sotto, lines, said: Vec::new() };
        for _ in 0..2 {
            conversation.until("device", None);
        }
        conversation
    }

    /// Waits for the next line that has `key`, with `value` if one is named.
    fn until(&mut self, key: &str, value: Option<&str>) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else { panic!("no {key} {value:?} after {:#?}", self.said) };
            self.said.push(line.clone());
            if line.get(key).is_some_and(|found| value.is_none_or(|value| found == value)) {
                return line;
            }
        }
    }

    /// Waits for the next exchange; one that turned out to be only the beginning of a longer
    /// question is none.
    fn exchange(&mut self) -> Value {
        loop {
            let exchange = self.until("question", None);
            if exchange["ended"] != "revised" {
                return exchange;
            }
        }
    }

    fn order(&mut self, command: &str) {
        writeln!(self.sotto.stdin.as_mut().unwrap(), "{command}").unwrap();
    }

    /// Plays a file into the microphone.
    fn speak(&self, file: &Path) {
        let mut command = Command::new("paplay");
        command.arg("--device=micfeed").arg(file);
        assert!(self.server.lend(&mut command).status().unwrap().success());
    }

    /// Records the speaker.
    fn record(&self, file: &Path) -> Child {
        let mut command = Command::new("parec");
        command.args(["--device=spk.monitor", "--file-format=wav", "--rate=16000", "--channels=1"]).arg(file);
        self.server.lend(&mut command).spawn().unwrap()
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        let _gone = self.sotto.kill();
        let _gone = self.sotto.wait();
    }
}

/// Two sound servers at once would be heard late on two cores.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn sotto(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sotto")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn spoken(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    sotto(&["say", text, "-o", file.to_str().unwrap()]);
    file
}

/// A person's voice, cut out of a longer recording.
fn person(folder: &Path) -> PathBuf {
    let mut whole = hound::WavReader::open(common::fixture("speech-reading/two_cities.wav")).unwrap();
    let per_ms = whole.spec().sample_rate / 1_000;
    whole.seek(PERSON_MS.start * per_ms).unwrap();
    let file = folder.join("person.wav");
    let mut part = hound::WavWriter::create(&file, whole.spec()).unwrap();
    let samples = whole.samples::<i16>().take(PERSON_MS.len() * per_ms as usize);
    samples.for_each(|sample| part.write_sample(sample.unwrap()).unwrap());
    part.finalize().unwrap();
    file
}

fn words(text: &str) -> Vec<String> {
    let plain = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    text.split_whitespace().map(plain).filter(|word| !word.is_empty()).collect()
}

/// Whether Whisper heard more than half of the words; the voice says them a little differently each
/// time.
fn is_about(heard: &Value, said: &str) -> bool {
    let (heard, said) = (words(heard.as_str().unwrap()), words(said));
    said.iter().filter(|word| heard.contains(word)).count() * 2 > said.len()
}

#[test]
fn a_question_is_answered_aloud_and_who_interrupts_is_heard() {
    let _alone = alone();
    let Some(server) = server(ROOM) else { return };
    let folder = tempfile::tempdir().unwrap();
    let question = spoken(folder.path(), "question.wav", QUESTION);
    let interruption = spoken(folder.path(), "interruption.wav", INTERRUPTION);
    let recorded = folder.path().join("conversation.jsonl");
    let mut talk = Conversation::begin(server, &["--record", recorded.to_str().unwrap()]);
    let recording = folder.path().join("speaker.wav");
    let mut recorder = talk.record(&recording);
    talk.speak(&person(folder.path()));
    let remark = talk.exchange();
    assert!(is_about(&remark["question"], PERSON), "{remark}");
    assert_eq!(remark["ended"], "done", "{:#?}", talk.said);
    talk.speak(&question);
    talk.until("state", Some("speaking"));
    std::thread::sleep(Duration::from_millis(1_500));
    talk.speak(&interruption);
    let first = talk.exchange();
    assert!(is_about(&first["question"], QUESTION), "{first}");
    assert_eq!(first["ended"], "interrupted", "{:#?}", talk.said);
    let second = talk.exchange();
    assert!(is_about(&second["question"], INTERRUPTION), "{second}");
    assert_eq!(second["ended"], "done", "{:#?}", talk.said);
    assert!(second["timings"]["first_audio"].as_f64().is_some_and(|ms| ms > 0.0), "{second}");

    // Lines on stdin are commands, and its end ends nothing.
    for (command, state) in [("mute", "muted"), ("dance", ""), ("unmute", "listening")] {
        talk.order(command);
        if !state.is_empty() {
            talk.until("state", Some(state));
        }
    }

    // What was played is what the history says was heard, but for what Whisper makes of a voice.
    std::thread::sleep(Duration::from_millis(500));
    talk.order("quit");
    assert!(talk.sotto.wait().unwrap().success());
    recorder.kill().unwrap();
    recorder.wait().unwrap();
    is_replayed(&recorded, &mut talk);
    let heard: Value = serde_json::from_str(&sotto(&["transcribe", recording.to_str().unwrap(), "--json"])).unwrap();
    let heard = words(heard["text"].as_str().unwrap());
    // A word that Whisper never understands may come in every answer, and counts once.
    let told: BTreeSet<String> =
        [&remark, &first, &second].iter().flat_map(|answer| words(answer["heard"].as_str().unwrap())).collect();
    let missed = told.iter().filter(|word| !heard.contains(word)).count();
    assert!(told.len() > 8 && missed * 3 <= told.len(), "{told:?}\n{heard:?}");
}

/// Compares what `sotto replay` tells of a recording with what `sotto run` told of the
/// conversation.
fn is_replayed(recording: &Path, talk: &mut Conversation) {
    talk.said.extend(talk.lines.iter());
    let replayed = sotto(&["replay", recording.to_str().unwrap(), "--json"]);
    let replayed: Vec<Value> = replayed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |lines: &[Value], key: &str| -> Vec<Value> {
        lines.iter().filter_map(|line| line.get(key)).filter(|value| !value.is_null()).cloned().collect()
    };
    assert_eq!(of(&replayed, "state"), of(&talk.said, "state"));
    assert_eq!(of(&replayed, "how"), of(&talk.said, "ended"));
    assert!(of(&replayed, "how").len() >= 3, "{replayed:#?}");
}

/// The person is 10 dB louder than what comes from the speaker. One word that falls on words of
/// ours may be lost.
#[test]
fn stop_is_heard_over_an_answer_that_goes_on_under_all_else() {
    let _alone = alone();
    let Some(server) = server(&format!("{ROOM}set-source-volume spk.monitor 44600\n")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let [question, other, stop] = [("question.wav", QUESTION), ("other.wav", INTERRUPTION), ("stop.wav", "Stop.")]
        .map(|(name, text)| spoken(folder.path(), name, text));
    let mut talk = Conversation::begin(server, &["--set", "turn.barge_in=stop"]);
    talk.speak(&person(folder.path()));
    talk.exchange();
    // Seldom an answer is over before the word is heard.
    let mut answer = Value::Null;
    for _ in 0..2 {
        talk.speak(&question);
        talk.until("state", Some("speaking"));
        talk.speak(&other);
        for _ in 0..4 {
            talk.speak(&stop);
        }
        answer = talk.exchange();
        assert!(is_about(&answer["question"], QUESTION), "{answer}");
        if answer["ended"] == "interrupted" {
            break;
        }
    }
    assert_eq!(answer["ended"], "interrupted", "{:#?}", talk.said);
    // It was not the other words that ended it.
    let before = talk.said.iter().rposition(|line| line["question"] == answer["question"]).unwrap();
    let last = talk.said[..before].iter().rev().find_map(|line| line.get("understood").or_else(|| line.get("partial")));
    assert!(last.unwrap().as_str().unwrap().to_lowercase().contains("stop"), "{:#?}", talk.said);
}
