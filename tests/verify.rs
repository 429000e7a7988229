//! `sotto verify`: small models of many shapes with expected tensors beside them, quantised ones
//! beside what they were made of, and what is wrong with others. The golden model in every format.

#[path = "common/goldens.rs"]
mod goldens;
#[path = "common/tokenizer.rs"]
mod tokenizer;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use candle_core::Tensor;
use serde_json::{Value, json};
use sotto::llm::ModelSource;
use sotto::llm::checkpoint::header::Dtype;
use sotto::llm::checkpoint::inventory::inventory;
use sotto::llm::checkpoint::names::{self, TensorKind};
use sotto::llm::checkpoint::writer::{CheckpointWriter, TensorSpec};
use sotto::llm::checkpoint::{CONFIG, Checkpoint, random};
use sotto::llm::reference::{ReferenceLayerState, ReferenceModel, values};
use sotto::llm::tensors::Tensors;
use sotto::llm::verify::Expected;
use sotto::llm::verify::against::{Case, Tolerances};
use tempfile::TempDir;

const TOKENS: u32 = 70;
/// Where states are expected.
const MOMENTS: [usize; 4] = [1, 3, 64, TOKENS as usize];

fn sotto(arguments: &[&str]) -> Output {
    sotto_in(Path::new("."), arguments)
}

fn sotto_in(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sotto"));
    command.current_dir(dir).args(arguments).args(["--quiet", "--set", "llm.threads=2"]).output().expect("sotto starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ends by itself")
}

fn found(output: &Output) -> Value {
    let words = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {words}"))
}

fn words(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// `ratio` value heads for each key head, unequal dimensions, every second layer attends.
fn config(ratio: usize, tied: bool) -> Value {
    json!({
        "vocab_size": 256, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "hidden_act": "silu",
        "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "tie_word_embeddings": tied,
        "linear_conv_kernel_dim": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 32,
        "linear_num_key_heads": 2, "linear_num_value_heads": 2 * ratio, "full_attention_interval": 2,
        "rope_parameters": { "rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5 },
    })
}

fn model(ratio: usize, tied: bool, seed: u64) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    random::write(dir.path(), "model.f32.safetensors", &config(ratio, tied), &[], seed).unwrap();
    dir
}

type Data = (TensorSpec, Vec<u8>);

fn write(path: &Path, tensors: &[Data]) {
    let entries: Vec<TensorSpec> = tensors.iter().map(|(entry, _)| entry.clone()).collect();
    let mut writer = CheckpointWriter::create(path, &entries, &[]).unwrap();
    tensors.iter().for_each(|(_, bytes)| writer.write(bytes).unwrap());
    writer.finish().unwrap();
}

fn floats(name: &str, dims: &[usize], values: &[f32]) -> Data {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    (TensorSpec::new(name, Dtype::F32, dims), bytes)
}

fn of_tensor(name: &str, tensor: &Tensor) -> Data {
    floats(name, tensor.dims(), &values(tensor).unwrap())
}

fn tokens(name: &str, tokens: &[u32]) -> Data {
    let bytes = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    (TensorSpec::new(name, Dtype::U32, &[tokens.len()]), bytes)
}

/// Puts expected tensors beside a model, computed by the reference; every logit by `off` too large.
fn expect(dir: &Path, off: f32) {
    let reference = ReferenceModel::open(dir).unwrap();
    let ids: Vec<u32> = (0..TOKENS).map(|n| n * 37 % 256).collect();
    let (mut memory, mut rows, mut golden, mut exact) = (reference.memory().unwrap(), vec![], vec![], vec![]);
    let mut at = 0;
    for moment in MOMENTS {
        rows.extend(reference.logits(&ids[at..moment], &mut memory).unwrap());
        at = moment;
        for (n, layer) in memory.layers().iter().enumerate() {
            let name = |part: &str| format!("after{moment}.layer{n}.{part}");
            match layer {
                ReferenceLayerState::DeltaNet { conv, recurrent } => {
                    golden.push(of_tensor(&name("recurrent_state"), recurrent));
                    let rows = conv.t().unwrap().contiguous().unwrap();
                    let dead = rows.narrow(1, 0, 1).unwrap().ones_like().unwrap();
                    golden.push(of_tensor(&name("conv_state"), &Tensor::cat(&[&dead, &rows], 1).unwrap()));
                    exact.push(of_tensor(&name("conv_state"), &rows));
                }
                ReferenceLayerState::Attention { kept } => {
                    let (keys, values) = kept.as_ref().unwrap();
                    golden.extend([of_tensor(&name("k"), keys), of_tensor(&name("v"), values)]);
                }
            }
        }
    }
    rows.iter_mut().for_each(|logit| *logit += off);
    let best = rows[rows.len() - 256..].iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
    exact.push(floats("logits", &[ids.len(), 256], &rows));
    golden.extend([tokens("input_ids", &ids), tokens("greedy_prompt", &ids), tokens("greedy_tokens", &[best as u32])]);
    write(&dir.join("golden.safetensors"), &golden);
    write(&dir.join("ref_f64.safetensors"), &exact);
    // What lies beside the weights of a golden model and must not be taken for them.
    write(&dir.join("mtp.f32.safetensors"), &[floats("mtp.norm.weight", &[1], &[0.0])]);
}

#[test]
fn models_of_every_shape_are_held_against_expected_tensors() {
    for (ratio, tied, chunks) in [(1, true, [1, 70]), (2, false, [3, 64]), (3, false, [1, 16]), (3, true, [2, 69])] {
        let dir = model(ratio, tied, 1);
        expect(dir.path(), 0.0);
        let folder = words(dir.path());
        for chunk in chunks {
            let output = sotto(&["verify", folder, "--against", folder, "--chunk", &chunk.to_string(), "--json"]);
            let report = found(&output);
            assert_eq!((code(&output), &report["passed"]), (0, &json!(true)), "{report}");
            assert!(report["max_logit_error"].as_f64().unwrap() < 1e-3, "{report}");
            for kind in ["recurrent", "conv", "keys", "values"] {
                assert!(report["max_state_error"][kind].as_f64().unwrap() < 1e-4, "{report}");
            }
            for (key, value) in [("argmax_equal_where_clear", json!(1.0)), ("greedy_equal", json!(1.0))] {
                assert_eq!(report[key], value, "{report}");
            }
            assert_eq!((&report["chunk"], &report["state_moments"]), (&json!(chunk), &json!(4)), "{report}");
        }
    }
}

#[test]
fn what_is_off_fails_with_figures_and_code_1() {
    let dir = model(2, true, 1);
    expect(dir.path(), 0.25);
    let folder = words(dir.path());
    let output = sotto(&["verify", folder, "--against", folder, "--json"]);
    let report = found(&output);
    assert_eq!((code(&output), &report["passed"]), (1, &json!(false)), "{report}");
    assert!((report["max_logit_error"].as_f64().unwrap() - 0.25).abs() < 1e-3, "{report}");
    assert!(report["failures"][0].as_str().unwrap().contains("a logit is off by 2.50e-1"), "{report}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not as it should be"));
    let file = words(&dir.path().join("ref_f64.safetensors")).to_owned();
    let output = sotto(&["verify", folder, "--against", &file, "--max-logit-error", "0.3"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(code(&output) == 0 && text.ends_with("PASS\n"), "{text}");
}

/// The committed golden set, as it is named by someone who stands in its folder.
#[test]
fn a_bare_file_name_is_found_where_we_are() {
    for (against, state_moments) in [("ref_f64.safetensors", 0), (".", 11)] {
        let arguments = ["verify", "tiny_gva2-bf16.gguf", "--against", against, "--json"];
        let output = sotto_in(&goldens::model(), &arguments);
        let report = found(&output);
        let passed = (code(&output), &report["passed"], &report["code_bits"]);
        assert_eq!(passed, (0, &json!(true), &json!(16.0)), "{report}");
        assert_eq!((&report["tokens"], &report["state_moments"]), (&json!(200), &json!(state_moments)), "{report}");
    }
}

/// The true logits lie in one file, and others where they would be looked for in a folder.
#[test]
fn of_a_file_that_is_named_nothing_else_is_looked_at() {
    let source = model(2, true, 1);
    expect(source.path(), 0.0);
    let dir = tempfile::tempdir().unwrap();
    let (folder, mlx) = (words(source.path()), dir.path().join("int8"));
    assert_eq!(code(&sotto(&["quantize", folder, words(&mlx), "--format", "int8"])), 0);
    let ids: Vec<u32> = (0..TOKENS).collect();
    let reference = ReferenceModel::open(unpacked(&mlx).path()).unwrap();
    let rows = reference.logits(&ids, &mut reference.memory().unwrap()).unwrap();
    let off: Vec<f32> = rows.iter().map(|logit| logit + 0.25).collect();
    let logits = |rows: &[f32]| floats("logits_f32run", &[ids.len(), 256], rows);
    let named = dir.path().join("named.safetensors");
    write(&named, &[logits(&rows), tokens("input_ids", &ids)]);
    write(&mlx.join("golden.safetensors"), &[logits(&off), tokens("input_ids", &ids)]);
    let (golden, exact) = (source.path().join("golden.safetensors"), source.path().join("ref_f64.safetensors"));
    let cases: [(&str, &Path, i32, &str); 6] = [
        (words(&mlx), &named, 0, "named.safetensors"),
        (words(&mlx), &mlx, 1, "golden.safetensors"),
        (words(&mlx), &mlx.join("golden.safetensors"), 1, "golden.safetensors"),
        (words(&mlx), &exact, 2, "no expected tensor \"logits_f32run\""),
        (folder, &exact, 0, "ref_f64.safetensors"),
        (folder, &golden, 2, "no expected tensor \"logits\""),
    ];
    for (model, against, wanted, part) in cases {
        let output = sotto(&["verify", model, "--against", words(against)]);
        let said = String::from_utf8_lossy(if wanted == 2 { &output.stderr } else { &output.stdout }).into_owned();
        assert!(code(&output) == wanted && said.contains(part), "{model} {against:?}: {:?}: {said}", output.status);
    }
}

#[test]
fn a_quantised_model_is_held_against_what_it_was_made_of() {
    let source = model(2, true, 1);
    fs::write(source.path().join("tokenizer.json"), tokenizer::document(&[]).to_string()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (published, small) = (words(source.path()), words(&dir.path().join("int8")).to_owned());
    assert_eq!(code(&sotto(&["quantize", published, &small, "--format", "int8"])), 0);
    let text = dir.path().join("text.txt");
    fs::write(&text, "The pump coughs twice before the rain comes from the west.").unwrap();
    let verify = |model: &str, more: &[&str]| {
        let base = ["verify", model, "--reference", published, "--text", words(&text), "--json"];
        let output = sotto(&[&base[..], more].concat());
        (code(&output), found(&output))
    };

    let (end, itself) = verify(published, &[]);
    assert_eq!((end, &itself["passed"], &itself["tokens"]), (0, &json!(true), &json!(58)), "{itself}");
    assert!(itself["max_logit_error"].as_f64().unwrap() < 0.1, "{itself}");

    let (end, int8) = verify(&small, &["--min-top1", "50", "--max-perplexity", "20", "--max-kl", "0.5"]);
    assert_eq!((end, &int8["passed"], &int8["weights"]), (0, &json!(true), &json!("int8")), "{int8}");
    assert!(int8["mean_kl"].as_f64().unwrap() > itself["mean_kl"].as_f64().unwrap(), "{int8}");
    assert_eq!(int8["rollouts"].as_array().unwrap().len(), 4, "{int8}");
    assert_eq!(int8["tolerances"]["top1_agreement"], json!(0.5), "{int8}");

    let other = model(2, true, 2);
    let (end, other) = verify(words(other.path()), &[]);
    assert_eq!((end, &other["passed"]), (1, &json!(false)), "{other}");
    assert!(other["top1_agreement"].as_f64().unwrap() < 0.5 && other["max_kl"].as_f64().unwrap() > 1.0, "{other}");
}

#[test]
fn the_exit_code_says_whose_fault_it_is() {
    let (dir, other, empty) = (model(1, true, 1), model(3, true, 1), tempfile::tempdir().unwrap());
    expect(dir.path(), 0.0);
    let (folder, other, empty) = (words(dir.path()), words(other.path()), words(empty.path()));
    let quantised = tempfile::tempdir().unwrap();
    let small = words(&quantised.path().join("m")).to_owned();
    assert_eq!(code(&sotto(&["quantize", folder, &small, "--format", "int4"])), 0);
    let broken = model(1, true, 1);
    fs::write(broken.path().join("model.f32.safetensors"), [255; 64]).unwrap();
    let damaged = tempfile::tempdir().unwrap();
    fs::write(damaged.path().join("golden.safetensors"), [255; 64]).unwrap();
    let (broken, damaged) = (words(broken.path()), words(damaged.path()));
    let gguf = goldens::model().join("tiny_gva2-bf16.gguf");
    let gguf = words(&gguf);
    let cases: [(&[&str], i32, &str); 15] = [
        (&[folder, "--against", folder, "--device", "cuda"], 2, "--device cuda"),
        (&[folder, "--against", "no such folder"], 2, "no such folder"),
        (&[folder, "--against", empty], 2, "no expected tensor \"logits\""),
        (&[folder, "--against", damaged], 3, "golden.safetensors"),
        (&[other, "--against", folder], 2, "belongs to this model"),
        (&[&small, "--against", folder], 2, "no expected tensor \"logits_f32run\""),
        (&[&small], 2, "--reference"),
        (&[&small, "--reference", &small], 2, "its weights are int4"),
        (&[&small, "--reference", gguf], 2, "its weights are bf16 in a GGUF file"),
        (&[&small, "--reference", "no such folder"], 3, "no such folder"),
        (&[&small, "--reference", other], 2, "give the checkpoint it was made of"),
        (&[&small, "--reference", folder], 2, "has a tokenizer"),
        (&["no such model", "--against", folder], 3, "no such model"),
        (&[broken, "--against", folder], 3, "damaged"),
        (&[folder, "--against", folder, "--budget", "1MiB"], 5, "budget"),
    ];
    for (arguments, wanted, part) in cases {
        let output = sotto(&[&["verify"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(code(&output) == wanted && said.contains(part), "{arguments:?}: {:?}: {said}", output.status);
        // A cause is told once.
        assert!(said.matches("os error").count() <= 1, "{said}");
    }
    let output = sotto(&["quantize", gguf, &format!("{small}-again"), "--format", "int4"]);
    assert_eq!(code(&output), 2, "{output:?}");
}

fn inside(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| wanted(path.file_name().unwrap().to_str().unwrap())).collect();
    paths.sort();
    paths
}

#[test]
fn golden_models_with_weights_in_floats_pass_in_every_format_and_any_chunks() {
    let folder = goldens::model();
    for path in [folder.join("hf"), folder.join("tiny_gva2-bf16.gguf")] {
        let source = ModelSource::open(&path).unwrap();
        let (case, mut model) = (Case::find(&source, &folder).unwrap(), source.load(2).unwrap());
        for chunk in [1, 3, 16, 64, 200] {
            let report = case.compare(&mut model, chunk).unwrap();
            println!("{} in chunks of {chunk}: {:.1e}, {:?}", path.display(), report.logits, report.states.kinds());
            let failures = report.failures(&Tolerances::EXACT);
            assert!(failures.is_empty() && report.states.moments == 11, "{}: {failures:?}", path.display());
        }
    }
}

/// The engine itself on quantised weights, against what others computed from the same codes.
#[test]
fn golden_models_with_quantised_weights_pass_in_any_chunks() {
    let (folder, mut compared) = (goldens::model(), Vec::new());
    for path in inside(&folder, |name| name.starts_with("mlx_") || name.ends_with("q8_0.gguf")) {
        let source = ModelSource::open(&path).unwrap();
        let (case, mut model) = (Case::find(&source, &folder).unwrap(), source.load(2).unwrap());
        for chunk in [1, 3, 16, 64, 200] {
            let report = case.compare(&mut model, chunk).unwrap();
            println!("{} in chunks of {chunk}: {:.2e}", path.display(), report.logits);
            let failures = report.failures(&Tolerances::of(&report.precision));
            assert!(failures.is_empty() && report.tokens == 200, "{}: {failures:?}", path.display());
            compared.push(report.precision.name);
        }
    }
    compared.dedup();
    assert_eq!(compared, ["int4", "int5", "int6", "int8", "q8_0"]);
}

/// The same checkpoint with every packed matrix in f32.
fn unpacked(dir: &Path) -> TempDir {
    let checkpoint = Checkpoint::open(dir).unwrap();
    let mut binder = checkpoint.binder();
    let mut tensors = Vec::new();
    for needed in inventory(checkpoint.model_config(), checkpoint.tied()) {
        if needed.kind != TensorKind::Matrix {
            let (tensor, map) = checkpoint.find(&needed.name).unwrap();
            let entry = TensorSpec::new(format!("model.{}", needed.name), tensor.dtype.clone(), &tensor.dims);
            tensors.push((entry, map[tensor.span.clone()].to_vec()));
            continue;
        }
        let gguf = names::to_gguf(&needed.name).unwrap();
        let weight = binder.matrix(&gguf, needed.dims[0], needed.dims[1]).unwrap();
        let matrix = weight.matrix();
        let mut values = vec![0.0; matrix.rows() * matrix.cols()];
        for (row, values) in values.chunks_exact_mut(matrix.cols()).enumerate() {
            matrix.unpack_row(row, values);
        }
        tensors.push(floats(&format!("model.{}", needed.name), &needed.dims, &values));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut config = checkpoint.config().clone();
    config.remove("quantization");
    config.remove("quantization_config");
    fs::write(folder.path().join(CONFIG), Value::from(config).to_string()).unwrap();
    write(&folder.path().join("model.safetensors"), &tensors);
    folder
}

#[test]
fn the_codes_of_golden_mlx_checkpoints_mean_what_mlx_lm_computed() {
    let folder = goldens::model();
    for path in inside(&folder, |name| name.starts_with("mlx_")) {
        let expected = Expected::of_mlx(&folder, &path).unwrap();
        let wanted = expected.get("logits_f32run").unwrap();
        let ids = Expected::of_model(&folder).unwrap().get("input_ids").unwrap().tokens(512).unwrap();
        let wanted = wanted.values(&[ids.len(), 512]).unwrap();
        let reference = ReferenceModel::open(unpacked(&path).path()).unwrap();
        let got = reference.logits(&ids, &mut reference.memory().unwrap()).unwrap();
        let off = got.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{}: largest error {off:.1e}", path.display());
        assert!(off <= Tolerances::MLX.logits, "{}: a logit is off by {off}", path.display());
    }
}
