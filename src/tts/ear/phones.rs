//! Telephone numbers: digit by digit, a pause between the groups.

use super::english::digits;
use super::rewrite::{pattern, rewrite};

pub(super) fn phones(text: &str) -> String {
    // Too short to be known by their shape: what stands before them tells.
    let called = pattern!(
        r"(?i)\b((?:call|dial|phone|tel|fax|text|number)(?: is)?[.:]? )",
        r"([0-9]{3}-[0-9]{4}|112|[2-9]11|988|999)\b"
    );
    let text = rewrite(text, called, |site| {
        let goes_on = site.next().is_some_and(|c| matches!(c, '-' | '.' | ',' | ':' | '/' | '%'))
            && site.after.chars().nth(1).is_some_and(|c| c.is_ascii_digit());
        (!goes_on).then(|| format!("{}{}", site.group(1), grouped(site.group(2))))
    });
    let number = pattern!(
        r"\+[0-9]{1,3}(?:[ .-]?\(?[0-9]{1,5}\)?){2,6}\b",
        r"|(?:\b1[ .-]?)?\([0-9]{3}\)[ .-]?[0-9]{3}[ .-][0-9]{4}\b",
        r"|\b(?:1[ .-])?[0-9]{3}-[0-9]{3}-[0-9]{4}\b",
        r"|\b(?:1[ .-])?[0-9]{3}\.[0-9]{3}\.[0-9]{4}\b",
        r"|\b(?:1 )?[0-9]{3} [0-9]{3} [0-9]{4}\b",
        r"|\b0[0-9]{2,4}[ -][0-9]{3,4}[ -]?[0-9]{3,4}\b",
    );
    rewrite(&text, number, |site| {
        let whole = site.group(0);
        let count = whole.bytes().filter(u8::is_ascii_digit).count();
        let fits = (7..=15).contains(&count) && !site.previous().is_some_and(|c| c.is_alphanumeric() || c == '.');
        fits.then(|| grouped(whole))
    })
}

fn grouped(number: &str) -> String {
    let groups: Vec<String> =
        number.split(|c: char| !c.is_ascii_digit()).filter(|group| !group.is_empty()).map(digits).collect();
    format!("{}{}", if number.starts_with('+') { "plus " } else { "" }, groups.join(", "))
}
