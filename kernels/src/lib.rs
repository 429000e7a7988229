//! Compute kernels of Sotto's language model engine.
//!
//! - [`BlockType`], [`Matrix`]: weights in GGML's storage formats, unchanged in the file; those of
//!   MLX through [`repack_affine`].
//! - [`Simd`]: the instruction set in use, chosen once at run time. [`Pool`]: threads that spin
//!   briefly, then sleep.
//! - [`matmul()`]: activations `[n, cols]` times weights `[rows, cols]`, for one token or for many.
//! - [`attention()`] over a [`KvCache`] or a [`KvCache8`]; [`Rope`]; [`rms_norm`], [`silu_mul`],
//!   [`sigmoid_mul`], [`add`].
//! - [`delta_rule`]: gated DeltaNet with its convolution, over a [`ConvState`] and a
//!   [`DeltaState`].
//! - [`mod@reference`]: the scalar reference in f64, which everything is tested against;
//!   [`unpack_row`] uses its unpacking of blocks too.
//!
//! Activations are f32 in every interface. For products with quantised weights they are rounded to
//! integers of 16 bits with a scale for each group, and products are summed exactly within the
//! group: rounding activations to int8 turned right answers of small models into wrong ones. Rows
//! of at most 512 quantised weights are unpacked and multiplied by the activations in f32, because
//! over so few terms even 16 bits are noticeable. For tiles of bf16, activations are split into
//! three bf16 numbers, which lose nothing. Shapes are given as `[outer, inner]`, inner contiguous.
//! Lengths that contradict each other are errors of the caller and panic; sizes from a file are
//! checked by [`Matrix::new`].

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
// Without tile instructions no value of the tile types can be created, so their code is
// unreachable.
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
