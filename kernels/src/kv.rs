//! Cache of the keys and values of the positions so far.

mod eight;

use std::io::{self, Read, Write};
use std::ops::Range;

use crate::isa::Isa;
use crate::numbers::{Number, Zero, read_numbers, write_numbers};
pub use eight::KvCache8;
pub(crate) use eight::{GROUP, TILE};
use half::f16;

/// Number of positions that are stored together in the key cache.
pub(crate) const KEY_BLOCK: usize = 16;
/// Number of positions that are allocated together; a multiple of the number that attention reads
/// at a time.
pub(crate) const SEGMENT: usize = 128;

/// Number format of cached keys and values: `f16` (half the memory) or `f32`.
pub trait KvElement: Number + lanes::Load {
    /// Converts to the nearest finite value; NaN stays NaN. Attention multiplies masked tokens by
    /// 0, and infinity would turn the results of earlier tokens into NaN. Only `f32`, which is for
    /// comparisons, stores every value unchanged.
    fn from_f32(value: f32) -> Self;
    fn to_f32(self) -> f32;
}

pub(crate) mod lanes {
    use super::*;

    /// Sealed: other crates cannot add elements that no kernel can read.
    pub trait Load: Copy + Send + Sync + 'static {
        /// Loads the first `Isa::LANES` values of `from`.
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
    fn from_f32(value: f32) -> f16 {
        f16::from_f32(value).clamp(f16::MIN, f16::MAX)
    }
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }
}

impl KvElement for f32 {
    fn from_f32(value: f32) -> f32 {
        value
    }
    fn to_f32(self) -> f32 {
        self
    }
}

/// Keys and values of one layer. Entries beyond the positions of a call are never read, so rollback
/// just stores there again. It grows by whole segments, and its contents stay in place.
///
/// In a segment values have the layout `[kv_head, position, head_dim]`, and keys `[kv_head,
/// position / 16, head_dim, position % 16]`: the scores of sixteen positions are then computed in
/// sixteen lanes, and no sum across lanes is needed.
#[derive(Clone)]
pub struct KvCache<E = f16> {
    layout: Layout,
    segments: Vec<Segment<E>>,
}

#[derive(Clone)]
struct Segment<E> {
    keys: Vec<E>,
    values: Vec<E>,
}

/// Layout of keys and values in a segment.
#[derive(Clone, Copy, PartialEq)]
struct Layout {
    kv_heads: usize,
    head_dim: usize,
}

impl Layout {
    /// Offset of a value.
    #[inline(always)]
    fn value_at(self, head: usize, position: usize) -> usize {
        (head * SEGMENT + position % SEGMENT) * self.head_dim
    }

    /// Offset of a key.
    #[inline(always)]
    fn key_at(self, head: usize, position: usize) -> usize {
        (head * SEGMENT + position % SEGMENT / KEY_BLOCK * KEY_BLOCK) * self.head_dim + position % KEY_BLOCK
    }

    /// Ranges of the values of the first `count` positions.
    fn values(self, count: usize) -> impl Iterator<Item = Range<usize>> {
        (0..self.kv_heads).map(move |head| self.value_at(head, 0)..self.value_at(head, 0) + count * self.head_dim)
    }

    /// Ranges of the keys of the first `count` positions: whole blocks, then the used columns of
    /// the last one.
    fn keys(self, count: usize) -> impl Iterator<Item = Range<usize>> {
        let (whole, columns) = (count / KEY_BLOCK * KEY_BLOCK, count % KEY_BLOCK);
        let rows = if columns == 0 { 0 } else { self.head_dim };
        (0..self.kv_heads).flat_map(move |head| {
            let first = self.key_at(head, 0);
            let last = first + whole * self.head_dim;
            let row = move |i| last + i * KEY_BLOCK..last + i * KEY_BLOCK + columns;
            std::iter::once(first..last).chain((0..rows).map(row))
        })
    }
}

impl<E: Number> KvCache<E> {
    /// Creates a cache for `capacity` positions.
    ///
    /// Panics if the size overflows; see [`KvCache::planned_bytes`].
    pub fn new(kv_heads: usize, head_dim: usize, capacity: usize) -> KvCache<E> {
        KvCache::<E>::planned_bytes(kv_heads, head_dim, capacity).expect("a cache that fits in memory");
        let mut cache = KvCache { layout: Layout { kv_heads, head_dim }, segments: Vec::new() };
        cache.grow(capacity);
        cache
    }

    /// Grows to `capacity` positions in all, if there are fewer.
    pub fn grow(&mut self, capacity: usize) {
        let values = self.layout.kv_heads * self.layout.head_dim * SEGMENT;
        let zeros = || vec![<E as Zero>::ZERO; values];
        while self.capacity() < capacity {
            self.segments.push(Segment { keys: zeros(), values: zeros() });
        }
    }

    /// Bytes of a cache for `capacity` positions; `None` if they overflow.
    pub fn planned_bytes(kv_heads: usize, head_dim: usize, capacity: usize) -> Option<usize> {
        let capacity = capacity.checked_next_multiple_of(SEGMENT)?;
        kv_heads.checked_mul(head_dim)?.checked_mul(capacity)?.checked_mul(2 * size_of::<E>())
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.segments.iter().map(|segment| 2 * segment.keys.len() * size_of::<E>()).sum()
    }

    /// Number of positions that fit: the requested number, rounded up to a whole segment.
    pub fn capacity(&self) -> usize {
        self.segments.len() * SEGMENT
    }

    /// Bytes that [`KvCache::write_to`] writes for `len` positions.
    pub fn written_bytes(&self, len: usize) -> usize {
        2 * self.layout.kv_heads * self.layout.head_dim * len * size_of::<E>()
    }

    /// Writes the keys and values of the first `len` positions, and of no others. Panics beyond the
    /// capacity.
    pub fn write_to(&self, len: usize, to: &mut impl Write) -> io::Result<()> {
        assert!(len <= self.capacity(), "position {len} of {}", self.capacity());
        for (n, segment) in self.segments.iter().enumerate().take(len.div_ceil(SEGMENT)) {
            let count = SEGMENT.min(len - n * SEGMENT);
            self.layout.keys(count).try_for_each(|range| write_numbers(&segment.keys[range], to))?;
            self.layout.values(count).try_for_each(|range| write_numbers(&segment.values[range], to))?;
        }
        Ok(())
    }

    /// Grows to `len` positions and reads the output of [`KvCache::write_to`] for as many.
    pub fn read_from(&mut self, len: usize, from: &mut impl Read) -> io::Result<()> {
        self.grow(len);
        let layout = self.layout;
        for (n, segment) in self.segments.iter_mut().enumerate().take(len.div_ceil(SEGMENT)) {
            let count = SEGMENT.min(len - n * SEGMENT);
            layout.keys(count).try_for_each(|range| read_numbers(&mut segment.keys[range], from))?;
            layout.values(count).try_for_each(|range| read_numbers(&mut segment.values[range], from))?;
        }
        Ok(())
    }

    pub(crate) fn is_for(&self, kv_heads: usize, head_dim: usize) -> bool {
        self.layout == Layout { kv_heads, head_dim }
    }

    /// Returns the keys of the sixteen positions from `position` on, `[head_dim, 16]`; `position`
    /// is a multiple of sixteen.
    #[inline(always)]
    pub(crate) fn key_block(&self, head: usize, position: usize) -> &[E] {
        let at = self.layout.key_at(head, position);
        &self.segments[position / SEGMENT].keys[at..][..KEY_BLOCK * self.layout.head_dim]
    }

    /// Returns the values `[count, head_dim]` from `position` on, all in one segment.
    #[inline(always)]
    pub(crate) fn values(&self, head: usize, position: usize, count: usize) -> &[E] {
        let at = self.layout.value_at(head, position);
        &self.segments[position / SEGMENT].values[at..][..count * self.layout.head_dim]
    }

    /// Returns the places of a position's key, value by value.
    fn key_mut(&mut self, head: usize, position: usize) -> impl Iterator<Item = &mut E> {
        let at = self.layout.key_at(head, position);
        self.segments[position / SEGMENT].keys[at..].iter_mut().step_by(KEY_BLOCK).take(self.layout.head_dim)
    }

    fn value_mut(&mut self, head: usize, position: usize) -> impl Iterator<Item = &mut E> {
        let at = self.layout.value_at(head, position);
        self.segments[position / SEGMENT].values[at..][..self.layout.head_dim].iter_mut()
    }

    fn key(&self, head: usize, position: usize) -> impl Iterator<Item = E> {
        let at = self.layout.key_at(head, position);
        self.segments[position / SEGMENT].keys[at..].iter().step_by(KEY_BLOCK).take(self.layout.head_dim).copied()
    }

    fn value(&self, head: usize, position: usize) -> impl Iterator<Item = E> {
        self.values(head, position, 1).iter().copied()
    }

    /// Calls `each(head, position, key, value)` for keys and values `[n, kv_heads, head_dim]` of
    /// positions `start..`. Panics beyond the capacity, or if the lengths disagree.
    fn each_head(
        &mut self,
        start: usize,
        keys: &[f32],
        values: &[f32],
        mut each: impl FnMut(&mut Self, usize, usize, &[f32], &[f32]),
    ) {
        let Layout { kv_heads: heads, head_dim } = self.layout;
        let token = heads * head_dim;
        assert!(keys.len() == values.len() && keys.len().is_multiple_of(token), "keys and values are [n, {token}]");
        let end = start + keys.len() / token;
        assert!(end <= self.capacity(), "position {end} of {}", self.capacity());
        for (i, (key, value)) in keys.chunks_exact(head_dim).zip(values.chunks_exact(head_dim)).enumerate() {
            each(self, i % heads, start + i / heads, key, value);
        }
    }
}

impl<E: KvElement> KvCache<E> {
    /// Stores keys and values `[n, kv_heads, head_dim]` at positions `start..start + n`.
    ///
    /// Panics beyond the capacity, or if the lengths disagree.
    pub fn store(&mut self, start: usize, keys: &[f32], values: &[f32]) {
        self.each_head(start, keys, values, |cache, head, position, key, value| {
            cache.value_mut(head, position).zip(value).for_each(|(to, &from)| *to = E::from_f32(from));
            cache.key_mut(head, position).zip(key).for_each(|(to, &from)| *to = E::from_f32(from));
        });
    }

    /// Reads back what [`KvCache::store`] stored for one head and position.
    pub fn load(&self, head: usize, position: usize, key: &mut [f32], value: &mut [f32]) {
        value.iter_mut().zip(self.value(head, position)).for_each(|(to, from)| *to = from.to_f32());
        key.iter_mut().zip(self.key(head, position)).for_each(|(to, from)| *to = from.to_f32());
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

    fn noise(len: usize) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * 0.37).sin()).collect()
    }

    #[test]
    fn what_is_written_is_read_and_nothing_beyond_is_written() {
        let (heads, d) = (3, 37);
        let all = noise(200 * heads * d);
        for len in [0, 1, 15, 16, 17, 128, 131, 200] {
            let token = heads * d;
            let (mut long, mut exact) = (KvCache::<f16>::new(heads, d, 200), KvCache::<f16>::new(heads, d, len));
            let (mut long8, mut exact8) = (KvCache8::new(heads, d, 200), KvCache8::new(heads, d, len));
            long.store(0, &all, &all);
            long8.store(0, &all, &all);
            exact.store(0, &all[..len * token], &all[..len * token]);
            exact8.store(0, &all[..len * token], &all[..len * token]);
            let bytes = |write: &dyn Fn(&mut Vec<u8>) -> io::Result<()>| {
                let mut bytes = Vec::new();
                write(&mut bytes).map(|()| bytes).unwrap()
            };
            let (written, written8) = (bytes(&|to| long.write_to(len, to)), bytes(&|to| long8.write_to(len, to)));
            assert_eq!((written.len(), written8.len()), (long.written_bytes(len), long8.written_bytes(len)));
            assert!(written == bytes(&|to| exact.write_to(len, to)), "{len}");
            assert!(written8 == bytes(&|to| exact8.write_to(len, to)), "{len}");
            let (mut back, mut back8) = (KvCache::<f16>::new(heads, d, 0), KvCache8::new(heads, d, 0));
            back.read_from(len, &mut &written[..]).unwrap();
            back8.read_from(len, &mut &written8[..]).unwrap();
            assert!(written == bytes(&|to| back.write_to(len, to)), "{len}");
            assert!(written8 == bytes(&|to| back8.write_to(len, to)), "{len}");
            assert!(len == 0 || back.read_from(len, &mut &written[1..]).is_err());
        }
    }

    #[test]
    fn sizes_are_planned() {
        assert_eq!(KvCache::<f16>::planned_bytes(2, 64, 100), Some(2 * 64 * 128 * 2 * 2));
        assert_eq!(KvCache::<f16>::planned_bytes(usize::MAX, 64, 100), None);
        assert_eq!(KvCache::<f32>::planned_bytes(1, 1, usize::MAX), None);
    }
}
