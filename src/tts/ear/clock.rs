//! Times of day, and similar forms: ratios, verses and offsets from UTC.

use super::english::cardinal;
use super::rewrite::{Site, pattern, rewrite};
use crate::tts::abbreviations::{After, Stop, full_stop};

/// Pattern of a book of the Bible.
macro_rules! book {
    () => {
        concat!(
            r"(Genesis|Exodus|Leviticus|Numbers|Deuteronomy|Joshua|Judges|Ruth|Samuel|Kings|Chronicles|Ezra|Nehemiah",
            r"|Esther|Job|Psalms?|Proverbs|Ecclesiastes|Isaiah|Jeremiah|Lamentations|Ezekiel|Daniel|Hosea|Joel|Amos",
            r"|Obadiah|Jonah|Micah|Nahum|Habakkuk|Zephaniah|Haggai|Zechariah|Malachi|Matthew|Mark|Luke|John|Acts",
            r"|Romans|Corinthians|Galatians|Ephesians|Philippians|Colossians|Thessalonians|Timothy|Titus|Philemon",
            r"|Hebrews|James|Peter|Jude|Revelation|Quran|Surah)"
        )
    };
}

/// Reads times: `7:30` is "seven thirty", `14:05` "fourteen oh five", `10:00 am` "ten a m".
pub(super) fn times(text: &str) -> String {
    let text = offsets(&verses(text));
    // Year of a standard: `ISO 9001:2015`.
    let text = pattern!(r"\b([0-9]{3,5}):((?:19|20)[0-9]{2})\b").replace_all(&text, "$1, $2");
    let text = pattern!(r"(?i)\b(1[0-2]|0?[1-9])\.([0-5][0-9])( ?[ap]\.?m\b)").replace_all(&text, "$1:$2$3");
    // Ranges of times come first, or their dashes would stand between words later.
    let text = pattern!(r"(?i)(:[0-5][0-9](?: ?[ap]\.?m\.?)?|[0-9] ?[ap]\.?m\.?) ?[-–] ?([0-9])")
        .replace_all(&text, "$1 to $2");
    let text =
        pattern!(r"(?i)\b([0-9]{1,2}) ?[-–] ?([0-9]{1,2}(?::[0-5][0-9])? ?[ap]\.?m\b)").replace_all(&text, "$1 to $2");
    let time = pattern!(
        r"\b(2[0-4]|[01]?[0-9])(?::([0-5][0-9])(?::([0-5][0-9]))?)?",
        r"(?: ?\b([AaPp])(?:[Mm]\b|\.[Mm](\.|\b))|([AaPp])(?:[Mm]\b|\.[Mm](\.|\b)))?"
    );
    rewrite(&text, time, said)
}

fn said(site: &Site) -> Option<String> {
    let half = [site.group(4), site.group(6)].concat().to_lowercase();
    let bare = site.group(2).is_empty();
    let inside = site.previous().is_some_and(|c| matches!(c, '.' | ',' | ':' | '-' | '/' | '$' | '€' | '£'));
    if inside || (bare && half.is_empty()) || (half.is_empty() && (continues(site) || is_ratio(site))) {
        return None;
    }
    let dotted = !site.group(5).is_empty() || !site.group(7).is_empty();
    let stop = if dotted && full_stop("p.m", After::whole(site.after)) == Stop::Ends { "." } else { "" };
    let named = pattern!(r"^ (?:noon|midnight|o'clock|hours|in the|at night)\b").is_match(site.after);
    let clock = clock(site.group(1).parse().ok()?, site.group(2), site.group(3), half.is_empty() && !named)?;
    Some(if half.is_empty() { clock } else { format!("{clock} {half} m{stop}") })
}

/// Whether an apparent time is a ratio of two numbers: "a ratio of 1:10".
fn is_ratio(site: &Site) -> bool {
    let spoken_of =
        pattern!(r"(?i)\b(?:ratios?|odds|scales?|proportions?|dilut\w+|mix\w*|compression|gear|aspect)\b[^.!?]*$");
    let follows =
        pattern!(r"(?i)^,? (?:ratio|odds|scale|dilution|mixture|mix|proportion|aspect|split|gear|favorite)\b");
    let timed = pattern!(r"(?i)\b(?:at|by|around|until|before|after|from) $").is_match(site.before);
    follows.is_match(site.after) || (!timed && spoken_of.is_match(site.before))
}

/// Reads verses: `1 John 3:16` is "First John three sixteen".
fn verses(text: &str) -> String {
    let verse = pattern!(r"\b(?:([123]) )?", book!(), r" ([0-9]{1,3}):([0-9]{1,3})(?: ?[-–] ?([0-9]{1,3}))?\b");
    rewrite(text, verse, |site| {
        let nth = ["", "First ", "Second ", "Third "].get(site.group(1).parse().unwrap_or(0)).copied().unwrap_or("");
        let number = |index| site.group(index).parse().map(cardinal).ok();
        let last = number(5).map_or(String::new(), |last| format!(" to {last}"));
        Some(format!("{nth}{} {} {}{last}", site.group(2), number(3)?, number(4)?))
    })
}

/// Reads offsets: `UTC+2` is "UTC plus two".
fn offsets(text: &str) -> String {
    rewrite(text, pattern!(r"\b(UTC|GMT) ?([+–-]) ?([0-9]{1,2})(?::([0-9]{2}))?\b"), |site| {
        let sign = if site.group(2) == "+" { "plus" } else { "minus" };
        let minutes: u64 = site.group(4).parse().unwrap_or(0);
        let minutes = if minutes == 0 { String::new() } else { format!(" {}", cardinal(minutes)) };
        Some(format!("{} {sign} {}{minutes}", site.group(1), cardinal(site.group(3).parse().ok()?)))
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
