//! The draft block: predicts further tokens (multi-token prediction, as in Qwen 3.5 and
//! DeepSeek-V3).
//!
//! Inputs are the hidden values h after a position, normed as for the head, and the next token x.
//! It computes e = W · (norm(embedding(x)) ‖ norm(h)), then one attention layer with a KV cache of
//! its own, then y = norm(e). The head turns y into the logits of the token after x. To draft
//! further, y takes the place of h, and the drafted token that of x.

#[cfg(test)]
mod tests;

use sotto_kernels::{matmul, rms_norm};

use super::Model;
use super::network::Network;
use crate::llm::LlmError;
use crate::llm::state::{LayerState, Workspace};
use crate::llm::tensors::Tensors;
use crate::llm::weights::Draft;

/// Limit of drafted token ids: byte pair encodings number their tokens in the order of the merges,
/// frequent ones first, and the head is most of the cost of a draft.
pub const DRAFTED: usize = 1 << 15;

impl Model {
    /// Binds the draft block, which the checkpoint must have.
    pub(in crate::llm) fn bind_draft(&mut self, tensors: &mut impl Tensors) -> Result<(), LlmError> {
        let Network { model_config, weights, pool, .. } = &mut self.network;
        weights.bind_draft(tensors, model_config, pool)
    }

    pub(in crate::llm) fn drafts(&self) -> bool {
        self.network.weights.draft.is_some()
    }
}

impl Network {
    /// Computes from rows of the residual stream after the last layer the hidden values that the
    /// head reads, `[n, width]`.
    pub(in crate::llm) fn hidden(&self, stream: &[f32], hidden: &mut [f32]) {
        rms_norm(self.simd, stream, &self.weights.norm, self.model_config.norm_eps, hidden);
    }

    /// Runs the block over entries `start..start + next.len()` of `memory`, at most a batch:
    /// `hidden` `[n, width]` are the hidden values of as many positions, `next` the tokens after
    /// them. Writes y to `hidden`. `pairs` needs space for `[n, 2 · width]`.
    ///
    /// Panics if there is no draft block.
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
        work.residual = None;
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

    /// Returns the most probable token by the head, among as many as `logits` has elements, after
    /// `hidden` `[width]`; `None` if no logit is a number.
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
