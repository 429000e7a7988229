//! Conversion of the decimal comma, and of dots and spaces between thousands, to the English form:
//! `1.234,56` is `1234.56`.

use super::rewrite::{pattern, rewrite};

pub(super) fn decimals(text: &str) -> String {
    // Spaces between thousands. At least two of them, since with one it may be two numbers.
    let text =
        rewrite(text, pattern!(r"\b[0-9]{1,3}(?: [0-9]{3}){2,}\b"), |site| Some(site.group(0).replace(' ', ",")));
    let text = rewrite(&text, pattern!(r"\b([0-9]{1,3}(?:\.[0-9]{3})+)(?:,([0-9]{1,2}))?\b"), |site| {
        let (whole, cents) = (site.group(1), site.group(2));
        let address = whole.matches('.').count() == 3;
        let euros = site.before.trim_end().ends_with('€') || site.after.trim_start().starts_with('€');
        let goes_on = site.next().is_some_and(|c| matches!(c, '.' | ',')) && digit_at(site.after, 1);
        let thousands = !cents.is_empty() || (whole.matches('.').count() > 1 && !address) || euros;
        let whole = whole.replace('.', "");
        match cents {
            _ if !thousands || goes_on || site.previous().is_some_and(|c| c == '.' || c.is_alphanumeric()) => None,
            "" => Some(whole),
            cents => Some(format!("{whole}.{cents}")),
        }
    });
    rewrite(&text, pattern!(r"\b([0-9]+),([0-9]+)\b"), |site| {
        let (whole, part) = (site.group(1), site.group(2));
        let joined = |c: Option<char>| c.is_some_and(|c| matches!(c, ',' | '.' | '(' | '-' | '/'));
        let goes_on = site.next().is_some_and(|c| matches!(c, ',' | '.' | '/')) && digit_at(site.after, 1);
        let measured = pattern!(
            r"^(?: ?(?:[%€£$°]|(?:EUR|USD|GBP|km|m|cm|mm|kg|g|mg|l|ml|°C|GB|MB|kWh)\b)",
            r"| (?:million|billion|percent|degrees)\b)"
        );
        let priced = site.before.trim_end().ends_with(['€', '$', '£']);
        let decimal = match part.len() {
            3 => whole == "0",
            1 => whole == "0" || measured.is_match(site.after) || priced,
            _ => true,
        };
        (decimal && !goes_on && !joined(site.previous())).then(|| format!("{whole}.{part}"))
    })
}

fn digit_at(text: &str, at: usize) -> bool {
    text.chars().nth(at).is_some_and(|c| c.is_ascii_digit())
}
