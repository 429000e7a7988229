//! Languages in Latin script: the meaning of a full stop in each, and the detection of a text's
//! language.

mod english;
mod french;
mod german;
mod spanish;

use crate::tts::abbreviations::{After, Stop, full_stop};

/// Rules of a language.
#[derive(Debug)]
pub(super) struct SentenceRules {
    /// Two-letter code.
    code: &'static str,
    shortening: Shortening,
    /// Words before which a person may take a breath: the first piece may end there too. Without
    /// them, a model that writes long sentences keeps the listener waiting (measured: 740 ms from
    /// the first token to the first piece, at the median).
    pub(super) joints: &'static [&'static str],
    /// Words that open an answer, in small letters: at the comma after them the first piece may
    /// end, even if it is short. Half the answers of the starter model begin so, and the sound
    /// lasts while the next piece is made.
    pub(super) openers: &'static [&'static str],
    /// Words that are frequent in this language and rare in the others.
    frequent: &'static [&'static str],
}

/// Way to distinguish a full stop that shortens a word from one that ends a sentence.
#[derive(Debug)]
enum Shortening {
    /// The table of English abbreviations, shared with the normaliser.
    English,
    Listed(Listed),
}

/// Words of a language that are written with a full stop.
#[derive(Debug)]
struct Listed {
    /// Words whose full stop ends no sentence, in small letters and without it.
    words: &'static [&'static str],
    /// Words whose full stop ends a sentence only if the next word has a capital.
    at_the_end: &'static [&'static str],
    /// Rule for a number with a full stop, in a language where that makes it an ordinal.
    ordinals: Option<Ordinals>,
}

/// Context of ordinals: "am 3. Oktober", "der 2. Weltkrieg", and not "Er ist 12. Sie".
#[derive(Debug)]
struct Ordinals {
    /// Words that stand before an ordinal.
    before: &'static [&'static str],
    /// Capitalised words that follow an ordinal.
    behind: &'static [&'static str],
}

/// Most digits of an ordinal; longer numbers are years.
const ORDINAL_DIGITS: usize = 3;

/// Languages, English first: it is the default.
static LANGUAGES: [&SentenceRules; 4] = [&english::ENGLISH, &german::GERMAN, &french::FRENCH, &spanish::SPANISH];

/// Lead in words that another language needs over the expected one.
const CLEARLY: usize = 3;

/// Number of a text's words seen of each language.
#[derive(Clone, Debug, Default)]
pub(super) struct MarkCount {
    /// Index in [`LANGUAGES`] of the expected language.
    expected: usize,
    counts: [usize; LANGUAGES.len()],
}

impl MarkCount {
    /// Makes a count with the two-letter code of the expected language.
    pub(super) fn expecting(code: &str) -> MarkCount {
        let expected = LANGUAGES.iter().position(|language| language.code == code).unwrap_or(0);
        MarkCount { expected, ..MarkCount::default() }
    }

    pub(super) fn count(&mut self, text: &str) {
        for word in text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()) {
            let word = word.to_lowercase();
            for (language, count) in LANGUAGES.iter().zip(&mut self.counts) {
                *count += usize::from(language.frequent.contains(&word.as_str()));
            }
        }
    }

    /// Count with the words of more text.
    pub(super) fn with(&self, text: &str) -> MarkCount {
        let mut tally = self.clone();
        tally.count(text);
        tally
    }

    pub(super) fn language(&self) -> &'static SentenceRules {
        let expected = (self.expected, self.counts[self.expected] + CLEARLY - 1);
        let counts = self.counts.iter().copied().enumerate();
        let clearer = |best: (usize, usize), other: (usize, usize)| if other.1 > best.1 { other } else { best };
        LANGUAGES[counts.fold(expected, clearer).0]
    }
}

impl SentenceRules {
    /// Effect of the full stop between `before` and `after`, which begins with white space.
    pub(super) fn full_stop(&self, before: &str, after: &str) -> Stop {
        let word = last_word(before);
        let plain = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '.').to_lowercase();
        let head = &before[..before.len() - word.len()];
        match &self.shortening {
            _ if numbers_a_list(&plain, head) => Stop::Shortens,
            Shortening::English => full_stop(before, After::growing(after)),
            Shortening::Listed(listed) => listed.full_stop(head, word, &plain, after),
        }
    }

    pub(super) fn is_english(&self) -> bool {
        matches!(self.shortening, Shortening::English)
    }

    /// Whether these words open an answer: "Sure", "Bien sûr".
    pub(super) fn opens(&self, words: &str) -> bool {
        self.openers.contains(&words.trim().to_lowercase().as_str())
    }
}

impl Listed {
    /// Effect of the full stop after `word`; `plain` is the word in small letters, without adjacent
    /// marks.
    fn full_stop(&self, head: &str, word: &str, plain: &str, after: &str) -> Stop {
        if self.shortens(plain) {
            return Stop::Shortens;
        }
        if let Some(ordinals) = self.ordinals.as_ref().filter(|_| may_be_ordinal(plain, word)) {
            return ordinals.full_stop(head, after);
        }
        // "EE.UU. son": after letters with full stops between them a small letter continues the
        // sentence.
        if !plain.contains('.') && !self.at_the_end.contains(&plain) {
            return Stop::Ends;
        }
        match after.chars().find(|c| !c.is_whitespace()) {
            None => Stop::Unknown,
            Some(next) if next.is_lowercase() => Stop::Shortens,
            Some(_) => Stop::Ends,
        }
    }

    /// Whether the word is always an abbreviation, as is a single letter: "z. B.", "p. ej.", "J.
    /// Verne".
    fn shortens(&self, plain: &str) -> bool {
        let letter = plain.chars().count() == 1 && plain.chars().all(char::is_alphabetic);
        letter || self.words.contains(&plain)
    }
}

impl Ordinals {
    fn full_stop(&self, before: &str, after: &str) -> Stop {
        let introduced = || {
            let word = last_word(before.trim_end()).to_lowercase();
            self.before.contains(&word.as_str())
        };
        let next = after.trim_start();
        match next.find(|c: char| !c.is_alphanumeric()) {
            _ if next.starts_with(|c: char| c.is_lowercase() || c.is_ascii_digit()) => Stop::Shortens,
            _ if introduced() => Stop::Shortens,
            None => Stop::Unknown,
            Some(end) if self.behind.iter().any(|word| next[..end].starts_with(word)) => Stop::Shortens,
            Some(_) => Stop::Ends,
        }
    }
}

/// Whether a number may be an ordinal: one of few digits, or a Roman one: "Ludwig XIV. regierte".
fn may_be_ordinal(plain: &str, word: &str) -> bool {
    let digits = plain.len() <= ORDINAL_DIGITS && plain.chars().all(|c| c.is_ascii_digit());
    !plain.is_empty() && (digits || word.chars().all(|c| "IVX".contains(c)))
}

/// Whether the number is that of a list: "1." at the start of a line.
fn numbers_a_list(plain: &str, before: &str) -> bool {
    let starts_line = before.trim_end_matches([' ', '\t']).chars().next_back().is_none_or(|c| c == '\n');
    !plain.is_empty() && plain.chars().all(|c| c.is_ascii_digit()) && starts_line
}

fn last_word(before: &str) -> &str {
    before.rsplit(|c: char| c.is_whitespace() || matches!(c, '(' | '"' | '“' | '„' | '«' | '\'')).next().unwrap_or("")
}
