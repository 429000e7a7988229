//! Abbreviations, said in full.

use super::rewrite::{Site, pattern, rewrite};

/// Written with a dot; what the voice says. Those whose dot may also end a sentence keep it there.
const DOTTED: &[(&str, &str)] = &[
    ("mr", "Mister"),
    ("mrs", "Missus"),
    ("ms", "Miz"),
    ("prof", "Professor"),
    ("gen", "General"),
    ("sgt", "Sergeant"),
    ("capt", "Captain"),
    ("rev", "Reverend"),
    ("jr", "junior"),
    ("sr", "senior"),
    ("etc", "et cetera"),
    ("approx", "approximately"),
    ("dept", "department"),
    ("est", "established"),
    ("max", "maximum"),
    ("inc", "incorporated"),
    ("ltd", "limited"),
    ("corp", "corporation"),
    ("ave", "avenue"),
    ("blvd", "boulevard"),
    ("mt", "Mount"),
    ("apt", "apartment"),
    ("incl", "including"),
    ("excl", "excluding"),
    ("misc", "miscellaneous"),
    ("cf", "compare"),
    ("tel", "telephone"),
    ("temp", "temperature"),
];

/// Abbreviations only in front of a number.
const NUMBERED: &[(&str, &str)] = &[
    ("no", "number"),
    ("nos", "numbers"),
    ("p", "page"),
    ("pp", "pages"),
    ("fig", "figure"),
    ("vol", "volume"),
    ("ch", "chapter"),
    ("sec", "section"),
    ("ver", "version"),
];

pub(super) fn abbreviations(text: &str) -> String {
    let text = rewrite(text, pattern!(r"(?i)\b(e\. ?g|i\. ?e|a\.k\.a|ph\.d|w/o|w/|c/o|[ap]\.m)(\.|\b|)(,)?"), |site| {
        let words = match site.group(1).to_lowercase().replace(' ', "").as_str() {
            "e.g" => "for example,",
            "i.e" => "that is,",
            "a.k.a" => "also known as",
            "ph.d" if site.ends_sentence() && !site.group(2).is_empty() => "P H D.",
            "ph.d" => "P H D",
            "a.m" => "a m",
            "p.m" => "p m",
            "w/o" => "without ",
            "w/" => "with ",
            _ => "care of ",
        };
        Some(format!("{words}{}", site.group(3)))
    });
    let text = rewrite(&text, pattern!(r"(?i)\b(no|nos|p|pp|fig|vol|ch|sec|ver)\. ?([0-9])"), |site| {
        Some(format!("{} {}", look_up(NUMBERED, site.group(1))?, site.group(2)))
    });
    let text = rewrite(&text, pattern!(r"\b(St|Dr|Mt|Mr|Mrs|Ms|Prof)\b(\.)?"), title);
    let text = rewrite(&text, pattern!(r"\b[vV]s\b\.?"), |_| Some("versus".to_owned()));
    let text = rewrite(&text, pattern!(r"\b([A-Za-z]+)\."), |site| {
        let words = look_up(DOTTED, site.group(1))?;
        // These are whole words too, and then the dot is a full stop.
        let word = matches!(site.group(1), "max" | "temp" | "est" | "gen" | "rev" | "misc" | "inc" | "corp");
        if word && site.ends_sentence() || site.previous() == Some('.') {
            return None;
        }
        Some(format!("{words}{}", stop(site)))
    });
    initials(&text)
}

/// The dot of an abbreviation also ends its sentence where the text ends or goes on with a capital.
fn stop(site: &Site) -> &'static str {
    let names = matches!(
        site.group(1).to_lowercase().as_str(),
        "mr" | "mrs" | "ms" | "prof" | "gen" | "sgt" | "capt" | "rev" | "mt" | "approx" | "cf"
    );
    if site.ends_sentence() && !names { "." } else { "" }
}

/// `Dr. Lee` is a doctor, `Elm Dr.` a drive; `St. Paul` is a saint, `Main St.` a street.
fn title(site: &Site) -> Option<String> {
    let name_follows =
        site.after.strip_prefix(' ').and_then(|rest| rest.chars().next()).is_some_and(char::is_uppercase);
    let dotted = !site.group(2).is_empty();
    let last = site.before.split_whitespace().next_back().unwrap_or("");
    let name_before = site.before.ends_with(' ')
        && last.starts_with(char::is_uppercase)
        && last.ends_with(char::is_alphanumeric)
        && last.len() > 2
        && !matches!(last, "The" | "And" | "But" | "For" | "From" | "Near" | "Ask" | "See" | "Does" | "Did");
    let before = match site.group(1) {
        "St" => "Saint",
        "Dr" => "Doctor",
        "Mr" => "Mister",
        "Mrs" => "Missus",
        "Ms" => "Miz",
        "Mt" => "Mount",
        _ => "Professor",
    };
    let road = match site.group(1) {
        "St" => "Street",
        _ => "Drive",
    };
    match (name_follows, dotted, site.group(1)) {
        (true, ..) => Some(before.to_owned()),
        (false, true, "St" | "Dr") if name_before => {
            Some(if site.ends_sentence() { format!("{road}.") } else { road.to_owned() })
        }
        (false, true, "St") => Some("Street".to_owned()),
        (false, true, _) => Some(before.to_owned()),
        _ => None,
    }
}

/// `U.S.` is "U S": the dots would be four ends of sentences.
fn initials(text: &str) -> String {
    rewrite(text, pattern!(r"\b(?:\p{Lu}\.){2,}|\b\p{Lu}\.\p{Lu}\b"), |site| {
        let letters: Vec<String> = site.group(0).split('.').filter(|l| !l.is_empty()).map(str::to_owned).collect();
        let stop = if site.after.trim().is_empty() && site.group(0).ends_with('.') { "." } else { "" };
        Some(format!("{}{stop}", letters.join(" ")))
    })
}

fn look_up(table: &[(&str, &'static str)], written: &str) -> Option<&'static str> {
    let written = written.to_lowercase();
    table.iter().find(|(short, _)| *short == written).map(|(_, words)| *words)
}
