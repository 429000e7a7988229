//! The text of an answer beside its sound: which words are said when, and how much of what was written that is.

use crate::tts::{covered, words};
use crate::turn::AnswerEvent;
use crate::types::{Frame, TurnId};

/// An answer that is being made.
pub(super) struct Spoken {
    pub(super) turn: TurnId,
    /// `None` where it only asks for the question again.
    pub(super) question: Option<String>,
    /// As the language model writes it.
    written: String,
    /// As it is said: sentences, a space behind each.
    said: String,
    /// Where in `said` its words begin and end.
    words: Vec<(usize, usize)>,
    /// Whether some of it was heard.
    pub(super) audible: bool,
}

impl Spoken {
    pub(super) fn new(turn: TurnId, question: Option<String>) -> Self {
        Spoken { turn, question, written: String::new(), said: String::new(), words: Vec::new(), audible: false }
    }

    pub(super) fn written(&mut self, piece: &str) {
        self.written.push_str(piece);
    }

    /// Whether no sentence went to the voice yet.
    pub(super) fn is_silent(&self) -> bool {
        self.words.is_empty()
    }

    /// The next sentence that the voice is to say.
    pub(super) fn sentence(&mut self, sentence: &str) {
        let start = self.said.len();
        self.said.push_str(sentence);
        let mut from = start;
        for word in words(sentence) {
            let at = self.said[from..].find(word.text).map_or(from, |at| from + at);
            from = at + word.text.len();
            self.words.push((at, from));
        }
        self.said.push(' ');
    }

    /// A piece of its sound, for the machine: what goes on of a word that began before, and then word by word.
    pub(super) fn sound(&self, frame: &Frame) -> Vec<AnswerEvent> {
        let first = frame.words.first().map_or(frame.samples.len(), |word| word.at);
        let begun = frame.words.first().map_or(self.words.len(), |word| word.word);
        let at = begun.checked_sub(1).and_then(|last| self.words.get(last)).map_or(0, |word| word.1);
        let length = |samples| frame.rate.duration(samples);
        let rest = (first > 0).then(|| AnswerEvent::Sound { length: length(first), at, text: String::new() });
        let ends = frame.words.iter().skip(1).map(|word| word.at).chain([frame.samples.len()]);
        let each = frame.words.iter().zip(ends).filter_map(|(word, end)| {
            let (from, to) = *self.words.get(word.word)?;
            Some(AnswerEvent::Sound { length: length(end - word.at), at: from, text: self.said[from..to].to_owned() })
        });
        rest.into_iter().chain(each).collect()
    }

    /// What was written up to where the first `heard` bytes of what is said end.
    pub(super) fn heard(&self, heard: usize) -> &str {
        let said = self.words.iter().filter(|(_, end)| *end <= heard).map(|(from, to)| &self.said[*from..*to]);
        self.written[..covered(&self.written, said)].trim_start()
    }
}
