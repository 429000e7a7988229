//! The decoder: tokens in, logits out.
//!
//! A pre-norm transformer (RMSNorm) with a SwiGLU feed-forward network. Its mixers are attention in
//! Llama and Qwen 2, and gated attention and gated DeltaNet in Qwen 3.5 ([`mixers`]). Nothing is
//! allocated per token once the state has grown.

mod draft;
#[cfg(test)]
mod f64_model;
mod mixers;
mod network;
#[cfg(test)]
mod tests;

use std::path::Path;

pub(super) use draft::DRAFTED;
use sotto_kernels::{Best, Pool, Simd};

use super::LlmError;
use super::head::{Logits, Wanted};
use super::model_config::ModelConfig;
use super::source::ModelSource;
use super::state::{BATCH, SequenceState, Workspace};
use super::tensors::Tensors;
use super::weights::Weights;
use network::Network;

/// The network of a checkpoint without tokenizer and conversation, for work on tokens and logits.
///
/// All states share its one workspace, which holds the logits of the last call. A state recognises
/// by the number of the call whether they are its own ([`Model::logits`]); if another state has
/// computed since, they are computed again.
pub struct Model {
    pub(super) network: Network,
    pub(super) work: Workspace,
}

impl Model {
    /// Binds the tensors of a GGUF file or of a folder of safetensors. The caller accounts for the
    /// memory; [`Llm`](super::Llm) does so with a permit.
    pub fn open(path: &Path, threads: usize) -> Result<Self, LlmError> {
        ModelSource::open(path)?.load(threads)
    }

    pub(super) fn bind(tensors: &mut impl Tensors, model_config: ModelConfig, pool: Pool) -> Result<Self, LlmError> {
        let simd = Simd::from_env()?;
        let weights = Weights::bind(tensors, &model_config, &pool)?;
        let work = Workspace::new(&model_config);
        Ok(Model { network: Network { model_config, weights, pool, simd }, work })
    }

    /// Bytes of the weights in memory.
    pub fn bytes(&self) -> usize {
        self.network.weights.bytes()
    }

    /// Bytes of the workspace. The scratch memory of the products and the delta rule is not
    /// counted: some hundred kilobytes for each thread.
    pub fn workspace_bytes(&self) -> usize {
        self.work.bytes()
    }

    /// Bytes of the workspace of a model; `None` if they overflow.
    pub fn planned_workspace_bytes(model_config: &ModelConfig) -> Option<usize> {
        Workspace::planned_bytes(model_config)
    }

    pub fn model_config(&self) -> &ModelConfig {
        &self.network.model_config
    }

    /// Instruction set that the results are computed with.
    pub fn simd(&self) -> Simd {
        self.network.simd
    }

    /// Computes `tokens` after the positions of `state`; [`Model::logits`] then returns the logits
    /// of the last.
    ///
    /// Panics when the tokens do not fit the state's context or are not of the vocabulary; the
    /// session sees to both.
    pub fn forward(&mut self, state: &mut SequenceState, tokens: &[u32]) {
        self.forward_to(state, tokens, Wanted::All);
    }

    /// Does [`Model::forward`], but only computes the logits that can be among the best; the rest
    /// may be -∞. [`Model::best_logits`] returns them. Computed logits are bit-identical to those
    /// of [`Model::forward`].
    pub fn forward_best(&mut self, state: &mut SequenceState, tokens: &[u32], best: Best) {
        self.forward_to(state, tokens, Wanted::Best(best));
    }

    fn forward_to(&mut self, state: &mut SequenceState, tokens: &[u32], wanted: Wanted) {
        let mut last = None;
        self.compute(state, tokens, |_, _, row| last = Some(row));
        if let Some(row) = last {
            self.network.head(&mut self.work, row, wanted);
        }
    }

    /// Does [`Model::forward`] and also passes the logits after token `at` of them to `watch`.
    pub fn forward_watching(
        &mut self,
        state: &mut SequenceState,
        tokens: &[u32],
        at: usize,
        watch: impl FnOnce(&[f32]),
    ) {
        let (mut last, mut watch) = (None, Some(watch));
        self.compute(state, tokens, |model, i, row| {
            if i == at
                && let Some(watch) = watch.take()
            {
                watch(model.head(row));
            }
            last = Some(row);
        });
        if let Some(row) = last {
            self.head(row);
        }
    }

    /// Does [`Model::forward`] and passes the logits after each token to `each(i, logits)`. For
    /// comparisons; the head is computed for every token.
    pub fn forward_each(&mut self, state: &mut SequenceState, tokens: &[u32], mut each: impl FnMut(usize, &[f32])) {
        self.compute(state, tokens, |model, i, row| each(i, model.head(row)));
    }

    /// Computes up to [`BATCH`] tokens after the positions of `state` at once, each bit-identical
    /// to a step of its own. [`Model::logits_after`] returns the logits after each.
    /// [`Model::rollback`] removes rejected tokens.
    ///
    /// Panics as [`Model::forward`] does.
    pub(super) fn forward_steps(&mut self, state: &mut SequenceState, tokens: &[u32]) {
        state.assert_fits(tokens.len());
        self.decode(state, tokens, true);
        self.network.heads(&mut self.work, tokens.len());
    }

    /// Logits after the last position of `state`, `[vocabulary]`; `None` if they were not
    /// requested, only those of the best were, or another state has computed since.
    pub fn logits(&mut self, state: &SequenceState) -> Option<&mut [f32]> {
        self.work.logits_after(state, state.len()).filter(|(kind, _)| *kind == Logits::All).map(|(_, logits)| logits)
    }

    /// Logits after the last position as in [`Model::logits`]; after [`Model::forward_best`] only
    /// the requested ones, and -∞ for others.
    pub fn best_logits(&mut self, state: &SequenceState) -> Option<&mut [f32]> {
        self.logits_after(state, state.len())
    }

    /// Logits after the first `len` positions of `state`, as in [`Model::best_logits`].
    pub(super) fn logits_after(&mut self, state: &SequenceState, len: usize) -> Option<&mut [f32]> {
        self.work.logits_after(state, len).map(|(_, logits)| logits)
    }

    /// Drops the logits of `state`: a sampler has written into them.
    pub(super) fn spend_logits(&mut self, state: &SequenceState) {
        if self.best_logits(state).is_some() {
            self.work.predicted = None;
        }
    }

    /// Computes the last position of `state` again, in its original way, if the workspace has no
    /// logits of it. Returns whether it had to.
    pub(super) fn recompute_logits(&mut self, state: &mut SequenceState) -> bool {
        let Some(last) = state.len().checked_sub(1).filter(|_| self.best_logits(state).is_none()) else {
            return false;
        };
        let origins = state.origins(last + 1).to_vec();
        let token = state.tokens()[last];
        self.rollback(state, last);
        match origins[last].alone {
            true => self.decode(state, &[token], true),
            false => self.read(state, &[token], |_, _, _| ()),
        }
        state.set_origins(&origins);
        self.work.residual = Some(state.last_rows(1));
        self.head(0);
        true
    }

    /// Residual stream after the last layer at the newest positions of `state`, as far as it is
    /// still available, `[n, width]`; and the first of these positions.
    pub(super) fn newest(&self, state: &SequenceState) -> (usize, &[f32]) {
        self.work.newest(state)
    }

    /// Rolls back to the first `len` positions, bit-identical to never having computed the rest
    /// (see [`SequenceState`]). If a DeltaNet layer cannot go back that far, the positions after
    /// the newest checkpoint before it are computed again: fewer than 64 if `len` is among the last
    /// 128, else up to all.
    pub fn rollback(&mut self, state: &mut SequenceState, len: usize) {
        if state.goes_back_by_itself(len) {
            state.rewind(len);
            return;
        }
        let (tokens, origins) = (state.tokens()[..len].to_vec(), state.origins(len).to_vec());
        let mut at = state.rewind(len);
        while at < len {
            let alone = origins[at].alone;
            let run = origins[at..].iter().take_while(|origin| origin.alone == alone).count();
            match alone {
                true => tokens[at..at + run].chunks(BATCH).for_each(|steps| self.decode(state, steps, true)),
                false => self.read(state, &tokens[at..at + run], |_, _, _| ()),
            }
            at += run;
        }
        state.set_origins(&origins);
    }

    /// Computes one token as a decode step, several as prefill. Calls `each(model, i, row)` when
    /// token `i` is in row `row` of the workspace.
    fn compute(&mut self, state: &mut SequenceState, tokens: &[u32], mut each: impl FnMut(&mut Self, usize, usize)) {
        state.assert_fits(tokens.len());
        match tokens {
            [] => {}
            [_] => {
                self.decode(state, tokens, true);
                each(self, 0, 0);
            }
            _ => self.read(state, tokens, each),
        }
    }

    /// Prefills part of a prompt, batch by batch. No batch has one token, because that would be
    /// computed as a decode step: the last two stay together, and a single token is read with a
    /// dummy second token that is then rolled back.
    fn read(&mut self, state: &mut SequenceState, tokens: &[u32], mut each: impl FnMut(&mut Self, usize, usize)) {
        if let &[token] = tokens {
            self.decode(state, &[token, token], false);
            state.rewind(state.len() - 1);
            return each(self, 0, 0);
        }
        let mut done = 0;
        while done < tokens.len() {
            let rest = tokens.len() - done;
            let n = if rest == BATCH + 1 { BATCH - 1 } else { rest.min(BATCH) };
            self.decode(state, &tokens[done..done + n], false);
            (0..n).for_each(|row| each(self, done + row, row));
            done += n;
        }
    }

    fn decode(&mut self, state: &mut SequenceState, tokens: &[u32], alone: bool) {
        self.network.decode(&mut self.work, state, tokens, alone);
    }

    /// Computes the logits of one row of the batch.
    fn head(&mut self, row: usize) -> &[f32] {
        self.network.head(&mut self.work, row, Wanted::All);
        &self.work.logits[..self.network.model_config.vocabulary]
    }
}
