//! Judgement of a transcript. Pure functions: from sound levels before recognition, and from
//! Whisper's probabilities after.

use std::fmt;

use super::language::OtherLanguage;
use crate::config::AsrPlan;
use crate::level;
use crate::types::{Ms, SampleRate};

/// Judgement whether the text is what was said.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Certain,
    /// Something was said, but perhaps not this text: ask again rather than answer.
    Doubtful(Doubt),
    /// Nobody spoke: there is nothing to answer.
    Nothing(NoSpeech),
}

impl Verdict {
    /// Name in lower case, for `--json`.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Certain => "certain",
            Verdict::Doubtful(_) => "doubtful",
            Verdict::Nothing(_) => "nothing",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Doubt {
    /// The mean log-probability of its tokens is too low.
    Unlikely { logprob: f32 },
    /// The text repeats itself, or did until it was stopped.
    Repeats,
    /// The text is longer than anybody can speak in the time.
    TooMuchText,
    /// The text is shorter than the voice in the sound implies.
    TooLittleText,
    /// The sound is in another language than the one that is set.
    OtherLanguage(OtherLanguage),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NoSpeech {
    /// The sound is shorter than 100 ms.
    TooShort,
    /// No sample is loud enough to be heard.
    Silence,
    /// The loudness never changes, as of a fan or a tone; speech rises and falls.
    Steady,
    /// The voice activity detector found no voice.
    NoVoice,
    /// Whisper detects no speech.
    NotSpeech { no_speech: f32 },
    /// The text has no words.
    NoWords,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::Unlikely { logprob } => write!(f, "its words are unlikely (mean log-probability {logprob:.2})"),
            Doubt::Repeats => f.write_str("it repeats itself"),
            Doubt::TooMuchText => f.write_str("it is more text than can be spoken in the time"),
            Doubt::TooLittleText => f.write_str("words are missing: it is too little text for so much voice"),
            Doubt::OtherLanguage(OtherLanguage { likeliest: Some(heard) }) => {
                write!(f, "it sounds like the language \"{heard}\"; set [asr] language to it or to \"auto\"")
            }
            Doubt::OtherLanguage(_) => f.write_str("it does not sound like the language that [asr] language sets"),
        }
    }
}

impl fmt::Display for NoSpeech {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoSpeech::TooShort => f.write_str("the sound is shorter than 100 ms"),
            NoSpeech::Silence => f.write_str("the sound is silent"),
            NoSpeech::Steady => f.write_str("the sound is a steady noise"),
            NoSpeech::NoVoice => f.write_str("there is no voice in the sound"),
            NoSpeech::NotSpeech { no_speech } => write!(f, "the sound is no speech (probability {no_speech:.2})"),
            NoSpeech::NoWords => f.write_str("no words were heard"),
        }
    }
}

/// Whisper's result for a piece of sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub text: String,
    /// Mean log-probability of the tokens, the end of text included.
    pub logprob: f32,
    pub no_speech: f32,
    /// Probability, 0 to 1, that its last word ends a sentence; `None` where it is unknown.
    pub ending: Option<f32>,
    /// Whether it had to be stopped.
    pub circled: bool,
    /// Segments of the text with their times, in order. Empty where it was written without times.
    pub segments: Vec<Timed>,
    /// Other language that the sound seems to be in, if not that of the text.
    pub other_language: Option<OtherLanguage>,
}

/// Piece of text with its time from the start of the sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed {
    pub start: Ms,
    pub end: Ms,
    pub text: String,
    /// Mean log-probability of its tokens.
    pub logprob: f32,
}

/// Shortest sound that whisper.cpp accepts, in samples at 16 kHz: 100 ms.
const SHORTEST: usize = 1_600;
/// Power of -90 dBFS, the lowest of 16 bits. Softer sound does not come from a microphone.
const SILENT: f32 = 1e-9;
/// Letters in a second that nobody exceeds. Reading aloud is about 15.
const MOST_LETTERS_PER_SECOND: f64 = 32.0;
const LETTERS_AT_LEAST: f64 = 16.0;
/// Share of the least accepted log-probability below which text of sound that may be no speech is
/// dropped. Of 138 pieces of kitchen, dishes, bicycle and music, 4 s each, Whisper base gives all
/// but singing a mean log-probability below -0.7; of 229 utterances one is below -0.5, with a
/// no-speech probability of 0.22.
const UNLIKELY: f32 = 0.5;
/// Shortest sound whose language can be judged.
const LEAST_OF_LANGUAGE: Ms = Ms(1_000.0);
/// Number of words from which a text with few different words is no sentence.
const REPEATED_WORDS: usize = 12;
const LEAST_DIFFERENT: f64 = 0.34;

/// Judges by its levels alone whether a sound cannot be speech.
pub fn without_listening(samples: &[f32]) -> Option<NoSpeech> {
    if samples.len() < SHORTEST {
        return Some(NoSpeech::TooShort);
    }
    let powers = level::steps(samples, SampleRate::HEARING);
    if powers.iter().all(|power| *power < SILENT) {
        return Some(NoSpeech::Silence);
    }
    level::is_steady(&powers).then_some(NoSpeech::Steady)
}

/// Text without what Whisper writes for sounds: notes, and remarks that are the whole text, as in
/// `[Music]`.
pub fn words(text: &str) -> String {
    let text = text.replace(['♪', '♫', '\u{FFFD}'], "");
    let text = text.trim();
    let remark = [('[', ']'), ('(', ')'), ('*', '*')].iter().any(|&(open, close)| {
        let inside = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
        inside.is_some_and(|inside| !inside.contains(close))
    });
    if remark { String::new() } else { text.to_owned() }
}

pub fn verdict(decoded: &Decoded, length: Ms, plan: &AsrPlan) -> Verdict {
    match no_speech(decoded, plan) {
        Some(nothing) => Verdict::Nothing(nothing),
        None => doubt(decoded, length, plan).map_or(Verdict::Certain, Verdict::Doubtful),
    }
}

/// Reason why the text is not speech, if so. A high no-speech probability alone is no proof: clear
/// words after a long silence have one, too.
fn no_speech(decoded: &Decoded, plan: &AsrPlan) -> Option<NoSpeech> {
    let Decoded { ref text, logprob, no_speech, .. } = *decoded;
    if !text.chars().any(char::is_alphanumeric) {
        return Some(NoSpeech::NoWords);
    }
    is_noise(no_speech, logprob, plan).then_some(NoSpeech::NotSpeech { no_speech })
}

/// Whether a text with this no-speech probability and this mean log-probability was written for
/// noise.
pub fn is_noise(no_speech: f32, logprob: f32, plan: &AsrPlan) -> bool {
    no_speech > plan.max_no_speech && logprob < plan.min_logprob * UNLIKELY
}

fn doubt(decoded: &Decoded, length: Ms, plan: &AsrPlan) -> Option<Doubt> {
    let letters = decoded.text.chars().filter(|letter| letter.is_alphanumeric()).count() as f64;
    if decoded.circled || is_monotonous(&decoded.text) {
        Some(Doubt::Repeats)
    } else if letters > LETTERS_AT_LEAST + MOST_LETTERS_PER_SECOND * length.0 / 1000.0 {
        Some(Doubt::TooMuchText)
    } else if decoded.logprob < plan.min_logprob {
        Some(Doubt::Unlikely { logprob: decoded.logprob })
    } else {
        decoded.other_language.filter(|_| length.0 >= LEAST_OF_LANGUAGE.0).map(Doubt::OtherLanguage)
    }
}

/// Whether a text has many words, few of them different.
fn is_monotonous(text: &str) -> bool {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    let different: std::collections::BTreeSet<&String> = words.iter().collect();
    words.len() >= REPEATED_WORDS && (different.len() as f64) < words.len() as f64 * LEAST_DIFFERENT
}

/// Verdict on several pieces: doubtful if any is, certain if any is certain and none doubtful, else
/// nothing.
pub fn overall<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Verdict {
    let rank = |verdict: &Verdict| match verdict {
        Verdict::Nothing(_) => 0,
        Verdict::Certain => 1,
        Verdict::Doubtful(_) => 2,
    };
    verdicts.max_by_key(|verdict| rank(verdict)).cloned().unwrap_or(Verdict::Nothing(NoSpeech::TooShort))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> AsrPlan {
        AsrPlan {
            model: String::new(),
            backend: crate::config::Backend::Auto,
            language: None,
            threads: 1,
            threads_beside: 1,
            min_logprob: -1.0,
            max_no_speech: 0.3,
            unclear_reply: String::new(),
        }
    }

    fn decoded(text: &str, logprob: f32, no_speech: f32) -> Decoded {
        let text = text.to_owned();
        Decoded { text, logprob, no_speech, ending: None, circled: false, segments: Vec::new(), other_language: None }
    }

    /// Checks figures from real recordings.
    #[test]
    fn speech_is_certain_noise_is_nothing_and_the_rest_is_doubtful() {
        let two = Ms(2000.0);
        for (text, logprob, no_speech, wanted) in [
            ("Turn on the living room lamp.", -0.09, 0.0, "Certain"),
            ("10 of clubs", -0.53, 0.17, "Certain"),
            ("10 of clubs, 7 of clubs", -0.14, 0.74, "Certain"),
            ("She called his name many times.", -0.08, 0.31, "Certain"),
            ("Thank you.", -0.96, 0.584, "Nothing"),
            ("I'm going to put the meat in the pan.", -1.60, 0.345, "Nothing"),
            ("you", -0.56, 0.85, "Nothing"),
            ("...", -0.1, 0.0, "Nothing"),
            ("", -0.1, 0.0, "Nothing"),
            ("Some mumbled words", -1.2, 0.1, "Doubtful"),
            (
                "a ticket to the end of the line and all the way back to where the very first train comes from now, please",
                -0.2,
                0.0,
                "Doubtful",
            ),
        ] {
            let verdict = verdict(&decoded(text, logprob, no_speech), two, &plan());
            assert!(format!("{verdict:?}").starts_with(wanted), "{text}: {verdict:?}");
        }
    }

    #[test]
    fn repetition_is_doubtful() {
        let minute = Ms(60_000.0);
        for (text, circled) in [("Yes yes", true), ("and then ".repeat(8).as_str(), false)] {
            let decoded = Decoded { circled, ..decoded(text, -0.1, 0.0) };
            assert_eq!(verdict(&decoded, minute, &plan()), Verdict::Doubtful(Doubt::Repeats), "{text}");
        }
    }

    #[test]
    fn sound_that_cannot_be_speech_is_not_listened_to() {
        let wave =
            |level: &dyn Fn(usize) -> f32| (0..32_000).map(|i| level(i) * (i as f32 * 0.3).sin()).collect::<Vec<_>>();
        for (samples, wanted) in [
            (vec![], Some(NoSpeech::TooShort)),
            (vec![0.5], Some(NoSpeech::TooShort)),
            (vec![0.0; 16_000], Some(NoSpeech::Silence)),
            (wave(&|_| 0.00003), Some(NoSpeech::Silence)),
            (wave(&|_| 0.3), Some(NoSpeech::Steady)),
            (wave(&|i| if i % 8_000 < 4_000 { 0.3 } else { 0.01 }), None),
        ] {
            assert_eq!(without_listening(&samples), wanted);
        }
    }

    #[test]
    fn remarks_are_no_words() {
        for (text, wanted) in [
            (" [Music]", ""),
            ("(water running)", ""),
            ("*sighs*", ""),
            ("♪ ♪", ""),
            (" ♪ Oh sweet darling ♪", "Oh sweet darling"),
            (" Press (any) key (now)", "Press (any) key (now)"),
            ("(a) or (b)", "(a) or (b)"),
            ("*", "*"),
        ] {
            assert_eq!(words(text), wanted, "{text}");
        }
    }

    #[test]
    fn the_whole_is_as_doubtful_as_its_least_certain_piece() {
        let nothing = Verdict::Nothing(NoSpeech::Silence);
        let doubtful = Verdict::Doubtful(Doubt::Repeats);
        for (verdicts, wanted) in [
            (vec![], Verdict::Nothing(NoSpeech::TooShort)),
            (vec![nothing.clone()], nothing.clone()),
            (vec![Verdict::Certain, nothing.clone()], Verdict::Certain),
            (vec![Verdict::Certain, doubtful.clone(), nothing.clone()], doubtful.clone()),
        ] {
            assert_eq!(overall(verdicts.iter()), wanted);
        }
    }
}
