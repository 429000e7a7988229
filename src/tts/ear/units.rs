//! Units of measure after a number.

mod table;

use table::{LOOSE, UNITS};

use super::amounts::counted;
use super::numbers::{is_one, sign, spoken};
use super::rewrite::{Site, number, pattern, rewrite};

/// Reads measures: `5 km` is "five kilometers", `60 km/h` "sixty kilometers per hour", `20 °C`
/// "twenty degrees Celsius".
pub(super) fn units(text: &str) -> String {
    // Two measures of the same quantity: `20°C/68°F`.
    let text = pattern!(r"([0-9] ?(?:\p{L}{1,4}|°[CF]?))/(-?[0-9][0-9.,]* ?(?:\p{L}{1,4}\b|°[CF]?))")
        .replace_all(text, "$1, $2");
    let measured = pattern!(
        r"(-)?([0-9]+/[0-9]+|[0-9]+\^-?[0-9]+|",
        number!(),
        r")( ?|-)(sq\.? (?:ft|mi|km|m)|fl\.? oz|[A-Za-zμΩ]+(?:\^[23]|[23]\b)?)(?:/([A-Za-z]+)(\^[23])?)?\b(\.)?"
    );
    let text = rewrite(&inches(&degrees(&text)), measured, measure);
    // Feet are followed by inches, whose symbol is otherwise a word.
    rewrite(&text, pattern!(r"\b((?:feet|foot) )([0-9]{1,2}) ?in\b\.?"), |site| {
        Some(format!("{}{}", site.group(1), counted(site.group(2), "inch", "inches")))
    })
}

/// Reads a number, a gap, a unit and the text after its slash.
fn measure(site: &Site) -> Option<String> {
    let (number, gap, symbol) = (site.group(2), site.group(3), site.group(4));
    // After letters it is a name (`GPT-4g`) or a power, and before an apostrophe a word (`5
    // m'lady`).
    if site.previous().is_some_and(|c| c.is_alphanumeric() || c == '^') || site.next() == Some('\'') {
        return None;
    }
    let (one, many) = unit(symbol)?;
    // Dot of an abbreviated unit: a full stop only where a sentence may end.
    let stop = if site.ends_sentence() { site.group(7) } else { "" };
    let article = if one.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    let counted = match number.contains('/') {
        _ if number.contains('^') || (number.contains('/') && mixed(site.before)) => format!("{number} {many}"),
        true if one.ends_with("spoon") || gap == "-" => format!("{number} {one}"),
        true => format!("{number} of {article} {one}"),
        false if is_one(number) || gap == "-" || is_before_noun(site) => format!("{} {one}", spoken(number)),
        false => format!("{} {many}", spoken(number)),
    };
    Some(format!("{}{counted}{}{stop}", sign(site), per(site.group(5), site.group(6))))
}

/// Whether a measure describes a noun, and so has no plural: "a 10m tunnel".
fn is_before_noun(site: &Site) -> bool {
    let article = pattern!(r"\b[Aa]n? (?:[0-9.,]+ to )?$").is_match(site.before);
    let noun = pattern!(r"^(?: \(| [a-z]+)").is_match(site.after);
    let other = pattern!(
        r"^ (?:of|in|and|or|per|from|to|is|was|are|were|at|away|ago|apart|each|later|more|less|than|for|on|with",
        r"|by|but|as|if|that|when|which)\b"
    );
    article && noun && !other.is_match(site.after)
}

/// Reads feet and inches: `27"` is "twenty-seven inches", `5'11` "five foot eleven".
fn inches(text: &str) -> String {
    let height = pattern!(r#"(^|[\s(])([0-9]{1,2})' ?([0-9]|1[01])(?:"|''|\b)"#);
    let text = rewrite(text, height, |site| {
        Some(format!("{}{} foot {}", site.group(1), spoken(site.group(2)), spoken(site.group(3))))
    });
    let text = pattern!(r#"(['"]) ?[x×] ?([0-9])"#).replace_all(&text, "$1 by $2");
    let feet = pattern!(r"(^|[\s(])([0-9]{1,3})' (by|tall|high|long|wide|deep|thick)\b");
    let text = rewrite(&text, feet, |site| {
        Some(format!("{}{} {}", site.group(1), counted(site.group(2), "foot", "feet"), site.group(3)))
    });
    let text = rewrite(&text, pattern!(r"\b([Aa]n? |by )([0-9]{1,3})'( [a-z])"), |site| {
        Some(format!("{}{} foot{}", site.group(1), spoken(site.group(2)), site.group(3)))
    });
    let text = rewrite(&text, pattern!(r"(^|[\s(])([0-9]{1,3})'([,.;)]|$)"), |site| {
        // After an opening quotation mark it is the closing one.
        let quoted = pattern!(r"(?:^|[\s(])'").is_match(site.before);
        (!quoted).then(|| format!("{}{}{}", site.group(1), counted(site.group(2), "foot", "feet"), site.group(3)))
    });
    let fraction = pattern!(r"\b([0-9]+/[0-9]+)( ?|-)(inch|mile|foot|yard)(?:es|s)?\b");
    let text = rewrite(&text, fraction, |site| {
        let (number, one) = (site.group(1), site.group(3));
        let whole = !mixed(site.before) && site.group(2) != "-" && !site.before.ends_with(['/', '-']);
        let article = if one == "inch" { "an" } else { "a" };
        whole.then(|| format!("{number} of {article} {one}"))
    });
    rewrite(&text, pattern!(r#"([0-9]+/[0-9]+|[0-9.]*[0-9])""#), |site| {
        let number = site.group(1);
        // After an opening quotation mark it is the closing one.
        let opened = pattern!(r#"(?:^|[\s(])""#).find_iter(site.before).count();
        let quoted = opened > pattern!(r#"[^\s(0-9]""#).find_iter(site.before).count();
        let described = pattern!(r"^(?:[ -][a-z]| \p{Lu}{2})").is_match(site.after)
            && !pattern!(r"^ (?:tall|high|long|wide|deep|thick|x|by|in|of|and|or|to|is|at|from)\b")
                .is_match(site.after);
        let whole = mixed(site.before);
        match number.contains('/') {
            _ if quoted || site.previous().is_some_and(char::is_alphanumeric) => None,
            true if !whole => Some(format!("{number} of an inch")),
            true => Some(format!("{number} inches")),
            false if is_one(number) || described => Some(format!("{} inch", spoken(number))),
            false => Some(format!("{} inches", spoken(number))),
        }
    })
}

/// Reads degrees: `20 °C` is "twenty degrees Celsius", `40° 26' 46"` "forty degrees, twenty-six
/// minutes, forty-six seconds".
fn degrees(text: &str) -> String {
    let place = pattern!(r#"\b([0-9]{1,3})° ?([0-9]{1,2})'(?: ?([0-9]{1,2}(?:\.[0-9]+)?)")?( ?[NSEW]\b)?"#);
    let text = rewrite(text, place, |site| {
        let seconds = match site.group(3) {
            "" => String::new(),
            seconds => format!(", {}", counted(seconds, "second", "seconds")),
        };
        let (degrees, minutes) =
            (counted(site.group(1), "degree", "degrees"), counted(site.group(2), "minute", "minutes"));
        Some(format!("{degrees}, {minutes}{seconds}{}", scale(site.group(4).trim())))
    });
    rewrite(&text, pattern!("(-)?(", number!(), r") ?(?:°|º) ?([CFKNSEW]\b)?"), |site| {
        let degrees = counted(site.group(2), "degree", "degrees");
        Some(format!("{}{degrees}{}", sign(site), scale(site.group(3))))
    })
}

fn scale(letter: &str) -> &'static str {
    match letter {
        "C" => " Celsius",
        "F" => " Fahrenheit",
        "K" => " Kelvin",
        "N" => " north",
        "S" => " south",
        "E" => " east",
        "W" => " west",
        _ => "",
    }
}

/// Whether a fraction belongs to a whole number: `2 1/2`.
fn mixed(before: &str) -> bool {
    before.ends_with([' ', '-']) && before[..before.len() - 1].ends_with(|c: char| c.is_ascii_digit())
}

/// Names of a unit, with "square" and "cubic" in front where the symbol has a power.
fn unit(symbol: &str) -> Option<(String, String)> {
    if let Some(area) = symbol.strip_prefix("sq") {
        let (one, many) = known(area.trim_start_matches(['.', ' ']))?;
        return Some((format!("square {one}"), format!("square {many}")));
    }
    if symbol.starts_with("fl") && symbol.ends_with(" oz") {
        return Some(("fluid ounce".to_owned(), "fluid ounces".to_owned()));
    }
    let power = if symbol.ends_with('2') { "square " } else { "cubic " };
    match symbol.strip_suffix(['2', '3']).map(|base| base.trim_end_matches('^')) {
        None => known(symbol).map(|(one, many)| (one.to_owned(), many.to_owned())),
        Some(base @ ("m" | "km" | "cm" | "mm" | "ft" | "mi" | "yd")) => {
            known(base).map(|(one, many)| (format!("{power}{one}"), format!("{power}{many}")))
        }
        Some(_) => None,
    }
}

/// Finds a symbol in its exact spelling, or in a common variant.
fn known(symbol: &str) -> Option<(&'static str, &'static str)> {
    let exact = UNITS.iter().find(|(known, ..)| *known == symbol);
    let loose = || {
        let small = symbol.to_ascii_lowercase();
        UNITS.iter().find(|(known, ..)| LOOSE.contains(&small.as_str()) && known.eq_ignore_ascii_case(symbol))
    };
    exact.or_else(loose).map(|(_, one, many)| (*one, *many))
}

/// Whether a word after a number is the symbol of a unit.
pub(super) fn is_unit(word: &str) -> bool {
    known(word).is_some()
}

/// Words for the text after a slash, with "per": a symbol of time or amount, or a plain word.
fn per(symbol: &str, power: &str) -> String {
    let power_of = |one: &str| match power {
        "^2" => format!("{one} squared"),
        "^3" => format!("{one} cubed"),
        _ => one.to_owned(),
    };
    match symbol {
        "" => String::new(),
        "s" => format!(" per {}", power_of("second")),
        symbol => format!(
            " per {}",
            unit(&format!("{symbol}{power}")).map_or_else(|| power_of(&one_of(symbol)), |(one, _)| one)
        ),
    }
}

/// Whether a symbol may follow a slash: `h`, `s`.
pub(super) fn is_rate(symbol: &str) -> bool {
    matches!(symbol, "s" | "d") || is_unit(symbol)
}

/// Plural name of the unit with this symbol, or the symbol.
pub(super) fn many_of(symbol: &str) -> String {
    unit(symbol).map_or_else(|| symbol.to_owned(), |(_, many)| many)
}

/// Singular name of the unit with this symbol, or the symbol.
pub(super) fn one_of(symbol: &str) -> String {
    match symbol {
        "s" => "second".to_owned(),
        "d" => "day".to_owned(),
        symbol => unit(symbol).map_or_else(|| symbol.to_owned(), |(one, _)| one),
    }
}
