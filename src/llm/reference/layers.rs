//! The layers of the reference, formula by formula.

use candle_core::{D, Device, Result, Tensor};

use super::config::ReferenceConfig;
use super::weights::ReferenceWeights;
use super::{ReferenceError, ReferenceLayerState};

/// Epsilon in the norm of queries and keys of a DeltaNet; the same in every file.
const LENGTH_EPS: f64 = 1e-6;

/// h += mixer(norm(h)), then h += mlp(norm(h)). Matrices are `[out, in]`.
pub struct ReferenceLayer {
    mixer_norm: Tensor,
    mixer: Mixer,
    mlp_norm: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
}

enum Mixer {
    DeltaNet(DeltaNetLayer),
    Attention(Attention),
}

struct DeltaNetLayer {
    /// `[channels, width]`: queries, keys and values.
    qkv: Tensor,
    /// `[value_width, width]`
    z: Tensor,
    /// `[value_heads, width]`
    a: Tensor,
    /// `[value_heads, width]`
    b: Tensor,
    /// `[channels, taps]`, the newest last.
    conv: Tensor,
    /// exp(A_log): `[value_heads]`
    decay: Tensor,
    /// `[value_heads]`
    dt_bias: Tensor,
    /// `[value_dim]`, not zero-centred.
    norm: Tensor,
    /// `[width, value_width]`
    output: Tensor,
}

struct Attention {
    /// [2 · heads · head_dim, width]: of each head the query, then the gate.
    q: Tensor,
    /// [kv_heads · head_dim, width]
    k: Tensor,
    /// [kv_heads · head_dim, width]
    v: Tensor,
    /// `[head_dim]`
    q_norm: Tensor,
    /// `[head_dim]`
    k_norm: Tensor,
    /// [width, heads · head_dim]
    output: Tensor,
}

impl ReferenceLayer {
    pub fn load(
        weights: &ReferenceWeights,
        config: &ReferenceConfig,
        n: usize,
    ) -> std::result::Result<ReferenceLayer, ReferenceError> {
        let (width, hidden) = (config.hidden_size, config.intermediate_size);
        let mixer = match config.is_delta(n) {
            true => Mixer::DeltaNet(DeltaNetLayer::load(weights, config, &format!("layers.{n}.linear_attn."))?),
            false => Mixer::Attention(Attention::load(weights, config, &format!("layers.{n}.self_attn."))?),
        };
        Ok(ReferenceLayer {
            mixer_norm: weights.norm(&format!("layers.{n}.input_layernorm.weight"), width)?,
            mixer,
            mlp_norm: weights.norm(&format!("layers.{n}.post_attention_layernorm.weight"), width)?,
            gate: weights.get(&format!("layers.{n}.mlp.gate_proj.weight"), &[hidden, width])?,
            up: weights.get(&format!("layers.{n}.mlp.up_proj.weight"), &[hidden, width])?,
            down: weights.get(&format!("layers.{n}.mlp.down_proj.weight"), &[width, hidden])?,
        })
    }

    pub fn memory(&self, config: &ReferenceConfig) -> Result<ReferenceLayerState> {
        let zeros = |dims: &[usize]| Tensor::zeros(dims, candle_core::DType::F32, &Device::Cpu);
        Ok(match &self.mixer {
            Mixer::DeltaNet(_) => ReferenceLayerState::DeltaNet {
                conv: zeros(&[config.linear_conv_kernel_dim - 1, config.channels()])?,
                recurrent: zeros(&[
                    config.linear_num_value_heads,
                    config.linear_key_head_dim,
                    config.linear_value_head_dim,
                ])?,
            },
            Mixer::Attention(_) => ReferenceLayerState::Attention { kept: None },
        })
    }

    /// x: `[tokens, width]`, the first of them at `position`.
    pub fn forward(
        &self,
        config: &ReferenceConfig,
        x: &Tensor,
        position: usize,
        memory: &mut ReferenceLayerState,
    ) -> Result<Tensor> {
        let normed = rms_norm(x, &self.mixer_norm, config.rms_norm_eps)?;
        let mixed = match (&self.mixer, memory) {
            (Mixer::DeltaNet(delta), ReferenceLayerState::DeltaNet { conv, recurrent }) => {
                delta.forward(config, &normed, conv, recurrent)?
            }
            (Mixer::Attention(attention), ReferenceLayerState::Attention { kept }) => {
                attention.forward(config, &normed, position, kept)?
            }
            _ => candle_core::bail!("the memory is of another model"),
        };
        let x = (x + mixed)?;
        let normed = rms_norm(&x, &self.mlp_norm, config.rms_norm_eps)?;
        let inner = (linear(&normed, &self.gate)?.silu()? * linear(&normed, &self.up)?)?;
        x + linear(&inner, &self.down)?
    }
}

impl DeltaNetLayer {
    fn load(
        weights: &ReferenceWeights,
        config: &ReferenceConfig,
        at: &str,
    ) -> std::result::Result<DeltaNetLayer, ReferenceError> {
        let get = |name: &str, dims: &[usize]| weights.get(&format!("{at}{name}"), dims);
        let (width, channels, heads) = (config.hidden_size, config.channels(), config.linear_num_value_heads);
        Ok(DeltaNetLayer {
            qkv: get("in_proj_qkv.weight", &[channels, width])?,
            z: get("in_proj_z.weight", &[config.value_width(), width])?,
            a: get("in_proj_a.weight", &[heads, width])?,
            b: get("in_proj_b.weight", &[heads, width])?,
            conv: get("conv1d.weight", &[channels, config.linear_conv_kernel_dim])?,
            decay: get("A_log", &[heads])?.exp()?,
            dt_bias: get("dt_bias", &[heads])?,
            norm: get("norm.weight", &[config.linear_value_head_dim])?,
            output: get("out_proj.weight", &[width, config.value_width()])?,
        })
    }

    fn forward(&self, config: &ReferenceConfig, x: &Tensor, conv: &mut Tensor, s: &mut Tensor) -> Result<Tensor> {
        let (tokens, heads) = (x.dim(0)?, config.linear_num_value_heads);
        let (keys, values) = (config.key_width(), config.value_width());
        let mixed = self.convolve(&linear(x, &self.qkv)?, conv)?;
        let (key_heads, key_dim) = (config.linear_num_key_heads, config.linear_key_head_dim);
        let part = |from: usize| mixed.narrow(1, from, keys)?.reshape((tokens, key_heads, key_dim));
        let q = (unit(&part(0)?)? / (key_dim as f64).sqrt())?;
        let k = unit(&part(keys)?)?;
        let v = mixed.narrow(1, 2 * keys, values)?.reshape((tokens, heads, config.linear_value_head_dim))?;
        let beta = sigmoid(&linear(x, &self.b)?)?;
        // g = -exp(A_log) · softplus(a + dt_bias), the logarithm of the decay factor.
        let g = softplus(&linear(x, &self.a)?.broadcast_add(&self.dt_bias)?)?.broadcast_mul(&self.decay.neg()?)?;
        let o = recur(&repeat(&q, heads)?, &repeat(&k, heads)?, &v, &g.exp()?, &beta, s)?;
        let z = linear(x, &self.z)?.reshape(v.dims())?;
        let gated = (rms_norm(&o, &self.norm, config.rms_norm_eps)? * z.silu()?)?;
        linear(&gated.reshape((tokens, values))?, &self.output)
    }

    /// y`[t, c]` = silu(Σ_j w[c, j] · m[t - (taps - 1) + j, c]); `before` are the rows before the
    /// first.
    fn convolve(&self, m: &Tensor, before: &mut Tensor) -> Result<Tensor> {
        let (tokens, taps) = (m.dim(0)?, self.conv.dim(1)?);
        let rows = Tensor::cat(&[&*before, m], 0)?;
        let mut y = m.zeros_like()?;
        for tap in 0..taps {
            let weight = self.conv.narrow(1, tap, 1)?.t()?;
            y = (y + rows.narrow(0, tap, tokens)?.broadcast_mul(&weight)?)?;
        }
        *before = rows.narrow(0, tokens, taps - 1)?.contiguous()?;
        y.silu()
    }
}

/// The delta rule, token by token. q, k: `[tokens, value_heads, key_dim]`; v: [tokens, value_heads,
/// value_dim]; kept (the decay factor) and beta: `[tokens, value_heads]`; S: [value_heads, key_dim,
/// value_dim].
///
/// S ← kept · S, u ← beta · (v - Sᵀk), S ← S + k·uᵀ, o = Sᵀq
fn recur(q: &Tensor, k: &Tensor, v: &Tensor, kept: &Tensor, beta: &Tensor, s: &mut Tensor) -> Result<Tensor> {
    let mut read = Vec::new();
    for t in 0..q.dim(0)? {
        let row = |x: &Tensor| x.get(t)?.unsqueeze(1);
        let (q, k, v) = (row(q)?, row(k)?, row(v)?);
        let of_head = |x: &Tensor| x.get(t)?.unsqueeze(1)?.unsqueeze(2);
        let decayed = s.broadcast_mul(&of_head(kept)?)?;
        let u = (v - k.matmul(&decayed)?)?.broadcast_mul(&of_head(beta)?)?;
        *s = (decayed + k.transpose(1, 2)?.contiguous()?.matmul(&u)?)?;
        read.push(q.matmul(s)?.squeeze(1)?);
    }
    Tensor::stack(&read, 0)
}

impl Attention {
    fn load(
        weights: &ReferenceWeights,
        config: &ReferenceConfig,
        at: &str,
    ) -> std::result::Result<Attention, ReferenceError> {
        let get = |name: &str, dims: &[usize]| weights.get(&format!("{at}{name}"), dims);
        let (width, head_dim) = (config.hidden_size, config.head_dim);
        let (query, kv) = (config.num_attention_heads * head_dim, config.num_key_value_heads * head_dim);
        Ok(Attention {
            q: get("q_proj.weight", &[2 * query, width])?,
            k: get("k_proj.weight", &[kv, width])?,
            v: get("v_proj.weight", &[kv, width])?,
            q_norm: weights.norm(&format!("{at}q_norm.weight"), head_dim)?,
            k_norm: weights.norm(&format!("{at}k_norm.weight"), head_dim)?,
            output: get("o_proj.weight", &[width, query])?,
        })
    }

    fn forward(
        &self,
        config: &ReferenceConfig,
        x: &Tensor,
        position: usize,
        kept: &mut Option<(Tensor, Tensor)>,
    ) -> Result<Tensor> {
        let (tokens, heads, head_dim) = (x.dim(0)?, config.num_attention_heads, config.head_dim);
        let both = linear(x, &self.q)?.reshape((tokens, heads, 2 * head_dim))?;
        let (q, gate) = (both.narrow(2, 0, head_dim)?, both.narrow(2, head_dim, head_dim)?.contiguous()?);
        let in_heads = |x: Tensor| x.reshape((tokens, config.num_key_value_heads, head_dim));
        let (k, v) = (in_heads(linear(x, &self.k)?)?, in_heads(linear(x, &self.v)?)?);
        let q = rotate(config, &rms_norm(&q, &self.q_norm, config.rms_norm_eps)?, position)?;
        let k = rotate(config, &rms_norm(&k, &self.k_norm, config.rms_norm_eps)?, position)?;
        let (k, v) = remember(kept, heads_first(&k)?, heads_first(&v)?)?;
        let (k, v) = (repeat_first(&k, heads)?, repeat_first(&v, heads)?);
        let scores = (heads_first(&q)?.matmul(&k.transpose(1, 2)?.contiguous()?)? / (head_dim as f64).sqrt())?;
        let weights = softmax(&scores.broadcast_add(&causal(tokens, position)?)?)?;
        let attended = (weights.matmul(&v)?.transpose(0, 1)? * sigmoid(&gate)?)?;
        linear(&attended.reshape((tokens, heads * head_dim))?, &self.output)
    }
}

/// Appends keys and values to the kept ones, and returns all of them.
fn remember(kept: &mut Option<(Tensor, Tensor)>, k: Tensor, v: Tensor) -> Result<(Tensor, Tensor)> {
    let all = match kept.take() {
        Some((keys, values)) => (Tensor::cat(&[&keys, &k], 1)?, Tensor::cat(&[&values, &v], 1)?),
        None => (k, v),
    };
    *kept = Some(all.clone());
    Ok(all)
}

/// x: `[tokens, heads, head_dim]`. Of the first R values of a head, i and i + R/2 are turned by
/// position · base^(-2i/R).
fn rotate(config: &ReferenceConfig, x: &Tensor, position: usize) -> Result<Tensor> {
    let (tokens, rotated) = (x.dim(0)?, config.rotated());
    let half = rotated / 2;
    // Angles in f64: positions are large numbers.
    let turn = |i: usize| config.rope_base().powf(-2.0 * i as f64 / rotated as f64);
    let angles: Vec<f64> = (0..tokens).flat_map(|t| (0..half).map(move |i| (position + t) as f64 * turn(i))).collect();
    let table = |f: fn(f64) -> f64| {
        let values: Vec<f32> = angles.iter().map(|&angle| f(angle) as f32).collect();
        Tensor::from_vec(values, (tokens, 1, half), &Device::Cpu)
    };
    let (cos, sin) = (table(f64::cos)?, table(f64::sin)?);
    let (low, high) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
    let turned_low = (low.broadcast_mul(&cos)? - high.broadcast_mul(&sin)?)?;
    let turned_high = (high.broadcast_mul(&cos)? + low.broadcast_mul(&sin)?)?;
    let mut parts = vec![turned_low, turned_high];
    if rotated < config.head_dim {
        parts.push(x.narrow(2, rotated, config.head_dim - rotated)?);
    }
    Tensor::cat(&parts, 2)
}

/// Causal mask, `[tokens, positions]`: 0 where a token may attend, else -∞.
fn causal(tokens: usize, position: usize) -> Result<Tensor> {
    let seen = |t: usize, s: usize| if s <= position + t { 0.0 } else { f32::NEG_INFINITY };
    let positions = position + tokens;
    let values = (0..tokens).flat_map(|t| (0..positions).map(move |s| seen(t, s))).collect();
    Tensor::from_vec(values, (tokens, positions), &Device::Cpu)
}

/// y = x · Wᵀ
pub fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.t()?)
}

/// x / sqrt(mean(x²) + eps) · w, over the last dimension.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    x.broadcast_div(&scale)?.broadcast_mul(weight)
}

/// x / sqrt(Σx² + eps), over the last dimension.
fn unit(x: &Tensor) -> Result<Tensor> {
    x.broadcast_div(&(x.sqr()?.sum_keepdim(D::Minus1)? + LENGTH_EPS)?.sqrt()?)
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    // exp(-x) may become ∞, and 1 / (1 + ∞) is the correct 0.
    (x.neg()?.exp()? + 1.0)?.recip()
}

/// ln(1 + eˣ), as max(x, 0) + ln(1 + e^-|x|), which does not overflow.
fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}

fn softmax(x: &Tensor) -> Result<Tensor> {
    let e = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?.exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}

/// `[tokens, heads, dim]` -> [heads, tokens, dim]
fn heads_first(x: &Tensor) -> Result<Tensor> {
    x.transpose(0, 1)?.contiguous()
}

/// `[tokens, h, dim]` -> [tokens, heads, dim]: each head is repeated heads / h times in a row.
fn repeat(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (tokens, h, dim) = x.dims3()?;
    x.unsqueeze(2)?.expand((tokens, h, heads / h, dim))?.reshape((tokens, heads, dim))
}

/// `[h, positions, dim]` -> [heads, positions, dim], as [`repeat`].
fn repeat_first(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (h, positions, dim) = x.dims3()?;
    x.unsqueeze(1)?.expand((h, heads / h, positions, dim))?.reshape((heads, positions, dim))
}
