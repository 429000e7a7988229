//! The tokens of one pass over a window, and what they say.

use super::guard::{self, Patience};
use super::judge::{self, Reading};
use crate::types::SampleRate;

/// Tokens that a sound may become: a margin, and what the quickest speaker of a language in small tokens needs.
const TOKENS_AT_LEAST: usize = 24;
const TOKENS_PER_SECOND: usize = 16;

/// The tokens of one pass over a window.
#[derive(Default)]
pub struct Attempt {
    pub tokens: Vec<Token>,
    /// The guard or the token limit ended it.
    pub circled: bool,
}

pub struct Token {
    pub id: i32,
    pub logprob: f32,
    /// Empty for tokens that are no text. A character may be spread over several.
    pub bytes: Vec<u8>,
}

/// The most tokens that so many samples may become.
pub fn token_limit(samples: usize) -> usize {
    TOKENS_AT_LEAST + samples * TOKENS_PER_SECOND / SampleRate::HEARING.0 as usize
}

/// The probability of one logit among all.
pub fn share(logits: impl Iterator<Item = f32> + Clone, one: Option<f32>) -> f32 {
    let Some(one) = one else { return 0.0 };
    let highest = logits.clone().fold(f32::NEG_INFINITY, f32::max);
    (one - highest).exp() / logits.map(|logit| (logit - highest).exp()).sum::<f32>()
}

impl Attempt {
    /// Leaves a circle that was stopped going round once. A text without an end ran into the limit.
    pub fn tidied(mut self, end_of_text: i32, patience: Patience) -> Self {
        let end = self.tokens.iter().position(|token| token.id >= end_of_text);
        let ids: Vec<_> = self.tokens[..end.unwrap_or(self.tokens.len())].iter().map(|token| token.id).collect();
        let kept = guard::without_circle(&ids, patience);
        self.circled = kept < ids.len() || (end.is_none() && !ids.is_empty());
        self.tokens.drain(kept..ids.len());
        self
    }

    pub fn reading(&self) -> Reading {
        let text: Vec<u8> = self.tokens.iter().flat_map(|token| token.bytes.iter().copied()).collect();
        let sum: f32 = self.tokens.iter().map(|token| token.logprob).sum();
        Reading {
            text: judge::words(&String::from_utf8_lossy(&text)),
            logprob: sum / self.tokens.len().max(1) as f32,
            no_speech: 0.0,
            circled: self.circled,
        }
    }
}
