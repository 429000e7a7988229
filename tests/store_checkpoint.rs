//! A published checkpoint, from a hub on this machine to the quantised model that the engine loads.

#[path = "common/hub.rs"]
#[allow(dead_code)]
mod hub;
#[path = "common/tokenizer.rs"]
mod tokenizer;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use hub::{Act, FakeHub};
use serde_json::{Value, json};
use sotto::config::{self, Sources};
use sotto::engine::EngineQuantizer;
use sotto::llm::Llm;
use sotto::llm::checkpoint::random;
use sotto::memory::Budget;
use sotto::store::progress::Silent;
use sotto::store::{Catalogue, FileState, HubEnv, HubTimeouts, Installed, Pin, Progress, Quantizer, Store, StoreError};
use sotto::types::Bytes;

const REVISION: &str = "89abcdef0123456789abcdef0123456789abcdef";
/// As Qwen3.5 is published.
const PUBLISHED: &str = "model.safetensors-00001-of-00001.safetensors";
const INSTALLED: [&str; 4] = ["config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.json"];
/// The control tokens and markers of Qwen3.5.
const MARKERS: [&str; 5] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"];

/// A hub with a tiny random checkpoint of 300 tokens.
struct Bench {
    hub: FakeHub,
    dir: tempfile::TempDir,
    /// Name in the repository, name when it is brought, bytes.
    files: Vec<(&'static str, &'static str, Vec<u8>)>,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench { hub: FakeHub::start(), dir: tempfile::tempdir().unwrap(), files: published() };
        for (from, _, bytes) in &bench.files {
            // Large files carry their SHA-256 as ETag, small ones a git hash.
            let sha = sha256(bytes);
            let etag = if *from == PUBLISHED { &sha[..] } else { &sha[..40] };
            bench.hub.put(&format!("/org/tiny/resolve/{REVISION}/{from}"), bytes, etag);
        }
        bench.hub.commit(REVISION);
        bench
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn weights(&self) -> &[u8] {
        &self.files.iter().find(|(from, ..)| *from == PUBLISHED).unwrap().2
    }

    fn store(&self, import: &str) -> Store {
        let vars = BTreeMap::from([
            ("HF_ENDPOINT", self.hub.endpoint.clone()),
            ("HF_HUB_CACHE", self.path("hf").to_str().unwrap().to_owned()),
        ]);
        let env = HubEnv::read(|name| vars.get(name).map(Into::into));
        let env = HubEnv { patience: HubTimeouts { tries: 1, ..HubTimeouts::default() }, ..env };
        Store::open(self.catalogue(import), self.path("models"), env).unwrap()
    }

    fn catalogue(&self, import: &str) -> Catalogue {
        let pin = |bytes: &[u8]| format!("size = {}, sha256 = \"{}\"", bytes.len(), sha256(bytes));
        let member = |(from, to, bytes): &(&str, &str, Vec<u8>)| {
            format!("{{ from = \"{from}\", to = \"{to}\", {} }}", pin(bytes))
        };
        let members: Vec<_> = self.files.iter().map(member).collect();
        let installed: Vec<_> = INSTALLED.iter().map(|name| format!("{{ name = \"{name}\" }}")).collect();
        let text = format!(
            r#"
            [[model]]
            name = "tiny"
            kind = "llm"
            about = "a test"
            licence = "MIT"
            revision = "1"
            import = "{import}"
            loaded_bytes = 10
            file = [{}]
            [[model.source]]
            type = "hub"
            repo = "org/tiny"
            revision = "{REVISION}"
            files = [{}]
            "#,
            installed.join(", "),
            members.join(", ")
        );
        Catalogue::parse(&text).unwrap()
    }

    fn pull(&self, import: &str) -> Result<Installed, StoreError> {
        pull(&self.store(import).with_quantizer(engine()))
    }
}

fn engine() -> EngineQuantizer {
    EngineQuantizer { unfinished: |_| {} }
}

fn pull(store: &Store) -> Result<Installed, StoreError> {
    let entry = store.catalogue().find("tiny").unwrap().clone();
    store.pull(&entry, &Silent)
}

fn sha256(bytes: &[u8]) -> String {
    Pin::of(bytes).unwrap().sha256.to_string()
}

fn published() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    random::write(dir.path(), PUBLISHED, &model_config(), &[], 1).unwrap();
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    vec![
        ("config.json", "config.json", read("config.json")),
        ("tokenizer.json", "tokenizer.json", tokenizer::document(&MARKERS).to_string().into_bytes()),
        (PUBLISHED, "model.safetensors", read(PUBLISHED)),
    ]
}

/// Two layers, one of each kind.
fn model_config() -> Value {
    json!({
        "model_type": "qwen3_5_text", "vocab_size": 300, "hidden_size": 128, "intermediate_size": 256,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64,
        "hidden_act": "silu", "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "tie_word_embeddings": true,
        "attention_bias": false, "attn_output_gate": true, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 16,
        "linear_value_head_dim": 32, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
        "layer_types": ["linear_attention", "full_attention"],
        "rope_parameters": { "rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.25 },
    })
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_pulled_checkpoint_is_quantised_and_loads() {
    for (import, bits) in [("quantize-mixed", 6), ("quantize-int8", 8)] {
        let bench = Bench::new();
        let installed = bench.pull(import).unwrap();
        let mut expected = [&INSTALLED[..], &["manifest.json"]].concat();
        expected.sort_unstable();
        assert_eq!(names_in(&installed.dir), expected);
        let config: Value = serde_json::from_slice(&fs::read(installed.file("config.json")).unwrap()).unwrap();
        assert_eq!(config["quantization"]["bits"], bits, "{config}");
        assert!(fs::metadata(installed.file("model.safetensors")).unwrap().len() < bench.weights().len() as u64);
        assert!(!bench.path("hf").exists() && names_in(&bench.path("models/.work")).is_empty(), "no bf16 is left");

        let settings = config::LlmPlan { context: Some(128), ..config::load(&Sources::default()).unwrap().plan.llm };
        let planned = Llm::planned_bytes(&installed.dir, &settings).unwrap();
        let permit = Budget::new(Bytes::mib(64)).reserve("tiny", planned).unwrap();
        let mut llm = Llm::load(&installed.dir, &settings, permit).unwrap();
        let mut state = llm.state();
        let hello = llm.tokenizer().encode("Hello").unwrap();
        llm.forward(&mut state, &hello);
        assert!(llm.logits(&state).unwrap().iter().all(|logit| logit.is_finite()));

        let asked = bench.hub.asked().len();
        bench.pull(import).unwrap();
        assert_eq!(bench.hub.asked().len(), asked, "a second pull asks nobody");
    }
}

#[test]
fn what_the_conversion_gave_is_checked_from_then_on() {
    let bench = Bench::new();
    let path = bench.pull("quantize-mixed").unwrap().file("model.safetensors");
    let store = bench.store("quantize-mixed");
    store.verify("tiny").unwrap();
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    let error = store.verify("tiny").unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }) && error.to_string().contains("model.safetensors"), "{error}");
}

#[test]
fn what_lies_in_the_shared_cache_is_used_and_left_alone() {
    let bench = Bench::new();
    let snapshot = bench.path("hf/models--org--tiny/snapshots").join(REVISION);
    fs::create_dir_all(&snapshot).unwrap();
    for (from, _, bytes) in &bench.files {
        fs::write(snapshot.join(from), bytes).unwrap();
    }
    bench.pull("quantize-mixed").unwrap();
    assert!(bench.hub.asked().is_empty());
    for (from, _, bytes) in &bench.files {
        assert_eq!(&fs::read(snapshot.join(from)).unwrap(), bytes, "{from}");
    }
}

/// Ends in the middle, as a full disk or an interrupt would have it.
struct BreaksOff;

impl Quantizer for BreaksOff {
    fn quantize(
        &self,
        _source: &Path,
        destination: &Path,
        _format: &str,
        _what: &str,
        _progress: &dyn Progress,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        fs::create_dir(destination)?;
        fs::write(destination.join("model.safetensors"), "half")?;
        Err("the disk is full".into())
    }
}

#[test]
fn a_conversion_that_breaks_off_leaves_no_model_and_needs_no_second_download() {
    let bench = Bench::new();
    let error = pull(&bench.store("quantize-mixed").with_quantizer(BreaksOff)).unwrap_err();
    assert!(matches!(error, StoreError::Import { .. }), "{error}");
    let cause = error.source().and_then(Error::source).unwrap().to_string();
    assert_eq!(cause, "the disk is full");
    assert!(!bench.path("models/tiny").exists());
    let store = bench.store("quantize-mixed");
    assert_eq!(store.state(store.catalogue().find("tiny").unwrap()).unwrap(), FileState::Missing);

    bench.hub.for_ever(Act::Status(500));
    bench.pull("quantize-mixed").unwrap();
    assert_eq!(bench.hub.gets().len(), bench.files.len());
}

#[test]
fn a_download_that_breaks_off_is_resumed() {
    let bench = Bench::new();
    // The third file, the weights, and then the hub is gone.
    bench.hub.on_get([Act::Serve, Act::Serve, Act::Truncate(10_000), Act::Status(500)]);
    assert!(matches!(bench.pull("quantize-mixed"), Err(StoreError::HubDown { .. })));
    assert!(!bench.path("models/tiny").exists());
    bench.pull("quantize-mixed").unwrap();
    let ranges: Vec<_> = bench.hub.gets().into_iter().filter_map(|asked| asked.range).collect();
    assert_eq!(ranges, ["bytes=10000-", "bytes=10000-"]);
    assert_eq!(bench.hub.gets().len(), 5);
}

#[test]
fn a_store_without_an_engine_says_so() {
    let error = pull(&Bench::new().store("quantize-mixed")).unwrap_err();
    assert!(matches!(error, StoreError::Import { .. }), "{error}");
}
