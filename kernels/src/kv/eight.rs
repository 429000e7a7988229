//! Cache of keys and values in 8 bits.

use std::io::{self, Read, Write};

use super::{KEY_BLOCK, KvCache, KvElement};
use half::f16;

/// Number of values of a head that share a scale, as in Q8_0.
///
/// A head has channels that are always large (Qwen 2.5 adds biases of up to some hundred to its
/// keys), which reduce the precision of all values with the same scale. Measured over 200 tokens,
/// the relative root mean square error of keys with a scale for 16, 32 and 64 values (a whole head)
/// is 6.3e-3, 8.1e-3 and 1.10e-2 for SmolLM2-135M and 6.5e-3, 9.0e-3 and 1.08e-2 for
/// Qwen2.5-Coder-0.5B; of 9, 8.5 and 8.25 bits a value the middle one gains most.
pub(crate) const GROUP: usize = 32;
/// Number of values that attention unpacks at a time: a group of sixteen positions.
pub(crate) const TILE: usize = GROUP * KEY_BLOCK;
/// Largest magnitude of a code.
const LARGEST: f32 = 127.0;

/// Keys and values of one layer as integers of 8 bits with a scale of 16 bits for each 32: 8.5 bits
/// a value instead of the 16 of [`KvCache<f16>`](KvCache). Each position is packed separately when
/// it is stored, so its contents do not depend on later positions, and rollback just stores there
/// again.
#[derive(Clone)]
pub struct KvCache8 {
    /// Codes, as bytes in two's complement.
    pub(super) codes: KvCache<u8>,
    /// Scales: `head_dim / 32`, rounded up, in place of the values of a head.
    pub(super) scales: KvCache<f16>,
}

impl KvCache8 {
    /// Creates a cache for `capacity` positions.
    ///
    /// Panics if the size overflows; see [`KvCache8::planned_bytes`].
    pub fn new(kv_heads: usize, head_dim: usize, capacity: usize) -> KvCache8 {
        let scales = KvCache::new(kv_heads, head_dim.div_ceil(GROUP), capacity);
        KvCache8 { codes: KvCache::new(kv_heads, head_dim, capacity), scales }
    }

    /// Grows to `capacity` positions in all, if there are fewer.
    pub fn grow(&mut self, capacity: usize) {
        self.codes.grow(capacity);
        self.scales.grow(capacity);
    }

    /// Bytes of a cache for `capacity` positions; `None` if they overflow.
    pub fn planned_bytes(kv_heads: usize, head_dim: usize, capacity: usize) -> Option<usize> {
        let scales = KvCache::<f16>::planned_bytes(kv_heads, head_dim.div_ceil(GROUP), capacity)?;
        KvCache::<u8>::planned_bytes(kv_heads, head_dim, capacity)?.checked_add(scales)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.codes.bytes() + self.scales.bytes()
    }

    /// Number of positions that fit: the requested number, rounded up to a whole segment.
    pub fn capacity(&self) -> usize {
        self.codes.capacity()
    }

    /// Bytes that [`KvCache8::write_to`] writes for `len` positions.
    pub fn written_bytes(&self, len: usize) -> usize {
        self.codes.written_bytes(len) + self.scales.written_bytes(len)
    }

    /// Writes the keys and values of the first `len` positions, and of no others. Panics beyond the
    /// capacity.
    pub fn write_to(&self, len: usize, to: &mut impl Write) -> io::Result<()> {
        self.codes.write_to(len, to)?;
        self.scales.write_to(len, to)
    }

    /// Grows to `len` positions and reads the output of [`KvCache8::write_to`] for as many.
    pub fn read_from(&mut self, len: usize, from: &mut impl Read) -> io::Result<()> {
        self.codes.read_from(len, from)?;
        self.scales.read_from(len, from)
    }

    /// Stores keys and values `[n, kv_heads, head_dim]` at positions `start..start + n`.
    ///
    /// Panics beyond the capacity, or if the lengths disagree.
    pub fn store(&mut self, start: usize, keys: &[f32], values: &[f32]) {
        let scales = &mut self.scales;
        self.codes.each_head(start, keys, values, |codes, head, position, key, value| {
            pack(key, codes.key_mut(head, position), scales.key_mut(head, position));
            pack(value, codes.value_mut(head, position), scales.value_mut(head, position));
        });
    }

    /// Reads back the rounded values that [`KvCache8::store`] stored for one head and position.
    pub fn load(&self, head: usize, position: usize, key: &mut [f32], value: &mut [f32]) {
        unpack(self.codes.key(head, position), self.scales.key(head, position), key);
        unpack(self.codes.value(head, position), self.scales.value(head, position), value);
    }

    pub(crate) fn is_for(&self, kv_heads: usize, head_dim: usize) -> bool {
        self.codes.is_for(kv_heads, head_dim)
    }

    /// Returns codes `[head_dim, 16]` and scales `[groups, 16]` of the keys from `position` on, a
    /// multiple of sixteen.
    #[inline(always)]
    pub(crate) fn key_block(&self, head: usize, position: usize) -> (&[u8], &[f16]) {
        (self.codes.key_block(head, position), self.scales.key_block(head, position))
    }

    /// Returns codes `[count, head_dim]` and scales `[count, groups]` of values from `position` on,
    /// all in one segment.
    #[inline(always)]
    pub(crate) fn values(&self, head: usize, position: usize, count: usize) -> (&[u8], &[f16]) {
        (self.codes.values(head, position, count), self.scales.values(head, position, count))
    }
}

/// Rounds to the nearest multiple of a scale that maps the largest of a group to 127. A scale
/// beyond the range of f16 becomes its largest number, as in [`KvElement::from_f32`], and NaN makes
/// its whole group NaN.
fn pack<'a>(values: &[f32], mut codes: impl Iterator<Item = &'a mut u8>, scales: impl Iterator<Item = &'a mut f16>) {
    for (group, scale) in values.chunks(GROUP).zip(scales) {
        let larger = |most: f32, value: &f32| if value.abs() > most || value.is_nan() { value.abs() } else { most };
        *scale = KvElement::from_f32(group.iter().fold(0.0, larger) / LARGEST);
        let by = if *scale == f16::ZERO { 0.0 } else { 1.0 / scale.to_f32() };
        for (value, code) in group.iter().zip(codes.by_ref()) {
            *code = (value * by).round_ties_even().clamp(-LARGEST, LARGEST) as i8 as u8;
        }
    }
}

fn unpack(mut codes: impl Iterator<Item = u8>, scales: impl Iterator<Item = f16>, values: &mut [f32]) {
    for (group, scale) in values.chunks_mut(GROUP).zip(scales) {
        for (value, code) in group.iter_mut().zip(codes.by_ref()) {
            *value = f32::from(code as i8) * scale.to_f32();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stores one key and returns its rounded values.
    fn rounded(key: &[f32]) -> Vec<f32> {
        let mut cache = KvCache8::new(1, key.len(), 1);
        cache.store(0, key, key);
        let (mut back, mut value) = (vec![0.0; key.len()], vec![0.0; key.len()]);
        cache.load(0, 0, &mut back, &mut value);
        assert_eq!(
            back.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
            value.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        );
        back
    }

    #[test]
    fn values_are_rounded_to_a_hundred_and_twenty_seventh_of_the_largest_of_their_group() {
        let mut key: Vec<f32> = (0..80).map(|i| (i as f32 * 0.7).sin()).collect();
        key[3] = -300.0;
        key[70] = 2e-3;
        key[72..].fill(1e-3);
        key[64..72].fill(0.0);
        let back = rounded(&key);
        for (group, (key, back)) in key.chunks(GROUP).zip(back.chunks(GROUP)).enumerate() {
            let largest = key.iter().fold(0.0f32, |most, v| most.max(v.abs()));
            for (k, b) in key.iter().zip(back) {
                // Half a step, plus the largest effect of rounding the scale to 11 bits.
                assert!((k - b).abs() <= largest / 127.0 * 0.5 + largest / 2048.0 + 1e-7, "group {group}: {b} for {k}");
            }
        }
        assert!((back[3] + 300.0).abs() < 0.2);
    }

    #[test]
    fn nothing_stays_nothing_nan_does_not_vanish_and_infinity_becomes_the_largest() {
        assert_eq!(rounded(&[0.0; 40]), [0.0; 40]);
        assert!(rounded(&[1.0, f32::NAN, 2.0]).iter().all(|v| v.is_nan()));
        assert_eq!(rounded(&[1.0, f32::NEG_INFINITY]), [0.0, -127.0 * 65504.0]);
    }

    #[test]
    fn it_takes_eight_and_a_half_bits_a_value() {
        let (f16, eight) = (KvCache::<f16>::planned_bytes(2, 256, 8192), KvCache8::planned_bytes(2, 256, 8192));
        assert_eq!((f16, eight), (Some(16 << 20), Some((8 << 20) + (1 << 19))));
        assert_eq!(KvCache8::new(2, 256, 8192).bytes(), eight.unwrap());
        assert_eq!(KvCache8::planned_bytes(usize::MAX, 64, 100), None);
    }
}
