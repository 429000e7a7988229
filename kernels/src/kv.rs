//! Keys and values of the positions so far.

use crate::isa::Isa;
use half::f16;

/// Positions that stand together in the key cache.
pub const KEY_BLOCK: usize = 16;
/// Positions that are allocated together; a multiple of what attention reads at a time.
pub const SEGMENT: usize = 128;

/// What keys and values are kept as: `f16` (half the memory) or `f32`.
pub trait KvElement: lanes::Load {
    const ZERO: Self;
    fn from_f32(value: f32) -> Self;
    fn to_f32(self) -> f32;
}

pub(crate) mod lanes {
    use super::*;

    /// Keeps other crates from adding elements that no kernel can read.
    pub trait Load: Copy + Send + Sync + 'static {
        /// The first `Isa::LANES` values of `from`.
        fn load<I: Isa>(isa: I, from: &[Self]) -> I::Floats;
    }

    impl Load for f16 {
        #[inline(always)]
        fn load<I: Isa>(isa: I, from: &[f16]) -> I::Floats {
            isa.load_halves(from)
        }
    }

    impl Load for f32 {
        #[inline(always)]
        fn load<I: Isa>(isa: I, from: &[f32]) -> I::Floats {
            isa.load(from)
        }
    }
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
/// an earlier position is simply to store there again. It grows by whole segments, and what it has stays where it is.
///
/// In a segment values lie as `[kv_head, position, head_dim]`, and keys as
/// `[kv_head, position / 16, head_dim, position % 16]`: the scores of sixteen positions then come out in sixteen lanes,
/// and no sum across lanes is needed.
#[derive(Clone)]
pub struct KvCache<E = f16> {
    kv_heads: usize,
    head_dim: usize,
    segments: Vec<Segment<E>>,
}

#[derive(Clone)]
struct Segment<E> {
    keys: Vec<E>,
    values: Vec<E>,
}

impl<E: KvElement> KvCache<E> {
    /// Room for `capacity` positions.
    ///
    /// Panics if the size overflows; see [`KvCache::planned_bytes`].
    pub fn new(kv_heads: usize, head_dim: usize, capacity: usize) -> KvCache<E> {
        KvCache::<E>::planned_bytes(kv_heads, head_dim, capacity).expect("a cache that fits in memory");
        let mut cache = KvCache { kv_heads, head_dim, segments: Vec::new() };
        cache.grow(capacity);
        cache
    }

    /// Makes room for `capacity` positions in all, if there is less.
    pub fn grow(&mut self, capacity: usize) {
        let values = self.kv_heads * self.head_dim * SEGMENT;
        while self.capacity() < capacity {
            self.segments.push(Segment { keys: vec![E::ZERO; values], values: vec![E::ZERO; values] });
        }
    }

    /// Bytes of a cache with room for `capacity` positions; `None` if they overflow.
    pub fn planned_bytes(kv_heads: usize, head_dim: usize, capacity: usize) -> Option<usize> {
        let capacity = capacity.checked_next_multiple_of(SEGMENT)?;
        kv_heads.checked_mul(head_dim)?.checked_mul(capacity)?.checked_mul(2 * size_of::<E>())
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.segments.iter().map(|segment| 2 * segment.keys.len() * size_of::<E>()).sum()
    }

    /// Positions there is room for: what was asked for, rounded up to a whole segment.
    pub fn capacity(&self) -> usize {
        self.segments.len() * SEGMENT
    }

    /// Stores keys and values `[n, kv_heads, head_dim]` at positions `start..start + n`.
    ///
    /// Panics beyond the capacity, or if the lengths disagree.
    pub fn store(&mut self, start: usize, keys: &[f32], values: &[f32]) {
        let token = self.kv_heads * self.head_dim;
        assert!(keys.len() == values.len() && keys.len().is_multiple_of(token), "keys and values are [n, {token}]");
        let n = keys.len() / token;
        assert!(start + n <= self.capacity(), "position {} of {}", start + n, self.capacity());
        for (i, (key, value)) in keys.chunks_exact(self.head_dim).zip(values.chunks_exact(self.head_dim)).enumerate() {
            self.store_head(i % self.kv_heads, start + i / self.kv_heads, key, value);
        }
    }

    fn store_head(&mut self, head: usize, position: usize, key: &[f32], value: &[f32]) {
        let (key_at, value_at) = (self.key_at(head, position), self.value_at(head, position));
        let segment = &mut self.segments[position / SEGMENT];
        for (to, &from) in segment.values[value_at..].iter_mut().zip(value) {
            *to = E::from_f32(from);
        }
        for (to, &from) in segment.keys[key_at..].iter_mut().step_by(KEY_BLOCK).zip(key) {
            *to = E::from_f32(from);
        }
    }

    /// Reads back what [`KvCache::store`] stored for one head and position.
    pub fn load(&self, head: usize, position: usize, key: &mut [f32], value: &mut [f32]) {
        let (key_at, value_at) = (self.key_at(head, position), self.value_at(head, position));
        let segment = &self.segments[position / SEGMENT];
        for (to, &from) in value.iter_mut().zip(&segment.values[value_at..][..self.head_dim]) {
            *to = from.to_f32();
        }
        for (to, &from) in key.iter_mut().zip(segment.keys[key_at..].iter().step_by(KEY_BLOCK)) {
            *to = from.to_f32();
        }
    }

    /// Where a value begins in its segment.
    #[inline(always)]
    fn value_at(&self, head: usize, position: usize) -> usize {
        (head * SEGMENT + position % SEGMENT) * self.head_dim
    }

    /// Where a key begins in its segment.
    #[inline(always)]
    fn key_at(&self, head: usize, position: usize) -> usize {
        (head * SEGMENT + position % SEGMENT / KEY_BLOCK * KEY_BLOCK) * self.head_dim + position % KEY_BLOCK
    }

    pub(crate) fn is_for(&self, kv_heads: usize, head_dim: usize) -> bool {
        (self.kv_heads, self.head_dim) == (kv_heads, head_dim)
    }

    /// Keys of the sixteen positions from `position` on, `[head_dim, 16]`; `position` is a multiple of sixteen.
    #[inline(always)]
    pub(crate) fn key_block(&self, head: usize, position: usize) -> &[E] {
        &self.segments[position / SEGMENT].keys[self.key_at(head, position)..][..KEY_BLOCK * self.head_dim]
    }

    /// Values `[count, head_dim]` from `position` on, all in one segment.
    #[inline(always)]
    pub(crate) fn values(&self, head: usize, position: usize, count: usize) -> &[E] {
        &self.segments[position / SEGMENT].values[self.value_at(head, position)..][..count * self.head_dim]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded() {
        let (heads, d) = (3, 5);
        let mut cache = KvCache::<f32>::new(heads, d, 20);
        assert_eq!(cache.capacity(), 128);
        let positions = 260;
        let keys: Vec<f32> = (0..positions * heads * d).map(|i| i as f32).collect();
        let values: Vec<f32> = keys.iter().map(|k| -k).collect();
        cache.store(0, &keys[..4 * heads * d], &values[..4 * heads * d]);
        cache.grow(positions);
        assert_eq!(cache.capacity(), 384);
        cache.store(4, &keys[4 * heads * d..], &values[4 * heads * d..]);
        let (mut key, mut value) = ([0.0; 5], [0.0; 5]);
        for position in 0..positions {
            for head in 0..heads {
                cache.load(head, position, &mut key, &mut value);
                let at = (position * heads + head) * d;
                assert_eq!((&key[..], &value[..]), (&keys[at..at + d], &values[at..at + d]));
            }
        }
    }

    #[test]
    fn sizes_are_planned() {
        assert_eq!(KvCache::<f16>::planned_bytes(2, 64, 100), Some(2 * 64 * 128 * 2 * 2));
        assert_eq!(KvCache::<f16>::planned_bytes(usize::MAX, 64, 100), None);
        assert_eq!(KvCache::<f32>::planned_bytes(1, 1, usize::MAX), None);
    }
}
