//! How far a transcript can be trusted. Pure: from sound levels before recognition, and from what Whisper says after.

use std::fmt;

use crate::config::Asr;
use crate::types::Ms;

/// Is it what was said?
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Certain,
    /// Something was said, but perhaps not this: ask again rather than answer.
    Doubtful(Doubt),
    /// Nobody spoke: there is nothing to answer.
    Nothing(NoSpeech),
}

impl Verdict {
    /// In lower case, for `--json`.
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
    /// Whisper thinks that perhaps nobody spoke.
    PerhapsSilence { no_speech: f32 },
    /// It went in circles until it was stopped, or repeats itself.
    Repeats,
    /// More text than anybody can speak in the time.
    TooMuchText,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NoSpeech {
    /// Shorter than 100 ms.
    TooShort,
    /// No sample is loud enough to be heard.
    Silence,
    /// Its loudness never changes, as of a fan or a tone; speech goes up and down.
    Steady,
    /// Whisper hears no speech in it.
    NotSpeech { no_speech: f32 },
    /// It has no words.
    NoWords,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::Unlikely { logprob } => write!(f, "its words are unlikely (mean log-probability {logprob:.2})"),
            Doubt::PerhapsSilence { no_speech } => write!(f, "perhaps nobody spoke (probability {no_speech:.2})"),
            Doubt::Repeats => f.write_str("it repeats itself"),
            Doubt::TooMuchText => f.write_str("it is more text than can be spoken in the time"),
        }
    }
}

impl fmt::Display for NoSpeech {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoSpeech::TooShort => f.write_str("the sound is shorter than 100 ms"),
            NoSpeech::Silence => f.write_str("the sound is silent"),
            NoSpeech::Steady => f.write_str("the sound is a steady noise"),
            NoSpeech::NotSpeech { no_speech } => write!(f, "the sound is no speech (probability {no_speech:.2})"),
            NoSpeech::NoWords => f.write_str("no words were heard"),
        }
    }
}

/// What Whisper says of a piece of sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub text: String,
    /// Mean log-probability of the tokens, the end of text included.
    pub logprob: f32,
    pub no_speech: f32,
    /// It had to be stopped.
    pub circled: bool,
}

/// Samples at 16 kHz below which whisper.cpp does not begin: 100 ms.
const SHORTEST: usize = 1_600;
/// -60 dB of full scale: quieter than the room noise of any microphone that somebody speaks into.
const SILENT: f32 = 1e-6;
/// Loudness is compared over 20 ms.
const STEP: usize = 320;
/// Speech rises and falls by 20 dB and more; a fan, hiss or tone by under 3.
const STEADY: f32 = 2.0;
/// Nobody speaks more letters in a second. Reading aloud is about 15.
const MOST_LETTERS_PER_SECOND: f64 = 32.0;
const LETTERS_AT_LEAST: f64 = 16.0;
/// OpenAI's measure of repetition: text that shrinks by more than this under deflate.
const UNDOUBTED_LOGPROB: f32 = -0.35;

/// Sound that cannot be speech, by its levels alone.
pub fn without_listening(samples: &[f32]) -> Option<NoSpeech> {
    if samples.len() < SHORTEST {
        return Some(NoSpeech::TooShort);
    }
    let mut powers: Vec<f32> =
        samples.chunks_exact(STEP).map(|step| step.iter().map(|s| s * s).sum::<f32>() / STEP as f32).collect();
    powers.sort_unstable_by(f32::total_cmp);
    let at = |share: f32| powers[((powers.len() - 1) as f32 * share) as usize];
    if at(1.0) < SILENT {
        return Some(NoSpeech::Silence);
    }
    (at(0.95) < at(0.05) * STEADY).then_some(NoSpeech::Steady)
}

/// Would a pass with the whole context perhaps do better?
pub fn worth_another_look(reading: &Reading, plan: &Asr) -> bool {
    reading.circled || reading.logprob < plan.min_logprob
}

pub fn verdict(reading: &Result<Reading, NoSpeech>, length: Ms, plan: &Asr) -> Verdict {
    let reading = match reading {
        Ok(reading) => reading,
        Err(nothing) => return Verdict::Nothing(*nothing),
    };
    let Reading { text, logprob, no_speech, circled } = reading;
    let (logprob, no_speech) = (*logprob, *no_speech);
    let letters = text.chars().filter(|letter| letter.is_alphanumeric()).count() as f64;
    if letters == 0.0 {
        return Verdict::Nothing(NoSpeech::NoWords);
    }
    if no_speech > plan.max_no_speech && logprob < UNDOUBTED_LOGPROB {
        return Verdict::Nothing(NoSpeech::NotSpeech { no_speech });
    }
    if *circled {
        return Verdict::Doubtful(Doubt::Repeats);
    }
    if letters > LETTERS_AT_LEAST + MOST_LETTERS_PER_SECOND * length.0 / 1000.0 {
        return Verdict::Doubtful(Doubt::TooMuchText);
    }
    if logprob < plan.min_logprob {
        return Verdict::Doubtful(Doubt::Unlikely { logprob });
    }
    if no_speech > plan.max_no_speech {
        return Verdict::Doubtful(Doubt::PerhapsSilence { no_speech });
    }
    Verdict::Certain
}

/// Of several pieces: doubtful if any is, certain if any is certain and none doubtful, else nothing.
pub fn overall<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Verdict {
    let rank = |verdict: &Verdict| match verdict {
        Verdict::Nothing(_) => 0,
        Verdict::Certain => 1,
        Verdict::Doubtful(_) => 2,
    };
    verdicts.max_by_key(|verdict| rank(verdict)).cloned().unwrap_or(Verdict::Nothing(NoSpeech::TooShort))
}
