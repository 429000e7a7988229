//! A tokenizer for tests in the structure of the published one of Qwen3.5: the 256 bytes, control
//! tokens and markers.

use std::io::Write;

use serde_json::{Value, json};

use super::Tokenizer;
use super::pieces::byte_alphabet;

/// Control tokens and markers after the bytes, from 256 on.
pub const ADDED: [&str; 9] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
];

const PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Builds a `tokenizer.json` of `vocab`, the merges and added tokens.
pub fn document(vocab: Value, merges: Value, added: Value) -> Value {
    json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        ]},
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "byte_fallback": false,
            "vocab": vocab,
            "merges": merges,
        },
    })
}

pub fn added(id: u32, content: &str, special: bool) -> Value {
    json!({"id": id, "content": content, "special": special})
}

pub fn read(document: &str) -> Result<Tokenizer, super::super::LlmError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(document.as_bytes()).unwrap();
    Tokenizer::from_json(file.path())
}

/// Builds a tokenizer where token b is the byte b, and one merge makes token 265 of two newlines.
pub fn qwen35() -> Tokenizer {
    let mut vocab: serde_json::Map<_, _> =
        byte_alphabet().into_iter().map(|(c, byte)| (c.to_string(), json!(byte))).collect();
    vocab.insert("ĊĊ".to_owned(), json!(256 + ADDED.len()));
    let token = |(name, id): (&&str, u32)| added(id, name, name.starts_with("<|"));
    let added: Vec<Value> = ADDED.iter().zip(256..).map(token).collect();
    read(&document(vocab.into(), json!(["Ċ Ċ"]), added.into()).to_string()).unwrap()
}
