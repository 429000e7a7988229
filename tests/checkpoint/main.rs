//! Checkpoints from outside: those that lie are refused with the right words, and without much
//! memory; expected tensors of other implementations are met to the bit.

mod damage;
mod expected;
#[path = "../common/goldens.rs"]
mod goldens;
mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use damage::{Damage, damage_weights, damages};
use memory::measured;
use proptest::prelude::*;
use serde_json::Value;
use sotto::llm::checkpoint::header::{self, CheckpointTensor};
use sotto::llm::checkpoint::inventory::{Needed, inventory};
use sotto::llm::checkpoint::names::{self, TensorKind};
use sotto::llm::checkpoint::writer::{CheckpointWriter, TensorSpec};
use sotto::llm::checkpoint::{CONFIG, Checkpoint, INDEX, random};
use sotto::llm::gguf::Gguf;
use sotto::llm::quantize::{QuantFormat, Recipe, Watch, quantize};
use sotto::llm::tensors::Tensors;
use sotto::llm::{LlmError, ModelSource};

/// What one thread may hold at a time over a file of a few kilobytes.
const MOST_MEMORY: usize = 8 << 20;

const SAFETENSORS: &[(&str, &str)] = &[
    ("beyond-file", "ends at byte 16 of 8"),
    ("deep", "expected an object"),
    ("deep-in-metadata", "expected a string"),
    ("dim-float", "expected u64"),
    ("dim-negative", "expected u64"),
    ("dim-text", "expected u64"),
    ("dims-bytes-overflow", "impossible shape"),
    ("dims-many", "more than 8 dimensions"),
    ("dims-product-overflow", "impossible shape"),
    ("dims-zero-times-huge", "impossible shape"),
    ("dtype-long", "length of a dtype is 1000"),
    ("dtype-narrow", "BF16 values of its shape take 4"),
    ("dtype-number", "expected a string"),
    ("dtype-wide", "F64 values of its shape take 16"),
    ("duplicate-field", "duplicate field"),
    ("duplicate-metadata", "appears twice"),
    ("duplicate-tensor", "appears twice"),
    ("empty", "ends inside the length"),
    ("entry-null", "expected struct"),
    ("field-missing", "data_offsets"),
    ("header-2-63", "header length is 9223372036854775808"),
    ("header-beyond-file", "ends inside the header"),
    ("header-cuts-json", "EOF"),
    ("header-is-list", "expected an object"),
    ("header-max", "header length is 18446744073709551615"),
    ("header-not-json", "expected value"),
    ("header-not-utf8", "unicode"),
    ("header-zero", "EOF"),
    ("hole-at-end", "1 bytes of data before the end"),
    ("hole-at-start", "4 bytes of data before tensor"),
    ("hole-between", "4 bytes of data before tensor"),
    ("name-long", "a key of 300 bytes"),
    ("offset-2-64", "expected u64"),
    ("offset-float", "expected u64"),
    ("offset-near-2-64", "ends at byte 18446744073709551615"),
    ("offset-negative", "expected u64"),
    ("offsets-one", "expected a tuple of size 2"),
    ("offsets-reversed", "no span"),
    ("offsets-three", "trailing characters"),
    ("overlap", "overlaps"),
    ("same-span", "overlaps"),
    ("short-length", "ends inside the length"),
];

const CONFIGS: &[(&str, &str)] = &[
    ("channels-overflow", "all channels"),
    ("deep", "recursion limit"),
    ("duplicate-key", "appears twice"),
    ("duplicate-nested", "appears twice"),
    ("empty", "EOF"),
    ("float", "must be a whole number"),
    ("head-dim-overflow", "take too much"),
    ("heads-zero", "1 to 1024"),
    ("interval-zero", "at least 1"),
    ("kv-heads-zero", "1 to 1024"),
    ("layer-types-long", "there are 2 layers"),
    ("layers-billion", "1 to 512"),
    ("negative", "must be a whole number"),
    ("not-object", "not an object"),
    ("quantization-number", "must be an object"),
    ("rotary-infinite", "even part"),
    ("rotary-nan", "expected value"),
    ("text-config-list", "must be an object"),
    ("vocabulary-2-64", "must be a whole number"),
    ("width-billion", "1 to 65536"),
];

const INDICES: &[(&str, &str)] = &[
    ("absolute", "not the plain name"),
    ("backslash", "not the plain name"),
    ("below", "not the plain name"),
    ("dot", "not the plain name"),
    ("duplicate", "appears twice"),
    ("empty-map", "names no tensor"),
    ("many-shards", "files in the index is 300"),
    ("map-list", "expected an object"),
    ("missing-shard", "model-00002-of-00002.safetensors"),
    ("no-map", "missing field"),
    ("not-in-shard", "should be in \"model.safetensors\""),
    ("nul", "not the plain name"),
    ("number", "expected a string"),
    ("other-ending", "not the plain name"),
    ("parent", "not the plain name"),
];

fn corpus(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(kind)
}

/// The files of a kind by name, each of which must have its line in `table`.
fn attacks(kind: &str, table: &[(&'static str, &'static str)]) -> Vec<(PathBuf, &'static str)> {
    let files: BTreeMap<String, PathBuf> = fs::read_dir(corpus(kind))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path))
        .filter(|(name, _)| name != "good")
        .collect();
    let listed: BTreeSet<&str> = table.iter().map(|(name, _)| *name).collect();
    assert_eq!(files.keys().map(String::as_str).collect::<BTreeSet<_>>(), listed, "{kind}");
    table.iter().map(|(name, words)| (files[*name].clone(), *words)).collect()
}

/// A small model that is as it should be, in a folder of its own.
fn good_model() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config: Value = serde_json::from_slice(&fs::read(corpus("config/good.json")).unwrap()).unwrap();
    random::write(dir.path(), "model.safetensors", &config, &[], 1).unwrap();
    dir
}

fn refusal(dir: &Path) -> String {
    let (result, memory) = measured(|| Checkpoint::open(dir));
    assert!(memory < MOST_MEMORY, "{memory} bytes were held");
    result.err().expect("it should be refused").to_string()
}

#[test]
fn weights_that_lie_are_refused() {
    assert_eq!(header::parse(&fs::read(corpus("safetensors/good.safetensors")).unwrap()).unwrap().len(), 3);
    for (path, words) in attacks("safetensors", SAFETENSORS) {
        let file = fs::read(&path).unwrap();
        let (result, memory) = measured(|| header::parse(&file));
        let message = result.expect_err(&path.display().to_string()).to_string();
        assert!(message.contains(words), "{}: {message}", path.display());
        assert!(memory < MOST_MEMORY && message.len() < 1000, "{}: {memory} bytes", path.display());
    }
}

#[test]
fn more_tensors_or_dimensions_than_the_limits_are_not_read() {
    let file = |json: String| [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat();
    let tensors = |n: usize| {
        let one = |i: usize| format!("\"{i:x}\":{{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}");
        file(format!("{{{}}}", (0..n).map(one).collect::<Vec<_>>().join(",")))
    };
    assert_eq!(header::parse(&tensors(header::MAX_TENSORS)).unwrap().len(), header::MAX_TENSORS);
    let dims = format!("{{\"a\":{{\"dtype\":\"U8\",\"shape\":[1{}],\"data_offsets\":[0,1]}}}}", ",1".repeat(1_000_000));
    for (file, words) in [(tensors(header::MAX_TENSORS + 1), "more than 16384 tensors"), (file(dims), "more than 8")] {
        let (result, memory) = measured(|| header::parse(&file));
        let message = result.unwrap_err().to_string();
        assert!(message.contains(words) && memory < MOST_MEMORY, "{message}, {memory} bytes");
    }
}

#[test]
fn configurations_that_lie_are_refused() {
    let dir = good_model();
    for (path, words) in attacks("config", CONFIGS) {
        fs::copy(&path, dir.path().join(CONFIG)).unwrap();
        let message = refusal(dir.path());
        assert!(message.contains(words) && message.contains(CONFIG), "{}: {message}", path.display());
    }
    fs::write(dir.path().join(CONFIG), format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20))).unwrap();
    assert!(refusal(dir.path()).contains("the limit is 1048576"));
}

#[test]
fn indices_that_lead_elsewhere_are_refused() {
    let dir = good_model();
    for (path, words) in attacks("index", INDICES) {
        fs::copy(&path, dir.path().join(INDEX)).unwrap();
        let message = refusal(dir.path());
        assert!(message.contains(words), "{}: {message}", path.display());
    }
}

#[cfg(unix)]
#[test]
fn files_that_are_none_are_refused_at_once() {
    use std::os::unix::fs::symlink;
    for name in ["model.safetensors", CONFIG] {
        // A loop, a device without end, and a link to nothing.
        for target in [name, "/dev/zero", "nothing"] {
            let dir = good_model();
            let path = dir.path().join(name);
            fs::remove_file(&path).unwrap();
            symlink(target, &path).unwrap();
            assert!(refusal(dir.path()).contains(name), "{name}: {target}");
        }
        let dir = good_model();
        let path = dir.path().join(name);
        fs::write(&path, b"").unwrap();
        assert!(refusal(dir.path()).contains(name), "{name}: empty");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(refusal(dir.path()).contains(name), "{name}: a folder");
    }
    assert!(refusal(Path::new("no such folder")).contains("no such folder"));
}

/// Everything of the model by GGUF's names, as a model binds it.
fn bind(checkpoint: &Checkpoint) -> Result<BTreeMap<String, (Needed, Vec<f32>)>, LlmError> {
    let mut binder = checkpoint.binder();
    let mut all = BTreeMap::new();
    for needed in inventory(checkpoint.model_config(), checkpoint.tied()) {
        let gguf = names::to_gguf(&needed.name).unwrap();
        let values = match needed.kind {
            TensorKind::Matrix => {
                let weight = binder.matrix(&gguf, needed.dims[0], needed.dims[1])?;
                let matrix = weight.matrix();
                let mut values = vec![0.0; matrix.rows() * matrix.cols()];
                for (row, values) in values.chunks_exact_mut(matrix.cols()).enumerate() {
                    matrix.unpack_row(row, values);
                }
                values
            }
            _ => binder.vector(&gguf, needed.dims.iter().product())?,
        };
        all.insert(needed.name.clone(), (needed, values));
    }
    binder.refuse_the_rest()?;
    Ok(all)
}

fn corpus_files(kind: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = fs::read_dir(corpus(kind)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

struct Unseen;

impl Watch for Unseen {
    fn begin(&self, _: &Path, _: u64) {}

    fn advance(&self, _: u64) {}
}

fn quantised(model: &Path, format: QuantFormat) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    quantize(model, dir.path(), &Recipe::new(format, None).unwrap(), true, &Unseen).unwrap();
    dir
}

/// The same model in two files, its tensors by turns in the one and the other.
fn sharded(model: &Path) -> tempfile::TempDir {
    let file = fs::read(model.join("model.safetensors")).unwrap();
    let tensors = header::parse(&file).unwrap();
    let (dir, mut map) = (tempfile::tempdir().unwrap(), serde_json::Map::new());
    fs::copy(model.join(CONFIG), dir.path().join(CONFIG)).unwrap();
    for part in 0..2 {
        let name = format!("model-{:05}-of-00002.safetensors", part + 1);
        let own: Vec<&CheckpointTensor> = tensors.iter().skip(part).step_by(2).collect();
        let entries: Vec<TensorSpec> =
            own.iter().map(|tensor| TensorSpec::new(tensor.name.clone(), tensor.dtype.clone(), &tensor.dims)).collect();
        let mut writer = CheckpointWriter::create(&dir.path().join(&name), &entries, &[]).unwrap();
        own.iter().for_each(|tensor| writer.write(&file[tensor.span.clone()]).unwrap());
        writer.finish().unwrap();
        map.extend(own.iter().map(|tensor| (tensor.name.clone(), Value::from(name.clone()))));
    }
    fs::write(dir.path().join(INDEX), serde_json::json!({ "weight_map": map }).to_string()).unwrap();
    dir
}

/// Checkpoints of every layout: floats, packed codes, and both in several files.
fn seeds() -> Vec<tempfile::TempDir> {
    let good = good_model();
    let (mixed, int8) = (quantised(good.path(), QuantFormat::Mixed), quantised(good.path(), QuantFormat::Int8));
    let shards = [sharded(good.path()), sharded(mixed.path())];
    let all: Vec<_> = [good, mixed, int8].into_iter().chain(shards).collect();
    all.iter().for_each(|seed| read_all(seed.path()).unwrap());
    all
}

/// Everything that is ever done with a checkpoint.
fn read_all(dir: &Path) -> Result<(), LlmError> {
    let checkpoint = Checkpoint::open(dir)?;
    checkpoint.resident_bytes(true);
    bind(&checkpoint).map(drop)
}

/// Its index and its files of weights, by name.
fn files_of(model: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(model).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.file_name().unwrap() != CONFIG);
    paths.sort();
    paths
}

proptest! {
    /// Whatever a header says, the answer is an error or tensors that lie in the file one behind
    /// the other.
    #[test]
    fn fuzz_headers(seed in prop::sample::select(corpus_files("safetensors")), damage in damages(6)) {
        let mut file = seed;
        damage.iter().for_each(|damage| damage_weights(&mut file, damage));
        let (result, memory) = measured(|| header::parse(&file));
        prop_assert!(memory < MOST_MEMORY, "{memory} bytes");
        let mut free_from = 8;
        for CheckpointTensor { span, .. } in result.into_iter().flatten() {
            prop_assert!(span.start >= free_from && span.end >= span.start && span.end <= file.len());
            free_from = span.end;
        }
    }

    /// A damaged folder is refused or gives finite work; it never panics, and holds little more
    /// than it has.
    #[test]
    fn fuzz_folders(
        seed in any::<prop::sample::Index>(),
        config in prop::collection::vec(Damage::any(), 0..2),
        weights in damages(3),
        index in prop::option::weighted(0.2, prop::sample::select(corpus_files("index"))),
        own_index in prop::option::weighted(0.2, Damage::any()),
    ) {
        thread_local!(static SEEDS: Vec<tempfile::TempDir> = seeds());
        SEEDS.with(|seeds| {
            let (model, dir) = (seed.get(seeds).path(), tempfile::tempdir().unwrap());
            let mut text = fs::read(model.join(CONFIG)).unwrap();
            config.iter().for_each(|damage| damage.do_to(&mut text));
            fs::write(dir.path().join(CONFIG), text).unwrap();
            for path in files_of(model) {
                let mut file = fs::read(&path).unwrap();
                match path.file_name().unwrap() == INDEX {
                    true => own_index.iter().for_each(|damage| damage.do_to(&mut file)),
                    false => weights.iter().for_each(|damage| damage_weights(&mut file, damage)),
                }
                fs::write(dir.path().join(path.file_name().unwrap()), file).unwrap();
            }
            index.iter().for_each(|index| fs::write(dir.path().join(INDEX), index).unwrap());
            let (_, memory) = measured(|| read_all(dir.path()));
            assert!(memory < MOST_MEMORY, "{memory} bytes");
        });
    }

    /// The same of a GGUF file, most of whose damage is aimed at what stands before the data.
    #[test]
    fn fuzz_ggufs(damage in prop::collection::vec((prop::bool::weighted(0.9), Damage::any()), 0..4)) {
        thread_local!(static SEED: (Vec<u8>, usize) = gguf_and_its_front());
        SEED.with(|(file, front)| {
            let mut file = file.clone();
            for (aimed, damage) in &damage {
                let data = file.split_off(if *aimed { file.len().min(*front) } else { file.len() });
                damage.do_to(&mut file);
                file.extend(data);
            }
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("model.gguf");
            fs::write(&path, &file).unwrap();
            let (_, memory) = measured(|| read_gguf(&path));
            assert!(memory < MOST_MEMORY, "{memory} bytes");
        });
    }
}

/// The committed golden model, and how many bytes stand before its data.
fn gguf_and_its_front() -> (Vec<u8>, usize) {
    let path = goldens::model().join("tiny_gva2-bf16.gguf");
    read_gguf(&path).unwrap();
    let front = Gguf::open(&path).unwrap().tensors().map(|tensor| tensor.span.start).min().unwrap();
    (fs::read(&path).unwrap(), front)
}

/// Everything that is done with a GGUF file before it computes.
fn read_gguf(path: &Path) -> Result<(), LlmError> {
    let source = ModelSource::open(path)?;
    source.precision();
    // A file without a tokenizer may still be a model.
    let _refused = source.tokenizer();
    source.load(1).map(drop)
}
