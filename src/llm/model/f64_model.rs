//! The hybrid model in f64, token by token, written from its formulas; the reference for models of
//! random sizes.

use std::collections::HashMap;

use crate::llm::model_config::{HeadOrder, ModelConfig};

pub type RandomTensors = HashMap<String, Vec<f32>>;

/// A sequence in progress.
pub struct F64Model<'a> {
    pub model_config: &'a ModelConfig,
    pub tensors: &'a RandomTensors,
    layers: Vec<Memory>,
    pub position: usize,
    /// Hidden values that the head read last.
    pub hidden: Vec<f64>,
}

#[derive(Clone, Default)]
struct Memory {
    /// Input rows of the convolution for all positions.
    rows: Vec<Vec<f64>>,
    /// `[value_head][key_dim * value_dim]`
    s: Vec<Vec<f64>>,
    keys: Vec<Vec<f64>>,
    values: Vec<Vec<f64>>,
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn silu(x: f64) -> f64 {
    x * sigmoid(x)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl<'a> F64Model<'a> {
    pub fn new(model_config: &'a ModelConfig, tensors: &'a RandomTensors) -> Self {
        let layers = vec![Memory::default(); model_config.layers + 1];
        F64Model { model_config, tensors, layers, position: 0, hidden: Vec::new() }
    }

    fn tensor(&self, name: &str) -> Vec<f64> {
        self.tensors[name].iter().map(|&value| f64::from(value)).collect()
    }

    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        self.tensor(name).chunks_exact(x.len()).map(|row| dot(row, x)).collect()
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let scale = (dot(x, x) / x.len() as f64 + f64::from(self.model_config.norm_eps)).sqrt();
        x.iter().zip(self.tensor(name)).map(|(x, w)| x / scale * w).collect()
    }

    /// Returns the logits after the next token.
    pub fn step(&mut self, token: u32) -> Vec<f64> {
        let width = self.model_config.width;
        let mut h = self.tensor("token_embd.weight")[token as usize * width..][..width].to_vec();
        for n in 0..self.model_config.layers {
            let x = self.norm(&format!("blk.{n}.attn_norm.weight"), &h);
            let mixed = if self.model_config.is_delta(n) { self.delta(n, &x) } else { self.attention(n, &x) };
            self.feed_forward(n, &mut h, mixed);
        }
        self.position += 1;
        self.hidden = self.norm("output_norm.weight", &h);
        self.head(&self.hidden)
    }

    /// h += mixed, then adds the output of the feed-forward network.
    fn feed_forward(&self, n: usize, h: &mut [f64], mixed: Vec<f64>) {
        h.iter_mut().zip(mixed).for_each(|(h, m)| *h += m);
        let x = self.norm(&format!("blk.{n}.post_attention_norm.weight"), h);
        let gate = self.linear(&format!("blk.{n}.ffn_gate.weight"), &x);
        let up = self.linear(&format!("blk.{n}.ffn_up.weight"), &x);
        let inner: Vec<f64> = gate.iter().zip(up).map(|(g, u)| silu(*g) * u).collect();
        let down = self.linear(&format!("blk.{n}.ffn_down.weight"), &inner);
        h.iter_mut().zip(down).for_each(|(h, d)| *h += d);
    }

    fn head(&self, x: &[f64]) -> Vec<f64> {
        let own = self.tensors.contains_key("output.weight");
        self.linear(if own { "output.weight" } else { "token_embd.weight" }, x)
    }

    /// Runs the draft block on `hidden` and the token after it. Returns its output, and the logits
    /// of the token after that.
    pub fn draft(&mut self, hidden: &[f64], next: u32) -> (Vec<f64>, Vec<f64>) {
        let (n, width) = (self.model_config.layers, self.model_config.width);
        let part = |part: &str| format!("blk.{n}.nextn.{part}.weight");
        let token = self.tensor("token_embd.weight")[next as usize * width..][..width].to_vec();
        let pair = [self.norm(&part("enorm"), &token), self.norm(&part("hnorm"), hidden)].concat();
        let mut e = self.linear(&part("eh_proj"), &pair);
        let x = self.norm(&format!("blk.{n}.attn_norm.weight"), &e);
        let mixed = self.attention(n, &x);
        self.feed_forward(n, &mut e, mixed);
        let y = self.norm(&part("shared_head_norm"), &e);
        let logits = self.head(&y);
        (y, logits)
    }

    fn delta(&mut self, n: usize, x: &[f64]) -> Vec<f64> {
        let net = self.model_config.delta.clone().unwrap();
        let name = |part: &str| format!("blk.{n}.{part}");
        let z = self.linear(&name("attn_gate.weight"), x);
        let (a, b) = (self.linear(&name("ssm_alpha.weight"), x), self.linear(&name("ssm_beta.weight"), x));
        let (rate, dt) = (self.tensor(&name("ssm_a")), self.tensor(&name("ssm_dt.bias")));
        let raw = self.linear(&name("attn_qkv.weight"), x);
        let taps = self.tensor(&name("ssm_conv1d.weight"));
        self.layers[n].rows.push(raw);
        let rows = &self.layers[n].rows;
        let channel = |c: usize| {
            let seen = rows.iter().rev().zip((0..net.taps).rev());
            silu(seen.map(|(row, j)| row[c] * taps[c * net.taps + j]).sum())
        };
        let y: Vec<f64> = (0..rows[0].len()).map(channel).collect();
        let keys = net.key_heads * net.key_dim;
        let unit = |x: &[f64]| -> Vec<f64> { x.iter().map(|v| v / (dot(x, x) + 1e-6).sqrt()).collect() };
        let mut out = Vec::new();
        for head in 0..net.value_heads {
            let key_head = match net.order {
                HeadOrder::Grouped => head / (net.value_heads / net.key_heads),
                HeadOrder::Tiled => head % net.key_heads,
            };
            let q: Vec<f64> = unit(&y[key_head * net.key_dim..][..net.key_dim]);
            let k = unit(&y[keys + key_head * net.key_dim..][..net.key_dim]);
            let v = &y[2 * keys + head * net.value_dim..][..net.value_dim];
            let decay = (rate[head] * (a[head] + dt[head]).exp().ln_1p()).exp();
            let states = &mut self.layers[n].s;
            states.resize(net.value_heads, vec![0.0; net.key_dim * net.value_dim]);
            let s = &mut states[head];
            s.iter_mut().for_each(|s| *s *= decay);
            let mut o = Vec::new();
            for c in 0..net.value_dim {
                let recalled: f64 = (0..net.key_dim).map(|d| s[d * net.value_dim + c] * k[d]).sum();
                let u = sigmoid(b[head]) * (v[c] - recalled);
                (0..net.key_dim).for_each(|d| s[d * net.value_dim + c] += k[d] * u);
                let read: f64 = (0..net.key_dim).map(|d| s[d * net.value_dim + c] * q[d]).sum();
                o.push(read / (net.key_dim as f64).sqrt());
            }
            let normed = self.norm(&name("ssm_norm.weight"), &o);
            out.extend(normed.iter().zip(&z[head * net.value_dim..]).map(|(o, z)| o * silu(*z)));
        }
        self.linear(&name("ssm_out.weight"), &out)
    }

    fn attention(&mut self, n: usize, x: &[f64]) -> Vec<f64> {
        let ModelConfig { heads, kv_heads, head_dim, .. } = *self.model_config;
        let name = |part: &str| format!("blk.{n}.{part}.weight");
        let qg = self.linear(&name("attn_q"), x);
        let k = self.linear(&name("attn_k"), x);
        let k = k.chunks_exact(head_dim).flat_map(|k| self.turned(self.norm(&name("attn_k_norm"), k))).collect();
        let v = self.linear(&name("attn_v"), x);
        self.layers[n].keys.push(k);
        self.layers[n].values.push(v);
        let mut out = Vec::new();
        for (head, qg) in qg.chunks_exact(2 * head_dim).enumerate() {
            let q = self.turned(self.norm(&name("attn_q_norm"), &qg[..head_dim]));
            let at = head / (heads / kv_heads) * head_dim;
            let Memory { keys, values, .. } = &self.layers[n];
            let scores = keys.iter().map(|k| (dot(&q, &k[at..at + head_dim]) / (head_dim as f64).sqrt()).exp());
            let scores: Vec<f64> = scores.collect();
            let sum: f64 = scores.iter().sum();
            for c in 0..head_dim {
                let mean: f64 = scores.iter().zip(values).map(|(score, v)| score / sum * v[at + c]).sum();
                out.push(mean * sigmoid(qg[head_dim + c]));
            }
        }
        self.linear(&name("attn_output"), &out)
    }

    /// Applies rotary positions to the first `rotated` values of a head, value i with value i +
    /// rotated / 2.
    fn turned(&self, mut x: Vec<f64>) -> Vec<f64> {
        let half = self.model_config.rotated / 2;
        for i in 0..half {
            let exponent = -(i as f64) / half as f64;
            let (sin, cos) = (self.position as f64 * f64::from(self.model_config.rope_base).powf(exponent)).sin_cos();
            (x[i], x[i + half]) = (x[i] * cos - x[i + half] * sin, x[i] * sin + x[i + half] * cos);
        }
        x
    }
}
