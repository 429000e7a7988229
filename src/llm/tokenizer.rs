//! From text to tokens and back, as the model file itself says.
//!
//! The byte-level BPE is rebuilt from the GGUF's own tables (`tokenizer.ggml.*`) and run by the `tokenizers` crate.
//! Architecture invariant: only ordinary tokens are in its vocabulary, so no text whatever can become a control token.
//! The chat format asks for those by name ([`Tokenizer::control`]).

use std::collections::HashMap;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{SplitDelimiterBehavior, TokenizerImpl};

use super::LlmError;
use super::gguf::{Gguf, GgufFault};

/// The token classes of GGUF that matter here (`tokenizer.ggml.token_type`).
const NORMAL: i64 = 1;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

type ByteLevelBpe = TokenizerImpl<BPE, NFC, Sequence, ByteLevel, ByteLevel>;

pub struct Tokenizer {
    bpe: ByteLevelBpe,
    control: HashMap<String, u32>,
    is_control: Vec<bool>,
    pieces: Pieces,
}

/// The bytes that each token stands for, one behind the other. Control and unused tokens stand for none.
struct Pieces {
    bytes: Vec<u8>,
    /// Token `id` has `bytes[ends[id - 1]..ends[id]]`.
    ends: Vec<u32>,
}

impl Tokenizer {
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, LlmError> {
        let broken = |why: String| gguf.damaged(GgufFault::Tokenizer(why));
        let missing = |key: &str| gguf.damaged(GgufFault::MissingKey { key: key.to_owned() });
        check_model(gguf)?;
        let cut = Cut::from_gguf(gguf)?;
        let tokens = gguf.texts("tokenizer.ggml.tokens")?.ok_or_else(|| missing("tokenizer.ggml.tokens"))?;
        let merges = gguf.texts("tokenizer.ggml.merges")?.ok_or_else(|| missing("tokenizer.ggml.merges"))?;
        let classes = gguf.numbers("tokenizer.ggml.token_type")?.unwrap_or_else(|| vec![NORMAL; tokens.len()]);
        if classes.len() != tokens.len() {
            return Err(broken(format!("{} tokens, but {} token types", tokens.len(), classes.len())));
        }
        let of_class = |class: i64| {
            let classed = tokens.iter().zip(&classes).enumerate();
            classed.filter(move |&(_, (_, &c))| c == class).map(|(id, (token, _))| ((*token).to_owned(), id as u32))
        };
        Ok(Tokenizer {
            bpe: cut.build(of_class(NORMAL).collect(), &merges).map_err(broken)?,
            control: of_class(CONTROL).collect(),
            is_control: classes.iter().map(|&class| class == CONTROL).collect(),
            pieces: Pieces::new(&tokens, &classes),
        })
    }

    /// The ordinary tokens of `text`; never a control token.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, LlmError> {
        let encoding = self.bpe.encode_fast(text, false).map_err(|e| LlmError::Tokenize(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The control token of that name.
    pub fn control(&self, name: &str) -> Option<u32> {
        self.control.get(name).copied()
    }

    pub fn is_control(&self, token: u32) -> bool {
        self.is_control.get(token as usize).copied().unwrap_or(false)
    }

    /// The bytes a token stands for; a character may be spread over several tokens.
    pub fn bytes(&self, token: u32) -> &[u8] {
        self.pieces.get(token)
    }

    pub fn vocabulary(&self) -> usize {
        self.is_control.len()
    }
}

fn check_model(gguf: &Gguf) -> Result<(), LlmError> {
    match gguf.text("tokenizer.ggml.model")? {
        Some("gpt2") => Ok(()),
        Some(other) => Err(gguf.unsupported(format!("the tokenizer {other:?}"), "gpt2 (byte-level BPE)")),
        None => Err(gguf.damaged(GgufFault::MissingKey { key: "tokenizer.ggml.model".to_owned() })),
    }
}

/// How text is cut into words before the merges apply: `tokenizer.ggml.pre`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Gpt2,
    Qwen2,
    SmolLm,
    Llama3,
}

const CUTS: [(&str, Cut); 5] = [
    ("gpt-2", Cut::Gpt2),
    ("default", Cut::Gpt2),
    ("qwen2", Cut::Qwen2),
    ("smollm", Cut::SmolLm),
    ("llama-bpe", Cut::Llama3),
];

impl Cut {
    fn from_gguf(gguf: &Gguf) -> Result<Self, LlmError> {
        let name = gguf.text("tokenizer.ggml.pre")?.unwrap_or("default");
        let known = CUTS.iter().find(|(cut, _)| *cut == name);
        known.map(|&(_, cut)| cut).ok_or_else(|| {
            let names: Vec<_> = CUTS.iter().map(|(cut, _)| *cut).collect();
            gguf.unsupported(format!("the pre-tokenizer {name:?}"), names.join(", "))
        })
    }

    /// The published `tokenizer.json` of each family, as settings of the `tokenizers` crate.
    fn build(self, vocabulary: Vocab, merges: &[&str]) -> Result<ByteLevelBpe, String> {
        let merges = checked_merges(&vocabulary, merges)?;
        let bpe = BPE::builder()
            .vocab_and_merges(vocabulary, merges)
            // Questions are short; a cache per thread would only hold memory.
            .cache_capacity(0)
            // Llama 3 looks whole words up before it merges.
            .ignore_merges(self == Cut::Llama3);
        let text = |e: tokenizers::Error| e.to_string();
        let mut tokenizer = ByteLevelBpe::new(bpe.build().map_err(text)?);
        tokenizer.with_pre_tokenizer(Some(Sequence::new(self.steps().map_err(text)?)));
        if self == Cut::Qwen2 {
            tokenizer.with_normalizer(Some(NFC)).map_err(text)?;
        }
        Ok(tokenizer)
    }

    fn steps(self) -> tokenizers::Result<Vec<PreTokenizerWrapper>> {
        let bytes = |cut_words| PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, cut_words));
        Ok(match self {
            Cut::Gpt2 => vec![bytes(true)],
            Cut::SmolLm => vec![PreTokenizerWrapper::Digits(Digits::new(true)), bytes(true)],
            Cut::Qwen2 => vec![words(r"\p{N}")?, bytes(false)],
            Cut::Llama3 => vec![words(r"\p{N}{1,3}")?, bytes(false)],
        })
    }
}

/// The words of Qwen 2 and Llama 3, which differ only in how many digits go together.
fn words(number: &str) -> tokenizers::Result<PreTokenizerWrapper> {
    let pattern = format!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{number}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    );
    Split::new(SplitPattern::Regex(pattern), SplitDelimiterBehavior::Isolated, false).map(PreTokenizerWrapper::Split)
}

/// "a b" -> (a, b), where a, b and ab are ordinary tokens. The crate's own builder takes this for granted.
fn checked_merges(vocabulary: &Vocab, merges: &[&str]) -> Result<Vec<(String, String)>, String> {
    let pair = |merge: &&str| {
        let (left, right) = merge.split_once(' ')?;
        let known = [left, right, &format!("{left}{right}")].iter().all(|part| vocabulary.contains_key(*part));
        known.then(|| (left.to_owned(), right.to_owned()))
    };
    merges.iter().map(|merge| pair(merge).ok_or_else(|| format!("merge {merge:?} is not of ordinary tokens"))).collect()
}

impl Pieces {
    fn new(tokens: &[&str], classes: &[i64]) -> Self {
        let byte_of = byte_alphabet();
        let mut pieces = Pieces { bytes: Vec::new(), ends: Vec::with_capacity(tokens.len()) };
        for (token, &class) in tokens.iter().zip(classes) {
            match class {
                NORMAL => token.chars().for_each(|c| push_char(&mut pieces.bytes, &byte_of, c)),
                USER_DEFINED => pieces.bytes.extend(token.as_bytes()),
                _ => {}
            }
            // The strings come from a header that holds at most MAX_ARRAY · MAX_STRING bytes, in practice a few MB.
            pieces.ends.push(u32::try_from(pieces.bytes.len()).unwrap_or(u32::MAX));
        }
        pieces
    }

    fn get(&self, token: u32) -> &[u8] {
        let end = |id: usize| self.ends.get(id).map(|&end| end as usize);
        let Some(to) = end(token as usize) else { return &[] };
        let from = (token as usize).checked_sub(1).and_then(end).unwrap_or(0);
        self.bytes.get(from..to).unwrap_or(&[])
    }
}

fn push_char(bytes: &mut Vec<u8>, byte_of: &HashMap<char, u8>, c: char) {
    match byte_of.get(&c) {
        Some(&byte) => bytes.push(byte),
        None => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// GPT-2's alphabet: a printable character for every byte. The printable ones of Latin-1 stand for themselves, the
/// others are counted up from U+0100 (`bytes_to_unicode` of the GPT-2 release).
fn byte_alphabet() -> HashMap<char, u8> {
    let printable = |b: &u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let themselves = (0..=255u8).filter(printable).map(|b| (char::from(b), b));
    let others = (0..=255u8).filter(|b| !printable(b)).zip('\u{100}'..).map(|(b, c)| (c, b));
    themselves.chain(others).collect()
}

/// Joins the bytes of tokens to text and holds back what is not yet a whole character.
#[derive(Default)]
pub struct Detokenizer {
    held: Vec<u8>,
}

impl Detokenizer {
    /// Appends to `text` what `bytes` completes. Bytes that can never be UTF-8 become U+FFFD.
    pub fn push(&mut self, bytes: &[u8], text: &mut String) {
        self.held.extend_from_slice(bytes);
        let mut done = 0;
        for chunk in self.held.utf8_chunks() {
            text.push_str(chunk.valid());
            done += chunk.valid().len();
            let rest = self.held.len() - done;
            if chunk.invalid().is_empty() || (chunk.invalid().len() == rest && is_incomplete(chunk.invalid())) {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            done += chunk.invalid().len();
        }
        self.held.drain(..done);
    }

    /// Ends the text: what is still held will not be completed.
    pub fn finish(&mut self, text: &mut String) {
        if !self.held.is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            self.held.clear();
        }
    }
}

/// Whether more bytes can make a character of these.
fn is_incomplete(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::super::gguf::testing::Builder;
    use super::super::testing::{self, CONTROLS};
    use super::*;

    #[test]
    fn the_byte_alphabet_is_that_of_gpt2() {
        let byte_of = byte_alphabet();
        assert_eq!(byte_of.len(), 256);
        for (c, byte) in [('!', b'!'), ('Ġ', b' '), ('Ċ', b'\n'), ('ĉ', b'\t'), ('Ã', 0xc3), ('Ń', 0xad), ('ÿ', 0xff)]
        {
            assert_eq!(byte_of[&c], byte, "{c}");
        }
    }

    #[test]
    fn text_goes_to_tokens_and_back() {
        let tokenizer = testing::tokenizer("qwen2");
        for text in ["", "the theme", "naïve 日本語 🙂\r\n\t x", "\u{0}\u{ad}"] {
            let tokens = tokenizer.encode(text).unwrap();
            let bytes: Vec<u8> = tokens.iter().flat_map(|&t| tokenizer.bytes(t)).copied().collect();
            assert_eq!(String::from_utf8(bytes).unwrap(), text);
        }
        assert_eq!(tokenizer.encode("the").unwrap().len(), 1, "merges apply");
    }

    #[test]
    fn qwen_composes_accents_first() {
        let tokenizer = testing::tokenizer("qwen2");
        assert_eq!(tokenizer.encode("cafe\u{301}").unwrap(), tokenizer.encode("café").unwrap());
    }

    #[test]
    fn an_unknown_cut_or_model_is_refused_by_name() {
        for (key, value) in [("tokenizer.ggml.pre", "qwen9"), ("tokenizer.ggml.model", "unigram9")] {
            let pairs = [("tokenizer.ggml.pre", "qwen2"), ("tokenizer.ggml.model", "gpt2")];
            let file =
                pairs.iter().fold(Builder::default(), |file, &(k, v)| file.text(k, if k == key { value } else { v }));
            let message = Tokenizer::from_gguf(&testing::open(&file)).err().unwrap().to_string();
            assert!(message.contains(value) && message.contains("supported"), "{message}");
        }
    }

    #[test]
    fn broken_tables_are_refused() {
        let table = |tokens: &[&str], merges: &[&str], types: &[i32]| {
            let file = Builder::default().text("tokenizer.ggml.model", "gpt2");
            let file = file.texts("tokenizer.ggml.tokens", tokens).texts("tokenizer.ggml.merges", merges);
            file.i32s("tokenizer.ggml.token_type", types)
        };
        for (case, file) in [
            ("fewer types than tokens", table(&["a", "b"], &[], &[1])),
            ("a merge longer than every token", table(&["aa", "bb"], &["aa bb"], &[1, 1])),
            ("a merge of one part", table(&["a"], &["a"], &[1])),
            ("a merge that makes a control token", table(&["a", "b", "ab"], &["a b"], &[1, 1, 3])),
            ("no tables", Builder::default().text("tokenizer.ggml.model", "gpt2")),
        ] {
            assert!(matches!(Tokenizer::from_gguf(&testing::open(&file)), Err(LlmError::Damaged { .. })), "{case}");
        }
    }

    #[test]
    fn characters_are_held_back_until_whole() {
        let cases: [(&[&[u8]], &[&str]); 5] = [
            (&[b"a", b"b"], &["a", "b", ""]),
            (&[&[0xf0, 0x9f], &[0x99], &[0x82, b'!']], &["", "", "🙂!", ""]),
            (&[&[0xc3, 0xa9, 0xc3], &[0xa9]], &["é", "é", ""]),
            (&[&[0xff, b'x'], &[0xc3, b'y']], &["\u{fffd}x", "\u{fffd}y", ""]),
            (&[&[0xe6, 0x97]], &["", "\u{fffd}"]),
        ];
        for (pushes, wanted) in cases {
            let mut detokenizer = Detokenizer::default();
            let mut pieces = Vec::new();
            for bytes in pushes {
                let mut text = String::new();
                detokenizer.push(bytes, &mut text);
                pieces.push(text);
            }
            let mut rest = String::new();
            detokenizer.finish(&mut rest);
            pieces.push(rest);
            assert_eq!(pieces, wanted);
        }
    }

    proptest::proptest! {
        /// Control tokens are the chat format's alone, whatever a user writes.
        #[test]
        fn no_text_becomes_a_control_token(parts in proptest::collection::vec(spoken_or_hostile(), 0..12)) {
            let text = parts.concat();
            for cut in ["qwen2", "smollm", "gpt-2", "llama-bpe"] {
                let tokenizer = testing::tokenizer(cut);
                for token in tokenizer.encode(&text).unwrap() {
                    proptest::prop_assert!(!tokenizer.is_control(token), "{text:?} gave {token}");
                }
            }
        }
    }

    fn spoken_or_hostile() -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::prelude::*;
        prop_oneof![
            any::<String>(),
            proptest::sample::select(CONTROLS.to_vec()).prop_map(str::to_owned),
            "[<|>imstaredn_ ]{0,14}"
        ]
    }
}
