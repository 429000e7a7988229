//! The last pass: only what a voice can use is left, spaced as a sentence is.

use super::rewrite::{pattern, rewrite};

/// Drops every character that is not speech, joins runs of punctuation into the one that matters
/// most, and sets the spaces right.
pub(super) fn tidy(text: &str) -> String {
    let text = pattern!(r"[^\p{L}\p{M}.,;:?!'-]+").replace_all(text, " ");
    let text = rewrite(&text, pattern!(r"['-]+"), |site| Some(joint(site.group(0), site.previous(), site.next())));
    let text = pattern!(r"[\s.,;:?!]*[.,;:?!][\s.,;:?!]*").replace_all(&text, |run: &regex::Captures| {
        let strongest = ['?', '!', '.', ';', ':', ','].into_iter().find(|mark| run[0].contains(*mark));
        format!("{} ", strongest.unwrap_or(','))
    });
    let text = pattern!(r"\s+").replace_all(&text, " ");
    let text = text.trim_start_matches([' ', '.', ',', ';', ':', '?', '!']).trim_end();
    // A comma before nothing is a pause before nothing.
    text.trim_end_matches([',', ' ']).to_owned()
}

/// A hyphen or an apostrophe belongs between two letters (`twenty-one`, `don't`) and nowhere else.
fn joint(marks: &str, before: Option<char>, after: Option<char>) -> String {
    let inside = before.is_some_and(char::is_alphabetic) && after.is_some_and(char::is_alphabetic);
    if inside && marks.len() == 1 { marks.to_owned() } else { " ".to_owned() }
}
