//! Text as it is compared: as the voice would say it ([`for_ear`]: numbers, dates and abbreviations
//! in words), in small letters; no punctuation but the apostrophe inside words; contractions are
//! opened ("I'm" i am, "'em" them); and words that are written in one or two are joined before they
//! are compared ("lower case", "wood cutters").

use sotto::tts::for_ear;

const CONTRACTIONS: [(&str, &str); 7] = [
    ("'em", "them"),
    ("n't", " not"),
    ("'m", " am"),
    ("'re", " are"),
    ("'ll", " will"),
    ("'ve", " have"),
    ("'d", " would"),
];
const COMPOUNDS: [&str; 2] = ["lowercase", "woodcutters"];

pub fn words(text: &str) -> Vec<String> {
    let mut text = text.replace('’', "'");
    for (short, long) in CONTRACTIONS {
        text = text.replace(short, long);
    }
    let text = for_ear(&text).to_lowercase();
    let parts = text.split(|letter: char| !letter.is_alphanumeric() && letter != '\'');
    let parts = parts.map(|part| part.trim_matches('\'')).filter(|part| !part.is_empty());
    join_compounds(parts.map(str::to_owned).collect())
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
                "in 1900, 305 of them, then 1907",
                "in nineteen hundred three hundred five of them then nineteen oh seven",
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
