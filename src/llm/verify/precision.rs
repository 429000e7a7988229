//! How the weights of a model are written.

use std::collections::BTreeMap;

use sotto_kernels::BlockType;

use crate::llm::Source;
use crate::llm::checkpoint::header::Dtype;
use crate::llm::checkpoint::inventory::inventory;
use crate::llm::checkpoint::names::Kind;

/// How the matrices of a model are written.
#[derive(Clone, Debug, PartialEq)]
pub struct Precision {
    /// That of most weights, such as "bf16", "q8_0" or "int4".
    pub name: String,
    /// Bits of the code of a weight, scales aside, on average over all matrices.
    pub bits: f64,
    /// Norms and quantised matrices as MLX has them.
    pub converted: bool,
}

impl Source {
    /// Whether the reference can be made of it: a checkpoint that nobody quantised.
    pub fn is_unquantised_checkpoint(&self) -> bool {
        matches!(self, Source::Checkpoint(_)) && self.precision().is_exact()
    }

    pub fn precision(&self) -> Precision {
        match self {
            Source::Gguf(gguf) => {
                let matrices = gguf.tensors().filter(|tensor| tensor.dims.len() == 2 && !is_small(&tensor.name));
                let weights = |dims: &[usize]| dims.iter().map(|&dim| dim as f64).product();
                Precision::of(matrices.map(|tensor| (block(tensor.kind), weights(&tensor.dims))), false)
            }
            Source::Checkpoint(checkpoint) => {
                let needed = inventory(checkpoint.blueprint(), checkpoint.tied());
                let matrices = needed.iter().filter(|needed| needed.kind == Kind::Matrix);
                let written = matrices.filter_map(|needed| {
                    let (tensor, _) = checkpoint.find(&needed.name).ok()?;
                    let (cols, weights) = (needed.dims.last()?, needed.dims.iter().map(|&dim| dim as f64).product());
                    let packed = tensor.dims.last().map_or(0, |words| 32 * words / (*cols).max(1));
                    Some((dtype(&tensor.dtype, packed), weights))
                });
                Precision::of(written, !checkpoint.raw())
            }
        }
    }
}

/// Never quantised, whatever the format: converters keep convolutions in f32.
fn is_small(name: &str) -> bool {
    name.ends_with("ssm_conv1d.weight")
}

/// A name and the bits of a code.
fn block(kind: BlockType) -> (String, f64) {
    use BlockType::*;
    let bits = match kind {
        F32 => 32.0,
        F16 | BF16 => 16.0,
        Q8_0 => 8.0,
        Q6_K => 6.0,
        Q5_0 | Q5_1 | Q5_K => 5.0,
        Q4_0 | Q4_1 | Q4_K => 4.0,
        Affine(affine) => affine.bits() as f64,
    };
    (format!("{kind:?}").to_lowercase(), bits)
}

fn dtype(dtype: &Dtype, packed: usize) -> (String, f64) {
    match dtype {
        Dtype::F32 => ("f32".to_owned(), 32.0),
        Dtype::F16 => ("f16".to_owned(), 16.0),
        Dtype::BF16 => ("bf16".to_owned(), 16.0),
        Dtype::U32 => (format!("int{packed}"), packed as f64),
        Dtype::Other(name) => (name.to_lowercase(), 0.0),
    }
}

impl Precision {
    /// Of matrices: how each is written, and how many weights it has.
    fn of(matrices: impl Iterator<Item = ((String, f64), f64)>, converted: bool) -> Precision {
        let (mut names, mut bits, mut all) = (BTreeMap::new(), 0.0, 0.0);
        for ((name, each), weights) in matrices {
            *names.entry(name).or_insert(0.0) += weights;
            bits += each * weights;
            all += weights;
        }
        let most = names.into_iter().max_by(|(_, a), (_, b)| f64::total_cmp(a, b));
        let name = most.map_or("unknown".to_owned(), |(name, _)| name);
        Precision { name, bits: if all > 0.0 { bits / all } else { 0.0 }, converted }
    }

    /// Whether the weights are floats.
    pub fn is_exact(&self) -> bool {
        self.bits >= 16.0
    }
}
