//! English normalisation: the order of its passes, and the words of its numbers.
//!
//! The num2words crate was considered and rejected: it says "one hundred one" but "one thousand and
//! one", loses the zero of 3.10, and brings an arbitrary-precision float along for what are
//! integers here.

use super::{
    addresses, amounts, capitals, chemistry, clock, codes, dates, decimals, designations, numbers, phones, ranges,
    roman, shortened, symbols, units,
};

/// Pass that rewrites what it recognises and leaves the rest.
type Pass = fn(&str) -> String;

/// Condition on a text for a pass to find anything in it.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    Digits,
    Nothing,
}

use Needs::{Digits, Nothing};

/// Passes from the most special form to the plainest. Ranges come before amounts so that `10-20 km`
/// has a unit for both ends; abbreviations come before numbers because `No.` is one only in front
/// of a digit, and after times because of `P.M.`; Roman numerals and the names of rooms and roads
/// come after abbreviations, because they look for the words of those.
const PASSES: [(Needs, Pass); 24] = [
    (Nothing, addresses::emails),
    (Nothing, addresses::links),
    (Digits, codes::codes),
    (Digits, phones::phones),
    (Nothing, addresses::file_names),
    (Nothing, chemistry::formulas),
    (Digits, decimals::decimals),
    (Nothing, dates::dates),
    (Digits, clock::times),
    (Digits, dates::decades),
    (Nothing, shortened::abbreviations),
    (Nothing, roman::numerals),
    (Digits, designations::designations),
    (Nothing, ranges::ranges),
    (Digits, amounts::currency),
    (Digits, units::units),
    (Digits, amounts::percent),
    (Digits, numbers::fractions),
    (Digits, numbers::ordinals),
    (Nothing, symbols::nearly),
    (Nothing, symbols::powers),
    (Digits, numbers::numbers),
    (Nothing, symbols::symbols),
    (Nothing, capitals::capitals),
];

pub(super) fn read(text: &str) -> String {
    PASSES.iter().fold(text.to_owned(), |text, (needs, pass)| {
        let idle = *needs == Digits && !text.contains(|c: char| c.is_ascii_digit());
        if idle { text } else { pass(&text) }
    })
}

const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];

const TENS: [&str; 10] = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

const SCALES: [(u64, &str); 6] = [
    (1_000_000_000_000_000_000, "quintillion"),
    (1_000_000_000_000_000, "quadrillion"),
    (1_000_000_000_000, "trillion"),
    (1_000_000_000, "billion"),
    (1_000_000, "million"),
    (1_000, "thousand"),
];

/// Cardinal number: `1234` is "one thousand two hundred thirty-four".
pub(super) fn cardinal(number: u64) -> String {
    if number == 0 {
        return SMALL[0].to_owned();
    }
    let mut words = Vec::new();
    let mut rest = number;
    for (scale, name) in SCALES {
        if rest >= scale {
            words.push(format!("{} {name}", below_thousand(rest / scale)));
            rest %= scale;
        }
    }
    if rest > 0 {
        words.push(below_thousand(rest));
    }
    words.join(" ")
}

fn below_thousand(number: u64) -> String {
    match (number / 100, number % 100) {
        (0, rest) => below_hundred(rest),
        (hundreds, 0) => format!("{} hundred", below_hundred(hundreds)),
        (hundreds, rest) => format!("{} hundred {}", below_hundred(hundreds), below_hundred(rest)),
    }
}

fn below_hundred(number: u64) -> String {
    match (word(&SMALL, number), word(&TENS, number / 10), word(&SMALL, number % 10)) {
        (Some(small), _, _) => small.to_owned(),
        (None, Some(tens), Some(_)) if number.is_multiple_of(10) => tens.to_owned(),
        (None, Some(tens), Some(ones)) => format!("{tens}-{ones}"),
        _ => String::new(),
    }
}

fn word(words: &[&'static str], index: u64) -> Option<&'static str> {
    words.get(usize::try_from(index).ok()?).copied()
}

/// Ordinal number: `22` is "twenty-second".
pub(super) fn ordinal(number: u64) -> String {
    let cardinal = cardinal(number);
    let at = cardinal.rfind([' ', '-']).map_or(0, |at| at + 1);
    let (head, last) = cardinal.split_at(at);
    let last = match last {
        "one" => "first".to_owned(),
        "two" => "second".to_owned(),
        "three" => "third".to_owned(),
        "five" => "fifth".to_owned(),
        "eight" => "eighth".to_owned(),
        "nine" => "ninth".to_owned(),
        "twelve" => "twelfth".to_owned(),
        tens if tens.ends_with('y') => format!("{}ieth", tens.trim_end_matches('y')),
        other => format!("{other}th"),
    };
    format!("{head}{last}")
}

/// Year: `1999` is "nineteen ninety-nine", `2005` "two thousand five".
pub(super) fn year(year: u64) -> String {
    match (year / 100, year % 100) {
        (2 | 10 | 20, 0..10) => cardinal(year),
        (century @ 11..100, 0) => format!("{} hundred", cardinal(century)),
        (century @ 10..100, rest @ 1..10) => format!("{} oh {}", cardinal(century), cardinal(rest)),
        (century @ 10..100, rest) => format!("{} {}", cardinal(century), cardinal(rest)),
        _ => cardinal(year),
    }
}

/// Plural of a number's word, for decades: `90` is "nineties".
pub(super) fn plural(word: &str) -> String {
    match word.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if word.ends_with('x') => format!("{word}es"),
        None => format!("{word}s"),
    }
}

/// Number read digit by digit: `007` is "zero zero seven".
pub(super) fn digits(text: &str) -> String {
    let words: Vec<&str> = text.chars().filter_map(|c| c.to_digit(10)).map(|d| SMALL[d as usize]).collect();
    words.join(" ")
}
