//! Marks that end sentences, in the scripts of the languages that Sotto supports.

/// Marks of which one alone ends a sentence.
pub const END_MARKS: [char; 13] = ['.', '!', '?', '。', '！', '？', '．', '｡', '؟', '۔', '।', '။', '។'];

/// Whether a character may stand between a sentence and its end mark: closing quotation marks and
/// brackets.
pub fn closes(c: char) -> bool {
    c.is_whitespace() || "\"'”“’»)]」』）".contains(c)
}

/// Whether a piece of text is an end mark, with nothing but marks that may stand around one. An
/// ellipsis does not end a sentence.
pub fn is_end_mark(text: &str) -> bool {
    let marks = text.trim_matches(closes);
    !marks.is_empty() && !marks.contains("..") && marks.chars().all(|c| END_MARKS.contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_marks_are_told_from_other_marks() {
        for text in [".", "?", "!", "?!", ".\n", ".\"", "\".", "。", "？」", "؟", " ।"] {
            assert!(is_end_mark(text), "{text:?}");
        }
        for text in ["", " ", "\n", ",", "...", "…", ".com", "a.", "\"", ")", "·"] {
            assert!(!is_end_mark(text), "{text:?}");
        }
    }
}
