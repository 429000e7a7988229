//! Money and percentages.

use super::numbers::{is_one, sign, spoken};
use super::rewrite::{number, pattern, rewrite};
use super::units;

/// Names of a currency: of one, of many, of one hundredth, of many hundredths.
struct Currency {
    one: &'static str,
    many: &'static str,
    cent: Option<(&'static str, &'static str)>,
}

fn currency_of(mark: &str) -> Option<Currency> {
    let cents = Some(("cent", "cents"));
    let (one, many, cent) = match mark.to_uppercase().as_str() {
        "$" | "US$" | "USD" => ("dollar", "dollars", cents),
        "A$" | "AUD" => ("Australian dollar", "Australian dollars", cents),
        "C$" | "CAD" => ("Canadian dollar", "Canadian dollars", cents),
        "€" | "EUR" => ("euro", "euros", cents),
        "£" | "GBP" => ("pound", "pounds", Some(("penny", "pence"))),
        "¥" | "JPY" => ("yen", "yen", None),
        "CHF" => ("Swiss franc", "Swiss francs", None),
        "₹" | "INR" => ("rupee", "rupees", Some(("paisa", "paise"))),
        "₩" => ("won", "won", None),
        "₽" => ("ruble", "rubles", None),
        "₿" => ("bitcoin", "bitcoins", None),
        "₺" => ("lira", "lira", None),
        "₪" => ("shekel", "shekels", None),
        "¢" => ("cent", "cents", None),
        _ => return None,
    };
    Some(Currency { one, many, cent })
}

/// Word for a factor of an amount: `$2M`, `$2 million`.
fn magnitude(written: &str) -> Option<&'static str> {
    Some(match written.to_lowercase().as_str() {
        "k" | "thousand" => "thousand",
        "m" | "mn" | "million" => "million",
        "b" | "bn" | "billion" => "billion",
        "t" | "tn" | "trillion" => "trillion",
        _ => return None,
    })
}

/// Reads amounts of money: `$3.50` is "three dollars and fifty cents", `€2 million` "two million
/// euros", `$5 to 10` "five to ten dollars".
pub(super) fn currency(text: &str) -> String {
    let marked = pattern!(
        r"(-)?((?:\bUS|\bA|\bC)?\$|[€£¥₹₩₽₿₺₪]|\b(?:USD|EUR|GBP|CAD|AUD|CHF|JPY|INR) )(-)? ?(\.?",
        number!(),
        r")(?: to (",
        number!(),
        r"))?(?:(?: |-)?((?i:thousand|million|billion|trillion)|[kKmMbBtT]|bn|mn|tn)\b)?(?:/([A-Za-z]+\^?[23]?)\b)?"
    );
    let text = rewrite(text, marked, |site| {
        let currency = currency_of(site.group(2).trim())?;
        let minus = if site.group(1).is_empty() && site.group(3).is_empty() { "" } else { "minus " };
        // An amount without its zero: `$.99`.
        let number = site.group(4).strip_prefix('.').map_or(site.group(4).to_owned(), |cents| format!("0.{cents}"));
        let amount = amount(&currency, &number, site.group(5), site.group(6));
        Some(format!("{minus}{amount}{}", rate(site.group(7))))
    });
    let trailing = pattern!(
        r"(",
        number!(),
        r")()(?: (thousand|million|billion|trillion))? ?([$€£¥₹₩₽₿₺₪¢]|(?:USD|EUR|GBP|CAD|AUD|CHF|JPY|INR)\b)",
        r"(?:/([A-Za-z]+\^?[23]?)\b)?"
    );
    rewrite(&text, trailing, |site| {
        let amount = amount(&currency_of(site.group(4))?, site.group(1), site.group(2), site.group(3));
        Some(format!("{amount}{}", rate(site.group(5))))
    })
}

/// Reads the unit of a price: `/yr` is "per year", `/m²` "per square meter".
fn rate(unit: &str) -> String {
    match unit {
        "" => String::new(),
        "mo" => " per month".to_owned(),
        "ea" => " each".to_owned(),
        unit => format!(" per {}", units::one_of(unit)),
    }
}

fn amount(currency: &Currency, number: &str, upto: &str, scale: &str) -> String {
    if !upto.is_empty() {
        let scale = magnitude(scale).map_or(String::new(), |scale| format!(" {scale}"));
        return format!("{} to {}{scale} {}", spoken(number), spoken(upto), currency.many);
    }
    if let Some(scale) = magnitude(scale) {
        return format!("{} {scale} {}", spoken(number), currency.many);
    }
    let coins = number.split_once('.').filter(|(_, coins)| coins.len() == 2);
    match (coins, currency.cent) {
        (Some((whole, "00")), _) => counted(whole, currency.one, currency.many),
        (Some((whole, coins)), Some((cent, cents))) if !coins.contains([',', '.']) => {
            let coins = coins.trim_start_matches('0');
            let coins = counted(coins, cent, cents);
            let none = whole.bytes().all(|b| b == b'0');
            if none { coins } else { format!("{} and {coins}", counted(whole, currency.one, currency.many)) }
        }
        _ => counted(number, currency.one, currency.many),
    }
}

/// Joins a number with its noun.
pub(super) fn counted(number: &str, one: &str, many: &str) -> String {
    format!("{} {}", spoken(number), if is_one(number) { one } else { many })
}

/// Reads percentages and thousands: `10%` is "ten percent", `5k` "five thousand".
pub(super) fn percent(text: &str) -> String {
    let text = rewrite(text, pattern!("(-)?(", number!(), ") ?%"), |site| {
        Some(format!("{}{} percent", sign(site), spoken(site.group(2))))
    });
    rewrite(&text, pattern!("(", number!(), r")([kKM]|bn)\b"), |site| {
        // 4K and 8K are picture formats.
        let picture = matches!((site.group(1), site.group(2)), ("2" | "4" | "8", "K"));
        // A race has an article: "a 5K".
        let race = site.group(2) == "K"
            && pattern!(r"(?i)\b(?:an?|the|my|your|his|her|our|their|first) $").is_match(site.before);
        let name = race || site.previous().is_some_and(|c| c.is_alphanumeric() || c == '-');
        let scale = magnitude(site.group(2)).filter(|_| !picture && !name)?;
        Some(format!("{} {scale}", spoken(site.group(1))))
    })
}
