//! Pre-tokenization: splitting text into words before the merges apply.
//!
//! Each variant does what the published `tokenizer.json` of its family requires of the `tokenizers`
//! crate, which composes and matches here. A GGUF names the variant (`tokenizer.ggml.pre`), a
//! Hugging Face file spells it out as normalizer and pre-tokenizer.

use std::borrow::Cow;
use std::iter;

use serde_json::Value;
use tokenizers::NormalizedString;
use tokenizers::utils::SysRegex;

/// Pattern of a word in GPT-2.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cut {
    Gpt2,
    Qwen2,
    Qwen35,
    SmolLm,
    Llama3,
}

const NAMES: [(&str, Cut); 5] = [
    ("gpt-2", Cut::Gpt2),
    ("qwen2", Cut::Qwen2),
    ("qwen35", Cut::Qwen35),
    ("smollm", Cut::SmolLm),
    ("llama-bpe", Cut::Llama3),
];

impl Cut {
    /// Finds the variant that GGUF calls `name`.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|&(_, cut)| cut)
    }

    /// Name of the variant in GGUF.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, cut)| *cut == self).map_or("", |(name, _)| name)
    }

    pub fn names() -> String {
        NAMES.map(|(name, _)| name).join(", ")
    }

    /// Finds the variant with these published settings.
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

    pub fn words(self) -> Result<Words, String> {
        let pattern = SysRegex::new(&self.pattern().unwrap_or_else(|| GPT2.to_owned())).map_err(|e| e.to_string())?;
        Ok(Words { pattern, composes: self.composes(), lone_digits: self == Cut::SmolLm })
    }

    /// Whether a whole word is looked up before it is merged.
    pub fn looks_words_up(self) -> bool {
        self == Cut::Llama3
    }

    /// Whether accents are joined to their letters first (NFC).
    fn composes(self) -> bool {
        matches!(self, Cut::Qwen2 | Cut::Qwen35)
    }

    /// Pattern of a word. The families differ in how many digits are grouped, and in whether marks
    /// (the vowel signs of Hindi and Thai, separate accents) belong to the letters. `None` for
    /// [`GPT2`]'s pattern.
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

/// Splitter of text into words.
pub(super) struct Words {
    pattern: SysRegex,
    composes: bool,
    /// Whether each digit is a word, whatever the pattern says.
    lone_digits: bool,
}

impl Words {
    /// Returns the text to split: `text` with its accents joined to their letters, if the family
    /// does so.
    pub fn composed<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !self.composes || text.is_ascii() {
            return Cow::Borrowed(text);
        }
        let mut composed = NormalizedString::from(text);
        composed.nfc();
        Cow::Owned(composed.get().to_owned())
    }

    /// Splits a composed text into words. Concatenated they are the text again.
    pub fn of<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let alone = |c: char| self.lone_digits && c.is_numeric();
        let runs = text.split_inclusive(alone).flat_map(move |run| {
            let digit = run.char_indices().next_back().filter(|&(_, c)| alone(c));
            <[&str; 2]>::from(run.split_at(digit.map_or(run.len(), |(at, _)| at)))
        });
        runs.flat_map(|run| self.matches(run)).filter(|word| !word.is_empty())
    }

    /// Returns the matches of the pattern in `run`, and the text between them.
    fn matches<'t>(&self, run: &'t str) -> impl Iterator<Item = &'t str> {
        let mut done = 0;
        let end = (run.len(), run.len());
        self.pattern.find_iter(run).chain(iter::once(end)).flat_map(move |(from, to)| {
            let between = &run[done..from];
            done = to;
            [between, &run[from..to]]
        })
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
            // Files older than `use_regex` behave as if it were true.
            Some("ByteLevel") if is("add_prefix_space", false) => {
                Step::Bytes { cut_words: settings["use_regex"].as_bool().unwrap_or(true) }
            }
            _ => Step::Unknown,
        }
    }
}
