//! Whisper's languages, numbered as in its vocabulary.

use std::path::{Path, PathBuf};

use super::AsrError;
use crate::config::AsrPlan;

/// Least probability with which another language is accepted.
const SURE: f32 = 0.5;
/// Probability below which a sound is most probably not in a language. Whisper base gives 229
/// recordings of English, many with an accent, 0.6 and more; 21 of 24 samples of eight other
/// languages at most 0.07.
const IMPROBABLE: f32 = 0.1;

/// Finding that a sound is not in the language that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherLanguage {
    /// Code of the most probable language, if its probability exceeds that of all others together.
    pub likeliest: Option<&'static str>,
}

/// Language that Whisper knows, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsrLanguage(pub usize);

impl AsrLanguage {
    /// Language that the plan sets. Until one is detected, it is English.
    pub fn planned(plan: &AsrPlan, multilingual: bool, model: &Path) -> Result<Self, AsrError> {
        let code = plan.language.as_deref().unwrap_or("en");
        let language = AsrLanguage::of(code).ok_or_else(|| AsrError::Language { language: code.to_owned() })?;
        if !multilingual && code != "en" {
            return Err(AsrError::EnglishOnly { model: PathBuf::from(model), language: code.to_owned() });
        }
        Ok(language)
    }

    /// Language with this code. whisper.cpp takes whole English names as well, and must not be
    /// given a text with a zero byte; a code has at most three letters.
    fn of(code: &str) -> Option<Self> {
        let is_code = (1..=3).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_lowercase());
        let id = is_code.then(|| whisper_rs::get_lang_id(code)).flatten()?;
        usize::try_from(id).ok().map(AsrLanguage)
    }

    /// Takes over the language that was detected with certainty, where the plan leaves it to the
    /// model. Returns whether it changed: then the sound has to be transcribed again.
    pub fn follow(&mut self, heard: Option<Self>, plan: &AsrPlan, multilingual: bool) -> bool {
        let heard = heard.filter(|_| plan.language.is_none() && multilingual);
        heard.is_some_and(|heard| std::mem::replace(self, heard) != heard)
    }

    /// Language with the highest of `logits`, which are those of all languages in order, if it is
    /// probable enough.
    pub fn detected(logits: &[f32]) -> Option<Self> {
        let (best, logit) = logits.iter().copied().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
        (share(logits.iter().copied(), Some(logit)) >= SURE).then_some(AsrLanguage(best))
    }

    /// Checks `logits` of all languages: returns another language if the sound is most probably not
    /// in this one.
    pub fn other(self, logits: &[f32]) -> Option<OtherLanguage> {
        let own = share(logits.iter().copied(), logits.get(self.0).copied());
        let likeliest = Self::detected(logits).map(AsrLanguage::code);
        (!logits.is_empty() && own < IMPROBABLE).then_some(OtherLanguage { likeliest })
    }

    pub fn code(self) -> &'static str {
        whisper_rs::get_lang_str(self.0 as i32).unwrap_or("en")
    }
}

/// English name of the language with this code, with a capital: `German` for `de`. `None` for a
/// code that Whisper does not know.
pub fn name(code: &str) -> Option<String> {
    let name = whisper_rs::get_lang_str_full(AsrLanguage::of(code)?.0 as i32)?;
    let capital = |word: &str| word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect();
    Some(name.split(' ').map(capital).collect::<Vec<String>>().join(" "))
}

/// Distance below the highest logit at which a logit adds nothing: fifty thousand of them together
/// are less than a millionth.
const NEGLIGIBLE: f32 = -25.0;

/// Probability of one logit among all.
pub fn share(logits: impl Iterator<Item = f32> + Clone, one: Option<f32>) -> f32 {
    let Some(one) = one else { return 0.0 };
    let highest = logits.clone().fold(f32::NEG_INFINITY, f32::max);
    let counts = logits.map(|logit| logit - highest).filter(|below| *below > NEGLIGIBLE);
    (one - highest).exp() / counts.map(f32::exp).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn a_language_is_believed_when_it_is_likelier_than_all_others() {
        for (logits, wanted) in [
            (&[][..], None),
            (&[1.0, 4.0, 1.0], Some(AsrLanguage(1))),
            (&[1.0, 1.0, 1.0], None),
            (&[f32::NEG_INFINITY, 0.0], Some(AsrLanguage(1))),
        ] {
            assert_eq!(AsrLanguage::detected(logits), wanted, "{logits:?}");
        }
        assert_eq!((AsrLanguage(0).code(), AsrLanguage(2).code()), ("en", "de"));
    }

    #[test]
    fn another_language_is_heard_where_the_set_one_is_improbable() {
        let [english, german] = [AsrLanguage(0), AsrLanguage(2)];
        let logits = [0.0, 0.0, 5.0];
        assert_eq!(english.other(&logits), Some(OtherLanguage { likeliest: Some("de") }));
        assert_eq!(english.other(&[0.0, 4.0, 4.0]), Some(OtherLanguage { likeliest: None }));
        assert_eq!((german.other(&logits), english.other(&[1.0; 3]), english.other(&[])), (None, None, None));
    }

    #[test]
    fn another_language_is_followed_where_none_is_planned() {
        let [english, german] = [AsrLanguage(0), AsrLanguage(2)];
        for (planned, multilingual, heard, another) in [
            (None, true, Some(german), true),
            (None, true, Some(english), false),
            (None, true, None, false),
            (None, false, Some(german), false),
            (Some("en"), true, Some(german), false),
        ] {
            let mut plan = config::load(&config::Sources { cores: 1, ..Default::default() }).unwrap().plan.asr;
            plan.language = planned.map(str::to_owned);
            let mut language = english;
            assert_eq!(language.follow(heard, &plan, multilingual), another);
            assert_eq!(language, if another { german } else { english });
        }
    }

    #[test]
    fn languages_have_names() {
        for (code, wanted) in [("de", Some("German")), ("en", Some("English")), ("ht", Some("Haitian Creole"))] {
            assert_eq!(name(code).as_deref(), wanted);
        }
        for code in ["", "tlh", "german", "DE", "d\0", "é"] {
            assert_eq!(name(code), None, "{code:?}");
        }
        // No name of Whisper's own makes it fail.
        (0..99).for_each(|n| assert!(name(AsrLanguage(n).code()).is_some_and(|name| !name.is_empty()), "{n}"));
    }

    #[test]
    fn a_share_is_a_softmax() {
        let logits = [0.0, 3f32.ln(), f32::NEG_INFINITY];
        assert!((share(logits.into_iter(), Some(logits[1])) - 0.75).abs() < 1e-6);
        assert_eq!(share(logits.into_iter(), None), 0.0);
    }
}
