//! Property tests: the invariants over arbitrary inputs at arbitrary times.

use proptest::prelude::*;

use super::checker::{Checked, Told};
use super::world::{Spoken, World};
use crate::turn::{
    AnswerEvent, BargeIn, Control, DeviceKind, EndOfTurn, PlaybackEvent, TurnInput, TurnSettings, TurnStage,
    TurnTranscript, TurnVerdict, VoiceEvent,
};
use crate::types::{Ms, TurnId};

/// Input before the current turn is known: `turn` counts back from the newest number.
#[derive(Clone, Debug)]
struct Step {
    wait: f64,
    back: u64,
    /// Age of the time that the input names, in milliseconds before now.
    ago: f64,
    input: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Seen,
    Lost,
    Confirmed,
    Paused,
    Resumed,
    Ended,
    Score(f32),
    Like(f32),
    Weighed(Option<f32>),
    Words { text: &'static str, language: &'static str, verdict: TurnVerdict, ending: Option<f32>, partial: bool },
    WakeWord,
    Answer(AnswerEvent),
    Played(f64),
    Drained,
    Control(Control),
    Device(DeviceKind, bool),
    Failed(TurnStage, bool),
    Tick,
    Shutdown,
}

fn step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![
        4 => Just(0.0),
        8 => 0.0..300.0,
        3 => 300.0..3_000.0,
        1 => 3_000.0..70_000.0,
        1 => prop_oneof![Just(-500.0), Just(f64::NAN), Just(f64::INFINITY)],
    ];
    let ago = prop_oneof![6 => 0.0..200.0, 1 => -100.0..0.0, 1 => Just(1e9), 1 => Just(f64::NAN)];
    let back = prop_oneof![12 => Just(0u64), 2 => Just(1), 1 => 0u64..6, 1 => Just(u64::MAX)];
    (wait, back, ago, kind()).prop_map(|(wait, back, ago, input)| Step { wait, back, ago, input })
}

fn kind() -> impl Strategy<Value = Kind> {
    let voice = prop_oneof![
        Just(Kind::Seen),
        Just(Kind::Lost),
        Just(Kind::Confirmed),
        Just(Kind::Confirmed),
        Just(Kind::Paused),
        Just(Kind::Paused),
        Just(Kind::Resumed),
        Just(Kind::Ended),
    ];
    let texts = ["What time is it?", "and the", "Mhm.", "Stop.", "It is sunny.", "", "天気は？", "No, tomorrow."];
    let verdicts =
        [TurnVerdict::Certain, TurnVerdict::Certain, TurnVerdict::Certain, TurnVerdict::Doubtful, TurnVerdict::Nothing];
    let words = (prop::sample::select(texts.to_vec()), prop::sample::select(vec!["en", "", "ja"])).prop_flat_map(
        move |(text, language)| {
            let ending = prop::option::of(prop_oneof![8 => 0.0f32..1.0, 1 => Just(f32::NAN)]);
            (prop::sample::select(verdicts.to_vec()), ending, prop::bool::weighted(0.25))
                .prop_map(move |(verdict, ending, partial)| Kind::Words { text, language, verdict, ending, partial })
        },
    );
    let length = prop_oneof![8 => 0.0..2_000.0, 1 => Just(0.0), 1 => Just(-3.0), 1 => Just(f64::NAN)];
    let at = prop_oneof![4 => 0usize..64, 1 => Just(usize::MAX)];
    let sound = (length, at, prop::sample::select(vec!["It is sunny today.", "", "Très bien, 日本 ไทย"]))
        .prop_map(|(length, at, text)| AnswerEvent::Sound { length: Ms(length), at, text: text.to_owned() });
    let answer = prop_oneof![3 => sound, 1 => Just(AnswerEvent::FirstSentence), 2 => Just(AnswerEvent::Complete)];
    let played = prop_oneof![8 => 0.0..4_000.0, 1 => Just(f64::NAN), 1 => Just(-1.0), 1 => Just(1e12)];
    let controls = [
        Control::Mute,
        Control::Unmute,
        Control::Unmute,
        Control::Stop,
        Control::ListenNow,
        Control::TalkKeyDown,
        Control::TalkKeyUp,
    ];
    let devices = prop::sample::select(vec![DeviceKind::Microphone, DeviceKind::Speaker]);
    let stages =
        [TurnStage::Detector, TurnStage::Transcriber, TurnStage::LanguageModel, TurnStage::Voice, TurnStage::Playback];
    let score = prop_oneof![8 => 0.0f32..1.0, 1 => Just(f32::NAN)];
    prop_oneof![
        24 => voice,
        12 => words,
        6 => score.clone().prop_map(Kind::Score),
        4 => prop_oneof![3 => -1.0..1.0f32, 1 => Just(f32::NAN)].prop_map(Kind::Like),
        6 => prop::option::weighted(0.8, score).prop_map(Kind::Weighed),
        12 => answer.prop_map(Kind::Answer),
        6 => played.prop_map(Kind::Played),
        2 => Just(Kind::Drained),
        2 => Just(Kind::WakeWord),
        3 => prop::sample::select(controls.to_vec()).prop_map(Kind::Control),
        2 => (devices, prop::bool::weighted(0.75)).prop_map(|(device, back)| Kind::Device(device, back)),
        2 => (prop::sample::select(stages.to_vec()), any::<bool>()).prop_map(|(stage, all)| Kind::Failed(stage, all)),
        6 => Just(Kind::Tick),
        1 => prop_oneof![1 => Just(Kind::Shutdown), 8 => Just(Kind::Tick)],
    ]
}

impl Step {
    fn input(&self, newest: TurnId, now: f64) -> TurnInput {
        let turn = TurnId(newest.0.saturating_sub(self.back));
        let since = Ms(now - self.ago);
        match self.input.clone() {
            Kind::Seen => TurnInput::Voice(VoiceEvent::Seen { since }),
            Kind::Lost => TurnInput::Voice(VoiceEvent::Lost),
            Kind::Confirmed => TurnInput::Voice(VoiceEvent::Confirmed { since }),
            Kind::Paused => TurnInput::Voice(VoiceEvent::Paused { since }),
            Kind::Resumed => TurnInput::Voice(VoiceEvent::Resumed { since }),
            Kind::Ended => TurnInput::Voice(VoiceEvent::Ended { since }),
            Kind::Score(probability) => TurnInput::EndOfTurnScore { turn, probability },
            Kind::Like(likeness) => TurnInput::LikePlayed { turn, likeness },
            Kind::Weighed(probability) => TurnInput::SentenceEndScore { turn, probability },
            Kind::Words { text, language, verdict, ending, partial } => {
                let transcript =
                    TurnTranscript { text: text.to_owned(), language: language.to_owned(), verdict, ending };
                if partial {
                    TurnInput::Partial { turn, transcript }
                } else {
                    TurnInput::Recognised { turn, transcript }
                }
            }
            Kind::WakeWord => TurnInput::WakeWord { until: since },
            Kind::Answer(event) => TurnInput::Answer { turn, event },
            Kind::Played(position) => {
                TurnInput::Playback { turn, event: PlaybackEvent::Played { position: Ms(position) } }
            }
            Kind::Drained => TurnInput::Playback { turn, event: PlaybackEvent::Drained },
            Kind::Control(control) => TurnInput::Control(control),
            Kind::Device(device, true) => TurnInput::DeviceBack(device),
            Kind::Device(device, false) => TurnInput::DeviceLost(device),
            Kind::Failed(stage, all) => TurnInput::StageFailed { stage, turn: (!all).then_some(turn) },
            Kind::Tick => TurnInput::Tick,
            Kind::Shutdown => TurnInput::Shutdown,
        }
    }
}

fn settings() -> impl Strategy<Value = TurnSettings> {
    let barge_in = prop_oneof![8 => Just(BargeIn::On), 2 => Just(BargeIn::Stop), 1 => Just(BargeIn::Off)];
    (any::<bool>(), barge_in, 0u32..4, prop_oneof![Just(1.0), Just(0.0)]).prop_map(
        |(wake_word, barge_in, false_alarms, scale)| {
            let plain = TurnSettings::default();
            let unlikely_silence = Ms(plain.end.unlikely_silence.0 * scale);
            let end = EndOfTurn { unlikely_silence, ..plain.end };
            let use_sentence_end = (barge_in == BargeIn::On) ^ wake_word;
            TurnSettings { wake_word, barge_in, false_alarms, use_sentence_end, end, ..plain }
        },
    )
}

/// Newest number that the machine has named; an input for it is most likely to have an effect.
fn newest(checked: &Checked) -> TurnId {
    use crate::turn::TurnCommand::{BeginRecognition, Prepare};
    let named = checked.said.iter().rev().find_map(|(_, command)| match command {
        BeginRecognition { turn, .. } | Prepare { turn, .. } => Some(*turn),
        _ => None,
    });
    named.unwrap_or_default()
}

/// Directs inputs that only apply to an answer to the open answer, if there is one.
fn aimed(step: &Step, checked: &Checked) -> TurnId {
    let for_answer = matches!(step.input, Kind::Answer(_) | Kind::Played(_) | Kind::Drained | Kind::Failed(..));
    checked.live_answer().filter(|_| for_answer).unwrap_or_else(|| newest(checked))
}

fn play(settings: TurnSettings, steps: &[Step]) -> Checked {
    let mut checked = Checked::new(settings);
    for step in steps {
        let at = checked.now.0 + step.wait;
        let input = step.input(aimed(step, &checked), if at.is_finite() { at } else { checked.now.0 });
        checked.on(at, input);
    }
    checked
}

/// Arbitrary inputs at arbitrary times, with the machine's commands.
pub(super) fn any_conversation() -> impl Strategy<Value = (TurnSettings, Vec<Told>)> {
    (settings(), prop::collection::vec(step(), 1..120))
        .prop_map(|(settings, steps)| (settings.clone(), play(settings, &steps).told))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    /// Invariants under arbitrary inputs at arbitrary times.
    #[test]
    fn invariants_hold_over_any_inputs(settings in settings(), steps in prop::collection::vec(step(), 1..120)) {
        play(settings, &steps).rest();
    }

    /// Invariants with the machine woken at each of its deadlines.
    #[test]
    fn a_machine_that_is_woken_in_time_keeps_them_too(steps in prop::collection::vec(step(), 1..120)) {
        let mut checked = Checked::new(TurnSettings::default());
        for step in &steps {
            let at = if step.wait.is_finite() { checked.now.0 + step.wait.max(0.0) } else { checked.now.0 };
            checked.pass(at);
            checked.on(at, step.input(aimed(step, &checked), at));
        }
        checked.rest();
    }

    /// People who speak, cough and pause at any times, with stages of any speed: no speech is lost,
    /// and every answer has an end.
    #[test]
    fn what_is_said_is_answered(
        script in script(),
        recognition in 20.0..900.0,
        thinking in 20.0..3_000.0,
        score in prop::option::of(0.0f32..1.0),
        weighed in prop::option::of(0.0f32..0.1),
        ending in prop::option::of(0.0f32..1.0),
        use_sentence_end: bool,
    ) {
        let end = script.last().map_or(0.0, |spoken| spoken.to);
        let mut world = World::new(TurnSettings { use_sentence_end, ..TurnSettings::default() }, &script);
        (world.recognition, world.thinking) = (recognition, thinking);
        (world.score, world.weighed, world.ending) = (score, weighed, ending);
        world.run(end + 20_000.0);
        world.checked.rest();
        let asked: Vec<_> = world.exchanges().iter().map(|exchange| exchange.0.to_owned()).collect();
        let said: Vec<_> = script.iter().flat_map(|spoken| spoken.words.split_whitespace()).collect();
        let heard: Vec<_> = asked.iter().flat_map(|question| question.split_whitespace()).collect();
        prop_assert_eq!(said, heard);
        prop_assert!(world.notices().is_empty());
    }
}

/// Sentences of words that occur only once, with noises between them.
fn script() -> impl Strategy<Value = Vec<Spoken>> {
    const SENTENCES: [&str; 8] = [
        "Apples and pears.",
        "Where did seven hedgehogs sleep?",
        "Kindly close",
        "Nobody knew it until",
        "Light, camera, action!",
        "Forty two",
        "Play music by Haydn.",
        "Remind me tomorrow",
    ];
    let stretch = (prop_oneof![3 => 30.0..800.0, 2 => 800.0..6_000.0], 250.0..3_000.0, prop::bool::weighted(0.3));
    prop::collection::vec(stretch, 1..SENTENCES.len()).prop_map(|stretches| {
        let mut at = 500.0;
        let speak = |(n, (gap, length, noise)): (usize, (f64, f64, bool))| {
            let from = at + gap;
            at = from + length;
            Spoken { from, to: at, words: if noise { "" } else { SENTENCES[n] } }
        };
        stretches.into_iter().enumerate().map(speak).collect()
    })
}
