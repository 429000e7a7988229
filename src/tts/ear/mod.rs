//! Text normalisation: turns what a language model writes into words that a voice can say.
//!
//! A model writes for a screen: headings, links, `$3.50`, `14:05`. A voice needs words. [`for_ear`]
//! rewrites one sentence (or a whole answer) in passes, each of which handles one form and leaves
//! the rest of the text alone. The order matters: the most special form comes first, so that by the
//! time plain numbers are read, no digit belongs to a date, a price or a telephone number any more.
//!
//! Before the passes of [`english`], variants of one character are folded into one, letters of
//! other scripts and emoticons are removed, and formulas and Markdown become plain text; after them
//! only what a voice can use is left. Other languages go through [`any`], which puts nothing into
//! words.
//!
//! Libraries were measured on the first 80 texts of `tests/ear/texts.tsv` and rejected:
//! text-processing-rs 0.2.2 gets 8 of them right, wetext-rs 0.1.2 with 44 MB of transducers 21, and
//! the passes here got 33 before they were adapted to these texts. Neither library splits sentences
//! or reads Markdown.

mod addresses;
mod amounts;
mod any;
mod capitals;
mod chemistry;
mod clock;
mod codes;
mod dates;
mod decimals;
mod designations;
mod emoticons;
mod english;
mod fold;
mod latex;
mod markdown;
mod numbers;
mod phones;
#[cfg(test)]
mod properties;
mod ranges;
mod rewrite;
mod roman;
mod scripts;
mod shortened;
mod symbols;
#[cfg(test)]
mod tests;
mod tidy;
mod units;

/// Rewrites a sentence so that an English voice reads it correctly.
///
/// The result holds letters, spaces, apostrophes, hyphens inside words and the punctuation that
/// shapes speech (`. , ; : ? !`), and nothing else. A text with nothing to say, such as a lone
/// emoji or a code block, gives `""`.
#[must_use]
pub fn for_ear(text: &str) -> String {
    let folded = emoticons::strip(&scripts::latin(&fold::fold(text)));
    let plain = markdown::strip(&latex::read(&folded));
    tidy::tidy(&english::read(&plain))
}

/// Rewrites a sentence for a voice of the language with this two-letter code. Only English is
/// written out in words; in any other language the characters that cannot be said are removed.
#[must_use]
pub fn for_ear_in(text: &str, language: &str) -> String {
    if language == "en" { for_ear(text) } else { any::read(text, language) }
}
