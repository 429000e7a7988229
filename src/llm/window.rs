//! Division of the context between a prompt and its answer.

use super::LlmError;

/// Shortest answer in tokens. If less room is left, the question is refused.
const SHORTEST_ANSWER: usize = 16;

/// A context, and the token limit of an answer in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub context: usize,
    pub max_tokens: usize,
}

impl Window {
    /// Whether old turns must be dropped before a prompt of this length is answered.
    pub fn is_full(self, prompt: usize) -> bool {
        prompt.saturating_add(self.kept_free()) > self.context
    }

    /// Whether further turns should be dropped once any are: down to three quarters of the context,
    /// so that the history is not computed again at every question from then on.
    pub fn is_crowded(self, prompt: usize) -> bool {
        prompt.saturating_add(self.kept_free()) > self.context / 4 * 3
    }

    /// Tokens left for the answer to a prompt from which no turn can be dropped.
    pub fn room(self, prompt: usize) -> Result<usize, LlmError> {
        let (context, answer) = (self.context, self.shortest());
        match prompt.saturating_add(answer) <= context {
            true => Ok(self.max_tokens.min(context - prompt)),
            false => Err(LlmError::TooLong { prompt, answer, context }),
        }
    }

    /// Tokens reserved for the answer while there are turns to drop: a quarter of the context at
    /// most, because an answer without a length limit must not remove the whole history.
    fn kept_free(self) -> usize {
        self.max_tokens.min(self.context / 4).max(self.shortest())
    }

    fn shortest(self) -> usize {
        SHORTEST_ANSWER.min(self.max_tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_as_long_as_the_context_leaves_half_of_it_to_the_history() {
        for (context, max_tokens, full, crowded) in [
            (1000, 100, 900, 650),
            (1000, 250, 750, 500),
            (1000, 1000, 750, 500),
            (1000, usize::MAX, 750, 500),
            (1000, 1, 999, 749),
            // Small contexts reserve the shortest answer.
            (40, 40, 24, 14),
        ] {
            let window = Window { context, max_tokens };
            assert!(!window.is_full(full) && window.is_full(full + 1), "{window:?}");
            assert!(!window.is_crowded(crowded) && window.is_crowded(crowded + 1), "{window:?}");
            assert!(window.room(full).is_ok(), "what is not full is answered: {window:?}");
        }
    }

    #[test]
    fn the_answer_gets_what_is_left_or_is_refused() {
        let window = Window { context: 128, max_tokens: 100 };
        assert_eq!((window.room(20).unwrap(), window.room(100).unwrap(), window.room(112).unwrap()), (100, 28, 16));
        for prompt in [113, 5000, usize::MAX] {
            let refused = window.room(prompt).unwrap_err();
            assert!(matches!(refused, LlmError::TooLong { answer: 16, context: 128, .. }), "{refused}");
        }
        assert_eq!(Window { context: 128, max_tokens: 3 }.room(125).unwrap(), 3);
    }
}
