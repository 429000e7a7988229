//! The tensors of a GGUF file, as a model binds them.

use std::collections::HashSet;

use sotto_kernels::unpack_row;

use super::{Gguf, GgufFault, Tensor};
use crate::llm::LlmError;
use crate::llm::tensors::{Tensors, Weight, give_back};

pub struct Binder<'a> {
    gguf: &'a Gguf,
    bound: HashSet<String>,
    /// Blocks from this number on predict further tokens (MTP). They add nothing to the next one, so they may stay
    /// unbound.
    drafts_from: u64,
}

impl Gguf {
    pub fn binder(&self) -> Binder<'_> {
        Binder { gguf: self, bound: HashSet::new(), drafts_from: self.drafts_from() }
    }
}

impl Gguf {
    /// The number of the first block that predicts further tokens; beyond every block where there is none.
    fn drafts_from(&self) -> u64 {
        let count = |name: &str| {
            let family = self.text("general.architecture").ok()??;
            self.number(&format!("{family}.{name}")).ok()?
        };
        let drafts = count("nextn_predict_layers").unwrap_or(0);
        count("block_count").filter(|_| drafts > 0).map_or(u64::MAX, |blocks| blocks.saturating_sub(drafts))
    }

    /// Whether there is a block that drafts with the embedding and the head of the model.
    pub fn drafts(&self) -> bool {
        let block = self.drafts_from();
        let has = |part: &str| self.tensor(&format!("blk.{block}.nextn.{part}.weight")).is_some();
        has("eh_proj") && !has("embed_tokens") && !has("shared_head_head")
    }

    /// Whether the tensor is of a block that predicts further tokens.
    pub(super) fn is_drafting(&self, name: &str) -> bool {
        block_of(name).is_some_and(|block| block >= self.drafts_from())
    }
}

/// The number in "blk.7.attn_q.weight".
fn block_of(name: &str) -> Option<u64> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

impl Tensors for Binder<'_> {
    fn has(&self, name: &str) -> bool {
        self.gguf.tensor(name).is_some()
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Weight, LlmError> {
        let gguf = self.gguf;
        let Tensor { kind, span, .. } = self.tensor(name, |dims| dims == [cols, rows], format!("[{cols}, {rows}]"))?;
        let (kind, span) = (*kind, span.clone());
        Ok(Weight::mapped(kind, rows, cols, gguf.map(), span).expect("the header gave each tensor its exact bytes"))
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, LlmError> {
        let gguf = self.gguf;
        let tensor = self.tensor(name, |dims| dims.iter().product::<usize>() == len, format!("[{len}]"))?;
        let mut values = vec![0.0; len];
        unpack_row(tensor.kind, &gguf.map()[tensor.span.clone()], &mut values);
        Ok(values)
    }

    fn refuse_the_rest(&self) -> Result<(), LlmError> {
        // The first by name, so that the same file always gives the same message.
        let ours = |name: &&String| block_of(name).is_none_or(|block| block < self.drafts_from);
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
        let map = self.gguf.map();
        give_back(map, &(0..map.len()));
    }
}

impl Binder<'_> {
    fn tensor(&mut self, name: &str, fits: impl Fn(&[usize]) -> bool, wanted: String) -> Result<&Tensor, LlmError> {
        let missing = || self.gguf.damaged(GgufFault::MissingTensor { tensor: name.to_owned() });
        let tensor = self.gguf.tensor(name).ok_or_else(missing)?;
        if !fits(&tensor.dims) {
            let found = format!("{:?}", tensor.dims);
            return Err(self.gguf.damaged(GgufFault::TensorMismatch { tensor: name.to_owned(), found, wanted }));
        }
        self.bound.insert(name.to_owned());
        Ok(tensor)
    }
}
