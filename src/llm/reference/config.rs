//! Configuration of the reference, from `config.json`.

use serde::Deserialize;
use serde_json::{Map, Value};

/// Default of transformers, if a file does not state the interval.
const DEFAULT_INTERVAL: usize = 4;
const DEFAULT_ROTATED: f64 = 0.25;
const DEFAULT_BASE: f64 = 1e7;

/// Fields under their names in the file. Other fields were checked when the checkpoint was opened.
#[derive(Debug, Deserialize)]
pub struct ReferenceConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub rms_norm_eps: f64,
    pub linear_num_key_heads: usize,
    pub linear_num_value_heads: usize,
    pub linear_key_head_dim: usize,
    pub linear_value_head_dim: usize,
    pub linear_conv_kernel_dim: usize,
    /// Whether the head is the embedding; the top of the file may say it too.
    #[serde(rename = "tie_word_embeddings")]
    pub tied: Option<bool>,
    layer_types: Option<Vec<LayerType>>,
    full_attention_interval: Option<usize>,
    rope_parameters: Option<Rope>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum LayerType {
    LinearAttention,
    FullAttention,
}

#[derive(Debug, Deserialize)]
struct Rope {
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
}

impl ReferenceConfig {
    pub fn read(file: &Map<String, Value>) -> Result<ReferenceConfig, serde_json::Error> {
        let text = match file.get("text_config") {
            Some(text @ Value::Object(_)) => text.clone(),
            _ => Value::Object(file.clone()),
        };
        let mut config: ReferenceConfig = serde_json::from_value(text)?;
        config.tied = config.tied.or(file.get("tie_word_embeddings").and_then(Value::as_bool));
        Ok(config)
    }

    /// Whether layer `n` is a DeltaNet.
    pub fn is_delta(&self, n: usize) -> bool {
        let interval = self.full_attention_interval.unwrap_or(DEFAULT_INTERVAL);
        match &self.layer_types {
            Some(kinds) => kinds.get(n) == Some(&LayerType::LinearAttention),
            None => !(n + 1).is_multiple_of(interval),
        }
    }

    /// Number of values of a head that are rotated, from the first on.
    pub fn rotated(&self) -> usize {
        let rope = self.rope_parameters.as_ref().and_then(|rope| rope.partial_rotary_factor);
        (self.head_dim as f64 * rope.or(self.partial_rotary_factor).unwrap_or(DEFAULT_ROTATED)) as usize
    }

    pub fn rope_base(&self) -> f64 {
        let rope = self.rope_parameters.as_ref().and_then(|rope| rope.rope_theta);
        rope.or(self.rope_theta).unwrap_or(DEFAULT_BASE)
    }

    /// Number of channels of the convolution of a DeltaNet: queries, keys, values.
    pub fn channels(&self) -> usize {
        2 * self.key_width() + self.value_width()
    }

    pub fn key_width(&self) -> usize {
        self.linear_num_key_heads * self.linear_key_head_dim
    }

    pub fn value_width(&self) -> usize {
        self.linear_num_value_heads * self.linear_value_head_dim
    }
}
