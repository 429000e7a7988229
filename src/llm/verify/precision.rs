//! Number formats of the weights of a model.

use std::collections::BTreeMap;

use sotto_kernels::BlockType;

use crate::llm::ModelSource;
use crate::llm::checkpoint::header::{CheckpointTensor, Dtype};
use crate::llm::checkpoint::inventory::{Needed, inventory};
use crate::llm::checkpoint::names::TensorKind;

/// Format of the matrices of a model: the quantised ones, or all if none is quantised.
#[derive(Clone, Debug, PartialEq)]
pub struct Precision {
    /// Format of most weights, such as "bf16", "q8_0" or "int4".
    pub name: String,
    /// Mean bits of the code of a weight, without scales.
    pub bits: f64,
    /// Whether every matrix is stored as floats.
    pub exact: bool,
    /// Whether norms and quantised matrices are in MLX's layout.
    pub converted: bool,
}

/// Format of one matrix.
struct Written {
    name: String,
    /// Bits of a code.
    bits: f64,
    float: bool,
    weights: f64,
}

impl ModelSource {
    /// Whether the reference can load it: an unquantised checkpoint.
    pub fn is_unquantised_checkpoint(&self) -> bool {
        matches!(self, ModelSource::Checkpoint(_)) && self.precision().exact
    }

    pub fn precision(&self) -> Precision {
        match self {
            ModelSource::Gguf(gguf) => {
                let matrices = gguf.tensors().filter(|tensor| tensor.dims.len() == 2 && !is_small(&tensor.name));
                Precision::of(matrices.map(|tensor| Written::block(tensor.kind, &tensor.dims)), false)
            }
            ModelSource::Checkpoint(checkpoint) => {
                let needed = inventory(checkpoint.model_config(), checkpoint.tied());
                let matrices = needed.iter().filter(|needed| needed.kind == TensorKind::Matrix);
                let written = matrices.filter_map(|Needed { name, dims, .. }| {
                    let (tensor, _) = checkpoint.find(name).ok()?;
                    Some(match tensor.dtype.kind() {
                        Some(kind) => Written::block(kind, dims),
                        None => Written::packed(tensor, dims),
                    })
                });
                Precision::of(written, !checkpoint.raw())
            }
        }
    }
}

/// Whether a tensor is never quantised in any format: converters keep convolutions in f32.
fn is_small(name: &str) -> bool {
    name.ends_with("ssm_conv1d.weight")
}

fn weights(dims: &[usize]) -> f64 {
    dims.iter().map(|&dim| dim as f64).product()
}

impl Written {
    fn block(kind: BlockType, dims: &[usize]) -> Written {
        use BlockType::*;
        let (bits, float) = match kind {
            F32 => (32.0, true),
            F16 | BF16 => (16.0, true),
            Q8_0 => (8.0, false),
            Q6_K => (6.0, false),
            Q5_0 | Q5_1 | Q5_K => (5.0, false),
            Q4_0 | Q4_1 | Q4_K => (4.0, false),
            Q3_K => (3.0, false),
            Q2_K => (2.0, false),
            Affine(affine) => (affine.bits() as f64, false),
        };
        Written { name: kind.name().to_lowercase(), bits, float, weights: weights(dims) }
    }

    /// Describes the packed codes of a matrix of `dims`; other element types by their name.
    fn packed(tensor: &CheckpointTensor, dims: &[usize]) -> Written {
        let (words, cols) = (tensor.dims.last().copied().unwrap_or(0), dims.last().copied().unwrap_or(0).max(1));
        let (name, bits) = match &tensor.dtype {
            Dtype::U32 => (format!("int{}", words.saturating_mul(32) / cols), words.saturating_mul(32) / cols),
            other => (other.name().to_lowercase(), 0),
        };
        Written { name, bits: bits as f64, float: false, weights: weights(dims) }
    }
}

impl Precision {
    /// Determines the common format. Floats beside quantised matrices are left out: an embedding in
    /// bf16 would hide that the rest has 4 bits.
    fn of(matrices: impl Iterator<Item = Written>, converted: bool) -> Precision {
        let (floats, quantised): (Vec<Written>, Vec<Written>) = matrices.partition(|matrix| matrix.float);
        let exact = quantised.is_empty() && !floats.is_empty();
        let judged = if quantised.is_empty() { floats } else { quantised };
        let (mut names, mut bits, mut all) = (BTreeMap::new(), 0.0, 0.0);
        for Written { name, bits: each, weights, .. } in judged {
            *names.entry(name).or_insert(0.0) += weights;
            bits += each * weights;
            all += weights;
        }
        let most = names.into_iter().max_by(|(_, a), (_, b)| f64::total_cmp(a, b));
        let name = most.map_or("unknown".to_owned(), |(name, _)| name);
        Precision { name, bits: if all > 0.0 { bits / all } else { 0.0 }, exact, converted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::checkpoint::testing::Layout;

    #[test]
    fn one_quantised_matrix_makes_a_model_quantised_and_floats_beside_it_do_not_count() {
        use BlockType::*;
        type Matrices<'a> = &'a [(BlockType, usize)];
        let cases: [(Matrices, &str, f64, bool); 7] = [
            (&[(BF16, 10)], "bf16", 16.0, true),
            (&[(F32, 10), (BF16, 30)], "bf16", 20.0, true),
            (&[(F32, 90), (Q4_0, 10)], "q4_0", 4.0, false),
            (&[(BF16, 999), (Q8_0, 1)], "q8_0", 8.0, false),
            (&[(Q4_K, 30), (Q6_K, 10)], "q4_k", 4.5, false),
            (&[(F16, 100), (Q4_K, 30), (Q6_K, 10)], "q4_k", 4.5, false),
            (&[], "unknown", 0.0, false),
        ];
        for (matrices, name, bits, exact) in cases {
            let written = matrices.iter().map(|(kind, weights)| Written::block(*kind, &[*weights]));
            let wanted = Precision { name: name.to_owned(), bits, exact, converted: false };
            assert_eq!(Precision::of(written, false), wanted, "{matrices:?}");
        }
    }

    #[test]
    fn packed_matrices_are_told_by_their_words() {
        let published = Layout::published();
        let mixed = Layout { packed: Some((5, 64)), ..published.clone() };
        let mut tensors = published.tensors();
        let is_packed = |name: &str| name.contains(".mlp.down_proj.");
        tensors.retain(|(entry, _)| !is_packed(&entry.name));
        tensors.extend(mixed.tensors().into_iter().filter(|(entry, _)| is_packed(&entry.name)));
        for (layout, tensors, name, bits) in [
            (&published, published.tensors(), "bf16", 16.0),
            (&Layout::mlx(6, 32), Layout::mlx(6, 32).tensors(), "int6", 6.0),
            (&published, tensors, "int5", 5.0),
        ] {
            let source = ModelSource::open(layout.write_tensors(&tensors).path()).unwrap();
            let precision = source.precision();
            assert_eq!((&*precision.name, precision.bits, precision.exact), (name, bits, name == "bf16"));
            assert_eq!(source.is_unquantised_checkpoint(), name == "bf16", "{name}");
        }
    }
}
