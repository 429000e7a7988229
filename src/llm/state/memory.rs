//! Memory of one layer.

use std::io::{self, Read, Write};

use half::f16;
use sotto_kernels::{AttentionShape, ConvState, DeltaState, KvCache, KvCache8, Pool, Simd, attention};

use crate::config;
use crate::llm::model_config::{DeltaNet, ModelConfig};

/// Number format of the KV cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvCacheType {
    /// Half the memory of f32.
    #[default]
    F16,
    /// Without rounding, for comparisons.
    F32,
    /// Integers of 8 bits with a scale for each 32: 0.53 of the memory of f16. Against f32, over
    /// 512 tokens of prose and code, SmolLM2-135M has a mean KL divergence of 4.5e-4 (f16: 4.5e-7)
    /// and the same most probable token 500 times; Qwen2.5-Coder-0.5B, whose keys have large
    /// biases, 1.5e-2 (f16: 3.2e-6) and 481 times.
    Q8,
}

impl From<config::KvType> for KvCacheType {
    fn from(kv_cache: config::KvType) -> KvCacheType {
        match kv_cache {
            config::KvType::F16 => KvCacheType::F16,
            config::KvType::Q8 => KvCacheType::Q8,
        }
    }
}

#[derive(Clone)]
pub(in crate::llm) enum LayerState {
    Attention(LayerKvCache),
    DeltaNet(Box<DeltaNetState>),
}

/// Keys and values of an attention layer.
#[derive(Clone)]
pub enum LayerKvCache {
    F16(KvCache<f16>),
    F32(KvCache<f32>),
    Q8(KvCache8),
}

/// Runs the same expression on a cache of any format.
macro_rules! any {
    ($cache:expr, $kind:pat => $what:expr) => {
        match $cache {
            LayerKvCache::F16($kind) => $what,
            LayerKvCache::F32($kind) => $what,
            LayerKvCache::Q8($kind) => $what,
        }
    };
}

/// The recurrent state of a DeltaNet layer.
#[derive(Clone)]
pub struct DeltaNetState {
    pub conv: ConvState,
    pub delta: DeltaState,
}

impl LayerState {
    pub fn new(model_config: &ModelConfig, layer: usize, kind: KvCacheType) -> Self {
        match &model_config.delta {
            Some(net) if model_config.is_delta(layer) => LayerState::DeltaNet(Box::new(DeltaNetState::new(net))),
            _ => LayerState::Attention(LayerKvCache::new(model_config, kind)),
        }
    }

    /// Bytes of the memory of a layer after `context` positions; `None` if they overflow.
    pub fn planned_bytes(model_config: &ModelConfig, layer: usize, context: usize, kind: KvCacheType) -> Option<usize> {
        match &model_config.delta {
            Some(net) if model_config.is_delta(layer) => {
                let conv = ConvState::planned_bytes(net.heads().channels(), net.taps)?;
                conv.checked_add(DeltaState::planned_bytes(&net.heads())?)
            }
            // One more position than the context: a prefill of one token computes a pair.
            _ => LayerKvCache::planned_bytes(model_config, context.checked_add(1)?, kind),
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            LayerState::Attention(cache) => cache.bytes(),
            LayerState::DeltaNet(memory) => memory.conv.bytes() + memory.delta.bytes(),
        }
    }

    pub fn grow(&mut self, positions: usize) {
        match self {
            LayerState::Attention(cache) => any!(cache, cache => cache.grow(positions)),
            LayerState::DeltaNet(_) => {}
        }
    }

    /// Bytes that [`LayerState::write_to`] writes.
    pub fn written_bytes(&self, len: usize) -> usize {
        match self {
            LayerState::Attention(cache) => any!(cache, cache => cache.written_bytes(len)),
            LayerState::DeltaNet(memory) => memory.conv.written_bytes() + memory.delta.written_bytes(),
        }
    }

    /// Writes the memory of the first `len` positions, which are all.
    pub fn write_to(&self, len: usize, to: &mut impl Write) -> io::Result<()> {
        match self {
            LayerState::Attention(cache) => any!(cache, cache => cache.write_to(len, to)),
            LayerState::DeltaNet(memory) => memory.conv.write_to(to).and_then(|()| memory.delta.write_to(to)),
        }
    }

    /// Restores the output of [`LayerState::write_to`] after `len` positions with the border at
    /// `border`, which must be a chunk border.
    pub fn read_from(&mut self, border: usize, len: usize, from: &mut impl Read) -> io::Result<()> {
        match self {
            LayerState::Attention(cache) => any!(cache, cache => cache.read_from(len, from)),
            LayerState::DeltaNet(memory) => {
                memory.conv.read_from(border, len, from)?;
                memory.delta.read_from(border, len, from)
            }
        }
    }

    pub fn cache(&self) -> Option<&LayerKvCache> {
        match self {
            LayerState::Attention(cache) => Some(cache),
            LayerState::DeltaNet(_) => None,
        }
    }

    pub fn delta(&self) -> Option<&DeltaNetState> {
        match self {
            LayerState::Attention(_) => None,
            LayerState::DeltaNet(memory) => Some(memory),
        }
    }

    pub fn delta_mut(&mut self) -> Option<&mut DeltaNetState> {
        match self {
            LayerState::Attention(_) => None,
            LayerState::DeltaNet(memory) => Some(memory),
        }
    }
}

impl LayerKvCache {
    /// Creates an empty cache; it grows with the positions.
    fn new(model_config: &ModelConfig, kind: KvCacheType) -> Self {
        let ModelConfig { kv_heads, head_dim, .. } = *model_config;
        match kind {
            KvCacheType::F16 => LayerKvCache::F16(KvCache::new(kv_heads, head_dim, 0)),
            KvCacheType::F32 => LayerKvCache::F32(KvCache::new(kv_heads, head_dim, 0)),
            KvCacheType::Q8 => LayerKvCache::Q8(KvCache8::new(kv_heads, head_dim, 0)),
        }
    }

    fn planned_bytes(model_config: &ModelConfig, positions: usize, kind: KvCacheType) -> Option<usize> {
        let ModelConfig { kv_heads, head_dim, .. } = *model_config;
        match kind {
            KvCacheType::F16 => KvCache::<f16>::planned_bytes(kv_heads, head_dim, positions),
            KvCacheType::F32 => KvCache::<f32>::planned_bytes(kv_heads, head_dim, positions),
            KvCacheType::Q8 => KvCache8::planned_bytes(kv_heads, head_dim, positions),
        }
    }

    fn bytes(&self) -> usize {
        any!(self, cache => cache.bytes())
    }

    pub fn store(&mut self, start: usize, keys: &[f32], values: &[f32]) {
        any!(self, cache => cache.store(start, keys, values));
    }

    pub fn load(&self, head: usize, position: usize, key: &mut [f32], value: &mut [f32]) {
        any!(self, cache => cache.load(head, position, key, value));
    }

    pub fn attend(&self, pool: &Pool, simd: Simd, shape: &AttentionShape, q: &[f32], start: usize, out: &mut [f32]) {
        any!(self, cache => attention(pool, simd, shape, q, cache, start, out));
    }
}

impl DeltaNetState {
    fn new(net: &DeltaNet) -> Self {
        let heads = net.heads();
        DeltaNetState { conv: ConvState::new(heads.channels(), net.taps), delta: DeltaState::new(heads) }
    }

    /// Earliest position that [`DeltaNetState::truncate`] reaches.
    pub fn border(&self) -> usize {
        self.delta.border()
    }

    pub fn truncate(&mut self, len: usize) {
        self.conv.truncate(len);
        self.delta.truncate(len);
    }

    pub fn clear(&mut self) {
        self.conv.clear();
        self.delta.clear();
    }
}
