//! Keys and values of the positions so far.

use crate::isa::Isa;
use half::f16;

/// Positions that stand together in the key cache; the capacity is rounded up to whole blocks.
pub const KEY_BLOCK: usize = 16;

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

    pub(crate) fn is_for(&self, kv_heads: usize, head_dim: usize) -> bool {
        (self.kv_heads, self.head_dim) == (kv_heads, head_dim)
    }

    /// Keys of the sixteen positions from `position` on, `[head_dim, 16]`; `position` is a multiple of sixteen.
    #[inline(always)]
    pub(crate) fn key_block(&self, head: usize, position: usize) -> &[E] {
        &self.keys[self.key_at(head, position)..][..KEY_BLOCK * self.head_dim]
    }

    /// Values `[count, head_dim]` from `position` on.
    #[inline(always)]
    pub(crate) fn values(&self, head: usize, position: usize, count: usize) -> &[E] {
        &self.values[self.value_at(head, position)..][..count * self.head_dim]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded() {
        let (heads, d) = (3, 5);
        let mut cache = KvCache::<f32>::new(heads, d, 20);
        assert_eq!(cache.capacity(), 32);
        let keys: Vec<f32> = (0..21 * heads * d).map(|i| i as f32).collect();
        let values: Vec<f32> = keys.iter().map(|k| -k).collect();
        cache.store(0, &keys[..4 * heads * d], &values[..4 * heads * d]);
        cache.store(4, &keys[4 * heads * d..], &values[4 * heads * d..]);
        let (mut key, mut value) = ([0.0; 5], [0.0; 5]);
        for position in 0..21 {
            for head in 0..heads {
                cache.load(head, position, &mut key, &mut value);
                let at = (position * heads + head) * d;
                assert_eq!((&key[..], &value[..]), (&keys[at..at + d], &values[at..at + d]));
            }
        }
    }

    #[test]
    fn sizes_are_planned() {
        assert_eq!(KvCache::<f16>::planned_bytes(2, 64, 100), Some(2 * 64 * 112 * 2 * 2));
        assert_eq!(KvCache::<f16>::planned_bytes(usize::MAX, 64, 100), None);
        assert_eq!(KvCache::<f32>::planned_bytes(1, 1, usize::MAX), None);
    }
}
