//! Text as it is compared. Small letters; no punctuation but the apostrophe inside words; numbers in figures are spelled
//! out ("15th" fifteenth, "1465" fourteen sixty five, "8" eight); contractions are opened ("I'm" i am, "'em" them); and
//! words that are written in one or two are joined before they are compared ("lower case", "wood cutters").

const ONES: [&str; 20] = [
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
const ORDINALS: [(&str, &str); 7] = [
    ("one", "first"),
    ("two", "second"),
    ("three", "third"),
    ("five", "fifth"),
    ("eight", "eighth"),
    ("nine", "ninth"),
    ("twelve", "twelfth"),
];
const CONTRACTIONS: [(&str, &str); 8] = [
    ("'em", "them"),
    ("n't", " not"),
    ("'m", " am"),
    ("'re", " are"),
    ("'ll", " will"),
    ("'ve", " have"),
    ("'d", " would"),
    ("etc", "et cetera"),
];
const COMPOUNDS: [&str; 2] = ["lowercase", "woodcutters"];

pub fn words(text: &str) -> Vec<String> {
    let mut text = text.to_lowercase().replace('’', "'");
    for (short, long) in CONTRACTIONS {
        text = text.replace(short, long);
    }
    let parts = text.split(|letter: char| !letter.is_alphanumeric() && letter != '\'');
    let parts = parts.map(|part| part.trim_matches('\'')).filter(|part| !part.is_empty());
    join_compounds(parts.flat_map(spell).collect())
}

fn join_compounds(words: Vec<String>) -> Vec<String> {
    let mut joined: Vec<String> = Vec::with_capacity(words.len());
    for word in words {
        match joined.last_mut() {
            Some(last) if COMPOUNDS.contains(&format!("{last}{word}").as_str()) => last.push_str(&word),
            _ => joined.push(word),
        }
    }
    joined
}

/// A word that is a number becomes the words it is read as.
fn spell(part: &str) -> Vec<String> {
    let digits = part.trim_end_matches(|letter: char| letter.is_alphabetic());
    let Ok(number) = digits.parse::<u32>() else { return vec![part.to_owned()] };
    let mut words: Vec<String> = match number {
        1_100..=1_999 if !number.is_multiple_of(100) => {
            [hundreds(number / 100), if number % 100 < 10 { vec!["oh"] } else { vec![] }, hundreds(number % 100)]
                .concat()
        }
        0..=9_999 => thousands(number),
        _ => return vec![part.to_owned()],
    }
    .into_iter()
    .map(str::to_owned)
    .collect();
    match &part[digits.len()..] {
        "" => (),
        "st" | "nd" | "rd" | "th" => {
            let last = words.pop().map(|last| ordinal(&last));
            words.extend(last);
        }
        other => words.push(other.to_owned()),
    }
    words
}

fn thousands(number: u32) -> Vec<&'static str> {
    match number {
        0..1_000 => hundreds(number),
        _ => {
            let rest = if number.is_multiple_of(1_000) { vec![] } else { hundreds(number % 1_000) };
            [vec![ONES[number as usize / 1_000], "thousand"], rest].concat()
        }
    }
}

fn hundreds(number: u32) -> Vec<&'static str> {
    let number = number as usize;
    match number {
        0..20 => vec![ONES[number]],
        20..100 if number.is_multiple_of(10) => vec![TENS[number / 10]],
        20..100 => vec![TENS[number / 10], ONES[number % 10]],
        _ if number.is_multiple_of(100) => vec![ONES[number / 100], "hundred"],
        _ => [vec![ONES[number / 100], "hundred"], hundreds(number as u32 % 100)].concat(),
    }
}

fn ordinal(word: &str) -> String {
    match ORDINALS.iter().find(|(cardinal, _)| *cardinal == word) {
        Some((_, ordinal)) => (*ordinal).to_owned(),
        None => word.strip_suffix('y').map_or(format!("{word}th"), |stem| format!("{stem}ieth")),
    }
}

/// Words to insert, leave out or change to get from one to the other (Levenshtein).
pub fn distance(from: &[String], to: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, word) in from.iter().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, other) in to.iter().enumerate() {
            let change = corner + usize::from(word != other);
            corner = row[j + 1];
            row[j + 1] = change.min(corner + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_compared_by_what_is_said() {
        for (text, wanted) in [
            ("It's \"42-line\", of about 1455.", "it's forty two line of about fourteen fifty five"),
            ("the 15th, 20th and 21st", "the fifteenth twentieth and twenty first"),
            ("I'm, don't; God bless 'em", "i am do not god bless them"),
            ("lower-case Lower case LOWERCASE", "lowercase lowercase lowercase"),
            (
                "1900 2024 305 1907",
                "one thousand nine hundred two thousand twenty four three hundred five nineteen oh seven",
            ),
        ] {
            assert_eq!(words(text).join(" "), wanted);
        }
    }

    #[test]
    fn errors_are_counted() {
        let count = |a: &str, b: &str| distance(&words(a), &words(b));
        assert_eq!(count("a b c", "a b c"), 0);
        assert_eq!(count("a b c", "a x c d"), 2);
        assert_eq!(count("a b c", ""), 3);
        assert_eq!(count("", "a"), 1);
    }
}
