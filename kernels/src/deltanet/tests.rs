use super::*;
use crate::reference;

const TAPS: usize = 4;

/// A layer of random numbers: the inputs of `n` tokens, and its weights.
struct Layer {
    heads: HeadLayout,
    /// Inputs of the convolution `[n, channels]`.
    raw: Vec<f32>,
    z: Vec<f32>,
    a: Vec<f32>,
    b: Vec<f32>,
    taps: Vec<f32>,
    rate: Vec<f32>,
    dt_bias: Vec<f32>,
    norm: Vec<f32>,
}

fn noise(len: usize, seed: f32, scale: f32) -> Vec<f32> {
    (0..len).map(|i| ((i as f32 + 1.0) * seed).sin() * scale).collect()
}

impl Layer {
    fn new(heads: HeadLayout, n: usize) -> Layer {
        let h = heads.value_heads;
        // The first head hardly decays, the last decays completely: its G falls by some 60 per
        // token.
        let rate = (0..h).map(|i| if i == 0 { -0.01 } else { -16.0 * i as f32 / h as f32 }).collect();
        let dt_bias = (0..h).map(|i| if i + 1 == h { 3.0 } else { -4.0 }).collect();
        Layer {
            heads,
            raw: noise(n * heads.channels(), 0.731, 1.5),
            z: noise(n * heads.value_width(), 0.377, 2.0),
            a: noise(n * h, 1.93, 2.0),
            b: noise(n * h, 0.59, 2.0),
            taps: noise(TAPS * heads.channels(), 2.3, 0.6),
            rate,
            dt_bias,
            norm: noise(heads.value_dim, 0.9, 1.0),
        }
    }

    fn weights(&self) -> DeltaWeights<'_> {
        DeltaWeights { taps: &self.taps, rate: &self.rate, dt_bias: &self.dt_bias, norm: &self.norm, norm_eps: 1e-6 }
    }

    /// Runs tokens `from..to`.
    fn run(&self, run: &mut Run, from: usize, to: usize) -> Vec<f32> {
        let (heads, n) = (self.heads, to - from);
        let input = DeltaInput {
            raw: cut(&self.raw, heads.channels(), from, to),
            z: cut(&self.z, heads.value_width(), from, to),
            a: cut(&self.a, heads.value_heads, from, to),
            b: cut(&self.b, heads.value_heads, from, to),
        };
        let mut out = vec![f32::NAN; n * heads.value_width()];
        let memory = (&mut run.conv, &mut run.delta);
        delta_rule(&run.pool, run.simd, &input, &self.weights(), memory, None, &mut run.scratch, &mut out);
        out
    }

    /// Computes all tokens at once in f64: the outputs, and S.
    fn truth(&self) -> (Vec<f64>, Vec<f64>) {
        let mixed = reference::mix_heads(&self.heads, &self.taps, &self.raw);
        let mut s = vec![0.0; self.heads.value_heads * self.heads.key_dim * self.heads.value_dim];
        let out = reference::delta_rule(&self.heads, &mixed, &self.z, &self.a, &self.b, &self.weights(), &mut s);
        (out, s)
    }
}

fn cut(x: &[f32], width: usize, from: usize, to: usize) -> &[f32] {
    &x[from * width..to * width]
}

struct Run {
    pool: Pool,
    simd: Simd,
    conv: ConvState,
    delta: DeltaState,
    scratch: DeltaScratch,
}

impl Run {
    fn new(heads: HeadLayout, simd: Simd, threads: usize) -> Run {
        Run {
            pool: Pool::new(threads),
            simd,
            conv: ConvState::new(heads.channels(), TAPS),
            delta: DeltaState::new(heads),
            scratch: DeltaScratch::default(),
        }
    }
}

fn layout(key_heads: usize, group: usize, key_dim: usize, value_dim: usize, tiled: bool) -> HeadLayout {
    HeadLayout { key_heads, value_heads: key_heads * group, key_dim, value_dim, tiled }
}

fn layouts() -> [HeadLayout; 7] {
    [
        layout(2, 1, 32, 32, false),
        layout(2, 2, 16, 16, true),
        layout(2, 3, 16, 32, false),
        layout(3, 2, 12, 20, true),
        layout(1, 1, 7, 5, false),
        layout(2, 2, 128, 128, false),
        layout(1, 3, 24, 72, true),
    ]
}

fn assert_near(what: &str, got: &[f32], wanted: &[f64]) {
    assert_eq!(got.len(), wanted.len());
    let scale = wanted.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    for (i, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        assert!((f64::from(*got) - wanted).abs() <= 2e-5 * scale, "{what}, value {i}: {got} is not {wanted} ({scale})");
    }
}

#[test]
fn every_variant_follows_the_recurrence() {
    for simd in Simd::available() {
        for heads in layouts() {
            let layer = Layer::new(heads, 150);
            let (out, s) = layer.truth();
            let mut run = Run::new(heads, simd, 2);
            let got = layer.run(&mut run, 0, 150);
            assert_near(&format!("{} {heads:?}", simd.name()), &got, &out);
            assert_near(&format!("{} {heads:?} S", simd.name()), &run.delta.dense(simd), &s);
        }
    }
}

/// Pieces of pseudo-random sizes from 1 on.
fn pieces(n: usize, seed: usize) -> Vec<usize> {
    let (mut ends, mut at, mut x) = (Vec::new(), 0, seed * 7919 + 1);
    while at < n {
        x = x.wrapping_mul(1_103_515_245).wrapping_add(12345) % (1 << 31);
        at = n.min(at + 1 + (x >> 8) % [1, 3, 17, 40, 70][seed % 5]);
        ends.push(at);
    }
    ends
}

#[test]
fn any_cut_and_any_number_of_threads_give_the_same_bits() {
    for simd in Simd::available() {
        for heads in layouts() {
            let layer = Layer::new(heads, 131);
            let mut whole = Run::new(heads, simd, 1);
            let wanted = layer.run(&mut whole, 0, 131);
            for seed in 0..10 {
                let mut run = Run::new(heads, simd, 1 + seed % 3);
                let mut from = 0;
                for to in pieces(131, seed) {
                    let out = layer.run(&mut run, from, to);
                    assert_eq!(
                        out,
                        cut(&wanted, heads.value_width(), from, to),
                        "{} {heads:?} {from}..{to}",
                        simd.name()
                    );
                    from = to;
                }
                assert_eq!(run.delta.dense(simd), whole.delta.dense(simd));
                assert_eq!(run.conv.last_rows(), whole.conv.last_rows());
            }
        }
    }
}

#[test]
fn going_back_in_the_chunk_and_to_a_border_is_as_if_one_had_never_left() {
    let heads = layout(2, 2, 16, 16, false);
    let layer = Layer::new(heads, 140);
    let simd = Simd::detect();
    let mut straight = Run::new(heads, simd, 1);
    let wanted = layer.run(&mut straight, 0, 140);
    for (there, back) in [(40, 33), (64, 40), (64, 33), (65, 64), (100, 96), (31, 0), (1, 0)] {
        let mut run = Run::new(heads, simd, 2);
        layer.run(&mut run, 0, there);
        run.delta.truncate(back);
        run.conv.truncate(back);
        let out = layer.run(&mut run, back, 140);
        assert_eq!(out, cut(&wanted, heads.value_width(), back, 140), "{there} back to {back}");
    }
    let mut run = Run::new(heads, simd, 1);
    layer.run(&mut run, 0, 65);
    let (base, rows) = (run.delta.base().to_vec(), run.conv.border_rows().to_vec());
    assert_eq!(run.delta.border(), 64);
    layer.run(&mut run, 65, 140);
    run.delta.set_base(64, &base);
    run.conv.set_rows(64, &rows);
    assert_eq!(layer.run(&mut run, 64, 140), cut(&wanted, heads.value_width(), 64, 140));
    run.delta.clear();
    run.conv.clear();
    assert_eq!(layer.run(&mut run, 0, 140), wanted);
}

#[test]
fn a_border_can_be_kept_while_it_is_crossed() {
    let heads = layout(2, 2, 16, 20, true);
    let layer = Layer::new(heads, 100);
    let mut run = Run::new(heads, Simd::detect(), 2);
    let mut kept = vec![f32::NAN; DeltaState::base_len(&heads).unwrap()];
    let mut rows = vec![f32::NAN; (TAPS - 1) * heads.channels()];
    let input = DeltaInput { raw: &layer.raw, z: &layer.z, a: &layer.a, b: &layer.b };
    let keep = Some(Keep { border: 64, rows: &mut rows, base: &mut kept });
    let mut out = vec![0.0; layer.z.len()];
    let memory = (&mut run.conv, &mut run.delta);
    delta_rule(&run.pool, run.simd, &input, &layer.weights(), memory, keep, &mut run.scratch, &mut out);
    let mut other = Run::new(heads, Simd::detect(), 1);
    layer.run(&mut other, 0, 65);
    assert_eq!(other.delta.base(), kept);
    assert_eq!(other.conv.border_rows(), rows);
}

#[test]
fn extreme_gates_never_give_nan() {
    let heads = layout(1, 2, 16, 16, false);
    for (a, rate) in [(1e30, -1e30), (f32::INFINITY, -1.0), (-1e30, -16.0), (50.0, 1.0), (-1e30, 0.0)] {
        for simd in Simd::available() {
            let mut layer = Layer::new(heads, 70);
            layer.a.iter_mut().step_by(3).for_each(|value| *value = a);
            layer.rate = vec![rate; 2];
            let mut run = Run::new(heads, simd, 1);
            let out = layer.run(&mut run, 0, 70);
            assert!(out.iter().all(|value| value.is_finite()), "{} {a} {rate}", simd.name());
            assert!(run.delta.dense(simd).iter().all(|value| value.is_finite()), "{} {a} {rate}", simd.name());
        }
    }
}

#[test]
#[should_panic = "key_heads: 2, value_heads: 3"]
fn value_heads_without_a_key_head_are_refused() {
    DeltaState::new(HeadLayout { value_heads: 3, ..layout(2, 1, 16, 16, false) });
}
