//! Tables of probabilities, one digit a frame (tenths), with the expected events; then properties
//! of any input.

use proptest::prelude::*;

use super::*;

const F: u64 = FRAME as u64;

/// Plan with thresholds 0.5 and 0.35: three frames are speech, ten of silence end a turn, two are
/// padding.
fn hear() -> DetectPlan {
    let frames = |count: f64| Ms(count * 32.0);
    DetectPlan {
        voice_activity: String::new(),
        end_of_turn: None,
        wake_word: None,
        speech_threshold: 0.5,
        silence_threshold: 0.35,
        min_speech: frames(3.0),
        min_silence: frames(10.0),
        speech_pad: frames(2.0),
        max_turn: frames(100.0),
    }
}

/// Events for the digits, each with the number of frames so far.
fn run(segmenter: &mut Segmenter, digits: &str) -> Vec<(usize, SpeechEvent)> {
    let probabilities = digits.bytes().map(|digit| f32::from(digit - b'0') / 10.0);
    (1..).zip(probabilities).filter_map(|(heard, p)| Some((heard, segmenter.push(p)?))).collect()
}

/// Events in frames, as short text.
fn tell(events: &[(usize, SpeechEvent)]) -> String {
    let one = |(heard, event): &(usize, SpeechEvent)| match event {
        SpeechEvent::Started { at } => format!("start {}", at / F),
        SpeechEvent::Paused { at } => format!("pause {}", at / F),
        SpeechEvent::Resumed { at } => format!("resume {}", at / F),
        SpeechEvent::TurnEnded(turn) => format!("{} at {heard}", tell_turn(turn)),
    };
    events.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn tell_turn(turn: &SegmentedTurn) -> String {
    let SegmentedTurn { start, end, keep } = turn;
    format!("turn {}-{} keep {}-{}", start / F, end / F, keep.start / F, keep.end / F)
}

#[test]
fn speech_pauses_where_its_energy_falls_and_goes_on_if_the_voice_does() {
    let mut segmenter = Segmenter::new(&hear());
    // Probabilities and loudness, a character a frame: the model continues for three frames after
    // the first fall, and detects a soft voice after the second.
    let frames = "9999999990000099999999999999".chars().zip("LLLLLL........LLLLss.......L".chars());
    let power =
        |c| [("L", 0.1), ("s", 0.001), (".", 1e-6)].into_iter().find(|(name, _)| name.starts_with(c)).unwrap().1;
    let probability = |digit: char| digit.to_digit(10).unwrap() as f32 / 10.0;
    let told = (1..).zip(frames).filter_map(|(heard, (digit, loud))| {
        Some((heard, segmenter.push_with_power(probability(digit), power(loud))?))
    });
    assert_eq!(tell(&told.collect::<Vec<_>>()), "start 0, pause 6, resume 14, pause 20, resume 26");
}

#[test]
fn events_follow_the_probabilities() {
    for (digits, wanted) in [
        ("", ""),
        ("0000000000", ""),
        // Too short to be speech, also when it comes back after a pause.
        ("0990000000000099000000000", ""),
        // A short dip does not end a candidate.
        ("0909000909", "start 1"),
        ("000999000000000000", "start 3, pause 6, turn 3-6 keep 1-8 at 16"),
        // Between the thresholds the voice goes on, but does not come back.
        ("999444440000000000", "start 0, pause 8, turn 0-8 keep 0-10 at 18"),
        ("999000444444444444", "start 0, pause 3, turn 0-3 keep 0-5 at 13"),
        ("9990000009990000000000", "start 0, pause 3, resume 9, pause 12, turn 0-12 keep 0-14 at 22"),
        // A dip shorter than a pause is not reported.
        ("9990999", "start 0"),
        // The next turn does not repeat what the last one kept.
        ("99900000000009990", "start 0, pause 3, turn 0-3 keep 0-5 at 13, start 13"),
    ] {
        assert_eq!(tell(&run(&mut Segmenter::new(&hear()), digits)), wanted, "{digits}");
    }
}

#[test]
fn a_voice_is_there_from_when_it_is_speech_to_its_first_frame_of_silence() {
    let mut segmenter = Segmenter::new(&hear());
    let mut voiced = String::new();
    for digit in "0099994990900000000009".bytes() {
        segmenter.push(f32::from(digit - b'0') / 10.0);
        voiced.push(if segmenter.is_voiced() { 'v' } else { '.' });
    }
    assert_eq!(voiced, "....vvvvv.v...........");
}

#[test]
fn a_turn_that_never_ends_is_cut_and_goes_on_as_another() {
    let mut segmenter = Segmenter::new(&DetectPlan { max_turn: Ms(10.0 * 32.0), ..hear() });
    let events = run(&mut segmenter, "09999999999999999999999");
    let wanted = "start 1, turn 1-11 keep 0-11 at 11, start 11, turn 11-21 keep 11-21 at 21";
    assert_eq!(tell(&events), wanted);
}

#[test]
fn a_file_that_ends_in_a_turn_ends_it() {
    for (digits, wanted) in [
        ("", None),
        ("99", None),
        ("0999", Some("turn 1-4 keep 0-4")),
        ("09990000", Some("turn 1-4 keep 0-6")),
        ("0999000000000000", None),
    ] {
        let mut segmenter = Segmenter::new(&hear());
        run(&mut segmenter, digits);
        assert_eq!(segmenter.finish().as_ref().map(tell_turn).as_deref(), wanted, "{digits}");
        assert_eq!(segmenter.finish(), None, "a turn ends once");
    }
}

#[test]
fn no_number_is_no_voice() {
    let mut segmenter = Segmenter::new(&hear());
    for _ in 0..20 {
        assert_eq!(segmenter.push(f32::NAN), None);
    }
}

proptest! {
    /// For any input: events alternate as they must, every turn ends exactly once, kept ranges lie
    /// inside the sound and never overlap, and no turn is longer than allowed.
    #[test]
    fn turns_are_orderly(
        probabilities in proptest::collection::vec(0.0f32..1.0, 0..600),
        stretch in 1usize..12,
        min_speech in 0.0f64..300.0,
        min_silence in 0.0f64..900.0,
        speech_pad in 0.0f64..500.0,
        max_turn in 32.0f64..5000.0,
    ) {
        let plan = DetectPlan {
            min_speech: Ms(min_speech), min_silence: Ms(min_silence), speech_pad: Ms(speech_pad), max_turn: Ms(max_turn), ..hear()
        };
        let mut segmenter = Segmenter::new(&plan);
        let (mut open, mut paused, mut free, mut heard) = (None, false, 0, 0);
        // A candidate may be three quarters silence.
        let longest = SampleRate::HEARING.samples(Ms(max_turn.max(4.0 * min_speech))) as u64 + PAUSE + 2 * F;
        let mut events = Vec::new();
        for &probability in probabilities.iter().flat_map(|p| std::iter::repeat_n(p, stretch)) {
            heard += F;
            events.extend(segmenter.push(probability).map(|event| (heard, event)));
        }
        events.extend(segmenter.finish().map(|turn| (heard, SpeechEvent::TurnEnded(turn))));
        for (heard, event) in events {
            match event {
                SpeechEvent::Started { at } => {
                    prop_assert!(open.is_none() && free <= at && at < heard);
                    (open, paused) = (Some(at), false);
                }
                SpeechEvent::Paused { at } => {
                    prop_assert!(open.is_some_and(|start| start < at) && !paused && at + PAUSE <= heard);
                    paused = true;
                }
                SpeechEvent::Resumed { at } => {
                    prop_assert!(open.is_some() && paused && at + F == heard);
                    paused = false;
                }
                SpeechEvent::TurnEnded(turn) => {
                    let start = open.take().expect("a turn that ends has started");
                    prop_assert!(turn.start == start && free <= turn.keep.start && turn.keep.start <= start);
                    prop_assert!(start < turn.end && turn.end <= turn.keep.end && turn.keep.end <= heard);
                    prop_assert!(turn.end - start <= longest);
                    free = turn.keep.end;
                }
            }
        }
        prop_assert!(open.is_none());
    }
}
