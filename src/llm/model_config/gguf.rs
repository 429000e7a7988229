//! Configuration of a model from the metadata of a GGUF file.

use super::{DeltaNet, Family, HeadOrder, Misfit, ModelConfig};
use crate::llm::LlmError;
use crate::llm::gguf::{Gguf, GgufFault};

const MAX_LAYERS: usize = 512;
const MAX_WIDTH: usize = 1 << 16;
const MAX_HIDDEN: usize = 1 << 20;
const MAX_HEADS: usize = 1024;
const MAX_CONTEXT: usize = 1 << 24;
/// Limit of the key or value dimension of a DeltaNet head; 128 in all published models.
const MAX_DELTA_DIM: usize = 1024;
/// Interval of the attention layers of a hybrid: in all published models, and in llama.cpp if a
/// file does not state it.
const USUAL_INTERVAL: usize = 4;
/// Limit of the taps of a short convolution; 4 in all published models.
const MAX_TAPS: usize = 16;

const FAMILIES: [(&str, Family); 3] = [("llama", Family::Llama), ("qwen2", Family::Qwen2), ("qwen35", Family::Qwen35)];

impl ModelConfig {
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, LlmError> {
        let family = Family::from_gguf(gguf)?;
        let keys = Keys { gguf, prefix: family.name() };
        keys.refuse_what_forward_lacks()?;
        let width = keys.size("embedding_length", MAX_WIDTH)?;
        let heads = keys.size_of_all("attention.head_count", MAX_HEADS)?;
        let heads = heads.ok_or_else(|| keys.missing("attention.head_count"))?;
        let hidden = keys.size_of_all("feed_forward_length", MAX_HIDDEN)?;
        let head_dim = keys.size_or("attention.key_length", MAX_WIDTH, width / heads)?;
        let layers = keys.layers(family)?;
        let delta = (family == Family::Qwen35).then(|| keys.delta_net(layers)).transpose()?;
        let model_config = ModelConfig {
            family,
            layers,
            width,
            hidden: hidden.ok_or_else(|| keys.missing("feed_forward_length"))?,
            heads,
            kv_heads: keys.size_of_all("attention.head_count_kv", MAX_HEADS)?.unwrap_or(heads),
            head_dim,
            rotated: match family {
                // A fraction of the head that only the file states.
                Family::Qwen35 => keys.size("rope.dimension_count", MAX_WIDTH)?,
                Family::Llama | Family::Qwen2 => keys.size_or("rope.dimension_count", MAX_WIDTH, head_dim)?,
            },
            rope_base: keys.positive("rope.freq_base", Some(10_000.0))?,
            norm_eps: keys.positive("attention.layer_norm_rms_epsilon", None)?,
            vocabulary: keys.vocabulary()?,
            context: keys.size("context_length", MAX_CONTEXT)?,
            delta,
        };
        model_config.check().map_err(|Misfit { key, value, limit }| keys.bad(key, value, limit))?;
        keys.check_value_length(head_dim)?;
        Ok(model_config)
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

    /// Number of layers of the model itself: qwen35 counts the blocks that predict further tokens
    /// among its blocks.
    fn layers(&self, family: Family) -> Result<usize, LlmError> {
        let blocks = self.size("block_count", MAX_LAYERS)?;
        if family != Family::Qwen35 {
            return Ok(blocks);
        }
        let claimed = self.gguf.number(&self.key("nextn_predict_layers"))?.unwrap_or(0);
        // At most the number of blocks, which is at most MAX_LAYERS.
        let layers = self.gguf.blocks().drafts_from as usize;
        match layers > 0 && claimed < blocks as u64 {
            true => Ok(layers),
            false => Err(self.bad("nextn_predict_layers", claimed, format!("there are {blocks} blocks in all"))),
        }
    }

    /// Reads a size that some files give once, and some for each layer. Layers without attention
    /// have 0.
    fn size_of_all(&self, name: &str, most: usize) -> Result<Option<usize>, LlmError> {
        let Some(sizes) = self.gguf.numbers_or_none(&self.key(name)) else { return self.optional_size(name, most) };
        let mut sizes = sizes.into_iter().filter(|&size| size != 0);
        let Some(first) = sizes.next() else { return Err(self.bad(name, 0, format!("1 to {most} is possible"))) };
        if let Some(other) = sizes.find(|&size| size != first) {
            let what = format!("{:?} of {first} in one layer and {other} in another", self.key(name));
            return Err(self.gguf.unsupported(what, "layers of one size"));
        }
        match usize::try_from(first) {
            Ok(size) if (1..=most).contains(&size) => Ok(Some(size)),
            _ => Err(self.bad(name, first, format!("1 to {most} is possible"))),
        }
    }

    fn delta_net(&self, layers: usize) -> Result<DeltaNet, LlmError> {
        let value_heads = self.size("ssm.time_step_rank", MAX_HEADS)?;
        let inner = self.size("ssm.inner_size", MAX_HEADS * MAX_DELTA_DIM)?;
        let value_dim = inner / value_heads;
        if !inner.is_multiple_of(value_heads) || !(1..=MAX_DELTA_DIM).contains(&value_dim) {
            let limit = format!("{value_heads} value heads share it, each with 1 to {MAX_DELTA_DIM} values");
            return Err(self.bad("ssm.inner_size", inner, limit));
        }
        Ok(DeltaNet {
            layers: self.recurrent_layers(layers)?,
            key_heads: self.size("ssm.group_count", MAX_HEADS)?,
            value_heads,
            key_dim: self.size("ssm.state_size", MAX_DELTA_DIM)?,
            value_dim,
            taps: self.size("ssm.conv_kernel", MAX_TAPS)?,
            order: HeadOrder::Tiled,
        })
    }

    /// Reads a flag for each layer in recent files, else every n-th layer is attention: the fourth
    /// if the file does not state n.
    fn recurrent_layers(&self, layers: usize) -> Result<Vec<bool>, LlmError> {
        let name = "attention.recurrent_layers";
        let Some(mut flags) = self.gguf.flags(&self.key(name))? else {
            let interval = self.size_or("full_attention_interval", MAX_LAYERS, USUAL_INTERVAL)?;
            return Ok((1..=layers).map(|n| !n.is_multiple_of(interval)).collect());
        };
        if flags.len() < layers {
            return Err(self.bad(name, format!("{} flags", flags.len()), format!("there are {layers} layers")));
        }
        flags.truncate(layers);
        Ok(flags)
    }

    fn check_value_length(&self, head_dim: usize) -> Result<(), LlmError> {
        match self.size_or("attention.value_length", MAX_WIDTH, head_dim)? {
            value_dim if value_dim == head_dim => Ok(()),
            value_dim => Err(self.bad("attention.value_length", value_dim, format!("keys have {head_dim}"))),
        }
    }

    /// Rows of the embedding; the tokenizer is checked against them when the model is loaded.
    fn vocabulary(&self) -> Result<usize, LlmError> {
        let tensor = "token_embd.weight";
        let embedding = self.gguf.tensor(tensor);
        let embedding =
            embedding.ok_or_else(|| self.gguf.damaged(GgufFault::MissingTensor { tensor: tensor.to_owned() }))?;
        Ok(embedding.dims.get(1).copied().unwrap_or(1))
    }

    /// Refuses features that change the computation; ignoring one would give fluent nonsense.
    fn refuse_what_forward_lacks(&self) -> Result<(), LlmError> {
        let scaling = self.gguf.text(&self.key("rope.scaling.type"))?.unwrap_or("none");
        let factor = self.gguf.float(&self.key("rope.scaling.factor"))?;
        let stretched = scaling != "none" && !(scaling == "linear" && factor == Some(1.0));
        let linear = self.gguf.float(&self.key("rope.scale_linear"))?.unwrap_or(1.0);
        let experts = self.gguf.number(&self.key("expert_count"))?.unwrap_or(0);
        let window = self.gguf.number(&self.key("attention.sliding_window"))?.unwrap_or(0);
        let lacks = [
            (stretched, format!("rope scaling {scaling:?}"), "models without rope scaling"),
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
    use super::*;
    use crate::llm::testing::{self, Builder};

    fn metadata(family: &str) -> Builder {
        testing::sizes(Builder::default(), family).tensor("token_embd.weight", &[32, 5], &[0.0; 160])
    }

    #[test]
    fn sizes_are_read() {
        for (name, family) in FAMILIES {
            let model_config = ModelConfig::from_gguf(&testing::open(&metadata(name))).unwrap();
            assert_eq!(model_config.family, family);
            let hybrid = family == Family::Qwen35;
            assert_eq!(
                (model_config.layers, model_config.width, model_config.hidden),
                (if hybrid { 4 } else { 2 }, 32, 64)
            );
            assert_eq!((model_config.heads, model_config.kv_heads, model_config.head_dim), (4, 2, 8));
            assert_eq!(model_config.rotated, if hybrid { 4 } else { 8 });
            assert_eq!((model_config.vocabulary, model_config.context), (5, 256));
            assert_eq!(model_config.delta.is_some(), hybrid);
        }
    }

    #[test]
    fn delta_layers_are_read_from_flags_or_from_the_interval() {
        let read = |file: &Builder| ModelConfig::from_gguf(&testing::open(file)).unwrap();
        let delta = read(&metadata("qwen35")).delta.unwrap();
        let wanted = DeltaNet {
            layers: vec![true, false, true, false],
            key_heads: 2,
            value_heads: 4,
            key_dim: 8,
            value_dim: 6,
            taps: 4,
            order: HeadOrder::Tiled,
        };
        assert_eq!(delta, wanted);
        let flagged = metadata("qwen35").flags("qwen35.attention.recurrent_layers", &[false, true, true, true]);
        assert_eq!(read(&flagged).delta.unwrap().layers, [false, true, true, true]);
        let drafting = read(&metadata("qwen35").u32("qwen35.nextn_predict_layers", 1));
        assert_eq!((drafting.layers, drafting.delta.unwrap().layers), (3, vec![true, false, true]));
    }

    #[test]
    fn impossible_and_unsupported_models_are_refused_by_name() {
        let with = |key: &str, value: u32| metadata(key.split('.').next().unwrap()).u32(key, value);
        let but = |missing: &str, value: u32| {
            let file = testing::sizes_but(Builder::default(), "qwen35", missing);
            let file = file.tensor("token_embd.weight", &[32, 5], &[0.0; 160]);
            file.u32(&format!("qwen35.{missing}"), value)
        };
        let without = |missing: &str| testing::sizes_but(Builder::default(), "llama", missing);
        let cases = [
            (testing::sizes(Builder::default(), "mamba9"), "architecture \"mamba9\""),
            (testing::sizes(Builder::default(), "mamba9"), "llama, qwen2, qwen35"),
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
            (but("ssm.time_step_rank", 3), "multiple of 2 key heads"),
            (but("ssm.time_step_rank", 5), "5 value heads share it"),
            (but("ssm.inner_size", 1 << 14), "1 to 1024 values"),
            (but("ssm.inner_size", 0), "1 to 1048576"),
            (but("ssm.group_count", 2000), "1 to 1024"),
            (but("ssm.state_size", 0), "1 to 1024"),
            (but("ssm.conv_kernel", 17), "1 to 16"),
            (but("full_attention_interval", 0), "1 to 512"),
            (but("rope.dimension_count", 9), "even"),
            (with("qwen35.nextn_predict_layers", 4), "4 blocks in all"),
            (metadata("qwen35").flags("qwen35.attention.recurrent_layers", &[true]), "there are 4 layers"),
            (metadata("qwen35").text("qwen35.attention.recurrent_layers", "all"), "true or false"),
        ];
        for (file, words) in cases {
            let message = ModelConfig::from_gguf(&testing::open(&file)).unwrap_err().to_string();
            assert!(message.contains(words), "{words}: {message}");
        }
    }
}
