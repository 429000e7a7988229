//! Tokenizer tables in a GGUF file: `tokenizer.ggml.*`.

use super::super::LlmError;
use super::super::gguf::{Gguf, GgufFault};
use super::super::notes::ModelNote;
use super::{Cut, Frame, Kind, Tables, Tokenizer, TokenizerFault, parts};

/// The token classes of GGUF that matter here (`tokenizer.ggml.token_type`).
const NORMAL: i64 = 1;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// Name that newer converters write for an unknown pre-tokenizer.
const UNKNOWN_CUT: &str = "default";
/// Token that identifies a vocabulary of Llama 3; no other one called llama has it.
const LLAMA3_BEGIN: &str = "<|begin_of_text|>";

/// Interpretation of the tables in a file: as it declares, or as its family suggests.
struct Reading {
    cut: Cut,
    /// Whether the file names its pre-tokenizer.
    names_cut: bool,
    /// Whether the file has the classes of its tokens.
    has_classes: bool,
}

impl Reading {
    fn of(gguf: &Gguf) -> Result<Reading, LlmError> {
        let (names_cut, cut) = match gguf.text("tokenizer.ggml.pre")?.filter(|name| *name != UNKNOWN_CUT) {
            Some(name) => {
                let unknown = || gguf.unsupported(format!("the pre-tokenizer {name:?}"), Cut::names());
                (true, Cut::named(name).ok_or_else(unknown)?)
            }
            None => (false, cut_of_family(gguf)?),
        };
        Ok(Reading { cut, names_cut, has_classes: gguf.has("tokenizer.ggml.token_type") })
    }
}

/// Pre-tokenizer of the published tokenizers for the model's architecture.
fn cut_of_family(gguf: &Gguf) -> Result<Cut, LlmError> {
    Ok(match gguf.text("general.architecture")? {
        Some("qwen2") => Cut::Qwen2,
        Some("qwen35") => Cut::Qwen35,
        _ if tokens(gguf)?.contains(&LLAMA3_BEGIN) => Cut::Llama3,
        _ => Cut::Gpt2,
    })
}

fn tokens(gguf: &Gguf) -> Result<Vec<&str>, LlmError> {
    gguf.texts("tokenizer.ggml.tokens")?.ok_or_else(|| missing(gguf, "tokenizer.ggml.tokens"))
}

fn missing(gguf: &Gguf, key: &str) -> LlmError {
    gguf.damaged(GgufFault::MissingKey { key: key.to_owned() })
}

fn broken(gguf: &Gguf, why: String) -> LlmError {
    LlmError::DamagedTokenizer { path: gguf.path().to_owned(), fault: TokenizerFault::Broken(why) }
}

impl Tokenizer {
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, LlmError> {
        check_model(gguf)?;
        let Reading { cut, .. } = Reading::of(gguf)?;
        let tokens = tokens(gguf)?;
        let merges = gguf.texts("tokenizer.ggml.merges")?.ok_or_else(|| missing(gguf, "tokenizer.ggml.merges"))?;
        let kinds: Vec<Kind> = match gguf.numbers("tokenizer.ggml.token_type")? {
            Some(classes) => classes.into_iter().map(kind).collect(),
            None => tokens.iter().map(|token| looks(token)).collect(),
        };
        if kinds.len() != tokens.len() {
            return Err(broken(gguf, format!("{} tokens, but {} token types", tokens.len(), kinds.len())));
        }
        let frame = frame(gguf, cut, tokens.len())?;
        let merges = merges.into_iter().map(parts);
        let tokenizer = Tokenizer::new(Tables { cut, tokens, kinds }, merges).map_err(|why| broken(gguf, why))?;
        Ok(Tokenizer { frame, ..tokenizer })
    }

    /// Notes on what a file leaves open about its tokenizer, and how it is interpreted.
    pub fn notes(gguf: &Gguf) -> Vec<ModelNote> {
        // A tokenizer that cannot be read is refused later, when it is loaded.
        let Ok(Reading { cut, names_cut, has_classes }) = Reading::of(gguf) else { return Vec::new() };
        let path = || gguf.path().to_owned();
        let cut = (!names_cut).then(|| ModelNote::Cut { path: path(), cut: cut.name() });
        let markers = (!has_classes).then(|| ModelNote::Markers { path: path() });
        cut.into_iter().chain(markers).collect()
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

/// Kind of a token guessed from its text, if the file does not state its class.
fn looks(token: &str) -> Kind {
    let inner = token.strip_prefix("<|").and_then(|rest| rest.strip_suffix("|>"));
    match inner.is_some_and(|name| !name.is_empty() && !name.contains(char::is_whitespace)) {
        true => Kind::Control,
        false => Kind::Text,
    }
}

/// Reads the tokens that the file requires before and after every text. If it does not say, texts
/// of Llama 3 begin with one.
fn frame(gguf: &Gguf, cut: Cut, tokens: usize) -> Result<Frame, LlmError> {
    let token = |what: &str, usual: bool| -> Result<Option<u32>, LlmError> {
        let id = gguf.number(&format!("tokenizer.ggml.{what}_token_id"))?;
        let wanted = gguf.flag(&format!("tokenizer.ggml.add_{what}_token"))?;
        match (wanted.unwrap_or(usual && id.is_some()), id) {
            (false, _) => Ok(None),
            (true, Some(id)) if id < tokens as u64 => Ok(Some(id as u32)),
            (true, id) => {
                let id = id.map_or("missing".to_owned(), |id| id.to_string());
                let why = format!("add_{what}_token is set, but {what}_token_id is {id} (there are {tokens} tokens)");
                Err(broken(gguf, why))
            }
        }
    };
    Ok(Frame { begin: token("bos", cut == Cut::Llama3)?, end: token("eos", false)? })
}

fn check_model(gguf: &Gguf) -> Result<(), LlmError> {
    match gguf.text("tokenizer.ggml.model")? {
        Some("gpt2") => Ok(()),
        Some(other) => Err(gguf.unsupported(format!("the tokenizer {other:?}"), "gpt2 (byte-level BPE)")),
        None => Err(missing(gguf, "tokenizer.ggml.model")),
    }
}
