//! Checkpoints from outside: those that lie are refused with the right words, and without much memory; expected tensors
//! of other implementations are met to the bit.

#[path = "common/goldens.rs"]
mod goldens;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use half::bf16;
use proptest::prelude::*;
use serde_json::Value;
use sotto::llm::checkpoint::header::{self, Tensor};
use sotto::llm::checkpoint::inventory::{Needed, inventory};
use sotto::llm::checkpoint::names::{self, Kind};
use sotto::llm::checkpoint::writer::{Entry, Writer};
use sotto::llm::checkpoint::{CONFIG, Checkpoint, INDEX, random};
use sotto::llm::gguf::Gguf;
use sotto::llm::quantize::{Format, Recipe, Watch, quantize};
use sotto::llm::tensors::Tensors;
use sotto::llm::{LlmError, Source};

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
    for needed in inventory(checkpoint.blueprint(), checkpoint.tied()) {
        let gguf = names::to_gguf(&needed.name).unwrap();
        let values = match needed.kind {
            Kind::Matrix => {
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

/// What may happen to a file on its way.
#[derive(Clone, Debug)]
enum Damage {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Cut(prop::sample::Index),
    /// A number somewhere in a text becomes another.
    Number(prop::sample::Index, u64),
    /// Eight bytes become a number, as counts and offsets are written.
    Word(prop::sample::Index, u64),
}

impl Damage {
    fn any() -> impl Strategy<Value = Damage> {
        let at = any::<prop::sample::Index>;
        let number = || prop_oneof![0u64..300, any::<u64>()];
        prop_oneof![
            4 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
            1 => (at(), prop::collection::vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
            1 => (at(), 1usize..64).prop_map(|(at, count)| Damage::Remove(at, count)),
            1 => at().prop_map(Damage::Cut),
            4 => (at(), number()).prop_map(|(at, n)| Damage::Number(at, n)),
            1 => (at(), number()).prop_map(|(at, n)| Damage::Word(at, n)),
        ]
    }

    fn do_to(&self, file: &mut Vec<u8>) {
        if file.is_empty() {
            return;
        }
        match self {
            Damage::Set(at, byte) => *at.get_mut(file.as_mut_slice()) = *byte,
            Damage::Insert(at, bytes) => {
                let at = at.index(file.len());
                file.splice(at..at, bytes.iter().copied());
            }
            Damage::Remove(at, count) => {
                let at = at.index(file.len());
                file.drain(at..(at + count).min(file.len()));
            }
            Damage::Cut(at) => file.truncate(at.index(file.len())),
            Damage::Number(at, n) => {
                let from = at.index(file.len());
                let Some(start) = file[from..].iter().position(u8::is_ascii_digit).map(|found| from + found) else {
                    return;
                };
                let end =
                    file[start..].iter().position(|byte| !byte.is_ascii_digit()).map_or(file.len(), |n| start + n);
                file.splice(start..end, n.to_string().into_bytes());
            }
            Damage::Word(at, n) => {
                let at = at.index(file.len());
                file.iter_mut().skip(at).zip(n.to_le_bytes()).for_each(|(byte, new)| *byte = new);
            }
        }
    }
}

/// Which part of a file is damaged.
#[derive(Clone, Copy, Debug)]
enum Part {
    All,
    /// The JSON of a safetensors header, a small part of the file. Its length is made right again, so that what the
    /// JSON says is read.
    Header,
}

fn damages(most: usize) -> impl Strategy<Value = Vec<(Part, Damage)>> {
    let part = prop_oneof![1 => Just(Part::All), 2 => Just(Part::Header)];
    prop::collection::vec((part, Damage::any()), 0..most)
}

fn damage_weights(file: &mut Vec<u8>, (part, damage): &(Part, Damage)) {
    let length = file.first_chunk().map(|length| u64::from_le_bytes(*length));
    let Some(end) = length.and_then(|length| usize::try_from(length).ok()?.checked_add(8)) else {
        return damage.do_to(file);
    };
    match part {
        Part::Header if end <= file.len() => {
            let data = file.split_off(end);
            let mut json = file.split_off(8);
            damage.do_to(&mut json);
            *file = [&(json.len() as u64).to_le_bytes()[..], &json, &data].concat();
        }
        _ => damage.do_to(file),
    }
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

fn quantised(model: &Path, format: Format) -> tempfile::TempDir {
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
        let own: Vec<&Tensor> = tensors.iter().skip(part).step_by(2).collect();
        let entries: Vec<Entry> =
            own.iter().map(|tensor| Entry::new(tensor.name.clone(), tensor.dtype.clone(), &tensor.dims)).collect();
        let mut writer = Writer::create(&dir.path().join(&name), &entries, &[]).unwrap();
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
    let (mixed, int8) = (quantised(good.path(), Format::Mixed), quantised(good.path(), Format::Int8));
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
    /// Whatever a header says, the answer is an error or tensors that lie in the file one behind the other.
    #[test]
    fn fuzz_headers(seed in prop::sample::select(corpus_files("safetensors")), damage in damages(6)) {
        let mut file = seed;
        damage.iter().for_each(|damage| damage_weights(&mut file, damage));
        let (result, memory) = measured(|| header::parse(&file));
        prop_assert!(memory < MOST_MEMORY, "{memory} bytes");
        let mut free_from = 8;
        for Tensor { span, .. } in result.into_iter().flatten() {
            prop_assert!(span.start >= free_from && span.end >= span.start && span.end <= file.len());
            free_from = span.end;
        }
    }

    /// A damaged folder is refused or gives finite work; it never panics, and holds little more than it has.
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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/qwen35/tiny_gva2-bf16.gguf");
    read_gguf(&path).unwrap();
    let front = Gguf::open(&path).unwrap().tensors().map(|tensor| tensor.span.start).min().unwrap();
    (fs::read(&path).unwrap(), front)
}

/// Everything that is done with a GGUF file before it computes.
fn read_gguf(path: &Path) -> Result<(), LlmError> {
    let source = Source::open(path)?;
    source.precision();
    // A file without a tokenizer may still be a model.
    let _refused = source.tokenizer();
    source.load(1).map(drop)
}

/// A safetensors file read as plainly as can be, beside the reader that is tested.
struct Plain {
    header: Value,
    data: Vec<u8>,
}

impl Plain {
    fn read(path: &Path) -> Plain {
        let file = fs::read(path).unwrap();
        let end = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        Plain { header: serde_json::from_slice(&file[8..end]).unwrap(), data: file[end..].to_vec() }
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.header.as_object().unwrap().keys().filter(|name| *name != "__metadata__")
    }

    /// The tensor that this name, with whatever before it, belongs to.
    fn find(&self, own: &str) -> Option<&String> {
        self.names().find(|name| {
            *name == own || name.ends_with(&format!("model.{own}")) || name.ends_with(&format!("language_model.{own}"))
        })
    }

    fn bytes(&self, name: &str) -> &[u8] {
        let offset = |i: usize| self.header[name]["data_offsets"][i].as_u64().unwrap() as usize;
        &self.data[offset(0)..offset(1)]
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let bytes = self.bytes(name);
        match self.header[name]["dtype"].as_str().unwrap() {
            "F32" => bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
            "BF16" => bytes.chunks(2).map(|b| bf16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect(),
            other => panic!("{name} is {other}"),
        }
    }

    /// Codes of a packed tensor, bit by bit.
    fn codes(&self, name: &str, bits: usize) -> Vec<u32> {
        let bytes = self.bytes(name);
        let bit = |at: usize| u32::from(bytes[at / 8] >> (at % 8) & 1);
        (0..bytes.len() * 8 / bits).map(|i| (0..bits).map(|b| bit(i * bits + b) << b).sum()).collect()
    }
}

#[test]
fn plain_goldens_are_read_to_the_bit() {
    for model in goldens::models("only checkpoints made here are read") {
        for (folder, file) in [(model.join("hf"), "model.safetensors"), (model.clone(), "model.f32.safetensors")] {
            let plain = Plain::read(&folder.join(file));
            let checkpoint = Checkpoint::open(&folder).unwrap();
            assert!(checkpoint.raw());
            let bound = bind(&checkpoint).unwrap();
            assert_eq!(bound.len(), plain.names().count());
            for (own, (needed, values)) in bound {
                let change = |w: f32| match needed.kind {
                    Kind::Norm => 1.0 + w,
                    Kind::Decay => -w.exp(),
                    _ => w,
                };
                let expected: Vec<f32> = plain.floats(plain.find(&own).unwrap()).into_iter().map(change).collect();
                assert!(values == expected, "{}: {own}", folder.display());
            }
        }
    }
}

#[test]
fn packed_goldens_are_read_to_the_bit_and_lie_within_half_a_step() {
    for model in goldens::models("only checkpoints made here are read") {
        let original = Plain::read(&model.join("hf/model.safetensors"));
        let folders = fs::read_dir(&model).unwrap().map(|entry| entry.unwrap().path());
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let packed: BTreeMap<String, PathBuf> =
            folders.map(|path| (name(&path), path)).filter(|(name, _)| name.starts_with("mlx_")).collect();
        packed.values().for_each(|folder| check_packed(folder, &original));
        let formats: Vec<&String> = packed.keys().collect();
        assert_eq!(formats, ["mlx_q4g64", "mlx_q5g64", "mlx_q6g32", "mlx_q8g64"], "{}", model.display());
    }
}

fn check_packed(folder: &Path, original: &Plain) {
    let plain = Plain::read(&folder.join("model.safetensors"));
    check_listing(folder);
    let config: Value = serde_json::from_slice(&fs::read(folder.join(CONFIG)).unwrap()).unwrap();
    let declared = |key: &str| config["quantization"][key].as_u64().unwrap() as usize;
    let (bits, group) = (declared("bits"), declared("group_size"));
    let checkpoint = Checkpoint::open(folder).unwrap();
    assert!(!checkpoint.raw());
    for (own, (needed, values)) in bind(&checkpoint).unwrap() {
        let name = plain.find(&own).unwrap();
        let before = original.floats(original.find(&own).unwrap());
        match needed.kind {
            Kind::Matrix => {
                let module = name.strip_suffix(".weight").unwrap();
                let parameters = |part: &str| plain.floats(&format!("{module}.{part}"));
                let (scales, biases) = (parameters("scales"), parameters("biases"));
                for (i, code) in plain.codes(name, bits).into_iter().enumerate() {
                    let (scale, bias) = (scales[i / group], biases[i / group]);
                    assert_eq!(values[i], scale * code as f32 + bias, "{name} {i}");
                    // Half a step, and what rounding scale and bias to bf16 moves. MLX stretches the scale until 0 is
                    // met exactly, so that values at an end of the range may lie a step beyond it.
                    let steps = if code == 0 || code + 1 == 1 << bits { 1.5 } else { 0.501 };
                    let rounding = (scale.abs() * code as f32 + bias.abs()) / 256.0;
                    assert!((values[i] - before[i]).abs() <= steps * scale.abs() + rounding, "{name} {i}");
                }
            }
            Kind::Norm => {
                let expected: Vec<f32> = before.iter().map(|w| bf16::from_f32(1.0 + w).to_f32()).collect();
                assert!(values == expected, "{name}");
            }
            Kind::Decay => assert!(values == before.iter().map(|w| -w.exp()).collect::<Vec<_>>(), "{name}"),
            _ => assert!(values == before, "{name}"),
        }
    }
}

/// Names, shapes and types as mlx lists them.
fn check_listing(folder: &Path) {
    let listed: Value = serde_json::from_slice(&fs::read(folder.join("tensors.json")).unwrap()).unwrap();
    let found = header::parse(&fs::read(folder.join("model.safetensors")).unwrap()).unwrap();
    assert_eq!(found.len(), listed.as_object().unwrap().len());
    for Tensor { name, dims, dtype, .. } in found {
        let named = match dtype.name() {
            "BF16" => "mlx.core.bfloat16",
            "F32" => "mlx.core.float32",
            "U32" => "mlx.core.uint32",
            other => panic!("{name} is {other}"),
        };
        assert_eq!(listed[&name], serde_json::json!([dims, named]), "{name}");
    }
}

/// Counts what the calling thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn count(more: usize, less: usize) {
    // Threads that end free without their counter.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        let now = (now + more).saturating_sub(less);
        held.set((now, most.max(now)));
    });
}

// SAFETY: every call goes to the system's allocator with the arguments that came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps the rules of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps the rules of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller keeps the rules of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: the caller keeps the rules of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `task` gives, and how many bytes this thread held more at most while it ran.
fn measured<T>(task: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.with(|held| {
        let (now, _) = held.get();
        held.set((now, now));
        now
    });
    let result = task();
    (result, HELD.with(|held| held.get().1) - before)
}
