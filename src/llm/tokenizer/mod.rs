//! Conversion of text to tokens and back, according to the model's own files.
//!
//! The byte-level BPE uses flat tables built from a GGUF (`tokenizer.ggml.*`) or a Hugging Face
//! `tokenizer.json`; the `tokenizers` crate normalises and splits text. Architecture invariant:
//! only ordinary tokens are in the tables, so no text can become a control token or a marker. The
//! chat format requests those by name ([`Tokenizer::control`]).

mod bpe;
#[cfg(test)]
mod bpe_tests;
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

use super::LlmError;
use bpe::{Bpe, BpeScratch, BpeVocabulary, MAX_WORD};
use cut::{Cut, Words};
pub use pieces::Detokenizer;
use pieces::Pieces;

/// Markers that the models write into their answers. Files disagree on whether these are special;
/// here they never are.
const MARKERS: [&str; 6] =
    ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"];

/// Bytes that a tokenizer holds per token: 8 or 12 of a merge, 8 of places in the tables, its kind
/// and its text, and with Llama 3 its place in the order of words. Measured as growth of the
/// resident memory: 31 bytes with 248,320 tokens, 36 with 151,936 and 58 with 49,152, of which 1.3
/// MiB are the compiled pattern and code for any vocabulary.
const HELD_PER_TOKEN: u64 = 36;
/// Largest number of bytes per token during construction: the file's text, its entries, and the ids
/// by their text. 272 bytes with a `tokenizer.json` of 248,077 tokens and merges as pairs; 247 with
/// merges as one string; 181 with a GGUF.
const BUILDING_PER_TOKEN: u64 = 300;

pub struct Tokenizer {
    words: Words,
    bpe: Bpe,
    /// Control tokens and markers by name.
    named: HashMap<String, u32>,
    kinds: Vec<Kind>,
    pieces: Pieces,
    frame: Frame,
}

/// Tokens before and after every text, if the model's file requires them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Frame {
    begin: Option<u32>,
    end: Option<u32>,
}

/// Faults of a tokenizer in any file format.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerFault {
    #[error("the tokenizer is broken: {0}")]
    Broken(String),
    #[error("the tokenizer has {tokens} tokens, but the embedding {rows} rows")]
    TooMany { rows: usize, tokens: usize },
}

/// Kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A piece of text, in the byte alphabet.
    Text,
    /// Marker that was added to the vocabulary and is readable, such as `<tool_call>`. Its text is
    /// its name.
    Marker,
    /// Control token for the model alone, such as `<|im_end|>`. It has no text.
    Control,
    /// Row of the embedding without a token.
    Unused,
}

/// Tables of a tokenizer from any file. `kinds` is as long as `tokens`.
struct Tables<'a> {
    cut: Cut,
    tokens: Vec<&'a str>,
    kinds: Vec<Kind>,
}

impl Tokenizer {
    /// Builds a tokenizer. `merges` are pairs of texts in the order of their ranks.
    fn new<'a>(
        mut tables: Tables,
        merges: impl Iterator<Item = Result<(&'a str, &'a str), String>>,
    ) -> Result<Self, String> {
        for (token, kind) in tables.tokens.iter().zip(&mut tables.kinds) {
            if MARKERS.contains(token) {
                *kind = Kind::Marker;
            }
        }
        let of_kinds = |kinds: &'static [Kind]| {
            let with_kind = (0u32..).zip(tables.tokens.iter().zip(&tables.kinds));
            with_kind.filter(|(_, (_, kind))| kinds.contains(kind)).map(|(id, (token, _))| (id, *token))
        };
        let pieces = Pieces::new(&tables.tokens, &tables.kinds);
        let vocabulary = BpeVocabulary::new(of_kinds(&[Kind::Text]));
        Ok(Tokenizer {
            named: of_kinds(&[Kind::Marker, Kind::Control]).map(|(id, name)| (name.to_owned(), id)).collect(),
            words: tables.cut.words()?,
            bpe: Bpe::new(&vocabulary, merges, tables.cut.looks_words_up().then_some(&pieces))?,
            pieces,
            kinds: tables.kinds,
            frame: Frame::default(),
        })
    }

    /// Tokenizes `text` into ordinary tokens, never a control token or a marker.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, LlmError> {
        let text = self.words.composed(text);
        if text.len() > MAX_WORD {
            return Err(LlmError::Tokenize(format!("it has {} bytes, the limit is {MAX_WORD}", text.len())));
        }
        let (mut room, mut tokens) = (BpeScratch::default(), Vec::new());
        for word in self.words.of(&text) {
            self.bpe.encode(word.as_bytes(), &self.pieces, &mut room, &mut tokens);
        }
        Ok(tokens)
    }

    /// Token at the beginning of every text, such as a prompt; `None` if the model requires none.
    pub fn begin(&self) -> Option<u32> {
        self.frame.begin
    }

    /// Tokenizes a whole text: ordinary tokens between those that the model requires before and
    /// after.
    pub fn encode_whole(&self, text: &str) -> Result<Vec<u32>, LlmError> {
        let Frame { begin, end } = self.frame;
        Ok(begin.into_iter().chain(self.encode(text)?).chain(end).collect())
    }

    /// Returns the control token or marker of that name.
    pub fn control(&self, name: &str) -> Option<u32> {
        self.named.get(name).copied()
    }

    /// Whether `token` is a control token: it is never shown, and ends an answer.
    pub fn is_control(&self, token: u32) -> bool {
        self.kind(token) == Kind::Control
    }

    /// Bytes of a token; a character may be spread over several tokens. A marker has the bytes of
    /// its name, a control token has none.
    pub fn bytes(&self, token: u32) -> &[u8] {
        self.pieces.get(token)
    }

    /// Bytes that a tokenizer with this many tokens holds.
    pub(super) fn held_bytes(tokens: usize) -> u64 {
        tokens as u64 * HELD_PER_TOKEN
    }

    /// Bytes needed to read a tokenizer from a file, including those it then holds.
    pub(super) fn building_bytes(tokens: usize) -> u64 {
        tokens as u64 * BUILDING_PER_TOKEN
    }

    /// Number of tokens in the table, unused ones included.
    pub fn vocabulary(&self) -> usize {
        self.kinds.len()
    }

    /// One more than the highest used id. The embedding may have more rows; those must never be
    /// sampled.
    pub fn used(&self) -> usize {
        self.kinds.iter().rposition(|&kind| kind != Kind::Unused).map_or(0, |last| last + 1)
    }

    fn kind(&self, token: u32) -> Kind {
        self.kinds.get(token as usize).copied().unwrap_or(Kind::Unused)
    }
}

/// Splits a merge that is written as `a b`.
fn parts(merge: &str) -> Result<(&str, &str), String> {
    merge.split_once(' ').ok_or_else(|| format!("merge {merge:?} is not of two parts"))
}
