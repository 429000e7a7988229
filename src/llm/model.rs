//! The decoder: tokens in, logits out.
//!
//! A pre-norm transformer (RMSNorm) with a SwiGLU feed-forward network. Its mixers are attention in
//! Llama and Qwen 2, and gated attention and gated DeltaNet in Qwen 3.5 ([`mixers`]). Nothing is
//! allocated per token once the state has grown.

mod draft;
#[cfg(test)]
mod f64_model;
mod mixers;
#[cfg(test)]
mod tests;

use std::path::Path;

pub(super) use draft::DRAFTED;
use sotto_kernels::{Best, Pool, Scratch, Simd, add, matmul_all, rms_norm, silu_mul};

use super::LlmError;
use super::head::Wanted;
use super::model_config::ModelConfig;
use super::profile::ProfilePart;
use super::source::ModelSource;
use super::state::{BATCH, SequenceState, Workspace};
use super::tensors::{Tensors, Weight};
use super::weights::{Layer, Linear, Weights};

/// The network of a checkpoint without tokenizer and conversation, for work on tokens and logits.
pub struct Model {
    pub(super) model_config: ModelConfig,
    pub(super) weights: Weights,
    pub(super) pool: Pool,
    simd: Simd,
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
        Ok(Model { model_config, weights, pool, simd })
    }

    /// Bytes of the weights in memory.
    pub fn bytes(&self) -> usize {
        self.weights.bytes()
    }

    pub fn model_config(&self) -> &ModelConfig {
        &self.model_config
    }

    /// Instruction set that the results are computed with.
    pub fn simd(&self) -> Simd {
        self.simd
    }

    /// Computes `tokens` after the positions of `state` and stores the logits of the last there.
    ///
    /// Panics when the tokens do not fit the state's context or are not of the vocabulary; the
    /// conversation sees to both.
    pub fn forward(&self, state: &mut SequenceState, tokens: &[u32]) {
        self.forward_to(state, tokens, Wanted::All);
    }

    /// Does [`Model::forward`], but only computes the logits that can be among the best; the rest
    /// may be -∞. [`SequenceState::best_logits`] returns them. Computed logits are bit-identical to
    /// those of [`Model::forward`].
    pub fn forward_best(&self, state: &mut SequenceState, tokens: &[u32], best: Best) {
        self.forward_to(state, tokens, Wanted::Best(best));
    }

    fn forward_to(&self, state: &mut SequenceState, tokens: &[u32], wanted: Wanted) {
        let mut last = None;
        self.compute(state, tokens, |_, _, row| last = Some(row));
        if let Some(row) = last {
            self.head(&mut state.work, row, wanted);
            state.set_logits(wanted.logits());
        }
    }

    /// Does [`Model::forward`] and also passes the logits after token `at` of them to `watch`.
    pub fn forward_watching(&self, state: &mut SequenceState, tokens: &[u32], at: usize, watch: impl FnOnce(&[f32])) {
        let (mut last, mut watch) = (None, Some(watch));
        self.compute(state, tokens, |state, i, row| {
            if i == at
                && let Some(watch) = watch.take()
            {
                self.head(&mut state.work, row, Wanted::All);
                watch(&state.work.logits);
            }
            last = Some(row);
        });
        if let Some(row) = last {
            self.head(&mut state.work, row, Wanted::All);
            state.set_logits(Wanted::All.logits());
        }
    }

    /// Does [`Model::forward`] and passes the logits after each token to `each(i, logits)`. For
    /// comparisons; the head is computed for every token.
    pub fn forward_each(&self, state: &mut SequenceState, tokens: &[u32], mut each: impl FnMut(usize, &[f32])) {
        self.compute(state, tokens, |state, i, row| {
            self.head(&mut state.work, row, Wanted::All);
            each(i, &state.work.logits);
        });
        if !tokens.is_empty() {
            state.set_logits(Wanted::All.logits());
        }
    }

    /// Computes up to [`BATCH`] tokens after the positions of `state` at once, each bit-identical
    /// to a step of its own, and writes the logits after each to `logits` `[n, vocabulary]`; the
    /// state then has no logits. [`Model::rollback`] removes rejected tokens.
    ///
    /// Panics as [`Model::forward`] does, or if `logits` has another length.
    pub(super) fn forward_steps(&self, state: &mut SequenceState, tokens: &[u32], logits: &mut [f32]) {
        let (n, width) = (tokens.len(), self.model_config.width);
        state.assert_fits(n);
        self.decode(state, tokens, true);
        let Workspace { stream, normed, scratch, profile, .. } = &mut state.work;
        let (stream, normed) = (&stream[..n * width], &mut normed[..n * width]);
        rms_norm(self.simd, stream, &self.weights.norm, self.model_config.norm_eps, normed);
        self.multiply(&self.weights.head, normed, n, logits, scratch);
        profile.mark(ProfilePart::Head);
    }

    /// Rolls back to the first `len` positions, bit-identical to never having computed the rest
    /// (see [`SequenceState`]). If a DeltaNet layer cannot go back that far, the positions after
    /// the newest checkpoint before it are computed again: fewer than 64 if `len` is among the last
    /// 128, else up to all.
    pub fn rollback(&self, state: &mut SequenceState, len: usize) {
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

    /// Computes one token as a decode step, several as prefill. Calls `each(state, i, row)` when
    /// token `i` is in row `row` of the workspace.
    fn compute(
        &self,
        state: &mut SequenceState,
        tokens: &[u32],
        mut each: impl FnMut(&mut SequenceState, usize, usize),
    ) {
        state.assert_fits(tokens.len());
        match tokens {
            [] => {}
            [_] => {
                self.decode(state, tokens, true);
                each(state, 0, 0);
            }
            _ => self.read(state, tokens, each),
        }
    }

    /// Prefills part of a prompt, batch by batch. No batch has one token, because that would be
    /// computed as a decode step: the last two stay together, and a single token is read with a
    /// dummy second token that is then rolled back.
    fn read(&self, state: &mut SequenceState, tokens: &[u32], mut each: impl FnMut(&mut SequenceState, usize, usize)) {
        if let &[token] = tokens {
            self.decode(state, &[token, token], false);
            state.rewind(state.len() - 1);
            return each(state, 0, 0);
        }
        let mut done = 0;
        while done < tokens.len() {
            let rest = tokens.len() - done;
            let n = if rest == BATCH + 1 { BATCH - 1 } else { rest.min(BATCH) };
            self.decode(state, &tokens[done..done + n], false);
            (0..n).for_each(|row| each(state, done + row, row));
            done += n;
        }
    }

    /// Runs all layers over up to [`BATCH`] positions, computed `alone` or together with the
    /// others.
    fn decode(&self, state: &mut SequenceState, tokens: &[u32], alone: bool) {
        let (start, n) = (state.len(), tokens.len());
        state.work.scratch.as_steps(alone);
        state.work.profile.begin();
        state.make_room(n);
        let mut checkpoint = state.due_checkpoint(n);
        let mut borders = checkpoint.as_mut().map(|checkpoint| (checkpoint.position, checkpoint.layers.iter_mut()));
        self.embed(tokens, &mut state.work.stream);
        for (layer, memory) in self.weights.layers.iter().zip(&mut state.layers) {
            self.mix(layer, memory, &mut borders, &mut state.work, start, n);
            self.feed_forward(layer, &mut state.work, n);
        }
        state.advance(tokens, alone);
        if let Some(checkpoint) = checkpoint {
            state.keep_checkpoint(checkpoint);
        }
        state.work.profile.mark(ProfilePart::Other);
    }

    fn embed(&self, tokens: &[u32], stream: &mut [f32]) {
        let embedding = self.weights.embedding.matrix();
        for (&token, x) in tokens.iter().zip(stream.chunks_exact_mut(self.model_config.width)) {
            embedding.unpack_row(token as usize, x);
        }
    }

    /// stream += Wdown · (silu(Wgate · h) ∘ Wup · h), h = norm(stream)
    fn feed_forward(&self, layer: &Layer, work: &mut Workspace, n: usize) {
        let ModelConfig { width, hidden, norm_eps, .. } = self.model_config;
        let Workspace { stream, normed, gate, up, scratch, profile, .. } = work;
        let (stream, normed) = (&mut stream[..n * width], &mut normed[..n * width]);
        let (gate, up) = (&mut gate[..n * hidden], &mut up[..n * hidden]);

        rms_norm(self.simd, stream, &layer.feed_forward_norm, norm_eps, normed);
        self.multiply_all([&layer.gate, &layer.up], normed, n, [&mut *gate, &mut *up], scratch);
        silu_mul(self.simd, gate, up);
        self.multiply(&layer.down, up, n, normed, scratch);
        add(self.simd, normed, stream);
        profile.mark(ProfilePart::FeedForward);
    }

    /// Computes the logits of one row of the batch; other rows skip the head.
    fn head(&self, work: &mut Workspace, row: usize, wanted: Wanted) {
        let width = self.model_config.width;
        let Workspace { stream, normed, logits, scratch, screening, profile, .. } = work;
        let (normed, Weights { norm, head, screen, .. }) = (&mut normed[..width], &self.weights);
        rms_norm(self.simd, &stream[row * width..][..width], norm, self.model_config.norm_eps, normed);
        let screened = match (wanted, screen) {
            (Wanted::Best(best), Some(screen)) => screening.screen(screen, |room| {
                screen.best(&self.pool, self.simd, head.matrix().bytes(), normed, &best, logits, room)
            }),
            _ => false,
        };
        if !screened {
            self.multiply(head, normed, 1, logits, scratch);
        }
        profile.mark(ProfilePart::Head);
    }

    fn add_bias(&self, linear: &Linear, y: &mut [f32]) {
        if let Some(bias) = &linear.bias {
            y.chunks_exact_mut(bias.len()).for_each(|y| add(self.simd, bias, y));
        }
    }

    fn multiply(&self, weight: &Weight, x: &[f32], n: usize, y: &mut [f32], scratch: &mut Scratch) {
        self.multiply_all([weight], x, n, [y], scratch);
    }

    /// Computes several products of the same x as one parallel task.
    fn multiply_all<const M: usize>(
        &self,
        weights: [&Weight; M],
        x: &[f32],
        n: usize,
        y: [&mut [f32]; M],
        scratch: &mut Scratch,
    ) {
        let matrices = weights.map(Weight::matrix);
        matmul_all(&self.pool, self.simd, matrices.each_ref(), x, n, y, scratch);
    }
}
