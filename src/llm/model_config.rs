//! Configuration of a model, read from its metadata and checked once.

mod gguf;

use sotto_kernels::HeadLayout;

/// The architectures that this engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama 2 and its kin, SmolLM2 among them. Rotary pairs lie side by side: the converter
    /// permuted q and k for it.
    Llama,
    /// Qwen 2 and 2.5: as Llama, with biases on q, k and v, and rotary pairs half a head apart.
    Qwen2,
    /// Qwen 3.5: gated DeltaNet layers, and every few layers gated attention with normed queries
    /// and keys.
    Qwen35,
}

/// The sizes of a transformer decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    pub family: Family,
    pub layers: usize,
    /// Values per position between layers (hidden size).
    pub width: usize,
    /// Values inside the feed-forward network (intermediate size).
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Values per head.
    pub head_dim: usize,
    /// Number of values of each head that are rotated, from the first on.
    pub rotated: usize,
    pub rope_base: f32,
    pub norm_eps: f32,
    pub vocabulary: usize,
    /// Number of positions the model was trained for.
    pub context: usize,
    /// DeltaNet layers; `None` in families where all layers are attention.
    pub delta: Option<DeltaNet>,
}

/// The gated DeltaNet layers of a hybrid model.
#[derive(Clone, Debug, PartialEq)]
pub struct DeltaNet {
    /// Kind of each layer: true for DeltaNet, false for attention.
    pub layers: Vec<bool>,
    pub key_heads: usize,
    /// A multiple of `key_heads`.
    pub value_heads: usize,
    pub key_dim: usize,
    pub value_dim: usize,
    /// Taps of the causal convolution.
    pub taps: usize,
    pub order: HeadOrder,
}

/// Order of value heads, if there are `r` value heads for each key head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadOrder {
    /// Value head h belongs to key head h / r: Hugging Face and MLX.
    Grouped,
    /// Value head h belongs to key head h mod (key heads): GGUF.
    Tiled,
}

/// A size that contradicts another.
pub struct Misfit {
    /// Key in the metadata of a GGUF file, without the architecture.
    pub key: &'static str,
    pub value: usize,
    /// Values that are allowed.
    pub limit: String,
}

impl ModelConfig {
    /// Values of all query heads of one position.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Values of all key (or value) heads of one position.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Whether layer `n` is a DeltaNet.
    pub fn is_delta(&self, n: usize) -> bool {
        self.delta.as_ref().is_some_and(|delta| delta.layers.get(n).copied().unwrap_or(false))
    }

    /// Checks that the sizes fit together; returns the first that does not.
    pub fn check(&self) -> Result<(), Misfit> {
        let rule = |key, value, holds, limit: String| if holds { Ok(()) } else { Err(Misfit { key, value, limit }) };
        let ModelConfig { heads, kv_heads, head_dim, rotated, .. } = *self;
        let shared = kv_heads > 0 && heads.is_multiple_of(kv_heads);
        rule("attention.head_count_kv", kv_heads, shared, format!("must divide {heads} heads"))?;
        rule("attention.key_length", head_dim, head_dim > 0, format!("{heads} heads share {} values", self.width))?;
        let fits = rotated <= head_dim && rotated.is_multiple_of(2);
        rule("rope.dimension_count", rotated, fits, format!("must be even and at most {head_dim}"))?;
        let Some(DeltaNet { layers, key_heads, value_heads, .. }) = &self.delta else { return Ok(()) };
        let each = layers.len() == self.layers;
        rule("attention.recurrent_layers", layers.len(), each, format!("there are {} layers", self.layers))?;
        let shared = *key_heads > 0 && *value_heads > 0 && value_heads.is_multiple_of(*key_heads);
        rule("ssm.time_step_rank", *value_heads, shared, format!("must be a multiple of {key_heads} key heads"))
    }
}

impl DeltaNet {
    pub fn heads(&self) -> HeadLayout {
        let DeltaNet { key_heads, value_heads, key_dim, value_dim, .. } = *self;
        HeadLayout { key_heads, value_heads, key_dim, value_dim, tiled: self.order == HeadOrder::Tiled }
    }
}
