//! Whisper's languages, numbered as in its vocabulary.

use std::path::{Path, PathBuf};

use super::AsrError;
use super::attempt::share;
use crate::config::Asr;

/// Below this share another language is not believed.
const SURE: f32 = 0.5;

/// A language that Whisper knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language(pub usize);

impl Language {
    /// The planned language. Until one is detected, English is assumed.
    pub fn planned(plan: &Asr, multilingual: bool, model: &Path) -> Result<Self, AsrError> {
        let code = plan.language.as_deref().unwrap_or("en");
        let refuse = || AsrError::Language { language: code.to_owned() };
        // whisper.cpp also takes whole English names; a code has at most three letters.
        if code.is_empty() || code.len() > 3 || !code.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return Err(refuse());
        }
        if !multilingual && code != "en" {
            return Err(AsrError::EnglishOnly { model: PathBuf::from(model), language: code.to_owned() });
        }
        whisper_rs::get_lang_id(code).and_then(|id| usize::try_from(id).ok()).map(Language).ok_or_else(refuse)
    }

    /// The one with the highest of `logits`, which are those of all languages in order, if that is sure enough.
    pub fn detected(logits: &[f32]) -> Option<Self> {
        let (best, logit) = logits.iter().copied().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
        (share(logits.iter().copied(), Some(logit)) >= SURE).then_some(Language(best))
    }

    pub fn code(self) -> &'static str {
        whisper_rs::get_lang_str(self.0 as i32).unwrap_or("en")
    }
}

/// The English name of the language with this code, as it is written: `German` for `de`. None for a code that Whisper does
/// not know.
pub fn name(code: &str) -> Option<String> {
    // whisper.cpp takes whole names as well, and must not be given a text with a zero in it.
    if code.is_empty() || code.len() > 3 || !code.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return None;
    }
    let name = whisper_rs::get_lang_str_full(whisper_rs::get_lang_id(code)?)?;
    let capital = |word: &str| word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect();
    Some(name.split(' ').map(capital).collect::<Vec<String>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_believed_when_it_is_likelier_than_all_others() {
        for (logits, wanted) in [
            (&[][..], None),
            (&[1.0, 4.0, 1.0], Some(Language(1))),
            (&[1.0, 1.0, 1.0], None),
            (&[f32::NEG_INFINITY, 0.0], Some(Language(1))),
        ] {
            assert_eq!(Language::detected(logits), wanted, "{logits:?}");
        }
        assert_eq!((Language(0).code(), Language(2).code()), ("en", "de"));
    }

    #[test]
    fn languages_have_names() {
        for (code, wanted) in [("de", Some("German")), ("en", Some("English")), ("ht", Some("Haitian Creole"))] {
            assert_eq!(name(code).as_deref(), wanted);
        }
        for code in ["", "tlh", "german", "DE", "d\0", "é"] {
            assert_eq!(name(code), None, "{code:?}");
        }
        // None of Whisper's own names makes it fail.
        (0..99).for_each(|n| assert!(name(Language(n).code()).is_some_and(|name| !name.is_empty()), "{n}"));
    }
}
