//! The tables in a GGUF file: `tokenizer.ggml.*`.

use super::super::LlmError;
use super::super::gguf::{Gguf, GgufFault};
use super::{Cut, Kind, Tables, Tokenizer, TokenizerFault, parts};

/// The token classes of GGUF that matter here (`tokenizer.ggml.token_type`).
const NORMAL: i64 = 1;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

impl Tokenizer {
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, LlmError> {
        let broken = |why: String| LlmError::DamagedTokenizer {
            path: gguf.path().to_owned(),
            fault: TokenizerFault::Broken(why),
        };
        let missing = |key: &str| gguf.damaged(GgufFault::MissingKey { key: key.to_owned() });
        check_model(gguf)?;
        let cut = cut(gguf)?;
        let tokens = gguf.texts("tokenizer.ggml.tokens")?.ok_or_else(|| missing("tokenizer.ggml.tokens"))?;
        let merges = gguf.texts("tokenizer.ggml.merges")?.ok_or_else(|| missing("tokenizer.ggml.merges"))?;
        let classes = gguf.numbers("tokenizer.ggml.token_type")?.unwrap_or_else(|| vec![NORMAL; tokens.len()]);
        if classes.len() != tokens.len() {
            return Err(broken(format!("{} tokens, but {} token types", tokens.len(), classes.len())));
        }
        let merges = merges.into_iter().map(parts);
        let kinds = classes.into_iter().map(kind).collect();
        Tokenizer::new(Tables { cut, tokens, kinds }, merges).map_err(broken)
    }
}

fn kind(class: i64) -> Kind {
    match class {
        NORMAL => Kind::Text,
        CONTROL => Kind::Control,
        USER_DEFINED => Kind::Marker,
        _ => Kind::Unused,
    }
}

fn check_model(gguf: &Gguf) -> Result<(), LlmError> {
    match gguf.text("tokenizer.ggml.model")? {
        Some("gpt2") => Ok(()),
        Some(other) => Err(gguf.unsupported(format!("the tokenizer {other:?}"), "gpt2 (byte-level BPE)")),
        None => Err(gguf.damaged(GgufFault::MissingKey { key: "tokenizer.ggml.model".to_owned() })),
    }
}

fn cut(gguf: &Gguf) -> Result<Cut, LlmError> {
    let name = gguf.text("tokenizer.ggml.pre")?.unwrap_or("default");
    Cut::named(name).ok_or_else(|| gguf.unsupported(format!("the pre-tokenizer {name:?}"), Cut::names()))
}
