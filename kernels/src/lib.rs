//! The operations of Sotto's language model engine, and nothing but the operations.
//!
//! - [`BlockType`], [`Matrix`]: weights as GGML stores them, where they lie; those of MLX through
//!   [`repack_affine`].
//! - [`Simd`]: which instructions are used, chosen once at run time. [`Pool`]: threads that spin
//!   briefly, then sleep.
//! - [`matmul`]: activations `[n, cols]` times weights `[rows, cols]`, for one token or for many.
//! - [`attention`] over a [`KvCache`] or a [`KvCache8`]; [`Rope`]; [`rms_norm`], [`silu_mul`],
//!   [`sigmoid_mul`], [`add`].
//! - [`delta_rule`]: gated DeltaNet with its convolution, over a [`ConvState`] and a
//!   [`DeltaState`].
//! - [`reference`]: the plain scalar truth, in f64, that all of it is tested against; its way of
//!   taking blocks apart is also [`unpack_row`].
//!
//! Activations are f32 at every door. Where they meet quantised weights they become whole numbers
//! of 16 bits with a scale for each group, and products are summed exactly within the group:
//! rounding activations to int8 turned right answers of small models into wrong ones. Rows of at
//! most 512 quantised weights are unpacked and meet the activations in f32, because over so few
//! terms even 16 bits can be noticed. Where tiles of bf16 are multiplied, activations are cut into
//! three such numbers, which lose nothing. Shapes are given as `[outer, inner]`, inner contiguous.
//! Lengths that contradict each other are errors of the calling code and panic; what comes from a
//! file is checked by [`Matrix::new`].

mod affine;
mod attention;
mod block;
mod conv;
mod deltanet;
mod elementwise;
mod interleaved;
mod isa;
mod kv;
pub mod machine;
mod matmul;
mod matrix;
mod numbers;
mod pool;
mod pruned;
pub mod reference;
mod rope;
mod simd;
#[cfg(test)]
#[path = "../../tests/common/skip.rs"]
mod testing;
// Where processors have no tiles nobody can make a value that stands for them, and what they would
// do is out of reach.
#[cfg_attr(not(any(test, target_arch = "x86_64")), allow(dead_code, unreachable_code, unused_variables))]
mod tiles;

pub use affine::{Affine, repack_affine};
pub use attention::{AttentionShape, KeyValues, attention};
pub use block::BlockType;
pub use conv::{ConvState, HeadLayout};
pub use deltanet::{CHUNK, DeltaInput, DeltaScratch, DeltaState, DeltaWeights, Keep, delta_rule};
pub use elementwise::{add, rms_norm, sigmoid_mul, silu_mul, zeros};
pub use interleaved::{InterleavedLayout, STRIP};
pub use kv::{KvCache, KvCache8, KvElement};
pub use matmul::{Scratch, matmul, matmul_all, unpack_row, wants_strips};
pub use matrix::{Matrix, ShapeError};
pub use numbers::{Number, read_numbers, write_numbers};
pub use pool::Pool;
pub use pruned::{Best, BitPlaneLayout, PrunedMatrix, PrunedScratch};
pub use rope::{Rope, RopeStyle};
pub use simd::{Simd, SimdError};
