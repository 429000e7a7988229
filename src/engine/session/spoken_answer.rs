//! Text of an answer with its sound: the position of each word, and the part of the written text
//! that was spoken.

use std::collections::VecDeque;

use crate::tts::{covered, words};
use crate::turn::AnswerEvent;
use crate::types::{Frame, Ms, TurnId};

/// Question of the user.
pub(super) struct AskedQuestion {
    /// As transcribed.
    pub(super) text: String,
    /// As the language model is given it.
    pub(super) prompt: String,
}

/// Sentence for the synthesizer.
#[derive(Debug, PartialEq)]
pub(super) struct NextSentence {
    pub(super) text: String,
    /// Number of words of the answer before it.
    pub(super) words_before: usize,
}

/// Most sentences that may be at the synthesizer: one that it speaks, and the next.
const MOST_SENT: usize = 2;

/// Answer that is being generated.
pub(super) struct SpokenAnswer {
    pub(super) turn: TurnId,
    /// Question; `None` where the language model is not asked.
    pub(super) question: Option<AskedQuestion>,
    /// Length of its speech.
    pub(super) spoken: Ms,
    /// Language that the answer is spoken in: a two-letter code, or empty.
    pub(super) language: String,
    /// Text as the language model writes it.
    written: String,
    /// Text as it is spoken: sentences, each followed by a space.
    said: String,
    /// Start and end of each word in `said`, in bytes.
    words: Vec<(usize, usize)>,
    /// Number of words that have begun in the sound so far.
    begun: usize,
    /// Sentences that still have to go to the synthesizer.
    waiting: VecDeque<String>,
    /// Number of words and of sentences that went there, and of sentences whose sound has arrived.
    sent_words: usize,
    sent: usize,
    arrived: usize,
    /// Whether all of its text has arrived.
    text_complete: bool,
    /// Whether some of it was heard.
    pub(super) audible: bool,
    /// Number of glitches of the loudspeaker before this answer.
    pub(super) glitches: u64,
}

impl SpokenAnswer {
    pub(super) fn new(
        turn: TurnId,
        question: Option<AskedQuestion>,
        spoken: Ms,
        language: String,
        glitches: u64,
    ) -> Self {
        SpokenAnswer {
            turn,
            question,
            spoken,
            language,
            written: String::new(),
            said: String::new(),
            words: Vec::new(),
            begun: 0,
            waiting: VecDeque::new(),
            sent_words: 0,
            sent: 0,
            arrived: 0,
            text_complete: false,
            audible: false,
            glitches,
        }
    }

    pub(super) fn written(&mut self, piece: &str) {
        self.written.push_str(piece);
    }

    /// Whether no sentence was sent to the synthesizer yet.
    pub(super) fn is_silent(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether all of its sound has arrived and no stage works on it any more.
    pub(super) fn is_made(&self) -> bool {
        self.text_complete && self.waiting.is_empty() && self.sent == self.arrived
    }

    /// Takes note that all of its text has arrived.
    pub(super) fn end_text(&mut self) {
        self.text_complete = true;
    }

    /// Takes note that the sound of a sentence has arrived, all of it.
    pub(super) fn end_sentence(&mut self) {
        self.arrived += 1;
    }

    /// Takes the next sentence for the synthesizer, if that has little left to do.
    pub(super) fn next_sentence(&mut self) -> Option<NextSentence> {
        if self.sent - self.arrived >= MOST_SENT {
            return None;
        }
        let text = self.waiting.pop_front()?;
        let words_before = self.sent_words;
        self.sent += 1;
        self.sent_words += words(&text).len();
        Some(NextSentence { text, words_before })
    }

    /// Returns the whole text, as it is written.
    pub(super) fn text(&self) -> &str {
        &self.written
    }

    /// Adds the next sentence for the synthesizer.
    pub(super) fn sentence(&mut self, sentence: &str) {
        self.waiting.push_back(sentence.to_owned());
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

    /// Converts a piece of sound to events for the machine: first the rest of a word that began
    /// earlier, then one event per word.
    pub(super) fn sound(&mut self, frame: &Frame) -> Vec<AnswerEvent> {
        let first = frame.words.first().map_or(frame.samples.len(), |word| word.at);
        let at = self.begun.checked_sub(1).and_then(|last| self.words.get(last)).map_or(0, |word| word.1);
        self.begun = frame.words.last().map_or(self.begun, |word| word.word + 1);
        let length = |samples| frame.rate.duration(samples);
        let rest = (first > 0).then(|| AnswerEvent::Sound { length: length(first), at, text: String::new() });
        let ends = frame.words.iter().skip(1).map(|word| word.at).chain([frame.samples.len()]);
        let each = frame.words.iter().zip(ends).filter_map(|(word, end)| {
            let (from, to) = *self.words.get(word.word)?;
            Some(AnswerEvent::Sound { length: length(end - word.at), at: from, text: self.said[from..to].to_owned() })
        });
        rest.into_iter().chain(each).collect()
    }

    /// Splits the written text after the part that corresponds to the first `heard` bytes of the
    /// spoken text.
    pub(super) fn parted(&self, heard: usize) -> (&str, &str) {
        let heard = self.heard(heard);
        (heard, self.written.trim_start().get(heard.len()..).unwrap_or_default())
    }

    /// Returns the written text that corresponds to the first `heard` bytes of the spoken text.
    pub(super) fn heard(&self, heard: usize) -> &str {
        let said = self.words.iter().filter(|(_, end)| *end <= heard).map(|(from, to)| &self.said[*from..*to]);
        self.written[..covered(&self.written, said)].trim_start()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{SampleRate, WordMark};

    fn frame(length: usize, words: &[(usize, usize)]) -> Frame {
        let words = words.iter().map(|&(at, word)| WordMark { at, word }).collect();
        Frame { turn: TurnId(1), rate: SampleRate(1000), samples: vec![0.0; length], words }
    }

    fn pieces(answer: &mut SpokenAnswer, frame: &Frame) -> Vec<(f64, usize, String)> {
        let piece = |event| match event {
            AnswerEvent::Sound { length: Ms(length), at, text } => (length, at, text),
            other => panic!("{other:?}"),
        };
        answer.sound(frame).into_iter().map(piece).collect()
    }

    #[test]
    fn sound_says_word_by_word_and_goes_on_with_the_last() {
        let mut answer = SpokenAnswer::new(TurnId(1), None, Ms(0.0), String::new(), 0);
        ["*Hello* ", "there. ", "It rains."].iter().for_each(|piece| answer.written(piece));
        assert!(answer.is_silent());
        answer.sentence("Hello there.");
        let some = |length, at, text: &str| (length, at, text.to_owned());
        assert_eq!(
            pieces(&mut answer, &frame(90, &[(0, 0), (60, 1)])),
            [some(60.0, 0, "Hello"), some(30.0, 6, "there.")]
        );
        assert_eq!(pieces(&mut answer, &frame(50, &[])), [some(50.0, 12, "")]);
        answer.sentence("It rains.");
        assert_eq!(pieces(&mut answer, &frame(40, &[])), [some(40.0, 12, "")]);
        assert_eq!(pieces(&mut answer, &frame(40, &[(10, 2)])), [some(10.0, 12, ""), some(30.0, 13, "It")]);
        for (heard, text) in
            [(0, ""), (5, "*Hello"), (11, "*Hello"), (12, "*Hello* there."), (99, "*Hello* there. It rains.")]
        {
            assert_eq!(answer.heard(heard), text);
        }
    }

    #[test]
    fn two_sentences_at_most_are_at_the_synthesizer_and_the_answer_is_made_with_the_last() {
        let mut answer = SpokenAnswer::new(TurnId(1), None, Ms(0.0), String::new(), 0);
        ["Hello there.", "It rains.", "Bye."].iter().for_each(|sentence| answer.sentence(sentence));
        let next = |text: &str, words_before| Some(NextSentence { text: text.to_owned(), words_before });
        assert_eq!(answer.next_sentence(), next("Hello there.", 0));
        assert_eq!(answer.next_sentence(), next("It rains.", 2));
        assert_eq!(answer.next_sentence(), None);
        answer.end_sentence();
        answer.end_text();
        assert_eq!(answer.next_sentence(), next("Bye.", 4));
        answer.end_sentence();
        assert!(!answer.is_made());
        answer.end_sentence();
        assert!(answer.is_made());
    }
}
