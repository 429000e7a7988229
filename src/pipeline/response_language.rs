//! In which language the language model is to answer.
//!
//! Its system prompt is in English, and small models take that for a hint. So with a question in
//! another language it is told to answer in that, because the voice that will read the answer was
//! made for it. The line stands before the question: the system prompt and the turns before stay as
//! they were computed, and the question's own words are the last it reads.

use super::worker::ReplyText;
use crate::asr::language_name;

/// Nothing need be said of it as long as nobody speaks another.
const ENGLISH: &str = "en";

/// What the language model has been told of languages.
#[derive(Default)]
pub(super) struct ResponseLanguage {
    /// Somewhere in its history it was told to leave English.
    left_english: bool,
}

impl ResponseLanguage {
    /// With the whole history, what it was told is forgotten.
    pub(super) fn forget(&mut self) {
        *self = ResponseLanguage::default();
    }

    /// The question as the language model is given it. In a conversation in English alone, as it
    /// was asked.
    pub(super) fn tell(&mut self, what: ReplyText) -> ReplyText {
        match what {
            ReplyText::AnswerTo { question, language } => {
                ReplyText::AnswerTo { question: self.ask(question, &language), language }
            }
            words @ ReplyText::Words(_) => words,
        }
    }

    fn ask(&mut self, question: String, language: &str) -> String {
        if language == ENGLISH && !self.left_english {
            return question;
        }
        let Some(name) = language_name(language) else { return question };
        self.left_english = true;
        format!("Answer in {name}.\n{question}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_leaves_english_is_told_in_which_language_to_answer() {
        let mut response_language = ResponseLanguage::default();
        for (question, language, told) in [
            ("What time is it?", "en", "What time is it?"),
            ("Hm?", "", "Hm?"),
            ("Wie spät ist es?", "de", "Answer in German.\nWie spät ist es?"),
            ("Und wo?", "de", "Answer in German.\nUnd wo?"),
            ("And why?", "en", "Answer in English.\nAnd why?"),
            ("¿Qué hora es?", "es", "Answer in Spanish.\n¿Qué hora es?"),
            ("nuqneH?", "tlh", "nuqneH?"),
        ] {
            assert_eq!(response_language.ask(question.to_owned(), language), told);
        }
        response_language.forget();
        assert_eq!(response_language.ask("What time is it?".to_owned(), "en"), "What time is it?");
        let ReplyText::Words(words) = response_language.tell(ReplyText::Words("Pardon?".to_owned())) else {
            panic!("they are fixed")
        };
        assert_eq!(words, "Pardon?");
    }
}
