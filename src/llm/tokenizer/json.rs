//! Tokenizer tables in a Hugging Face `tokenizer.json`.
//!
//! Two generations are read: merges as `"a b"`, as the models are published, and as `["a", "b"]`,
//! as newer libraries write them. Anything beyond a byte-level BPE with a known pre-tokenizer is
//! refused by name.

use std::borrow::Cow;
use std::fmt::Formatter;
use std::fs::File;
use std::io::{Error, Read};
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::super::LlmError;
use super::{Cut, Kind, Tables, Tokenizer, TokenizerFault, parts};
use crate::sniff;

/// Size limit of a file. Those of Qwen3.5 have 12.8 MB, and 20.0 MB with merges as pairs.
pub const MAX_FILE: u64 = 64 << 20;
/// First id that is refused. Present vocabularies end at 262,144.
const MAX_TOKENS: usize = 1 << 20;

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow, default)]
    added_tokens: Vec<Added<'a>>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(borrow)]
    model: Model<'a>,
}

#[derive(Deserialize)]
struct Added<'a> {
    id: u32,
    #[serde(borrow)]
    content: Cow<'a, str>,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(rename = "type", default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "entries")]
    vocab: Vec<(Text<'a>, u32)>,
    #[serde(borrow)]
    merges: Vec<Merge<'a>>,
    dropout: Option<f64>,
    continuing_subword_prefix: Option<Cow<'a, str>>,
    end_of_word_suffix: Option<Cow<'a, str>>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
}

/// A string that borrows from the file's text unless it needs unescaping.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A merge, deserialised by hand like [`entries`]: otherwise each of hundreds of thousands would be
/// copied and checked twice.
enum Merge<'a> {
    Joined(Cow<'a, str>),
    Pair([Text<'a>; 2]),
}

impl<'de: 'a, 'a> Deserialize<'de> for Merge<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Merge<'de>;
            fn expecting(&self, f: &mut Formatter) -> std::fmt::Result {
                f.write_str("a merge: \"a b\" or [\"a\", \"b\"]")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Merge::Joined(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Merge::Joined(Cow::Owned(text.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
                match (parts.next_element()?, parts.next_element()?, parts.next_element::<Text>()?) {
                    (Some(left), Some(right), None) => Ok(Merge::Pair([left, right])),
                    _ => Err(A::Error::custom("a merge is not of two parts")),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Deserialises the entries of an object in the order of the file.
fn entries<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(Text<'a>, u32)>, D::Error> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<(Text<'de>, u32)>;
        fn expecting(&self, f: &mut Formatter) -> std::fmt::Result {
            f.write_str("a vocabulary: tokens and their ids")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = map.next_entry()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }
    deserializer.deserialize_map(Entries)
}

impl Tokenizer {
    /// Reads a `tokenizer.json` of at most [`MAX_FILE`] bytes.
    pub fn from_json(path: &Path) -> Result<Self, LlmError> {
        let text = read(path).map_err(|why| LlmError::Unreadable { path: path.to_owned(), why })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        if let Some(what) = sniff::known(text.as_bytes()) {
            return Err(LlmError::OtherFile { path: path.to_owned(), what });
        }
        let broken =
            |why: String| LlmError::DamagedTokenizer { path: path.to_owned(), fault: TokenizerFault::Broken(why) };
        let document: Document = serde_json::from_str(text).map_err(|e| broken(e.to_string()))?;
        let cut = supported(&document).map_err(|(what, supported)| LlmError::Unsupported {
            path: path.to_owned(),
            what,
            supported,
        })?;
        let merges = document.model.merges.iter().map(Merge::parts);
        tables(&document, cut).and_then(|tables| Tokenizer::new(tables, merges)).map_err(broken)
    }
}

/// Reads the whole file as text. Its size is checked first, and again while reading.
fn read(path: &Path) -> Result<String, Error> {
    let file = std::fs::metadata(path)?;
    let too_large = |size: u64| Error::other(format!("it has {size} bytes, the limit for a tokenizer is {MAX_FILE}"));
    if !file.is_file() {
        // Opening a pipe would block until there is a writer.
        return Err(Error::other("it is not a regular file"));
    }
    if file.len() > MAX_FILE {
        return Err(too_large(file.len()));
    }
    let mut text = String::with_capacity(file.len() as usize + 1);
    match File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)? as u64 {
        size if size > MAX_FILE => Err(too_large(size)),
        _ => Ok(text),
    }
}

/// Returns the pre-tokenizer if this engine implements it exactly; otherwise the requirement of the
/// file and the supported values.
fn supported(document: &Document) -> Result<Cut, (String, String)> {
    let model = &document.model;
    let set = |text: &Option<Cow<str>>| text.as_ref().is_some_and(|text| !text.is_empty());
    let strange = [
        (model.kind.as_ref().is_some_and(|kind| kind != "BPE"), "a tokenizer model other than BPE"),
        (model.dropout.is_some_and(|share| share > 0.0), "a tokenizer with dropout"),
        (set(&model.continuing_subword_prefix), "a tokenizer with a subword prefix"),
        (set(&model.end_of_word_suffix), "a tokenizer with a word suffix"),
        (model.byte_fallback, "a tokenizer with byte fallback"),
    ];
    if let Some((_, what)) = strange.iter().find(|(asked, _)| *asked) {
        return Err(((*what).to_owned(), "byte-level BPE".to_owned()));
    }
    let cut = Cut::of_settings(&document.normalizer, &document.pre_tokenizer);
    let cut = cut.filter(|&cut| model.ignore_merges == (cut == Cut::Llama3));
    cut.ok_or_else(|| ("its combination of normalizer and pre-tokenizer".to_owned(), Cut::names()))
}

fn tables<'a>(document: &'a Document, cut: Cut) -> Result<Tables<'a>, String> {
    let (vocab, added) = (&document.model.vocab, &document.added_tokens);
    let ids = vocab.iter().map(|&(_, id)| id).chain(added.iter().map(|token| token.id));
    let length = ids.max().map_or(0, |highest| highest as usize + 1);
    if length > MAX_TOKENS {
        return Err(format!("the highest token id is {}, the limit is {}", length - 1, MAX_TOKENS - 1));
    }
    let (mut tokens, mut kinds) = (vec![""; length], vec![Kind::Unused; length]);
    for (Text(token), id) in vocab {
        let (place, kind) = (&mut tokens[*id as usize], &mut kinds[*id as usize]);
        if *kind != Kind::Unused {
            return Err(format!("{token:?} and {place:?} have the same id {id}"));
        }
        (*place, *kind) = (token, Kind::Text);
    }
    for Added { id, content, special } in added {
        let (token, kind) = (&mut tokens[*id as usize], &mut kinds[*id as usize]);
        // Some files list their added tokens in the vocabulary as well.
        if *kind != Kind::Unused && *token != content {
            return Err(format!("{content:?} and {token:?} have the same id {id}"));
        }
        (*token, *kind) = (content, if *special { Kind::Control } else { Kind::Marker });
    }
    Ok(Tables { cut, tokens, kinds })
}

impl Merge<'_> {
    fn parts(&self) -> Result<(&str, &str), String> {
        match self {
            Merge::Joined(text) => parts(text),
            Merge::Pair([Text(left), Text(right)]) => Ok((left, right)),
        }
    }
}
