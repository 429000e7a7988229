//! Expected tensors out of safetensors files: eight bytes of header length, a JSON header,
//! little-endian data.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use serde::Deserialize;
use sotto::llm::ModelConfig;

#[derive(Clone)]
pub struct Expected {
    tensors: Rc<HashMap<String, Vec<f32>>>,
    logits: &'static str,
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    data_offsets: (usize, usize),
}

impl Expected {
    /// What several files hold together; of the same name, the later file's.
    pub fn read(paths: &[PathBuf]) -> Expected {
        let mut tensors = HashMap::new();
        for path in paths {
            let file = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let header = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            let entries: HashMap<String, serde_json::Value> = serde_json::from_slice(&file[8..header]).unwrap();
            for (name, entry) in entries.into_iter().filter(|(name, _)| name != "__metadata__") {
                let Entry { dtype, data_offsets: (from, to) } = serde_json::from_value(entry).unwrap();
                let bytes = &file[header + from..header + to];
                let words = bytes.as_chunks().0.iter();
                let values = match dtype.as_str() {
                    "F32" => words.map(|word| f32::from_le_bytes(*word)).collect(),
                    "I32" => words.map(|word| i32::from_le_bytes(*word) as f32).collect(),
                    "U8" => bytes.iter().map(|&byte| f32::from(byte)).collect(),
                    _ => panic!("{name} is {dtype}"),
                };
                tensors.insert(name, values);
            }
        }
        Expected { tensors: Rc::new(tensors), logits: "logits" }
    }

    /// The same for quantised weights: only the logits of this name belong to them.
    pub fn of_logits(&self, logits: &'static str) -> Expected {
        Expected { logits, ..self.clone() }
    }

    pub fn logits(&self) -> &'static str {
        self.logits
    }

    /// Whether states and answers belong to these weights.
    pub fn has_states(&self) -> bool {
        self.logits == "logits"
    }

    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.tensors.get(name).map(Vec::as_slice)
    }

    pub fn values(&self, name: &str) -> &[f32] {
        self.get(name).unwrap_or_else(|| panic!("{name} is missing"))
    }

    pub fn tokens(&self, name: &str) -> Vec<u32> {
        self.values(name).iter().map(|&value| value as u32).collect()
    }

    /// The rows that a convolution still sees, `[taps - 1, channels]` in the order of GGUF. Files
    /// have `[channels, taps - 1]`, or one dead column more in front.
    pub fn conv_rows(&self, name: &str, model_config: &ModelConfig) -> Vec<f32> {
        let net = model_config.delta.as_ref().unwrap();
        let (channels, before) = (net.heads().channels(), net.taps - 1);
        let columns = self.values(name).len() / channels;
        let keys = 2 * net.heads().key_width();
        let channel = |c: usize| match c.checked_sub(keys) {
            None => c,
            Some(v) => keys + grouped_head(model_config, v / net.value_dim) * net.value_dim + v % net.value_dim,
        };
        let rows = (0..before).flat_map(|row| (0..channels).map(move |c| (row, c)));
        rows.map(|(row, c)| self.values(name)[channel(c) * columns + columns - before + row]).collect()
    }
}

/// Where value head `head` of a GGUF file stands in the order of Hugging Face.
fn grouped_head(model_config: &ModelConfig, head: usize) -> usize {
    let net = model_config.delta.as_ref().unwrap();
    head % net.key_heads * (net.value_heads / net.key_heads) + head / net.key_heads
}

/// S of a GGUF model with its heads in the order of Hugging Face.
pub fn grouped(model_config: &ModelConfig, s: &[f32]) -> Vec<f32> {
    let net = model_config.delta.as_ref().unwrap();
    let size = net.key_dim * net.value_dim;
    let mut ordered = vec![0.0; s.len()];
    for (head, s) in s.chunks_exact(size).enumerate() {
        ordered[grouped_head(model_config, head) * size..][..size].copy_from_slice(s);
    }
    ordered
}
