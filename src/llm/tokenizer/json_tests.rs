use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::super::LlmError;
use super::super::gguf::Gguf;
use super::super::testing::goldens;
use super::testing::{self, added, read};
use super::{Kind, Tokenizer};

/// A small tokenizer in the structure of the published one: two letters, their merges, control
/// tokens and markers.
fn document() -> Value {
    let vocab = json!({"a": 0, "b": 1, "ab": 2, "Ġ": 3, "Ġab": 4});
    let added = json!([
        added(5, "<|endoftext|>", true),
        added(6, "<|im_end|>", true),
        added(7, "<think>", false),
        added(8, "<tool_call>", true),
        added(9, "<tts_pad>", false),
    ]);
    testing::document(vocab, json!(["a b", "Ġ ab"]), added)
}

fn with(pointer: &str, value: Value) -> String {
    let mut document = document();
    match document.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            document.pointer_mut(parent).unwrap()[key] = value;
        }
    }
    document.to_string()
}

fn is_marker(tokenizer: &Tokenizer, token: u32) -> bool {
    tokenizer.kind(token) == Kind::Marker
}

#[test]
fn both_generations_of_merges_are_read() {
    for merges in [json!(["a b", "Ġ ab"]), json!([["a", "b"], ["Ġ", "ab"]])] {
        let tokenizer = read(&with("/model/merges", merges)).unwrap();
        assert_eq!(tokenizer.encode("ab ab a").unwrap(), [2, 4, 3, 0]);
    }
}

#[test]
fn control_tokens_and_markers_are_told_apart() {
    let tokenizer = read(&document().to_string()).unwrap();
    let cases = [
        (0, "a", false, false),
        (4, " ab", false, false),
        (6, "", true, false),
        (7, "<think>", false, true),
        // Whatever the file declares, these are part of the model's text.
        (8, "<tool_call>", false, true),
        (9, "<tts_pad>", false, true),
        (10, "", false, false),
    ];
    for (token, bytes, control, marker) in cases {
        assert_eq!(tokenizer.bytes(token), bytes.as_bytes(), "{token}");
        assert_eq!((tokenizer.is_control(token), is_marker(&tokenizer, token)), (control, marker), "{token}");
    }
    assert_eq!([tokenizer.control("<|im_end|>"), tokenizer.control("<think>")], [Some(6), Some(7)]);
    assert_eq!([tokenizer.control("a"), tokenizer.control("<|im_start|>")], [None, None]);
}

#[test]
fn added_tokens_may_stand_in_the_vocabulary_and_ids_may_have_holes() {
    let vocab = json!({"a": 0, "b": 1, "ab": 2, "Ġ": 3, "Ġab": 4, "<|im_end|>": 6, "x": 40});
    let tokenizer = read(&with("/model/vocab", vocab)).unwrap();
    assert!(tokenizer.is_control(6) && !tokenizer.is_control(20));
    assert_eq!((tokenizer.vocabulary(), tokenizer.used(), tokenizer.bytes(20)), (41, 41, &b""[..]));
}

#[test]
fn what_is_not_the_known_kind_is_refused_by_name() {
    let cases = [
        ("/model/type", json!("WordPiece"), "other than BPE"),
        ("/model/byte_fallback", json!(true), "byte fallback"),
        ("/model/dropout", json!(0.1), "dropout"),
        ("/model/continuing_subword_prefix", json!("##"), "subword prefix"),
        ("/model/end_of_word_suffix", json!("</w>"), "word suffix"),
        ("/model/ignore_merges", json!(true), "pre-tokenizer"),
        ("/normalizer", Value::Null, "normalizer"),
        ("/normalizer", json!({"type": "NFKC"}), "normalizer"),
        ("/pre_tokenizer", Value::Null, "pre-tokenizer"),
        ("/pre_tokenizer/pretokenizers/0/pattern/Regex", json!(r"\w+"), "pre-tokenizer"),
        ("/pre_tokenizer/pretokenizers/0/behavior", json!("Removed"), "pre-tokenizer"),
    ];
    for (pointer, value, named) in cases {
        let refused = read(&with(pointer, value)).err().unwrap();
        assert!(matches!(refused, LlmError::Unsupported { .. }), "{pointer}: {refused}");
        assert!(refused.to_string().contains(named), "{pointer}: {refused}");
    }
}

#[test]
fn broken_files_are_refused() {
    let cases = [
        ("two tokens with one id", with("/model/vocab", json!({"a": 0, "b": 0}))),
        ("an added token in a word's place", with("/added_tokens/0/id", json!(2))),
        ("an id out of all bounds", with("/added_tokens/0/id", json!(u32::MAX))),
        ("a merge of one part", with("/model/merges", json!(["ab"]))),
        ("a merge of strangers", with("/model/merges", json!([["a", "z"]]))),
        ("a merge of three", with("/model/merges", json!([["a", "b", "ab"]]))),
        (
            "a merge that makes a control token",
            with("/added_tokens/0", json!({"id": 2, "content": "ab", "special": true})),
        ),
        ("no model", json!({"added_tokens": []}).to_string()),
        ("half a file", document().to_string()[..200].to_owned()),
        ("nothing", String::new()),
    ];
    for (case, text) in cases {
        let refused = read(&text).err().unwrap_or_else(|| panic!("{case} was read"));
        assert!(matches!(refused, LlmError::DamagedTokenizer { .. }), "{case}: {refused}");
        assert!(!refused.to_string().contains("GGUF"), "{case}: {refused}");
    }
}

#[test]
fn a_file_that_is_too_large_or_none_is_refused_unread() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(super::json::MAX_FILE + 1).unwrap();
    let refused = Tokenizer::from_json(file.path()).err().unwrap().to_string();
    assert!(refused.contains("67108865") && refused.contains("67108864"), "{refused}");
    let folder = Tokenizer::from_json(&std::env::temp_dir());
    assert!(matches!(folder, Err(LlmError::Unreadable { .. })));
}

proptest::proptest! {
    /// A damaged file gives an error or a working tokenizer, never a panic.
    #[test]
    fn damage_never_panics(hits in proptest::collection::vec((0usize..10_000, 0x20u8..0x7f), 1..6)) {
        let mut text = document().to_string().into_bytes();
        for (at, byte) in hits {
            let at = at % text.len();
            text[at] = byte;
        }
        if let Ok(tokenizer) = read(&String::from_utf8_lossy(&text)) {
            let _ = tokenizer.encode("ab <|im_end|> b");
        }
    }
}

#[test]
fn json_and_gguf_of_one_model_agree() {
    let folder = goldens::model();
    let json = Tokenizer::from_json(&folder.join("hf/tokenizer.json")).unwrap();
    let gguf = Gguf::open(&folder.join("tiny_gva2-bf16.gguf")).unwrap();
    let gguf = Tokenizer::from_gguf(&gguf).unwrap();
    assert_eq!(json.kinds, gguf.kinds);
    for token in 0..json.vocabulary() as u32 {
        assert_eq!(json.bytes(token), gguf.bytes(token), "{token}");
    }
    for text in ["The moon, and 12 more; नमस्ते!", "  a\r\n\r\nbéb ", "<think></think> <|im_end|>"] {
        assert_eq!(json.encode(text).unwrap(), gguf.encode(text).unwrap(), "{text:?}");
    }
    assert_eq!(json.control("</think>"), Some(510));
    assert!(is_marker(&json, 510) && json.is_control(502) && !json.is_control(503));
}

/// Reads a tokenizer.json with the published vocabulary, named by `SOTTO_QWEN35_TOKENIZER`.
#[test]
#[ignore = "needs the published vocabulary of Qwen3.5, which is in no package registry"]
fn the_published_ids_come_out() {
    let tokenizer = std::env::var_os("SOTTO_QWEN35_TOKENIZER").expect("SOTTO_QWEN35_TOKENIZER names a tokenizer.json");
    let started = std::time::Instant::now();
    let tokenizer = Tokenizer::from_json(Path::new(&tokenizer)).unwrap();
    println!("read in {:?}", started.elapsed());
    let cases = fs::read(goldens::folder().join("tokenizer_goldens.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&cases).unwrap();
    let differing = cases.iter().filter(|case| {
        let ids = tokenizer.encode(case["text"].as_str().unwrap()).unwrap();
        let differs = json!(ids) != case["no_special"];
        if differs {
            println!("{}: {ids:?}, wanted {}", case["text"], case["no_special"]);
        }
        differs
    });
    let differing = differing.count();
    println!("{} of {} equal, {} tokens used", cases.len() - differing, cases.len(), tokenizer.used());
    assert_eq!(differing, 0);
}
