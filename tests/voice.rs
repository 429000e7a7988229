//! The real voice: what a listener gets, and when.

mod common;
#[path = "common/onnx.rs"]
mod onnx;

use std::ops::ControlFlow;
use std::path::Path;

use sotto::config::TtsPlan;
use sotto::memory::Budget;
use sotto::tts::{Spoken, Voice};
use sotto::types::Bytes;

fn folder() -> std::path::PathBuf {
    common::model_file("piper-joe", "voice.json").parent().unwrap().to_owned()
}

fn load(folder: &Path, speed: f32) -> Result<Voice, sotto::tts::TtsError> {
    let plan =
        TtsPlan { voice: "piper-joe".to_owned(), voices: Vec::new(), no_voice_reply: String::new(), threads: 1, speed };
    let permit = Budget::new(Bytes::mib(1024)).reserve("voice", Bytes::mib(256)).unwrap();
    Voice::load(&onnx::runtime(), folder, &plan, permit)
}

/// The chunks that a text becomes; the listener breaks off after `patience` of them. They say it
/// from its beginning on, without a gap.
fn speak(voice: &mut Voice, text: &str, patience: usize) -> (Vec<Vec<f32>>, Spoken) {
    let (mut chunks, mut said) = (Vec::new(), 0.0);
    let spoken = voice
        .speak(text, &mut |sound| {
            assert_eq!(std::mem::replace(&mut said, sound.says.end), sound.says.start);
            chunks.push(sound.samples.to_vec());
            if chunks.len() < patience { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .unwrap();
    (chunks, spoken)
}

fn milliseconds(chunks: &[Vec<f32>]) -> usize {
    chunks.iter().map(Vec::len).sum::<usize>() * 1000 / 22_050
}

const SENTENCE: &str = "The quick brown fox jumps over the lazy dog, and then it rests in the warm sun.";

#[test]
fn a_sentence_comes_in_chunks_that_can_be_heard() {
    let mut voice = load(&folder(), 1.0).unwrap();
    let (chunks, spoken) = speak(&mut voice, SENTENCE, usize::MAX);
    assert!(chunks.len() > 8, "{}", chunks.len());
    assert!(chunks[0].len() <= 24 * 256, "the first sound is short, whatever the sentence: {}", chunks[0].len());
    assert_eq!(spoken.samples, chunks.iter().map(Vec::len).sum::<usize>());
    assert_eq!((spoken.unknown, spoken.cancelled), (0, false));
    assert!((3000..9000).contains(&milliseconds(&chunks)), "{}", milliseconds(&chunks));
    let peak = chunks.iter().flatten().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
    assert!((0.1..=1.0).contains(&peak), "{peak}");
    // Chunks join without a click: no step between neighbours is larger than within speech.
    let seams = chunks.windows(2).map(|pair| (pair[1][0] - pair[0][pair[0].len() - 1]).abs());
    let steps = chunks.iter().flat_map(|chunk| chunk.windows(2)).map(|pair| (pair[1] - pair[0]).abs());
    assert!(seams.fold(0.0, f32::max) <= steps.fold(0.0, f32::max));
}

#[test]
fn a_listener_who_breaks_off_gets_no_more() {
    let mut voice = load(&folder(), 1.0).unwrap();
    let (chunks, spoken) = speak(&mut voice, SENTENCE, 2);
    assert_eq!((chunks.len(), spoken.cancelled), (2, true));
}

#[test]
fn speed_and_strange_texts_do_what_they_should() {
    let mut voice = load(&folder(), 1.0).unwrap();
    let usual = milliseconds(&speak(&mut voice, SENTENCE, usize::MAX).0);
    let fast = milliseconds(&speak(&mut load(&folder(), 2.0).unwrap(), SENTENCE, usize::MAX).0);
    assert!(fast * 10 < usual * 7, "{fast} against {usual}");

    for nothing in ["", "  ", "🎉 🎉", "…", "***"] {
        assert_eq!(speak(&mut voice, nothing, usize::MAX).1, Spoken::default(), "{nothing:?}");
    }
    for strange in ["--help", "<speak>[[boo]]</speak> now", "\0\u{7}yes", "日本 and Zürich", &"very ".repeat(300)] {
        let (chunks, _) = speak(&mut voice, strange, usize::MAX);
        assert!(chunks.iter().flatten().all(|sample| sample.is_finite()), "{strange:?}");
    }
}

#[test]
fn a_damaged_voice_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["encoder.onnx", "decoder.onnx", "voice.json"] {
        std::fs::copy(folder().join(name), dir.path().join(name)).unwrap();
    }
    for (name, contents) in [("decoder.onnx", &b"no graph"[..]), ("voice.json", b"{}")] {
        let whole = std::fs::read(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join(name), contents).unwrap();
        let error = load(dir.path(), 1.0).err().expect("a damaged voice is not loaded").to_string();
        assert!(error.contains(name) && error.contains("sotto models verify"), "{error}");
        std::fs::write(dir.path().join(name), whole).unwrap();
    }
}
