//! The network: weights, and the operations of a forward pass. It is immutable; every call is given
//! the workspace it computes in.

use sotto_kernels::{Pool, Scratch, Simd, add, matmul_all, rms_norm, silu_mul};

use crate::llm::head::{Logits, Wanted};
use crate::llm::model_config::ModelConfig;
use crate::llm::profile::ProfilePart;
use crate::llm::state::{SequenceState, Workspace};
use crate::llm::tensors::Weight;
use crate::llm::weights::{Layer, Linear, Weights};

/// Bound weights of a model, and what computes with them.
pub(in crate::llm) struct Network {
    pub model_config: ModelConfig,
    pub weights: Weights,
    pub pool: Pool,
    pub simd: Simd,
}

impl Network {
    /// Runs all layers over up to a batch of positions, computed `alone` or together with the
    /// others.
    pub fn decode(&self, work: &mut Workspace, state: &mut SequenceState, tokens: &[u32], alone: bool) {
        let (start, n) = (state.len(), tokens.len());
        work.scratch.as_steps(alone);
        work.profile.begin();
        state.make_room(n);
        let mut checkpoint = state.due_checkpoint(n);
        let mut borders = checkpoint.as_mut().map(|checkpoint| (checkpoint.position, checkpoint.layers.iter_mut()));
        self.embed(tokens, &mut work.stream);
        for (layer, memory) in self.weights.layers.iter().zip(&mut state.layers) {
            self.mix(layer, memory, &mut borders, work, start, n);
            self.feed_forward(layer, work, n);
        }
        work.residual = Some(state.advance(tokens, alone));
        if let Some(checkpoint) = checkpoint {
            state.keep_checkpoint(checkpoint);
        }
        work.profile.mark(ProfilePart::Other);
    }

    pub fn embed(&self, tokens: &[u32], stream: &mut [f32]) {
        let embedding = self.weights.embedding.matrix();
        for (&token, x) in tokens.iter().zip(stream.chunks_exact_mut(self.model_config.width)) {
            embedding.unpack_row(token as usize, x);
        }
    }

    /// stream += Wdown · (silu(Wgate · h) ∘ Wup · h), h = norm(stream)
    pub fn feed_forward(&self, layer: &Layer, work: &mut Workspace, n: usize) {
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
    pub fn head(&self, work: &mut Workspace, row: usize, wanted: Wanted) {
        let width = self.model_config.width;
        let Workspace { stream, normed, logits, scratch, screening, profile, .. } = &mut *work;
        let (normed, Weights { norm, head, screen, .. }) = (&mut normed[..width], &self.weights);
        let logits = &mut logits[..self.model_config.vocabulary];
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
        work.set_logits(row..row + 1, wanted.logits());
    }

    /// Computes the logits of the first `n` rows of the batch.
    pub fn heads(&self, work: &mut Workspace, n: usize) {
        let ModelConfig { width, vocabulary, norm_eps, .. } = self.model_config;
        work.reserve_logits(n);
        let Workspace { stream, normed, logits, scratch, profile, .. } = &mut *work;
        let (stream, normed) = (&stream[..n * width], &mut normed[..n * width]);
        rms_norm(self.simd, stream, &self.weights.norm, norm_eps, normed);
        self.multiply(&self.weights.head, normed, n, &mut logits[..n * vocabulary], scratch);
        profile.mark(ProfilePart::Head);
        work.set_logits(0..n, Logits::All);
    }

    pub fn add_bias(&self, linear: &Linear, y: &mut [f32]) {
        if let Some(bias) = &linear.bias {
            y.chunks_exact_mut(bias.len()).for_each(|y| add(self.simd, bias, y));
        }
    }

    pub fn multiply(&self, weight: &Weight, x: &[f32], n: usize, y: &mut [f32], scratch: &mut Scratch) {
        self.multiply_all([weight], x, n, [y], scratch);
    }

    /// Computes several products of the same x as one parallel task.
    pub fn multiply_all<const M: usize>(
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
