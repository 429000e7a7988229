//! The tensors of a GGUF file, as a model binds them.

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

/// What a block that drafts has: its own tensors, and those of a layer that attends.
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

/// The most blocks that are looked at: no model has so many.
const MAX_BLOCKS: u64 = 1 << 12;

/// The blocks of a model, and which of them predict further tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blocks {
    /// Blocks that the metadata count.
    pub all: u64,
    /// How many of them, at the end, are said to predict further tokens.
    pub claimed: u64,
    /// The number of the first that does: one that has `nextn.*` tensors, or none at all. Some
    /// converters count a block that they left out; others say that there is one where the last is
    /// an ordinary layer.
    pub drafts_from: u64,
}

impl Default for Blocks {
    /// None that predicts.
    fn default() -> Self {
        Blocks { all: 0, claimed: 0, drafts_from: u64::MAX }
    }
}

impl Gguf {
    /// Finds out what the blocks of a qwen35 are; no other family here has any that predict. A
    /// number that cannot be is refused by whoever asks for it.
    pub(super) fn count_blocks(&self) -> Blocks {
        let count = |name: &str| self.number(&format!("qwen35.{name}")).ok().flatten();
        let is_qwen35 = matches!(self.text("general.architecture"), Ok(Some("qwen35")));
        let Some(all) = count("block_count").filter(|_| is_qwen35) else { return Blocks::default() };
        let claimed = count("nextn_predict_layers").unwrap_or(0);
        // Of each block that has tensors, whether it has those of one that predicts.
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

    /// What there is to say about the blocks that predict further tokens.
    pub fn notes(&self) -> Vec<ModelNote> {
        let Blocks { all, claimed, drafts_from } = self.blocks;
        let path = || self.path().to_owned();
        let ordinary =
            (claimed > 0 && drafts_from == all).then(|| ModelNote::OrdinaryBlock { path: path(), block: all - 1 });
        let lacks = self.missing_of_draft().map(|tensor| ModelNote::NoDraft { path: path(), tensor });
        ordinary.into_iter().chain(lacks).collect()
    }

    /// Whether there is a block that drafts with the embedding and the head of the model.
    pub fn drafts(&self) -> bool {
        let shares_head = !self.has_of_draft("nextn.embed_tokens") && !self.has_of_draft("nextn.shared_head_head");
        shares_head && DRAFTING.iter().all(|part| self.has_of_draft(part))
    }

    /// The first tensor that is missing from a block that has `nextn.*` tensors and so should
    /// draft.
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

    /// Whether the tensor is of a block that predicts further tokens.
    pub(super) fn is_drafting(&self, name: &str) -> bool {
        block_and_part(name).is_some_and(|(block, _)| block >= self.blocks.drafts_from)
    }
}

/// 7 and "attn_q.weight" of "blk.7.attn_q.weight".
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
        // predict further tokens add nothing to the next one, so they may stay unbound.
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
