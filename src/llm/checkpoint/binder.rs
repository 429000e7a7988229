//! Binding of the tensors of a checkpoint to a model.

use std::cell::OnceCell;
use std::collections::HashSet;

use sotto_kernels::{BlockType, Pool, unpack_row};

use super::header::Dtype;
use super::names::{self, TensorKind};
use super::{Checkpoint, Place, affine};
use crate::llm::LlmError;
use crate::llm::tensors::{Tensors, Weight, give_back};

pub struct CheckpointBinder<'a> {
    checkpoint: &'a Checkpoint,
    /// Names below the prefix that were bound.
    bound: HashSet<String>,
    /// Threads for repacking codes; started at the first packed tensor.
    pool: OnceCell<Pool>,
}

impl Checkpoint {
    pub fn binder(&self) -> CheckpointBinder<'_> {
        CheckpointBinder { checkpoint: self, bound: HashSet::new(), pool: OnceCell::new() }
    }
}

impl Tensors for CheckpointBinder<'_> {
    fn has(&self, name: &str) -> bool {
        match self.own(name) {
            Some((own, _)) if own == names::HEAD => !self.checkpoint.tied(),
            Some((own, _)) => self.checkpoint.get(&own).is_some(),
            None => false,
        }
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Weight, LlmError> {
        let (own, kind, place) = self.bind(name)?;
        if place.tensor.dtype == Dtype::U32 {
            let pool = self.pool.get_or_init(|| Pool::new(std::thread::available_parallelism().map_or(1, usize::from)));
            let weight = affine::bind(self.checkpoint, &own, rows, cols, pool)?;
            let module = names::module(&own);
            self.bound.extend([format!("{module}.scales"), format!("{module}.biases")]);
            return Ok(weight);
        }
        let fits = match kind {
            TensorKind::Convolution => place.tensor.dims.iter().product::<usize>() == rows.saturating_mul(cols),
            _ => place.tensor.dims == [rows, cols],
        };
        if !fits {
            return Err(self.checkpoint.mismatch(place, format!("[{rows}, {cols}]")));
        }
        let (block, map) = (self.checkpoint.block(place)?, &self.checkpoint.shards[place.shard].map);
        Ok(Weight::mapped(block, rows, cols, map, place.tensor.span.clone())
            .expect("the header gave each tensor its exact bytes"))
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, LlmError> {
        let (own, kind, place) = self.bind(name)?;
        if place.tensor.dims.iter().product::<usize>() != len {
            return Err(self.checkpoint.mismatch(place, format!("[{len}]")));
        }
        let mut values = self.checkpoint.values(place)?;
        match kind {
            TensorKind::Norm if self.is_raw(&own)? => values.iter_mut().for_each(|w| *w += 1.0),
            TensorKind::Decay => values.iter_mut().for_each(|w| *w = -w.exp()),
            _ => {}
        }
        Ok(values)
    }

    fn refuse_the_rest(&self) -> Result<(), LlmError> {
        self.checkpoint.refuse_unless(|own| self.bound.contains(own))
    }

    fn release(&self) {
        self.checkpoint.maps().for_each(|map| give_back(map, &(0..map.len())));
    }
}

impl<'a> CheckpointBinder<'a> {
    fn own(&self, name: &str) -> Option<(String, TensorKind)> {
        names::from_gguf_of(self.checkpoint.model_config().layers, name)
    }

    /// Whether the norm called `own` is zero-centred.
    fn is_raw(&self, own: &str) -> Result<bool, LlmError> {
        match names::drafting(own) {
            Some(_) => self.checkpoint.drafts_raw(),
            None => Ok(self.checkpoint.raw),
        }
    }

    fn bind(&mut self, name: &str) -> Result<(String, TensorKind, &'a Place), LlmError> {
        let (own, kind) = self.own(name).ok_or_else(|| self.checkpoint.missing(name))?;
        let place = self.checkpoint.place(&own)?;
        self.bound.insert(own.clone());
        Ok((own, kind, place))
    }
}

impl Checkpoint {
    /// Block type in which kernels read the tensor.
    pub(super) fn block(&self, place: &Place) -> Result<BlockType, LlmError> {
        let tensor = &place.tensor;
        let unsupported =
            || self.unsupported(format!("{:?} of type {}", tensor.name, tensor.dtype.name()), "F32, F16, BF16");
        tensor.dtype.kind().ok_or_else(unsupported)
    }

    /// Reads all values of a tensor that is not packed.
    pub(super) fn values(&self, place: &Place) -> Result<Vec<f32>, LlmError> {
        let (block, bytes) = (self.block(place)?, &self.shards[place.shard].map[place.tensor.span.clone()]);
        // As many values as the file holds.
        let mut values = vec![0.0; bytes.len() / block.block_bytes()];
        unpack_row(block, bytes, &mut values);
        Ok(values)
    }
}
