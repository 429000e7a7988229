//! Every tensor that a Qwen3.5 text model has, from its sizes.

use super::names::{self, Kind};
use crate::llm::blueprint::{Blueprint, DeltaNet};

/// A tensor that a checkpoint must have.
#[derive(Clone, Debug, PartialEq)]
pub struct Needed {
    /// Below the prefix.
    pub name: String,
    pub kind: Kind,
    /// Outermost first; convolutions as published, `[channels, 1, taps]`.
    pub dims: Vec<usize>,
}

/// The tensors of the text model, layer by layer. Without a head where it is the embedding.
pub fn inventory(blueprint: &Blueprint, tied: bool) -> Vec<Needed> {
    let Blueprint { width, vocabulary, .. } = *blueprint;
    let mut all = vec![needed(names::EMBEDDING, &[vocabulary, width])];
    for layer in 0..blueprint.layers {
        let delta = blueprint.delta.as_ref().filter(|delta| delta.layers.get(layer) == Some(&true));
        let mixer = match delta {
            Some(delta) => delta_net(width, delta),
            None => attention(blueprint),
        };
        let parts = mixer.into_iter().chain(feed_forward(blueprint));
        all.extend(parts.map(|(part, dims)| needed(&format!("layers.{layer}.{part}"), &dims)));
    }
    all.push(needed("norm.weight", &[width]));
    if !tied {
        all.push(needed(names::HEAD, &[vocabulary, width]));
    }
    all
}

/// The tensors of the block that drafts.
pub fn draft_inventory(blueprint: &Blueprint) -> Vec<Needed> {
    let width = blueprint.width;
    let own = [
        (names::JOIN, vec![width, 2 * width]),
        (names::TOKEN_NORM, vec![width]),
        (names::HIDDEN_NORM, vec![width]),
        (names::DRAFT_NORM, vec![width]),
    ];
    let layer = attention(blueprint).into_iter().chain(feed_forward(blueprint));
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

fn attention(blueprint: &Blueprint) -> Vec<Part> {
    let (width, head_dim) = (blueprint.width, blueprint.head_dim);
    let (query, kv) = (blueprint.query_width(), blueprint.kv_width());
    vec![
        // For each head its query, then its gate.
        ("self_attn.q_proj.weight", vec![2 * query, width]),
        ("self_attn.k_proj.weight", vec![kv, width]),
        ("self_attn.v_proj.weight", vec![kv, width]),
        ("self_attn.o_proj.weight", vec![width, query]),
        ("self_attn.q_norm.weight", vec![head_dim]),
        ("self_attn.k_norm.weight", vec![head_dim]),
    ]
}

fn feed_forward(blueprint: &Blueprint) -> Vec<Part> {
    let Blueprint { width, hidden, .. } = *blueprint;
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
