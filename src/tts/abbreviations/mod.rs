//! English abbreviations written with a full stop: their long forms, and whether their stop also
//! ends a sentence.
//!
//! One table serves both the sentence splitter, which must not cut after them, and the normaliser,
//! which says them in full. Where the stop may do either, the next word decides: usually a capital
//! ends the sentence. [`full_stop`] judges a growing text as it judges the whole, or returns that
//! it is undecided.

mod table;
#[cfg(test)]
mod tests;

use table::{ABBREVIATIONS, ACRONYM_FOLLOWERS, ACRONYMS, LABELS, MONTHS, NAME_PARTS, ROAD_FOLLOWERS, STARTERS};

/// Abbreviation without its last full stop.
#[derive(Debug)]
pub(super) struct Abbreviation {
    /// Spelling, with a capital where it is an abbreviation only with a capital (`Sat`, `Gen`).
    written: &'static str,
    pub(super) said: &'static str,
    pub(super) role: AbbreviationRole,
}

/// Role of an abbreviation in a sentence, which decides what its full stop does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum AbbreviationRole {
    /// Word before its noun or number (`Gen. Lee`, `approx. 5`): its stop ends no sentence.
    Before,
    /// An abbreviation only before a number (`No. 5`), else a word.
    Counter,
    /// An abbreviation only behind a number (`5 in. tall`), else a word.
    Measure,
    /// A saint or a street, a doctor or a drive.
    TitleOrRoad,
    /// Month or day of the week: numbers and the names given here continue the sentence.
    Date(&'static str),
    /// Noun whose stop ends the sentence before a capital, except before the words given here.
    Noun(&'static str),
    /// Noun that is also a plain word where its stop ends a sentence (`max`).
    Clipped,
}

/// Effect of a full stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stop {
    Ends,
    /// The stop shortens a word, or makes a number an ordinal.
    Shortens,
    /// The following text will decide.
    Unknown,
}

/// Text after a full stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct After<'a> {
    text: &'a str,
    /// Whether more text may follow it.
    grows: bool,
}

/// Next item in the text after a full stop.
enum Next<'a> {
    Nothing,
    Digit,
    /// Word, `whole` unless more letters may follow.
    Word {
        word: &'a str,
        capital: bool,
        whole: bool,
    },
    /// Mark with which no sentence begins.
    Mark,
    Other,
}

impl<'a> After<'a> {
    pub(super) fn growing(text: &'a str) -> Self {
        After { text, grows: true }
    }

    pub(super) fn whole(text: &'a str) -> Self {
        After { text, grows: false }
    }

    fn next(self) -> Next<'a> {
        let opening = |c: char| c.is_whitespace() || matches!(c, '"' | '“' | '‘' | '\'' | '*' | '_');
        let rest = self.text.trim_start_matches(opening);
        let end = rest.find(|c: char| !c.is_alphanumeric());
        let word = &rest[..end.unwrap_or(rest.len())];
        match rest.chars().next() {
            None => Next::Nothing,
            Some(c) if c.is_ascii_digit() => Next::Digit,
            Some(c) if c.is_uppercase() || c.is_lowercase() => {
                Next::Word { word, capital: c.is_uppercase(), whole: end.is_some() || !self.grows }
            }
            Some(',' | ';' | ':' | '(' | '[' | '&' | '+' | '=' | '-' | '–' | '—' | '/' | '$' | '€' | '£') => {
                Next::Mark
            }
            Some(_) => Next::Other,
        }
    }

    /// Ends before a word with a capital, except before `followers` and letters that are names
    /// (`Apt. B`).
    fn ends_before_capital(self, followers: &str) -> Stop {
        match self.next() {
            Next::Nothing => self.nothing(),
            Next::Word { capital: false, .. } | Next::Digit | Next::Mark => Stop::Shortens,
            Next::Word { word: "I" | "A", whole: true, .. } | Next::Other => Stop::Ends,
            Next::Word { word, whole: false, .. } if is_letter(word) || begins_one_of(followers, word) => Stop::Unknown,
            Next::Word { word, .. } if is_letter(word) || holds(followers, word) => Stop::Shortens,
            Next::Word { .. } => Stop::Ends,
        }
    }

    /// Ends after letters such as `U.S`, except before words that often belong to them and before
    /// other letters (`U.S. GDP`).
    fn ends_behind_acronym(self) -> Stop {
        match self.next() {
            Next::Word { word, whole, .. } if word.len() > 1 && word.chars().all(char::is_uppercase) => {
                if whole {
                    Stop::Shortens
                } else {
                    Stop::Unknown
                }
            }
            _ => self.ends_before_capital(ACRONYM_FOLLOWERS),
        }
    }

    /// Ends unless a mark follows.
    fn ends_before_word(self) -> Stop {
        match self.next() {
            Next::Nothing => self.nothing(),
            Next::Mark => Stop::Shortens,
            _ => Stop::Ends,
        }
    }

    /// Ends after an initial unless a name follows: before a word that usually begins sentences, or
    /// before a small letter that continues no name (unlike `W. van Gogh`, `E. coli`), except after
    /// the last of several initials.
    fn ends_before_starter(self, last: bool) -> Stop {
        let Next::Word { word, capital, whole } = self.next() else { return self.ends_before_word() };
        if last && !capital {
            return Stop::Shortens;
        }
        let telling = if capital { STARTERS } else { NAME_PARTS };
        match (whole, capital) {
            (false, _) if begins_one_of(telling, word) => Stop::Unknown,
            _ if holds(telling, word) != capital => Stop::Shortens,
            _ => Stop::Ends,
        }
    }

    /// Ends unless a number follows, which may be Roman or in brackets.
    fn ends_unless_number(self) -> Stop {
        let rest = self.text.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '(' | '#'));
        let word = &rest[..rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len())];
        let roman = word.chars().all(|c| "IVXLC".contains(c));
        let number = roman && (word.len() > 1 || matches!(word, "V" | "X"));
        match rest.chars().next() {
            None => self.nothing(),
            Some(c) if c.is_ascii_digit() => Stop::Shortens,
            Some(_) if roman && !word.is_empty() && word.len() == rest.len() && self.grows => Stop::Unknown,
            Some(_) if number => Stop::Shortens,
            Some(_) => Stop::Ends,
        }
    }

    fn nothing(self) -> Stop {
        if self.grows { Stop::Unknown } else { Stop::Ends }
    }
}

/// Effect of the full stop between `before` and `after`.
pub(super) fn full_stop(before: &str, after: After) -> Stop {
    let (head, word) = last_word(before);
    if let Some(known) = find(head, word) {
        return known.full_stop(head, after);
    }
    let letters = !word.is_empty() && word.split('.').all(is_letter);
    match word {
        "I" => Stop::Ends,
        _ if holds(ACRONYMS, word) => after.ends_behind_acronym(),
        // After letters with spaces between them, `U S`, it shortens nothing.
        _ if letters && head.trim_end().rsplit(' ').next().is_some_and(is_letter) => Stop::Ends,
        _ if is_letter(word) && is_label(head) => after.ends_before_word(),
        // After several letters a small letter continues the sentence.
        _ if letters && word.contains(char::is_uppercase) => {
            after.ends_before_starter(word.contains('.') || is_initial(head))
        }
        _ if letters && word.contains('.') => after.ends_before_capital(""),
        _ => Stop::Ends,
    }
}

/// Finds the abbreviation for `word` after `head`, without its last full stop.
pub(super) fn find(head: &str, word: &str) -> Option<&'static Abbreviation> {
    let small = word.to_lowercase();
    ABBREVIATIONS.iter().find(|known| known.written.eq_ignore_ascii_case(&small) && known.is_written(head, word))
}

impl Abbreviation {
    /// Whether `word`, which has its letters, stands for it after `head`.
    fn is_written(&self, head: &str, word: &str) -> bool {
        let proper = self.written.starts_with(char::is_uppercase);
        let capital = word.starts_with(char::is_uppercase);
        let shouted = word.len() > 1 && !word.contains(|c: char| c == '.' || c.is_lowercase());
        match self.role {
            AbbreviationRole::Measure => is_number(head) && !shouted,
            // "the Sun" is no day.
            AbbreviationRole::Date(_) => capital && !shouted && !ends_in_word(head, "the"),
            // "Vitamin C" is not "c. 1900", and plan b not "(b. 1950)".
            _ if matches!(self.written, "b" | "d") => {
                word == self.written && head.trim_end().ends_with(['(', ';', ','])
            }
            _ if is_letter(self.written) => word == self.written,
            AbbreviationRole::TitleOrRoad | AbbreviationRole::Counter => capital || !proper,
            AbbreviationRole::Before if shouted => proper,
            _ => !shouted && (capital || !proper),
        }
    }

    /// Effect of its full stop between `head`, which ends before the abbreviation itself, and
    /// `after`.
    pub(super) fn full_stop(&self, head: &str, after: After) -> Stop {
        match self.role {
            AbbreviationRole::Before => Stop::Shortens,
            AbbreviationRole::Counter => after.ends_unless_number(),
            AbbreviationRole::TitleOrRoad => road(head, after).unwrap_or(Stop::Shortens),
            AbbreviationRole::Date(followers) => after.ends_before_capital(followers),
            AbbreviationRole::Noun(followers) => after.ends_before_capital(followers),
            AbbreviationRole::Measure | AbbreviationRole::Clipped => after.ends_before_capital(""),
        }
    }
}

/// Effect of the full stop of `St.` or `Dr.` after `head` where it is a road, as after a name;
/// `None` where it is a saint or a doctor.
pub(super) fn road(head: &str, after: After) -> Option<Stop> {
    if !names_road(head) {
        return None;
    }
    match after.ends_before_capital(ROAD_FOLLOWERS) {
        // The name after it may be the saint's.
        Stop::Ends if matches!(after.next(), Next::Word { .. }) => {
            Some(after.ends_before_starter(false)).filter(|stop| *stop != Stop::Shortens)
        }
        stop => Some(stop),
    }
}

/// Whether a text ends in the name of a road: `on Main`, `on 5th`, `King Jr.`.
fn names_road(head: &str) -> bool {
    let head = head.trim_end();
    let last = head.rsplit(char::is_whitespace).next().unwrap_or_default();
    let before = head[..head.len() - last.len()].trim_end();
    let digits = ["st", "nd", "rd", "th"].iter().find_map(|end| last.strip_suffix(end)).unwrap_or_default();
    let ordinal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    // A verb at the start of a sentence has a capital too: "Ask Dr. Lee".
    let begins = before.is_empty() || before.ends_with(['.', '!', '?', ':']);
    ordinal || matches!(last, "Jr." | "Sr.") || (is_name(last) && !begins)
}

/// Whether a word has a capital and is not one that begins sentences.
pub(super) fn is_name(word: &str) -> bool {
    let whole = word.len() > 2 && word.ends_with(char::is_alphanumeric);
    whole && word.starts_with(char::is_uppercase) && !holds(STARTERS, word)
}

/// Whether a text ends in a month and a day, after which a comma may stand before the year: "on May
/// 5", "Jan. 5–8".
pub(super) fn ends_in_day(text: &str) -> bool {
    let mut words = text.rsplit(' ');
    let (day, month) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let day = day.trim_end_matches(['s', 't', 'n', 'd', 'r', 'h']);
    let numbers =
        day.split(['-', '–']).all(|day| (1..=2).contains(&day.len()) && day.bytes().all(|b| b.is_ascii_digit()));
    numbers && holds(MONTHS, month.trim_end_matches('.'))
}

/// Splits off the last word of `before`: the text before it, and the word.
pub(super) fn last_word(before: &str) -> (&str, &str) {
    let start = before.char_indices().rev().take_while(|(_, c)| c.is_alphanumeric() || *c == '.').last();
    let word = start.map_or("", |(at, _)| &before[at..]);
    // "5lbs." is a number and an abbreviation.
    let word = word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    before.split_at(before.len() - word.len())
}

/// Whether a letter after `head` is a name of its own: it belongs to the word before it, or to the
/// same word.
fn is_label(head: &str) -> bool {
    let attached = head.chars().next_back().is_some_and(|c| !c.is_whitespace() && !".([\"“'‘*_".contains(c));
    attached || ends_in_word(head, LABELS)
}

/// Whether a text ends in an initial: `Louis C.`
fn is_initial(head: &str) -> bool {
    let last = head.trim_end().rsplit(' ').next().unwrap_or_default();
    last.strip_suffix('.').is_some_and(is_letter)
}

/// Whether the last word of a text is one of these, in any case.
fn ends_in_word(text: &str, words: &str) -> bool {
    let last = text.trim_end().rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    holds(words, &last.to_lowercase())
}

fn is_number(head: &str) -> bool {
    head.trim_end_matches([' ', '-']).ends_with(char::is_numeric)
}

fn is_letter(word: &str) -> bool {
    let mut letters = word.chars();
    letters.next().is_some_and(char::is_alphabetic) && letters.next().is_none()
}

/// Whether a list, separated by spaces, contains a word.
pub(super) fn holds(words: &str, word: &str) -> bool {
    !word.is_empty() && words.split(' ').any(|listed| listed == word)
}

/// Whether a word that may still grow begins one of a list.
fn begins_one_of(words: &str, begun: &str) -> bool {
    words.split(' ').any(|word| word.starts_with(begun))
}
