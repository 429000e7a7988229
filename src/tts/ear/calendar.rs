//! Dates and times of day.

use super::english::{cardinal, ordinal, plural, year};
use super::rewrite::{Site, pattern, rewrite};

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

/// A month as it is written in running text; the longer names first.
macro_rules! month {
    () => {
        concat!(
            r"(January|February|March|April|May|June|July|August|September|October|November|December",
            r"|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)\b\.?)"
        )
    };
}

/// `2024-03-05`, `3/5/2024`, `March 5, 2024` and `5 March 2024`.
pub(super) fn dates(text: &str) -> String {
    let text =
        rewrite(text, pattern!(r"\b([0-9]{4})-([0-9]{2})-([0-9]{2})(?:T([0-9]{2}:[0-9]{2})[0-9:.]*Z?)?\b"), |s| {
            let date = date(s.group(1), s.group(2), s.group(3))?;
            Some(if s.group(4).is_empty() { date } else { format!("{date}, at {}", s.group(4)) })
        });
    let text = rewrite(&text, pattern!(r"\b([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})\b"), |site| {
        let (year, first, second) = (site.group(3), site.group(1), site.group(2));
        // The American order, unless only the other one is a date.
        date(year, first, second).or_else(|| date(year, second, first))
    });
    let text = rewrite(&text, pattern!(r"\b([0-9]{4})-([0-9]{2})\b"), |site| {
        let plain = site.next() != Some('-') && site.previous() != Some('-');
        let month = month_number(site.group(2)).filter(|_| plain)?;
        Some(format!("{month} {}", year(in_range(site.group(1), 1100, 2099)?)))
    });
    day_first(&month_first(&text))
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
    let date = pattern!(r"\b([Tt]he )?([0-9]{1,2})(?:st|nd|rd|th)?(?: of)? ", month!(), r"(?:,? ([0-9]{4})\b)?");
    rewrite(text, date, |site| {
        if goes_on(site) || site.previous().is_some_and(|c| matches!(c, '-' | '.' | ',' | '/' | ':' | '$')) {
            return None;
        }
        // At the start of a sentence the article needs its capital no more than the digit did.
        let article = if site.group(1).is_empty() { "the " } else { site.group(1) };
        let mut words =
            format!("{article}{} of {}", ordinal(in_range(site.group(2), 1, 31)?), full_name(site.group(3)));
        if !site.group(4).is_empty() {
            words = format!("{words}, {}", year(site.group(4).parse().ok()?));
        }
        Some(words)
    })
}

/// Whether the number at the end goes on and is no part of a date: `March 5.5`, `May 20%`.
fn goes_on(site: &Site) -> bool {
    let mut after = site.after.chars();
    match after.next() {
        Some('%' | '°' | '/') => true,
        Some('.' | ',' | ':') => after.next().is_some_and(|c| c.is_ascii_digit()),
        Some(c) => c.is_alphanumeric(),
        None => false,
    }
}

fn date(year_digits: &str, month: &str, day: &str) -> Option<String> {
    let day = ordinal(in_range(day, 1, 31)?);
    Some(format!("{} {day}, {}", month_number(month)?, year(year_digits.parse().ok()?)))
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

/// `7:30` is "seven thirty", `14:05` "fourteen oh five", `10:00 am` "ten a m".
pub(super) fn times(text: &str) -> String {
    // Ranges of times first, or their dashes would stand between words later.
    let text = pattern!(r"(?i)(:[0-5][0-9](?: ?[ap]\.?m\.?)?|[0-9] ?[ap]\.?m\.?) ?[-–] ?([0-9])")
        .replace_all(text, "$1 to $2");
    let text =
        pattern!(r"(?i)\b([0-9]{1,2}) ?[-–] ?([0-9]{1,2}(?::[0-5][0-9])? ?[ap]\.?m\b)").replace_all(&text, "$1 to $2");
    let time = pattern!(
        r"\b([01]?[0-9]|2[0-4])(?::([0-5][0-9])(?::([0-5][0-9]))?)?",
        r"(?: ?\b([AaPp])(?:[Mm]\b|\.[Mm](\.|\b))|([AaPp])(?:[Mm]\b|\.[Mm](\.|\b)))?"
    );
    rewrite(&text, time, |site| {
        let half = [site.group(4), site.group(6)].concat().to_lowercase();
        let bare = site.group(2).is_empty();
        let inside = site.previous().is_some_and(|c| matches!(c, '.' | ',' | ':' | '-' | '/' | '$' | '€' | '£'));
        if inside || (bare && half.is_empty()) || (half.is_empty() && continues(site)) {
            return None;
        }
        let dotted = !site.group(5).is_empty() || !site.group(7).is_empty();
        let stop = if dotted && site.ends_sentence() { "." } else { "" };
        let named = pattern!(r"^ (?:noon|midnight|o'clock|hours|in the|at night)\b").is_match(site.after);
        let clock = clock(site.group(1).parse().ok()?, site.group(2), site.group(3), half.is_empty() && !named)?;
        Some(if half.is_empty() { clock } else { format!("{clock} {half} m{stop}") })
    })
}

fn continues(site: &Site) -> bool {
    site.next().is_some_and(char::is_alphanumeric)
        || site.after.strip_prefix([':', '.']).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn clock(hour: u64, minutes: &str, seconds: &str, whole_day: bool) -> Option<String> {
    let hours = cardinal(hour);
    let minute: u64 = if minutes.is_empty() { 0 } else { minutes.parse().ok()? };
    let words = match (hour, minute) {
        _ if minute > 9 => format!("{hours} {}", cardinal(minute)),
        _ if minute > 0 => format!("{hours} oh {}", cardinal(minute)),
        _ if !whole_day => hours,
        (0 | 24, _) => "midnight".to_owned(),
        (1..=12, _) => format!("{hours} o'clock"),
        _ => format!("{hours} hundred"),
    };
    Some(match seconds.parse() {
        Ok(1) => format!("{words} and one second"),
        Ok(count @ 2..) => format!("{words} and {} seconds", cardinal(count)),
        _ => words,
    })
}

/// `the 1990s` are "the nineteen nineties".
pub(super) fn decades(text: &str) -> String {
    rewrite(text, pattern!(r"'?\b((?:1[1-9]|20)[0-9]0|[2-9]0)'?s\b"), |site| {
        let spoken: u64 = site.group(1).parse().ok()?;
        let inside = site.previous().is_some_and(|c| matches!(c, '.' | ',' | '/' | '$'));
        (!inside).then(|| plural(&if spoken < 100 { cardinal(spoken) } else { year(spoken) }))
    })
}
