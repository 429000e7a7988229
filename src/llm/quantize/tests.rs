//! Tests that the output follows the recipe and reads back within half a step, and that a failure
//! leaves nothing behind.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sotto_kernels::BlockType;
use tempfile::TempDir;

use super::*;
use crate::llm::checkpoint::header::Dtype;
use crate::llm::checkpoint::inventory::Needed;
use crate::llm::checkpoint::names::{self, TensorKind};
use crate::llm::checkpoint::testing::{Layout, nested, text_config};
use crate::llm::tensors::{Tensors, Weight};

#[derive(Default)]
struct Counting {
    total: Cell<u64>,
    done: Cell<u64>,
}

impl Watch for Counting {
    fn begin(&self, partial: &Path, total: u64) {
        assert!(partial.is_dir());
        self.total.set(total);
    }

    fn advance(&self, more: u64) {
        self.done.set(self.done.get() + more);
    }
}

fn run(source: &TempDir, format: QuantFormat) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let destination = dir.path().join("out");
    let watch = Counting::default();
    let recipe = Recipe::new(format, None).unwrap();
    let summary = quantize(source.path(), &destination, &recipe, false, &watch).unwrap();
    assert_eq!(watch.done, watch.total);
    let file = fs::metadata(destination.join("model.safetensors")).unwrap().len();
    assert!(summary.bytes < file && summary.bytes + 20_000 > file, "{summary:?} of {file}");
    (dir, destination)
}

fn values(weight: &Weight) -> Vec<f32> {
    let matrix = weight.matrix();
    let mut values = vec![0.0; matrix.rows() * matrix.cols()];
    for (row, values) in values.chunks_exact_mut(matrix.cols()).enumerate() {
        matrix.unpack_row(row, values);
    }
    values
}

/// Checks everything else and returns the matrices with their blocks.
fn check(layout: &Layout, destination: &Path, coarsest: f32) -> Vec<(String, BlockType)> {
    let checkpoint = Checkpoint::open(destination).unwrap();
    assert!(!checkpoint.raw());
    let mut binder = checkpoint.binder();
    let mut kinds = Vec::new();
    let mut needed = layout.inventory();
    if layout.tied && !checkpoint.tied() {
        let embedding = needed[0].clone();
        needed.push(Needed { name: names::HEAD.to_owned(), ..embedding });
    }
    for needed in needed {
        let gguf = names::to_gguf(&needed.name).unwrap();
        // A separate head has the values of the embedding.
        let own = if layout.tied && needed.name == names::HEAD { names::EMBEDDING } else { &needed.name };
        let (expected, _) = layout.tensor(&Needed { name: own.to_owned(), ..needed.clone() });
        let (found, tolerance) = match needed.kind {
            TensorKind::Matrix => {
                let weight = binder.matrix(&gguf, needed.dims[0], needed.dims[1]).unwrap();
                kinds.push((needed.name.clone(), weight.matrix().kind()));
                (values(&weight), coarsest)
            }
            // 1 + w rounded to bf16, as mlx-lm stores it.
            TensorKind::Norm => (binder.vector(&gguf, expected.len()).unwrap(), 1.0 / 128.0),
            _ => (binder.vector(&gguf, expected.len()).unwrap(), 0.0),
        };
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= tolerance, "{}: {worst} > {tolerance}", needed.name);
    }
    binder.refuse_the_rest().unwrap();
    kinds
}

/// Values of the test's matrices are within ±0.35: the limits are the largest half step of each
/// format.
#[test]
fn every_format_reads_back_within_half_a_step() {
    let layout = Layout::published();
    let source = layout.write();
    let affine = |bits, group| BlockType::Affine(sotto_kernels::Affine::new(bits, group).unwrap());
    for (format, coarsest, usual) in [
        (QuantFormat::Int4, 0.024, affine(4, 64)),
        (QuantFormat::Int5, 0.012, affine(5, 64)),
        (QuantFormat::Int6, 0.006, affine(6, 64)),
        (QuantFormat::Int8, 0.0015, BlockType::Q8_0),
        (QuantFormat::Mixed, 0.024, affine(6, 64)),
    ] {
        let (_dir, destination) = run(&source, format);
        let kinds = check(&layout, &destination, coarsest);
        let kind = |part: &str| kinds.iter().find(|(name, _)| name.ends_with(part)).unwrap().1;
        assert_eq!(kind("in_proj_qkv.weight"), usual, "{format:?}");
        match format {
            QuantFormat::Int8 => {
                assert_eq!((kind(names::EMBEDDING), kind(names::HEAD)), (BlockType::BF16, BlockType::Q8_0));
            }
            QuantFormat::Mixed => {
                assert_eq!((kind("in_proj_a.weight"), kind("in_proj_b.weight")), (BlockType::BF16, BlockType::BF16));
                assert_eq!((kind("up_proj.weight"), kind("down_proj.weight")), (affine(4, 32), affine(5, 64)));
            }
            _ => assert!(kinds.iter().all(|(_, kind)| *kind == usual), "{kinds:?}"),
        }
    }
}

#[test]
fn every_source_is_read() {
    let published = Layout::published();
    let untied = nested(text_config(), false);
    for layout in [
        Layout { dtype: Dtype::F32, prefix: "model.", config: text_config(), ..published.clone() },
        Layout { converted: true, ..published.clone() },
        Layout { shards: 3, ..published.clone() },
        Layout { tied: false, config: untied, ..published.clone() },
    ] {
        let (_dir, destination) = run(&layout.write(), QuantFormat::Int8);
        check(&layout, &destination, 0.0015);
    }
}

/// The main file, which other engines read, does not contain the block.
#[test]
fn the_block_that_drafts_goes_into_a_file_of_its_own() {
    let layout = Layout::published();
    let drafting: Vec<_> = layout.draft_inventory().iter().flat_map(|needed| layout.tensor(needed).1).collect();
    for converted in [false, true] {
        let layout = Layout { converted, ..layout.clone() };
        let source = layout.write_tensors(&[layout.tensors(), drafting.clone()].concat());
        let dir = tempfile::tempdir().unwrap();
        let destination = dir.path().join("out");
        let (recipe, watch) = (Recipe::new(QuantFormat::Mixed, None).unwrap(), Counting::default());
        let summary = quantize(source.path(), &destination, &recipe, false, &watch).unwrap();
        assert_eq!(watch.done, watch.total);
        check(&layout, &destination, 0.024);
        let written = |file: &str| fs::read(destination.join(file)).unwrap();
        assert!(!String::from_utf8_lossy(&written("model.safetensors")).contains("mtp."));
        assert!(!String::from_utf8_lossy(&written("model.safetensors.index.json")).contains("mtp."));
        let (files, parts) = (["model.safetensors", "mtp.safetensors"], layout.draft_inventory());
        let all: u64 = files.iter().map(|file| written(file).len() as u64).sum();
        assert!(summary.bytes < all && summary.bytes + 20_000 > all, "{summary:?} of {all}");
        let checkpoint = Checkpoint::open(&destination).unwrap();
        assert!(checkpoint.drafts());
        let mut binder = checkpoint.binder();
        let affine = |bits, group| BlockType::Affine(sotto_kernels::Affine::new(bits, group).unwrap());
        for (gguf, own, kind, coarsest) in [
            ("nextn.eh_proj", names::JOIN, Some(affine(8, 64)), 0.0015),
            ("ffn_up", "mtp.layers.0.mlp.up_proj.weight", Some(affine(4, 32)), 0.024),
            ("attn_q", "mtp.layers.0.self_attn.q_proj.weight", Some(affine(6, 64)), 0.006),
            ("nextn.hnorm", names::HIDDEN_NORM, None, 1.0 / 128.0),
            ("attn_norm", "mtp.layers.0.input_layernorm.weight", None, 1.0 / 128.0),
        ] {
            let needed = parts.iter().find(|needed| needed.name == own).unwrap();
            let (name, expected) = (format!("blk.2.{gguf}.weight"), Layout::published().tensor(needed).0);
            let found = match kind {
                Some(kind) => {
                    let weight = binder.matrix(&name, needed.dims[0], needed.dims[1]).unwrap();
                    assert_eq!(weight.matrix().kind(), kind, "{own}");
                    values(&weight)
                }
                None => binder.vector(&name, expected.len()).unwrap(),
            };
            let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= coarsest, "{own}: {worst} > {coarsest}");
        }
    }
}

#[test]
fn the_folder_is_one_that_mlx_reads() {
    let layout = Layout::published();
    let source = layout.write();
    fs::write(source.path().join("tokenizer.json"), "{}").unwrap();
    fs::write(source.path().join("notes.txt"), "private").unwrap();
    let (_dir, destination) = run(&source, QuantFormat::Mixed);
    let read = |name: &str| serde_json::from_slice::<Value>(&fs::read(destination.join(name)).unwrap()).unwrap();
    let config = read("config.json");
    assert_eq!(config["model_type"], "qwen3_5");
    assert_eq!(config["text_config"]["hidden_size"], 128);
    assert_eq!(config.get("vision_config"), None);
    let quantization = &config["quantization"];
    assert_eq!(quantization, &config["quantization_config"]);
    assert_eq!((&quantization["bits"], &quantization["group_size"]), (&json!(6), &json!(64)));
    let module = |part: &str| &quantization[format!("language_model.model.layers.0.{part}")];
    assert_eq!(module("mlp.up_proj"), &json!({ "group_size": 32, "bits": 4 }));
    assert_eq!(module("linear_attn.in_proj_a"), &json!(false));
    assert_eq!(module("linear_attn.out_proj"), &Value::Null);
    let index = read("model.safetensors.index.json");
    let map = index["weight_map"].as_object().unwrap();
    assert!(map.contains_key("language_model.model.layers.0.mlp.up_proj.scales"));
    assert!(destination.join("tokenizer.json").is_file() && !destination.join("notes.txt").exists());
    let (convolution, _) = Checkpoint::open(&destination)
        .unwrap()
        .find("layers.0.linear_attn.conv1d.weight")
        .map(|(tensor, _)| (tensor.dims.clone(), ()))
        .unwrap();
    assert_eq!(convolution, [192, 4, 1]);
}

#[test]
fn a_destination_is_replaced_only_when_it_should_be() {
    let source = Layout::published().write();
    let recipe = Recipe::new(QuantFormat::Int4, None).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let go = |destination: &Path, replace: bool| {
        quantize(source.path(), destination, &recipe, replace, &Counting::default())
    };
    let model = dir.path().join("model");
    fs::create_dir(&model).unwrap();
    let old = ["config.json", "tokenizer.json", "model-00001-of-00001.safetensors"];
    old.iter().for_each(|name| fs::write(model.join(name), "{}").unwrap());
    assert!(matches!(go(&model, false), Err(QuantizeError::Exists { .. })));
    assert!(model.join(old[2]).exists());
    go(&model, true).unwrap();
    assert!(!model.join(old[2]).exists() && model.join("model.safetensors").exists());
    go(&model, true).unwrap();
    fs::remove_dir_all(&model).unwrap();
    fs::create_dir(&model).unwrap();
    go(&model, true).unwrap();
    for replace in [false, true] {
        assert!(matches!(go(source.path(), replace), Err(QuantizeError::HoldsSource { .. })));
    }
    assert!(matches!(go(&dir.path().join("no/such/parent"), false), Err(QuantizeError::Write { .. })));
    let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["model"]);
}

/// A user's folder that happens to hold a config.json is not a model, and one foreign file in a
/// model's folder protects it.
#[test]
fn what_is_not_of_a_checkpoint_survives_force() {
    let source = Layout::published().write();
    let recipe = Recipe::new(QuantFormat::Int4, None).unwrap();
    let plain = |path: &Path| fs::write(path, "mine").unwrap();
    type Make<'a> = &'a dyn Fn(&Path);
    let others: &[(&str, Make)] = &[
        ("diary.txt", &plain),
        ("adapters.safetensors", &plain),
        ("model.py", &plain),
        (".git", &|path| fs::create_dir(path).unwrap()),
        ("model.safetensors", &|path| fs::create_dir(path).unwrap()),
        #[cfg(unix)]
        ("LICENSE", &|path| std::os::unix::fs::symlink("/", path).unwrap()),
    ];
    for (name, make) in others {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mine");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("config.json"), "{}").unwrap();
        make(&path.join(name));
        let error = quantize(source.path(), &path, &recipe, true, &Counting::default()).unwrap_err();
        assert!(error.is_misuse() && error.to_string().contains(name), "{error}");
        assert!(path.join(name).symlink_metadata().is_ok() && path.join("config.json").exists(), "{name}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{name}");
    }
    let dir = tempfile::tempdir().unwrap();
    let (licence, file) = (dir.path().join("licence"), dir.path().join("file"));
    fs::create_dir(&licence).unwrap();
    [licence.join("LICENSE"), file.clone()].iter().for_each(|path| plain(path));
    for path in [&licence, &file] {
        let error = quantize(source.path(), path, &recipe, true, &Counting::default()).unwrap_err();
        assert!(matches!(error, QuantizeError::NotAModel { .. }) && path.exists(), "{error}");
    }
}

/// Observer that puts a file into the destination once work has begun.
struct Meddling(PathBuf);

impl Watch for Meddling {
    fn begin(&self, _: &Path, _: u64) {
        fs::write(self.0.join("diary.txt"), "mine").unwrap();
    }

    fn advance(&self, _: u64) {}
}

#[test]
fn what_is_put_there_meanwhile_survives_too() {
    let source = Layout::published().write();
    let recipe = Recipe::new(QuantFormat::Int4, None).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("empty");
    fs::create_dir(&path).unwrap();
    let error = quantize(source.path(), &path, &recipe, true, &Meddling(path.clone())).unwrap_err();
    assert!(matches!(error, QuantizeError::HoldsOthers { .. }), "{error}");
    assert!(path.join("diary.txt").exists() && fs::read_dir(dir.path()).unwrap().count() == 1);
}

#[test]
fn what_cannot_be_quantised_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let destination = dir.path().join("out");
    let recipe = Recipe::new(QuantFormat::Int4, None).unwrap();
    let refused = |source: &TempDir| {
        let error = quantize(source.path(), &destination, &recipe, false, &Counting::default()).unwrap_err();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{error}");
        error
    };
    assert!(matches!(refused(&Layout::mlx(4, 64).write()), QuantizeError::Packed { .. }));
    let gguf = tempfile::tempdir().unwrap();
    fs::write(gguf.path().join("model.gguf"), crate::llm::testing::model("qwen35").build()).unwrap();
    let error = refused(&gguf);
    assert!(error.is_misuse() && error.to_string().contains("model.gguf is a GGUF file"), "{error}");
    let layout = Layout::published();
    let mut tensors = layout.tensors();
    let up = tensors.iter_mut().find(|(entry, _)| entry.name.ends_with("layers.1.mlp.up_proj.weight")).unwrap();
    up.1[100..102].copy_from_slice(&half::bf16::NAN.to_le_bytes());
    assert!(matches!(refused(&layout.write_tensors(&tensors)), QuantizeError::NotFinite { .. }));
    tensors.pop();
    assert!(refused(&layout.write_tensors(&tensors)).to_string().contains("is missing"));
}

#[test]
fn groups_are_settled_once() {
    assert!(matches!(Recipe::new(QuantFormat::Int4, Some(48)), Err(QuantizeError::Group(48))));
    assert!(matches!(Recipe::new(QuantFormat::Mixed, Some(32)), Err(QuantizeError::MixedGroup)));
    let recipe = Recipe::new(QuantFormat::Int4, Some(128)).unwrap();
    let group = |cols| recipe.scheme("layers.0.mlp.up_proj.weight", cols).map(|scheme| scheme.group);
    assert_eq!([1024, 192, 96, 100].map(group), [Some(128), Some(64), Some(32), None]);
}
