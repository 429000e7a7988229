//! Probability that a turn is over, from three inputs: the turn detector's (prosody), the
//! transcriber's probability of an end mark, and the language model's probability of a sentence
//! end.
//!
//! None of them knows much alone, so they are added up as logistic regression does: log-odds times
//! a weight each, and a bias. The weights hold for the models they were fitted to
//! ([`TurnWeights`]).

use super::input::{TurnTranscript, TurnVerdict};
use super::settings::{FeatureWeight, TurnWeights};
use super::words::{Completeness, completeness, ends_with_marks};

/// Inputs of the decision at a pause.
pub(super) struct Evidence<'a> {
    pub(super) transcript: &'a TurnTranscript,
    /// The end-of-turn model's probability that the turn is complete.
    pub(super) voice: Option<f32>,
    /// The language model's probability of an end mark behind the words.
    pub(super) words: Option<f32>,
}

/// The inputs as they are added up: log-odds that the turn is over, each `None` where it is
/// missing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LogOdds {
    /// Log-odds by the turn detector.
    pub voice: Option<f32>,
    /// Log-odds by the language model, or by the lists of words where those know better.
    pub words: Option<f32>,
    /// Log-odds by the transcriber's end mark.
    pub written: Option<f32>,
}

/// Bounds an input's log-odds, at one in 400: no model is right more often.
const MOST: f32 = 6.0;
/// Log-odds by the lists of words where the language model gives none: for a finished sentence the
/// mean of what the model gives, for a last word that others must follow more than it ever gives.
const FINISHED: f32 = -0.9;
const INCOMPLETE: f32 = -8.0;
/// Log-odds of one in twenty. Below it the language model does not contradict the lists.
const DOUBTED: f32 = -2.9;

impl FeatureWeight {
    fn times(&self, log_odds: Option<f32>) -> f32 {
        self.factor * log_odds.unwrap_or(self.missing)
    }
}

impl Evidence<'_> {
    /// The inputs of the sum. `None` where no words are understood that could be over.
    pub(super) fn log_odds(&self) -> Option<LogOdds> {
        let TurnTranscript { language, verdict, ending, .. } = self.transcript;
        if *verdict != TurnVerdict::Certain {
            return None;
        }
        let marked = ends_with_marks(language);
        let written = ending.filter(|_| marked).map(log_odds);
        Some(LogOdds { voice: self.voice.map(log_odds), words: self.of_words(marked), written })
    }

    /// The probability that the turn is over, 0..=1. `None` where no words are understood that
    /// could be over.
    pub(super) fn over(&self, weights: &TurnWeights) -> Option<f32> {
        let TurnWeights { voice, words, written, bias } = weights;
        let inputs = self.log_odds()?;
        let sum = voice.times(inputs.voice) + words.times(inputs.words) + written.times(inputs.written) + bias;
        Some(1.0 / (1.0 + (-sum).exp()))
    }

    fn of_words(&self, marked: bool) -> Option<f32> {
        let weighed = self.words.filter(|_| marked).map(log_odds);
        match completeness(&self.transcript.text, &self.transcript.language) {
            Completeness::Incomplete if weighed.is_none_or(|weighed| weighed < DOUBTED) => Some(INCOMPLETE),
            Completeness::Finished => weighed.or(Some(FINISHED)),
            Completeness::Incomplete | Completeness::Unknown => weighed,
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
        Evidence { transcript: &transcript, voice, words }.over(&TurnWeights::default()).unwrap()
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
    fn every_input_counts_and_none_is_needed() {
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
        assert_eq!(
            Evidence { transcript: &transcript, voice: Some(1.0), words: None }.over(&TurnWeights::default()),
            None
        );
        let thai = |ending, words| {
            let (text, language) = ("สวัสดีครับ".to_owned(), "th".to_owned());
            let transcript = TurnTranscript { text, language, verdict: TurnVerdict::Certain, ending };
            Evidence { transcript: &transcript, voice: Some(0.9), words }.over(&TurnWeights::default())
        };
        assert_eq!(thai(None, None), thai(Some(0.01), Some(0.0001)));
    }
}
