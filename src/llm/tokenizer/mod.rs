//! From text to tokens and back, as the model's own files say.
//!
//! The byte-level BPE is rebuilt from the tables of a GGUF (`tokenizer.ggml.*`) or of a Hugging Face `tokenizer.json`
//! and run by the `tokenizers` crate. Architecture invariant: only ordinary tokens are in its vocabulary, so no text
//! whatever can become a control token or a marker. The chat format asks for those by name ([`Tokenizer::control`]).

mod cut;
mod gguf;
mod json;
#[cfg(test)]
mod json_tests;
mod pieces;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use tokenizers::models::bpe::{Merges, Vocab};

use super::LlmError;
use cut::{ByteLevelBpe, Cut};
pub use pieces::Detokenizer;
use pieces::Pieces;

/// Markers that the models write into their answers. Files disagree on whether these are special; here they never are.
const MARKERS: [&str; 6] =
    ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"];

pub struct Tokenizer {
    bpe: ByteLevelBpe,
    /// Control tokens and markers.
    named: HashMap<String, u32>,
    kinds: Vec<Kind>,
    pieces: Pieces,
}

/// What can be wrong with a tokenizer, whatever file it comes in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerFault {
    #[error("the tokenizer is broken: {0}")]
    Broken(String),
    #[error("the tokenizer has {tokens} tokens, but the embedding {rows} rows")]
    TooMany { rows: usize, tokens: usize },
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A piece of text, in the byte alphabet.
    Text,
    /// Added to the vocabulary and meant to be read, as `<tool_call>`. Stands for its own name.
    Marker,
    /// For the model alone, as `<|im_end|>`. Stands for nothing.
    Control,
    /// A row of the embedding without a meaning.
    Unused,
}

/// The tables of a tokenizer, from whatever file. `kinds` is as long as `tokens`.
struct Tables<'a> {
    cut: Cut,
    tokens: Vec<&'a str>,
    kinds: Vec<Kind>,
    merges: Vec<(&'a str, &'a str)>,
}

impl Tokenizer {
    fn new(mut tables: Tables) -> Result<Self, String> {
        for (token, kind) in tables.tokens.iter().zip(&mut tables.kinds) {
            if MARKERS.contains(token) {
                *kind = Kind::Marker;
            }
        }
        let of_kinds = |kinds: &'static [Kind]| {
            let with_kind = tables.tokens.iter().zip(&tables.kinds).enumerate();
            with_kind.filter(|(_, (_, kind))| kinds.contains(kind)).map(|(id, (token, _))| ((*token).into(), id as u32))
        };
        let vocabulary: Vocab = of_kinds(&[Kind::Text]).collect();
        let merges = checked_merges(&vocabulary, &tables.merges)?;
        Ok(Tokenizer {
            named: of_kinds(&[Kind::Marker, Kind::Control]).collect(),
            pieces: Pieces::new(&tables.tokens, &tables.kinds),
            bpe: tables.cut.build(vocabulary, merges)?,
            kinds: tables.kinds,
        })
    }

    /// The ordinary tokens of `text`; never a control token or a marker.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, LlmError> {
        let encoding = self.bpe.encode_fast(text, false).map_err(|e| LlmError::Tokenize(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The control token or marker of that name.
    pub fn control(&self, name: &str) -> Option<u32> {
        self.named.get(name).copied()
    }

    /// Whether `token` is for the model alone: it is never shown, and an answer ends where it comes.
    pub fn is_control(&self, token: u32) -> bool {
        self.kind(token) == Kind::Control
    }

    /// The bytes a token stands for; a character may be spread over several tokens. A marker stands for its name,
    /// a control token for nothing.
    pub fn bytes(&self, token: u32) -> &[u8] {
        self.pieces.get(token)
    }

    /// Tokens in the table, unused ones included.
    pub fn vocabulary(&self) -> usize {
        self.kinds.len()
    }

    /// One more than the highest id with a meaning. The embedding may have more rows; those are never to be sampled.
    pub fn used(&self) -> usize {
        self.kinds.iter().rposition(|&kind| kind != Kind::Unused).map_or(0, |last| last + 1)
    }

    fn kind(&self, token: u32) -> Kind {
        self.kinds.get(token as usize).copied().unwrap_or(Kind::Unused)
    }
}

/// Merges of a and b, where a, b and ab are ordinary tokens. The crate's own builder takes this for granted.
fn checked_merges(vocabulary: &Vocab, merges: &[(&str, &str)]) -> Result<Merges, String> {
    let mut joined = String::new();
    let mut checked = Merges::with_capacity(merges.len());
    for &(left, right) in merges {
        joined.clear();
        joined.extend([left, right]);
        if ![left, right, &joined].iter().all(|part| vocabulary.contains_key(*part)) {
            return Err(format!("merge {left:?} + {right:?} is not of ordinary tokens"));
        }
        checked.push((left.to_owned(), right.to_owned()));
    }
    Ok(checked)
}
