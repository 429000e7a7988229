//! Quantisation format of each tensor, with reasons.
//!
//! | format | matrices | embedding and head | bits per weight, 0.8B |
//! |---|---|---|---|
//! | `int4`, `int5`, `int6` | affine, groups of 64 | same, tied as source | 4.5, 5.5, 6.5 |
//! | `int8` | symmetric, groups of 32 | head same, embedding unchanged | 9.0 per matrix |
//! | `mixed` | by sensitivity, see below | affine, 6 bits in groups of 64 | 6.05 |
//!
//! **int8** follows the Core AI conversions of this model: linear, symmetric, one scale for 32
//! inputs by plain absolute maximum, and a separate head in the same format. A clipping scale on
//! the head flipped 6 of 16 greedy tokens there, the plain one none. In MLX's terms that is 8-bit
//! affine with bias = -128 · scale, so code - 128 is the signed code, -127 to 127, and mlx-lm reads
//! it as any other file. The embedding stays unquantised: one row of it is read for a token, so it
//! costs no bandwidth, and its pages stay out of memory. In memory these blocks are bit-identical
//! to Q8_0.
//!
//! **mixed** spends bits on the tensors that published measurements found sensitive (sources in the
//! specification, 5.6):
//! - `mlp.gate_proj` and `up_proj`, 23 % of the weights, tolerate 4 bits best; small groups cut the
//!   loss: 4 bits, 32.
//! - `mlp.down_proj` a little less: 5 bits, 64.
//! - The projections of DeltaNet and attention, `out_proj` and `o_proj` first, are the most
//!   sensitive: 6 bits, 64.
//! - `in_proj_a` and `in_proj_b` set decay and write strength, whose errors multiply over the whole
//!   sequence, and are a thousandth of the weights: not quantised.
//! - The embedding is the head too, and a third of the weights of the 0.8B: 6 bits, 64.
//! - Convolutions, norms, A_log and dt_bias are never quantised.
//!
//! The layer of the draft block is quantised as the others are. The matrix before it, which joins a
//! token with the hidden values, has 8 bits in every format: with fewer, others report that drafts
//! are accepted less often.
//!
//! A matrix whose width is no multiple of its group takes the largest smaller group that fits, or
//! stays unquantised.

use super::error::QuantizeError;
use crate::llm::checkpoint::names;

/// Group sizes that the kernels support.
const GROUPS: [usize; 3] = [32, 64, 128];

/// Quantisation of one matrix: value = scale · code + bias, with a scale and a bias for each group
/// of inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheme {
    pub bits: usize,
    pub group: usize,
    /// The codes lie evenly around 0: bias = -2^(bits - 1) · scale.
    pub symmetric: bool,
}

/// Formats that can be requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuantFormat {
    Int4,
    Int5,
    Int6,
    Int8,
    Mixed,
}

impl QuantFormat {
    pub const ALL: [QuantFormat; 5] =
        [QuantFormat::Mixed, QuantFormat::Int4, QuantFormat::Int5, QuantFormat::Int6, QuantFormat::Int8];

    pub fn name(self) -> &'static str {
        match self {
            QuantFormat::Int4 => "int4",
            QuantFormat::Int5 => "int5",
            QuantFormat::Int6 => "int6",
            QuantFormat::Int8 => "int8",
            QuantFormat::Mixed => "mixed",
        }
    }
}

/// A format with a fixed group size.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    format: QuantFormat,
    base: Scheme,
}

impl Recipe {
    pub fn new(format: QuantFormat, group: Option<usize>) -> Result<Recipe, QuantizeError> {
        if let Some(group) = group.filter(|group| !GROUPS.contains(group)) {
            return Err(QuantizeError::Group(group));
        }
        if format == QuantFormat::Mixed && group.is_some() {
            return Err(QuantizeError::MixedGroup);
        }
        let (bits, usual, symmetric) = match format {
            QuantFormat::Int4 => (4, 64, false),
            QuantFormat::Int5 => (5, 64, false),
            QuantFormat::Int6 | QuantFormat::Mixed => (6, 64, false),
            QuantFormat::Int8 => (8, 32, true),
        };
        Ok(Recipe { format, base: Scheme { bits, group: group.unwrap_or(usual), symmetric } })
    }

    /// Format of most matrices; config.json declares it for all modules.
    pub fn base(&self) -> Scheme {
        self.base
    }

    /// Whether a tied head becomes a tensor of its own.
    pub fn separates_head(&self) -> bool {
        self.format == QuantFormat::Int8
    }

    /// Scheme of the matrix called `name` below the prefix, whose rows have `cols` values; `None`
    /// if it stays unquantised.
    pub fn scheme(&self, name: &str, cols: usize) -> Option<Scheme> {
        let affine = |bits, group| Some(Scheme { bits, group, symmetric: false });
        let wanted = match (self.format, names::in_layer(name).unwrap_or(name)) {
            (_, names::JOIN) => affine(8, 64),
            (QuantFormat::Int8, names::EMBEDDING) => None,
            (QuantFormat::Mixed, "linear_attn.in_proj_a.weight" | "linear_attn.in_proj_b.weight") => None,
            (QuantFormat::Mixed, "mlp.gate_proj.weight" | "mlp.up_proj.weight") => affine(4, 32),
            (QuantFormat::Mixed, "mlp.down_proj.weight") => affine(5, 64),
            _ => Some(self.base),
        }?;
        let fits = |group: &usize| *group <= wanted.group && cols.is_multiple_of(*group);
        let group = GROUPS.into_iter().filter(fits).max()?;
        Some(Scheme { group, ..wanted })
    }
}
