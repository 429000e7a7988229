//! Dates, in the orders and with the separators that people use.

use super::english::{cardinal, ordinal, plural, year};
use super::rewrite::{Site, pattern, rewrite};
use crate::tts::abbreviations::find;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Pattern of a month in running text; the longer names first.
macro_rules! month {
    () => {
        concat!(
            r"(January|February|March|April|May|June|July|August|September|October|November|December",
            r"|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)\b\.?)"
        )
    };
}

/// Pattern of a day of the week; the longer names first.
macro_rules! weekday {
    () => {
        r"(Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday|Thurs|Tues|Thur|Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
    };
}

/// Reads `2024-03-05`, `3/5/2024`, `5.3.2024`, `March 5, 2024` and `5 March 2024`.
pub(super) fn dates(text: &str) -> String {
    let text = year_first(&spans(text));
    let text = rewrite(&text, pattern!(r"\b([0-9]{1,2})([/-])([0-9]{1,2})([/-])([0-9]{4}|[0-9]{2})\b"), |site| {
        let (first, second, year) = (site.group(1), site.group(3), site.group(5));
        // Two digits are a year only between slashes; with dashes it may be a code.
        let joined = site.group(2) == site.group(4) && (site.group(2) == "/" || year.len() == 4);
        // American order, unless only the other one is a date.
        let date = date(year, first, second).or_else(|| date(year, second, first))?;
        (joined && !is_inside(site)).then_some(date)
    });
    // With dots the day comes first.
    let text = rewrite(&text, pattern!(r"\b([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4}|[0-9]{2})\b"), |site| {
        let (day, month, year) = (site.group(1), site.group(2), site.group(3));
        let padded = day.len() == 2 && month.len() == 2;
        let version = pattern!(r"(?i)(?:\bv|version|release|build|update|section|chapter) ?$").is_match(site.before);
        let sure = (year.len() == 4 || padded) && !version && !is_inside(site) && !site.after.starts_with(':');
        date(year, month, day).or_else(|| date(year, day, month)).filter(|_| sure)
    });
    day_first(&month_first(&dated(&text)))
}

/// Reads `on 12/25` and `expires 05/27`, which are dates only after such words.
fn dated(text: &str) -> String {
    let expires = pattern!(
        r"(?i)\b((?:expir\w+|exp\.?|valid|good)(?: (?:thru|through|until|on|in|date))*:? )(0[1-9]|1[0-2])/([0-9]{2})\b"
    );
    let text = rewrite(text, expires, |site| {
        let year = year(2000 + site.group(3).parse::<u64>().ok()?);
        Some(format!("{}{} {year}", site.group(1), month_number(site.group(2))?))
    });
    let dated = pattern!(
        r"(?i)\b(on|due|dated|by|until|till|before|after|since|from|through|between) ([0-9]{1,2})/([0-9]{1,2})\b"
    );
    rewrite(&text, dated, |site| {
        let (month, day) = (in_range(site.group(2), 1, 12)?, in_range(site.group(3), 1, 31)?);
        let whole = !site.next().is_some_and(|c| matches!(c, '/' | '%' | '"')) && !site.after.starts_with(" of");
        // "by 1/2" and "between 1/4 and 3/4" are fractions.
        let fraction = month < day && matches!(day, 2..=5 | 8 | 10);
        let sure = !fraction || matches!(site.group(1).to_lowercase().as_str(), "on" | "due" | "dated");
        let words = format!("{} {} {}", site.group(1), month_number(site.group(2))?, ordinal(day));
        (whole && sure).then_some(words)
    })
}

/// Reads `2024-03-05`, with or without a time, `2024/3/5` and `2024-03`.
fn year_first(text: &str) -> String {
    let iso =
        pattern!(r"\b([0-9]{4})([-/.])([0-9]{1,2})([-/.])([0-9]{1,2})(?:[T ]([0-9]{2}:[0-9]{2})(?::[0-9.]+)?Z?)?\b");
    let text = rewrite(text, iso, |site| {
        let date = date(site.group(1), site.group(3), site.group(5)).filter(|_| site.group(2) == site.group(4))?;
        let inside = is_inside(site) || in_range(site.group(1), 1000, 2999).is_none();
        let time = site.group(6);
        (!inside).then(|| if time.is_empty() { date } else { format!("{date}, at {time}") })
    });
    rewrite(&text, pattern!(r"\b([0-9]{4})-([0-9]{2})\b"), |site| {
        let plain = site.next() != Some('-') && site.previous() != Some('-');
        let month = month_number(site.group(2)).filter(|_| plain)?;
        let later = site.group(2).parse::<u64>().ok()? > site.group(1).get(2..)?.parse().ok()?;
        // `2009-10` is a season more often than an October.
        (!later || site.group(2).starts_with('0')).then_some(())?;
        Some(format!("{month} {}", year(in_range(site.group(1), 1100, 2099)?)))
    })
}

/// Reads spans of days and months: `Mon–Fri`, `June-Aug.`.
fn spans(text: &str) -> String {
    let days =
        pattern!(r"\b", weekday!(), r"\.?( ?[-–] ?| to | through |, | and |, and | & |/)", weekday!(), r"\b(\.)?");
    let said = |site: &Site| {
        let joint = if site.group(2).contains(['-', '–']) { " to " } else { site.group(2) };
        let stop = if site.ends_sentence() { site.group(4) } else { "" };
        Some(format!("{}{joint}{}{stop}", unshortened(site.group(1)), unshortened(site.group(3))))
    };
    // A second pass, for the pairs between: `Mon, Wed, Fri`.
    let text = rewrite(&rewrite(text, days, said), days, said);
    let months = pattern!(r"\b", month!(), r" ?[-–] ?", month!());
    let text = rewrite(&text, months, |site| {
        let word = !site.next().is_some_and(char::is_alphanumeric);
        word.then(|| format!("{} to {}", full_name(site.group(1)), full_name(site.group(2))))
    });
    // Without its full stop a day is recognised by the next word.
    let day = pattern!(
        r"\b(Thurs|Tues|Thur|Mon|Tue|Wed|Thu|Fri|Sat|Sun)(,? (?:[0-9]|Jan|Feb|Mar|Apr|May|Ju[nl]|Aug|Sep|Oct|Nov|Dec))"
    );
    rewrite(&text, day, |site| Some(format!("{}{}", unshortened(site.group(1)), site.group(2))))
}

fn unshortened(day: &str) -> &str {
    find("", day).map_or(day, |known| known.said)
}

/// Whether digits continue before or after, as in a version or an address.
fn is_inside(site: &Site) -> bool {
    let joint = |c: char| matches!(c, '/' | '-' | '.' | ':' | '_');
    let behind = site.after.strip_prefix(joint).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    behind || site.previous().is_some_and(|c| joint(c) || matches!(c, ',' | '$' | '€' | '£'))
}

fn month_first(text: &str) -> String {
    let date = pattern!(
        r"\b",
        month!(),
        r" ([0-9]{1,2})(?:st|nd|rd|th)?(?: ?[-–] ?([0-9]{1,2})(?:st|nd|rd|th)?)?\b(?:(,)? ([0-9]{4})\b)?"
    );
    rewrite(text, date, |site| {
        if goes_on(site) {
            return None;
        }
        let mut words = format!("{} {}", full_name(site.group(1)), ordinal(in_range(site.group(2), 1, 31)?));
        if !site.group(3).is_empty() {
            words = format!("{words} to {}", ordinal(in_range(site.group(3), 1, 31)?));
        }
        if !site.group(5).is_empty() {
            words = format!("{words}, {}", year(site.group(5).parse().ok()?));
        }
        Some(words)
    })
}

fn day_first(text: &str) -> String {
    let date = pattern!(
        r"\b([Tt]he )?(?:([0-9]{1,2})(?:st|nd|rd|th)? ?[-–] ?)?([0-9]{1,2})(?:st|nd|rd|th)?(?: of)?[ -]",
        month!(),
        r"(?:(?:,? |-)([0-9]{4})\b)?"
    );
    rewrite(text, date, |site| {
        if goes_on(site) || site.previous().is_some_and(|c| matches!(c, '-' | '.' | ',' | '/' | ':' | '$')) {
            return None;
        }
        // At the start of a sentence the article needs its capital no more than the digit did.
        let article = if site.group(1).is_empty() { "the " } else { site.group(1) };
        let mut words =
            format!("{article}{} of {}", ordinal(in_range(site.group(3), 1, 31)?), full_name(site.group(4)));
        if !site.group(2).is_empty() {
            words = format!("{article}{} to {words}", ordinal(in_range(site.group(2), 1, 31)?));
        }
        if !site.group(5).is_empty() {
            words = format!("{words}, {}", year(site.group(5).parse().ok()?));
        }
        Some(words)
    })
}

/// Whether the number at the end continues and is no part of a date: `March 5.5`, `May 20%`.
fn goes_on(site: &Site) -> bool {
    let mut after = site.after.chars();
    match after.next() {
        Some('%' | '°' | '/') => true,
        Some('.' | ',' | ':') => after.next().is_some_and(|c| c.is_ascii_digit()),
        Some(c) => c.is_alphanumeric(),
        None => false,
    }
}

/// Puts a date into words. A year of two digits is of this century, or of the last from 50 on.
fn date(year_digits: &str, month: &str, day: &str) -> Option<String> {
    let day = ordinal(in_range(day, 1, 31)?);
    let full = match (year_digits.len(), year_digits.parse::<u64>().ok()?) {
        (2, short @ 50..) => 1900 + short,
        (2, short) => 2000 + short,
        (_, full) => full,
    };
    Some(format!("{} {day}, {}", month_number(month)?, year(full)))
}

fn in_range(digits: &str, low: u64, high: u64) -> Option<u64> {
    digits.parse().ok().filter(|value| (low..=high).contains(value))
}

fn month_number(digits: &str) -> Option<&'static str> {
    MONTHS.get(digits.parse::<usize>().ok()?.checked_sub(1)?).copied()
}

fn full_name(written: &str) -> &str {
    let stem = written.get(..3).unwrap_or(written);
    MONTHS.into_iter().find(|month| month.starts_with(stem)).unwrap_or(written)
}

/// Reads decades: `the 1990s` are "the nineteen nineties".
pub(super) fn decades(text: &str) -> String {
    rewrite(text, pattern!(r"'?\b((?:1[1-9]|20)[0-9]0|[2-9]0)'?s\b"), |site| {
        let spoken: u64 = site.group(1).parse().ok()?;
        let inside = site.previous().is_some_and(|c| matches!(c, '.' | ',' | '/' | '$'));
        // "wait 30s" is a time, which the pass for plain numbers reads.
        let lasts = pattern!(
            r"(?i)\b(?:wait|for|after|within|every|under|than|about|lasts?|took|takes|sleep|timeout(?: of)?|in) $"
        );
        if spoken < 100 && site.group(0).starts_with(char::is_numeric) && lasts.is_match(site.before) {
            return None;
        }
        (!inside).then(|| plural(&if spoken < 100 { cardinal(spoken) } else { year(spoken) }))
    })
}
