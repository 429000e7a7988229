//! Expected tensors of other implementations, met to the bit.

use std::fs;
use std::path::Path;

use half::bf16;
use serde_json::Value;
use sotto::llm::checkpoint::header::{self, CheckpointTensor};
use sotto::llm::checkpoint::names::TensorKind;
use sotto::llm::checkpoint::{CONFIG, Checkpoint};

use super::{bind, goldens};

/// A safetensors file read as plainly as can be, beside the reader that is tested.
struct Plain {
    header: Value,
    data: Vec<u8>,
}

impl Plain {
    fn read(path: &Path) -> Plain {
        let file = fs::read(path).unwrap();
        let end = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        Plain { header: serde_json::from_slice(&file[8..end]).unwrap(), data: file[end..].to_vec() }
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.header.as_object().unwrap().keys().filter(|name| *name != "__metadata__")
    }

    /// The tensor that this name, with whatever before it, belongs to.
    fn find(&self, own: &str) -> Option<&String> {
        self.names().find(|name| {
            *name == own || name.ends_with(&format!("model.{own}")) || name.ends_with(&format!("language_model.{own}"))
        })
    }

    fn bytes(&self, name: &str) -> &[u8] {
        let offset = |i: usize| self.header[name]["data_offsets"][i].as_u64().unwrap() as usize;
        &self.data[offset(0)..offset(1)]
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let bytes = self.bytes(name);
        match self.header[name]["dtype"].as_str().unwrap() {
            "F32" => bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
            "BF16" => bytes.chunks(2).map(|b| bf16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect(),
            other => panic!("{name} is {other}"),
        }
    }

    /// Codes of a packed tensor, bit by bit.
    fn codes(&self, name: &str, bits: usize) -> Vec<u32> {
        let bytes = self.bytes(name);
        let bit = |at: usize| u32::from(bytes[at / 8] >> (at % 8) & 1);
        (0..bytes.len() * 8 / bits).map(|i| (0..bits).map(|b| bit(i * bits + b) << b).sum()).collect()
    }
}

#[test]
fn plain_goldens_are_read_to_the_bit() {
    let folder = goldens::model().join("hf");
    let plain = Plain::read(&folder.join("model.safetensors"));
    let checkpoint = Checkpoint::open(&folder).unwrap();
    assert!(checkpoint.raw());
    let bound = bind(&checkpoint).unwrap();
    assert_eq!(bound.len(), plain.names().count());
    for (own, (needed, values)) in bound {
        let change = |w: f32| match needed.kind {
            TensorKind::Norm => 1.0 + w,
            TensorKind::Decay => -w.exp(),
            _ => w,
        };
        let expected: Vec<f32> = plain.floats(plain.find(&own).unwrap()).into_iter().map(change).collect();
        assert!(values == expected, "{own}");
    }
}

#[test]
fn packed_goldens_are_read_to_the_bit_and_lie_within_half_a_step() {
    let model = goldens::model();
    let original = Plain::read(&model.join("hf/model.safetensors"));
    for format in ["mlx_q4g64", "mlx_q5g64", "mlx_q6g32", "mlx_q8g64"] {
        check_packed(&model.join(format), &original);
    }
}

fn check_packed(folder: &Path, original: &Plain) {
    let plain = Plain::read(&folder.join("model.safetensors"));
    check_listing(folder);
    let config: Value = serde_json::from_slice(&fs::read(folder.join(CONFIG)).unwrap()).unwrap();
    let declared = |key: &str| config["quantization"][key].as_u64().unwrap() as usize;
    let (bits, group) = (declared("bits"), declared("group_size"));
    let checkpoint = Checkpoint::open(folder).unwrap();
    assert!(!checkpoint.raw());
    for (own, (needed, values)) in bind(&checkpoint).unwrap() {
        let name = plain.find(&own).unwrap();
        let before = original.floats(original.find(&own).unwrap());
        match needed.kind {
            TensorKind::Matrix => {
                let module = name.strip_suffix(".weight").unwrap();
                let parameters = |part: &str| plain.floats(&format!("{module}.{part}"));
                let (scales, biases) = (parameters("scales"), parameters("biases"));
                for (i, code) in plain.codes(name, bits).into_iter().enumerate() {
                    let (scale, bias) = (scales[i / group], biases[i / group]);
                    assert_eq!(values[i], scale * code as f32 + bias, "{name} {i}");
                    // Half a step, and what rounding scale and bias to bf16 moves. MLX stretches
                    // the scale until 0 is met exactly, so that values at an end of the range may
                    // lie a step beyond it.
                    let steps = if code == 0 || code + 1 == 1 << bits { 1.5 } else { 0.501 };
                    let rounding = (scale.abs() * code as f32 + bias.abs()) / 256.0;
                    assert!((values[i] - before[i]).abs() <= steps * scale.abs() + rounding, "{name} {i}");
                }
            }
            TensorKind::Norm => {
                let expected: Vec<f32> = before.iter().map(|w| bf16::from_f32(1.0 + w).to_f32()).collect();
                assert!(values == expected, "{name}");
            }
            TensorKind::Decay => assert!(values == before.iter().map(|w| -w.exp()).collect::<Vec<_>>(), "{name}"),
            _ => assert!(values == before, "{name}"),
        }
    }
}

/// Names, shapes and types as mlx lists them.
fn check_listing(folder: &Path) {
    let listed: Value = serde_json::from_slice(&fs::read(folder.join("tensors.json")).unwrap()).unwrap();
    let found = header::parse(&fs::read(folder.join("model.safetensors")).unwrap()).unwrap();
    assert_eq!(found.len(), listed.as_object().unwrap().len());
    for CheckpointTensor { name, dims, dtype, .. } in found {
        let named = match dtype.name() {
            "BF16" => "mlx.core.bfloat16",
            "F32" => "mlx.core.float32",
            "U32" => "mlx.core.uint32",
            other => panic!("{name} is {other}"),
        };
        assert_eq!(listed[&name], serde_json::json!([dims, named]), "{name}");
    }
}
