//! Binding of the tensors of a GGUF file to a model.

use std::collections::{HashMap, HashSet};

use sotto_kernels::unpack_row;

use super::{Gguf, GgufFault, GgufTensor};
use crate::llm::LlmError;
use crate::llm::notes::ModelNote;
use crate::llm::tensors::{Tensors, Weight, give_back};

pub struct GgufBinder<'a> {
    gguf: &'a Gguf,
    bound: HashSet<String>,
}

impl Gguf {
    pub fn binder(&self) -> GgufBinder<'_> {
        GgufBinder { gguf: self, bound: HashSet::new() }
    }
}

/// Tensors of a draft block: its own, and those of an attention layer.
const DRAFTING: [&str; 15] = [
    "nextn.eh_proj",
    "nextn.enorm",
    "nextn.hnorm",
    "nextn.shared_head_norm",
    "attn_norm",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_q_norm",
    "attn_k_norm",
    "attn_output",
    "post_attention_norm",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
];

/// Limit of blocks: no model has so many.
const MAX_BLOCKS: u64 = 1 << 12;

/// The blocks of a model, and which of them predict further tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blocks {
    /// Blocks that the metadata count.
    pub all: u64,
    /// Number of blocks, at the end, that the metadata declare as predicting further tokens.
    pub claimed: u64,
    /// Number of the first block that predicts further tokens: one that has `nextn.*` tensors, or
    /// no tensors. Some converters count a block that they left out; others declare one although
    /// the last block is an ordinary layer.
    pub drafts_from: u64,
}

impl Default for Blocks {
    /// No block that predicts further tokens.
    fn default() -> Self {
        Blocks { all: 0, claimed: 0, drafts_from: u64::MAX }
    }
}

impl Gguf {
    /// Determines the kinds of the blocks of a qwen35; no other family here predicts further
    /// tokens. An impossible number is refused later, when it is used.
    pub(super) fn count_blocks(&self) -> Blocks {
        let count = |name: &str| self.number(&format!("qwen35.{name}")).ok().flatten();
        let is_qwen35 = matches!(self.text("general.architecture"), Ok(Some("qwen35")));
        let Some(all) = count("block_count").filter(|_| is_qwen35) else { return Blocks::default() };
        let claimed = count("nextn_predict_layers").unwrap_or(0);
        // For each block with tensors, whether it predicts further tokens.
        let mut predicts: HashMap<u64, bool> = HashMap::new();
        for tensor in self.tensors() {
            if let Some((block, part)) = block_and_part(&tensor.name) {
                *predicts.entry(block).or_default() |= part.starts_with("nextn.");
            }
        }
        let is_layer = |block: &u64| predicts.get(block) == Some(&false);
        let first = all.saturating_sub(claimed.min(MAX_BLOCKS));
        let drafts_from = (first..all).rev().take_while(|block| !is_layer(block)).last().unwrap_or(all);
        Blocks { all, claimed, drafts_from }
    }

    /// Notes about the blocks that predict further tokens.
    pub fn notes(&self) -> Vec<ModelNote> {
        let Blocks { all, claimed, drafts_from } = self.blocks;
        let path = || self.path().to_owned();
        let ordinary =
            (claimed > 0 && drafts_from == all).then(|| ModelNote::OrdinaryBlock { path: path(), block: all - 1 });
        let lacks = self.missing_of_draft().map(|tensor| ModelNote::NoDraft { path: path(), tensor });
        ordinary.into_iter().chain(lacks).collect()
    }

    /// Whether there is a draft block that uses the embedding and the head of the model.
    pub fn drafts(&self) -> bool {
        let shares_head = !self.has_of_draft("nextn.embed_tokens") && !self.has_of_draft("nextn.shared_head_head");
        shares_head && DRAFTING.iter().all(|part| self.has_of_draft(part))
    }

    /// Name of the first tensor missing from a block that has `nextn.*` tensors and should
    /// therefore draft.
    pub fn missing_of_draft(&self) -> Option<String> {
        let missing = DRAFTING.iter().find(|part| !self.has_of_draft(part))?;
        let begun = DRAFTING.iter().any(|part| part.starts_with("nextn.") && self.has_of_draft(part));
        begun.then(|| self.name_of_draft(missing))
    }

    fn has_of_draft(&self, part: &str) -> bool {
        self.tensor(&self.name_of_draft(part)).is_some()
    }

    fn name_of_draft(&self, part: &str) -> String {
        format!("blk.{}.{part}.weight", self.blocks.drafts_from)
    }

    /// Whether the tensor belongs to a block that predicts further tokens.
    pub(super) fn is_drafting(&self, name: &str) -> bool {
        block_and_part(name).is_some_and(|(block, _)| block >= self.blocks.drafts_from)
    }
}

/// Splits "blk.7.attn_q.weight" into 7 and "attn_q.weight".
fn block_and_part(name: &str) -> Option<(u64, &str)> {
    let (block, part) = name.strip_prefix("blk.")?.split_once('.')?;
    Some((block.parse().ok()?, part))
}

impl Tensors for GgufBinder<'_> {
    fn has(&self, name: &str) -> bool {
        self.gguf.tensor(name).is_some()
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Weight, LlmError> {
        let gguf = self.gguf;
        let tensor = self.tensor(name, |dims| dims == [cols, rows], format!("[{cols}, {rows}]"))?;
        let (map, span) = (gguf.map_of(tensor), tensor.span.clone());
        Ok(Weight::mapped(tensor.kind, rows, cols, map, span).expect("the header gave each tensor its exact bytes"))
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, LlmError> {
        let gguf = self.gguf;
        let tensor = self.tensor(name, |dims| dims.iter().product::<usize>() == len, format!("[{len}]"))?;
        let mut values = vec![0.0; len];
        unpack_row(tensor.kind, gguf.bytes(tensor), &mut values);
        Ok(values)
    }

    fn refuse_the_rest(&self) -> Result<(), LlmError> {
        // The first by name, so that the same file always gives the same message. Blocks that
        // predict further tokens do not affect the next one, so they may stay unbound.
        let ours = |name: &&String| !self.gguf.is_drafting(name);
        let names = self.gguf.tensors().map(|tensor| &tensor.name).filter(ours);
        match names.filter(|name| !self.bound.contains(*name)).min() {
            Some(name) => {
                let supported = "plain layers of llama, qwen2 and qwen35";
                Err(self.gguf.unsupported(format!("the tensor {name:?}"), supported))
            }
            None => Ok(()),
        }
    }

    fn release(&self) {
        self.gguf.files.iter().for_each(|file| give_back(&file.map, &(0..file.map.len())));
    }
}

impl<'a> GgufBinder<'a> {
    fn tensor(
        &mut self,
        name: &str,
        fits: impl Fn(&[usize]) -> bool,
        wanted: String,
    ) -> Result<&'a GgufTensor, LlmError> {
        let gguf = self.gguf;
        let missing = || gguf.damaged(GgufFault::MissingTensor { tensor: name.to_owned() });
        let tensor = gguf.tensor(name).ok_or_else(missing)?;
        if !fits(&tensor.dims) {
            let found = format!("{:?}", tensor.dims);
            return Err(gguf.damaged(GgufFault::TensorMismatch { tensor: name.to_owned(), found, wanted }));
        }
        self.bound.insert(name.to_owned());
        Ok(tensor)
    }
}
