//! Text of an answer with its sound: the position of each word, and the part of the written text
//! that was spoken.

use crate::tts::{covered, words};
use crate::turn::AnswerEvent;
use crate::types::{Frame, TurnId};

/// Answer that is being generated.
pub(super) struct SpokenAnswer {
    pub(super) turn: TurnId,
    /// Question; `None` where the answer only asks the user to repeat it.
    pub(super) question: Option<String>,
    /// Text as the language model writes it.
    written: String,
    /// Text as it is spoken: sentences, each followed by a space.
    said: String,
    /// Start and end of each word in `said`, in bytes.
    words: Vec<(usize, usize)>,
    /// Number of words that have begun in the sound so far.
    begun: usize,
    /// Whether all of its sound has arrived and no stage works on it any more.
    pub(super) made: bool,
    /// Whether some of it was heard.
    pub(super) audible: bool,
    /// Number of glitches of the loudspeaker before this answer.
    pub(super) glitches: u64,
}

impl SpokenAnswer {
    pub(super) fn new(turn: TurnId, question: Option<String>, glitches: u64) -> Self {
        let (written, said) = (String::new(), String::new());
        SpokenAnswer {
            turn,
            question,
            written,
            said,
            words: Vec::new(),
            begun: 0,
            made: false,
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

    /// Adds the next sentence for the synthesizer.
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
    use crate::types::{Ms, SampleRate, WordMark};

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
        let mut answer = SpokenAnswer::new(TurnId(1), None, 0);
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
}
