//! How text is cut into words before the merges apply.
//!
//! Each cut is the published `tokenizer.json` of its family, as settings of the `tokenizers` crate. A GGUF names it
//! (`tokenizer.ggml.pre`), a Hugging Face file spells it out as normalizer and pre-tokenizer.

use serde_json::Value;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{SplitDelimiterBehavior, TokenizerImpl};

pub(super) type ByteLevelBpe = TokenizerImpl<BPE, NFC, Sequence, ByteLevel, ByteLevel>;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cut {
    Gpt2,
    Qwen2,
    Qwen35,
    SmolLm,
    Llama3,
}

const NAMES: [(&str, Cut); 6] = [
    ("gpt-2", Cut::Gpt2),
    ("default", Cut::Gpt2),
    ("qwen2", Cut::Qwen2),
    ("qwen35", Cut::Qwen35),
    ("smollm", Cut::SmolLm),
    ("llama-bpe", Cut::Llama3),
];

impl Cut {
    /// The cut that GGUF calls `name`.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|&(_, cut)| cut)
    }

    pub fn names() -> String {
        NAMES.map(|(name, _)| name).join(", ")
    }

    /// The cut whose published settings these are.
    pub fn of_settings(normalizer: &Value, pre_tokenizer: &Value) -> Option<Self> {
        let composes = match normalizer {
            Value::Null => false,
            other => other["type"] == "NFC",
        };
        let cut = match steps_of(pre_tokenizer).as_slice() {
            [Step::Bytes { cut_words: true }] => Cut::Gpt2,
            [Step::Digits, Step::Bytes { cut_words: true }] => Cut::SmolLm,
            [Step::Split(pattern), Step::Bytes { cut_words: false }] => {
                *[Cut::Qwen2, Cut::Qwen35, Cut::Llama3].iter().find(|cut| cut.pattern().as_ref() == Some(pattern))?
            }
            _ => return None,
        };
        (composes == cut.composes() && (composes || normalizer.is_null())).then_some(cut)
    }

    pub fn build(self, vocabulary: Vocab, merges: Merges) -> Result<ByteLevelBpe, String> {
        let bpe = BPE::builder()
            .vocab_and_merges(vocabulary, merges)
            // Questions are short; a cache per thread would only hold memory.
            .cache_capacity(0)
            // Llama 3 looks whole words up before it merges.
            .ignore_merges(self == Cut::Llama3);
        let text = |e: tokenizers::Error| e.to_string();
        let mut tokenizer = ByteLevelBpe::new(bpe.build().map_err(text)?);
        tokenizer.with_pre_tokenizer(Some(Sequence::new(self.steps().map_err(text)?)));
        if self.composes() {
            tokenizer.with_normalizer(Some(NFC)).map_err(text)?;
        }
        Ok(tokenizer)
    }

    /// Whether accents are joined to their letters first (NFC).
    fn composes(self) -> bool {
        matches!(self, Cut::Qwen2 | Cut::Qwen35)
    }

    fn steps(self) -> tokenizers::Result<Vec<PreTokenizerWrapper>> {
        let bytes = |cut_words| PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, cut_words));
        let mut steps = Vec::with_capacity(2);
        if self == Cut::SmolLm {
            steps.push(PreTokenizerWrapper::Digits(Digits::new(true)));
        }
        let pattern = self.pattern();
        let cut_words = pattern.is_none();
        if let Some(pattern) = pattern {
            let split = Split::new(SplitPattern::Regex(pattern), SplitDelimiterBehavior::Isolated, false)?;
            steps.push(PreTokenizerWrapper::Split(split));
        }
        steps.push(bytes(cut_words));
        Ok(steps)
    }

    /// The pattern of a word. The families differ in how many digits go together, and in whether marks (the vowel signs
    /// of Hindi and Thai, accents that stand alone) belong to the letters; GPT-2's own is built into the crate.
    fn pattern(self) -> Option<String> {
        let (letter, not_punctuation, number) = match self {
            Cut::Gpt2 | Cut::SmolLm => return None,
            Cut::Qwen2 => (r"\p{L}", r"\p{L}\p{N}", r"\p{N}"),
            Cut::Qwen35 => (r"[\p{L}\p{M}]", r"\p{L}\p{M}\p{N}", r"\p{N}"),
            Cut::Llama3 => (r"\p{L}", r"\p{L}\p{N}", r"\p{N}{1,3}"),
        };
        let short = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)";
        Some(format!(
            r"{short}|[^\r\n\p{{L}}\p{{N}}]?{letter}+|{number}| ?[^\s{not_punctuation}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ))
    }
}

/// One step of a pre-tokenizer in a Hugging Face file.
#[derive(Debug, PartialEq)]
enum Step {
    Split(String),
    Digits,
    Bytes { cut_words: bool },
    Unknown,
}

fn steps_of(pre_tokenizer: &Value) -> Vec<Step> {
    match (pre_tokenizer["type"].as_str(), pre_tokenizer["pretokenizers"].as_array()) {
        (Some("Sequence"), Some(steps)) => steps.iter().map(Step::of).collect(),
        _ => vec![Step::of(pre_tokenizer)],
    }
}

impl Step {
    fn of(settings: &Value) -> Self {
        let is = |key: &str, value: bool| settings[key].as_bool() == Some(value);
        match settings["type"].as_str() {
            Some("Split") if settings["behavior"] == "Isolated" && is("invert", false) => {
                settings["pattern"]["Regex"].as_str().map_or(Step::Unknown, |pattern| Step::Split(pattern.to_owned()))
            }
            Some("Digits") if is("individual_digits", true) => Step::Digits,
            // Files older than `use_regex` mean true.
            Some("ByteLevel") if is("add_prefix_space", false) => {
                Step::Bytes { cut_words: settings["use_regex"].as_bool().unwrap_or(true) }
            }
            _ => Step::Unknown,
        }
    }
}
