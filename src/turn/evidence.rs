//! How likely a turn is over, by what three witnesses make of it: the end-of-turn model of how the
//! voice fell, the transcriber of what to write behind the last word, and the language model of the
//! words.
//!
//! None of them knows much alone. Of 97 recordings there are the ends and 484 pauses before them,
//! 36 of the speakers' own and the others made where the voice is weakest: the witnesses rank an
//! end above a pause in 88, 82 and 87 of 100 pairs, all of them together in 95. So what they say is
//! added up, log-odds times a weight each, as logistic regression over those recordings weighs it.
//! (The 95 are of recordings that the weights were not fitted to, a tenth at a time.) The models
//! were Smart Turn 3.2, Whisper base in eight bits, and Qwen2.5-Coder-0.5B.

use super::input::{TurnTranscript, TurnVerdict};
use super::words::{Completeness, completeness, ends_with_marks};

/// What is known of an utterance that has paused.
pub(super) struct Evidence<'a> {
    pub(super) transcript: &'a TurnTranscript,
    /// The end-of-turn model's probability that the turn is complete.
    pub(super) voice: Option<f32>,
    /// The language model's probability of an end mark behind the words.
    pub(super) words: Option<f32>,
}

/// A witness.
struct Feature {
    weight: f32,
    /// Log-odds that say least when it is silent: those with which the others' explain the
    /// recordings best.
    silent: f32,
}

const VOICE: Feature = Feature { weight: 0.67, silent: 1.5 };
const WORDS: Feature = Feature { weight: 0.59, silent: -2.0 };
const WRITTEN: Feature = Feature { weight: 0.78, silent: 1.5 };
const BIAS: f32 = -1.28;

/// No witness is believed beyond these log-odds, one in 400.
const MOST: f32 = 6.0;
/// What the lists of words stand for where the language model says nothing: a finished sentence for
/// what it says of an end in the mean, and a last word that must be followed by others for more
/// than it would ever say.
const FINISHED: f32 = -0.9;
const HANGING: f32 = -8.0;
/// Log-odds of one in twenty. Below it the language model does not contradict the lists.
const DOUBTED: f32 = -2.9;

impl Feature {
    fn says(&self, log_odds: Option<f32>) -> f32 {
        self.weight * log_odds.unwrap_or(self.silent)
    }
}

impl Evidence<'_> {
    /// The probability that the turn is over, 0..=1. `None` where no words are understood that
    /// could be over.
    pub(super) fn over(&self) -> Option<f32> {
        let TurnTranscript { language, verdict, ending, .. } = self.transcript;
        if *verdict != TurnVerdict::Certain {
            return None;
        }
        let marked = ends_with_marks(language);
        let written = ending.filter(|_| marked).map(log_odds);
        let sum = VOICE.says(self.voice.map(log_odds)) + WORDS.says(self.of_words(marked)) + WRITTEN.says(written);
        Some(1.0 / (1.0 + (-(sum + BIAS)).exp()))
    }

    fn of_words(&self, marked: bool) -> Option<f32> {
        let weighed = self.words.filter(|_| marked).map(log_odds);
        match completeness(&self.transcript.text, &self.transcript.language) {
            Completeness::Hanging if weighed.is_none_or(|weighed| weighed < DOUBTED) => Some(HANGING),
            Completeness::Finished => weighed.or(Some(FINISHED)),
            Completeness::Hanging | Completeness::Unknown => weighed,
        }
    }
}

fn log_odds(probability: f32) -> f32 {
    (probability / (1.0 - probability)).ln().clamp(-MOST, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(text: &str, voice: Option<f32>, words: Option<f32>, ending: Option<f32>) -> f32 {
        let language = "en".to_owned();
        let transcript = TurnTranscript { text: text.to_owned(), language, verdict: TurnVerdict::Certain, ending };
        Evidence { transcript: &transcript, voice, words }.over().unwrap()
    }

    /// Recordings, and what was said of them.
    #[test]
    fn ends_are_told_from_pauses() {
        for (text, voice, words, ending) in [
            ("Can I have a light-roast 12-ounce coffee?", 0.942, 0.156, 0.981),
            ("Turn on the living room lamp.", 0.97, 0.4, 0.99),
        ] {
            let over = over(text, Some(voice), Some(words), Some(ending));
            assert!(over > 0.8, "{text}: {over}");
        }
        for (text, voice, words, ending) in [
            ("Can I have", 0.011, 0.0005, 0.33),
            ("Can I have a light rose?", 0.018, 0.19, 0.89),
            ("8. The Press Yard", 0.95, 0.007, 0.7),
        ] {
            let over = over(text, Some(voice), Some(words), Some(ending));
            assert!(over < 0.6, "{text}: {over}");
        }
    }

    #[test]
    fn every_witness_counts_and_none_is_needed() {
        let text = "How is the weather";
        let all = |p| over(text, Some(p), Some(p), Some(p));
        assert!(all(0.0) < 0.01 && all(1.0) > 0.99 && [0.0, 1.0].map(all).iter().all(|over| over.is_finite()));
        let middling = over(text, None, None, None);
        assert!((0.2..0.6).contains(&middling), "{middling}");
        for (low, high) in [
            (over(text, Some(0.1), None, None), over(text, Some(0.9), None, None)),
            (over(text, None, Some(0.01), None), over(text, None, Some(0.5), None)),
            (over(text, None, None, Some(0.3)), over(text, None, None, Some(0.95))),
        ] {
            assert!(low < middling && middling < high, "{low} {middling} {high}");
        }
    }

    #[test]
    fn words_that_hang_need_the_language_model_to_be_believed() {
        let hanging = |words| over("I would like to", Some(0.9), words, Some(0.9));
        assert!(hanging(None) < 0.1 && hanging(Some(0.01)) < 0.1 && hanging(Some(0.3)) > 0.6);
        let finished = |text| over(text, Some(0.9), None, Some(0.9));
        assert!(finished("How is the weather?") > finished("How is the weather"));
    }

    #[test]
    fn what_was_not_understood_is_no_evidence_and_thai_has_no_marks() {
        let transcript = TurnTranscript {
            text: "Hrmblgr".to_owned(),
            language: "en".to_owned(),
            verdict: TurnVerdict::Doubtful,
            ending: Some(1.0),
        };
        assert_eq!(Evidence { transcript: &transcript, voice: Some(1.0), words: None }.over(), None);
        let thai = |ending, words| {
            let (text, language) = ("สวัสดีครับ".to_owned(), "th".to_owned());
            let transcript = TurnTranscript { text, language, verdict: TurnVerdict::Certain, ending };
            Evidence { transcript: &transcript, voice: Some(0.9), words }.over()
        };
        assert_eq!(thai(None, None), thai(Some(0.01), Some(0.0001)));
    }
}
