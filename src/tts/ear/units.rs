//! Units of measure behind a number.

use super::amounts::counted;
use super::numbers::{is_one, sign, spoken};
use super::rewrite::{number, pattern, rewrite};

/// Symbol, one, many. Symbols that are also words or grades (`in`, `a`, `A`, `t`, `s` and the like) are left out: a
/// wrong unit is worse than a letter.
const UNITS: &[(&str, &str, &str)] = &[
    ("km", "kilometer", "kilometers"),
    ("m", "meter", "meters"),
    ("cm", "centimeter", "centimeters"),
    ("mm", "millimeter", "millimeters"),
    ("μm", "micrometer", "micrometers"),
    ("nm", "nanometer", "nanometers"),
    ("mi", "mile", "miles"),
    ("ft", "foot", "feet"),
    ("yd", "yard", "yards"),
    ("kg", "kilogram", "kilograms"),
    ("g", "gram", "grams"),
    ("mg", "milligram", "milligrams"),
    ("μg", "microgram", "micrograms"),
    ("lb", "pound", "pounds"),
    ("lbs", "pound", "pounds"),
    ("oz", "ounce", "ounces"),
    ("l", "liter", "liters"),
    ("L", "liter", "liters"),
    ("dl", "deciliter", "deciliters"),
    ("cl", "centiliter", "centiliters"),
    ("ml", "milliliter", "milliliters"),
    ("mL", "milliliter", "milliliters"),
    ("gal", "gallon", "gallons"),
    ("tsp", "teaspoon", "teaspoons"),
    ("tbsp", "tablespoon", "tablespoons"),
    ("mph", "mile per hour", "miles per hour"),
    ("kph", "kilometer per hour", "kilometers per hour"),
    ("kmh", "kilometer per hour", "kilometers per hour"),
    ("fps", "frame per second", "frames per second"),
    ("rpm", "revolution per minute", "revolutions per minute"),
    ("bpm", "beat per minute", "beats per minute"),
    ("ppm", "part per million", "parts per million"),
    ("kB", "kilobyte", "kilobytes"),
    ("KB", "kilobyte", "kilobytes"),
    ("MB", "megabyte", "megabytes"),
    ("GB", "gigabyte", "gigabytes"),
    ("TB", "terabyte", "terabytes"),
    ("PB", "petabyte", "petabytes"),
    ("KiB", "kibibyte", "kibibytes"),
    ("MiB", "mebibyte", "mebibytes"),
    ("GiB", "gibibyte", "gibibytes"),
    ("TiB", "tebibyte", "tebibytes"),
    ("kbps", "kilobit per second", "kilobits per second"),
    ("Mbps", "megabit per second", "megabits per second"),
    ("Gbps", "gigabit per second", "gigabits per second"),
    ("Hz", "hertz", "hertz"),
    ("kHz", "kilohertz", "kilohertz"),
    ("MHz", "megahertz", "megahertz"),
    ("GHz", "gigahertz", "gigahertz"),
    ("W", "watt", "watts"),
    ("kW", "kilowatt", "kilowatts"),
    ("MW", "megawatt", "megawatts"),
    ("GW", "gigawatt", "gigawatts"),
    ("Wh", "watt hour", "watt hours"),
    ("kWh", "kilowatt hour", "kilowatt hours"),
    ("mAh", "milliamp hour", "milliamp hours"),
    ("V", "volt", "volts"),
    ("mV", "millivolt", "millivolts"),
    ("mA", "milliamp", "milliamps"),
    ("kJ", "kilojoule", "kilojoules"),
    ("cal", "calorie", "calories"),
    ("kcal", "kilocalorie", "kilocalories"),
    ("hPa", "hectopascal", "hectopascals"),
    ("kPa", "kilopascal", "kilopascals"),
    ("psi", "pound per square inch", "pounds per square inch"),
    ("dB", "decibel", "decibels"),
    ("px", "pixel", "pixels"),
    ("MP", "megapixel", "megapixels"),
    ("ha", "hectare", "hectares"),
    ("h", "hour", "hours"),
    ("hr", "hour", "hours"),
    ("hrs", "hour", "hours"),
    ("min", "minute", "minutes"),
    ("mins", "minute", "minutes"),
    ("sec", "second", "seconds"),
    ("secs", "second", "seconds"),
    ("ms", "millisecond", "milliseconds"),
    ("μs", "microsecond", "microseconds"),
    ("ns", "nanosecond", "nanoseconds"),
    ("yr", "year", "years"),
    ("yrs", "year", "years"),
    ("wk", "week", "weeks"),
    ("wks", "week", "weeks"),
];

/// `5 km` is "five kilometers", `60 km/h` "sixty kilometers per hour", `20 °C` "twenty degrees Celsius".
pub(super) fn units(text: &str) -> String {
    let measured = pattern!(
        r"(-)?([0-9]+/[0-9]+|[0-9]+\^-?[0-9]+|",
        number!(),
        r")( ?|-)(sq\.? (?:ft|mi|km|m)|fl\.? oz|[A-Za-zμ]+(?:\^[23]|[23]\b)?)(?:/([A-Za-z]+)(\^2)?)?\b(\.)?"
    );
    let text = rewrite(&degrees(text), measured, |site| {
        let (number, gap) = (site.group(2), site.group(3));
        // Glued to letters it is a name (`GPT-4g`) or a power, with an apostrophe behind it a word (`5 m'lady`).
        if site.previous().is_some_and(|c| c.is_alphanumeric() || c == '^') || site.next() == Some('\'') {
            return None;
        }
        let (one, many) = unit(site.group(4))?;
        let per = match site.group(5) {
            "" => String::new(),
            time if site.group(6).is_empty() => format!(" per {}", per(time)),
            time => format!(" per {} squared", per(time)),
        };
        // The dot of an abbreviated unit: a full stop only where a sentence may end.
        let stop = if site.ends_sentence() { site.group(7) } else { "" };
        let counted = match number.contains('/') {
            _ if number.contains('^') || (number.contains('/') && mixed(site.before)) => format!("{number} {many}"),
            true if one.ends_with("spoon") => format!("{number} {one}"),
            true if one.starts_with(['a', 'e', 'i', 'o', 'u']) => format!("{number} of an {one}"),
            true => format!("{number} of a {one}"),
            // Before a noun a unit has no plural: `a 5-km run`.
            false if is_one(number) || gap == "-" => format!("{} {one}", spoken(number)),
            false => format!("{} {many}", spoken(number)),
        };
        Some(format!("{}{counted}{per}{stop}", sign(site)))
    });
    // Feet are followed by inches, whose symbol is otherwise a word.
    rewrite(&text, pattern!(r"\b((?:feet|foot) )([0-9]{1,2}) in\b"), |site| {
        Some(format!("{}{}", site.group(1), counted(site.group(2), "inch", "inches")))
    })
}

/// `20 °C` is "twenty degrees Celsius".
fn degrees(text: &str) -> String {
    rewrite(text, pattern!("(-)?(", number!(), r") ?(?:°|º) ?([CFKNSEW]\b)?"), |site| {
        let degrees = counted(site.group(2), "degree", "degrees");
        let scale = match site.group(3) {
            "C" => " Celsius",
            "F" => " Fahrenheit",
            "K" => " Kelvin",
            "N" => " north",
            "S" => " south",
            "E" => " east",
            "W" => " west",
            _ => "",
        };
        Some(format!("{}{degrees}{scale}", sign(site)))
    })
}

/// Whether a fraction belongs to a whole number: `2 1/2`.
fn mixed(before: &str) -> bool {
    before.trim_end_matches(' ').ends_with(|c: char| c.is_ascii_digit())
}

/// A unit's names, with "square" and "cubic" in front where the symbol says so.
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

/// Finds a symbol as it is written, or one of several letters with other capitals: `2 Tbsp`, `5 KG`.
fn known(symbol: &str) -> Option<(&'static str, &'static str)> {
    let exact = UNITS.iter().find(|(known, ..)| *known == symbol);
    let loose = || UNITS.iter().find(|(known, ..)| symbol.len() > 1 && known.eq_ignore_ascii_case(symbol));
    exact.or_else(loose).map(|(_, one, many)| (*one, *many))
}

/// Whether a word behind a number is the symbol of a unit.
pub(super) fn is_unit(word: &str) -> bool {
    known(word).is_some()
}

/// What stands behind the slash: a symbol of time or amount, or a word as it is.
fn per(symbol: &str) -> &str {
    match symbol {
        "s" => "second",
        "d" => "day",
        other => known(other).map_or(other, |(one, _)| one),
    }
}
