//! Replacement of a pattern by words, on which all passes are built.

use regex::{Captures, Regex};

/// Regular expression that is compiled once. Patterns are constants, and the tests run every one of
/// them, so one that does not compile cannot be released.
macro_rules! pattern {
    ($($source:expr),+ $(,)?) => {{
        static PATTERN: std::sync::LazyLock<regex::Regex> =
            std::sync::LazyLock::new(|| regex::Regex::new(concat!($($source),+)).expect("a constant pattern compiles"));
        &*PATTERN
    }};
}

/// Pattern of anything that reads as one number: `7`, `1,234.5`, `1.2.3`.
/// [`super::numbers::spoken`] decides what it means.
macro_rules! number {
    () => {
        r"[0-9](?:[0-9.,]*[0-9])?"
    };
}

pub(super) use {number, pattern};

/// Place where a pattern matched, with the text around it: the regex crate has no lookaround, so
/// passes examine this text.
pub(super) struct Site<'t> {
    pub caps: Captures<'t>,
    pub before: &'t str,
    pub after: &'t str,
}

impl<'t> Site<'t> {
    /// Text that a group matched; empty where it took no part.
    pub fn group(&self, index: usize) -> &'t str {
        self.caps.get(index).map_or("", |group| group.as_str())
    }

    pub fn previous(&self) -> Option<char> {
        self.before.chars().next_back()
    }

    pub fn next(&self) -> Option<char> {
        self.after.chars().next()
    }

    /// Whether a sentence may end here: the text ends, or the next word starts with a capital.
    pub fn ends_sentence(&self) -> bool {
        self.after.trim_start().chars().next().is_none_or(char::is_uppercase)
    }
}

/// Replaces each match by its words; where there are none (`None`) the match stays. New words never
/// run into neighbouring letters or digits (`H2O` becomes `H two O`), while an end of the match
/// that stays unchanged stays joined to the text beside it.
pub(super) fn rewrite(text: &str, pattern: &Regex, words: impl Fn(&Site) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for caps in pattern.captures_iter(text) {
        let whole = caps.get_match();
        let (start, end) = (whole.start(), whole.end());
        out.push_str(&text[done..start]);
        done = end;
        let site = Site { caps, before: &text[..start], after: &text[end..] };
        let Some(words) = words(&site) else {
            out.push_str(&text[start..end]);
            continue;
        };
        let (first, last) = (words.chars().next(), words.chars().next_back());
        if first != text[start..end].chars().next() && touches(out.chars().next_back(), first) {
            out.push(' ');
        }
        out.push_str(&words);
        if last != text[start..end].chars().next_back() && touches(last, site.next()) {
            out.push(' ');
        }
    }
    out.push_str(&text[done..]);
    out
}

fn touches(left: Option<char>, right: Option<char>) -> bool {
    left.is_some_and(char::is_alphanumeric) && right.is_some_and(char::is_alphanumeric)
}
