//! Tokens of one pass over a window, and their text.

use std::ops::Range;

use super::guard::{self, RetryLimit};
use super::verdict::{self, Decoded, Timed};
use crate::marks::is_end_mark;
use crate::types::{Ms, SampleRate};

/// Least limit of tokens for a sound: a margin, and what the fastest talker of a language with
/// short tokens needs.
const TOKENS_AT_LEAST: usize = 24;
const TOKENS_PER_SECOND: usize = 16;
/// Largest limit of tokens: half of the decoder's 448 positions, which Whisper was trained to fill
/// with the text of one window.
const TOKENS_AT_MOST: usize = 224;

/// Probability of the end of text from which a text ends where it would begin again from its first
/// word. Whisper base gives the end 0.37 to 0.45 before it starts to repeat itself, and less than
/// 0.1 between two sentences that were spoken (26 of 26). A repetition is detected after three
/// rounds, which costs half a second.
pub const MAY_HAVE_ENDED: f32 = 0.1;

/// Whether the text would begin again from its start with `next`.
pub fn begins_again(written: &[DecodedToken], next: &DecodedToken) -> bool {
    let ended = |token: &DecodedToken| str::from_utf8(&token.bytes).is_ok_and(is_end_mark);
    written.first().is_some_and(|first| first.id == next.id) && written.last().is_some_and(ended)
}

/// The tokens of one pass over a window.
#[derive(Default)]
pub struct Attempt {
    /// Tokens of the text and its end, without timestamps.
    pub tokens: Vec<DecodedToken>,
    /// Times and token ranges of the segments in `tokens`, in order. Empty where no timestamps were
    /// written.
    pub spans: Vec<Span>,
    /// Whether the repetition guard or the token limit ended it.
    pub circled: bool,
}

/// Segment between two timestamps.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub start: Ms,
    pub end: Ms,
    pub tokens: Range<usize>,
}

pub struct DecodedToken {
    pub id: i32,
    pub logprob: f32,
    /// Bytes of the token; empty for one that is not text. A character may be spread over several
    /// tokens.
    pub bytes: Vec<u8>,
}

impl DecodedToken {
    /// Whether the token is a word or a part of one, or part of a letter.
    fn speaks(&self) -> bool {
        str::from_utf8(&self.bytes).map_or(true, |text| text.contains(char::is_alphanumeric))
    }
}

/// Largest number of tokens for so many samples.
pub fn token_limit(samples: usize) -> usize {
    (TOKENS_AT_LEAST + samples * TOKENS_PER_SECOND / SampleRate::HEARING.0 as usize).min(TOKENS_AT_MOST)
}

impl Attempt {
    /// Leaves one round of a repetition that was stopped. `ran_out` tells that the token limit
    /// ended the text.
    pub fn tidied(mut self, end_of_text: i32, patience: RetryLimit, ran_out: bool) -> Self {
        let end = self.tokens.iter().position(|token| token.id >= end_of_text);
        let ids: Vec<_> = self.tokens[..end.unwrap_or(self.tokens.len())].iter().map(|token| token.id).collect();
        let kept = guard::without_circle(&ids, patience);
        self.circled = kept < ids.len() || ran_out;
        self.tokens.drain(kept..ids.len());
        self
    }

    /// Probability that the last word ends a sentence: the probability of the next token if that is
    /// an end mark or the end of the text, otherwise one minus it.
    fn ending(&self) -> Option<f32> {
        let word = self.tokens.iter().rposition(DecodedToken::speaks)?;
        let next = self.tokens.get(word + 1)?;
        let ends = next.bytes.is_empty() || str::from_utf8(&next.bytes).is_ok_and(is_end_mark);
        let probability = next.logprob.exp();
        Some(if ends { probability } else { 1.0 - probability })
    }

    pub fn decoded(&self) -> Decoded {
        Decoded {
            text: text(&self.tokens),
            logprob: logprob(&self.tokens),
            no_speech: 0.0,
            ending: self.ending(),
            circled: self.circled,
            segments: self.spans.iter().filter_map(|span| self.segment(span)).collect(),
            other_language: None,
        }
    }

    /// Segment of a span, if it has words after the repetition was removed.
    fn segment(&self, span: &Span) -> Option<Timed> {
        let tokens = self.tokens.get(span.tokens.start..span.tokens.end.min(self.tokens.len()))?;
        let text = text(tokens);
        let Span { start, end, .. } = *span;
        (!text.is_empty()).then(|| Timed { start, end, text, logprob: logprob(tokens) })
    }
}

fn text(tokens: &[DecodedToken]) -> String {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.bytes.iter().copied()).collect();
    verdict::words(&String::from_utf8_lossy(&bytes))
}

fn logprob(tokens: &[DecodedToken]) -> f32 {
    tokens.iter().map(|token| token.logprob).sum::<f32>() / tokens.len().max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes an attempt: tokens below 9 are text, 9 ends it.
    fn attempt(ids: &[i32]) -> Attempt {
        let token = |&id: &i32| DecodedToken { id, logprob: -0.5, bytes: format!(" {id}").into_bytes() };
        let tokens = ids.iter().map(token).collect();
        Attempt { tokens, ..Attempt::default() }.tidied(9, RetryLimit::Short, !ids.is_empty() && !ids.contains(&9))
    }

    #[test]
    fn a_circle_is_told_once_and_a_text_without_an_end_has_run_into_the_limit() {
        for (ids, circled, left) in [
            (&[][..], false, 0),
            (&[9], false, 1),
            (&[1, 2, 3, 9], false, 4),
            (&[1, 2, 3], true, 3),
            (&[5, 1, 1, 1, 1, 1, 1, 9], true, 3),
        ] {
            let attempt = attempt(ids);
            assert_eq!((attempt.circled, attempt.tokens.len()), (circled, left), "{ids:?}");
        }
    }

    #[test]
    fn a_text_begins_again_with_its_first_word_behind_an_end_mark() {
        let token = |(id, text): (i32, &str)| DecodedToken { id, logprob: -0.5, bytes: text.as_bytes().to_vec() };
        let [no, thanks, mark, comma] = [(1, " No"), (2, " thanks"), (3, "."), (4, ",")];
        for (written, next, again) in [
            (&[no, thanks, mark][..], no, true),
            (&[no, thanks, mark], thanks, false),
            (&[no, thanks, comma], no, false),
            (&[no], no, false),
            (&[], no, false),
        ] {
            let tokens: Vec<_> = written.iter().copied().map(token).collect();
            assert_eq!(begins_again(&tokens, &token(next)), again, "{written:?}, {next:?}");
        }
    }

    #[test]
    fn a_reading_is_the_text_and_the_mean_of_all_tokens() {
        let decoded = attempt(&[1, 2]).decoded();
        assert_eq!((decoded.text.as_str(), decoded.logprob), ("1 2", -0.5));
        assert_eq!(Attempt::default().decoded().logprob, 0.0);
    }

    #[test]
    fn what_stands_behind_the_last_word_says_whether_a_sentence_ends() {
        for (tokens, ending) in [
            (&[(" Hello", 0.9), (" you", 0.8), ("?", 0.7), ("", 0.9)][..], Some(0.7)),
            (&[(" Hello", 0.9), (".\"", 0.6), ("", 0.9)], Some(0.6)),
            (&[(" Hello", 0.9), ("", 0.4)], Some(0.4)),
            (&[(" Hello", 0.9), (",", 0.7), ("", 0.9)], Some(0.3)),
            (&[(" Hello", 0.9), ("...", 0.6), ("", 0.9)], Some(0.4)),
            (&[(" Hello", 0.9)], None),
            (&[("", 0.9)], None),
            (&[], None),
        ] {
            let token = |&(text, probability): &(&str, f32)| DecodedToken {
                id: 0,
                logprob: probability.ln(),
                bytes: text.as_bytes().to_vec(),
            };
            let attempt = Attempt { tokens: tokens.iter().map(token).collect(), ..Attempt::default() };
            match (attempt.decoded().ending, ending) {
                (Some(ending), Some(expected)) => assert!((ending - expected).abs() < 1e-6, "{tokens:?}: {ending}"),
                (ending, expected) => assert_eq!(ending, expected, "{tokens:?}"),
            }
        }
    }

    #[test]
    fn spans_become_segments_as_far_as_their_tokens_are_left() {
        let mut attempt = attempt(&[1, 2, 3, 3, 3, 3, 3, 3, 9]);
        let span = |start: f64, tokens| Span { start: Ms(start), end: Ms(start + 1.0), tokens };
        attempt.spans = vec![span(0.0, 0..2), span(1.0, 2..8), span(2.0, 8..9)];
        let texts: Vec<_> = attempt.decoded().segments.into_iter().map(|segment| segment.text).collect();
        assert_eq!(texts, ["1 2", "3 9"]);
    }

    #[test]
    fn the_token_limit_grows_with_the_sound() {
        assert_eq!((token_limit(0), token_limit(16_000), token_limit(28 * 16_000)), (24, 40, 224));
    }
}
