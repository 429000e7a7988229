//! A `tokenizer.json` as Qwen3.5 has it, but small.

use serde_json::{Value, json};

const PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Token b is the byte b, as GPT-2 spells it; behind the bytes come `added`, of which `<|…|>` are
/// control tokens.
pub fn document(added: &[&str]) -> Value {
    let printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut others = (256..).filter_map(char::from_u32);
    let mut spell = |byte| if printable(byte) { char::from(byte) } else { others.next().unwrap() };
    let vocab: serde_json::Map<_, _> = (0..=255u8).map(|byte| (spell(byte).to_string(), json!(byte))).collect();
    let token = |(name, id): (&&str, u32)| json!({ "id": id, "content": name, "special": name.starts_with("<|") });
    json!({
        "added_tokens": added.iter().zip(256..).map(token).collect::<Vec<_>>(),
        "normalizer": { "type": "NFC" },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": PATTERN }, "behavior": "Isolated", "invert": false },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
        ] },
        "model": { "type": "BPE", "byte_fallback": false, "vocab": vocab, "merges": [] },
    })
}
