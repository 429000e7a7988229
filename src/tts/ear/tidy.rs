//! Last pass: leaves only what a voice can use, spaced like a sentence.

use super::rewrite::{pattern, rewrite};

/// Drops every character that is not speech, reduces runs of punctuation to the most important one,
/// and corrects the spaces.
pub(super) fn tidy(text: &str) -> String {
    let text = pattern!(r"[^\p{L}\p{M}.,;:?!'-]+").replace_all(text, " ");
    let text = rewrite(&text, pattern!(r"['-]+"), |site| Some(joint(site.group(0), site.previous(), site.next())));
    let text = pattern!(r"[\s.,;:?!]*[.,;:?!][\s.,;:?!]*").replace_all(&text, |run: &regex::Captures| {
        let strongest = ['?', '!', '.', ';', ':', ','].into_iter().find(|mark| run[0].contains(*mark));
        format!("{} ", strongest.unwrap_or(','))
    });
    let text = pattern!(r"\s+").replace_all(&text, " ");
    let text = text.trim_start_matches([' ', '.', ',', ';', ':', '?', '!']).trim_end();
    // A comma at the end would be a pause before nothing.
    text.trim_end_matches([',', ' ']).to_owned()
}

/// Keeps hyphens and apostrophes between two letters (`twenty-one`, `don't`) and removes all
/// others.
fn joint(marks: &str, before: Option<char>, after: Option<char>) -> String {
    let inside = before.is_some_and(char::is_alphabetic) && after.is_some_and(char::is_alphabetic);
    if inside && marks.len() == 1 { marks.to_owned() } else { " ".to_owned() }
}
