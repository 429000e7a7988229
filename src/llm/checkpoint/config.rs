//! `config.json`: the configuration of the model in the terms of transformers.
//!
//! The fields are in `text_config` if the model also has a vision part, else at the top. Null
//! counts as absent. Unknown fields are ignored, except those that change the computation: the ones
//! this engine does not implement are refused by name.

use serde_json::{Map, Value};

use super::folder::damaged;
use super::quantization::Quantization;
use super::{CheckpointFault, json};
use crate::llm::LlmError;
use crate::llm::model_config::{DeltaNet, Family, HeadOrder, ModelConfig};
use std::path::{Path, PathBuf};

const MAX_LAYERS: usize = 512;
const MAX_WIDTH: usize = 1 << 16;
const MAX_HIDDEN: usize = 1 << 20;
const MAX_HEADS: usize = 1024;
const MAX_HEAD_DIM: usize = 1 << 12;
/// Width limit of convolution and attention: far above any model, far below a possible overflow of
/// products.
const MAX_CHANNELS: usize = 1 << 20;
const MAX_TAPS: usize = 64;
const MAX_VOCABULARY: usize = 1 << 22;
const MAX_CONTEXT: usize = 1 << 24;
/// Default of transformers, if a file does not state the interval.
const DEFAULT_INTERVAL: u64 = 4;
const DEFAULT_ROTATED: f64 = 0.25;

const LINEAR: &str = "linear_attention";
const FULL: &str = "full_attention";

/// A checked config.json.
#[derive(Debug)]
pub struct CheckpointConfig {
    pub model_config: ModelConfig,
    /// Whether the head is the embedding; `None` if the file does not state it.
    pub tied: Option<bool>,
    pub quantization: Quantization,
    /// The whole file, for writing a changed copy.
    pub file: Map<String, Value>,
}

impl CheckpointConfig {
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, LlmError> {
        let json::Strict(value) = json::parse_file(bytes).map_err(|fault| damaged(path, fault))?;
        let Value::Object(file) = value else {
            return Err(damaged(path, CheckpointFault::Json("not an object".to_owned())));
        };
        let top = Fields { path, fields: &file };
        let text = top.object("text_config")?.unwrap_or(top);
        refuse_what_forward_lacks(&top, &text)?;
        let tied = match text.flag("tie_word_embeddings")? {
            Some(tied) => Some(tied),
            None => top.flag("tie_word_embeddings")?,
        };
        let (model_config, quantization) = (model_config(&text)?, Quantization::parse(&top, &text)?);
        Ok(CheckpointConfig { model_config, tied, quantization, file })
    }
}

fn model_config(text: &Fields) -> Result<ModelConfig, LlmError> {
    let (heads, head_dim) = (text.size("num_attention_heads", MAX_HEADS)?, text.size("head_dim", MAX_HEAD_DIM)?);
    let rope = text.object("rope_parameters")?.unwrap_or(*text);
    let (rope_base, rotated) = (rope.positive_or("rope_theta", text)?, rotated(&rope, text, head_dim)?);
    let layers = text.size("num_hidden_layers", MAX_LAYERS)?;
    let model_config = ModelConfig {
        family: Family::Qwen35,
        layers,
        width: text.size("hidden_size", MAX_WIDTH)?,
        hidden: text.size("intermediate_size", MAX_HIDDEN)?,
        heads,
        kv_heads: text.size("num_key_value_heads", MAX_HEADS)?,
        head_dim,
        rotated,
        rope_base,
        norm_eps: text.positive_or("rms_norm_eps", text)?,
        vocabulary: text.size("vocab_size", MAX_VOCABULARY)?,
        context: text.size("max_position_embeddings", MAX_CONTEXT)?,
        delta: Some(delta_net(text, layers)?),
    };
    let kv_heads = model_config.kv_heads;
    let limit = || format!("it must divide {heads} heads");
    text.rule("num_key_value_heads", kv_heads, heads.is_multiple_of(kv_heads), limit)?;
    text.rule("head_dim", head_dim, heads * head_dim <= MAX_CHANNELS, || format!("{heads} heads take too much"))?;
    Ok(model_config)
}

fn rotated(rope: &Fields, text: &Fields, head_dim: usize) -> Result<usize, LlmError> {
    let key = "partial_rotary_factor";
    let factor = match rope.number(key)? {
        Some(factor) => factor,
        None => text.number(key)?.unwrap_or(DEFAULT_ROTATED),
    };
    // Rounded down, as in transformers.
    let rotated = (head_dim as f64 * factor) as usize;
    let fits = factor > 0.0 && factor <= 1.0 && rotated >= 2 && rotated.is_multiple_of(2);
    rope.rule(key, factor, fits, || format!("an even part of {head_dim} values must be rotated"))?;
    Ok(rotated)
}

fn delta_net(text: &Fields, layers: usize) -> Result<DeltaNet, LlmError> {
    let delta = DeltaNet {
        layers: layer_kinds(text, layers)?,
        key_heads: text.size("linear_num_key_heads", MAX_HEADS)?,
        value_heads: text.size("linear_num_value_heads", MAX_HEADS)?,
        key_dim: text.size("linear_key_head_dim", MAX_HEAD_DIM)?,
        value_dim: text.size("linear_value_head_dim", MAX_HEAD_DIM)?,
        taps: text.size("linear_conv_kernel_dim", MAX_TAPS)?,
        order: HeadOrder::Grouped,
    };
    let DeltaNet { key_heads, value_heads, key_dim, value_dim, taps, .. } = delta;
    let whole = value_heads.is_multiple_of(key_heads);
    text.rule("linear_num_value_heads", value_heads, whole, || format!("it must be a multiple of {key_heads}"))?;
    // With one tap the layout of the convolution does not distinguish raw norms from converted
    // ones.
    text.rule("linear_conv_kernel_dim", taps, taps >= 2, || "at least 2 taps are needed".to_owned())?;
    let channels = 2 * key_heads * key_dim + value_heads * value_dim;
    let limit = || format!("the limit for all channels of the convolution is {MAX_CHANNELS}");
    text.rule("linear_key_head_dim", key_dim, channels <= MAX_CHANNELS, limit)?;
    Ok(delta)
}

/// Reads for each layer whether it is a DeltaNet: from `layer_types`, else all but every n-th.
fn layer_kinds(text: &Fields, layers: usize) -> Result<Vec<bool>, LlmError> {
    let key = "layer_types";
    let kinds: Vec<bool> = match text.get(key) {
        Some(Value::Array(names)) => names.iter().map(|name| layer_kind(text, name)).collect::<Result<_, _>>()?,
        Some(_) => return Err(text.bad(key, "something else", "it must be a list".to_owned())),
        None => {
            let interval = text.whole("full_attention_interval")?.unwrap_or(DEFAULT_INTERVAL);
            text.rule("full_attention_interval", interval, interval >= 1, || "it must be at least 1".to_owned())?;
            (1..=layers as u64).map(|layer| !layer.is_multiple_of(interval)).collect()
        }
    };
    text.rule(key, format!("a list of {}", kinds.len()), kinds.len() == layers, || {
        format!("there are {layers} layers")
    })?;
    match kinds.contains(&true) {
        true => Ok(kinds),
        false => Err(text.unsupported("a model without linear_attention layers", "Qwen3.5")),
    }
}

fn layer_kind(text: &Fields, name: &Value) -> Result<bool, LlmError> {
    match name.as_str() {
        Some(LINEAR) => Ok(true),
        Some(FULL) => Ok(false),
        _ => Err(text.unsupported(format!("a layer of the type {}", shown(name)), format!("{LINEAR}, {FULL}"))),
    }
}

/// Refuses settings that change the computation; ignoring one would give fluent nonsense.
fn refuse_what_forward_lacks(top: &Fields, text: &Fields) -> Result<(), LlmError> {
    let models = "qwen3_5 and qwen3_5_text";
    // Top and text are the same object if the configuration is flat.
    for fields in [top, text] {
        fields.only("model_type", "the model type", &["qwen3_5", "qwen3_5_text"], models)?;
    }
    text.only("hidden_act", "the activation", &["silu", "swish"], "silu")?;
    text.only("output_gate_type", "the output gate", &["swish", "silu"], "swish")?;
    for rope in [text.object("rope_parameters")?, text.object("rope_scaling")?].into_iter().flatten() {
        for key in ["rope_type", "type"] {
            rope.only(key, "the rope type", &["default"], "default")?;
        }
    }
    let lacks = [
        (text.flag("attention_bias")? == Some(true), "attention_bias", "attention without biases"),
        (text.flag("attn_output_gate")? == Some(false), "attention without an output gate", "gated attention"),
        (text.flag("use_sliding_window")? == Some(true), "a sliding window", "full attention"),
        (text.whole("num_experts")?.unwrap_or(0) > 0, "a mixture of experts", "dense models"),
    ];
    match lacks.into_iter().find(|(present, ..)| *present) {
        Some((_, what, supported)) => Err(text.unsupported(what, supported)),
        None => Ok(()),
    }
}

/// The fields of one object of the file. Null counts as absent.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    path: &'a Path,
    fields: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.fields.iter().filter(|(_, value)| !value.is_null())
    }

    pub fn of(&self, fields: &'a Map<String, Value>) -> Fields<'a> {
        Fields { path: self.path, fields }
    }

    fn read<T>(&self, key: &str, wanted: &str, get: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>, LlmError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        get(value).map(Some).ok_or_else(|| self.bad(key, shown(value), format!("it must be {wanted}")))
    }

    fn object(&self, key: &str) -> Result<Option<Fields<'a>>, LlmError> {
        Ok(self.read(key, "an object", Value::as_object)?.map(|fields| self.of(fields)))
    }

    pub fn text(&self, key: &str) -> Result<Option<&'a str>, LlmError> {
        self.read(key, "text", Value::as_str)
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, LlmError> {
        self.read(key, "true or false", Value::as_bool)
    }

    pub fn whole(&self, key: &str) -> Result<Option<u64>, LlmError> {
        self.read(key, "a whole number", Value::as_u64)
    }

    fn number(&self, key: &str) -> Result<Option<f64>, LlmError> {
        self.read(key, "a number", Value::as_f64)
    }

    fn size(&self, key: &str, most: usize) -> Result<usize, LlmError> {
        match self.whole(key)? {
            Some(n) if n >= 1 && n <= most as u64 => Ok(n as usize),
            Some(n) => Err(self.bad(key, n, format!("1 to {most} is possible"))),
            None => Err(self.missing(key)),
        }
    }

    /// Reads a positive number, here or else in `other`.
    fn positive_or(&self, key: &str, other: &Fields) -> Result<f32, LlmError> {
        let value = match self.number(key)? {
            Some(value) => value,
            None => other.number(key)?.ok_or_else(|| other.missing(key))?,
        };
        let value = value as f32;
        self.rule(key, value, value.is_finite() && value > 0.0, || "it must be a positive number".to_owned())?;
        Ok(value)
    }

    /// Refuses any text except the known ones; absence is accepted.
    pub fn only(&self, key: &str, what: &str, known: &[&str], supported: &str) -> Result<(), LlmError> {
        match self.text(key)? {
            Some(text) if !known.contains(&text) => {
                Err(self.unsupported(format!("{what} {}", shown(&Value::from(text))), supported))
            }
            _ => Ok(()),
        }
    }

    fn rule(
        &self,
        key: &str,
        value: impl ToString,
        holds: bool,
        limit: impl FnOnce() -> String,
    ) -> Result<(), LlmError> {
        if holds { Ok(()) } else { Err(self.bad(key, value, limit())) }
    }

    pub fn bad(&self, key: &str, value: impl ToString, limit: String) -> LlmError {
        damaged(self.path, CheckpointFault::BadValue { key: key.to_owned(), value: value.to_string(), limit })
    }

    fn missing(&self, key: &str) -> LlmError {
        damaged(self.path, CheckpointFault::MissingKey { key: key.to_owned() })
    }

    pub fn unsupported(&self, what: impl Into<String>, supported: impl Into<String>) -> LlmError {
        LlmError::Unsupported { path: PathBuf::from(self.path), what: what.into(), supported: supported.into() }
    }
}

/// Formats a value for a message, shortened.
pub fn shown(value: &Value) -> String {
    const MOST: usize = 60;
    value.to_string().chars().take(MOST).collect()
}
