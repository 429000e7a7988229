//! Scripts that put no spaces between words, and where a text may be cut that offers no better
//! place.
//!
//! A dictionary of Thai and the line breaks of UAX #14 (`icu_segmenter`) were weighed and left out:
//! they would serve only stretches of 80 letters without a space or a mark, which models hardly
//! write, for 400 KB and a dozen crates.

use unicode_segmentation::UnicodeSegmentation;

use super::Judged;

/// What closes a quotation or a bracket. “ and « close in German, and ’ everywhere.
pub(super) const CLOSING: &str = "\"'”’“‘)]»«›‹」』）］】》〉｣";

/// What opens one: no piece ends behind it.
const OPENING: &str = "([„‚「『（［【《〈｢¿¡";

/// Marks that belong to what stands before them, so that no piece begins with one. Small kana and
/// the length mark do.
const BOUND: &str = "!?;:,.…%、。，！？；：・ーっゃゅょぁぃぅぇぉッャュョァィゥェォ々ๆฯ";

/// Where a clause ends, when a piece has to end somewhere.
const CLAUSES: &str = "，、；：,;:—…";

/// Graphemes of Thai from which on a space ends a piece: a second of sound or more.
const THAI_PIECE: usize = 12;

/// Particles with which Thai sentences end; a space behind one is the end of a sentence, whatever
/// its length.
const THAI_PARTICLES: [&str; 6] = ["ครับ", "ค่ะ", "คะ", "จ้ะ", "จ๊ะ", "ฮะ"];

pub(super) fn is_thai(letter: char) -> bool {
    ('\u{0E01}'..='\u{0E4E}').contains(&letter)
}

/// Chinese characters, kana, and the marks that stand among them.
pub(super) fn is_ideographic(letter: char) -> bool {
    matches!(letter, '\u{3000}'..='\u{30FF}' | '\u{31F0}'..='\u{31FF}' | '\u{3400}'..='\u{4DBF}'
        | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{FF01}'..='\u{FF9F}' | '\u{20000}'..='\u{3FFFF}')
}

/// Letters of which words are made without a space between them.
pub(in crate::tts) fn is_spaceless(letter: char) -> bool {
    is_thai(letter) || is_ideographic(letter)
}

/// Thai writes a space where others write a full stop or a comma, and around numbers and foreign
/// words.
pub(super) fn thai_space(text: &str, at: usize) -> Judged {
    let next = &text[at + 1..];
    let Some(letter) = next.chars().next() else { return Judged::Unknown };
    let goes_on = !(is_thai(letter) || OPENING.contains(letter) || letter == '"' || letter == '“');
    if goes_on || BOUND.contains(letter) || THAI_PARTICLES.iter().any(|particle| next.starts_with(particle)) {
        return Judged::NoEnd;
    }
    if THAI_PARTICLES.iter().any(|particle| particle.starts_with(next)) {
        return Judged::Unknown;
    }
    let said = text[..at].trim();
    // Repeats a word that belongs to what follows: ต่าง ๆ
    if said.ends_with('ๆ') {
        return Judged::NoEnd;
    }
    let ends = THAI_PARTICLES.iter().any(|particle| said.ends_with(particle));
    if ends || said.graphemes(true).count() >= THAI_PIECE { Judged::End(at + 1) } else { Judged::NoEnd }
}

/// Where a text that goes on and on without an end is cut: at its last space, else behind its last
/// clause, else between two words or syllables, if only it is longer than `least` bytes then. Never
/// inside what a reader takes for one letter.
pub(super) fn forced_end(text: &str, least: usize) -> usize {
    let space = |(at, space): (usize, char)| {
        let bound = text[at + space.len_utf8()..].starts_with(|c: char| BOUND.contains(c) || c == '»');
        (!bound && !matches!(space, '\u{A0}' | '\u{202F}' | '\u{2007}')).then_some(at)
    };
    let spaces = text.char_indices().rev().filter(|(_, c)| c.is_whitespace()).filter_map(space);
    let clauses = text.char_indices().rev().filter(|(_, c)| CLAUSES.contains(*c)).map(|(at, c)| at + c.len_utf8());
    let parted = |at: &usize| may_part(&text[..*at], &text[*at..]);
    let words = text.split_word_bound_indices().rev().map(|(at, _)| at).filter(parted);
    let graphemes = text.grapheme_indices(true).rev().map(|(at, _)| at);
    let long = |at: &usize| *at > least && *at < text.len();
    spaces.chain(clauses).chain(words).chain(graphemes).find(long).unwrap_or(text.len())
}

/// Whether a piece may end and the next begin between two words as Unicode cuts them (UAX #29). It
/// takes every Thai letter for a word; a vowel that is written before its consonant always begins a
/// syllable.
fn may_part(before: &str, after: &str) -> bool {
    let (Some(last), Some(next)) = (before.chars().next_back(), after.chars().next()) else { return false };
    let syllable = !is_thai(next) || ('\u{0E40}'..='\u{0E44}').contains(&next);
    syllable && !OPENING.contains(last) && !BOUND.contains(next) && !CLOSING.contains(next)
}
