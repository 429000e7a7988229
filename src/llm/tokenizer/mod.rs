//! From text to tokens and back, as the model's own files say.
//!
//! The byte-level BPE is rebuilt from the tables of a GGUF (`tokenizer.ggml.*`) or of a Hugging
//! Face `tokenizer.json` as flat tables of our own; text is composed and cut by the `tokenizers`
//! crate. Architecture invariant: only ordinary tokens are in the tables, so no text whatever can
//! become a control token or a marker. The chat format asks for those by name
//! ([`Tokenizer::control`]).

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

/// What a tokenizer holds per token: 8 or 12 bytes of a merge, 8 of places in the tables, its kind
/// and its text, with Llama 3 its place in the order of words. Measured as growth of the resident
/// memory: 31 bytes with 248,320 tokens, 36 with 151,936 and 58 with 49,152, of which 1.3 MiB are
/// the compiled pattern and code, whatever the vocabulary.
const HELD_PER_TOKEN: u64 = 36;
/// What is there at most while it is built: the file's text, its entries, and the ids by their
/// text. 272 bytes with a `tokenizer.json` of 248,077 tokens, its merges as pairs; 247 with merges
/// in one; 181 with a GGUF.
const BUILDING_PER_TOKEN: u64 = 300;

pub struct Tokenizer {
    words: Words,
    bpe: Bpe,
    /// Control tokens and markers.
    named: HashMap<String, u32>,
    kinds: Vec<Kind>,
    pieces: Pieces,
    frame: Frame,
}

/// The tokens that stand before and behind every text, where the model's file asks for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Frame {
    begin: Option<u32>,
    end: Option<u32>,
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
}

impl Tokenizer {
    /// `merges` are pairs of texts in the order of their ranks.
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

    /// The ordinary tokens of `text`; never a control token or a marker.
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

    /// The token before every text, a prompt among them; `None` where the model wants none.
    pub fn begin(&self) -> Option<u32> {
        self.frame.begin
    }

    /// A whole text: its ordinary tokens between those that the model wants before and behind each.
    pub fn encode_whole(&self, text: &str) -> Result<Vec<u32>, LlmError> {
        let Frame { begin, end } = self.frame;
        Ok(begin.into_iter().chain(self.encode(text)?).chain(end).collect())
    }

    /// The control token or marker of that name.
    pub fn control(&self, name: &str) -> Option<u32> {
        self.named.get(name).copied()
    }

    /// Whether `token` is for the model alone: it is never shown, and an answer ends where it
    /// comes.
    pub fn is_control(&self, token: u32) -> bool {
        self.kind(token) == Kind::Control
    }

    /// The bytes a token stands for; a character may be spread over several tokens. A marker stands
    /// for its name, a control token for nothing.
    pub fn bytes(&self, token: u32) -> &[u8] {
        self.pieces.get(token)
    }

    /// Bytes that a tokenizer of so many tokens holds.
    pub(super) fn held_bytes(tokens: usize) -> u64 {
        tokens as u64 * HELD_PER_TOKEN
    }

    /// Bytes that it takes to read it from a file, those included that it then holds.
    pub(super) fn building_bytes(tokens: usize) -> u64 {
        tokens as u64 * BUILDING_PER_TOKEN
    }

    /// Tokens in the table, unused ones included.
    pub fn vocabulary(&self) -> usize {
        self.kinds.len()
    }

    /// One more than the highest id with a meaning. The embedding may have more rows; those are
    /// never to be sampled.
    pub fn used(&self) -> usize {
        self.kinds.iter().rposition(|&kind| kind != Kind::Unused).map_or(0, |last| last + 1)
    }

    fn kind(&self, token: u32) -> Kind {
        self.kinds.get(token as usize).copied().unwrap_or(Kind::Unused)
    }
}

/// The parts of a merge that is written as `a b`.
fn parts(merge: &str) -> Result<(&str, &str), String> {
    merge.split_once(' ').ok_or_else(|| format!("merge {merge:?} is not of two parts"))
}
