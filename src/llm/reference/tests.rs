//! Tests of the reference against expected tensors and against the engine: two implementations that
//! share only the formulas.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::llm::ModelSource;
use crate::llm::checkpoint::random;
use crate::llm::checkpoint::testing::Layout;
use crate::llm::testing::goldens;
use crate::llm::verify::Expected;
use crate::llm::{KvCacheType, SequenceState};

fn largest(got: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(got.len(), wanted.len());
    got.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn assert_near(case: &str, got: &Tensor, wanted: &[f32], limit: f32) {
    let off = largest(&values(got).unwrap(), wanted);
    let scale = wanted.iter().fold(1.0, |most: f32, value| most.max(value.abs()));
    assert!(off <= limit * scale, "{case}: off by {off} of {scale}");
}

#[test]
fn it_computes_what_is_expected_however_the_sequence_is_cut() {
    let folder = goldens::model();
    let expected = Expected::of_model(&folder).unwrap();
    let get = |name: &str| expected.get(name).map(|found| found.values(found.dims()).unwrap());
    let logits = get("logits").unwrap();
    for pieces in [vec![200], vec![1, 3, 60, 136]] {
        let reference = ReferenceModel::open(&folder.join("hf")).unwrap();
        let tokens = expected.get("input_ids").unwrap().tokens(reference.vocabulary()).unwrap();
        let (mut memory, mut rows, mut rest) = (reference.memory().unwrap(), Vec::new(), &tokens[..]);
        for piece in pieces {
            let outcome = reference.forward(&rest[..piece], &mut memory).unwrap();
            if piece == tokens.len() {
                let hidden = Tensor::stack(&outcome.hidden, 0).unwrap();
                assert_near("hidden states", &hidden, &get("hidden_states").unwrap(), 1e-4);
            }
            rows.extend(values(&outcome.logits).unwrap());
            rest = &rest[piece..];
        }
        let off = largest(&rows, &logits);
        assert!(rest.is_empty() && off <= 2e-3, "a logit is off by {off}");
        assert_states(&memory, get);
    }
}

fn assert_states(memory: &ReferenceState, expected: impl Fn(&str) -> Option<Vec<f32>>) {
    for (n, layer) in memory.layers().iter().enumerate() {
        let wanted = |part: &str| expected(&format!("after{}.layer{n}.{part}", memory.positions())).unwrap();
        match layer {
            ReferenceLayerState::DeltaNet { conv, recurrent } => {
                assert_near("S", recurrent, &wanted("recurrent_state"), 1e-4);
                assert_near("rows", &conv.t().unwrap(), &wanted("conv_state"), 1e-4);
            }
            ReferenceLayerState::Attention { kept } => {
                let (keys, values) = kept.as_ref().unwrap();
                assert_near("keys", keys, &wanted("k"), 1e-4);
                assert_near("values", values, &wanted("v"), 1e-4);
            }
        }
    }
}

/// Two models with other shapes than the golden ones: several value heads for each key head,
/// unequal dimensions, interval 2, a separate head, all of a head rotated.
fn other_config(ratio: usize, tied: bool, rotated: f64) -> Value {
    json!({
        "vocab_size": 96, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
        "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16, "hidden_act": "silu",
        "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "tie_word_embeddings": tied,
        "linear_conv_kernel_dim": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 32,
        "linear_num_key_heads": 2, "linear_num_value_heads": 2 * ratio, "full_attention_interval": 2,
        "rope_theta": 10_000.0, "partial_rotary_factor": rotated,
    })
}

/// Largest difference of a logit between the engine and the reference over 70 tokens.
fn between(dir: &Path) -> f32 {
    let mut model = ModelSource::open(dir).unwrap().load(2).unwrap();
    let reference = ReferenceModel::open(dir).unwrap();
    let tokens: Vec<u32> = (0..70).map(|n| n * 37 % reference.vocabulary() as u32).collect();
    let rows = reference.logits(&tokens, &mut reference.memory().unwrap()).unwrap();
    let mut state = SequenceState::with_cache(model.model_config(), tokens.len(), KvCacheType::F32);
    let (mut rows, mut most) = (rows.chunks_exact(reference.vocabulary()), 0.0f32);
    model.forward_each(&mut state, &tokens, |_, logits| most = most.max(largest(logits, rows.next().unwrap())));
    assert!(rows.next().is_none());
    most
}

#[test]
fn the_engine_computes_the_same_from_the_same_checkpoint() {
    for (ratio, tied, rotated) in [(1, true, 0.25), (2, false, 0.5), (3, false, 1.0), (3, true, 0.25)] {
        let dir = tempfile::tempdir().unwrap();
        random::write(dir.path(), "model.safetensors", &other_config(ratio, tied, rotated), &[], 7).unwrap();
        let off = between(dir.path());
        assert!(off < 2e-3, "{ratio} value heads for a key head: off by {off}");
    }
    // Nested and in two files; and converted, with norms that hold 1 + w.
    let converted = Layout { converted: true, ..Layout::published() };
    for layout in [Layout { shards: 2, ..Layout::published() }, converted] {
        let off = between(layout.write().path());
        assert!(off < 2e-3, "{off}");
    }
}

#[test]
fn what_is_no_unquantised_checkpoint_is_refused_with_the_next_step() {
    let refused = |dir: &Path| ReferenceModel::open(dir).err().expect("it should be refused").to_string();
    let packed = refused(Layout::mlx(4, 64).write().path());
    assert!(packed.contains("U32") && packed.contains("as it was published"), "{packed}");
    assert!(refused(Path::new("no such folder")).contains("no such folder"));
    let mut layout = Layout::published();
    layout.config["text_config"]["intermediate_size"] = 512.into();
    let written = Layout::published().tensors();
    let shape = refused(layout.write_tensors(&written).path());
    assert!(shape.contains("mlp.gate_proj") && shape.contains("[512, 128]"), "{shape}");
}

#[test]
fn it_says_what_it_will_hold() {
    let dir = Layout::published().write();
    let values: usize =
        Layout::published().inventory().iter().map(|needed| needed.dims.iter().product::<usize>()).sum();
    assert_eq!(ReferenceModel::planned_bytes(dir.path(), 10).unwrap(), 4 * (values as u64 + 640));
}
