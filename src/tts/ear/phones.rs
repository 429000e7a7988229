//! Telephone numbers, read digit by digit, with a pause between the groups.

use super::english::{cardinal, digits};
use super::rewrite::{pattern, rewrite};

pub(super) fn phones(text: &str) -> String {
    // Numbers too short or too plain to be recognised by their form: the words before them decide.
    let called = pattern!(
        r"(?i)\b((?:call|calling|dial|phone|telephone|tel|fax|text|number|mobile|cell|whatsapp|sms|reach|ring|contact",
        r"|hotline|message)\b[^0-9.!?;+]{0,30}[.:]? ?)([0-9]{3}-[0-9]{4}|[0-9]{7}|[0-9]{10,12})\b"
    );
    let text = rewrite(text, called, |site| {
        let goes_on = site.next().is_some_and(|c| matches!(c, '-' | '.' | ',' | ':' | '/' | '%'))
            && site.after.chars().nth(1).is_some_and(|c| c.is_ascii_digit());
        (!goes_on).then(|| format!("{}{}", site.group(1), grouped(&parted(site.group(2)))))
    });
    let words = pattern!(r"\b(1-)?(8[0-9]{2}|900)-([A-Z][A-Z-]{2,})\b");
    let text = rewrite(&text, words, |site| {
        let one = if site.group(1).is_empty() { "" } else { "one, " };
        Some(format!("{one}{}, {}", hundreds(site.group(2)), site.group(3)))
    });
    let number = pattern!(
        r"\+[0-9]{1,3}(?:[ .-]?\(?[0-9]{1,5}\)?){2,6}\b",
        r"|(?:\b1[ .-]?)?\([0-9]{3}\)[ .-]?[0-9]{3}[ .-][0-9]{4}\b",
        r"|\(0[0-9]{1,4}\)[ -]?[0-9]{3,4}[ -]?[0-9]{3,4}\b",
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

/// Splits a number without groups like those of North America: `5551234567` is `555 123 4567`.
fn parted(number: &str) -> String {
    if number.contains('-') {
        return number.to_owned();
    }
    let last = number.len().saturating_sub(4);
    let (head, line) = number.split_at(last);
    let (country, rest) = head.split_at(head.len().saturating_sub(6));
    let (area, exchange) = rest.split_at(rest.len().saturating_sub(3));
    [country, area, exchange, line].join(" ")
}

fn hundreds(number: &str) -> String {
    match number.strip_suffix("00").and_then(|hundreds| hundreds.parse().ok()) {
        Some(hundreds) => format!("{} hundred", cardinal(hundreds)),
        None => digits(number),
    }
}

fn grouped(number: &str) -> String {
    let groups: Vec<String> =
        number.split(|c: char| !c.is_ascii_digit()).filter(|group| !group.is_empty()).map(digits).collect();
    format!("{}{}", if number.starts_with('+') { "plus " } else { "" }, groups.join(", "))
}
