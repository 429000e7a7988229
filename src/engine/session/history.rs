//! History of a session: its exchanges, as the language model is given them.
//!
//! The system prompt is in English, and small models take that as a hint to answer in English. So a
//! question in another language gets a line that asks for an answer in that language, because the
//! voice that will speak the answer was made for it. The line stands before the question: the KV
//! cache of the system prompt and the earlier turns stays valid, and the question's own words come
//! last.

use std::sync::Arc;

use crate::asr::language_name;
use crate::engine::stage::PastExchange;

/// Language that needs no instruction as long as nobody speaks another.
const ENGLISH: &str = "en";
/// Most exchanges that are kept, and how many are left where there were more. The language model
/// leaves out what does not fit its context, which is less as a rule. Many are dropped at once,
/// because each time the rest is computed again.
const MOST: usize = 256;
const KEPT: usize = 128;

#[derive(Default)]
pub(super) struct History {
    exchanges: Arc<Vec<PastExchange>>,
    /// Whether it holds an instruction to answer in another language than English.
    left_english: bool,
}

impl History {
    /// Exchanges, oldest first.
    pub(super) fn exchanges(&self) -> Arc<Vec<PastExchange>> {
        self.exchanges.clone()
    }

    /// Adds an exchange. Its question is one that [`History::question`] has made, in `language`.
    pub(super) fn push(&mut self, exchange: PastExchange, language: &str) {
        self.left_english |= self.asks_for(language).is_some();
        let exchanges = Arc::make_mut(&mut self.exchanges);
        exchanges.push(exchange);
        if exchanges.len() > MOST {
            exchanges.drain(..exchanges.len() - KEPT);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = History::default();
    }

    /// Adds the instruction to a question. In a conversation that is all in English the question is
    /// unchanged.
    pub(super) fn question(&self, question: &str, language: &str) -> String {
        match self.asks_for(language) {
            Some(name) => format!("Answer in {name}.\n{question}"),
            None => question.to_owned(),
        }
    }

    /// Name of the language that a question has to ask for.
    fn asks_for(&self, language: &str) -> Option<String> {
        language_name(language).filter(|_| language != ENGLISH || self.left_english)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(question: String) -> PastExchange {
        PastExchange { question, answer: "Yes.".to_owned() }
    }

    #[test]
    fn only_who_leaves_english_is_told_in_which_language_to_answer() {
        let mut history = History::default();
        for (question, language, told) in [
            ("What time is it?", "en", "What time is it?"),
            ("Hm?", "", "Hm?"),
            ("Wie spät ist es?", "de", "Answer in German.\nWie spät ist es?"),
            ("Und wo?", "de", "Answer in German.\nUnd wo?"),
            ("And why?", "en", "Answer in English.\nAnd why?"),
            ("¿Qué hora es?", "es", "Answer in Spanish.\n¿Qué hora es?"),
            ("nuqneH?", "tlh", "nuqneH?"),
        ] {
            let asked = history.question(question, language);
            assert_eq!(asked, told);
            history.push(exchange(asked), language);
        }
        assert_eq!(history.exchanges().len(), 7);
        history.clear();
        assert_eq!(history.question("What time is it?", "en"), "What time is it?");
        let _revised = history.question("Wie spät ist es?", "de");
        assert_eq!(history.question("And why?", "en"), "And why?", "a question that is not kept changes nothing");
    }

    #[test]
    fn a_history_of_months_is_not_kept() {
        let mut history = History::default();
        for n in 0..2 * MOST {
            history.push(exchange(n.to_string()), "en");
            assert!(history.exchanges().len() <= MOST);
        }
        assert_eq!(history.exchanges().last().unwrap().question, (2 * MOST - 1).to_string());
    }
}
