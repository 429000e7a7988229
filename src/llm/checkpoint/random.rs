//! Checkpoints with random weights in the published layout, for tests and measurements: they have
//! the speed and size of real ones.

use std::io;
use std::path::Path;

use half::bf16;
use serde_json::Value;

use super::Checkpoint;
use super::config::CheckpointConfig;
use super::folder::{CONFIG, unreadable};
use super::header::Dtype;
use super::inventory::inventory;
use super::names::TensorKind;
use super::writer::{CheckpointWriter, TensorSpec};
use crate::llm::LlmError;

/// Prefix of the names of the text model, as published.
pub const PREFIX: &str = "model.language_model.";
/// Number of values that are generated at a time.
const CHUNK: usize = 1 << 20;

/// Writes a checkpoint into the folder `dir`: `config`, and `file` with weights for it and for
/// `others`.
pub fn write(dir: &Path, file: &str, config: &Value, others: &[TensorSpec], seed: u64) -> Result<Checkpoint, LlmError> {
    let text = config.to_string();
    let parsed = CheckpointConfig::parse(text.as_bytes(), &dir.join(CONFIG))?;
    let mut tensors = Vec::new();
    for needed in inventory(&parsed.model_config, parsed.tied.unwrap_or(true)) {
        // As published: these two in f32, everything else in bf16.
        let wide = matches!(needed.kind, TensorKind::Decay | TensorKind::GatedNorm);
        let dtype = if wide { Dtype::F32 } else { Dtype::BF16 };
        let prefix = if needed.name.starts_with("lm_head") { "" } else { PREFIX };
        let values = Values::new(needed.kind, &needed.name, &needed.dims, seed);
        tensors.push((TensorSpec::new(format!("{prefix}{}", needed.name), dtype, &needed.dims), values));
    }
    let random = |entry: &TensorSpec| (entry.clone(), Values::new(TensorKind::Matrix, &entry.name, &entry.dims, seed));
    tensors.extend(others.iter().map(random));
    // Order of the reference implementation: wide elements first, then by name.
    tensors.sort_by(|(a, _), (b, _)| (a.dtype != Dtype::F32, &a.name).cmp(&(b.dtype != Dtype::F32, &b.name)));
    let entries: Vec<TensorSpec> = tensors.iter().map(|(entry, _)| entry.clone()).collect();
    let path = dir.join(file);
    let failed = unreadable(&path);
    std::fs::write(dir.join(CONFIG), text).map_err(&failed)?;
    // The published files carry no metadata.
    let mut writer = CheckpointWriter::create(&path, &entries, &[]).map_err(&failed)?;
    for (entry, values) in tensors {
        write_values(&mut writer, &entry, values).map_err(&failed)?;
    }
    writer.finish().map_err(&failed)?;
    Checkpoint::open(dir)
}

fn write_values(writer: &mut CheckpointWriter, entry: &TensorSpec, mut values: Values) -> io::Result<()> {
    let mut left: usize = entry.dims.iter().product();
    while left > 0 {
        let chunk: Vec<f32> = values.by_ref().take(left.min(CHUNK)).collect();
        left -= chunk.len();
        let no_float = || io::Error::other(format!("{:?} of type {} is no float", entry.name, entry.dtype.name()));
        writer.write(&entry.dtype.encode(&chunk).ok_or_else(no_float)?)?;
    }
    Ok(())
}

/// Generator of the values of one tensor, deterministic by name and seed; all values are bf16.
pub struct Values {
    random: fastrand::Rng,
    kind: TensorKind,
    /// Scale of a matrix, so that its products are as large as its inputs.
    scale: f32,
}

impl Values {
    pub fn new(kind: TensorKind, name: &str, dims: &[usize], seed: u64) -> Values {
        let seed = name.bytes().fold(seed, |seed, byte| seed.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte));
        let scale = 1.0 / (dims.last().copied().unwrap_or(1).max(1) as f32).sqrt();
        Values { random: fastrand::Rng::with_seed(seed), kind, scale }
    }

    /// Draws with mean 0 and deviation 1, nearly normal: the sum of four uniform numbers.
    fn normal(&mut self) -> f32 {
        const SIXTEEN: u64 = 0xffff;
        let bits = self.random.u64(..);
        let sum: u64 = (0..4).map(|i| bits >> (16 * i) & SIXTEEN).sum();
        // Each part has mean 32767.5 and variance 65536² / 12.
        (sum as f32 - 131_070.0) / 37_837.2
    }
}

impl Iterator for Values {
    type Item = f32;

    fn next(&mut self) -> Option<f32> {
        let value = match self.kind {
            TensorKind::Matrix => self.normal() * self.scale,
            TensorKind::Norm => self.normal() * 0.1,
            TensorKind::GatedNorm => self.normal() * 0.1 + 1.0,
            TensorKind::Convolution => self.normal() * 0.5,
            // From heads with hardly any decay to heads that decay at once.
            TensorKind::Decay => (self.random.f32() * 15.99 + 0.01).ln(),
            TensorKind::Bias => self.random.f32() * 6.0 - 5.0,
        };
        Some(bf16::from_f32(value).to_f32())
    }
}
