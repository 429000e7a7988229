use super::Language;

/// English words. Not listed as hanging are "in", "on", "off", "up", "that", "what" and the like,
/// because a sentence may end in them ("turn it on", "what is that").
pub(super) static ENGLISH: Language = Language {
    code: "en",
    incomplete: &[
        "a", "an", "the", "and", "or", "but", "nor", "because", "if", "whether", "although", "unless", "until",
        "while", "to", "of", "from", "into", "onto", "with", "without", "between", "at", "my", "your", "our", "their",
        "its", "is", "are", "am", "was", "were", "be", "i", "i'm", "we", "we're", "they're", "he's", "she's", "could",
        "would", "should", "please", "um", "uh", "er", "every", "very", "than", "as", "point", "plus", "minus",
    ],
    numbers: &[
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
    ],
    counting: &["for", "of", "every", "another"],
    is_whole,
    nods: &[
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
    stops: &["stop", "stop it", "be quiet", "quiet", "shut up", "enough", "cancel", "never mind"],
    polite: &["please", "just"],
    ..Language::NONE
};

/// Whether a sentence that ends in such a word is complete. The words before decide: "yes, please"
/// is, "could you please" is not, "tell me where I am" is.
fn is_whole(words: &[String]) -> bool {
    match words {
        [.., before, last] if last == "please" => before != "you",
        [first, .., last] if ["is", "are", "am", "was", "were"].contains(&last.as_str()) => {
            ["where", "who", "what", "how", "tell", "yes", "no"].contains(&first.as_str())
        }
        _ => false,
    }
}
