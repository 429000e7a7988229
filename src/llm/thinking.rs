//! Separation of the model's thoughts from its answer.
//!
//! A pure splitter over tokens: each token goes in with its bytes and comes out as a piece of a
//! thought or of the answer. Only the marker tokens count, so an answer may contain the text
//! `</think>`. A thought that grows too long is ended from outside ([`Splitter::must_close`]): the
//! model cards of 0.8B and 2B warn of endless thoughts.

use super::template::{Qwen35, Thinking};
use super::tokenizer::Detokenizer;

/// A piece of the output, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Thought(String),
    GeneratedAnswer(String),
}

/// Ids of the tokens that begin and end thoughts.
#[derive(Clone, Copy, Debug)]
struct Marks {
    think: u32,
    end_think: u32,
    tool_call: Option<u32>,
}

pub struct Splitter {
    marks: Marks,
    thinks: bool,
    /// Whether nothing of the present thought or answer has been returned yet. Newlines before it
    /// belong to the format.
    fresh: bool,
    /// Tokens of thoughts so far, and their limit.
    thought: usize,
    most: usize,
    detokenizer: Detokenizer,
    /// Newlines at the end of a thought, returned only if it continues.
    held: String,
}

impl Splitter {
    /// Creates a splitter for an answer after a prompt with `thinking`. All thoughts together may
    /// have `max_thinking_tokens`.
    pub fn new(format: &Qwen35, thinking: Thinking, max_thinking_tokens: usize) -> Self {
        let marks = Marks { think: format.think(), end_think: format.end_think(), tool_call: format.tool_call() };
        Splitter {
            marks,
            thinks: thinking == Thinking::On,
            fresh: true,
            thought: 0,
            most: max_thinking_tokens,
            detokenizer: Detokenizer::default(),
            held: String::new(),
        }
    }

    /// Takes the next token, sampled or forced, with its bytes.
    pub fn push(&mut self, token: u32, bytes: &[u8]) -> Option<Piece> {
        let Marks { think, end_think, tool_call } = self.marks;
        if token == think || token == end_think {
            // A marker that changes nothing is an error of a small model; it is not text in any
            // case.
            return self.turn_to(token == think);
        }
        if self.thinks && Some(token) == tool_call {
            // Some models do not end the thought before a tool call.
            self.turn_to(false);
        }
        self.thought += usize::from(self.thinks);
        self.write(|detokenizer, text| detokenizer.push(bytes, text))
    }

    /// Ends the output and returns held-back text of the answer.
    pub fn finish(&mut self) -> Option<Piece> {
        self.write(|detokenizer, text| detokenizer.finish(text))
    }

    /// Whether the model is thinking. If it stops here, it has not answered.
    pub fn is_thinking(&self) -> bool {
        self.thinks
    }

    /// Whether the thought has used up its tokens. The caller then computes [`Splitter::closing`]
    /// instead of sampling, passes each of those tokens to [`push`](Splitter::push), and continues
    /// sampling.
    pub fn must_close(&self) -> bool {
        self.thinks && self.thought >= self.most
    }

    /// The tokens that end the present thought: `\n</think>\n\n`.
    pub fn closing(&self, format: &Qwen35) -> Vec<u32> {
        format.close_thought(!self.held.is_empty()).collect()
    }

    fn turn_to(&mut self, thinks: bool) -> Option<Piece> {
        if self.thinks == thinks {
            return None;
        }
        let rest = self.finish();
        (self.thinks, self.fresh) = (thinks, true);
        self.held.clear();
        // Half a character at the end of a thought is dropped.
        rest.filter(|piece| matches!(piece, Piece::GeneratedAnswer(_)))
    }

    fn write(&mut self, detokenize: impl FnOnce(&mut Detokenizer, &mut String)) -> Option<Piece> {
        let mut text = std::mem::take(&mut self.held);
        detokenize(&mut self.detokenizer, &mut text);
        if self.fresh {
            text.drain(..text.len() - text.trim_start_matches('\n').len());
        }
        if self.thinks {
            self.held = text.split_off(text.trim_end_matches('\n').len());
        }
        if text.is_empty() {
            return None;
        }
        self.fresh = false;
        Some(if self.thinks { Piece::Thought(text) } else { Piece::GeneratedAnswer(text) })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::tokenizer::{Tokenizer, testing};
    use super::*;

    /// Tokenizes `text`, including its markers.
    fn tokens(tokenizer: &Tokenizer, mut text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        while !text.is_empty() {
            let marker = testing::ADDED.iter().find(|name| text.starts_with(**name));
            let next = marker.map_or_else(|| text.chars().next().unwrap().len_utf8(), |name| name.len());
            match marker {
                Some(name) => tokens.push(tokenizer.control(name).unwrap()),
                None => tokens.extend(tokenizer.encode(&text[..next]).unwrap()),
            }
            text = &text[next..];
        }
        tokens
    }

    /// Splits `output` token by token into thought and answer; closes a thought that is too long,
    /// as a caller would.
    fn split(output: &str, thinking: Thinking, most: usize) -> (String, String) {
        let tokenizer = testing::qwen35();
        let format = Qwen35::new(Path::new("m"), &tokenizer).unwrap();
        let mut splitter = Splitter::new(&format, thinking, most);
        let (mut thought, mut answer) = (String::new(), String::new());
        let mut take = |piece: Option<Piece>| match piece {
            Some(Piece::Thought(text)) => thought += &text,
            Some(Piece::GeneratedAnswer(text)) => answer += &text,
            None => {}
        };
        for token in tokens(&tokenizer, output) {
            if splitter.must_close() {
                for token in splitter.closing(&format) {
                    take(splitter.push(token, tokenizer.bytes(token)));
                }
                assert!(!splitter.is_thinking());
            }
            take(splitter.push(token, tokenizer.bytes(token)));
        }
        take(splitter.finish());
        (thought, answer)
    }

    #[test]
    fn thoughts_and_answers_are_told_apart() {
        use Thinking::{Off, On};
        let cases = [
            (On, "Hm.\n</think>\n\nYes.\n", "Hm.", "Yes.\n"),
            (On, "\nHm,\n\nso.\n\n</think>Yes.", "Hm,\n\nso.", "Yes."),
            (On, "</think>\n\nYes.", "", "Yes."),
            (On, "<think>\nHm.</think>Yes.", "Hm.", "Yes."),
            (On, "I call.\n<tool_call>\nx</tool_call>", "I call.", "<tool_call>\nx</tool_call>"),
            (On, "Never done", "Never done", ""),
            (On, "日本🙂</think>é🙂", "日本🙂", "é🙂"),
            (Off, "Yes.", "", "Yes."),
            (Off, "</think>\n\n\nYes.\n\nNo.", "", "Yes.\n\nNo."),
            (Off, "\n</think>\n\nYes.", "", "Yes."),
            (Off, "Yes.</think> No.", "", "Yes. No."),
            (Off, "Yes.<think>Hm.\n</think>\nNo.", "Hm.", "Yes.No."),
            (Off, "", "", ""),
        ];
        for (thinking, output, thought, answer) in cases {
            assert_eq!(split(output, thinking, 1000), (thought.to_owned(), answer.to_owned()), "{output:?}");
        }
    }

    #[test]
    fn a_spelled_marker_is_text() {
        let tokenizer = testing::qwen35();
        let format = Qwen35::new(Path::new("m"), &tokenizer).unwrap();
        let mut splitter = Splitter::new(&format, Thinking::On, 100);
        let spelled = tokenizer.encode("</think>").unwrap();
        let said: Vec<_> = spelled.iter().filter_map(|&token| splitter.push(token, tokenizer.bytes(token))).collect();
        assert_eq!(said.len(), 8);
        assert!(splitter.is_thinking() && splitter.thought == 8);
    }

    #[test]
    fn a_long_thought_is_closed_and_the_answer_follows() {
        let cases = [
            (3, "abcdef", "abc", "def"),
            (0, "abc", "", "abc"),
            (100, "abc", "abc", ""),
            (3, "ab\ncd", "ab", "cd"),
            (2, "abcd</think>\nef", "ab", "cd\nef"),
            (2, "ab</think>x<think>cd", "ab", "xcd"),
        ];
        for (most, output, thought, answer) in cases {
            assert_eq!(
                split(output, Thinking::On, most),
                (thought.to_owned(), answer.to_owned()),
                "{most}: {output:?}"
            );
        }
    }

    #[test]
    fn the_closing_has_one_newline_before_it() {
        let tokenizer = testing::qwen35();
        let format = Qwen35::new(Path::new("m"), &tokenizer).unwrap();
        for (thought, wanted) in [("", "\n</think>\n\n"), ("Hm", "\n</think>\n\n"), ("Hm\n", "</think>\n\n")] {
            let mut splitter = Splitter::new(&format, Thinking::On, 1);
            for token in tokenizer.encode(thought).unwrap() {
                splitter.push(token, tokenizer.bytes(token));
            }
            let closing: Vec<u8> =
                splitter.closing(&format).iter().flat_map(|&t| tokenizer.bytes(t)).copied().collect();
            assert_eq!(String::from_utf8(closing).unwrap(), wanted, "{thought:?}");
        }
    }

    proptest::proptest! {
        /// Nothing is lost except markers, and newlines at the edges.
        #[test]
        fn nothing_else_is_lost(output in "([ab\n é🙂]|<think>|</think>|<tool_call>){0,20}", on: bool) {
            let thinking = if on { Thinking::On } else { Thinking::Off };
            let (thought, answer) = split(&output, thinking, 1000);
            let kept = |text: &str| text.replace("<think>", "").replace("</think>", "").replace('\n', "").chars().count();
            proptest::prop_assert_eq!(kept(&thought) + kept(&answer), kept(&output));
            proptest::prop_assert!(!thought.ends_with('\n') && !thought.contains("<tool_call>"));
        }
    }
}
