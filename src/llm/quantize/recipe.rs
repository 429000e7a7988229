//! Which tensor is quantised how, and why.
//!
//! | format | matrices | embedding and head | bits per weight, 0.8B |
//! |---|---|---|---|
//! | `int4`, `int5`, `int6` | affine, groups of 64 | the same, tied as in the source | 4.5, 5.5, 6.5 |
//! | `int8` | symmetric, groups of 32 | head apart, symmetric in groups of 32; embedding as it was | 9.0 of each matrix |
//! | `mixed` | by how sensitive they are, below | affine, 6 bits in groups of 64 | 6.05 |
//!
//! **int8** follows the Core AI conversions of this model: linear, symmetric, one scale for 32
//! inputs by plain absolute maximum, and a head of its own. A clipping scale on the head flipped 6
//! of 16 greedy tokens there, the plain one none. In MLX's terms that is 8-bit affine with bias =
//! -128 · scale, so code - 128 is the signed code, -127 to 127, and mlx-lm reads it as any other
//! file. The embedding stays as it was: one row of it is read for a token, so it costs no traffic,
//! and its pages stay out of memory. In memory these blocks are Q8_0, to the bit.
//!
//! **mixed** spends bits where others measured that the model needs them (sources in the
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
//! The layer of the block that drafts is quantised as the others are; the matrix before it, which
//! joins a token with what the model made of the text, to 8 bits in every format: with fewer,
//! others saw drafts come true less often.
//!
//! A matrix whose width is no multiple of its group takes the largest smaller group that fits, or
//! stays as it was.

use super::error::QuantizeError;
use crate::llm::checkpoint::names;

/// Groups that kernels know.
const GROUPS: [usize; 3] = [32, 64, 128];

/// How one matrix is quantised: value = scale · code + bias, for each group of inputs its own scale
/// and bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheme {
    pub bits: usize,
    pub group: usize,
    /// The codes lie evenly around 0: bias = -2^(bits - 1) · scale.
    pub symmetric: bool,
}

/// What may be asked for.
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

/// A format with its groups settled.
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

    /// How most matrices are quantised; what config.json says for all modules.
    pub fn base(&self) -> Scheme {
        self.base
    }

    /// Whether a tied head becomes a tensor of its own.
    pub fn separates_head(&self) -> bool {
        self.format == QuantFormat::Int8
    }

    /// How the matrix called `name` below the prefix is quantised, whose rows are `cols` wide;
    /// `None` where it stays.
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
