//! The block that drafts further tokens (multi-token prediction, as Qwen 3.5 and DeepSeek-V3 have
//! it).
//!
//! From the hidden values h behind a position, normed as for the head, and from the token x that
//! comes next: e = W · (norm(embedding(x)) ‖ norm(h)), then one layer of attention with keys and
//! values of its own, then y = norm(e). The head makes of y the logits of the token after x; with y
//! in the place of h, and that token in the place of x, it goes on.

#[cfg(test)]
mod tests;

use sotto_kernels::{matmul, rms_norm};

use super::Model;
use crate::llm::LlmError;
use crate::llm::state::{LayerState, Workspace};
use crate::llm::tensors::Tensors;
use crate::llm::weights::Draft;

/// Drafted are only tokens below this id: tokens of byte pair encodings are numbered in the order
/// of their merges, the frequent first, and the head is most of what a draft costs.
pub const DRAFTED: usize = 1 << 15;

impl Model {
    /// Binds the block that drafts, which the checkpoint must have.
    pub(in crate::llm) fn bind_draft(&mut self, tensors: &mut impl Tensors) -> Result<(), LlmError> {
        self.weights.bind_draft(tensors, &self.model_config, &self.pool)
    }

    pub(in crate::llm) fn drafts(&self) -> bool {
        self.weights.draft.is_some()
    }

    /// Of rows of the residual stream behind the last layer the hidden values that the head sees,
    /// `[n, width]`.
    pub(in crate::llm) fn hidden(&self, stream: &[f32], hidden: &mut [f32]) {
        rms_norm(self.simd, stream, &self.weights.norm, self.model_config.norm_eps, hidden);
    }

    /// Runs the block over entries `start..start + next.len()` of `memory`, at most a batch:
    /// `hidden` `[n, width]` are the hidden values of as many positions, `next` the tokens behind
    /// them. Leaves y in `hidden`. `pairs` has room for `[n, 2 · width]`.
    ///
    /// Panics if there is no such block.
    pub(in crate::llm) fn draft(
        &self,
        work: &mut Workspace,
        memory: &mut LayerState,
        start: usize,
        next: &[u32],
        hidden: &mut [f32],
        pairs: &mut [f32],
    ) {
        let (n, width, eps) = (next.len(), self.model_config.width, self.model_config.norm_eps);
        let Draft { join, token_norm, hidden_norm, layer, norm } =
            self.weights.draft.as_ref().expect("only a model that drafts is asked to");
        let (hidden, pairs) = (&mut hidden[..n * width], &mut pairs[..2 * n * width]);
        work.scratch.as_steps(false);
        work.profile.begin();
        self.embed(next, &mut work.stream);
        let rows = work.stream.chunks_exact(width).zip(hidden.chunks_exact(width));
        for (pair, (token, hidden)) in pairs.chunks_exact_mut(2 * width).zip(rows) {
            let (of_token, of_hidden) = pair.split_at_mut(width);
            rms_norm(self.simd, token, token_norm, eps, of_token);
            rms_norm(self.simd, hidden, hidden_norm, eps, of_hidden);
        }
        self.multiply(join, pairs, n, &mut work.stream[..n * width], &mut work.scratch);
        memory.grow(start + n);
        self.mix(layer, memory, &mut None, work, start, n);
        self.feed_forward(layer, work, n);
        rms_norm(self.simd, &work.stream[..n * width], norm, eps, hidden);
    }

    /// The most probable token by the head, of as many as `logits` has room for, behind `hidden`
    /// `[width]`; `None` where no logit is a number.
    pub(in crate::llm) fn draft_token(&self, work: &mut Workspace, hidden: &[f32], logits: &mut [f32]) -> Option<u32> {
        let head = self.weights.head.matrix().top(logits.len());
        matmul(&self.pool, self.simd, &head, hidden, 1, logits, &mut work.scratch);
        let mut best: Option<(usize, f32)> = None;
        for (token, &logit) in logits.iter().enumerate() {
            if logit > best.map_or(f32::NEG_INFINITY, |(_, best)| best) {
                best = Some((token, logit));
            }
        }
        best.map(|(token, _)| token as u32)
    }
}
