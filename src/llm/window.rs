//! How a prompt and its answer share the context.

use super::LlmError;

/// Fewest tokens worth answering with. Where less room is left a question is refused.
const SHORTEST_ANSWER: usize = 16;

/// A context, and the most tokens that an answer in it may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub context: usize,
    pub max_tokens: usize,
}

impl Window {
    /// Whether old turns have to go before a prompt of so many tokens is answered.
    pub fn is_full(self, prompt: usize) -> bool {
        prompt.saturating_add(self.kept_free()) > self.context
    }

    /// Whether more of them should go once any do: down to three quarters of the context, so that
    /// the history is not computed anew at every question from then on.
    pub fn is_crowded(self, prompt: usize) -> bool {
        prompt.saturating_add(self.kept_free()) > self.context / 4 * 3
    }

    /// Tokens left for the answer to a prompt that no turn can leave any more.
    pub fn room(self, prompt: usize) -> Result<usize, LlmError> {
        let (context, answer) = (self.context, self.shortest());
        match prompt.saturating_add(answer) <= context {
            true => Ok(self.max_tokens.min(context - prompt)),
            false => Err(LlmError::TooLong { prompt, answer, context }),
        }
    }

    /// What an answer is sure to get while there are turns to leave out. A quarter of the context
    /// at most: an answer that is allowed to be as long as it likes must not cost all that was said
    /// before.
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
            // Small contexts keep free what is worth answering with.
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
