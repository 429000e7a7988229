//! Properties that hold for any text, not only for those in the tables.

use proptest::prelude::*;

use super::for_ear;

/// First character in the result that a voice cannot say, if any.
fn unspeakable(heard: &str) -> Option<char> {
    let speech = |c: char| c.is_alphabetic() || matches!(c, ' ' | '.' | ',' | ';' | ':' | '?' | '!' | '\'' | '-');
    let mark = regex::Regex::new(r"[\p{M}]").expect("a pattern");
    let emoji = regex::Regex::new(r"[\p{N}\p{Extended_Pictographic}]").expect("a pattern");
    heard.chars().find(|c| {
        let text = c.to_string();
        emoji.is_match(&text) || !(speech(*c) || mark.is_match(&text))
    })
}

/// Pieces of text as models write them, in random order.
fn jumble() -> impl Strategy<Value = String> {
    let pieces = vec![
        "#",
        "*",
        "**",
        "_",
        "`",
        "```",
        "\n",
        "|",
        "- ",
        "1. ",
        "> ",
        "[",
        "](",
        ")",
        "(",
        "!",
        "@",
        "/",
        ":",
        "-",
        "–",
        "...",
        ".",
        ",",
        "'",
        "\"",
        " ",
        " ",
        " ",
        "$",
        "€",
        "%",
        "°",
        "C",
        "km",
        "am",
        "p.m.",
        "https://",
        "www.",
        "com",
        "5",
        "12",
        "2024",
        "03",
        "1999",
        "0",
        "007",
        "March ",
        "Dr.",
        "St.",
        "e.g.",
        "No.",
        "etc.",
        "U.S.",
        "word",
        "A",
        "é",
        "½",
        "²",
        "😀",
        "1️⃣",
        "<b>",
        "&amp;",
        "\\",
        "^",
        "=",
        "+",
        "~~",
        "million",
        "st",
        "th",
        "x",
        "٣",
        "Ⅳ",
        "$$",
        "\\frac",
        "\\[",
        "{",
        "}",
        "<",
        "J.",
        "Jan. ",
        "II",
        "Ω",
        "𝐀",
        "привет",
        " –5",
        ":)",
        "PIN ",
        "call ",
        "World War ",
        "Louis ",
        "5'11",
        "IT ",
        "CO2",
        "km/h",
        "…",
    ];
    proptest::collection::vec(proptest::sample::select(pieces), 0..32).prop_map(|pieces| pieces.concat())
}

/// Sentences as a model could write them. None ends in a single letter, which may be taken for an
/// initial.
fn sentence() -> impl Strategy<Value = String> {
    let pieces = vec![
        "# Plan",
        "**bold**",
        "`code`",
        "- item",
        "1. step",
        "> said",
        "[text](https://a.io)",
        "!",
        "a@b.com",
        "x/y",
        "–",
        "...",
        ".",
        ",",
        "\"so\"",
        "$3.50",
        "€20",
        "5%",
        "20 °C",
        "5 km",
        "7:30 am",
        "14:05",
        "2024-03-05",
        "1999",
        "March 5",
        "Dr. Lee",
        "Main St.",
        "e.g.",
        "No. 5",
        "etc.",
        "U.S.",
        "word",
        "Then",
        "1/2",
        "10-20",
        "😀",
        "(aside)",
        "555-123-4567",
        "3.14",
        "-7",
        "CO2",
        "&",
        "+",
        "main.rs",
        "It's",
        "?",
        "x²",
        "| a | b |",
        "\n",
        "\n\n",
        "vs.",
    ];
    proptest::collection::vec(proptest::sample::select(pieces), 0..12).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn anything_becomes_speech(text in any::<String>()) {
        let heard = for_ear(&text);
        prop_assert_eq!(unspeakable(&heard), None, "heard {:?}", heard);
    }

    #[test]
    fn a_jumble_becomes_speech(text in jumble()) {
        let heard = for_ear(&text);
        prop_assert_eq!(unspeakable(&heard), None, "heard {:?}", heard);
        prop_assert!(!heard.contains("  ") && heard.trim() == heard, "heard {:?}", heard);
    }

    #[test]
    fn hearing_twice_changes_nothing(text in sentence()) {
        let once = for_ear(&text);
        prop_assert_eq!(for_ear(&once), once);
    }
}
