//! Check that a text accounts for the sound: Whisper may leave out whole sentences, and the text of
//! the rest is still fluent and probable. Pure functions.

use std::ops::Range;

use super::verdict::Decoded;
use crate::level::power;
use crate::types::{Ms, SampleRate};

/// Samples of a step, 20 ms, over which loudness is compared.
const STEP: usize = 320;
/// Limits of a voiced step: at most 25 dB below the loudest steps, and 6 dB above the quietest.
const BELOW_LOUDEST: f32 = 0.003;
const ABOVE_QUIETEST: f32 = 4.0;
/// Shortest pause in steps, 200 ms; a shorter one belongs to the voice around it.
const PAUSE: usize = 10;
/// Error of Whisper's times, about 0.3 s; it prefers whole seconds.
const TIME_ERROR: usize = 4_800;
/// Shortest voice outside all segments that counts, 0.5 s; less is explained by inexact times.
const LEAST_GAP: usize = 8_000;

/// Letters per second of voice below which words may be missing. Slow speech has 8, reading aloud
/// 15; numbers written in digits have 5.
const FEW_LETTERS: f64 = 4.0;
/// Letters per second of voice below which words are certainly missing.
const TOO_FEW_LETTERS: f64 = 2.0;
/// Least amount of voice that allows a judgement of the rate.
const LEAST_VOICE: Ms = Ms(1_500.0);
const ENOUGH_VOICE: Ms = Ms(3_000.0);
/// Letters that take as long to say as one Chinese, Japanese or Korean character.
const LETTERS_PER_IDEOGRAPH: usize = 3;

/// Ranges of `samples` (16 kHz) that are loud enough to be voice. In noise all of it is.
pub fn voiced(samples: &[f32]) -> Vec<Range<usize>> {
    let powers: Vec<f32> = samples.chunks(STEP).map(power).collect();
    let mut sorted = powers.clone();
    sorted.sort_unstable_by(f32::total_cmp);
    let at = |share: f32| sorted.get(((sorted.len().max(1) - 1) as f32 * share) as usize).copied().unwrap_or(0.0);
    let limit = (at(0.95) * BELOW_LOUDEST).max((at(0.05) * ABOVE_QUIETEST).min(at(0.5) * 0.5));
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for (n, _) in powers.iter().enumerate().filter(|(_, power)| **power > limit) {
        match stretches.last_mut() {
            Some(last) if n - last.end <= PAUSE => last.end = n + 1,
            _ => stretches.push(n..n + 1),
        }
    }
    stretches.into_iter().map(|s| s.start * STEP..(s.end * STEP).min(samples.len())).collect()
}

fn length(stretches: &[Range<usize>]) -> Ms {
    SampleRate::HEARING.duration(stretches.iter().map(Range::len).sum())
}

/// Number of letters in a text that take time to say.
pub fn letters(text: &str) -> usize {
    let weight = |letter: char| match letter {
        '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7AF}' => LETTERS_PER_IDEOGRAPH,
        letter => usize::from(letter.is_alphanumeric()),
    };
    text.chars().map(weight).sum()
}

/// Whether `text` is so short for the voice in `samples` that words may be missing.
pub fn is_thin(samples: &[f32], text: &str) -> bool {
    rate(samples, text, LEAST_VOICE).is_some_and(|rate| rate < FEW_LETTERS)
}

/// Whether `text` is so short for the voice in `samples` that words must be missing.
pub fn is_incomplete(samples: &[f32], text: &str) -> bool {
    rate(samples, text, ENOUGH_VOICE).is_some_and(|rate| rate < TOO_FEW_LETTERS)
}

/// Letters per second of voice, where there is enough voice for a judgement.
fn rate(samples: &[f32], text: &str, enough: Ms) -> Option<f64> {
    let voice = length(&voiced(samples));
    (voice.0 >= enough.0).then(|| letters(text) as f64 * 1000.0 / voice.0)
}

/// Ranges of samples with voice outside the segments of `decoded`, in order. Empty for a result
/// without segments, whose coverage is unknown.
pub fn gaps(samples: &[f32], decoded: &Decoded) -> Vec<Range<usize>> {
    if decoded.segments.is_empty() {
        return Vec::new();
    }
    let sample = |time: Ms| SampleRate::HEARING.samples(time).min(samples.len());
    let ends = decoded.segments.iter().map(|segment| sample(segment.end));
    let starts = decoded.segments.iter().map(|segment| sample(segment.start));
    let between = [0].into_iter().chain(ends).zip(starts.chain([samples.len()]));
    let voice = voiced(samples);
    between.filter_map(|(from, to)| uncovered(&voice, from, to, samples.len())).collect()
}

/// Voice between two segments, if it is more than inexact times explain.
fn uncovered(voice: &[Range<usize>], from: usize, to: usize, end: usize) -> Option<Range<usize>> {
    // Before the first segment and after the last, the voice can only be missing text.
    let inner =
        if from == 0 { 0 } else { from + TIME_ERROR }..if to == end { end } else { to.saturating_sub(TIME_ERROR) };
    let inside = |stretch: &Range<usize>| stretch.start.max(inner.start)..stretch.end.min(inner.end);
    let parts: Vec<_> = voice.iter().map(inside).filter(|part| part.start < part.end).collect();
    let long = parts.iter().map(Range::len).sum::<usize>() >= LEAST_GAP;
    long.then(|| parts[0].start..parts[parts.len() - 1].end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asr::verdict::Timed;

    const SECOND: usize = 16_000;

    /// Voice at these seconds, over faint noise.
    fn voice(seconds: usize, at: &[Range<f64>]) -> Vec<f32> {
        let speaks = |second: f64| at.iter().any(|range| range.contains(&second));
        let level = |n: usize| if speaks(n as f64 / SECOND as f64) { 0.3 } else { 0.001 };
        (0..seconds * SECOND).map(|n| level(n) * (n as f32 * 12.9898).sin()).collect()
    }

    fn decoded(segments: &[(f64, f64, &str)]) -> Decoded {
        let timed = |&(start, end, text): &(f64, f64, &str)| Timed {
            start: Ms(start * 1000.0),
            end: Ms(end * 1000.0),
            text: text.to_owned(),
            logprob: -0.1,
        };
        Decoded {
            text: segments.iter().map(|segment| segment.2).collect::<Vec<_>>().join(" "),
            logprob: -0.1,
            no_speech: 0.0,
            ending: None,
            circled: false,
            segments: segments.iter().map(timed).collect(),
            other_language: None,
        }
    }

    #[test]
    fn voice_is_found_in_stretches() {
        let stretches = voiced(&voice(10, &[1.0..3.0, 3.1..4.0, 6.0..7.0]));
        let seconds: Vec<_> =
            stretches.iter().map(|s| (s.start as f64 / SECOND as f64, s.end as f64 / SECOND as f64)).collect();
        assert_eq!(seconds, [(1.0, 4.0), (6.0, 7.0)]);
        assert!(voiced(&[]).is_empty() && voiced(&[0.0; SECOND]).is_empty());
    }

    #[test]
    fn voice_outside_segments_is_a_gap() {
        let sound = voice(20, &[1.0..4.0, 6.0..9.0, 12.0..15.0]);
        let gaps = |segments: &[(f64, f64, &str)]| {
            let gaps = gaps(&sound, &decoded(segments));
            gaps.into_iter().map(|gap| (gap.start / SECOND, gap.end / SECOND)).collect::<Vec<_>>()
        };
        assert_eq!(gaps(&[(1.0, 4.0, "a"), (6.0, 9.0, "b"), (12.0, 15.0, "c")]), []);
        assert_eq!(gaps(&[(1.2, 3.8, "a"), (6.0, 9.0, "b"), (12.0, 14.5, "c")]), [], "inexact times");
        assert_eq!(gaps(&[(1.0, 4.0, "a"), (12.0, 15.0, "c")]), [(6, 9)]);
        assert_eq!(gaps(&[(6.0, 9.0, "b")]), [(1, 4), (12, 15)]);
        assert_eq!(gaps(&[]), [], "without times nothing is known");
    }

    #[test]
    fn short_texts_of_much_voice_are_thin() {
        let sound = voice(10, &[1.0..9.0]);
        let sentence = "He was not an ill-disposed young man, unless to be cold-hearted and selfish is ill-disposed.";
        for (text, thin, incomplete) in [
            ("painful to myself", true, true),
            ("", true, true),
            ("He was not an ill-disposed man", true, false),
            (sentence, false, false),
            ("今日はとても天気がいいですね", false, false),
        ] {
            assert_eq!((is_thin(&sound, text), is_incomplete(&sound, text)), (thin, incomplete), "{text}");
        }
        assert!(!is_thin(&voice(3, &[1.0..2.0]), ""), "too little voice to tell");
    }
}
