//! Tiny models for tests, built in code: the real structure with random weights.

#[path = "../../tests/common/goldens.rs"]
pub mod goldens;

use std::path::Path;

use super::gguf::Gguf;
pub use super::gguf::testing::Builder;
use super::template::ChatFormat;
use super::tokenizer::Tokenizer;
use crate::config::{self, Sampling};
use crate::types::Bytes;

pub const CONTROLS: [&str; 3] = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"];
const CHATML: &str = "{{ '<|im_start|>' + role + text + '<|im_end|>' }}";
const MERGES: [&str; 4] = ["t h", "th e", "Ġ t", "Ġ the"];

pub fn open(file: &Builder) -> Gguf {
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), file.build()).unwrap();
    Gguf::open(path.path()).unwrap()
}

/// Builds tokenizer and chat format: the 256 bytes, a few merges, the control tokens.
pub fn tables(cut: &str) -> Builder {
    let mut tokens: Vec<String> = (0..=255u8).map(|b| byte_char(b).to_string()).collect();
    tokens.extend(MERGES.map(|merge| merge.replace(' ', "")));
    let mut classes = vec![1; tokens.len()];
    let controls = controls(cut);
    tokens.extend(controls.iter().map(|name| (*name).to_owned()));
    classes.resize(tokens.len(), 3);
    let file = Builder::default()
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", cut)
        .texts("tokenizer.ggml.tokens", &tokens)
        .texts("tokenizer.ggml.merges", &MERGES)
        .i32s("tokenizer.ggml.token_type", &classes);
    match cut {
        "qwen35" => file,
        _ => file.text("tokenizer.chat_template", CHATML),
    }
}

fn controls(cut: &str) -> Vec<&'static str> {
    let thoughts = if cut == "qwen35" { &["<think>", "</think>"][..] } else { &[] };
    [&CONTROLS[..], thoughts].concat()
}

/// Name of the pre-tokenizer of a family.
fn cut_of(family: &str) -> &str {
    if family == "qwen35" { family } else { "qwen2" }
}

/// GPT-2's character for a byte.
fn byte_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    match printable(byte) {
        true => char::from(byte),
        false => char::from_u32(256 + (0..byte).filter(|&b| !printable(b)).count() as u32).unwrap(),
    }
}

pub fn tokenizer(cut: &str) -> Tokenizer {
    Tokenizer::from_gguf(&open(&tables(cut))).unwrap()
}

pub fn chatml(tokenizer: &Tokenizer) -> ChatFormat {
    ChatFormat::from_template(Path::new("m"), Some(CHATML), tokenizer).unwrap()
}

pub fn sizes(file: Builder, family: &str) -> Builder {
    sizes_but(file, family, "")
}

/// The metadata of a model of 2 layers, width 32, 4 heads over 2, context 256; all but the key
/// `missing`. A qwen35 has 4 layers, every second a DeltaNet of 4 value heads over 2 key heads.
pub fn sizes_but(file: Builder, family: &str, missing: &str) -> Builder {
    let numbers = [
        ("block_count", if family == "qwen35" { 4 } else { 2 }),
        ("embedding_length", 32),
        ("feed_forward_length", 64),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("context_length", 256),
    ];
    let hybrid = [
        ("rope.dimension_count", 4),
        ("full_attention_interval", 2),
        ("ssm.conv_kernel", 4),
        ("ssm.state_size", 8),
        ("ssm.group_count", 2),
        ("ssm.time_step_rank", 4),
        ("ssm.inner_size", 24),
    ];
    let more = if family == "qwen35" { &hybrid[..] } else { &[] };
    let mut file = file.text("general.architecture", family);
    for (key, value) in numbers.into_iter().chain(more.iter().copied()).filter(|(key, _)| *key != missing) {
        file = file.u32(&format!("{family}.{key}"), value);
    }
    match missing {
        "attention.layer_norm_rms_epsilon" => file,
        _ => file.f32(&format!("{family}.attention.layer_norm_rms_epsilon"), 1e-5),
    }
}

/// Builds a model of `family` with random weights, the head tied to the embedding.
pub fn model(family: &str) -> Builder {
    let vocabulary = (256 + MERGES.len() + controls(cut_of(family)).len()) as u64;
    random(model_without_embedding(family), "token_embd.weight", &[32, vocabulary])
}

/// Builds a qwen35 with a draft block and a separate head. If `foreseen`, no layer adds anything to
/// a token, and the drafts are exactly what the model generates.
pub fn drafting(foreseen: bool) -> Builder {
    let file = sizes_but(tables("qwen35"), "qwen35", "block_count");
    let file = file.u32("qwen35.block_count", 5).u32("qwen35.nextn_predict_layers", 1);
    let file = hybrid_weights(file, !foreseen);
    let file = attention_weights(file, 4, !foreseen);
    let (norms, vocabulary) = (["enorm", "hnorm", "shared_head_norm"], 256 + MERGES.len() as u64 + 5);
    let join = "blk.4.nextn.eh_proj.weight";
    // The first of the two joined inputs is the token.
    let diagonal: Vec<f32> = (0..32 * 64).map(|i| f32::from(u8::from(i / 64 == i % 64))).collect();
    let file = match foreseen {
        true => file.tensor(join, &[64, 32], &diagonal),
        false => random(file, join, &[64, 32]),
    };
    let one = |file: Builder, name: &str| file.tensor(&format!("blk.4.nextn.{name}.weight"), &[32], &[1.0; 32]);
    let file = norms.into_iter().fold(file, one).tensor("output_norm.weight", &[32], &[1.0; 32]);
    random(random(file, "token_embd.weight", &[32, vocabulary]), "output.weight", &[32, vocabulary])
}

pub fn model_without_embedding(family: &str) -> Builder {
    let file = sizes(tables(cut_of(family)), family);
    let file = match family {
        "qwen35" => hybrid_weights(file, true),
        _ => weights(file, family == "qwen2"),
    };
    file.tensor("output_norm.weight", &[32], &[1.0; 32])
}

fn weights(mut file: Builder, biased: bool) -> Builder {
    let shapes: [(&str, [u64; 2]); 7] = [
        ("attn_q", [32, 32]),
        ("attn_k", [32, 16]),
        ("attn_v", [32, 16]),
        ("attn_output", [32, 32]),
        ("ffn_gate", [32, 64]),
        ("ffn_up", [32, 64]),
        ("ffn_down", [64, 32]),
    ];
    for layer in 0..2 {
        for (name, dims) in shapes {
            file = random(file, &format!("blk.{layer}.{name}.weight"), &dims);
            if biased && ["attn_q", "attn_k", "attn_v"].contains(&name) {
                file = random(file, &format!("blk.{layer}.{name}.bias"), &dims[1..]);
            }
        }
        for name in ["attn_norm", "ffn_norm"] {
            file = file.tensor(&format!("blk.{layer}.{name}.weight"), &[32], &[1.0; 32]);
        }
    }
    file
}

/// Builds layers that add something to a token only if `loud`.
fn hybrid_weights(file: Builder, loud: bool) -> Builder {
    (0..4).fold(file, |file, layer| match layer % 2 {
        0 => delta_weights(file, layer, loud),
        _ => attention_weights(file, layer, loud),
    })
}

fn delta_weights(mut file: Builder, layer: usize, loud: bool) -> Builder {
    let shapes: [(&str, &[u64]); 7] = [
        ("attn_qkv.weight", &[32, 56]),
        ("attn_gate.weight", &[32, 24]),
        ("ssm_alpha.weight", &[32, 4]),
        ("ssm_beta.weight", &[32, 4]),
        ("ssm_conv1d.weight", &[4, 56]),
        ("ssm_dt.bias", &[4]),
        ("ssm_norm.weight", &[6]),
    ];
    for (name, dims) in shapes {
        file = random(file, &format!("blk.{layer}.{name}"), dims);
    }
    let file = file.tensor(&format!("blk.{layer}.ssm_a"), &[4], &[-0.01, -1.0, -4.0, -16.0]);
    feed_forward_weights(out(file, layer, "ssm_out", [24, 32], loud), layer, loud)
}

fn attention_weights(mut file: Builder, layer: usize, loud: bool) -> Builder {
    let shapes: [(&str, &[u64]); 5] = [
        ("attn_q.weight", &[32, 64]),
        ("attn_k.weight", &[32, 16]),
        ("attn_v.weight", &[32, 16]),
        ("attn_q_norm.weight", &[8]),
        ("attn_k_norm.weight", &[8]),
    ];
    for (name, dims) in shapes {
        file = random(file, &format!("blk.{layer}.{name}"), dims);
    }
    feed_forward_weights(out(file, layer, "attn_output", [32, 32], loud), layer, loud)
}

fn feed_forward_weights(mut file: Builder, layer: usize, loud: bool) -> Builder {
    for name in ["ffn_gate", "ffn_up"] {
        file = random(file, &format!("blk.{layer}.{name}.weight"), &[32, 64]);
    }
    for name in ["attn_norm", "post_attention_norm"] {
        file = file.tensor(&format!("blk.{layer}.{name}.weight"), &[32], &[1.0; 32]);
    }
    out(file, layer, "ffn_down", [64, 32], loud)
}

/// Builds the output matrix of part of a layer, which is zero unless `loud`.
fn out(file: Builder, layer: usize, part: &str, dims: [u64; 2], loud: bool) -> Builder {
    let name = format!("blk.{layer}.{part}.weight");
    match loud {
        true => random(file, &name, &dims),
        false => file.tensor(&name, &dims, &vec![0.0; (dims[0] * dims[1]) as usize]),
    }
}

/// Settings with greedy sampling, and a penalty that keeps noise from repeating itself.
pub fn settings(context: usize, max_tokens: usize) -> config::LlmPlan {
    config::LlmPlan {
        model: "tiny".to_owned(),
        system_prompt: "Be brief.".to_owned(),
        threads: 1,
        context: Some(context),
        priority: config::Priority::Normal,
        kv_cache: config::KvType::F16,
        speculative_decoding: config::SpeculativeDecoding::Auto,
        prompt_cache: Bytes(0),
        max_tokens,
        sampling: Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.3,
            presence_penalty: 0.0,
            seed: Some(1),
        },
    }
}

/// Builds a tensor of values in -0.4..0.4, deterministic by name.
fn random(file: Builder, name: &str, dims: &[u64]) -> Builder {
    let seed = name.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut random = fastrand::Rng::with_seed(seed);
    let values: Vec<f32> = (0..dims.iter().product()).map(|_| random.f32() * 0.8 - 0.4).collect();
    file.tensor(name, dims, &values)
}
