//! Plain numbers: fractions, ordinals, years, and all digits that are left.

use super::english::{cardinal, digits, ordinal, plural, year};
use super::rewrite::{Site, number, pattern, rewrite};

/// Longest number read as one, in digits. A longer one is hard to follow, and is an identifier more
/// often than an amount.
const LONGEST: usize = 15;

/// Puts a number, as the number pattern matches it, into words: grouped by commas, with decimals, a
/// version, an IP address or a list.
pub(super) fn spoken(number: &str) -> String {
    if pattern!(r"^[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?$").is_match(number) {
        return dotted(&number.replace(',', ""));
    }
    let listed: Vec<String> = number.split(',').filter(|part| !part.is_empty()).map(dotted).collect();
    listed.join(", ")
}

fn dotted(number: &str) -> String {
    let parts: Vec<&str> = number.split('.').filter(|part| !part.is_empty()).collect();
    match parts[..] {
        [] => String::new(),
        [whole] => integer(whole),
        [whole, decimals] => format!("{} point {}", integer(whole), digits(decimals)),
        [_, _, _, _] => parts.iter().map(|part| integer(part)).collect::<Vec<_>>().join(" dot "),
        _ => parts.iter().map(|part| integer(part)).collect::<Vec<_>>().join(" point "),
    }
}

fn integer(number: &str) -> String {
    let code = number.len() > LONGEST || (number.len() > 1 && number.starts_with('0'));
    match number.parse() {
        Ok(value) if !code => cardinal(value),
        _ => digits(number),
    }
}

/// Whether a number is exactly one, so that its noun is singular.
pub(super) fn is_one(number: &str) -> bool {
    number == "1"
}

/// Reads fractions: `1/2` is "one half", `2 3/4` "two and three quarters", `8/10` "eight out of
/// ten".
pub(super) fn fractions(text: &str) -> String {
    let rating = pattern!(r"\b([0-9]+\.[0-9]+)/([0-9]+)\b");
    let text = rewrite(text, rating, |site| {
        let rated = !matches!(site.previous(), Some('.' | '/')) && !matches!(site.next(), Some('/'));
        rated.then(|| format!("{} out of {}", site.group(1), site.group(2)))
    });
    rewrite(&text, pattern!(r"(-)?\b(?:([0-9]{1,4})[ -])?([0-9]{1,4})/([0-9]{1,4})\b"), |site| {
        if site.previous() == Some('/') || site.next() == Some('/') {
            return None;
        }
        let value = |index| site.group(index).parse::<u64>().unwrap_or(0);
        let rating = site.after.starts_with(" star") || site.after.starts_with(" point");
        let part = match rating {
            true => format!("{} out of {}", cardinal(value(3)), cardinal(value(4))),
            false => fraction(value(3), value(4)),
        };
        let sign = sign(site);
        Some(match site.group(2) {
            "" => format!("{sign}{part}"),
            whole if value(3) == 1 => format!("{sign}{} and {}", spoken(whole), part.replacen("one ", "a ", 1)),
            whole => format!("{sign}{} and {part}", spoken(whole)),
        })
    })
}

fn fraction(top: u64, bottom: u64) -> String {
    let (count, many) = (cardinal(top), top != 1);
    match (top, bottom) {
        // Pairs that are never a fraction.
        (24, 7) | (9, 11) | (50, 50) | (20, 20) => format!("{count} {}", cardinal(bottom)),
        (_, 2) if many => format!("{count} halves"),
        (_, 2) => format!("{count} half"),
        (_, 4) if many => format!("{count} quarters"),
        (_, 4) => format!("{count} quarter"),
        (_, 10 | 100) if many => format!("{count} out of {}", cardinal(bottom)),
        (_, 3..=20 | 100) if many => format!("{count} {}s", ordinal(bottom)),
        (_, 3..=20 | 100) => format!("{count} {}", ordinal(bottom)),
        _ => format!("{count} over {}", cardinal(bottom)),
    }
}

/// Reads ordinals: `22nd` is "twenty-second".
pub(super) fn ordinals(text: &str) -> String {
    rewrite(text, pattern!(r"\b([0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,15})(?i:st|nd|rd|th)\b"), |site| {
        site.group(1).replace(',', "").parse().ok().map(ordinal)
    })
}

/// Reads every digit left. A bare four-digit number of the last nine centuries is a year; "1999
/// bottles" sounds the same.
pub(super) fn numbers(text: &str) -> String {
    let text = rewrite(text, pattern!(r"([0-9]+(?:\.[0-9]+)?)[eE]([+-]?[0-9]{1,3})\b"), |site| {
        let letters = site.previous().is_some_and(char::is_alphanumeric);
        (!letters).then(|| format!("{} times ten to the power of {}", site.group(1), site.group(2)))
    });
    let text = rewrite(&text, pattern!(r"\b[vV]([0-9])"), |site| Some(format!("version {}", site.group(1))));
    let text = rewrite(&text, pattern!(r"[0-9](?::[0-9])+"), |site| Some(site.group(0).replace(':', " to ")));
    let early = pattern!(r"\b([Ii]n|[Ss]ince|[Bb]y|[Uu]ntil|[Yy]ear|AD) (10[0-9]{2})\b");
    let text = rewrite(&text, early, |site| {
        let goes_on =
            site.after.strip_prefix([',', '.']).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let year = year(site.group(2).parse().ok()?);
        (!goes_on).then(|| format!("{} {year}", site.group(1)))
    });
    let text = plurals(&factors(&text));
    rewrite(&text, pattern!(r"(-)?(\.)?(", number!(), ")"), |site| {
        let sign = sign(site);
        let point = site.group(2);
        let number = site.group(3);
        let words = match number.parse() {
            _ if !point.is_empty() => return Some(format!("{sign}point {}", after_point(number))),
            Ok(value @ 1100..=2099) if number.len() == 4 && sign != "minus " => year(value),
            _ => spoken(number),
        };
        Some(format!("{sign}{words}"))
    })
}

/// Reads plurals: `747s` are "seven hundred forty-sevens", `49ers` "forty-niners", and `45s`
/// seconds.
fn plurals(text: &str) -> String {
    let text = rewrite(text, pattern!(r"\b([0-9]{1,3}(?:,000)+)s\b"), |site| Some(plural(&spoken(site.group(1)))));
    rewrite(&text, pattern!(r"\b([0-9]{2,4})(s|ers)\b"), |site| {
        let number = cardinal(site.group(1).parse().ok()?);
        let part = site.previous().is_some_and(|c| matches!(c, ',' | '.' | ':' | '-'));
        let words = match site.group(2) {
            "s" if site.group(1).len() == 2 => format!("{number} seconds"),
            "s" => plural(&number),
            _ => format!("{}ers", number.trim_end_matches('e')),
        };
        (!part).then_some(words)
    })
}

/// Reads factors: `1920x1080` is "1920 by 1080", `3 × 4` "3 times 4", `10x` "10 times" outside of
/// calculations.
fn factors(text: &str) -> String {
    let text = rewrite(text, pattern!(r"([0-9]) ?([x×])(?: ?([0-9])|\b)"), |site| {
        let (sign, next) = (site.group(2), site.group(3));
        let name = site.before.ends_with(|c: char| c.is_alphabetic() || c == '-');
        let equation = pattern!(r"[=+^√<>]|\b(?:equals|plus|minus) |[0-9] - ").is_match(text);
        match (sign, next) {
            ("x", "") if equation || name || glued(site) => None,
            ("x", "") => Some(format!("{} times", site.group(1))),
            (_, "") => None,
            ("x", next) => Some(format!("{} by {next}", site.group(1))),
            (_, next) => Some(format!("{} times {next}", site.group(1))),
        }
    });
    // A second factor may itself be a first one: `2 × 3 × 4`.
    rewrite(&text, pattern!(r"([0-9]) ?× ?([0-9])"), |site| Some(format!("{} times {}", site.group(1), site.group(2))))
}

fn glued(site: &Site) -> bool {
    site.next().is_some_and(|c| c.is_alphanumeric() || matches!(c, '-' | ')'))
}

/// Sign of a number, whose pattern's first group is the hyphen before it: a minus where a word
/// could start, a hyphen elsewhere (`GPT-4`).
pub(super) fn sign(site: &Site) -> &'static str {
    match site.previous() {
        _ if site.group(1).is_empty() => "",
        None | Some('(' | '[' | '"' | '^' | '=' | '<' | '>' | ',' | '×' | '÷' | '±' | '≤' | '≥' | '≈' | ':' | '+') => {
            "minus "
        }
        Some(c) if c.is_whitespace() => "minus ",
        _ => " ",
    }
}

fn after_point(number: &str) -> String {
    if number.contains(['.', ',']) { spoken(number) } else { digits(number) }
}
