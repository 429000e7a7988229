//! Ranges, and the dashes between numbers: "to", or minus.

use super::english::digits;
use super::rewrite::{Site, number, pattern, rewrite};

/// Reads ranges: `10-20` is "10 to 20"; the numbers themselves are read later, with the words after
/// them. A hyphen in front of an equals sign, or between spaces and a smaller number, is a minus.
pub(super) fn ranges(text: &str) -> String {
    let text = dashed(&minuses(text));
    let text = rewrite(&text, pattern!("(", number!(), r"[a-z]?) - (-?", number!(), ")"), |site| {
        let equation = site.previous() == Some('^') || site.before.contains('=');
        let joint = if rises(site) && !equation { "to" } else { "minus" };
        Some(format!("{} {joint} {}", site.group(1), site.group(2)))
    });
    rewrite(&text, pattern!(number!(), r"(?:[%°][CF]?)?(?:[-–—][$€£]?", number!(), ")+| – (?:[0-9])"), chain)
}

/// Reads dashes that are a minus: before a number, where no range can end, and after a variable
/// (`n-1`).
fn minuses(text: &str) -> String {
    let text = rewrite(text, pattern!(r"(^|[\s(\[=×÷±<>≤≥≈])–([0-9.])"), |site| {
        let range = site.before.ends_with(|c: char| c.is_ascii_digit());
        (!range).then(|| format!("{}-{}", site.group(1), site.group(2)))
    });
    rewrite(&text, pattern!(r"\b([a-z])-([0-9])"), |site| {
        let alone = !site.previous().is_some_and(|c| c.is_alphanumeric() || matches!(c, '-' | '\'' | '.' | '/' | '_'));
        alone.then(|| format!("{} minus {}", site.group(1), site.group(2)))
    })
}

/// Reads a dash between two amounts with their own units, two letters, or two names: `5kg–10kg`,
/// `A–Z`, `Paris–Lyon`.
fn dashed(text: &str) -> String {
    let text = &pattern!(r"\b([a-z]|[0-9]+)\.{2,3}([a-z]\b|[0-9])").replace_all(text, "$1 to $2");
    let amounts =
        pattern!(r#"([0-9](?:[\p{L}μ°%]{1,4}|['"]))(?: ?[–—] ?|-)([$€£]?[0-9][0-9.,]*(?:[\p{L}μ°%]{1,4}\b|['"])?)"#);
    let text = rewrite(text, amounts, |site| {
        let letters =
            |text: &str| text.trim_start_matches(|c: char| !c.is_alphabetic() && c != '°' && c != '%').to_owned();
        let hyphen = site.group(0).contains('-');
        // A code such as `4b-2c` has a hyphen as well, but two units.
        let same = letters(site.group(1)) == letters(site.group(2));
        (!hyphen || same).then(|| format!("{} to {}", site.group(1), site.group(2)))
    });
    let text = pattern!(r"\b([A-Z])–([A-Z])\b").replace_all(&text, "$1 to $2");
    let text = pattern!(r"\bA-Z\b").replace_all(&text, "A to Z");
    let text = pattern!(r"([0-9])-(to|by)-([0-9])").replace_all(&text, "$1 $2 $3");
    let text = pattern!(r"(\p{Lu}\p{Ll}+)–(\p{Lu}\p{Ll})").replace_all(&text, "$1 to $2");
    pattern!(r"(\p{L})–(\p{Ll})").replace_all(&text, "$1-$2").into_owned()
}

/// Reads a chain of numbers with dashes between them.
fn chain(site: &Site) -> Option<String> {
    let whole = site.group(0);
    if let Some(digit) = whole.strip_prefix(" – ") {
        let joined = site.previous().is_some_and(|c| c.is_ascii_digit() || c == '%');
        return joined.then(|| format!(" to {digit}"));
    }
    // `3-1/4` is one number.
    let fraction = site.after.strip_prefix('/').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if fraction || site.previous().is_some_and(char::is_alphanumeric) {
        return None;
    }
    let ends: Vec<&str> = whole.split(['-', '–', '—']).collect();
    // Longer chains with parts that no amount has are codes, such as an ISBN.
    if ends.len() > 2 && ends.iter().any(|end| end.len() > 3 || end.starts_with('0')) {
        return Some(ends.into_iter().map(digits).collect::<Vec<_>>().join(", "));
    }
    let sum = site.after.trim_start().starts_with('=');
    Some(ends.join(match ends.len() {
        2 if sum => " minus ",
        2 => " to ",
        _ => ", ",
    }))
}

/// Whether a spaced hyphen stands between a smaller and a larger number, outside of a calculation.
fn rises(site: &Site) -> bool {
    let value = |index| site.group(index).replace(',', "").parse::<f64>().ok();
    let sum = site.after.trim_start().starts_with('=');
    !sum && value(1).zip(value(2)).is_some_and(|(low, high)| low < high)
}
