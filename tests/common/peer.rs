//! The same tokenizer run by the `tokenizers` crate alone, to hold ours against.

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{SplitDelimiterBehavior, TokenizerImpl};

type ByteLevelBpe = TokenizerImpl<BPE, NFC, Sequence, ByteLevel, ByteLevel>;

const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

pub struct Peer(ByteLevelBpe);

impl Peer {
    /// A tokenizer that cuts as GGUF's `cut` says, of ordinary `tokens` with their ids and of
    /// `merges` as `a b`.
    pub fn new<'a>(
        cut: &str,
        tokens: impl Iterator<Item = (&'a str, u32)>,
        merges: impl Iterator<Item = &'a str>,
    ) -> Self {
        let vocabulary: tokenizers::models::bpe::Vocab = tokens.map(|(text, id)| (text.to_owned(), id)).collect();
        let merges = merges.map(|merge| merge.split_once(' ').unwrap());
        let merges = merges.map(|(left, right)| (left.to_owned(), right.to_owned())).collect();
        let bpe = BPE::builder().vocab_and_merges(vocabulary, merges).ignore_merges(cut == "llama-bpe");
        let mut tokenizer = ByteLevelBpe::new(bpe.build().unwrap());
        tokenizer.with_pre_tokenizer(Some(Sequence::new(steps(cut))));
        if cut.starts_with("qwen") {
            tokenizer.with_normalizer(Some(NFC)).unwrap();
        }
        Peer(tokenizer)
    }

    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.0.encode_fast(text, false).unwrap().get_ids().to_vec()
    }
}

fn steps(cut: &str) -> Vec<PreTokenizerWrapper> {
    let split = |pattern: &str| {
        let split = Split::new(SplitPattern::Regex(pattern.to_owned()), SplitDelimiterBehavior::Isolated, false);
        PreTokenizerWrapper::Split(split.unwrap())
    };
    let bytes = |cut_words| PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, cut_words));
    match cut {
        "qwen2" => vec![split(QWEN2), bytes(false)],
        "qwen35" => vec![split(QWEN35), bytes(false)],
        "llama-bpe" => vec![split(LLAMA3), bytes(false)],
        "smollm" => vec![PreTokenizerWrapper::Digits(Digits::new(true)), bytes(true)],
        "gpt-2" => vec![bytes(true)],
        _ => panic!("no cut {cut}"),
    }
}
