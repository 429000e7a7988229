//! The marks that end sentences, in the scripts that Sotto speaks and hears.

/// One of them alone ends a sentence.
pub const END_MARKS: [char; 13] = ['.', '!', '?', '。', '！', '？', '．', '｡', '؟', '۔', '।', '။', '។'];

/// What may stand between a sentence and its end: quotation marks and brackets that close.
pub fn closes(c: char) -> bool {
    c.is_whitespace() || "\"'”“’»)]」』）".contains(c)
}

/// Whether a piece of text is an end mark and nothing but what may stand around one. An ellipsis
/// trails off, and ends nothing.
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
