//! Mixers, which let a position read earlier ones. Each adds to the residual stream.

use std::slice::IterMut;

use sotto_kernels::{AttentionShape, DeltaInput, DeltaWeights, Keep, add, delta_rule, rms_norm, sigmoid_mul};

use super::network::Network;
use crate::llm::model_config::ModelConfig;
use crate::llm::profile::ProfilePart;
use crate::llm::state::{DeltaNetState, DeltaSnapshot, DeltaWork, LayerKvCache, LayerState, Workspace};
use crate::llm::weights::{Attention, DeltaNetLayer, GatedAttention, Layer, Mixer};

/// Position of a checkpoint that is due, and its layers that are not filled yet.
pub(super) type Borders<'a> = Option<(usize, IterMut<'a, DeltaSnapshot>)>;

impl Network {
    /// stream += mixer(norm(stream)) for positions `start..start + n`.
    pub(super) fn mix(
        &self,
        layer: &Layer,
        memory: &mut LayerState,
        borders: &mut Borders,
        work: &mut Workspace,
        start: usize,
        n: usize,
    ) {
        let width = self.model_config.width;
        rms_norm(
            self.simd,
            &work.stream[..n * width],
            &layer.mixer_norm,
            self.model_config.norm_eps,
            &mut work.normed[..n * width],
        );
        work.profile.mark(ProfilePart::Other);
        match (&layer.mixer, memory) {
            (Mixer::Attention(mixer), LayerState::Attention(cache)) => self.attend(mixer, cache, work, start, n),
            (Mixer::Gated(mixer), LayerState::Attention(cache)) => self.attend_gated(mixer, cache, work, start, n),
            (Mixer::DeltaNet(mixer), LayerState::DeltaNet(memory)) => {
                let border = borders.as_mut().and_then(|(position, layers)| Some((*position, layers.next()?)));
                self.recall(mixer, memory, border, work, n);
            }
            _ => unreachable!("a state is made of the blueprint that its model is bound by"),
        }
        work.profile.mark(ProfilePart::Projections);
        add(self.simd, &work.normed[..n * width], &mut work.stream[..n * width]);
    }

    /// normed = Wo · attention(rope(Wq · h), rope(Wk · h), Wv · h), h = normed
    fn attend(&self, mixer: &Attention, cache: &mut LayerKvCache, work: &mut Workspace, start: usize, n: usize) {
        let ModelConfig { width, .. } = self.model_config;
        let (query, kv) = (self.model_config.query_width(), self.model_config.kv_width());
        let Workspace { normed, q, k, v, scratch, .. } = work;
        let normed = &normed[..n * width];
        let (q, k, v) = (&mut q[..n * query], &mut k[..n * kv], &mut v[..n * kv]);
        let linears = [&mixer.q, &mixer.k, &mixer.v];
        self.multiply_all(linears.map(|linear| &linear.weight), normed, n, [q, k, v], scratch);
        linears.into_iter().zip([q, k, v]).for_each(|(linear, y)| self.add_bias(linear, y));
        work.profile.mark(ProfilePart::Projections);
        self.look_back(cache, work, start, n);
        work.profile.mark(ProfilePart::Attention);
        let Workspace { normed, attended, scratch, .. } = work;
        self.multiply(&mixer.output, &attended[..n * query], n, &mut normed[..n * width], scratch);
    }

    /// normed = Wo · (attention(rope(norm(Wq · h)), rope(norm(Wk · h)), Wv · h) ∘ σ(gate)), h =
    /// normed
    fn attend_gated(
        &self,
        mixer: &GatedAttention,
        cache: &mut LayerKvCache,
        work: &mut Workspace,
        start: usize,
        n: usize,
    ) {
        let ModelConfig { width, head_dim, norm_eps, .. } = self.model_config;
        let (query, kv) = (self.model_config.query_width(), self.model_config.kv_width());
        let Workspace { normed, q, k, v, hybrid: Some(DeltaWork { projected, keys, .. }), scratch, profile, .. } = work
        else {
            unreachable!("a hybrid model's workspace has room for its gates");
        };
        let normed = &normed[..n * width];
        let (gated, keys) = (&mut projected[..2 * n * query], &mut keys[..n * kv]);
        let weights = [&mixer.q, &mixer.k, &mixer.v];
        self.multiply_all(weights, normed, n, [&mut *gated, &mut *keys, &mut v[..n * kv]], scratch);
        profile.mark(ProfilePart::Projections);
        for (from, q) in gated.chunks_exact(2 * head_dim).zip(q.chunks_exact_mut(head_dim)) {
            rms_norm(self.simd, &from[..head_dim], &mixer.q_norm, norm_eps, q);
        }
        rms_norm(self.simd, keys, &mixer.k_norm, norm_eps, &mut k[..n * kv]);
        self.look_back(cache, work, start, n);
        let Workspace { normed, attended, hybrid: Some(DeltaWork { projected, .. }), scratch, profile, .. } = work
        else {
            unreachable!("as above");
        };
        let attended = &mut attended[..n * query];
        for (from, attended) in projected.chunks_exact(2 * head_dim).zip(attended.chunks_exact_mut(head_dim)) {
            sigmoid_mul(self.simd, &from[head_dim..], attended);
        }
        profile.mark(ProfilePart::Attention);
        self.multiply(&mixer.output, attended, n, &mut normed[..n * width], scratch);
    }

    /// attended = attention(rope(q), rope(k), v)
    fn look_back(&self, cache: &mut LayerKvCache, work: &mut Workspace, start: usize, n: usize) {
        let ModelConfig { heads, kv_heads, head_dim, .. } = self.model_config;
        let (query, kv) = (n * self.model_config.query_width(), n * self.model_config.kv_width());
        let Workspace { q, k, v, attended, rope, .. } = work;
        let (q, k) = (&mut q[..query], &mut k[..kv]);
        rope.apply(q, heads, start);
        rope.apply(k, kv_heads, start);
        cache.store(start, k, &v[..kv]);
        let scale = 1.0 / (head_dim as f32).sqrt();
        let shape = AttentionShape { heads, kv_heads, head_dim, scale, causal: true };
        cache.attend(&self.pool, self.simd, &shape, q, start, &mut attended[..query]);
    }

    /// normed = Wo · delta(Wqkv · h, Wz · h, Wa · h, Wb · h), h = normed. Keeps a copy of the
    /// recurrent state at `border`.
    fn recall(
        &self,
        mixer: &DeltaNetLayer,
        memory: &mut DeltaNetState,
        border: Option<(usize, &mut DeltaSnapshot)>,
        work: &mut Workspace,
        n: usize,
    ) {
        let (Some(net), Some(hybrid)) = (&self.model_config.delta, &mut work.hybrid) else {
            unreachable!("a model with DeltaNet layers has their sizes, and its workspace room for them");
        };
        let (heads, width, norm_eps) = (net.heads(), self.model_config.width, self.model_config.norm_eps);
        let DeltaWork { projected, z, a, b, read, scratch: delta_scratch, .. } = hybrid;
        let (normed, scratch) = (&mut work.normed[..n * width], &mut work.scratch);
        let (raw, z) = (&mut projected[..n * heads.channels()], &mut z[..n * heads.value_width()]);
        let (a, b) = (&mut a[..n * heads.value_heads], &mut b[..n * heads.value_heads]);
        let read = &mut read[..n * heads.value_width()];

        let weights = [&mixer.qkv, &mixer.z, &mixer.a, &mixer.b];
        self.multiply_all(weights, normed, n, [&mut *raw, &mut *z, &mut *a, &mut *b], scratch);
        work.profile.mark(ProfilePart::Projections);
        let keep = border.map(|(border, kept)| Keep { border, rows: &mut kept.rows, base: &mut kept.base });
        let input = DeltaInput { raw, z, a, b };
        let DeltaNetLayer { taps, rate, dt_bias, norm, .. } = mixer;
        let weights = DeltaWeights { taps, rate, dt_bias, norm, norm_eps };
        let memory = (&mut memory.conv, &mut memory.delta);
        delta_rule(&self.pool, self.simd, &input, &weights, memory, keep, delta_scratch, read);
        work.profile.mark(ProfilePart::DeltaNetLayer);
        self.multiply(&mixer.output, read, n, normed, scratch);
    }
}
