//! Attention over a cache of keys and values, with several query heads per key head (GQA).

use crate::{Pool, Scratch, Simd, reference};
use half::f16;

/// How many values a query, a key and a value have, and what a query may see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Query heads; a multiple of `kv_heads`. Query head `h` reads key head `h / (heads / kv_heads)`.
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// What scores are multiplied with, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Whether a token sees only itself and what stands before it.
    pub causal: bool,
}

/// Positions that stand together in the key cache; the capacity is rounded up to whole blocks.
pub const KEY_BLOCK: usize = 16;

/// What keys and values are kept as: `f16` (half the memory) or `f32`.
pub trait KvElement: Copy + Send + Sync + 'static {
    const ZERO: Self;
    fn from_f32(value: f32) -> Self;
    fn to_f32(self) -> f32;
}

impl KvElement for f16 {
    const ZERO: f16 = f16::ZERO;
    fn from_f32(value: f32) -> f16 {
        f16::from_f32(value)
    }
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }
}

impl KvElement for f32 {
    const ZERO: f32 = 0.0;
    fn from_f32(value: f32) -> f32 {
        value
    }
    fn to_f32(self) -> f32 {
        self
    }
}

/// Keys and values of one layer. What stands beyond the positions that a call names is never read, so going back to
/// an earlier position is simply to store there again.
///
/// Values lie as `[kv_head, position, head_dim]`. Keys lie as `[kv_head, position / 16, head_dim, position % 16]`: the
/// scores of sixteen positions then come out in sixteen lanes, and no sum across lanes is needed.
pub struct KvCache<E = f16> {
    kv_heads: usize,
    head_dim: usize,
    capacity: usize,
    keys: Vec<E>,
    values: Vec<E>,
}

impl<E: KvElement> KvCache<E> {
    /// Room for `capacity` positions.
    ///
    /// Panics if the size overflows; see [`KvCache::planned_bytes`].
    pub fn new(kv_heads: usize, head_dim: usize, capacity: usize) -> KvCache<E> {
        let bytes = KvCache::<E>::planned_bytes(kv_heads, head_dim, capacity).expect("a cache that fits in memory");
        let values = bytes / (2 * size_of::<E>());
        let capacity = capacity.next_multiple_of(KEY_BLOCK);
        KvCache { kv_heads, head_dim, capacity, keys: vec![E::ZERO; values], values: vec![E::ZERO; values] }
    }

    /// Bytes that [`KvCache::new`] takes; `None` if they overflow.
    pub fn planned_bytes(kv_heads: usize, head_dim: usize, capacity: usize) -> Option<usize> {
        let capacity = capacity.checked_next_multiple_of(KEY_BLOCK)?;
        kv_heads.checked_mul(head_dim)?.checked_mul(capacity)?.checked_mul(2 * size_of::<E>())
    }

    /// Positions there is room for: what was asked for, rounded up to a whole block.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Stores keys and values `[n, kv_heads, head_dim]` at positions `start..start + n`.
    ///
    /// Panics beyond the capacity, or if the lengths disagree.
    pub fn store(&mut self, start: usize, keys: &[f32], values: &[f32]) {
        let token = self.kv_heads * self.head_dim;
        assert!(keys.len() == values.len() && keys.len().is_multiple_of(token), "keys and values are [n, {token}]");
        let n = keys.len() / token;
        assert!(start + n <= self.capacity, "position {} of {}", start + n, self.capacity);
        for (i, (key, value)) in keys.chunks_exact(self.head_dim).zip(values.chunks_exact(self.head_dim)).enumerate() {
            self.store_head(i % self.kv_heads, start + i / self.kv_heads, key, value);
        }
    }

    fn store_head(&mut self, head: usize, position: usize, key: &[f32], value: &[f32]) {
        let at = self.value_at(head, position);
        for (to, &from) in self.values[at..].iter_mut().zip(value) {
            *to = E::from_f32(from);
        }
        let at = self.key_at(head, position);
        for (to, &from) in self.keys[at..].iter_mut().step_by(KEY_BLOCK).zip(key) {
            *to = E::from_f32(from);
        }
    }

    /// Reads back what [`KvCache::store`] stored for one head and position.
    pub fn load(&self, head: usize, position: usize, key: &mut [f32], value: &mut [f32]) {
        let at = self.value_at(head, position);
        for (to, &from) in value.iter_mut().zip(&self.values[at..][..self.head_dim]) {
            *to = from.to_f32();
        }
        let at = self.key_at(head, position);
        for (to, &from) in key.iter_mut().zip(self.keys[at..].iter().step_by(KEY_BLOCK)) {
            *to = from.to_f32();
        }
    }

    fn value_at(&self, head: usize, position: usize) -> usize {
        (head * self.capacity + position) * self.head_dim
    }

    fn key_at(&self, head: usize, position: usize) -> usize {
        (head * self.capacity + position / KEY_BLOCK * KEY_BLOCK) * self.head_dim + position % KEY_BLOCK
    }
}

/// out`[n, heads, head_dim]` = softmax(scale · q · Kᵀ) · V for queries q`[n, heads, head_dim]`, the first of which stands
/// at position `start`. The keys and values of positions `0..start + n` must have been stored.
///
/// Panics if the lengths disagree, or if a position lies beyond the cache.
#[allow(clippy::too_many_arguments)]
pub fn attention<E: KvElement>(
    _pool: &Pool,
    _simd: Simd,
    shape: &AttentionShape,
    q: &[f32],
    cache: &KvCache<E>,
    start: usize,
    out: &mut [f32],
    _scratch: &mut Scratch,
) {
    let token = shape.heads * shape.head_dim;
    assert!(shape.kv_heads > 0 && shape.heads.is_multiple_of(shape.kv_heads), "{shape:?}");
    assert!(q.len() == out.len() && token > 0 && q.len().is_multiple_of(token), "q and out are [n, {token}]");
    assert!((cache.kv_heads, cache.head_dim) == (shape.kv_heads, shape.head_dim), "the cache is of this shape");
    assert!(start + q.len() / token <= cache.capacity, "the cache has {} positions", cache.capacity);
    reference::attention(shape, q, cache, start, out);
}
