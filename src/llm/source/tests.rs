//! Tests with models as they occur in practice: made by other converters, split into parts, partly
//! downloaded. Each is used, with a note on its peculiarity, or refused with its name and the next
//! step.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::super::checkpoint::testing::Layout;
use super::super::checkpoint::{CONFIG, INDEX};
use super::super::notes::ModelNote;
use super::super::state::SequenceState;
use super::super::testing::{self, Builder};
use super::super::tokenizer::testing::document;
use super::*;

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 12345\n";

fn source(file: &Builder) -> (tempfile::NamedTempFile, ModelSource) {
    let path = tempfile::NamedTempFile::new().unwrap();
    fs::write(path.path(), file.build()).unwrap();
    let source = ModelSource::open(path.path()).unwrap();
    (path, source)
}

/// Returns the logits after three tokens.
fn logits(source: &ModelSource) -> Vec<f32> {
    let mut model = source.load(1).unwrap();
    let mut state = SequenceState::new(model.model_config(), 4);
    model.forward(&mut state, &[1, 2, 3]);
    model.logits(&state).unwrap().to_vec()
}

/// Builds a qwen35 with this many blocks, the last declared to predict further tokens.
fn claiming(blocks: u32) -> Builder {
    let file = testing::model("qwen35").without("qwen35.block_count");
    file.u32("qwen35.block_count", blocks).u32("qwen35.nextn_predict_layers", 1)
}

#[test]
fn blocks_predict_by_their_tensors_and_not_by_their_number() {
    let (_plain, plain) = source(&testing::model("qwen35"));
    let heads = ["eh_proj", "enorm", "hnorm", "shared_head_norm"].into_iter().fold(claiming(5), |file, name| {
        let dims: &[u64] = if name == "eh_proj" { &[64, 32] } else { &[32] };
        let values = vec![0.5; dims.iter().product::<u64>() as usize];
        file.tensor(&format!("blk.4.nextn.{name}.weight"), dims, &values)
    });
    let ordinary = "block 3 predicts further tokens, but it is an ordinary layer";
    for (case, file, words) in [
        ("an ordinary layer", claiming(4), Some(ordinary)),
        ("only heads", heads, Some("\"blk.4.attn_norm.weight\" is missing")),
        ("none at all", claiming(5), None),
    ] {
        let (_file, source) = source(&file);
        assert_eq!(source.model_config().unwrap().layers, 4, "{case}");
        assert!(!source.drafts() && logits(&source) == logits(&plain), "{case}");
        let notes: Vec<String> = source.notes().iter().map(ToString::to_string).collect();
        assert_eq!(notes.len(), usize::from(words.is_some()), "{case}: {notes:?}");
        assert!(words.is_none_or(|words| notes[0].contains(words)), "{case}: {notes:?}");
    }
    let (_file, drafting) = source(&testing::drafting(false));
    assert!(drafting.drafts() && drafting.notes().is_empty());
}

#[test]
fn sizes_that_llama_cpp_takes_are_taken() {
    let (_plain, plain) = source(&testing::model("qwen35"));
    let but = |key: &str| testing::model("qwen35").without(&format!("qwen35.{key}"));
    let scaled = |factor: f32| {
        let file = testing::model("qwen35").text("qwen35.rope.scaling.type", "linear");
        file.f32("qwen35.rope.scaling.factor", factor)
    };
    let kv = |heads: &[i32]| but("attention.head_count_kv").i32s("qwen35.attention.head_count_kv", heads);
    for (case, file) in [("heads of each layer", kv(&[0, 2, 0, 2])), ("a rotation that is not stretched", scaled(1.0))]
    {
        let (_file, source) = source(&file);
        assert_eq!(logits(&source), logits(&plain), "{case}");
    }
    let interval = ModelConfig::from_gguf(&testing::open(&but("full_attention_interval"))).unwrap();
    assert_eq!(interval.delta.unwrap().layers, [true, true, true, false], "the fourth attends");
    for (file, words) in [
        (kv(&[0, 2, 0, 4]), "2 in one layer and 4 in another"),
        (kv(&[0; 4]), "1 to 1024 is possible"),
        (kv(&[-1; 4]), "1 to 1024 is possible"),
        (scaled(2.0), "rope scaling \"linear\""),
    ] {
        let message = ModelConfig::from_gguf(&testing::open(&file)).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_file_that_names_no_cut_is_cut_as_its_family() {
    let text = "in 2026: e\u{301}te\u{301}";
    for (family, cut) in [("qwen2", "qwen2"), ("qwen35", "qwen35"), ("llama", "gpt-2")] {
        let unnamed = testing::tables(cut).without("tokenizer.ggml.pre").text("general.architecture", family);
        let wanted = testing::tokenizer(cut).encode(text).unwrap();
        for file in [unnamed.clone(), unnamed.text("tokenizer.ggml.pre", "default")] {
            let gguf = testing::open(&file);
            assert_eq!(Tokenizer::from_gguf(&gguf).unwrap().encode(text).unwrap(), wanted, "{family}");
            let notes = Tokenizer::notes(&gguf);
            assert!(matches!(&notes[..], [ModelNote::Cut { cut: used, .. }] if *used == cut), "{family}: {notes:?}");
        }
    }
    let llama3 = Builder::default().texts("tokenizer.ggml.tokens", &["<|begin_of_text|>"]);
    let llama3 = testing::open(&llama3.text("general.architecture", "llama"));
    assert!(matches!(Tokenizer::notes(&llama3)[0], ModelNote::Cut { cut: "llama-bpe", .. }));
    assert!(Tokenizer::notes(&testing::open(&testing::tables("qwen2"))).is_empty());
}

#[test]
fn markers_are_known_by_their_looks_where_classes_are_missing() {
    let gguf = testing::open(&testing::tables("qwen35").without("tokenizer.ggml.token_type"));
    let (found, wanted) = (Tokenizer::from_gguf(&gguf).unwrap(), testing::tokenizer("qwen35"));
    for name in testing::CONTROLS {
        assert_eq!(found.control(name), wanted.control(name), "{name}");
    }
    assert_eq!(found.encode("<|im_end|> <| |>").unwrap(), wanted.encode("<|im_end|> <| |>").unwrap());
    assert!(matches!(Tokenizer::notes(&gguf)[..], [ModelNote::Markers { .. }]));
}

/// Builds tokenizer tables with tokens before and after every text, and whether the file wants
/// them.
fn framed(cut: &str, ids: [Option<u32>; 2], adds: [Option<bool>; 2]) -> Builder {
    let mut file = testing::tables(cut);
    for ((what, id), add) in ["bos", "eos"].into_iter().zip(ids).zip(adds) {
        file = id.map_or(file.clone(), |id| file.u32(&format!("tokenizer.ggml.{what}_token_id"), id));
        file = add.map_or(file.clone(), |add| file.flag(&format!("tokenizer.ggml.add_{what}_token"), add));
    }
    file
}

#[test]
fn tokens_before_and_behind_a_text_are_as_the_file_says() {
    for (cut, ids, adds, begin, end) in [
        ("qwen2", [Some(262), None], [None, None], None, None),
        ("qwen2", [Some(262), Some(261)], [Some(true), Some(true)], Some(262), Some(261)),
        ("llama-bpe", [Some(262), None], [None, None], Some(262), None),
        ("llama-bpe", [Some(262), None], [Some(false), None], None, None),
        ("llama-bpe", [None, None], [None, None], None, None),
    ] {
        let tokenizer = Tokenizer::from_gguf(&testing::open(&framed(cut, ids, adds))).unwrap();
        let plain = tokenizer.encode("the").unwrap();
        let wanted: Vec<u32> = begin.into_iter().chain(plain).chain(end).collect();
        assert_eq!(tokenizer.encode_whole("the").unwrap(), wanted, "{cut} {ids:?} {adds:?}");
        let (format, start) = (testing::chatml(&tokenizer), tokenizer.control("<|im_start|>").unwrap());
        let system = format.system(&tokenizer, "Be brief.").unwrap();
        let before: Vec<u32> = system.into_iter().take_while(|&token| token != start).collect();
        assert_eq!(before, Vec::from_iter(begin), "{cut} {ids:?} {adds:?}");
        assert_eq!(format.question(&tokenizer, "Hi").unwrap()[0], start, "not in the middle of a prompt");
    }
    for id in [None, Some(9999)] {
        let file = framed("qwen2", [id, None], [Some(true), None]);
        let message = Tokenizer::from_gguf(&testing::open(&file)).err().unwrap().to_string();
        assert!(message.contains("add_bos_token") && message.contains("bos_token_id is"), "{message}");
    }
}

#[test]
fn weights_in_a_type_that_is_not_read_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    for (code, name) in [(16, "IQ2_XXS"), (23, "IQ4_XS"), (35, "TQ2_0"), (39, "MXFP4"), (77, "number 77")] {
        fs::write(&path, Builder::default().tensor_entry("w", &[256], code, 0).build()).unwrap();
        let refused = ModelSource::open(&path).err().unwrap();
        let message = refused.to_string();
        assert!(matches!(refused, LlmError::Unsupported { .. }), "{message}");
        assert!(message.contains(name) && message.contains("Q3_K, Q4_K"), "{message}");
    }
}

/// Builds a complete folder with every kind of file that is read.
fn folder() -> tempfile::TempDir {
    let folder = Layout { shards: 2, ..Layout::published() }.write();
    let tokenizer = document(json!({ "a": 0 }), json!([]), json!([]));
    fs::write(folder.path().join(TOKENIZER), tokenizer.to_string()).unwrap();
    fs::write(folder.path().join(TOKENIZER_CONFIG), r#"{"chat_template": "{{ messages }}"}"#).unwrap();
    folder
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_file() {
    let folder = folder();
    for path in [CONFIG, INDEX, TOKENIZER, TOKENIZER_CONFIG].map(|name| folder.path().join(name)) {
        fs::write(&path, ["\u{feff}".as_bytes(), &fs::read(&path).unwrap()].concat()).unwrap();
    }
    let source = ModelSource::open(folder.path()).unwrap();
    assert_eq!(source.tokenizer().unwrap().vocabulary(), 1);
    assert_eq!(template_in(folder.path()).unwrap().as_deref(), Some("{{ messages }}"));
}

#[test]
fn a_file_that_is_no_model_is_named() {
    let open = |dir: &Path| {
        ModelSource::open(dir)?.tokenizer()?;
        template_in(dir).map(drop)
    };
    let shard = "model-00002-of-00002.safetensors";
    for name in [CONFIG, INDEX, TOKENIZER, TOKENIZER_CONFIG, TEMPLATE, shard] {
        for (content, words) in
            [(POINTER, "a Git LFS pointer: fetch the file itself"), ("<!DOCTYPE html>", "a web page")]
        {
            let folder = folder();
            fs::write(folder.path().join(name), content).unwrap();
            let message = open(folder.path()).expect_err(name).to_string();
            assert!(message.contains(words) && message.contains(name), "{name}: {message}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(CONFIG), Layout::published().config.to_string()).unwrap();
    for (name, content, words) in [
        ("m.gguf", POINTER, "a Git LFS pointer: fetch the file itself"),
        ("m.gguf", "<html>", "a web page"),
        ("m.safetensors", POINTER, "a Git LFS pointer"),
        ("m.bin", POINTER, "a Git LFS pointer"),
        ("m.bin", "lmgg", "an old format of ggml"),
        ("m.pth", "PK\u{3}\u{4}", "a zip archive or a PyTorch file"),
        ("m.bin", "something", "neither a GGUF file nor a .safetensors file"),
    ] {
        fs::write(dir.path().join(name), content).unwrap();
        let message = ModelSource::open(&dir.path().join(name)).err().expect(name).to_string();
        assert!(message.contains(words) && message.contains(name), "{name}: {message}");
    }
}
