//! Record of the words of an answer that have been heard.
//!
//! Each piece of sound speaks a piece of text. Within a piece all letters are assumed to last
//! equally long, and a word counts as heard once its last letter has left the loudspeaker.

use unicode_segmentation::UnicodeSegmentation;

use crate::types::Ms;

/// Most pieces of sound in one answer: an hour and a half at 3 pieces a second.
const MOST_PIECES: usize = 16_384;
/// Most bytes of text in one answer: 8192 tokens, the longest possible answer, at 32 bytes each.
const MOST_TEXT: usize = 256 * 1024;
/// Rounding error of conversions between sample counts and milliseconds, in milliseconds.
const ROUNDING: f64 = 1.0;

/// Error when the record has no room for another piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Clone, Debug, Default)]
pub(super) struct HeardText {
    pieces: Vec<Piece>,
    /// Length of all sound, in milliseconds.
    length: f64,
    /// Playback position since playback was last resumed, in milliseconds.
    position: f64,
    /// Furthest playback position so far, in milliseconds.
    furthest: f64,
    text_bytes: usize,
}

#[derive(Clone, Debug)]
struct Piece {
    start: f64,
    length: f64,
    at: usize,
    text: String,
}

impl Piece {
    fn end(&self) -> f64 {
        self.start + self.length
    }

    fn text_end(&self) -> usize {
        self.at.saturating_add(self.text.len())
    }

    /// Number of bytes of the text that are spoken before `position` of the answer's sound.
    fn said(&self, position: f64) -> usize {
        let letters = self.text.chars().count();
        let part = if self.length > 0.0 { ((position - self.start) / self.length).clamp(0.0, 1.0) } else { 1.0 };
        let said = (part * letters as f64) as usize;
        self.text.char_indices().nth(said).map_or(self.text.len(), |(at, _)| at)
    }

    /// Position in the answer's sound, in milliseconds, at which byte `at` of the text is spoken.
    fn position(&self, at: usize) -> f64 {
        let letters = self.text.chars().count().max(1);
        self.start + self.length * self.text[..at].chars().count() as f64 / letters as f64
    }
}

impl HeardText {
    /// Adds the next piece. A length that is not finite or is negative counts as 0. A text whose
    /// position overlaps the text so far is placed after it.
    pub(super) fn push(&mut self, length: Ms, at: usize, text: String) -> Result<(), Full> {
        self.text_bytes = self.text_bytes.saturating_add(text.len());
        if self.pieces.len() >= MOST_PIECES || self.text_bytes > MOST_TEXT {
            return Err(Full);
        }
        let length = if length.0.is_finite() { length.0.max(0.0) } else { 0.0 };
        self.pieces.push(Piece { start: self.length, length, at: at.max(self.text_end()), text });
        self.length += length;
        Ok(())
    }

    pub(super) fn played(&mut self, position: Ms) {
        if position.0.is_finite() {
            self.position = position.0.clamp(0.0, self.length);
            self.furthest = self.furthest.max(self.position);
        }
    }

    pub(super) fn played_all(&mut self) {
        self.played(Ms(self.length));
    }

    /// Whether any sound has left the loudspeaker.
    pub(super) fn is_audible(&self) -> bool {
        self.furthest > 0.0
    }

    pub(super) fn is_played_out(&self) -> bool {
        self.position + ROUNDING >= self.length
    }

    /// End of the text, one past its last byte.
    pub(super) fn text_end(&self) -> usize {
        self.pieces.last().map_or(0, Piece::text_end)
    }

    /// Number of bytes of the text that were heard, in whole words.
    pub(super) fn heard(&self) -> usize {
        if !self.is_audible() {
            return 0;
        }
        let whole = self.pieces.partition_point(|piece| piece.end() <= self.furthest);
        let before = whole.checked_sub(1).map_or(0, |last| self.pieces[last].text_end());
        let Some(piece) = self.pieces.get(whole) else { return before };
        let said = piece.said(self.furthest);
        let words = piece.text.unicode_word_indices().map(|(at, word)| at + word.len());
        words.take_while(|end| *end <= said).last().map_or(before, |end| piece.at.saturating_add(end))
    }

    /// Start, in the sound, of the word at the playback position.
    pub(super) fn word_start(&self) -> Ms {
        let whole = self.pieces.partition_point(|piece| piece.end() <= self.position);
        let Some(piece) = self.pieces.get(whole) else { return Ms(self.position) };
        let said = piece.said(self.position);
        let words = piece.text.unicode_word_indices().map(|(at, _)| at);
        let word = words.take_while(|start| *start <= said).last().unwrap_or(0);
        Ms(piece.position(word).min(self.position))
    }

    /// Text of the last `window` of played sound, in whole pieces.
    pub(super) fn spoken_within(&self, window: Ms) -> String {
        let from = self.furthest - window.0;
        let spoken = self.pieces.iter().filter(|piece| piece.end() > from && piece.start < self.furthest);
        spoken.map(|piece| piece.text.as_str()).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> HeardText {
        let mut ledger = HeardText::default();
        // 50 ms per letter.
        ledger.push(Ms(600.0), 0, "Hello there.".to_owned()).unwrap();
        ledger.push(Ms(500.0), 13, "It rains. ".to_owned()).unwrap();
        ledger
    }

    #[test]
    fn a_word_is_heard_once_it_has_left_the_speaker() {
        for (played, heard, resumes_at) in [
            (0.0, 0, 0.0),
            (1.0, 0, 0.0),
            (249.0, 0, 0.0),
            (250.0, 5, 0.0),
            (320.0, 5, 300.0),
            (549.0, 5, 300.0),
            (550.0, 11, 300.0),
            (600.0, 12, 600.0),
            (720.0, 15, 600.0),
            (760.0, 15, 750.0),
            (1100.0, 23, 1100.0),
            (9e9, 23, 1100.0),
        ] {
            let mut ledger = ledger();
            ledger.played(Ms(played));
            assert_eq!((ledger.heard(), ledger.word_start()), (heard, Ms(resumes_at)), "at {played}");
        }
    }

    #[test]
    fn going_back_to_a_word_unhears_nothing() {
        let mut ledger = ledger();
        ledger.played(Ms(620.0));
        ledger.played(Ms(300.0));
        assert_eq!((ledger.heard(), ledger.word_start()), (12, Ms(300.0)));
    }

    #[test]
    fn nonsense_is_survived() {
        let mut ledger = HeardText::default();
        for (length, at) in [(f64::NAN, 7), (-5.0, usize::MAX), (f64::INFINITY, 0), (10.0, 3)] {
            ledger.push(Ms(length), at, "ไทย日本 ü".to_owned()).unwrap();
        }
        for position in [f64::NAN, -1.0, 5.0, f64::INFINITY, 1e300] {
            ledger.played(Ms(position));
            assert!(ledger.heard() <= ledger.text_end() && ledger.word_start().0 <= 10.0);
        }
        assert_eq!(ledger.push(Ms(1.0), 0, "x".repeat(MOST_TEXT)), Err(Full));
    }

    #[test]
    fn only_what_was_said_lately_can_echo() {
        let mut ledger = ledger();
        assert_eq!(ledger.spoken_within(Ms(1e4)), "");
        ledger.played(Ms(700.0));
        assert_eq!(ledger.spoken_within(Ms(1e4)), "Hello there. It rains. ");
        assert_eq!(ledger.spoken_within(Ms(50.0)), "It rains. ");
    }
}
