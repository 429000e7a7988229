//! Signs that have a name, and those that only shape the speech.

use super::english::{cardinal, ordinal};
use super::rewrite::{pattern, rewrite};
use super::{scripts, units};

/// Reads powers: `m^2` is "m squared", `10^6` "ten to the sixth power", `10^-3` "ten to the minus
/// three".
pub(super) fn powers(text: &str) -> String {
    // Two variables, the second with the power: `mc^2`.
    let text = rewrite(text, pattern!(r"\b([a-z])([a-z]\^)"), |site| {
        let unit = units::is_unit(site.group(0).trim_end_matches('^'));
        (!unit).then(|| format!("{} {}", site.group(1), site.group(2)))
    });
    let text = pattern!(r"\b([fghFGP])\(([a-z]|[0-9]+)\)").replace_all(&text, "$1 of $2");
    rewrite(&text, pattern!(r"\^[({]?(-)?([0-9]{1,15}|[a-z]\b)[)}]?"), |site| {
        let minus = !site.group(1).is_empty();
        Some(match site.group(2) {
            "2" if !minus => " squared ".to_owned(),
            "3" if !minus => " cubed ".to_owned(),
            digits => match digits.parse() {
                Ok(power) if minus => format!(" to the minus {} ", cardinal(power)),
                Ok(power) => format!(" to the {} power ", ordinal(power)),
                Err(_) => format!(" to the power of {}{digits} ", if minus { "minus " } else { "" }),
            },
        })
    })
}

/// Reads approximations: in `π ≈ 3.14` the sign is "is about", before a lone amount only "about".
pub(super) fn nearly(text: &str) -> String {
    pattern!(r"([0-9)\p{Greek}]|\b\p{L}) ?≈ ?").replace_all(text, "$1 is about ").into_owned()
}

/// Names the remaining signs. A sign without a name here is dropped by the last pass.
pub(super) fn symbols(text: &str) -> String {
    let text = scripts::name_greek(text);
    let text = pattern!(r"\b([CF])#").replace_all(&text, "$1 sharp");
    // Path through a menu: `Settings > General`.
    let text = pattern!(r"(\p{L}{2}) > (\p{Lu}\p{L})").replace_all(&text, "$1, $2");
    let text = pattern!(r"(\p{L}{2}) > (\p{Lu}\p{L})").replace_all(&text, "$1, $2");
    let text = slashes(&text);
    let text = pattern!(r"\.{2,}").replace_all(&text, ".");
    let text = pattern!(r"([∑∏∫] ?)of ").replace_all(&text, "$1");
    // An optional plural, `file(s)`, is read as a plural.
    let text = pattern!(r"(\p{L})\((e?s)\)").replace_all(&text, "$1$2");
    let text = pattern!(r"\s*--+\s*|\s+-\s+|\s*[–—()\[\]{}]+").replace_all(&text, |run: &regex::Captures| {
        if run[0].contains("--") && run[0].starts_with(' ') && !run[0].ends_with(' ') { " " } else { ", " }.to_owned()
    });
    let sign = pattern!(r"[=!]=+|[<>]=|<-+|[-=]+>|[=+&~@#%°×÷±≈≠≤≥√∞→←↔⇒⇔∑∏∫∂∇∈∉∪∩⊂∅∝∴≡·⋅‰§<>_|^]+");
    rewrite(&text, sign, |site| {
        let sign = site.group(0);
        // Signs in a row without a joint meaning are decoration.
        Some(match (name(sign), sign.chars().count()) {
            (Some(name), _) => format!(" {name} "),
            (None, 2) if sign == "++" => " plus plus ".to_owned(),
            (None, 2) if sign == "&&" => " and ".to_owned(),
            _ => " ".to_owned(),
        })
    })
}

fn name(sign: &str) -> Option<&'static str> {
    Some(match sign {
        "=" | "==" | "===" => "equals",
        "!=" | "≠" | "!==" => "is not equal to",
        "<=" | "≤" => "is less than or equal to",
        ">=" | "≥" => "is greater than or equal to",
        "<" => "less than",
        ">" => "greater than",
        "+" => "plus",
        "+=" => "plus equals",
        "&" => "and",
        "~" | "≈" => "about",
        "@" => "at",
        "#" => "number",
        "%" => "percent",
        "°" => "degrees",
        "×" => "times",
        "÷" => "divided by",
        "±" => "plus or minus",
        "√" => "the square root of",
        "∞" => "infinity",
        "→" | "⇒" | "->" | "=>" | "-->" | "==>" => "to",
        "←" | "<-" => "from",
        "↔" => "to and from",
        "⇔" => "if and only if",
        "∑" => "the sum of",
        "∏" => "the product of",
        "∫" => "the integral of",
        "∂" => "partial",
        "∇" => "nabla",
        "∈" => "in",
        "∉" => "not in",
        "∪" => "union",
        "∩" => "intersection",
        "⊂" => "is a subset of",
        "∅" => "the empty set",
        "∝" => "is proportional to",
        "∴" => "therefore",
        "≡" => "is equivalent to",
        "⋅" => "times",
        "‰" => "per mille",
        "§" | "§§" => "section",
        _ => return None,
    })
}

/// Reads slashes: between words a slash is a choice (`he/she`), between initials nothing
/// (`TCP/IP`), after a price a rate, and in a path a slash.
fn slashes(text: &str) -> String {
    rewrite(text, pattern!(r"[^\s/]*(?:/[^\s/]*)+"), |site| {
        let whole = site.group(0);
        let parts: Vec<&str> = whole.split('/').collect();
        let path = matches!(parts[0], "" | "." | ".." | "~");
        let initials = parts.iter().all(|part| part.chars().all(|c| c.is_uppercase() || !c.is_alphabetic()));
        let bare: Vec<&str> = parts.iter().map(|part| part.trim_end_matches(['.', ',', ';', ':', '?', '!'])).collect();
        let joint = match bare[..] {
            _ if parts.iter().all(|part| part.is_empty()) => return Some(" ".to_owned()),
            _ if path => " slash ",
            [.., "or"] => " ",
            [unit, time] if units::is_unit(unit) && units::is_rate(time) => {
                let tail = &parts[1][time.len()..];
                return Some(format!("{} per {}{tail}", units::many_of(unit), units::one_of(time)));
            }
            [one, time] if is_time(time) && !is_time(one) => " per ",
            [unit, _] if pattern!(r"^(?:dollars?|euros?|pounds?|cents?|yen|percent)$").is_match(unit) => " per ",
            _ if initials => " ",
            _ => " or ",
        };
        let said = parts.into_iter().map(|part| if part == "~" { "home" } else { part });
        Some(said.filter(|part| !part.is_empty()).fold(String::new(), |mut words, part| {
            if (path && part != "home") || !words.is_empty() {
                words.push_str(joint);
            }
            words.push_str(part);
            words
        }))
    })
}

fn is_time(word: &str) -> bool {
    pattern!(r"^(?:second|minute|hour|day|night|week|month|year)\b").is_match(word)
}
