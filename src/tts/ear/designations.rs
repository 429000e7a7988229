//! Numbers that are names: rooms, flights, roads and houses are read in pairs, `747` as "seven
//! forty-seven".

use super::english::{cardinal, digits};
use super::rewrite::{pattern, rewrite};

pub(super) fn designations(text: &str) -> String {
    houses(&pressures(&named(text)))
}

/// Reads the number after the thing that it names: `Room 101`, `Boeing 747`, `Flights 370 and 17`.
fn named(text: &str) -> String {
    let name = pattern!(
        r"\b((?:[Rr]oom|[Ff]light|[Bb]us|[Tt]rain|[Gg]ate|[Ss]uite|[Aa]partment|[Uu]nit|[Ss]tudio|[Cc]hannel",
        r"|[Ee]xit|[Ll]ocker|[Rr]oute|[Hh]ighway|[Ii]nterstate|[Bb]uilding|[Hh]all|[Tt]erminal|[Pp]latform|Area|Boeing",
        r"|Airbus|Porsche|Peugeot|Ferrari|BMW|Mercedes|Audi|RFC|HTTP|[Ee]rror|[Ss]tate [Rr]oute)s? |[IA]-)",
        r"([A-Z]{1,2}[ -]?)?([0-9]{1,4}[A-Z]?(?:(?:,? (?:and|or|to)|,) [0-9]{1,4}\b)*)\b"
    );
    rewrite(text, name, |site| {
        let amount = pattern!(r"^(?:[.,:/-][0-9]|%| (?:people|guests|seats|miles|passengers|dollars|m\b|meters|feet))");
        let (name, letters) = (site.group(1).trim_end_matches([' ', '-']), site.group(2).trim_end_matches([' ', '-']));
        let letters = if letters.is_empty() { String::new() } else { format!(" {letters}") };
        (!amount.is_match(site.after)).then(|| format!("{name}{letters} {}", each_in_pairs(site.group(3))))
    })
}

/// Reads `120/80` as a blood pressure where the text mentions one.
fn pressures(text: &str) -> String {
    if !pattern!(r"(?i)blood pressure|\bBP\b|systolic|diastolic|mm ?hg").is_match(text) {
        return text.to_owned();
    }
    rewrite(text, pattern!(r"\b([0-9]{2,3})/([0-9]{2,3})\b"), |site| {
        Some(format!("{} over {}", in_pairs(site.group(1)), in_pairs(site.group(2))))
    })
}

/// Reads the number of a house before its road: `221B Baker Street`.
fn houses(text: &str) -> String {
    let house = pattern!(
        r"\b([0-9]{3,5})( ?[A-Z])?( (?:[NSEW]\.? )?(?:[A-Z][\p{L}'.]*|[0-9]{1,3}(?:st|nd|rd|th))",
        r"(?: [A-Z][\p{L}'.]*)?(?: [A-Z][\p{L}'.]*)? ",
        r"(?:[Ss]treet|[Rr]oad|[Aa]venue|[Ll]ane|[Dd]rive|[Bb]oulevard|[Cc]ourt|[Pp]lace|[Ss]quare|[Ww]ay|[Pp]arkway",
        r"|[Tt]errace|[Hh]ighway)\b)"
    );
    rewrite(text, house, |site| {
        let prior = site.previous().is_some_and(|c| matches!(c, '.' | ',' | '$' | '-' | '/'));
        let letter = site.group(2).trim();
        let number = in_pairs(site.group(1));
        let number = if letter.is_empty() { number } else { format!("{number} {letter}") };
        (!prior).then(|| format!("{number}{}", site.group(3)))
    })
}

fn each_in_pairs(text: &str) -> String {
    rewrite(text, pattern!(r"[0-9]+"), |site| Some(in_pairs(site.group(0))))
}

/// Reads a number in pairs: `101` is "one oh one", `370` "three seventy", `1600` "sixteen hundred";
/// longer numbers are read digit by digit.
fn in_pairs(number: &str) -> String {
    let Some(split) = number.len().checked_sub(2).filter(|split| (1..=2).contains(split)) else {
        return if number.len() > 2 { digits(number) } else { number.to_owned() };
    };
    let (high, low) = number.split_at(split);
    let value = |digits: &str| digits.parse().unwrap_or(0);
    match (value(high), value(low)) {
        _ if number.starts_with('0') => digits(number),
        (high, 0) if high % 10 == 0 => format!("{} thousand", cardinal(high / 10)),
        (high, 0) => format!("{} hundred", cardinal(high)),
        (high, low @ 1..10) => format!("{} oh {}", cardinal(high), cardinal(low)),
        (high, low) => format!("{} {}", cardinal(high), cardinal(low)),
    }
}
