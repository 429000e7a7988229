//! The graph with scripted stages: what is right here does not depend on what a model says.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::asr::{Cancel, Doubt, Transcript, Verdict};
use crate::audio::device::{Card, DEFAULT, Simulated, SimulatedRoom};
use crate::config;
use crate::detect::{FRAME, VadState};
use crate::observe::{Event, EventKind};
use crate::tts::Sound;
use crate::types::{SampleRate, SessionId};

/// Speech is whatever is louder than nothing.
struct Loudness;

impl VoiceActivityDetector for Loudness {
    fn step(&mut self, _: &mut VadState, frame: &[f32; FRAME]) -> Result<f32> {
        Ok(if frame.iter().any(|sample| sample.abs() > 0.1) { 1.0 } else { 0.0 })
    }
}

/// Says how many tenths of a second of loud sound it was given.
struct CountsTenths(Verdict);

impl Transcriber for CountsTenths {
    fn transcribe(&mut self, samples: &[f32], _cancel: &Cancel) -> Result<Transcript> {
        let loud = samples.iter().filter(|sample| sample.abs() > 0.1).count();
        Ok(Transcript {
            text: format!("{} tenths", (loud as f64 / 1600.0).round()),
            language: "en".to_owned(),
            confidence: 1.0,
            ending: None,
            segments: vec![],
            verdict: self.0.clone(),
        })
    }
}

/// Repeats the question in two sentences and remembers what it was asked.
struct Echoes {
    asked: Arc<Mutex<Vec<String>>>,
    rest: VecDeque<String>,
    /// Before the second sentence: waits until somebody has heard the first.
    heard: Option<mpsc::Receiver<()>>,
}

impl LanguageModel for Echoes {
    fn sentence_end_probability(&mut self, _: &ChatTurn) -> Result<Option<f32>> {
        Ok(Some(0.9))
    }

    fn begin(&mut self, turn: &ChatTurn) -> Result<()> {
        self.asked.lock().unwrap().push(turn.question.clone());
        let pieces = ["You said ", &turn.question, ". ", "And that is all there is to say."];
        self.rest = pieces.map(str::to_owned).into();
        Ok(())
    }

    fn next_piece(&mut self, _: SessionId) -> Result<Option<String>> {
        if self.rest.len() == 1
            && let Some(heard) = &self.heard
        {
            heard.recv_timeout(Duration::from_secs(20)).expect("sound is played while the answer is written");
        }
        Ok(self.rest.pop_front())
    }
}

/// A hundred samples for a letter.
struct Hums;

impl Synthesizer for Hums {
    fn rate(&self) -> SampleRate {
        SampleRate(8000)
    }

    fn speak(&mut self, sentence: &str, _: &str, on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>) -> Result<()> {
        let letters = sentence.chars().count() as f64;
        for n in 0..sentence.chars().count() {
            let says = n as f64 / letters..(n + 1) as f64 / letters;
            if on_sound(Sound { samples: &[0.5; 100], says }).is_break() {
                break;
            }
        }
        Ok(())
    }
}

const FAST: OnceOptions = OnceOptions { pace: PlaybackPace::Fast, whole: false };

struct Scripted {
    engine: Arc<Engine>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    fn new(verdict: Verdict) -> Scripted {
        let asked = Arc::default();
        Scripted { engine: Engine::start(stages(verdict, &asked, None), &plan()).unwrap(), asked }
    }

    fn ask(&self, samples: Arc<[f32]>, options: OnceOptions) -> Result<OnceOutcome> {
        answer_file(&self.engine, &plan(), samples, options, &mut |_| Ok(()))
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn stages(verdict: Verdict, asked: &Arc<Mutex<Vec<String>>>, heard: Option<mpsc::Receiver<()>>) -> Stages {
    let echoes = Echoes { asked: asked.clone(), rest: VecDeque::new(), heard };
    Stages {
        voice_activity: StageLoader::once(Box::new(Loudness)),
        turn_detector: None,
        wake_word: None,
        transcriber: StageLoader::once(Box::new(CountsTenths(verdict))),
        language_model: StageLoader::once(Box::new(echoes)),
        synthesizer: StageLoader::once(Box::new(Hums)),
        turn_weights: None,
    }
}

/// The built-in defaults.
fn plan() -> config::Plan {
    config::load(&config::Sources { cores: 2, ..Default::default() }).unwrap().plan
}

/// A clip of silent stretches and of stretches with a tone of 500 Hz, in tenths of a second,
/// beginning with a silent one.
fn clip(tenths: &[usize]) -> Arc<[f32]> {
    let tone = |i: usize| if i % 32 < 16 { 0.5 } else { -0.5 };
    let stretch = |(n, tenths): (usize, &usize)| {
        (0..tenths * 1600).map(move |i| if n % 2 == 1 { tone(i) } else { 0.0 }).collect::<Vec<f32>>()
    };
    tenths.iter().enumerate().flat_map(stretch).collect()
}

/// The only answer.
fn answered(outcome: OnceOutcome) -> OnceAnswer {
    let mut answers = answers(outcome);
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers.remove(0)
}

fn answers(outcome: OnceOutcome) -> Vec<OnceAnswer> {
    match outcome {
        OnceOutcome::Answered(answers) => answers,
        OnceOutcome::Silence { why } => panic!("no answer: {why}"),
    }
}

#[test]
fn a_question_is_answered_in_words_and_sound() {
    let scripted = Scripted::new(Verdict::Certain);
    let mut sound = Vec::new();
    let mut sink = |samples: &[f32]| {
        sound.extend_from_slice(samples);
        Ok(())
    };
    let answered = answered(answer_file(&scripted.engine, &plan(), clip(&[3, 10, 8]), FAST, &mut sink).unwrap());
    assert_eq!(answered.reply, "You said 10 tenths. And that is all there is to say.");
    let voiced = sound.iter().filter(|sample| **sample == 0.5).count();
    let letters = answered.reply.chars().filter(|letter| *letter != ' ').count();
    assert!((100 * letters..=100 * answered.reply.len()).contains(&voiced), "{voiced}");
    assert!((990.0..1_060.0).contains(&answered.heard.0), "{:?}", answered.heard);
    let timings = answered.timings;
    let order = [timings.transcript, timings.first_token, timings.first_sentence, timings.first_pcm, timings.done];
    assert!(order.is_sorted() && order[0].is_some(), "{timings:?}");
}

#[test]
fn a_pause_inside_a_sentence_makes_one_turn_and_one_reply() {
    let scripted = Scripted::new(Verdict::Certain);
    for pace in [PlaybackPace::Fast, PlaybackPace::RealTime] {
        let outcome = scripted.ask(clip(&[3, 6, 6, 6, 8]), OnceOptions { pace, ..FAST }).unwrap();
        assert_eq!(answered(outcome).transcript.text, "12 tenths", "{pace:?}");
    }
}

#[test]
fn a_recording_of_two_turns_is_a_conversation_or_one_question_as_a_whole() {
    let scripted = Scripted::new(Verdict::Certain);
    let two = clip(&[3, 6, 20, 9, 8]);
    let answers = answers(scripted.ask(two.clone(), FAST).unwrap());
    let transcripts: Vec<_> = answers.iter().map(|answer| answer.transcript.text.as_str()).collect();
    assert_eq!(transcripts, ["6 tenths", "9 tenths"]);
    let first = "You said 6 tenths. And that is all there is to say.";
    assert!(answers[0].reply.len() > 8 && first.starts_with(&answers[0].reply), "{}", answers[0].reply);
    let whole = answered(scripted.ask(two, OnceOptions { whole: true, ..FAST }).unwrap());
    assert_eq!(whole.transcript.text, "15 tenths");
    assert!((3_490.0..3_570.0).contains(&whole.heard.0), "{:?}", whole.heard);
}

/// Says a clip into the microphone of a simulated card. Returns the length of the speech and the
/// silence after it that ended the turn, of each turn.
fn turns_with_devices(clip: &[f32]) -> Vec<(f64, f64)> {
    let (card, asked) = (Simulated::usual(SimulatedRoom::HEADPHONES), Arc::default());
    let devices =
        SessionDevices { card: Arc::new(card.clone()), microphone: DEFAULT.to_owned(), speaker: DEFAULT.to_owned() };
    let engine = Engine::start(stages(Verdict::Certain, &asked, None), &plan()).unwrap();
    let audio = SessionAudio::open(devices, engine.rate()).unwrap();
    let mut session = Session::start(engine, audio, &plan());
    let mut events = Vec::new();
    let mut pass = |steps: usize, events: &mut Vec<Event>| {
        for _ in 0..steps {
            card.advance(TICK);
            events.extend(session.step(Duration::ZERO).unwrap());
            while session.is_awaiting() {
                events.extend(session.step(TICK).unwrap());
            }
        }
    };
    pass(100, &mut events);
    card.say(card.clock().now(), SampleRate::HEARING, clip);
    pass(2000, &mut events);
    let exchanges = events.iter().filter_map(|event| match &event.kind {
        EventKind::Exchange(exchange) => Some((exchange.spoken.0, exchange.timings.unwrap().turn_end.unwrap())),
        _ => None,
    });
    exchanges.collect()
}

#[test]
fn a_turn_of_a_file_ends_where_that_of_a_microphone_does() {
    for tenths in [&[3, 10, 8][..], &[3, 6, 6, 6, 8], &[3, 4, 3, 4, 7, 12, 8]] {
        let clip = clip(tenths);
        let outcome = Scripted::new(Verdict::Certain).ask(clip.clone(), FAST);
        let of_file = answered(outcome.unwrap());
        let of_devices = turns_with_devices(&clip);
        let [(spoken, silence)] = of_devices[..] else { panic!("{tenths:?}: {of_devices:?}") };
        // A frame of the voice activity detector lasts 32 ms, and the two begin anywhere in one.
        let differs = [(of_file.heard.0, spoken), (of_file.timings.turn_end.unwrap(), silence)];
        assert!(differs.iter().all(|(file, devices)| (file - devices).abs() <= 40.0), "{tenths:?}: {differs:?}");
    }
}

#[test]
fn sound_plays_before_the_last_token_exists() {
    let ((tell, heard), asked) = (mpsc::channel(), Arc::default());
    let engine = Engine::start(stages(Verdict::Certain, &asked, Some(heard)), &plan()).unwrap();
    let mut sink = |_: &[f32]| {
        let _done = tell.send(());
        Ok(())
    };
    let outcome = answer_file(&engine, &plan(), clip(&[3, 10, 8]), FAST, &mut sink).unwrap();
    let timings = answered(outcome).timings;
    assert!(timings.first_audio <= timings.last_token, "{timings:?}");
}

#[test]
fn silence_is_no_question() {
    let scripted = Scripted::new(Verdict::Certain);
    for tenths in [&[20][..], &[0], &[5, 1, 20]] {
        let outcome = scripted.ask(clip(tenths), FAST).unwrap();
        assert!(matches!(outcome, OnceOutcome::Silence { .. }), "{tenths:?}: {outcome:?}");
    }
    assert!(scripted.asked().is_empty());
}

#[test]
fn a_doubtful_transcript_is_asked_for_again_and_never_reaches_the_model() {
    let scripted = Scripted::new(Verdict::Doubtful(Doubt::Repeats));
    let outcome = scripted.ask(clip(&[3, 10, 8]), FAST).unwrap();
    assert_eq!(answered(outcome).reply, plan().asr.unclear_reply);
    assert!(scripted.asked().is_empty());
}

#[test]
fn a_question_is_answered_in_its_language_or_not_at_all() {
    /// Hears everything in one language.
    struct Hears(&'static str);

    impl Transcriber for Hears {
        fn transcribe(&mut self, samples: &[f32], cancel: &Cancel) -> Result<Transcript> {
            let transcript = CountsTenths(Verdict::Certain).transcribe(samples, cancel)?;
            Ok(Transcript { language: self.0.to_owned(), ..transcript })
        }
    }

    /// Speaks English and German, and notes which.
    struct Bilingual(Arc<Mutex<Vec<String>>>);

    impl Synthesizer for Bilingual {
        fn rate(&self) -> SampleRate {
            Hums.rate()
        }

        fn languages(&self) -> Vec<String> {
            vec!["en".to_owned(), "de".to_owned()]
        }

        fn speak(
            &mut self,
            sentence: &str,
            language: &str,
            on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>,
        ) -> Result<()> {
            self.0.lock().unwrap().push(language.to_owned());
            Hums.speak(sentence, language, on_sound)
        }
    }

    for (heard, asked, spoken) in [
        ("en", Some("10 tenths"), "en"),
        ("de", Some("Answer in German.\n10 tenths"), "de"),
        ("", Some("10 tenths"), ""),
        ("fr", None, ""),
    ] {
        let (questions, spoke) = (Arc::default(), Arc::new(Mutex::new(Vec::<String>::new())));
        let stages = Stages {
            transcriber: StageLoader::once(Box::new(Hears(heard))),
            synthesizer: StageLoader::once(Box::new(Bilingual(spoke.clone()))),
            ..stages(Verdict::Certain, &questions, None)
        };
        let engine = Engine::start(stages, &plan()).unwrap();
        let question = clip(&[3, 10, 8]);
        let outcome = answer_file(&engine, &plan(), question, FAST, &mut |_| Ok(())).unwrap();
        assert!(questions.lock().unwrap().iter().eq(asked.iter()), "{heard}: {questions:?}");
        assert_eq!(answered(outcome).reply == plan().tts.no_voice_reply, asked.is_none(), "{heard}");
        let spoke = spoke.lock().unwrap();
        assert!(!spoke.is_empty() && spoke.iter().all(|language| language == spoken), "{heard}: {spoke:?}");
    }
}

#[test]
fn a_question_that_is_too_long_is_refused_and_the_next_is_answered() {
    let scripted = Scripted::new(Verdict::Certain);
    let longest = plan().detect.max_turn;
    let tenths = (longest.0 / 100.0) as usize;
    // Two halves with a pause between: the segmenter cuts neither.
    let long = clip(&[3, tenths * 2 / 3, 6, tenths * 2 / 3, 8]);
    let refused = scripted.ask(long, FAST).unwrap_err();
    assert!(refused.to_string().contains("max_turn_ms"), "{refused}");
    // The longest turn ends in a pause.
    let paused = clip(&[3, tenths - 20, 30, 20, 8]);
    let refused = scripted.ask(paused, OnceOptions { whole: true, ..FAST }).unwrap_err();
    assert!(refused.to_string().contains("max_turn_ms"), "{refused}");
    let outcome = scripted.ask(clip(&[3, 5, 8]), FAST).unwrap();
    assert_eq!(answered(outcome).transcript.text, "5 tenths");
}

#[test]
fn an_engine_that_is_dropped_has_no_thread_left() {
    /// Is in the middle of a sentence when the engine goes.
    struct Slow(mpsc::Sender<()>);

    impl Synthesizer for Slow {
        fn rate(&self) -> SampleRate {
            SampleRate(8000)
        }

        fn speak(&mut self, _: &str, _: &str, on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>) -> Result<()> {
            let _goes_on = on_sound(Sound { samples: &[0.5; 800], says: 0.0..1.0 });
            self.0.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(100));
            anyhow::bail!("scripted")
        }
    }

    let ((busy, is_busy), asked) = (mpsc::channel(), Arc::default());
    let synthesizer = StageLoader::once(Box::new(Slow(busy)) as Box<dyn Synthesizer>);
    let stages = Stages { synthesizer, ..stages(Verdict::Certain, &asked, None) };
    let engine = Engine::start(stages, &plan()).unwrap();
    let question = clip(&[3, 10, 8]);
    let mut full = |_: &[f32]| {
        is_busy.recv().unwrap();
        anyhow::bail!("the disk is full")
    };
    let error = answer_file(&engine, &plan(), question, FAST, &mut full).unwrap_err();
    assert!(error.to_string().contains("disk is full"), "{error}");
    drop(engine);
    assert_eq!(Arc::strong_count(&asked), 1, "the language model is gone with its thread");
}
