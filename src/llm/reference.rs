//! Reference implementation of Qwen3.5 in f32 with candle, from an unquantised checkpoint: slow,
//! simple, and independent of the engine.
//!
//! Written from the formulas alone, as a check of the engine: it reads names and configuration
//! itself, computes DeltaNet layers token by token and attention over all positions at once, and
//! shares no kernel, chunking or cache with the engine. Only the validation of the files is done by
//! [`Checkpoint`].
//!
//! Memory use is four bytes for each weight: 3.0 GB for Qwen3.5-0.8B, 7.5 GB for the 2B.

mod config;
mod layers;
#[cfg(test)]
mod tests;
mod weights;

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use super::LlmError;
use super::checkpoint::Checkpoint;
use super::checkpoint::inventory::inventory;
use config::ReferenceConfig;
use layers::{ReferenceLayer, linear, rms_norm};
use weights::ReferenceWeights;

#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    #[error(transparent)]
    Checkpoint(#[from] LlmError),

    #[error("{path}: {why}; the checkpoint is damaged or incomplete: fetch it again")]
    Read { path: PathBuf, why: Box<candle_core::Error> },

    #[error("{path}: config.json: {why}; the checkpoint is damaged: fetch it again")]
    Config { path: PathBuf, why: serde_json::Error },

    #[error("{path}: the tensor {tensor:?} is {found}, but the configuration asks for {wanted}; fetch it again")]
    Shape { path: PathBuf, tensor: String, found: String, wanted: String },

    #[error("{path} is quantised ({tensor:?} is {dtype}); the reference must be the checkpoint as it was published")]
    Quantised { path: PathBuf, tensor: String, dtype: String },

    #[error("the reference cannot compute: {0}; report it with the config.json of the checkpoint")]
    Compute(Box<candle_core::Error>),
}

impl From<candle_core::Error> for ReferenceError {
    fn from(error: candle_core::Error) -> Self {
        ReferenceError::Compute(Box::new(error))
    }
}

/// An unquantised Qwen3.5 in f32.
pub struct ReferenceModel {
    config: ReferenceConfig,
    /// `[vocabulary, width]`
    embedding: Tensor,
    layers: Vec<ReferenceLayer>,
    /// `[width]`
    norm: Tensor,
    /// `[vocabulary, width]`: the embedding where they are tied.
    head: Tensor,
}

/// State of a sequence: the values that the formulas carry from one token to the next.
#[derive(Clone)]
pub struct ReferenceState {
    positions: usize,
    layers: Vec<ReferenceLayerState>,
}

#[derive(Clone)]
pub enum ReferenceLayerState {
    DeltaNet {
        /// Last rows before the convolution, the newest last: [taps - 1, channels].
        conv: Tensor,
        /// Recurrent state S of each value head: `[value_heads, key_dim, value_dim]`.
        recurrent: Tensor,
    },
    /// Keys, normed and rotated, and values: `[kv_heads, positions, head_dim]`. `None` before the
    /// first token.
    Attention { kept: Option<(Tensor, Tensor)> },
}

/// Results for the tokens of one call.
pub struct Outcome {
    /// `[tokens, vocabulary]`
    pub logits: Tensor,
    /// Residual stream, `[tokens, width]` each: the embedding, then after each layer; after the
    /// last one, normed.
    pub hidden: Vec<Tensor>,
}

impl ReferenceModel {
    /// Opens the folder of a checkpoint, or a file of weights in it. The caller accounts for the
    /// memory, by [`ReferenceModel::planned_bytes`].
    pub fn open(path: &Path) -> Result<Self, ReferenceError> {
        // Caps every size and checks every header against its file.
        let checkpoint = Checkpoint::open(path)?;
        let dir = checkpoint.dir();
        let config = ReferenceConfig::read(checkpoint.config())
            .map_err(|why| ReferenceError::Config { path: dir.to_owned(), why })?;
        let weights = ReferenceWeights::open(dir, checkpoint.maps(), &config)?;
        let embedding = weights.get("embed_tokens.weight", &[config.vocab_size, config.hidden_size])?;
        let head = match config.tied.unwrap_or(!weights.has_head()) {
            true => embedding.clone(),
            false => weights.head(&[config.vocab_size, config.hidden_size])?,
        };
        let layers =
            (0..config.num_hidden_layers).map(|n| ReferenceLayer::load(&weights, &config, n)).collect::<Result<_, _>>();
        Ok(ReferenceModel {
            norm: weights.norm("norm.weight", config.hidden_size)?,
            embedding,
            layers: layers?,
            head,
            config,
        })
    }

    /// Bytes of the weights in f32 and of `tokens` rows of logits.
    pub fn planned_bytes(path: &Path, tokens: usize) -> Result<u64, LlmError> {
        let checkpoint = Checkpoint::open(path)?;
        let model_config = checkpoint.model_config();
        let elements = |dims: &[usize]| dims.iter().fold(1u64, |product, &dim| product.saturating_mul(dim as u64));
        let weights =
            inventory(model_config, checkpoint.tied()).iter().map(|needed| elements(&needed.dims)).sum::<u64>();
        let logits = elements(&[tokens, model_config.vocabulary]);
        Ok(weights.saturating_add(logits).saturating_mul(size_of::<f32>() as u64))
    }

    pub fn vocabulary(&self) -> usize {
        self.config.vocab_size
    }

    /// Creates the state before the first token.
    pub fn memory(&self) -> Result<ReferenceState, ReferenceError> {
        let layers = self.layers.iter().map(|layer| layer.memory(&self.config)).collect::<Result<_, _>>()?;
        Ok(ReferenceState { positions: 0, layers })
    }

    /// Computes `tokens` after those in `memory`. At least one, all in the vocabulary.
    pub fn forward(&self, tokens: &[u32], memory: &mut ReferenceState) -> Result<Outcome, ReferenceError> {
        let ids = Tensor::new(tokens, &Device::Cpu)?;
        let mut x = self.embedding.index_select(&ids, 0)?;
        let mut hidden = vec![x.clone()];
        for (layer, kept) in self.layers.iter().zip(&mut memory.layers) {
            x = layer.forward(&self.config, &x, memory.positions, kept)?;
            hidden.push(x.clone());
        }
        memory.positions += tokens.len();
        let x = rms_norm(&x, &self.norm, self.config.rms_norm_eps)?;
        if let Some(last) = hidden.last_mut() {
            *last = x.clone();
        }
        Ok(Outcome { logits: linear(&x, &self.head)?, hidden })
    }

    /// Returns the logits of `tokens`, row after row.
    pub fn logits(&self, tokens: &[u32], memory: &mut ReferenceState) -> Result<Vec<f32>, ReferenceError> {
        Ok(values(&self.forward(tokens, memory)?.logits)?)
    }
}

impl ReferenceState {
    /// Number of tokens computed.
    pub fn positions(&self) -> usize {
        self.positions
    }

    pub fn layers(&self) -> &[ReferenceLayerState] {
        &self.layers
    }
}

/// Returns the values of a tensor, the last dimension innermost.
pub fn values(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}
