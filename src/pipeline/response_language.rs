//! Choice of the language in which the language model answers.
//!
//! The system prompt is in English, and small models take that as a hint to answer in English. So a
//! question in another language gets a line that asks for an answer in that language, because the
//! voice that will speak the answer was made for it. The line stands before the question: the KV
//! cache of the system prompt and the earlier turns stays valid, and the question's own words come
//! last.

use super::worker::ReplyText;
use crate::asr::language_name;

/// Language that needs no instruction as long as nobody speaks another.
const ENGLISH: &str = "en";

/// Instructions that the language model has been given about languages.
#[derive(Default)]
pub(super) struct ResponseLanguage {
    /// Whether its history holds an instruction to answer in another language.
    left_english: bool,
}

impl ResponseLanguage {
    /// Forgets the instructions, together with the whole history.
    pub(super) fn forget(&mut self) {
        *self = ResponseLanguage::default();
    }

    /// Adds the instruction to a question. In a conversation that is all in English the question is
    /// unchanged.
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
