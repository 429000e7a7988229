//! Estimated times of the words in the sound of a sentence.
//!
//! The voice does not report the time of each word. The length of the sentence is known, and within
//! it time is proportional to the normalised text: letters, and pauses at marks.

use unicode_segmentation::UnicodeSegmentation;

use super::for_ear;
use super::sentences::is_spaceless;

/// Length of a mark's pause in letters: an English voice says some 15 letters a second, and pauses
/// for 150 to 400 ms.
const CLAUSE_PAUSE: usize = 3;
const SENTENCE_PAUSE: usize = 6;

/// A word of a sentence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Word<'a> {
    pub text: &'a str,
    /// Position in the sentence's sound at which it begins: 0 is the beginning, 1 the end.
    pub begins: f64,
}

/// Words of `sentence`, with adjacent marks: the text between spaces, and in scripts without
/// spaces, what Unicode calls a word (UAX #29).
pub fn words(sentence: &str) -> Vec<Word<'_>> {
    let texts: Vec<&str> = sentence.split_whitespace().flat_map(parts).collect();
    let weights: Vec<usize> = texts.iter().map(|text| weight(text)).collect();
    let all = weights.iter().sum::<usize>().max(1) as f64;
    let begins = weights.iter().scan(0, |sum, weight| Some(std::mem::replace(sum, *sum + weight)));
    texts.iter().zip(begins).map(|(text, begins)| Word { text, begins: begins as f64 / all }).collect()
}

/// Splits a stretch of text in a script without spaces, which holds several words.
fn parts(text: &str) -> Vec<&str> {
    if !text.contains(is_spaceless) || text.unicode_words().nth(1).is_none() {
        return vec![text];
    }
    let mut starts: Vec<usize> = text.unicode_word_indices().map(|(at, _)| at).collect();
    starts[0] = 0;
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().zip(ends).map(|(start, end)| &text[*start..end]).collect()
}

fn weight(word: &str) -> usize {
    let pause = match word.chars().rev().find(|c| !matches!(c, '"' | '\'' | ')' | '”' | '’' | '」')) {
        Some('.' | '!' | '?' | '…' | '。' | '！' | '？') => SENTENCE_PAUSE,
        Some(',' | ';' | ':' | '—' | '，' | '、' | '；' | '：') => CLAUSE_PAUSE,
        _ => 0,
    };
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    // A plain word is said as it is written, and most are plain.
    let spelled = match is_plain(word) {
        true => letters,
        false => for_ear(word).chars().filter(|c| c.is_alphanumeric()).count(),
    };
    pause + spelled.max(letters).max(1)
}

/// Whether a word is made of letters, with marks around it, and is no abbreviation.
fn is_plain(word: &str) -> bool {
    let inner =
        word.trim_matches(|c: char| c.is_ascii_punctuation() && !matches!(c, '.' | '%' | '$' | '@' | '#' | '&'));
    inner.chars().all(|c| c.is_alphabetic() || c == '\'' || c == '’')
}

/// Number of bytes at the beginning of `text` that the words `said` cover, which are words of
/// `text` in its order. Text between them, even if long, was left out when it was spoken.
pub fn covered<'a>(text: &str, said: impl IntoIterator<Item = &'a str>) -> usize {
    said.into_iter().fold(0, |at, word| text[at..].find(word).map_or(at, |found| at + found + word.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_begin_where_their_letters_say() {
        for (sentence, texts, latest) in [
            ("Yes, I do.", &["Yes,", "I", "do."][..], [0.0, 0.35, 0.45]),
            ("In 1984 it", &["In", "1984", "it"], [0.0, 0.06, 0.88]),
            ("", &[], [0.0; 3]),
        ] {
            let words = words(sentence);
            assert_eq!(words.iter().map(|word| word.text).collect::<Vec<_>>(), texts);
            for (word, about) in words.iter().zip(latest) {
                assert!((word.begins - about).abs() < 0.1, "{sentence}: {word:?}, about {about}");
            }
        }
    }

    #[test]
    fn scripts_without_spaces_have_words_too() {
        for (sentence, least) in [("今日は天気がいいですね。", 4), ("今天天气很好。", 3), ("วันนี้อากาศดี", 1)]
        {
            let found = words(sentence);
            assert!(found.len() >= least, "{found:?}");
            assert_eq!(found.iter().map(|word| word.text).collect::<String>(), sentence);
            assert!(found.is_sorted_by(|a, b| a.begins < b.begins));
        }
        assert_eq!(words("iPhoneを買う。")[0].text, "iPhone");
        assert_eq!(words("Où est l'hôtel?").len(), 3);
    }

    #[test]
    fn what_was_left_out_between_words_counts_as_said_with_the_next() {
        let text = "See *this*: ```x = 1``` and that. And that too.";
        for (said, covers) in [
            (&[][..], ""),
            (&["See"], "See"),
            (&["See", "this"], "See *this"),
            (&["See", "this", "and", "that."], "See *this*: ```x = 1``` and that."),
            (&["See", "this", "and", "that.", "And", "that"], "See *this*: ```x = 1``` and that. And that"),
            (&["See", "nowhere", "and"], "See *this*: ```x = 1``` and"),
        ] {
            assert_eq!(&text[..covered(text, said.iter().copied())], covers);
        }
    }
}
