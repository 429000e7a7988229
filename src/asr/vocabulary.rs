//! Whisper's tokens: their text, the tokens with a special meaning, and those that must not be
//! written.
//!
//! After the text tokens come, in this order: the end of the text, its start, a token for each
//! language, then "translate", "transcribe", two that are not used here, "no speech", "no
//! timestamps", and the timestamps. English-only models have room for 99 languages as well.

use std::collections::HashMap;

use super::timestamps::Timestamps;

/// Number of languages that every model has room for.
const LANGUAGES: usize = 99;
/// Offsets of tokens behind those of the languages.
const TRANSCRIBE: usize = 1;
const NO_SPEECH: usize = 4;
const NO_TIMESTAMPS: usize = 5;
/// Number of tokens beside text, languages and timestamps: end, start and the six tokens above.
const OTHERS: usize = 8;
/// Number of timestamp tokens: 0 to 30 s in steps of 20 ms.
const TIMES: usize = 1501;

/// Marks that are not speech, alone or after a space. The list is the one that Whisper was
/// published with.
const MARKS: [&str; 57] = [
    "\"",
    "#",
    "(",
    ")",
    "*",
    "+",
    "/",
    ":",
    ";",
    "<",
    "=",
    ">",
    "@",
    "[",
    "\\",
    "]",
    "^",
    "_",
    "`",
    "{",
    "|",
    "}",
    "~",
    "「",
    "」",
    "『",
    "』",
    "<<",
    ">>",
    "<<<",
    ">>>",
    "--",
    "---",
    "-(",
    "-[",
    "('",
    "(\"",
    "((",
    "))",
    "(((",
    ")))",
    "[[",
    "]]",
    "{{",
    "}}",
    "♪♪",
    "♪♪♪",
    "♩",
    "♪",
    "♫",
    "♬",
    "♭",
    "♮",
    "♯",
    " -",
    " '",
    "♪♪♪♪",
];

/// Vocabulary of one model.
pub struct WhisperVocabulary {
    text: Vec<Vec<u8>>,
    languages: usize,
    /// Tokens that are never written, languages included, in order. Timestamps are not among them:
    /// see [`Timestamps`].
    silent: Vec<usize>,
    /// Tokens not written first: a space, or the end of the text.
    not_first: Vec<usize>,
}

impl WhisperVocabulary {
    /// Makes the vocabulary of `size` tokens from its text tokens. The error describes the fault.
    pub fn new(text: Vec<Vec<u8>>, size: usize) -> Result<Self, String> {
        let others = size.checked_sub(text.len() + OTHERS + TIMES);
        let languages = others.filter(|&languages| languages >= LANGUAGES);
        let languages = languages.ok_or(format!("of {size} tokens {} cannot be text", text.len()))?;
        let ids: HashMap<&[u8], usize> = text.iter().enumerate().map(|(id, bytes)| (&bytes[..], id)).collect();
        let spaced = |mark: &&str| [mark.to_string(), format!(" {mark}")];
        let marks = MARKS.iter().flat_map(spaced).filter_map(|mark| ids.get(mark.as_bytes()).copied());
        let mut silent: Vec<usize> = marks.chain(text.len() + 1..size - TIMES).collect();
        silent.sort_unstable();
        let space = ids.get(&b" "[..]).copied().ok_or("its vocabulary has no space")?;
        let not_first = vec![space, text.len()];
        Ok(WhisperVocabulary { text, languages, silent, not_first })
    }

    pub fn end_of_text(&self) -> usize {
        self.text.len()
    }

    pub fn start(&self) -> usize {
        self.text.len() + 1
    }

    /// Language tokens.
    pub fn languages(&self) -> std::ops::Range<usize> {
        self.start() + 1..self.start() + 1 + self.languages
    }

    pub fn no_speech(&self) -> usize {
        self.languages().end + NO_SPEECH
    }

    /// Timestamp tokens.
    pub fn timestamps(&self) -> Timestamps {
        let first = self.languages().end + NO_TIMESTAMPS + 1;
        Timestamps::new(first..first + TIMES, self.end_of_text())
    }

    /// Tokens of the prompt for a language, with or without timestamps. An English-only model gets
    /// no language.
    pub fn prompt(&self, language: Option<usize>, timed: bool) -> Vec<i64> {
        let languages = self.languages();
        let spoken = language.map(|language| [languages.start + language, languages.end + TRANSCRIBE]);
        let tokens = [self.start()].into_iter().chain(spoken.into_iter().flatten());
        let untimed = (!timed).then_some(languages.end + NO_TIMESTAMPS);
        tokens.chain(untimed).map(|token| token as i64).collect()
    }

    /// Removes from `logits` the tokens that must not be written next.
    pub fn suppress(&self, logits: &mut [f32], first: bool) {
        let not_now: &[usize] = if first { &self.not_first } else { &[] };
        for &id in self.silent.iter().chain(not_now) {
            if let Some(logit) = logits.get_mut(id) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    /// Bytes of a token; none for one that is not text.
    pub fn bytes(&self, id: usize) -> &[u8] {
        self.text.get(id).map_or(&[], |bytes| bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary() -> WhisperVocabulary {
        let text = ["a", " ", "♪", " ♪", " (", "b"].map(|token| token.as_bytes().to_vec());
        WhisperVocabulary::new(text.to_vec(), 6 + OTHERS + 99 + TIMES).unwrap()
    }

    /// Checks the token numbers of the published models.
    #[test]
    fn special_tokens_stand_where_whisper_has_them() {
        let of = |text: usize, size: usize| {
            let mut tokens = vec![Vec::new(); text];
            tokens[0] = b" ".to_vec();
            WhisperVocabulary::new(tokens, size).unwrap()
        };
        let base = of(50_257, 51_865);
        assert_eq!((base.end_of_text(), base.start(), base.no_speech()), (50_257, 50_258, 50_362));
        assert_eq!(base.prompt(Some(0), false), [50_258, 50_259, 50_359, 50_363]);
        assert_eq!(base.prompt(Some(0), true), [50_258, 50_259, 50_359]);
        assert_eq!(of(50_257, 51_866).prompt(Some(2), false), [50_258, 50_261, 50_360, 50_364]);
        let english = of(50_256, 51_864);
        assert_eq!((english.prompt(None, false), english.no_speech()), (vec![50_257, 50_362], 50_361));
    }

    #[test]
    fn marks_specials_and_a_blank_start_are_not_written() {
        let vocabulary = vocabulary();
        let left = |first: bool| {
            let mut logits = vec![0.0f32; 6 + OTHERS + 99 + TIMES];
            vocabulary.suppress(&mut logits, first);
            // Rules of their own decide which timestamps may follow.
            vocabulary.timestamps().forbid(&mut logits);
            logits.iter().enumerate().filter(|(_, logit)| logit.is_finite()).map(|(id, _)| id).collect::<Vec<_>>()
        };
        assert_eq!(left(true), [0, 5]);
        assert_eq!(left(false), [0, 1, 5, 6]);
        vocabulary.suppress(&mut [0.0; 3], true);
        assert_eq!((vocabulary.bytes(5), vocabulary.bytes(6)), (&b"b"[..], &b""[..]));
    }

    #[test]
    fn tokens_that_do_not_fit_are_refused() {
        assert!(
            WhisperVocabulary::new(vec![b"a".to_vec()], 1 + OTHERS + 99 + TIMES).err().unwrap().contains("no space")
        );
        assert!(
            WhisperVocabulary::new(vec![b" ".to_vec()], OTHERS + 99 + TIMES).err().unwrap().contains("cannot be text")
        );
    }
}
