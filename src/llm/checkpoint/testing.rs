//! Small checkpoints for tests, in every layout that occurs in practice.

use std::path::Path;

use half::{bf16, f16};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::header::Dtype;
use super::inventory::{Needed, draft_inventory, inventory};
use super::names::{self, TensorKind};
use super::random::Values;
use super::writer::{CheckpointWriter, TensorSpec};
use super::{Checkpoint, config};
use crate::llm::LlmError;

/// Layout of a checkpoint. All widths are multiples of 128, so that every group fits.
#[derive(Clone)]
pub struct Layout {
    pub prefix: &'static str,
    pub head: &'static str,
    /// Whether norms hold 1 + w and convolutions are [channels, taps, 1].
    pub converted: bool,
    pub dtype: Dtype,
    pub tied: bool,
    /// Bits and group size of every matrix.
    pub packed: Option<(usize, usize)>,
    pub shards: usize,
    pub config: Value,
}

/// A tensor to write: its specification and its bytes.
pub type Data = (TensorSpec, Vec<u8>);

/// Configuration of two layers, a DeltaNet with twice as many value heads as key heads, and
/// attention.
pub fn text_config() -> Value {
    json!({
        "model_type": "qwen3_5_text", "vocab_size": 64, "hidden_size": 128, "intermediate_size": 256,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64,
        "hidden_act": "silu", "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "attention_bias": false,
        "attn_output_gate": true, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 16,
        "linear_value_head_dim": 32, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
        "layer_types": ["linear_attention", "full_attention"], "bos_token_id": null,
        "rope_parameters": { "rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.25 },
    })
}

pub fn nested(text: Value, tied: bool) -> Value {
    json!({ "model_type": "qwen3_5", "tie_word_embeddings": tied, "text_config": text, "vision_config": { "depth": 1 } })
}

impl Layout {
    pub fn published() -> Layout {
        Layout {
            prefix: "model.language_model.",
            head: "lm_head.weight",
            converted: false,
            dtype: Dtype::BF16,
            tied: true,
            packed: None,
            shards: 1,
            config: nested(text_config(), true),
        }
    }

    pub fn mlx(bits: usize, group: usize) -> Layout {
        let mut config = nested(text_config(), true);
        config["quantization"] = json!({ "bits": bits, "group_size": group });
        let (prefix, head) = ("language_model.model.", "language_model.lm_head.weight");
        Layout { prefix, head, converted: true, packed: Some((bits, group)), config, ..Layout::published() }
    }

    pub fn inventory(&self) -> Vec<Needed> {
        let config =
            config::CheckpointConfig::parse(self.config.to_string().as_bytes(), Path::new("config.json")).unwrap();
        inventory(&config.model_config, self.tied)
    }

    /// Values that a model binds for `needed`, and the tensors that encode them.
    pub fn tensor(&self, needed: &Needed) -> (Vec<f32>, Vec<Data>) {
        let Needed { name, kind, dims } = needed;
        let count = dims.iter().product();
        let mut values: Vec<f32> = Values::new(*kind, name, dims, 1).take(count).collect();
        if self.dtype == Dtype::F16 {
            values.iter_mut().for_each(|w| *w = f16::from_f32(*w).to_f32());
        }
        let full = match name.as_str() {
            names::HEAD => self.head.to_owned(),
            // As published: outside the text model.
            name if names::drafting(name).is_some() => name.to_owned(),
            name => format!("{}{name}", self.prefix),
        };
        let (mut dims, mut dtype) = (dims.clone(), self.dtype.clone());
        match (kind, self.packed) {
            (TensorKind::Matrix, Some((bits, group))) => return pack(&full, &values, &dims, bits, group),
            (TensorKind::Norm, _) if self.converted => {
                values.iter_mut().for_each(|w| *w = bf16::from_f32(*w + 1.0).to_f32());
            }
            (TensorKind::Convolution, _) if self.converted => dims.swap(1, 2),
            (TensorKind::Decay | TensorKind::GatedNorm, _) => dtype = Dtype::F32,
            _ => {}
        }
        let data = (TensorSpec::new(full, dtype.clone(), &dims), dtype.encode(&values).unwrap());
        match kind {
            TensorKind::Norm if !self.converted => values.iter_mut().for_each(|w| *w += 1.0),
            TensorKind::Decay => values.iter_mut().for_each(|w| *w = -w.exp()),
            _ => {}
        }
        (values, vec![data])
    }

    /// Tensors of a draft block.
    pub fn draft_inventory(&self) -> Vec<Needed> {
        let config =
            config::CheckpointConfig::parse(self.config.to_string().as_bytes(), Path::new("config.json")).unwrap();
        draft_inventory(&config.model_config)
    }

    pub fn tensors(&self) -> Vec<Data> {
        self.inventory().iter().flat_map(|needed| self.tensor(needed).1).collect()
    }

    pub fn write(&self) -> TempDir {
        self.write_tensors(&self.tensors())
    }

    /// Writes the folder with `tensors` instead of the layout's own, split over the layout's number
    /// of files.
    pub fn write_tensors(&self, tensors: &[Data]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), self.config.to_string()).unwrap();
        let each = tensors.len().div_ceil(self.shards);
        let mut index = serde_json::Map::new();
        for (n, tensors) in tensors.chunks(each).enumerate() {
            let name = match self.shards {
                1 => "model.safetensors".to_owned(),
                all => format!("model-{:05}-of-{all:05}.safetensors", n + 1),
            };
            write_file(&dir.path().join(&name), tensors);
            index.extend(tensors.iter().map(|(entry, _)| (entry.name.clone(), name.clone().into())));
        }
        if self.shards > 1 {
            let index = json!({ "metadata": { "total_size": 1 }, "weight_map": index });
            std::fs::write(dir.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
        }
        dir
    }
}

pub fn write_file(path: &Path, tensors: &[Data]) {
    let entries: Vec<TensorSpec> = tensors.iter().map(|(entry, _)| entry.clone()).collect();
    let mut writer = CheckpointWriter::create(path, &entries, &[("format", "test")]).unwrap();
    tensors.iter().for_each(|(_, bytes)| writer.write(bytes).unwrap());
    writer.finish().unwrap();
}

pub fn open(dir: &TempDir) -> Result<Checkpoint, LlmError> {
    Checkpoint::open(dir.path())
}

/// Quantises in a simple way, bit by bit, following the description of the format. Returns the
/// decoded values and the three tensors.
fn pack(name: &str, values: &[f32], dims: &[usize], bits: usize, group: usize) -> (Vec<f32>, Vec<Data>) {
    let (rows, cols) = (dims[0], dims[1]);
    let (mut packed, mut scales, mut biases) = (vec![0u8; rows * cols / 8 * bits], Vec::new(), Vec::new());
    let mut back = Vec::new();
    for (number, group_values) in values.chunks(group).enumerate() {
        let low = group_values.iter().copied().fold(f32::INFINITY, f32::min);
        let high = group_values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        // Every other group counts down from its greatest value, as in MLX.
        let (bias, step) = if number % 2 == 0 { (low, high - low) } else { (high, low - high) };
        let round = |x: f32| bf16::from_f32(x).to_f32();
        let (scale, bias) = (round(step / ((1 << bits) - 1) as f32), round(bias));
        for (i, value) in group_values.iter().enumerate() {
            let code = ((value - bias) / scale).round().clamp(0.0, ((1 << bits) - 1) as f32) as usize;
            for bit in 0..bits {
                let at = (number * group + i) * bits + bit;
                packed[at / 8] |= ((code >> bit & 1) << (at % 8)) as u8;
            }
            back.push(scale * code as f32 + bias);
        }
        scales.push(scale);
        biases.push(bias);
    }
    let module = name.strip_suffix(".weight").unwrap();
    let parameters = [rows, cols / group];
    let data = vec![
        (TensorSpec::new(name, Dtype::U32, &[rows, cols * bits / 32]), packed),
        (TensorSpec::new(format!("{module}.scales"), Dtype::BF16, &parameters), Dtype::BF16.encode(&scales).unwrap()),
        (TensorSpec::new(format!("{module}.biases"), Dtype::BF16, &parameters), Dtype::BF16.encode(&biases).unwrap()),
    ];
    (back, data)
}
