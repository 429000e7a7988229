//! Rotary position embedding (Su et al. 2021): pairs of values are rotated by an angle that grows
//! with the position.

/// Pairing of the values of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeStyle {
    /// Value `i` with value `i + dims / 2`: GPT-NeoX, qwen2 and most others.
    Halves,
    /// Value `2 i` with value `2 i + 1`: the `llama` family in GGUF files.
    Neighbours,
}

/// Rotary embedding for heads of `head_dim` values, of which the first `dims` are rotated; keeps
/// the angles of the last requested positions, so that all layers of one step share them.
pub struct Rope {
    style: RopeStyle,
    head_dim: usize,
    /// Radians per position, one for each pair.
    frequencies: Vec<f64>,
    /// Positions whose angles are in `turns`: first, count.
    prepared: (usize, usize),
    /// Cosine and sine, `[position, pair]`.
    turns: Vec<(f32, f32)>,
}

impl Rope {
    /// Creates the angles. Pair `i` is rotated by `base^(-2 i / dims)` per position, divided by
    /// `factors[i]` if there are factors (`rope_freqs.weight` of a GGUF file).
    ///
    /// Panics if `dims` is odd or larger than `head_dim`, or if there are factors but not one per
    /// pair.
    pub fn new(style: RopeStyle, head_dim: usize, dims: usize, base: f32, factors: Option<&[f32]>) -> Rope {
        assert!(dims.is_multiple_of(2) && dims <= head_dim, "{dims} of {head_dim} values of a head turn");
        assert!(factors.is_none_or(|f| f.len() == dims / 2), "one factor for each of {} pairs", dims / 2);
        let frequency = |i: usize| {
            let factor = factors.map_or(1.0, |f| f64::from(f[i]));
            f64::from(base).powf(-2.0 * i as f64 / dims as f64) / factor
        };
        let frequencies = (0..dims / 2).map(frequency).collect();
        Rope { style, head_dim, frequencies, prepared: (0, 0), turns: Vec::new() }
    }

    /// Rotates x`[n, heads, head_dim]` in place, the first token at position `start`.
    ///
    /// Panics if `x` is not a whole number of tokens.
    pub fn apply(&mut self, x: &mut [f32], heads: usize, start: usize) {
        let token = heads * self.head_dim;
        assert!(token > 0 && x.len().is_multiple_of(token), "x is [n, {heads}, {}]", self.head_dim);
        self.prepare(start, x.len() / token);
        let pairs = self.frequencies.len();
        if pairs == 0 {
            return;
        }
        for (x, turns) in x.chunks_exact_mut(token).zip(self.turns.chunks_exact(pairs)) {
            for head in x.chunks_exact_mut(self.head_dim) {
                match self.style {
                    RopeStyle::Halves => turn_halves(&mut head[..2 * pairs], turns),
                    RopeStyle::Neighbours => turn_neighbours(&mut head[..2 * pairs], turns),
                }
            }
        }
    }

    fn prepare(&mut self, start: usize, n: usize) {
        if self.prepared == (start, n) {
            return;
        }
        self.turns.clear();
        for position in start..start + n {
            self.turns.extend(self.frequencies.iter().map(|frequency| {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                (cos as f32, sin as f32)
            }));
        }
        self.prepared = (start, n);
    }
}

fn turn_halves(head: &mut [f32], turns: &[(f32, f32)]) {
    let (low, high) = head.split_at_mut(turns.len());
    for ((a, b), &(cos, sin)) in low.iter_mut().zip(high).zip(turns) {
        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
    }
}

fn turn_neighbours(head: &mut [f32], turns: &[(f32, f32)]) {
    for (pair, &(cos, sin)) in head.chunks_exact_mut(2).zip(turns) {
        (pair[0], pair[1]) = (pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rotates by the definition, in f64.
    fn turned(style: RopeStyle, head: &[f32], dims: usize, base: f64, position: usize) -> Vec<f64> {
        let mut out: Vec<f64> = head.iter().map(|&v| f64::from(v)).collect();
        for i in 0..dims / 2 {
            let (a, b) = match style {
                RopeStyle::Halves => (i, i + dims / 2),
                RopeStyle::Neighbours => (2 * i, 2 * i + 1),
            };
            let (sin, cos) = (position as f64 * base.powf(-2.0 * i as f64 / dims as f64)).sin_cos();
            let (x, y) = (out[a], out[b]);
            (out[a], out[b]) = (x * cos - y * sin, x * sin + y * cos);
        }
        out
    }

    #[test]
    fn follows_the_definition() {
        for style in [RopeStyle::Halves, RopeStyle::Neighbours] {
            for (head_dim, dims) in [(8, 8), (64, 64), (10, 6), (4, 0)] {
                let (heads, start, n) = (3, 5000, 4);
                let before: Vec<f32> = (0..n * heads * head_dim).map(|i| (i as f32 * 0.7).sin()).collect();
                let mut x = before.clone();
                Rope::new(style, head_dim, dims, 1e6, None).apply(&mut x, heads, start);
                for (i, (x, before)) in x.chunks(head_dim).zip(before.chunks(head_dim)).enumerate() {
                    let expected = turned(style, before, dims, 1e6, start + i / heads);
                    for (x, e) in x.iter().zip(expected) {
                        assert!((f64::from(*x) - e).abs() < 1e-6, "{style:?} {head_dim}/{dims}: {x} is not {e}");
                    }
                }
            }
        }
    }

    #[test]
    fn steps_equal_one_pass() {
        let mut whole: Vec<f32> = (0..6 * 16).map(|i| i as f32).collect();
        let mut steps = whole.clone();
        let mut rope = Rope::new(RopeStyle::Halves, 16, 16, 1e4, Some(&[1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 8.0, 8.0]));
        rope.apply(&mut whole, 1, 7);
        for (i, step) in steps.chunks_mut(16).enumerate() {
            rope.apply(step, 1, 7 + i);
        }
        assert_eq!(whole, steps);
    }
}
