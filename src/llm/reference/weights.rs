//! Tensors of the reference by transformers' names, in f32.

use std::path::{Path, PathBuf};

use candle_core::safetensors::{Load, SliceSafetensors};
use candle_core::{DType, Device, Tensor};
use memmap2::Mmap;

use super::ReferenceError;
use super::config::ReferenceConfig;
use crate::llm::tensors::give_back;

const EMBEDDING: &str = "embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

pub struct ReferenceWeights<'a> {
    dir: PathBuf,
    /// Files: candle's view of each, and its mapping.
    files: Vec<(SliceSafetensors<'a>, &'a Mmap)>,
    /// Prefix of the names of the text model.
    prefix: String,
    /// Full name of the head, if there is one.
    head: Option<String>,
    /// Offset to add to norms: 1 if they are zero-centred, as published; 0 if they have been
    /// converted.
    shift: f64,
}

impl<'a> ReferenceWeights<'a> {
    pub fn open(
        dir: &Path,
        maps: impl Iterator<Item = &'a Mmap>,
        config: &ReferenceConfig,
    ) -> Result<Self, ReferenceError> {
        let read = |map: &'a Mmap| Ok((SliceSafetensors::new(map)?, map));
        let files: candle_core::Result<Vec<(SliceSafetensors, &Mmap)>> = maps.map(read).collect();
        let files = files.map_err(|why| ReferenceError::Read { path: dir.to_owned(), why: Box::new(why) })?;
        let names: Vec<String> = files.iter().flat_map(|(file, _)| file.tensors()).map(|(name, _)| name).collect();
        let of_text = |name: &&String| !name.starts_with("mtp.") && !name.contains(".mtp.");
        let ending = |end: &str| names.iter().filter(of_text).find(|name| name.ends_with(end)).cloned();
        let prefix = ending(EMBEDDING).map(|name| name[..name.len() - EMBEDDING.len()].to_owned());
        let (dir, head) = (dir.to_owned(), ending(HEAD));
        let mut weights = ReferenceWeights { dir, files, prefix: prefix.unwrap_or_default(), head, shift: 1.0 };
        weights.shift = weights.norm_shift(config)?;
        Ok(weights)
    }

    /// Determines the offset of norms. Published convolutions are [channels, 1, taps]; converters
    /// that make them [channels, taps, 1] also add 1 to the norms.
    fn norm_shift(&self, config: &ReferenceConfig) -> Result<f64, ReferenceError> {
        let Some(layer) = (0..config.num_hidden_layers).find(|&n| config.is_delta(n)) else { return Ok(1.0) };
        let tensor = self.load(&format!("{}layers.{layer}.linear_attn.conv1d.weight", self.prefix))?;
        Ok(if tensor.dim(1)? == 1 { 1.0 } else { 0.0 })
    }

    pub fn has_head(&self) -> bool {
        self.head.is_some()
    }

    pub fn head(&self, dims: &[usize]) -> Result<Tensor, ReferenceError> {
        self.shaped(self.head.as_deref().unwrap_or(HEAD), dims)
    }

    /// Reads the tensor called `name` below the prefix, with shape `dims`.
    pub fn get(&self, name: &str, dims: &[usize]) -> Result<Tensor, ReferenceError> {
        self.shaped(&format!("{}{name}", self.prefix), dims)
    }

    /// Reads a norm as the factor that it multiplies by.
    pub fn norm(&self, name: &str, len: usize) -> Result<Tensor, ReferenceError> {
        Ok((self.get(name, &[len])? + self.shift)?)
    }

    fn shaped(&self, full: &str, dims: &[usize]) -> Result<Tensor, ReferenceError> {
        let tensor = self.load(full)?;
        let without_ones = |dims: &[usize]| dims.iter().copied().filter(|&dim| dim != 1).collect::<Vec<_>>();
        if without_ones(tensor.dims()) != without_ones(dims) {
            let (path, tensor_name) = (self.dir.clone(), full.to_owned());
            let (found, wanted) = (format!("{:?}", tensor.dims()), format!("{dims:?}"));
            return Err(ReferenceError::Shape { path, tensor: tensor_name, found, wanted });
        }
        Ok(tensor.to_dtype(DType::F32)?.reshape(dims)?)
    }

    fn load(&self, full: &str) -> Result<Tensor, ReferenceError> {
        let read = |why| ReferenceError::Read { path: self.dir.clone(), why: Box::new(why) };
        let file = self.files.iter().find(|(file, _)| file.get(full).is_ok());
        let missing = || read(candle_core::Error::CannotFindTensor { path: full.to_owned() });
        let (file, map) = file.ok_or_else(missing)?;
        let tensor = file.get(full).and_then(|view| view.load(&Device::Cpu)).map_err(read)?;
        // Copied data is not held twice.
        give_back(map, &(0..map.len()));
        match tensor.dtype() {
            DType::F32 | DType::F16 | DType::BF16 => Ok(tensor),
            other => Err(ReferenceError::Quantised {
                path: self.dir.clone(),
                tensor: full.to_owned(),
                dtype: other.as_str().to_uppercase(),
            }),
        }
    }
}
