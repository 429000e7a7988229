//! Inventory of the tensors that a Qwen3.5 text model has, from its sizes.

use super::names::{self, TensorKind};
use crate::llm::model_config::{DeltaNet, ModelConfig};

/// A tensor that a checkpoint must have.
#[derive(Clone, Debug, PartialEq)]
pub struct Needed {
    /// Name below the prefix.
    pub name: String,
    pub kind: TensorKind,
    /// Dimensions, outermost first; convolutions as published, `[channels, 1, taps]`.
    pub dims: Vec<usize>,
}

/// Tensors of the text model, layer by layer. Without a head if it is the embedding.
pub fn inventory(model_config: &ModelConfig, tied: bool) -> Vec<Needed> {
    let ModelConfig { width, vocabulary, .. } = *model_config;
    let mut all = vec![needed(names::EMBEDDING, &[vocabulary, width])];
    for layer in 0..model_config.layers {
        let delta = model_config.delta.as_ref().filter(|delta| delta.layers.get(layer) == Some(&true));
        let mixer = match delta {
            Some(delta) => delta_net(width, delta),
            None => attention(model_config),
        };
        let parts = mixer.into_iter().chain(feed_forward(model_config));
        all.extend(parts.map(|(part, dims)| needed(&format!("layers.{layer}.{part}"), &dims)));
    }
    all.push(needed("norm.weight", &[width]));
    if !tied {
        all.push(needed(names::HEAD, &[vocabulary, width]));
    }
    all
}

/// Tensors of the draft block.
pub fn draft_inventory(model_config: &ModelConfig) -> Vec<Needed> {
    let width = model_config.width;
    let own = [
        (names::JOIN, vec![width, 2 * width]),
        (names::TOKEN_NORM, vec![width]),
        (names::HIDDEN_NORM, vec![width]),
        (names::DRAFT_NORM, vec![width]),
    ];
    let layer = attention(model_config).into_iter().chain(feed_forward(model_config));
    let layer = layer.map(|(part, dims)| needed(&format!("{}{part}", names::DRAFTING_LAYER), &dims));
    own.iter().map(|(name, dims)| needed(name, dims)).chain(layer).collect()
}

type Part = (&'static str, Vec<usize>);

fn delta_net(width: usize, delta: &DeltaNet) -> Vec<Part> {
    let DeltaNet { key_heads, value_heads, key_dim, value_dim, taps, .. } = *delta;
    let values = value_heads * value_dim;
    let channels = 2 * key_heads * key_dim + values;
    vec![
        ("linear_attn.in_proj_qkv.weight", vec![channels, width]),
        ("linear_attn.in_proj_z.weight", vec![values, width]),
        ("linear_attn.in_proj_b.weight", vec![value_heads, width]),
        ("linear_attn.in_proj_a.weight", vec![value_heads, width]),
        (names::CONVOLUTION, vec![channels, 1, taps]),
        ("linear_attn.dt_bias", vec![value_heads]),
        ("linear_attn.A_log", vec![value_heads]),
        ("linear_attn.norm.weight", vec![value_dim]),
        ("linear_attn.out_proj.weight", vec![width, values]),
    ]
}

fn attention(model_config: &ModelConfig) -> Vec<Part> {
    let (width, head_dim) = (model_config.width, model_config.head_dim);
    let (query, kv) = (model_config.query_width(), model_config.kv_width());
    vec![
        // For each head the query, then the gate.
        ("self_attn.q_proj.weight", vec![2 * query, width]),
        ("self_attn.k_proj.weight", vec![kv, width]),
        ("self_attn.v_proj.weight", vec![kv, width]),
        ("self_attn.o_proj.weight", vec![width, query]),
        ("self_attn.q_norm.weight", vec![head_dim]),
        ("self_attn.k_norm.weight", vec![head_dim]),
    ]
}

fn feed_forward(model_config: &ModelConfig) -> Vec<Part> {
    let ModelConfig { width, hidden, .. } = *model_config;
    vec![
        ("input_layernorm.weight", vec![width]),
        ("post_attention_layernorm.weight", vec![width]),
        ("mlp.gate_proj.weight", vec![hidden, width]),
        ("mlp.up_proj.weight", vec![hidden, width]),
        ("mlp.down_proj.weight", vec![width, hidden]),
    ]
}

fn needed(name: &str, dims: &[usize]) -> Needed {
    let kind = names::kind(name).expect("the tables of names know every tensor of the inventory");
    Needed { name: name.to_owned(), kind, dims: dims.to_vec() }
}
