//! Encoding of values as codes, scales and biases, as in MLX's affine quantisation.
//!
//! Scale and bias are stored in bf16, and codes are chosen for the stored values, not for those
//! before rounding. Both are rounded away from zero, so that the codes still reach every value of
//! the group, and no decoded value is further than half a step from the original.

use half::bf16;

use super::recipe::Scheme;

/// The three tensors of a module, or of a run of its rows, as bytes of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Packed {
    /// Stream of bits; code `i` of a row is in the bits from `i * bits` on.
    pub codes: Vec<u8>,
    /// Scales in bf16, one for each group.
    pub scales: Vec<u8>,
    /// Biases in bf16, one for each group.
    pub biases: Vec<u8>,
}

/// Quantises whole groups; `None` if a value is not finite, or too large for a finite scale.
pub fn pack(scheme: Scheme, values: &[f32]) -> Option<Packed> {
    let groups = values.len() / scheme.group;
    let mut packed = Packed {
        codes: Vec::with_capacity(values.len() / 8 * scheme.bits),
        scales: Vec::with_capacity(2 * groups),
        biases: Vec::with_capacity(2 * groups),
    };
    let mut codes = vec![0; scheme.group];
    for group in values.chunks_exact(scheme.group) {
        let (scale, bias) = if scheme.symmetric { symmetric(scheme, group)? } else { affine(scheme, group)? };
        encode(scheme, group, scale.to_f32(), bias.to_f32(), &mut codes);
        push_bits(&codes, scheme.bits, &mut packed.codes);
        packed.scales.extend(scale.to_le_bytes());
        packed.biases.extend(bias.to_le_bytes());
    }
    Some(packed)
}

/// Step between the smallest numbers of f16, below which bf16 is finer than f16: scales of
/// symmetric codes are representable in both, so that blocks with an f16 scale hold them exactly.
const SMALLEST_F16: f32 = 1.0 / 16_777_216.0;
const FINE: f32 = 128.0 * SMALLEST_F16;

/// Greatest code.
fn levels(scheme: Scheme) -> f32 {
    ((1u32 << scheme.bits) - 1) as f32
}

/// Scale and bias from the value of the greatest magnitude, which is represented exactly if it is
/// bf16, to the other end.
fn affine(scheme: Scheme, group: &[f32]) -> Option<(bf16, bf16)> {
    let (low, high) = bounds(group)?;
    let (edge, other) = if low.abs() > high.abs() { (low, high) } else { (high, low) };
    let bias = away_from_zero(edge)?;
    let scale = away_from_zero((other - bias.to_f32()) / levels(scheme))?;
    Some((scale, bias))
}

/// Scale and bias of codes around 0, whose lowest is not used: -127 to 127 for 8 bits.
fn symmetric(scheme: Scheme, group: &[f32]) -> Option<(bf16, bf16)> {
    let (low, high) = bounds(group)?;
    let half = (1u32 << (scheme.bits - 1)) as f32;
    let scale = away_from_zero(low.abs().max(high.abs()) / (half - 1.0))?.to_f32();
    let scale = if scale < FINE { (scale / SMALLEST_F16).ceil() * SMALLEST_F16 } else { scale };
    // Exact, because it is a power of two.
    let bias = scale * -half;
    bias.is_finite().then(|| (bf16::from_f32(scale), bf16::from_f32(bias)))
}

/// Least and greatest value; `None` if one is not finite.
fn bounds(group: &[f32]) -> Option<(f32, f32)> {
    let bounds = (f32::INFINITY, f32::NEG_INFINITY);
    let (low, high) = group.iter().fold(bounds, |(low, high), &value| (low.min(value), high.max(value)));
    // Comparisons ignore NaN, sums do not.
    let sum: f32 = group.iter().map(|value| value * 0.0).sum();
    (sum == 0.0 && low <= high).then_some((low, high))
}

/// Rounds to the next bf16 whose magnitude is not smaller; `None` beyond the greatest.
fn away_from_zero(value: f32) -> Option<bf16> {
    const CUT: u32 = 0xffff;
    let bits = value.to_bits();
    let rounded = bf16::from_bits((bits >> 16) as u16 + u16::from(bits & CUT != 0));
    rounded.is_finite().then_some(rounded)
}

fn encode(scheme: Scheme, group: &[f32], scale: f32, bias: f32, codes: &mut [u8]) {
    let levels = levels(scheme);
    for (code, value) in codes.iter_mut().zip(group) {
        // With a scale of 0 all values equal the bias: 0 / 0 becomes code 0.
        *code = ((value - bias) / scale).round().clamp(0.0, levels) as u8;
    }
}

/// Appends codes of `bits` bits, the lowest bit first. The bits of all codes fill whole bytes.
fn push_bits(codes: &[u8], bits: usize, out: &mut Vec<u8>) {
    let (mut held, mut count) = (0u32, 0);
    for &code in codes {
        held |= u32::from(code) << count;
        count += bits;
        while count >= 8 {
            out.push(held as u8);
            held >>= 8;
            count -= 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads codes bit by bit, as the format is described.
    fn unpack(scheme: Scheme, packed: &Packed) -> Vec<f32> {
        let read = |bytes: &[u8], i: usize| bf16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]).to_f32();
        let count = packed.codes.len() * 8 / scheme.bits;
        let code = |i: usize| {
            (0..scheme.bits).fold(0u32, |code, bit| {
                let at = i * scheme.bits + bit;
                code | u32::from(packed.codes[at / 8] >> (at % 8) & 1) << bit
            })
        };
        (0..count)
            .map(|i| read(&packed.scales, i / scheme.group) * code(i) as f32 + read(&packed.biases, i / scheme.group))
            .collect()
    }

    fn schemes() -> impl Iterator<Item = Scheme> {
        let affine = [4, 5, 6, 8].into_iter().flat_map(|bits| [32, 64, 128].map(|group| (bits, group, false)));
        affine.chain([(8, 32, true), (8, 64, true)]).map(|(bits, group, symmetric)| Scheme { bits, group, symmetric })
    }

    #[test]
    fn no_value_comes_back_further_than_half_a_step() {
        let mut random = fastrand::Rng::with_seed(3);
        for scheme in schemes() {
            for (spread, centre) in [(1.0, 0.0), (1e-3, 0.0), (1.0, 5.0), (0.01, -3.0), (1e-30, 0.0), (1e30, 0.0)] {
                let values: Vec<f32> = (0..4 * scheme.group).map(|_| (random.f32() - 0.5) * spread + centre).collect();
                let packed = pack(scheme, &values).unwrap();
                for (i, (value, back)) in values.iter().zip(unpack(scheme, &packed)).enumerate() {
                    let at = 2 * (i / scheme.group);
                    let scale = bf16::from_le_bytes([packed.scales[at], packed.scales[at + 1]]).to_f32().abs();
                    // Half a step, plus the rounding error of f32 around a large bias.
                    let limit = 0.5001 * scale + 2e-7 * centre.abs();
                    assert!((value - back).abs() <= limit, "{scheme:?} {spread} {centre}: {value} {back}");
                }
            }
        }
    }

    #[test]
    fn a_symmetric_code_is_exact_and_never_the_lowest() {
        let scheme = Scheme { bits: 8, group: 32, symmetric: true };
        let values: Vec<f32> = (0..32).map(|i| (i as f32 - 16.0) * 0.25).collect();
        let packed = pack(scheme, &values).unwrap();
        let scale = bf16::from_le_bytes([packed.scales[0], packed.scales[1]]).to_f32();
        assert_eq!(bf16::from_le_bytes([packed.biases[0], packed.biases[1]]).to_f32(), -128.0 * scale);
        assert!(packed.codes.iter().all(|&code| code >= 1), "{:?}", packed.codes);
        assert_eq!(packed.codes[16], 128);
        let negated: Vec<f32> = values.iter().map(|value| -value).collect();
        let mirrored = pack(scheme, &negated).unwrap();
        assert!(packed.codes.iter().zip(&mirrored.codes).all(|(a, b)| u32::from(*a) + u32::from(*b) == 256));
    }

    #[test]
    fn groups_of_one_value_come_back_as_they_were() {
        for scheme in schemes() {
            for value in [0.0, -0.0, 1.5, -7.0] {
                let packed = pack(scheme, &vec![value; scheme.group]).unwrap();
                let back = unpack(scheme, &packed);
                let limit = if scheme.symmetric { value.abs() / 127.0 } else { 0.0 };
                assert!(back.iter().all(|back| (back - value).abs() <= limit), "{scheme:?} {value}: {}", back[0]);
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        for scheme in schemes() {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
                let mut values = vec![0.5; 2 * scheme.group];
                values[scheme.group + 3] = bad;
                // The greatest f32 is beyond the greatest bf16; divided by 127 it is not, but its
                // bias is.
                assert_eq!(pack(scheme, &values), None, "{scheme:?} {bad}");
            }
        }
    }
}
