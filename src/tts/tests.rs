//! Tests of the text for the voice as a whole: split into pieces, and each piece normalised.

use super::{Sentences, for_ear};

const TEXTS: &str = include_str!("../../tests/ear/texts.tsv");

/// Replaces the numbers of characters, such as `\u00AD`, by the characters.
fn unescaped(text: &str) -> String {
    let mut parts = text.split("\\u");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let letter = part.get(..4).and_then(|number| u32::from_str_radix(number, 16).ok()).and_then(char::from_u32);
        match letter {
            Some(letter) => plain.extend([letter.to_string().as_str(), &part[4..]]),
            None => plain.extend(["\\u", part]),
        }
    }
    plain
}

#[test]
fn texts_are_cut_and_said() {
    let rows: Vec<(&str, &str)> = TEXTS.lines().filter_map(|line| line.split_once('\t')).collect();
    assert!(rows.len() > 150, "only {} texts", rows.len());
    let said = |text: &str| {
        let pieces = Sentences::expecting("en").cut_all(&unescaped(text));
        pieces.iter().map(|piece| for_ear(piece)).collect::<Vec<_>>().join(" | ")
    };
    let rows = rows.into_iter().map(|(text, expected)| (text, expected, said(text)));
    let wrong: Vec<_> = rows.filter(|(_, expected, said)| said != expected).collect();
    let list = wrong.iter().map(|(text, expected, said)| format!("{text}\n  expected {expected}\n  said     {said}\n"));
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), list.collect::<String>());
}
