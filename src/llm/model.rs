//! The decoder itself: tokens in, logits out.
//!
//! The transformer of Llama and Qwen 2: pre-norm (RMSNorm), grouped-query attention with rotary positions, and a
//! SwiGLU feed-forward network. `forward` allocates nothing once the state has grown.

use sotto_kernels::AttentionShape;
use sotto_kernels::{Pool, Scratch, Simd, add, attention, matmul, rms_norm, silu_mul, unpack_row};

use super::LlmError;
use super::blueprint::Blueprint;
use super::gguf::Gguf;
use super::state::{BATCH, Cache, State, Workspace};
use super::tensors::Weight;
use super::weights::{Layer, Linear, Weights};

pub struct Model {
    pub blueprint: Blueprint,
    weights: Weights,
    pool: Pool,
    simd: Simd,
}

impl Model {
    pub fn load(gguf: &Gguf, blueprint: Blueprint, threads: usize) -> Result<Self, LlmError> {
        let weights = Weights::bind(&mut gguf.binder(), &blueprint)?;
        Ok(Model { blueprint, weights, pool: Pool::new(threads), simd: Simd::from_env()? })
    }

    /// Computes `tokens` behind the positions of `state` and leaves the logits of the last in it.
    ///
    /// Panics when the tokens do not fit the state's context or are not of the vocabulary; the conversation sees to
    /// both.
    pub fn forward(&self, state: &mut State, tokens: &[u32]) {
        let Some(last_batch) = tokens.chunks(BATCH).next_back() else { return };
        state.make_room(&self.blueprint, tokens.len());
        for batch in tokens.chunks(BATCH) {
            self.decode(state, batch);
        }
        self.head(&mut state.work, last_batch.len() - 1);
        state.set_logits_current();
    }

    /// All layers over up to [`BATCH`] positions.
    fn decode(&self, state: &mut State, tokens: &[u32]) {
        let (start, n) = (state.len(), tokens.len());
        self.embed(tokens, &mut state.work.stream);
        for (layer, cache) in self.weights.layers.iter().zip(&mut state.caches) {
            self.attend(layer, cache, &mut state.work, start, n);
            self.feed_forward(layer, &mut state.work, n);
        }
        state.advance(tokens);
    }

    fn embed(&self, tokens: &[u32], stream: &mut [f32]) {
        let embedding = self.weights.embedding.matrix();
        for (&token, x) in tokens.iter().zip(stream.chunks_exact_mut(self.blueprint.width)) {
            unpack_row(embedding.kind(), embedding.row(token as usize), x);
        }
    }

    /// stream += Wo · attention(rope(Wq · h), rope(Wk · h), Wv · h), h = norm(stream)
    fn attend(&self, layer: &Layer, cache: &mut Cache, work: &mut Workspace, start: usize, n: usize) {
        let Blueprint { width, heads, kv_heads, head_dim, norm_eps, .. } = self.blueprint;
        let (query, kv) = (self.blueprint.query_width(), self.blueprint.kv_width());
        let Workspace { stream, normed, q, k, v, attended, rope, scratch, .. } = work;
        let (stream, normed) = (&mut stream[..n * width], &mut normed[..n * width]);
        let (q, k, v) = (&mut q[..n * query], &mut k[..n * kv], &mut v[..n * kv]);
        let attended = &mut attended[..n * query];

        rms_norm(self.simd, stream, &layer.attention_norm, norm_eps, normed);
        self.linear(&layer.q, normed, n, q, scratch);
        self.linear(&layer.k, normed, n, k, scratch);
        self.linear(&layer.v, normed, n, v, scratch);
        rope.apply(q, heads, start);
        rope.apply(k, kv_heads, start);
        cache.store(start, k, v);
        let scale = 1.0 / (head_dim as f32).sqrt();
        let shape = AttentionShape { heads, kv_heads, head_dim, scale, causal: true };
        attention(&self.pool, self.simd, &shape, q, cache, start, attended);
        self.multiply(&layer.output, attended, n, normed, scratch);
        add(self.simd, normed, stream);
    }

    /// stream += Wdown · (silu(Wgate · h) ∘ Wup · h), h = norm(stream)
    fn feed_forward(&self, layer: &Layer, work: &mut Workspace, n: usize) {
        let Blueprint { width, hidden, norm_eps, .. } = self.blueprint;
        let Workspace { stream, normed, gate, up, mixed, scratch, .. } = work;
        let (stream, normed) = (&mut stream[..n * width], &mut normed[..n * width]);
        let (gate, up, mixed) = (&mut gate[..n * hidden], &mut up[..n * hidden], &mut mixed[..n * hidden]);

        rms_norm(self.simd, stream, &layer.feed_forward_norm, norm_eps, normed);
        self.multiply(&layer.gate, normed, n, gate, scratch);
        self.multiply(&layer.up, normed, n, up, scratch);
        silu_mul(self.simd, gate, up, mixed);
        self.multiply(&layer.down, mixed, n, normed, scratch);
        add(self.simd, normed, stream);
    }

    /// The logits of position `last` of the batch: only it meets the head.
    fn head(&self, work: &mut Workspace, last: usize) {
        let width = self.blueprint.width;
        let normed = &mut work.normed[..width];
        rms_norm(self.simd, &work.stream[last * width..][..width], &self.weights.norm, self.blueprint.norm_eps, normed);
        self.multiply(&self.weights.head, normed, 1, &mut work.logits, &mut work.scratch);
    }

    fn linear(&self, linear: &Linear, x: &[f32], n: usize, y: &mut [f32], scratch: &mut Scratch) {
        self.multiply(&linear.weight, x, n, y, scratch);
        if let Some(bias) = &linear.bias {
            y.chunks_exact_mut(bias.len()).for_each(|y| add(self.simd, bias, y));
        }
    }

    fn multiply(&self, weight: &Weight, x: &[f32], n: usize, y: &mut [f32], scratch: &mut Scratch) {
        matmul(&self.pool, self.simd, &weight.matrix(), x, n, y, scratch);
    }
}
