//! What a model is, read from the metadata of its file and checked once.

use super::LlmError;
use super::gguf::{Gguf, GgufFault};

const MAX_LAYERS: usize = 512;
const MAX_WIDTH: usize = 1 << 16;
const MAX_HIDDEN: usize = 1 << 20;
const MAX_HEADS: usize = 1024;
const MAX_CONTEXT: usize = 1 << 24;

/// The architectures that this engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama 2 and its kin, SmolLM2 among them. Rotary pairs lie side by side: the converter permuted q and k for it.
    Llama,
    /// Qwen 2 and 2.5: as Llama, with biases on q, k and v, and rotary pairs half a head apart.
    Qwen2,
    /// Qwen 3.5: gated DeltaNet layers, and every few layers gated attention with normed queries and keys.
    Qwen35,
}

const FAMILIES: [(&str, Family); 2] = [("llama", Family::Llama), ("qwen2", Family::Qwen2)];

/// The sizes of a transformer decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Blueprint {
    pub family: Family,
    pub layers: usize,
    /// Values per position between layers.
    pub width: usize,
    /// Values inside the feed-forward network.
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Values per head.
    pub head_dim: usize,
    /// The first so many values of a head are rotated.
    pub rotated: usize,
    pub rope_base: f32,
    pub norm_eps: f32,
    pub vocabulary: usize,
    /// Most positions the model was trained for.
    pub context: usize,
    /// What the layers are that do not attend; `None` in families where all do.
    pub delta: Option<DeltaNet>,
}

/// The gated DeltaNet layers of a hybrid model.
#[derive(Clone, Debug, PartialEq)]
pub struct DeltaNet {
    /// One for each layer: true where it is a DeltaNet, false where it attends.
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

/// Which key head a value head listens to, where there are `r` value heads for each key head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadOrder {
    /// Value head h belongs to key head h / r: Hugging Face and MLX.
    Grouped,
    /// Value head h belongs to key head h mod (key heads): GGUF.
    Tiled,
}

impl Blueprint {
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, LlmError> {
        let family = Family::from_gguf(gguf)?;
        let keys = Keys { gguf, prefix: family.name() };
        keys.refuse_what_forward_lacks()?;
        let width = keys.size("embedding_length", MAX_WIDTH)?;
        let heads = keys.size("attention.head_count", MAX_HEADS)?;
        let head_dim = keys.size_or("attention.key_length", MAX_WIDTH, width / heads)?;
        let blueprint = Blueprint {
            family,
            layers: keys.size("block_count", MAX_LAYERS)?,
            width,
            hidden: keys.size("feed_forward_length", MAX_HIDDEN)?,
            heads,
            kv_heads: keys.size_or("attention.head_count_kv", MAX_HEADS, heads)?,
            head_dim,
            rotated: keys.size_or("rope.dimension_count", MAX_WIDTH, head_dim)?,
            rope_base: keys.positive("rope.freq_base", Some(10_000.0))?,
            norm_eps: keys.positive("attention.layer_norm_rms_epsilon", None)?,
            vocabulary: keys.vocabulary()?,
            context: keys.size("context_length", MAX_CONTEXT)?,
            delta: None,
        };
        blueprint.check_heads(&keys)?;
        Ok(blueprint)
    }

    /// Values of all query heads of one position.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Values of all key (or value) heads of one position.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    fn check_heads(&self, keys: &Keys) -> Result<(), LlmError> {
        let value_dim = keys.size_or("attention.value_length", MAX_WIDTH, self.head_dim)?;
        let rule = |key: &str, value: usize, holds: bool, limit: String| match holds {
            true => Ok(()),
            false => Err(keys.bad(key, value, limit)),
        };
        let Blueprint { heads, kv_heads, head_dim, rotated, .. } = *self;
        rule(
            "attention.head_count_kv",
            kv_heads,
            heads.is_multiple_of(kv_heads),
            format!("must divide {heads} heads"),
        )?;
        rule("attention.key_length", head_dim, head_dim > 0, format!("{heads} heads share {} values", self.width))?;
        rule("attention.value_length", value_dim, value_dim == head_dim, format!("keys have {head_dim}"))?;
        let fits = rotated <= head_dim && rotated.is_multiple_of(2);
        rule("rope.dimension_count", rotated, fits, format!("must be even and at most {head_dim}"))
    }
}

impl Family {
    fn from_gguf(gguf: &Gguf) -> Result<Self, LlmError> {
        let key = "general.architecture";
        let name = gguf.text(key)?.ok_or_else(|| gguf.damaged(GgufFault::MissingKey { key: key.to_owned() }))?;
        let known = FAMILIES.iter().find(|(family, _)| *family == name);
        known.map(|&(_, family)| family).ok_or_else(|| {
            gguf.unsupported(format!("the architecture {name:?}"), FAMILIES.map(|(family, _)| family).join(", "))
        })
    }

    fn name(self) -> &'static str {
        FAMILIES.iter().find(|(_, family)| *family == self).map_or("", |(name, _)| name)
    }
}

/// The metadata of one architecture: `llama.block_count` and so on.
struct Keys<'a> {
    gguf: &'a Gguf,
    prefix: &'static str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn bad(&self, name: &str, value: impl ToString, limit: String) -> LlmError {
        self.gguf.damaged(GgufFault::BadValue { key: self.key(name), value: value.to_string(), limit })
    }

    fn missing(&self, name: &str) -> LlmError {
        self.gguf.damaged(GgufFault::MissingKey { key: self.key(name) })
    }

    fn optional_size(&self, name: &str, most: usize) -> Result<Option<usize>, LlmError> {
        match self.gguf.number(&self.key(name))? {
            None => Ok(None),
            Some(n) if n >= 1 && n <= most as u64 => Ok(Some(n as usize)),
            Some(n) => Err(self.bad(name, n, format!("1 to {most} is possible"))),
        }
    }

    fn size(&self, name: &str, most: usize) -> Result<usize, LlmError> {
        self.optional_size(name, most)?.ok_or_else(|| self.missing(name))
    }

    fn size_or(&self, name: &str, most: usize, default: usize) -> Result<usize, LlmError> {
        Ok(self.optional_size(name, most)?.unwrap_or(default))
    }

    fn positive(&self, name: &str, default: Option<f64>) -> Result<f32, LlmError> {
        let value = self.gguf.float(&self.key(name))?.or(default).ok_or_else(|| self.missing(name))? as f32;
        match value.is_finite() && value > 0.0 {
            true => Ok(value),
            false => Err(self.bad(name, value, "must be a positive number".to_owned())),
        }
    }

    /// Rows of the embedding; the tokenizer is held against them when the model is loaded.
    fn vocabulary(&self) -> Result<usize, LlmError> {
        let tensor = "token_embd.weight";
        let embedding = self.gguf.tensor(tensor);
        let embedding =
            embedding.ok_or_else(|| self.gguf.damaged(GgufFault::MissingTensor { tensor: tensor.to_owned() }))?;
        Ok(embedding.dims.get(1).copied().unwrap_or(1))
    }

    /// Features that change the computation; ignoring one would give fluent nonsense.
    fn refuse_what_forward_lacks(&self) -> Result<(), LlmError> {
        let scaling = self.gguf.text(&self.key("rope.scaling.type"))?.unwrap_or("none");
        let linear = self.gguf.float(&self.key("rope.scale_linear"))?.unwrap_or(1.0);
        let experts = self.gguf.number(&self.key("expert_count"))?.unwrap_or(0);
        let window = self.gguf.number(&self.key("attention.sliding_window"))?.unwrap_or(0);
        let lacks = [
            (scaling != "none", format!("rope scaling {scaling:?}"), "models without rope scaling"),
            (linear != 1.0, format!("linear rope scaling by {linear}"), "models without rope scaling"),
            (experts > 0, format!("a mixture of {experts} experts"), "dense models"),
            (window > 0, format!("a sliding window of {window}"), "full attention"),
        ];
        match lacks.into_iter().find(|(present, ..)| *present) {
            Some((_, what, supported)) => Err(self.gguf.unsupported(what, supported)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Builder};
    use super::*;

    fn metadata(family: &str) -> Builder {
        testing::sizes(Builder::default(), family).tensor("token_embd.weight", &[32, 5], &[0.0; 160])
    }

    #[test]
    fn sizes_are_read() {
        for (name, family) in FAMILIES {
            let blueprint = Blueprint::from_gguf(&testing::open(&metadata(name))).unwrap();
            assert_eq!(blueprint.family, family);
            assert_eq!((blueprint.layers, blueprint.width, blueprint.hidden), (2, 32, 64));
            assert_eq!((blueprint.heads, blueprint.kv_heads, blueprint.head_dim, blueprint.rotated), (4, 2, 8, 8));
            assert_eq!((blueprint.vocabulary, blueprint.context), (5, 256));
        }
    }

    #[test]
    fn impossible_and_unsupported_models_are_refused_by_name() {
        let with = |key: &str, value: u32| metadata("llama").u32(key, value);
        let without = |missing: &str| testing::sizes_but(Builder::default(), "llama", missing);
        let cases = [
            (testing::sizes(Builder::default(), "mamba9"), "architecture \"mamba9\""),
            (Builder::default(), "general.architecture"),
            (metadata("llama").text("llama.rope.scaling.type", "yarn"), "rope scaling \"yarn\""),
            (with("llama.expert_count", 8), "8 experts"),
            (with("llama.attention.sliding_window", 4096), "sliding window of 4096"),
            (with("llama.attention.key_length", 0), "1 to 65536"),
            (with("llama.attention.value_length", 4), "keys have 8"),
            (with("llama.rope.dimension_count", 10), "at most 8"),
            (with("llama.rope.dimension_count", 3), "even"),
            (metadata("llama").f32("llama.rope.freq_base", f32::NAN), "positive"),
            (testing::sizes(Builder::default(), "llama"), "token_embd.weight"),
            (without("block_count"), "llama.block_count"),
            (without("attention.layer_norm_rms_epsilon"), "epsilon"),
        ];
        for (file, words) in cases {
            let message = Blueprint::from_gguf(&testing::open(&file)).unwrap_err().to_string();
            assert!(message.contains(words), "{words}: {message}");
        }
    }
}
