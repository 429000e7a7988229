//! Whether a sentence ends here, as the language model sees it.
//!
//! What a person says has no end mark, and what a transcriber writes has one after every pause. But
//! the language model knows how likely one is behind the last word. Measured with
//! Qwen2.5-Coder-0.5B and the system prompt as it is, on 24 written questions and orders, whole and
//! cut in the middle: behind whole ones 0.63 in the median and at least 0.17 in 22 of 24 (0.016
//! behind "I would like to book a table for two"), behind cut ones 0.0003 in the median and at most
//! 0.004 in 22 of 24 (0.13 behind "What time is it", which is a question by itself). Of each pair
//! the whole one had at least 7 times as much. So it tells most sentences that go on from most that
//! are over, and proves nothing of one (`tests/llm.rs`).

use super::tokenizer::Tokenizer;
use crate::marks::is_end_mark;

/// The tokens that end a sentence.
pub(super) struct Ends(Vec<u32>);

impl Ends {
    pub fn of(tokenizer: &Tokenizer) -> Ends {
        let tokens = 0..tokenizer.vocabulary() as u32;
        Ends(tokens.filter(|&token| std::str::from_utf8(tokenizer.bytes(token)).is_ok_and(is_end_mark)).collect())
    }

    /// Where in a message the last token of words stands: before its end marks, and what ends the
    /// message.
    pub fn last_word(&self, tokenizer: &Tokenizer, message: &[u32]) -> Option<usize> {
        let start = message.iter().position(|&token| tokenizer.is_control(token))?;
        let end = start + 1 + message[start + 1..].iter().position(|&token| tokenizer.is_control(token))?;
        let says = |token: u32| std::str::from_utf8(tokenizer.bytes(token)).map_or(true, |text| text.contains(speaks));
        let word = message[start + 1..end].iter().rposition(|&token| says(token))?;
        Some(start + 1 + word)
    }

    /// Their share of all that may follow.
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
