//! Tests that a good checkpoint of every layout is read back, and each fault is refused with the
//! right message.

use serde_json::{Value, json};

use super::header::Dtype;
use super::inventory::Needed;
use super::names::{self, TensorKind};
use super::testing::{Data, Layout, nested, open, text_config};
use super::writer::TensorSpec;
use super::*;
use crate::llm::model_config::{Family, HeadOrder};
use crate::llm::tensors::{Tensors, Weight};

fn values(weight: &Weight) -> Vec<f32> {
    let matrix = weight.matrix();
    let mut values = vec![0.0; matrix.rows() * matrix.cols()];
    for (row, values) in values.chunks_exact_mut(matrix.cols()).enumerate() {
        matrix.unpack_row(row, values);
    }
    values
}

/// Requests every tensor by GGUF's name, as a model does, and compares it to the bit.
fn check(layout: &Layout, what: &str) {
    let dir = layout.write();
    let checkpoint = open(&dir).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut binder = checkpoint.binder();
    for needed in layout.inventory() {
        let Needed { name, kind, dims } = &needed;
        let gguf = names::to_gguf(name).unwrap();
        assert!(binder.has(&gguf), "{what}: {gguf}");
        let (expected, _) = layout.tensor(&needed);
        let found = match kind {
            TensorKind::Matrix => values(&binder.matrix(&gguf, dims[0], dims[1]).unwrap()),
            _ => binder.vector(&gguf, expected.len()).unwrap(),
        };
        assert!(found == expected, "{what}: {gguf}");
    }
    assert!(!binder.has("blk.0.attn_q.bias") && !binder.has("blk.1.ssm_a"));
    assert_eq!(binder.has("output.weight"), !layout.tied);
    binder.refuse_the_rest().unwrap();
}

#[test]
fn every_layout_gives_the_same_model() {
    let published = Layout::published();
    check(&published, "as published");
    for (prefix, head) in [("language_model.model.", "language_model.lm_head.weight"), ("model.", "lm_head.weight")] {
        check(&Layout { prefix, head, ..published.clone() }, prefix);
        let config = nested(text_config(), false);
        check(&Layout { prefix, head, tied: false, config, ..published.clone() }, "untied");
    }
    check(&Layout { converted: true, ..published.clone() }, "converted");
    for dtype in [Dtype::F32, Dtype::F16] {
        check(&Layout { dtype: dtype.clone(), ..published.clone() }, dtype.name());
    }
    check(&Layout { shards: 3, ..published.clone() }, "in three files");
    check(&Layout { config: text_config(), prefix: "model.", ..published.clone() }, "a flat configuration");
    for bits in [4, 5, 6, 8] {
        for group in [32, 64, 128] {
            check(&Layout::mlx(bits, group), &format!("{bits} bits in groups of {group}"));
        }
    }
}

#[test]
fn a_convolution_is_a_matrix_too_and_matrices_stay_where_they_lie() {
    let layout = Layout::published();
    let dir = layout.write();
    let checkpoint = open(&dir).unwrap();
    let mut binder = checkpoint.binder();
    let convolution = binder.matrix("blk.0.ssm_conv1d.weight", 192, 4).unwrap();
    assert!(values(&convolution) == binder.vector("blk.0.ssm_conv1d.weight", 192 * 4).unwrap());
    let first = binder.matrix("token_embd.weight", 64, 128).unwrap();
    assert!(first.is(&binder.matrix("token_embd.weight", 64, 128).unwrap()));
    assert!(checkpoint.raw() && checkpoint.tied());
}

#[test]
fn the_configuration_becomes_a_blueprint() {
    let dir = Layout::published().write();
    let checkpoint = open(&dir).unwrap();
    let model_config = checkpoint.model_config();
    assert_eq!((model_config.family, model_config.layers, model_config.rotated), (Family::Qwen35, 2, 16));
    assert_eq!((model_config.rope_base, model_config.norm_eps), (1e7, 1e-6));
    let delta = model_config.delta.as_ref().unwrap();
    assert_eq!((&delta.layers[..], delta.order), (&[true, false][..], HeadOrder::Grouped));
    assert_eq!((delta.key_heads, delta.value_heads, delta.key_dim, delta.value_dim, delta.taps), (2, 4, 16, 32, 4));
}

fn parse(config: &Value) -> Result<CheckpointConfig, LlmError> {
    CheckpointConfig::parse(config.to_string().as_bytes(), Path::new("config.json"))
}

fn edited(edits: &[(&str, Value)]) -> Value {
    let mut text = text_config();
    for (key, value) in edits {
        *text.pointer_mut(&format!("/{}", key.replace('.', "/"))).unwrap_or(&mut Value::Null) = value.clone();
        if !key.contains('.') {
            text[*key] = value.clone();
        }
    }
    text
}

#[test]
fn spellings_of_a_configuration_are_understood() {
    let same: Vec<(&str, Value)> = vec![
        ("flat", text_config()),
        ("without a model type", edited(&[("model_type", Value::Null)])),
        ("by interval", edited(&[("layer_types", Value::Null), ("full_attention_interval", json!(2))])),
        ("list over interval", edited(&[("full_attention_interval", json!(1))])),
        (
            "rope at the top",
            edited(&[
                ("rope_parameters", Value::Null),
                ("rope_theta", json!(1e7)),
                ("partial_rotary_factor", json!(0.25)),
            ]),
        ),
        ("rope twice", edited(&[("rope_theta", json!(5.0)), ("partial_rotary_factor", json!(1.0))])),
        ("rope type by its old name", edited(&[("rope_parameters", json!({ "type": "default", "rope_theta": 1e7 }))])),
        ("unknown keys", edited(&[("mlp_only_layers", json!([])), ("output_gate_type", json!("swish"))])),
        ("null is absent", edited(&[("rope_scaling", Value::Null), ("num_experts", Value::Null)])),
    ];
    let expected = parse(&nested(text_config(), true)).unwrap().model_config;
    for (what, config) in same {
        assert_eq!(parse(&config).unwrap_or_else(|error| panic!("{what}: {error}")).model_config, expected, "{what}");
    }
}

#[test]
fn a_configuration_that_lies_or_asks_for_what_is_not_run_is_refused() {
    let huge = json!(1_000_000_000);
    let cases: Vec<(&str, Value, &str)> = vec![
        ("num_hidden_layers", huge.clone(), "1 to 512"),
        ("num_hidden_layers", json!(3), "there are 3 layers"),
        ("num_attention_heads", json!(0), "1 to 1024"),
        ("num_attention_heads", json!(-2), "a whole number"),
        ("num_attention_heads", json!(2.5), "a whole number"),
        ("num_key_value_heads", json!(3), "must divide 2 heads"),
        ("head_dim", Value::Null, "\"head_dim\" is missing"),
        ("hidden_size", json!("128"), "a whole number"),
        ("vocab_size", json!(1e300), "a whole number"),
        ("linear_num_value_heads", json!(3), "a multiple of 2"),
        ("linear_num_key_heads", json!(1024), "a multiple of 1024"),
        ("linear_value_head_dim", huge.clone(), "1 to 4096"),
        ("linear_conv_kernel_dim", json!(1), "at least 2 taps"),
        ("rms_norm_eps", json!(-1e-6), "positive"),
        ("rms_norm_eps", json!(1e-300), "positive"),
        ("layer_types", json!(["linear_attention", "mamba"]), "\"mamba\""),
        ("layer_types", json!(["full_attention", "full_attention"]), "without linear_attention"),
        ("layer_types", json!("linear_attention"), "must be a list"),
        ("rope_parameters", json!({ "rope_theta": 1e7, "rope_type": "yarn" }), "rope type \"yarn\""),
        ("rope_parameters", json!({ "rope_theta": 0.0 }), "positive"),
        ("rope_parameters", json!({ "rope_theta": 1e7, "partial_rotary_factor": 1e9 }), "even part of 64"),
        ("rope_parameters", json!([]), "must be an object"),
        ("rope_scaling", json!({ "type": "linear" }), "rope type \"linear\""),
        ("attention_bias", json!(true), "attention_bias"),
        ("attn_output_gate", json!(false), "without an output gate"),
        ("hidden_act", json!("gelu"), "activation \"gelu\""),
        ("output_gate_type", json!("sigmoid"), "output gate \"sigmoid\""),
        ("num_experts", json!(256), "experts"),
        ("model_type", json!("qwen3_next"), "model type \"qwen3_next\""),
        ("quantization", json!({ "bits": 4, "mode": "mxfp4" }), "mode \"mxfp4\""),
        ("quantization", json!({ "model.layers.0.mlp.up_proj": { "mode": "nvfp4" } }), "mode \"nvfp4\""),
        ("quantization_config", json!({ "quant_method": "fp8" }), "\"fp8\""),
        ("quantization", json!("q4"), "\"q4\""),
        ("quantization", json!(4), "must be an object"),
        ("quantization_bits", json!("4"), "a whole number"),
    ];
    for (key, value, words) in cases {
        let message =
            parse(&edited(&[(key, value.clone())])).err().unwrap_or_else(|| panic!("{key} {value}")).to_string();
        assert!(message.contains(words), "{key} {value}: {message}");
    }
    for (bytes, words) in [(&b"[]"[..], "not an object"), (b"{\"a\":1,\"a\":2}", "twice"), (b"{", "EOF"), (b"", "EOF")]
    {
        let message = CheckpointConfig::parse(bytes, Path::new("config.json")).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
}

/// Error of a model that binds the whole layout.
fn refusal(layout: &Layout, tensors: &[Data]) -> String {
    let dir = layout.write_tensors(tensors);
    let bind = || -> Result<(), LlmError> {
        let checkpoint = open(&dir)?;
        let mut binder = checkpoint.binder();
        for Needed { name, kind, dims } in layout.inventory() {
            let gguf = names::to_gguf(&name).unwrap();
            match kind {
                TensorKind::Matrix => drop(binder.matrix(&gguf, dims[0], dims[1])?),
                _ => drop(binder.vector(&gguf, dims.iter().product())?),
            }
        }
        binder.refuse_the_rest()
    };
    bind().expect_err("it should be refused").to_string()
}

fn plain(name: &str, dtype: Dtype, dims: &[usize]) -> Data {
    let entry = TensorSpec::new(name, dtype, dims);
    let bytes = vec![0; entry.bytes() as usize];
    (entry, bytes)
}

#[test]
fn tensors_that_do_not_belong_are_refused_by_name() {
    let layout = Layout::published();
    let with = |data: Data| {
        let mut tensors = layout.tensors();
        tensors.retain(|(entry, _)| entry.name != data.0.name);
        tensors.push(data);
        refusal(&layout, &tensors)
    };
    let own = |name: &str| format!("model.language_model.{name}");
    let bias = with(plain(&own("layers.1.self_attn.q_proj.bias"), Dtype::BF16, &[256]));
    assert!(bias.contains("q_proj.bias"), "{bias}");
    let stray = with(plain("lm_tail.weight", Dtype::BF16, &[4]));
    assert!(stray.contains("lm_tail.weight"), "{stray}");
    let narrow = with(plain(&own("layers.0.mlp.up_proj.weight"), Dtype::BF16, &[256, 64]));
    assert!(narrow.contains("[256, 64]") && narrow.contains("[256, 128]"), "{narrow}");
    let packed = with(plain(&own("layers.0.mlp.up_proj.weight"), Dtype::U32, &[256, 16]));
    assert!(packed.contains("without \"scales\""), "{packed}");
    let long = with(plain(&own("norm.weight"), Dtype::BF16, &[129]));
    assert!(long.contains("[129]") && long.contains("[128]"), "{long}");
    let taps = with(plain(&own("layers.0.linear_attn.conv1d.weight"), Dtype::BF16, &[192, 4, 4]));
    assert!(taps.contains("[192, 4, 4]"), "{taps}");
    let twice = with(plain("model.norm.weight", Dtype::BF16, &[128]));
    assert!(twice.contains("twice"), "{twice}");
    let mut lacking = layout.tensors();
    lacking.retain(|(entry, _)| !entry.name.ends_with("layers.1.mlp.down_proj.weight"));
    assert!(refusal(&layout, &lacking).contains("layers.1.mlp.down_proj.weight\" is missing"));
}

#[test]
fn other_towers_are_skipped_whatever_their_types() {
    let layout = Layout::published();
    let mut tensors = layout.tensors();
    tensors.extend([
        plain("model.visual.patch_embed.proj.weight", Dtype::BF16, &[8, 3, 2, 4, 4]),
        plain("mtp.fc.weight", Dtype::F16, &[128, 256]),
        // A head beside a tied embedding is not used.
        plain("lm_head.weight", Dtype::BF16, &[64, 128]),
    ]);
    let dir = layout.write_tensors(&tensors);
    let checkpoint = open(&dir).unwrap();
    let mut binder = checkpoint.binder();
    assert!(!binder.has("output.weight"));
    for Needed { name, dims, .. } in layout.inventory() {
        binder.vector(&names::to_gguf(&name).unwrap(), dims.iter().product()).unwrap();
    }
    binder.refuse_the_rest().unwrap();
}

#[test]
fn packed_tensors_must_be_what_the_configuration_declares() {
    let up = "language_model.model.layers.0.mlp.up_proj";
    let cases: Vec<(Value, Option<&str>)> = vec![
        (json!({ "bits": 5, "group_size": 64 }), None),
        (json!("int5"), None),
        (Value::Null, None),
        (json!({ "bits": 5, "group_size": 64, up: true }), None),
        (json!({ "bits": 5, "group_size": 64, "model.layers.0.mlp.up_proj": { "bits": 5 } }), None),
        (json!({ "bits": 4, "group_size": 64 }), Some("4 bits in groups of 64")),
        (json!({ "bits": 5, "group_size": 32 }), Some("5 bits in groups of 32")),
        (json!("int4"), Some("4 bits in groups of any")),
        (json!({ "bits": 5, "group_size": 64, up: false }), Some("not quantised")),
        (json!({ "bits": 5, "group_size": 64, up: { "bits": 8, "group_size": 32 } }), Some("8 bits in groups of 32")),
    ];
    for (declared, words) in cases {
        for key in ["quantization", "quantization_config"] {
            let mut layout = Layout::mlx(5, 64);
            layout.config["quantization"] = Value::Null;
            layout.config[key] = declared.clone();
            match words {
                None => check(&layout, &declared.to_string()),
                Some(words) => {
                    let message = refusal(&layout, &layout.tensors());
                    assert!(message.contains(words), "{declared}: {message}");
                }
            }
        }
    }
    let mut layout = Layout::mlx(6, 32);
    layout.config["quantization"] = json!({ "bits": 4, "group_size": 64 });
    (layout.config["quantization_bits"], layout.config["quantization_group_size"]) = (json!(6), json!(32));
    check(&layout, "flat numbers win");
}

#[test]
fn packed_tensors_of_other_shapes_are_refused() {
    let layout = Layout::mlx(4, 64);
    let module = "language_model.model.layers.0.mlp.up_proj";
    let cases: [(&str, Dtype, &[usize], &str); 7] = [
        ("weight", Dtype::U32, &[256, 15], "[256, 15]"),
        ("weight", Dtype::U32, &[256, 8], "2 bits"),
        ("weight", Dtype::U32, &[255, 16], "[255, 16]"),
        ("scales", Dtype::BF16, &[256, 3], "[256, 3]"),
        ("scales", Dtype::BF16, &[256, 8], "groups of 16"),
        ("biases", Dtype::BF16, &[256, 1], "[256, 1]"),
        ("scales", Dtype::U32, &[256, 2], "type U32"),
    ];
    for (part, dtype, dims, words) in cases {
        let mut layout = layout.clone();
        layout.config["quantization"] = Value::Null;
        let data = plain(&format!("{module}.{part}"), dtype, dims);
        let mut tensors = layout.tensors();
        tensors.retain(|(entry, _)| entry.name != data.0.name);
        tensors.push(data);
        let message = refusal(&layout, &tensors);
        assert!(message.contains(words), "{part} {dims:?}: {message}");
    }
    let mut lacking = layout.tensors();
    lacking.retain(|(entry, _)| entry.name != format!("{module}.biases"));
    let message = refusal(&layout, &lacking);
    assert!(message.contains("without \"biases\""), "{message}");
}

/// The size that a file declares is counted before anything is bound, so before it is checked
/// against the shapes.
#[test]
fn packed_tensors_that_do_not_fit_are_counted_without_being_read() {
    let layout = Layout::mlx(8, 32);
    let module = "language_model.model.layers.0.mlp.up_proj";
    let lies: [(&str, Dtype, &[usize]); 4] = [
        ("biases", Dtype::BF16, &[1, 1]),
        ("scales", Dtype::BF16, &[1, 1]),
        ("biases", Dtype::U32, &[256, 4]),
        ("scales", Dtype::Other("I32".to_owned()), &[256, 4]),
    ];
    for (part, dtype, dims) in lies {
        let (name, mut tensors) = (format!("{module}.{part}"), layout.tensors());
        tensors.retain(|(entry, _)| entry.name != name);
        tensors.push(plain(&name, dtype, dims));
        let checkpoint = Checkpoint::open(layout.write_tensors(&tensors).path());
        checkpoint.unwrap().resident_bytes(true);
        assert!(refusal(&layout, &tensors).contains(part), "{part} {dims:?}");
    }
}

/// The bytes that a model will hold are known before anything is bound. A head beside a tied
/// embedding is not read.
#[test]
fn resident_bytes_are_those_of_the_weights() {
    for layout in [Layout::mlx(4, 32), Layout::mlx(8, 64), Layout::published()] {
        let untied = Layout { tied: false, config: nested(text_config(), false), ..layout.clone() };
        let head = untied.inventory().into_iter().find(|needed| needed.name == names::HEAD).unwrap();
        let with_head = [layout.tensors(), untied.tensor(&head).1].concat();
        for dir in [layout.write(), layout.write_tensors(&with_head)] {
            let checkpoint = open(&dir).unwrap();
            let mut binder = checkpoint.binder();
            let mut held = 0;
            for Needed { name, kind, dims } in layout.inventory() {
                let gguf = names::to_gguf(&name).unwrap();
                held += match kind {
                    TensorKind::Matrix => binder.matrix(&gguf, dims[0], dims[1]).unwrap().matrix().bytes().len(),
                    TensorKind::Decay | TensorKind::GatedNorm => 4 * dims.iter().product::<usize>(),
                    _ => 2 * dims.iter().product::<usize>(),
                };
            }
            assert_eq!(checkpoint.resident_bytes(true), held as u64);
        }
    }
}

/// Tensors of a draft block. All norms of its layer are `layer`, and those before the joining
/// matrix are `join`.
fn block(prefix: &str, layer: f32, join: f32) -> Vec<Data> {
    let matrices: [(&str, [usize; 2]); 8] = [
        ("fc", [128, 256]),
        ("layers.0.self_attn.q_proj", [256, 128]),
        ("layers.0.self_attn.k_proj", [64, 128]),
        ("layers.0.self_attn.v_proj", [64, 128]),
        ("layers.0.self_attn.o_proj", [128, 128]),
        ("layers.0.mlp.gate_proj", [256, 128]),
        ("layers.0.mlp.up_proj", [256, 128]),
        ("layers.0.mlp.down_proj", [128, 256]),
    ];
    let norms = [
        ("pre_fc_norm_embedding", 128, join),
        ("pre_fc_norm_hidden", 128, join),
        ("norm", 128, layer),
        ("layers.0.input_layernorm", 128, layer),
        ("layers.0.post_attention_layernorm", 128, layer),
        ("layers.0.self_attn.q_norm", 64, layer),
        ("layers.0.self_attn.k_norm", 64, layer),
    ];
    let name = |part: &str| format!("{prefix}mtp.{part}.weight");
    let matrices = matrices.map(|(part, dims)| plain(&name(part), Dtype::BF16, &dims));
    let norms = norms.map(|(part, len, value)| {
        let values = vec![value; len];
        (TensorSpec::new(name(part), Dtype::F32, &[len]), Dtype::F32.encode(&values).unwrap())
    });
    matrices.into_iter().chain(norms).collect()
}

/// Cases: as published, fully converted, and converted without the draft block.
#[test]
fn norms_of_the_block_that_drafts_go_by_those_of_its_own_layer() {
    let (raw, converted) = (Layout::published(), Layout::mlx(8, 64));
    for (layout, prefix, layer, join, wanted) in [
        (&raw, "", 0.25, -0.5, [1.25, 0.5]),
        (&converted, "language_model.", 1.25, 0.5, [1.25, 0.5]),
        (&converted, "language_model.", 0.25, -0.5, [1.25, 0.5]),
    ] {
        let dir = layout.write_tensors(&[layout.tensors(), block(prefix, layer, join)].concat());
        let checkpoint = open(&dir).unwrap();
        assert!(checkpoint.drafts());
        let mut binder = checkpoint.binder();
        for (name, wanted) in
            [("attn_norm", wanted[0]), ("nextn.shared_head_norm", wanted[0]), ("nextn.enorm", wanted[1])]
        {
            let values = binder.vector(&format!("blk.2.{name}.weight"), 128).unwrap();
            assert_eq!(values, [wanted; 128], "{prefix}{name}: {layer}");
        }
    }
}

#[test]
fn a_block_that_drafts_is_loaded_whole_or_refused_by_name() {
    let layout = Layout::published();
    let load = |block: Vec<Data>| {
        let dir = layout.write_tensors(&[layout.tensors(), block].concat());
        let source = crate::llm::ModelSource::open(dir.path()).unwrap();
        assert!(source.drafts() && source.resident_bytes(true) > source.resident_bytes(false));
        // A model without the draft block does not read it.
        assert!(!source.load(1).unwrap().drafts());
        source.load_on(sotto_kernels::Pool::new(1), true).map(|model| model.drafts())
    };
    assert!(load(block("model.", 0.0, 0.0)).unwrap());
    for (part, dims, words) in [
        ("mtp.fc.weight", &[128, 128][..], "[128, 128]"),
        ("mtp.norm.weight", &[64], "[64]"),
        ("mtp.layers.0.self_attn.q_proj.weight", &[128, 128], "[256, 128]"),
        ("mtp.layers.0.mlp.up_proj.weight", &[], "missing"),
    ] {
        let mut tensors = block("", 0.0, 0.0);
        tensors.retain(|(entry, _)| entry.name != part);
        tensors.extend((!dims.is_empty()).then(|| plain(part, Dtype::BF16, dims)));
        let message = load(tensors).unwrap_err().to_string();
        assert!(message.contains(part) && message.contains(words), "{message}");
    }
    let dedicated = [block("", 0.0, 0.0), vec![plain("mtp.embed_tokens.weight", Dtype::BF16, &[64, 128])]].concat();
    let dir = layout.write_tensors(&[layout.tensors(), dedicated].concat());
    assert!(!open(&dir).unwrap().drafts(), "its embedding is its own");
}
