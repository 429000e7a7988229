//! Word error rate of recognition on the recordings that `make test` fetches: a person who reads, a
//! person who speaks, and a synthetic voice. `cargo run --release --example wer` measures folders
//! of more.

mod common;
#[path = "../examples/wer/normal.rs"]
mod normal;
#[path = "common/onnx.rs"]
mod onnx;

use sotto::asr::{Cancel, Doubt, OtherLanguage, Verdict, Whisper};
use sotto::audio;
use sotto::config::{self, AsrPlan, Sources};
use sotto::memory::Budget;
use sotto::types::{Bytes, SampleRate};

/// Recordings, and what is said in them.
const RECORDINGS: [(&str, &str); 5] = [
    (
        "speech-reading/two_cities.wav",
        "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it \
         was the epoch of belief, it was the epoch of incredulity, it was the season of light, it was the season of \
         darkness, it was the spring of hope, it was the winter of despair, we had everything before us, we had nothing \
         before us, we were all going direct to heaven, we were all going direct the other way, in short, the period was \
         so far like the present period, that some of its noisiest authorities insisted on its being received, for good \
         or for evil, in the superlative degree of comparison only.",
    ),
    ("speech-sample/speech.wav", "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better."),
    ("speech-synthetic/en-counting.wav", "One two three four five six seven eight nine ten."),
    ("speech-synthetic/en-hello.wav", "Hello world."),
    ("speech-synthetic/en-pangram.wav", "The quick brown fox jumps over the lazy dog."),
];
/// Percent of the words: "ever" for "never" and one more of 152.
const AT_MOST: f64 = 1.4;

fn whisper(graphs: bool) -> Whisper {
    let model = common::model_file("whisper-base", "whisper-base.ggml");
    let defaults = config::load(&Sources { cores: 1, ..Sources::default() }).unwrap().plan.asr;
    let plan = AsrPlan { language: Some("en".to_owned()), ..defaults };
    let permit = Budget::new(Bytes::mib(2000)).reserve("whisper", Bytes::mib(500)).unwrap();
    match graphs {
        true => Whisper::load_graphs(&onnx::runtime(), &model, &plan, permit).unwrap(),
        false => Whisper::load(&model, &plan, permit).unwrap(),
    }
}

/// Pieces of recordings: seconds, and a word that is said in each.
const PIECES: [(&str, f64, f64, &str); 9] = [
    ("speech-reading/two_cities.wav", 1.1, 4.6, "worst"),
    ("speech-reading/two_cities.wav", 4.9, 8.3, "foolishness"),
    ("speech-reading/two_cities.wav", 8.7, 12.9, "belief"),
    ("speech-reading/two_cities.wav", 13.4, 16.8, "darkness"),
    ("speech-reading/two_cities.wav", 21.2, 24.1, "everything"),
    ("speech-sample/speech.wav", 6.4, 9.2, "better"),
    ("speech-conversation/conversation.wav", 21.6, 29.9, "yankee"),
    ("speech-synthetic/en-counting.wav", 0.0, 9.0, "seven"),
    ("speech-synthetic/en-pangram.wav", 0.0, 9.0, "lazy"),
];
/// Pieces that are joined, half a second of silence between them; of the first only the last
/// seconds. Without timestamps Whisper base leaves out most of each.
const JOINED: [(f64, &[usize]); 5] = [
    (0.9, &[5, 4, 8, 2, 7, 3]),
    (1.5, &[7, 0, 6, 4, 3, 5]),
    (0.6, &[1, 3, 0, 5, 6]),
    (0.9, &[2, 4, 0, 5, 1]),
    (0.9, &[4, 2, 3, 7, 8, 6]),
];

fn joined(lead: f64, pieces: &[usize]) -> Vec<f32> {
    let sample = |seconds: f64| (seconds * 16_000.0) as usize;
    let mut sound = Vec::new();
    for (n, &piece) in pieces.iter().enumerate() {
        let (name, from, to, _) = PIECES[piece];
        let clip = audio::load_at(&common::fixture(name), audio::LONGEST, SampleRate::HEARING).unwrap().samples;
        let clip = &clip[sample(from)..sample(to).min(clip.len())];
        match n {
            0 => sound.extend(&clip[clip.len() - sample(lead)..]),
            _ => sound.extend([vec![0.0; sample(0.5)], clip.to_vec()].concat()),
        }
    }
    sound
}

#[test]
fn joined_recordings_lose_no_sentence() {
    for graphs in [true, false] {
        let mut whisper = whisper(graphs);
        for (lead, pieces) in JOINED {
            let heard = whisper.transcribe(&joined(lead, pieces), &Cancel::default()).unwrap();
            let words = normal::words(&heard.text);
            for &piece in &pieces[1..] {
                let word = PIECES[piece].3.to_owned();
                assert!(words.contains(&word), "{pieces:?}: \"{word}\" is missing: {} (graphs: {graphs})", heard.text);
            }
            assert_eq!(heard.verdict, Verdict::Certain, "{}", heard.text);
            assert!(heard.segments.windows(2).all(|pair| pair[0].start.0 < pair[1].start.0), "{:?}", heard.segments);
        }
    }
}

#[test]
fn speech_in_another_language_is_doubtful() {
    for graphs in [true, false] {
        let mut whisper = whisper(graphs);
        let clip = common::fixture("speech-synthetic/fr-pangram.wav");
        let clip = audio::load_at(&clip, audio::LONGEST, SampleRate::HEARING).unwrap();
        let heard = whisper.transcribe(&clip.samples, &Cancel::default()).unwrap();
        let french = OtherLanguage { likeliest: Some("fr") };
        assert_eq!(heard.verdict, Verdict::Doubtful(Doubt::OtherLanguage(french)), "graphs: {graphs}: {}", heard.text);
    }
}

#[test]
fn recorded_speech_is_recognised_by_both_back_ends() {
    for graphs in [true, false] {
        let mut whisper = whisper(graphs);
        let (mut wrong, mut all) = (0, 0);
        for (name, said) in RECORDINGS {
            let clip = audio::load_at(&common::fixture(name), audio::LONGEST, SampleRate::HEARING).unwrap();
            let heard = whisper.transcribe(&clip.samples, &Cancel::default()).unwrap();
            let (said, words) = (normal::words(said), normal::words(&heard.text));
            assert_eq!(heard.verdict, Verdict::Certain, "{name}: {}", heard.text);
            let errors = normal::distance(&said, &words);
            println!("{name}: {errors} of {} words: {}", said.len(), heard.text);
            wrong += errors;
            all += said.len();
        }
        let rate = 100.0 * wrong as f64 / all as f64;
        println!("word error rate {rate:.2} % of {all} words (graphs: {graphs})");
        assert!(rate <= AT_MOST, "{rate:.2} % of {all} words are wrong");
    }
}
