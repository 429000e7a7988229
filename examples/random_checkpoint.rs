//! Writes a checkpoint of Qwen3.5-0.8B as it is published, with random weights: the same names,
//! shapes, types and sizes, to the byte, to measure loading, quantising and speed where the real
//! weights cannot be had.
//!
//! `cargo run --release --example random_checkpoint -- FOLDER [SEED]`

use std::path::PathBuf;

use serde_json::{Value, json};
use sotto::llm::checkpoint::header::Dtype;
use sotto::llm::checkpoint::random;
use sotto::llm::checkpoint::writer::TensorSpec;

/// As published, and with it the size of the whole file.
const FILE: &str = "model.safetensors-00001-of-00001.safetensors";
const PUBLISHED_BYTES: u64 = 1_746_942_600;

const WIDTH: usize = 1024;
const HIDDEN: usize = 3584;
/// The vision tower.
const VISION: usize = 768;
const VISION_HIDDEN: usize = 3072;
const BLOCKS: usize = 12;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let dir = PathBuf::from(args.next().ok_or("usage: random_checkpoint FOLDER [SEED]")?);
    let seed = args.next().map_or(Ok(1), |seed| seed.to_string_lossy().parse())?;
    std::fs::create_dir_all(&dir)?;
    let others: Vec<TensorSpec> = mtp().into_iter().chain(vision()).collect();
    random::write(&dir, FILE, &config(), &others, seed)?;
    let bytes = std::fs::metadata(dir.join(FILE))?.len();
    if bytes != PUBLISHED_BYTES {
        return Err(
            format!("{FILE} has {bytes} bytes, the published one {PUBLISHED_BYTES}: a shape above is wrong").into()
        );
    }
    println!("{}: {bytes} bytes, as published", dir.join(FILE).display());
    Ok(())
}

/// The fields of the published config.json that say what the model is.
fn config() -> Value {
    let layer = |n: usize| if n % 4 == 3 { "full_attention" } else { "linear_attention" };
    json!({
        "architectures": ["Qwen3_5ForConditionalGeneration"],
        "image_token_id": 248056,
        "model_type": "qwen3_5",
        "text_config": {
            "attention_bias": false, "attn_output_gate": true, "dtype": "bfloat16", "eos_token_id": 248044,
            "full_attention_interval": 4, "head_dim": 256, "hidden_act": "silu", "hidden_size": WIDTH,
            "intermediate_size": HIDDEN, "layer_types": (0..24).map(layer).collect::<Vec<_>>(),
            "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_num_key_heads": 16,
            "linear_num_value_heads": 16, "linear_value_head_dim": 128, "max_position_embeddings": 262144,
            "model_type": "qwen3_5_text", "mtp_num_hidden_layers": 1, "num_attention_heads": 8,
            "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "tie_word_embeddings": true,
            "vocab_size": 248320, "mamba_ssm_dtype": "float32",
            "rope_parameters": {
                "mrope_interleaved": true, "mrope_section": [11, 11, 10], "rope_type": "default",
                "rope_theta": 10000000, "partial_rotary_factor": 0.25,
            },
        },
        "tie_word_embeddings": true,
        "vision_config": { "depth": BLOCKS, "hidden_size": VISION, "intermediate_size": VISION_HIDDEN },
    })
}

fn entries(prefix: &str, parts: &[(&str, &[usize])]) -> Vec<TensorSpec> {
    parts.iter().map(|(part, dims)| TensorSpec::new(format!("{prefix}{part}"), Dtype::BF16, dims)).collect()
}

/// The head that drafts: one layer of attention, fed with two vectors.
fn mtp() -> Vec<TensorSpec> {
    entries(
        "mtp.",
        &[
            ("fc.weight", &[WIDTH, 2 * WIDTH]),
            ("layers.0.input_layernorm.weight", &[WIDTH]),
            ("layers.0.mlp.down_proj.weight", &[WIDTH, HIDDEN]),
            ("layers.0.mlp.gate_proj.weight", &[HIDDEN, WIDTH]),
            ("layers.0.mlp.up_proj.weight", &[HIDDEN, WIDTH]),
            ("layers.0.post_attention_layernorm.weight", &[WIDTH]),
            ("layers.0.self_attn.k_norm.weight", &[256]),
            ("layers.0.self_attn.k_proj.weight", &[512, WIDTH]),
            ("layers.0.self_attn.o_proj.weight", &[WIDTH, 2048]),
            ("layers.0.self_attn.q_norm.weight", &[256]),
            ("layers.0.self_attn.q_proj.weight", &[4096, WIDTH]),
            ("layers.0.self_attn.v_proj.weight", &[512, WIDTH]),
            ("norm.weight", &[WIDTH]),
            ("pre_fc_norm_embedding.weight", &[WIDTH]),
            ("pre_fc_norm_hidden.weight", &[WIDTH]),
        ],
    )
}

fn vision() -> Vec<TensorSpec> {
    let mut all = Vec::new();
    for block in 0..BLOCKS {
        all.extend(entries(
            &format!("model.visual.blocks.{block}."),
            &[
                ("attn.proj.bias", &[VISION]),
                ("attn.proj.weight", &[VISION, VISION]),
                ("attn.qkv.bias", &[3 * VISION]),
                ("attn.qkv.weight", &[3 * VISION, VISION]),
                ("mlp.linear_fc1.bias", &[VISION_HIDDEN]),
                ("mlp.linear_fc1.weight", &[VISION_HIDDEN, VISION]),
                ("mlp.linear_fc2.bias", &[VISION]),
                ("mlp.linear_fc2.weight", &[VISION, VISION_HIDDEN]),
                ("norm1.bias", &[VISION]),
                ("norm1.weight", &[VISION]),
                ("norm2.bias", &[VISION]),
                ("norm2.weight", &[VISION]),
            ],
        ));
    }
    // Four patches become one vector of the language model.
    let merged = 4 * VISION;
    all.extend(entries(
        "model.visual.",
        &[
            ("merger.linear_fc1.bias", &[merged]),
            ("merger.linear_fc1.weight", &[merged, merged]),
            ("merger.linear_fc2.bias", &[WIDTH]),
            ("merger.linear_fc2.weight", &[WIDTH, merged]),
            ("merger.norm.bias", &[VISION]),
            ("merger.norm.weight", &[VISION]),
            ("patch_embed.proj.bias", &[VISION]),
            ("patch_embed.proj.weight", &[VISION, 3, 2, 16, 16]),
            ("pos_embed.weight", &[2304, VISION]),
        ],
    ));
    all
}
