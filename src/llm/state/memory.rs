//! What one layer remembers.

use std::io::{self, Read, Write};

use half::f16;
use sotto_kernels::{AttentionShape, ConvState, DeltaState, KvCache, KvCache8, Pool, Simd, attention};

use crate::config;
use crate::llm::blueprint::{Blueprint, DeltaNet};

/// What keys and values are kept as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheKind {
    /// Half the memory of f32.
    #[default]
    F16,
    /// For comparisons: nothing is rounded.
    F32,
    /// Whole numbers of 8 bits with a scale for each 32: 0.53 of the memory of f16. Against f32, over 512 tokens of
    /// prose and code, SmolLM2-135M has a mean KL divergence of 4.5e-4 (f16: 4.5e-7) and the same most probable token 500
    /// times; Qwen2.5-Coder-0.5B, whose keys have large biases, 1.5e-2 (f16: 3.2e-6) and 481 times.
    Q8,
}

impl From<config::Kv> for CacheKind {
    fn from(kv: config::Kv) -> CacheKind {
        match kv {
            config::Kv::F16 => CacheKind::F16,
            config::Kv::Q8 => CacheKind::Q8,
        }
    }
}

#[derive(Clone)]
pub(in crate::llm) enum Memory {
    Attention(Cache),
    Delta(Box<DeltaMemory>),
}

/// Keys and values of an attention layer.
#[derive(Clone)]
pub enum Cache {
    F16(KvCache<f16>),
    F32(KvCache<f32>),
    Q8(KvCache8),
}

/// The same for a cache of any kind.
macro_rules! any {
    ($cache:expr, $kind:pat => $what:expr) => {
        match $cache {
            Cache::F16($kind) => $what,
            Cache::F32($kind) => $what,
            Cache::Q8($kind) => $what,
        }
    };
}

/// The memory of a DeltaNet layer.
#[derive(Clone)]
pub struct DeltaMemory {
    pub conv: ConvState,
    pub delta: DeltaState,
}

impl Memory {
    pub fn new(blueprint: &Blueprint, layer: usize, kind: CacheKind) -> Self {
        match &blueprint.delta {
            Some(net) if blueprint.is_delta(layer) => Memory::Delta(Box::new(DeltaMemory::new(net))),
            _ => Memory::Attention(Cache::new(blueprint, kind)),
        }
    }

    /// Bytes of the memory of a layer after `context` positions; `None` if they overflow.
    pub fn planned_bytes(blueprint: &Blueprint, layer: usize, context: usize, kind: CacheKind) -> Option<usize> {
        match &blueprint.delta {
            Some(net) if blueprint.is_delta(layer) => {
                let conv = ConvState::planned_bytes(net.heads().channels(), net.taps)?;
                conv.checked_add(DeltaState::planned_bytes(&net.heads())?)
            }
            // One more position than the context: a lone token of a prompt is computed as a pair.
            _ => Cache::planned_bytes(blueprint, context.checked_add(1)?, kind),
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Memory::Attention(cache) => cache.bytes(),
            Memory::Delta(memory) => memory.conv.bytes() + memory.delta.bytes(),
        }
    }

    pub fn grow(&mut self, positions: usize) {
        match self {
            Memory::Attention(cache) => any!(cache, cache => cache.grow(positions)),
            Memory::Delta(_) => {}
        }
    }

    /// Bytes that [`Memory::write_to`] writes.
    pub fn written_bytes(&self, len: usize) -> usize {
        match self {
            Memory::Attention(cache) => any!(cache, cache => cache.written_bytes(len)),
            Memory::Delta(memory) => memory.conv.written_bytes() + memory.delta.written_bytes(),
        }
    }

    /// Writes what is remembered of the first `len` positions, which are all.
    pub fn write_to(&self, len: usize, to: &mut impl Write) -> io::Result<()> {
        match self {
            Memory::Attention(cache) => any!(cache, cache => cache.write_to(len, to)),
            Memory::Delta(memory) => memory.conv.write_to(to).and_then(|()| memory.delta.write_to(to)),
        }
    }

    /// Becomes what [`Memory::write_to`] wrote after `len` positions with the border at `border`, which must be one.
    pub fn read_from(&mut self, border: usize, len: usize, from: &mut impl Read) -> io::Result<()> {
        match self {
            Memory::Attention(cache) => any!(cache, cache => cache.read_from(len, from)),
            Memory::Delta(memory) => {
                memory.conv.read_from(border, len, from)?;
                memory.delta.read_from(border, len, from)
            }
        }
    }

    pub fn cache(&self) -> Option<&Cache> {
        match self {
            Memory::Attention(cache) => Some(cache),
            Memory::Delta(_) => None,
        }
    }

    pub fn delta(&self) -> Option<&DeltaMemory> {
        match self {
            Memory::Attention(_) => None,
            Memory::Delta(memory) => Some(memory),
        }
    }

    pub fn delta_mut(&mut self) -> Option<&mut DeltaMemory> {
        match self {
            Memory::Attention(_) => None,
            Memory::Delta(memory) => Some(memory),
        }
    }
}

impl Cache {
    /// Empty; it grows with the positions.
    fn new(blueprint: &Blueprint, kind: CacheKind) -> Self {
        let Blueprint { kv_heads, head_dim, .. } = *blueprint;
        match kind {
            CacheKind::F16 => Cache::F16(KvCache::new(kv_heads, head_dim, 0)),
            CacheKind::F32 => Cache::F32(KvCache::new(kv_heads, head_dim, 0)),
            CacheKind::Q8 => Cache::Q8(KvCache8::new(kv_heads, head_dim, 0)),
        }
    }

    fn planned_bytes(blueprint: &Blueprint, positions: usize, kind: CacheKind) -> Option<usize> {
        let Blueprint { kv_heads, head_dim, .. } = *blueprint;
        match kind {
            CacheKind::F16 => KvCache::<f16>::planned_bytes(kv_heads, head_dim, positions),
            CacheKind::F32 => KvCache::<f32>::planned_bytes(kv_heads, head_dim, positions),
            CacheKind::Q8 => KvCache8::planned_bytes(kv_heads, head_dim, positions),
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

impl DeltaMemory {
    fn new(net: &DeltaNet) -> Self {
        let heads = net.heads();
        DeltaMemory { conv: ConvState::new(heads.channels(), net.taps), delta: DeltaState::new(heads) }
    }

    /// How far back [`DeltaMemory::truncate`] reaches.
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
