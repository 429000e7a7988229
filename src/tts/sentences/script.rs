//! Scripts without spaces between words, and the place to cut a text without a better one.
//!
//! A dictionary of Thai and the line breaks of UAX #14 (`icu_segmenter`) were considered and
//! rejected: they would serve only stretches of 80 letters without a space or a mark, which models
//! hardly write, for 400 KB and a dozen crates.

use unicode_segmentation::UnicodeSegmentation;

use super::Judged;

/// Closing quotation marks and brackets. “ and « close in German, and ’ everywhere.
pub(super) const CLOSING: &str = "\"'”’“‘)]»«›‹」』）］】》〉｣";

/// Opening quotation marks and brackets: no piece ends after one.
const OPENING: &str = "([„‚「『（［【《〈｢¿¡";

/// Marks that belong to the letter before them, so that no piece begins with one. Small kana and
/// the length mark do, too.
const BOUND: &str = "!?;:,.…%、。，！？；：・ーっゃゅょぁぃぅぇぉッャュョァィゥェォ々ๆฯ";

/// Clause marks, after which a piece may end when it has to end somewhere.
const CLAUSES: &str = "，、；：,;:—…";

/// Graphemes of Thai from which on a space ends a piece: a second of sound or more.
const THAI_PIECE: usize = 12;

/// Particles with which Thai sentences end; a space after one ends a sentence of any length.
const THAI_PARTICLES: [&str; 6] = ["ครับ", "ค่ะ", "คะ", "จ้ะ", "จ๊ะ", "ฮะ"];

pub(super) fn is_thai(letter: char) -> bool {
    ('\u{0E01}'..='\u{0E4E}').contains(&letter)
}

/// Whether a letter is a Chinese character, kana, or a mark that stands among them.
pub(super) fn is_ideographic(letter: char) -> bool {
    matches!(letter, '\u{3000}'..='\u{30FF}' | '\u{31F0}'..='\u{31FF}' | '\u{3400}'..='\u{4DBF}'
        | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{FF01}'..='\u{FF9F}' | '\u{20000}'..='\u{3FFFF}')
}

/// Whether a letter belongs to a script without spaces between words.
pub(in crate::tts) fn is_spaceless(letter: char) -> bool {
    is_thai(letter) || is_ideographic(letter)
}

/// Judges a space in Thai, which writes one where others write a full stop or a comma, and around
/// numbers and foreign words.
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
    // ๆ repeats a word that belongs to the next: ต่าง ๆ
    if said.ends_with('ๆ') {
        return Judged::NoEnd;
    }
    let ends = THAI_PARTICLES.iter().any(|particle| said.ends_with(particle));
    if ends || said.graphemes(true).count() >= THAI_PIECE { Judged::End(at + 1) } else { Judged::NoEnd }
}

/// Position at which a text without an end is cut: at its last space, else after its last clause,
/// else between two words or syllables, if it is then longer than `least` bytes. It is never inside
/// a grapheme.
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

/// Whether a piece may end and the next begin between two words as Unicode cuts them (UAX #29).
/// Unicode takes every Thai letter for a word; a vowel that is written before its consonant always
/// begins a syllable.
fn may_part(before: &str, after: &str) -> bool {
    let (Some(last), Some(next)) = (before.chars().next_back(), after.chars().next()) else { return false };
    let syllable = !is_thai(next) || ('\u{0E40}'..='\u{0E44}').contains(&next);
    syllable && !OPENING.contains(last) && !BOUND.contains(next) && !CLOSING.contains(next)
}
