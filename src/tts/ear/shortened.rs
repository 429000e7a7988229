//! Abbreviations, read in full.

use super::rewrite::{Site, pattern, rewrite};
use super::units;
use crate::tts::abbreviations::{AbbreviationRole, After, Stop, find, full_stop, is_name, road};

pub(super) fn abbreviations(text: &str) -> String {
    let text = rewrite(text, pattern!(r"(?i)\b(w/o|w/|c/o)"), |site| {
        Some(match site.group(1).to_lowercase().as_str() {
            "w/o" => "without ".to_owned(),
            "w/" => "with ".to_owned(),
            _ => "care of ".to_owned(),
        })
    });
    // With the space inside, or without the last full stop, they are not in the table.
    let text = pattern!(r"\b([eE])\. ?([gG])\b\.?").replace_all(&text, "$1.$2.");
    let text = pattern!(r"\b([iI])\. ?([eE])\b\.?").replace_all(&text, "$1.$2.");
    let text = pattern!(r"\b([aApP])\.([mM])\b\.?").replace_all(&text, "$1.$2.");
    let text = rewrite(&text, pattern!(r"\b(St|Dr)\b(\.)?"), title_or_road);
    let text = rewrite(&text, pattern!(r"\b(Mr|Mrs|Ms|Mt|Prof|[vV]s) "), undotted);
    let text = rewrite(&text, pattern!(r"\b(Figs?|Vols?|Eqs?|Chap|pp) ([0-9])"), |site| {
        find("", site.group(1)).map(|known| format!("{} {}", known.said, site.group(2)))
    });
    let text = rewrite(&text, pattern!(r" (Jr|Sr|Inc|Ltd|Ave|Blvd|Rd|Hwy|Pkwy|Bros|etc)\b"), |site| {
        let bare = !site.after.starts_with('.');
        find("", site.group(1)).filter(|_| bare).map(|known| format!(" {}", known.said))
    });
    let text = rewrite(&text, pattern!(r"\b(\p{L}+(?:\.\p{L}+)*)\.(,)?"), dotted);
    // A number in brackets after such a word belongs to it: `Eq. (4)`.
    let bracketed = pattern!(
        r"(?i)\b((?:equation|figure|table|section|chapter|page|number|volume|article|paragraph|step|example)s?)",
        r" \(([0-9]+(?:\.[0-9]+)*[a-z]?)\)"
    );
    initials(&bracketed.replace_all(&text, "$1 $2"))
}

/// Reads an abbreviation with its full stop, which stays where it also ends the sentence.
fn dotted(site: &Site) -> Option<String> {
    let (word, comma) = (site.group(1), site.group(2));
    let known = find(site.before, word)?;
    let stop = if comma.is_empty() { known.full_stop(site.before, After::whole(site.after)) } else { Stop::Shortens };
    let plain = match known.role {
        AbbreviationRole::Counter => stop == Stop::Ends,
        AbbreviationRole::Clipped => {
            stop == Stop::Ends && (word.contains(char::is_uppercase) || !site.after.trim().is_empty())
        }
        _ => false,
    };
    // Inside a name or an address it is no abbreviation; a unit is read with its number.
    let inside = site.before.ends_with(['.', '/', '@']) || site.next().is_some_and(char::is_alphabetic);
    let measured = site.before.trim_end().ends_with(|c: char| c.is_ascii_digit()) && units::is_unit(word);
    if plain || inside || measured {
        return None;
    }
    let end = match stop {
        Stop::Ends => ".",
        _ if known.said.ends_with(',') => "",
        _ => comma,
    };
    Some(format!("{}{end}", known.said))
}

/// Reads a title before a name, and "versus", without their full stop.
fn undotted(site: &Site) -> Option<String> {
    let known = find("", site.group(1))?;
    let named = site.next().is_some_and(char::is_uppercase) || known.said == "versus";
    named.then(|| format!("{} ", known.said))
}

/// Reads `Dr.` and `St.`: `Dr. Lee` is a doctor, `Elm Dr.` a drive; `St. Paul` is a saint, `Main
/// St.` a street.
fn title_or_road(site: &Site) -> Option<String> {
    let (title, street) = if site.group(1) == "St" { ("Saint", "Street") } else { ("Doctor", "Drive") };
    let stop = site.group(2);
    let named = site.after.strip_prefix(' ').is_some_and(|rest| rest.starts_with(char::is_uppercase));
    match road(site.before, After::whole(site.after)) {
        Some(Stop::Ends) => Some(format!("{street}{stop}")),
        Some(_) => Some(street.to_owned()),
        None if named => Some(title.to_owned()),
        None if stop.is_empty() => None,
        None if title == "Saint" || (is_name(site.before.trim()) && !site.before.trim().contains(' ')) => {
            Some(street.to_owned())
        }
        None => Some(title.to_owned()),
    }
}

/// Removes the dots of initials, which would end sentences: `U.S.` is "U S" and `J. K. Rowling` "J
/// K Rowling".
fn initials(text: &str) -> String {
    rewrite(text, pattern!(r"\b\p{Lu}(?:\.\p{Lu})+\b\.?|\b\p{Lu}\."), |site| {
        let letters = site.group(0).trim_end_matches('.');
        let dotted = letters.len() < site.group(0).len();
        let inside = site.next().is_some_and(char::is_alphabetic);
        if inside && !letters.contains('.') {
            return None;
        }
        let before = format!("{}{letters}", site.before);
        let ends = dotted && !inside && full_stop(&before, After::whole(site.after)) == Stop::Ends;
        Some(format!("{}{}", letters.replace('.', " "), if ends { "." } else { "" }))
    })
}
