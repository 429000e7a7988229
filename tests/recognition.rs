//! Word error rate of recognition on the recordings that `make test` fetches: a person who reads, a person who speaks,
//! and a synthetic voice. `cargo run --release --example wer` measures folders of more.

mod common;
#[path = "../examples/wer/normal.rs"]
mod normal;
#[path = "common/onnx.rs"]
mod onnx;

use sotto::asr::{Cancel, Verdict, Whisper};
use sotto::audio;
use sotto::config::{self, Asr, Sources};
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
    let plan = Asr { language: Some("en".to_owned()), ..defaults };
    let permit = Budget::new(Bytes::mib(2000)).reserve("whisper", Bytes::mib(500)).unwrap();
    match graphs {
        true => Whisper::load_graphs(&onnx::runtime(), &model, &plan, permit).unwrap(),
        false => Whisper::load(&model, &plan, permit).unwrap(),
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
