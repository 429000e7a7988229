//! Probability of a sentence end, from the logits of the language model.
//!
//! A user's speech has no end marks, and a transcriber writes one after every pause. The language
//! model gives the probability of an end mark after the last word. Measured with Qwen2.5-Coder-0.5B
//! and the default system prompt, on 24 written questions and commands, complete and cut in the
//! middle: after complete ones the median is 0.63, and 22 of 24 have at least 0.17 (0.016 after "I
//! would like to book a table for two"). After cut ones the median is 0.0003, and 22 of 24 have at
//! most 0.004 (0.13 after "What time is it", which is a question by itself). In each pair the
//! complete one had at least 7 times as much. The probability separates most complete sentences
//! from most incomplete ones, but is no proof for a single sentence (`tests/llm.rs`).

use super::tokenizer::Tokenizer;
use crate::marks::is_end_mark;

/// The tokens that end a sentence.
pub(super) struct Ends(Vec<u32>);

impl Ends {
    pub fn of(tokenizer: &Tokenizer) -> Ends {
        let tokens = 0..tokenizer.vocabulary() as u32;
        Ends(tokens.filter(|&token| std::str::from_utf8(tokenizer.bytes(token)).is_ok_and(is_end_mark)).collect())
    }

    /// Returns the index of the last token that belongs to a word, before the end marks and the
    /// tokens that end the message.
    pub fn last_word(&self, tokenizer: &Tokenizer, message: &[u32]) -> Option<usize> {
        let start = message.iter().position(|&token| tokenizer.is_control(token))?;
        let end = start + 1 + message[start + 1..].iter().position(|&token| tokenizer.is_control(token))?;
        let says = |token: u32| std::str::from_utf8(tokenizer.bytes(token)).map_or(true, |text| text.contains(speaks));
        let word = message[start + 1..end].iter().rposition(|&token| says(token))?;
        Some(start + 1 + word)
    }

    /// Sum of the probabilities of the tokens that end a sentence.
    pub fn probability(&self, logits: &[f32]) -> f32 {
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |logit: f32| f64::from((logit - highest).exp());
        let all: f64 = logits.iter().map(|&logit| weight(logit)).sum();
        let ends: f64 = self.0.iter().filter_map(|&token| logits.get(token as usize)).map(|&logit| weight(logit)).sum();
        if all > 0.0 { (ends / all) as f32 } else { 0.0 }
    }
}

fn speaks(c: char) -> bool {
    c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_that_of_the_softmax() {
        let ends = Ends(vec![1, 3, 99]);
        let logits = [0.0, 2.0f32.ln(), f32::NEG_INFINITY, 0.0];
        assert!((ends.probability(&logits) - 0.75).abs() < 1e-6);
        assert_eq!(ends.probability(&[]), 0.0);
        assert_eq!(ends.probability(&[f32::NEG_INFINITY; 4]), 0.0);
    }
}
