//! What words say about turns: is the sentence finished, does somebody only nod, is it our own voice.
//!
//! Lists, not models: each is short, and a word that is missing costs a little time and never a turn. Languages without
//! a list get the neutral answer.

use unicode_segmentation::UnicodeSegmentation;

/// Whether a sentence is finished, by its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    Finished,
    /// It cannot end here.
    Hanging,
    /// The words do not say.
    Unknown,
}

/// English words after which more must come. Not "in", "on", "off", "up", "that", "what" and the like: a sentence may
/// end in them ("turn it on", "what is that").
const HANGING: [&str; 55] = [
    "a", "an", "the", "and", "or", "but", "nor", "because", "if", "whether", "although", "unless", "until", "while",
    "to", "of", "from", "into", "onto", "with", "without", "between", "at", "my", "your", "our", "their", "its", "is",
    "are", "am", "was", "were", "be", "i", "i'm", "we", "we're", "they're", "he's", "she's", "could", "would",
    "should", "please", "um", "uh", "er", "every", "very", "than", "as", "point", "plus", "minus",
];

/// English number words. A number may always go on.
const NUMBERS: [&str; 31] = [
    "zero",
    "oh",
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
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
    "hundred",
    "thousand",
];

/// Words before a number that lacks its unit: "a timer for ten", "a quarter of".
const COUNTING: [&str; 4] = ["for", "of", "every", "another"];

/// So many numbers in a row are somebody dictating digits.
const DICTATED: usize = 3;

/// Whether sentences of that language end with a mark. Thai and Lao put a space there, or nothing.
pub fn ends_with_marks(language: &str) -> bool {
    !matches!(language, "th" | "lo")
}

/// Is the sentence finished?
pub fn completeness(text: &str, language: &str) -> Completeness {
    let text = text.trim_end_matches(|c: char| c.is_whitespace() || "\"'”’)]".contains(c));
    let trails_off = text.ends_with([',', ';', ':', '-', '—', '–', '、', '，', '…']) || text.ends_with("..");
    if trails_off {
        return Completeness::Hanging;
    }
    if !language.is_empty() && language != "en" {
        return Completeness::Unknown;
    }
    english(&tokens(text), text.ends_with(['.', '!', '?']))
}

fn english(words: &[String], marked: bool) -> Completeness {
    let Some(last) = words.last() else { return Completeness::Unknown };
    let numbers = words.iter().rev().take_while(|word| is_number(word)).count();
    if numbers > 0 {
        let before = words.len().checked_sub(numbers + 1).map(|at| words[at].as_str());
        let lacks_unit = before.is_some_and(|word| COUNTING.contains(&word));
        return if lacks_unit || numbers >= DICTATED { Completeness::Hanging } else { Completeness::Unknown };
    }
    match marked {
        _ if HANGING.contains(&last.as_str()) && !asks_for_it(words) => Completeness::Hanging,
        true => Completeness::Finished,
        false => Completeness::Unknown,
    }
}

/// "Yes, please" is whole, "could you please" is not, "tell me where I am" is: what stands before decides.
fn asks_for_it(words: &[String]) -> bool {
    match words {
        [.., before, last] if last == "please" => before != "you",
        [first, .., last] if ["is", "are", "am", "was", "were"].contains(&last.as_str()) => {
            ["where", "who", "what", "how", "tell", "yes", "no"].contains(&first.as_str())
        }
        _ => false,
    }
}

fn is_number(word: &str) -> bool {
    NUMBERS.contains(&word) || word.chars().all(|c| c.is_ascii_digit())
}

/// What listeners say to show that they listen, by language; each is a whole utterance or a word of one.
const BACKCHANNELS: [(&str, &[&str]); 7] = [
    (
        "en",
        &[
            "mhm",
            "mm",
            "mmm",
            "hmm",
            "hm",
            "uh-huh",
            "uh huh",
            "mm-hmm",
            "mm hmm",
            "okay",
            "ok",
            "yeah",
            "yep",
            "yes",
            "right",
            "sure",
            "i see",
            "got it",
            "ah",
            "oh",
            "aha",
            "wow",
            "cool",
            "nice",
            "great",
            "good",
            "alright",
            "all right",
            "of course",
            "really",
        ],
    ),
    ("de", &["mhm", "hm", "hmm", "ja", "okay", "ok", "genau", "ach so", "achso", "aha", "gut", "stimmt", "klar"]),
    ("fr", &["mhm", "hum", "hm", "oui", "ouais", "d'accord", "ok", "okay", "ah", "ah bon", "bien", "je vois"]),
    ("es", &["mhm", "hm", "sí", "si", "vale", "ok", "okay", "claro", "ajá", "ya", "bueno", "ya veo", "de acuerdo"]),
    ("th", &["อืม", "อือ", "ครับ", "ค่ะ", "คะ", "โอเค", "ใช่"]),
    ("zh", &["嗯", "嗯嗯", "哦", "好", "好的", "对", "對", "是", "是的", "行", "明白"]),
    ("ja", &["うん", "うんうん", "はい", "ええ", "へえ", "なるほど", "そうですね", "そうか", "オーケー"]),
];

/// The most words of a nod: "yeah, okay, right".
const LONGEST_NOD: usize = 4;

/// Whether the whole utterance only shows that somebody listens. A language that is not known is looked up in all.
pub fn is_backchannel(text: &str, language: &str) -> bool {
    let words = tokens(text);
    let of = |(code, _): &&(&str, &[&str])| language.is_empty() || language == *code;
    BACKCHANNELS.iter().filter(of).any(|(_, nods)| is_made_of(&words, nods, LONGEST_NOD))
}

/// What stops an answer and asks nothing, as a whole utterance.
const STOPS: [&str; 24] = [
    "stop",
    "stop it",
    "stop please",
    "please stop",
    "be quiet",
    "quiet",
    "shut up",
    "enough",
    "cancel",
    "never mind",
    "stopp",
    "halt",
    "ruhe",
    "sei still",
    "genug",
    "arrête",
    "tais-toi",
    "para",
    "basta",
    "cállate",
    "หยุด",
    "停",
    "停止",
    "止めて",
];

/// Whether the whole utterance asks for silence and for nothing else, in any of the languages.
pub fn is_stop(text: &str) -> bool {
    is_made_of(&tokens(text), &STOPS, LONGEST_NOD)
}

/// Whether `words` are one or several of `phrases`, and nothing else. Spaces and hyphens do not matter.
fn is_made_of(words: &[String], phrases: &[&str], most: usize) -> bool {
    let whole = |phrase: &str| tokens(phrase).concat();
    let mut rest = words.concat();
    let mut taken = 0;
    while !rest.is_empty() && taken < most {
        let longest = phrases.iter().map(|phrase| whole(phrase)).filter(|phrase| rest.starts_with(phrase.as_str()));
        let Some(longest) = longest.max_by_key(String::len) else { return false };
        rest.drain(..longest.len());
        taken += 1;
    }
    taken > 0 && rest.is_empty()
}

/// Words of an utterance from which on it is compared by how much it shares with what was said; below that every word
/// has to be there, side by side.
const ENOUGH_TO_COMPARE: usize = 3;
/// The share of an utterance's words that come, in their order, in what was said, from which it is an echo. Recognisers
/// misread about every fifth word of a soft and reverberant echo.
const ECHO_SHARE: f64 = 0.75;

/// Whether `heard` is an echo of `said`. A word or two that agree are one only when `short_too`: they may as well be the
/// choice that we offered.
pub fn is_echo(heard: &str, said: &str, short_too: bool) -> bool {
    let (heard, said) = (tokens(heard), tokens(said));
    if heard.is_empty() || said.is_empty() {
        return false;
    }
    if heard.len() < ENOUGH_TO_COMPARE {
        return short_too && said.windows(heard.len()).any(|window| window == heard);
    }
    if goes_beyond(&heard, &said) {
        return false;
    }
    common_in_order(&heard, &said) as f64 >= ECHO_SHARE * heard.len() as f64
}

/// Whether somebody speaks on where the echo ends: by more than the word that a recogniser may have misread there.
fn goes_beyond(heard: &[String], said: &[String]) -> bool {
    let own = heard.iter().rev().take_while(|word| !said.contains(word)).count();
    own > 1 || is_stop(&heard[heard.len() - own..].join(" "))
}

/// The length of the longest common subsequence that spans at most half as many words again of `said` as were heard:
/// common words far apart are no echo.
fn common_in_order(heard: &[String], said: &[String]) -> usize {
    let span = (heard.len() * 3 / 2).min(said.len());
    said.windows(span).map(|window| common_subsequence(heard, window)).max().unwrap_or(0)
}

fn common_subsequence(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0; b.len() + 1];
    for word in a {
        let mut diagonal = 0;
        for (at, other) in b.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if word == other { diagonal + 1 } else { above.max(row[at]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

/// Words beyond this are not looked at: more than is said in 30 s.
const MOST_WORDS: usize = 200;

/// The words in lower case. Languages without spaces give single letters, which compare as well.
pub(super) fn tokens(text: &str) -> Vec<String> {
    let plain = |word: &str| word.to_lowercase().replace('’', "'");
    text.unicode_words().take(MOST_WORDS).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_hang_or_are_finished() {
        use Completeness::{Finished, Hanging, Unknown};
        for (text, language, expected) in [
            ("What time is it?", "en", Finished),
            ("Turn it on.", "en", Finished),
            ("Yes, please.", "en", Finished),
            ("Tell me where I am.", "en", Finished),
            ("Turn on the light", "en", Unknown),
            ("", "en", Unknown),
            ("Turn on the.", "en", Hanging),
            ("I would like to", "en", Hanging),
            ("Could you please", "en", Hanging),
            ("Well, the weather is.", "en", Hanging),
            ("I was thinking, and.", "en", Hanging),
            ("Milk, eggs,", "en", Hanging),
            ("So I thought...", "en", Hanging),
            ("Set a timer for ten.", "en", Hanging),
            ("My number is 0 7 9", "en", Hanging),
            ("What is five plus seven?", "en", Unknown),
            ("“Is it raining?”", "en", Finished),
            ("Wie spät ist es?", "de", Unknown),
            ("Ich möchte,", "de", Hanging),
            ("What time is it?", "", Finished),
        ] {
            assert_eq!(completeness(text, language), expected, "{text}");
        }
    }

    #[test]
    fn nods_are_whole_utterances() {
        for (text, language, nod) in [
            ("Mhm.", "en", true),
            ("Uh-huh.", "en", true),
            ("Yeah, okay, right.", "en", true),
            ("I see.", "en", true),
            ("Okay, stop.", "en", false),
            ("Right now.", "en", false),
            ("No.", "en", false),
            ("", "en", false),
            ("Ach so!", "de", true),
            ("Genau, aber warte.", "de", false),
            ("うんうん。", "ja", true),
            ("好的。", "zh", true),
            ("ครับ", "th", true),
            ("D’accord.", "fr", true),
            ("Ja.", "en", false),
            ("Ja.", "", true),
        ] {
            assert_eq!(is_backchannel(text, language), nod, "{text}");
        }
        for (text, stop) in
            [("Stop!", true), ("Stop, stop.", true), ("Stop the timer.", false), ("停止。", true), ("", false)]
        {
            assert_eq!(is_stop(text), stop, "{text}");
        }
    }

    #[test]
    fn our_own_words_are_an_echo() {
        let said = "The capital of France is Paris. It lies on the river Seine. Would you like tea or coffee?";
        for (heard, short_too, echo) in [
            ("The capital of France is Paris.", true, true),
            ("capital of Trance is Paris", true, true),
            ("lies on the river", false, true),
            ("What is the capital of Germany?", true, false),
            ("the river the tea", true, false),
            ("It lies on the river, stop!", true, false),
            ("It lies on the river Seine, but how long?", true, false),
            ("Coffee.", false, false),
            ("Coffee.", true, true),
            ("Stop.", true, false),
            ("", true, false),
        ] {
            assert_eq!(is_echo(heard, said, short_too), echo, "{heard}");
        }
        assert!(!is_echo("hello", "", true));
    }
}
