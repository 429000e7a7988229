//! Evidence about turns from words: whether the sentence is finished, whether a listener only
//! acknowledges, and whether the words are an echo of the answer.
//!
//! The evidence comes from short lists, not from models. A missing word costs a little time and
//! never a turn. There is a table for each language; a language without a table gets the neutral
//! answer. In scripts without spaces, letters take the place of words.

mod chinese;
mod english;
mod french;
mod german;
mod japanese;
mod spanish;
#[cfg(test)]
mod tests;
mod thai;

use unicode_segmentation::UnicodeSegmentation;

use crate::marks::{END_MARKS, closes};

/// Completeness of a sentence, judged by its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    Finished,
    /// The sentence cannot end here.
    Incomplete,
    /// The words give no evidence.
    Unknown,
}

/// Words of a language that give evidence about turns.
struct Language {
    /// Two-letter code.
    code: &'static str,
    /// Words after which more must follow; in a script without spaces, endings.
    incomplete: &'static [&'static str],
    /// Endings after which more follows unless a mark ends the sentence.
    incomplete_unmarked: &'static [&'static str],
    /// Endings that finish a sentence without a mark.
    finished: &'static [&'static str],
    /// Number words. A number may always continue.
    numbers: &'static [&'static str],
    /// Words before a number that lacks its unit: "a timer for ten", "a quarter of".
    counting: &'static [&'static str],
    /// Whether the sentence is complete although its last word is a hanging one.
    is_whole: fn(&[String]) -> bool,
    /// Acknowledgements of a listener; each is a whole utterance or a part of one.
    nods: &'static [&'static str],
    /// Phrases that stop an answer and ask nothing, as a whole utterance.
    stops: &'static [&'static str],
    /// Polite words that may accompany a stop phrase.
    polite: &'static [&'static str],
}

impl Language {
    /// Table without words.
    const NONE: Language = Language {
        code: "",
        incomplete: &[],
        incomplete_unmarked: &[],
        finished: &[],
        numbers: &[],
        counting: &[],
        is_whole: |_| false,
        nods: &[],
        stops: &[],
        polite: &[],
    };
}

static LANGUAGES: [&Language; 7] = [
    &english::ENGLISH,
    &german::GERMAN,
    &french::FRENCH,
    &spanish::SPANISH,
    &thai::THAI,
    &chinese::CHINESE,
    &japanese::JAPANESE,
];

/// Number of consecutive number words from which somebody is dictating digits.
const DICTATED: usize = 3;

/// Whether sentences of a language end with a mark. Thai and Lao use a space or nothing.
pub fn ends_with_marks(language: &str) -> bool {
    !matches!(language, "th" | "lo")
}

/// Judges whether a sentence is finished. The language is a two-letter code; an empty one counts as
/// English.
pub fn completeness(text: &str, language: &str) -> Completeness {
    let text = text.trim_end_matches(closes);
    let trails_off = text.ends_with([',', ';', ':', '-', '—', '–', '、', '，', '；', '：', '…', '〜', '～']);
    if trails_off || text.ends_with("..") {
        return Completeness::Incomplete;
    }
    let code = if language.is_empty() { "en" } else { language };
    let Some(language) = LANGUAGES.iter().find(|language| language.code == code) else {
        return Completeness::Unknown;
    };
    let words = tokens(text);
    if words.last().is_some_and(|word| word.starts_with(is_spaceless)) {
        language.by_ending(text, &words)
    } else {
        language.by_last_word(text, &words)
    }
}

impl Language {
    fn by_last_word(&self, text: &str, words: &[String]) -> Completeness {
        let Some(last) = words.last() else { return Completeness::Unknown };
        let numbers = self.numbers_at_the_end(words);
        if numbers > 0 {
            let before = words.len().checked_sub(numbers + 1).map(|at| words[at].as_str());
            let lacks_unit = before.is_some_and(|word| self.counting.contains(&word));
            return if lacks_unit || numbers >= DICTATED { Completeness::Incomplete } else { Completeness::Unknown };
        }
        match text.ends_with(END_MARKS) {
            _ if self.incomplete.contains(&last.as_str()) && !self.is_bound(text) && !(self.is_whole)(words) => {
                Completeness::Incomplete
            }
            true => Completeness::Finished,
            false => Completeness::Unknown,
        }
    }

    /// Judges a text in a script without spaces, where the last word is the ending of the text.
    fn by_ending(&self, text: &str, words: &[String]) -> Completeness {
        let stem = text.trim_end_matches(END_MARKS).trim_end();
        let ends_in = |endings: &[&str]| endings.iter().any(|ending| stem.ends_with(ending));
        let marked = stem.len() < text.len();
        match text.ends_with(['?', '？']) {
            // "お名前は？"
            true => Completeness::Finished,
            _ if self.numbers_at_the_end(words) >= DICTATED => Completeness::Incomplete,
            _ if ends_in(self.finished) => Completeness::Finished,
            _ if ends_in(self.incomplete) => Completeness::Incomplete,
            _ if ends_in(self.incomplete_unmarked) && !marked => Completeness::Incomplete,
            _ if marked && !ends_in(self.incomplete_unmarked) => Completeness::Finished,
            _ => Completeness::Unknown,
        }
    }

    fn numbers_at_the_end(&self, words: &[String]) -> usize {
        let is_number = |word: &str| self.numbers.contains(&word) || word.chars().all(|c| c.is_ascii_digit());
        words.iter().rev().take_while(|word| is_number(word)).count()
    }

    /// Whether a hyphen joins the last word to the one before it: "prends-le".
    fn is_bound(&self, text: &str) -> bool {
        let stem = text.trim_end_matches(END_MARKS).trim_end();
        stem.rsplit(char::is_whitespace).next().is_some_and(|last| last.contains('-'))
    }
}

/// Most phrases in an acknowledgement: "yeah, okay, right".
const LONGEST_NOD: usize = 4;

/// Whether the whole utterance only acknowledges. If the language is not known, the lists of all
/// languages are used.
pub fn is_backchannel(text: &str, language: &str) -> bool {
    let words = tokens(text);
    let of = |known: &&&Language| language.is_empty() || language == known.code;
    LANGUAGES.iter().filter(of).any(|known| !made_of(&words, known.nods.iter()).is_empty())
}

/// Whether the whole utterance asks for silence and for nothing else, in any of the languages;
/// "okay, stop" does.
pub fn is_stop(text: &str) -> bool {
    let words = tokens(text);
    LANGUAGES.iter().any(|known| {
        made_of(&words, known.stops.iter().chain(known.polite).chain(known.nods))
            .iter()
            .any(|phrase| known.stops.contains(phrase))
    })
}

/// Marks within sentences that separate clauses: "hey, stop".
const CLAUSE_MARKS: [char; 8] = [',', ';', ':', '，', '、', '；', '：', '،'];

/// Whether somebody asks for silence, possibly before or after other words, and while the answer
/// speaks `said` at the same time. It is enough that one clause asks for it, or a part of a clause
/// between words of `said`.
pub fn asks_to_stop(heard: &str, said: &str) -> bool {
    let said = tokens(said);
    let asks = |clause: &str| tokens(clause).split(|word| said.contains(word)).any(|words| is_stop(&words.join(" ")));
    is_stop(heard) || heard.split(|c| END_MARKS.contains(&c) || CLAUSE_MARKS.contains(&c)).any(asks)
}

/// Splits the words into `phrases`; empty if they contain anything else. Spaces and hyphens do not
/// matter.
fn made_of<'a>(words: &[String], phrases: impl Iterator<Item = &'a &'static str> + Clone) -> Vec<&'static str> {
    let mut rest = words.concat();
    let mut taken = Vec::new();
    while !rest.is_empty() && taken.len() < LONGEST_NOD {
        let whole = phrases.clone().map(|phrase| (tokens(phrase).concat(), *phrase));
        let longest = whole.filter(|(whole, _)| rest.starts_with(whole.as_str())).max_by_key(|(whole, _)| whole.len());
        let Some((whole, phrase)) = longest else { return Vec::new() };
        rest.drain(..whole.len());
        taken.push(phrase);
    }
    if rest.is_empty() { taken } else { Vec::new() }
}

/// Number of words from which an utterance is compared by the share it has in common with the
/// played text. Below it every word must occur there, side by side.
const ENOUGH_TO_COMPARE: usize = 3;
/// Share of an utterance's words, found in order in the played text, from which it counts as an
/// echo. Transcribers misread about every fifth word of a soft and reverberant echo. Letters agree
/// by chance more often than words, so their share is higher.
const ECHO_SHARE: f64 = 0.75;
const ECHO_SHARE_OF_LETTERS: f64 = 0.8;
/// Letters per word in a script without spaces: in Chinese and Japanese about two.
const LETTERS_OF_A_WORD: usize = 2;

/// Whether `heard` is an echo of `said`. One or two matching words count as an echo only with
/// `short_too`: they may also be a choice that the answer offered.
pub fn is_echo(heard: &str, said: &str, short_too: bool) -> bool {
    let (heard, said) = (tokens(heard), tokens(said));
    if heard.is_empty() || said.is_empty() {
        return false;
    }
    let spaceless = heard.iter().filter(|word| word.starts_with(is_spaceless)).count() * 2 > heard.len();
    let (word, share) = if spaceless { (LETTERS_OF_A_WORD, ECHO_SHARE_OF_LETTERS) } else { (1, ECHO_SHARE) };
    if heard.len() < ENOUGH_TO_COMPARE * word {
        return short_too && said.windows(heard.len()).any(|window| window == heard);
    }
    if goes_beyond(&heard, &said, word) {
        return false;
    }
    common_in_order(&heard, &said) as f64 >= share * heard.len() as f64
}

/// Whether somebody speaks on after the echo. More than `word` tokens must follow it, since a
/// transcriber may have misread one word at its end.
fn goes_beyond(heard: &[String], said: &[String], word: usize) -> bool {
    let own = heard.iter().rev().take_while(|word| !said.contains(word)).count();
    own > word || is_stop(&heard[heard.len() - own..].join(" "))
}

/// Length of the longest common subsequence within a window of `said` that is at most half as long
/// again as `heard`. Common words that are far apart are no echo.
fn common_in_order(heard: &[String], said: &[String]) -> usize {
    let span = (heard.len() * 3 / 2).min(said.len());
    said.windows(span).map(|window| common_subsequence(heard, window)).max().unwrap_or(0)
}

fn common_subsequence(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0; b.len() + 1];
    for word in a {
        let mut diagonal = 0;
        for (at, other) in b.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if word == other { diagonal + 1 } else { above.max(row[at]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

/// Most tokens that are examined: more than anyone says in 30 s, where letters stand for words.
const MOST_TOKENS: usize = 400;

/// Splits a text into words in lower case; in scripts without spaces, into letters with their
/// vowels and accents.
pub(super) fn tokens(text: &str) -> Vec<String> {
    let plain = |word: &str| word.to_lowercase().replace('’', "'");
    let parts = |word| -> Vec<&str> {
        let word: &str = word;
        if word.starts_with(is_spaceless) { word.graphemes(true).collect() } else { vec![word] }
    };
    text.unicode_words().flat_map(parts).take(MOST_TOKENS).map(plain).collect()
}

/// Approximate number of words in `text`.
pub(super) fn word_count(text: &str) -> usize {
    let tokens = tokens(text);
    let letters = tokens.iter().filter(|token| token.starts_with(is_spaceless)).count();
    tokens.len() - letters + letters.div_ceil(LETTERS_OF_A_WORD)
}

/// Whether a letter is Thai, kana or a Chinese character.
fn is_spaceless(letter: char) -> bool {
    matches!(letter, '\u{0E01}'..='\u{0E5B}' | '\u{3005}'..='\u{3007}' | '\u{3040}'..='\u{30FF}'
        | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{FF66}'..='\u{FF9F}'
        | '\u{20000}'..='\u{3FFFF}')
}
