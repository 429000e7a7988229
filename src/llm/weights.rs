//! Weights of a model, bound from its checkpoint. Quantised matrices are packed in the kernels'
//! layout, others stay mapped; small vectors are copied.

use sotto_kernels::{Pool, PrunedMatrix};

use super::LlmError;
use super::model_config::{DeltaNet, Family, ModelConfig};
use super::tensors::{Tensors, Weight};

pub struct Weights {
    /// `[vocabulary, width]`; a row per token.
    pub embedding: Weight,
    pub layers: Vec<Layer>,
    /// `[width]`
    pub norm: Vec<f32>,
    /// `[vocabulary, width]`; the embedding where the file has no `output.weight`.
    pub head: Weight,
    /// Split codes of the head for finding the best rows, if that saves time.
    pub screen: Option<PrunedMatrix>,
    /// Draft block, if it was requested.
    pub draft: Option<Draft>,
}

/// A block that drafts the token after the next (multi-token prediction). It uses the embedding and
/// the head of the model.
pub struct Draft {
    /// [width, 2 · width]: joins the next token with the hidden values of the position before it.
    pub join: Weight,
    /// `[width]`
    pub token_norm: Vec<f32>,
    /// `[width]`
    pub hidden_norm: Vec<f32>,
    pub layer: Layer,
    /// `[width]`
    pub norm: Vec<f32>,
}

pub struct Layer {
    /// `[width]`
    pub mixer_norm: Vec<f32>,
    pub mixer: Mixer,
    /// `[width]`
    pub feed_forward_norm: Vec<f32>,
    /// `[hidden, width]`
    pub gate: Weight,
    /// `[hidden, width]`
    pub up: Weight,
    /// `[width, hidden]`
    pub down: Weight,
}

/// Mixer of a layer, which lets a position read earlier ones.
pub enum Mixer {
    Attention(Attention),
    Gated(GatedAttention),
    DeltaNet(Box<DeltaNetLayer>),
}

pub struct Attention {
    /// `[query_width, width]`
    pub q: Linear,
    /// `[kv_width, width]`
    pub k: Linear,
    /// `[kv_width, width]`
    pub v: Linear,
    /// `[width, query_width]`
    pub output: Weight,
}

/// Attention with normed queries and keys, and a gate for each value of its result.
pub struct GatedAttention {
    /// [2 · query_width, width]; of each head first the query, then the gate.
    pub q: Weight,
    /// `[kv_width, width]`
    pub k: Weight,
    /// `[kv_width, width]`
    pub v: Weight,
    /// `[head_dim]`
    pub q_norm: Vec<f32>,
    /// `[head_dim]`
    pub k_norm: Vec<f32>,
    /// `[width, query_width]`
    pub output: Weight,
}

/// A gated DeltaNet.
pub struct DeltaNetLayer {
    /// `[channels, width]`: queries, keys, values.
    pub qkv: Weight,
    /// `[value_width, width]`: the gate of the result.
    pub z: Weight,
    /// `[value_heads, width]`: decay of a head.
    pub a: Weight,
    /// `[value_heads, width]`: write strength of a head.
    pub b: Weight,
    /// `[taps, channels]`, the tap of the newest token last.
    pub taps: Vec<f32>,
    /// `[value_heads]`: -exp(A_log)
    pub rate: Vec<f32>,
    /// `[value_heads]`
    pub dt_bias: Vec<f32>,
    /// `[value_dim]`
    pub norm: Vec<f32>,
    /// `[width, value_width]`
    pub output: Weight,
}

/// y = x · Wᵀ + b
pub struct Linear {
    pub weight: Weight,
    pub bias: Option<Vec<f32>>,
}

impl Weights {
    /// Binds every tensor that `model_config` needs. Others are refused.
    pub fn bind(tensors: &mut impl Tensors, model_config: &ModelConfig, pool: &Pool) -> Result<Self, LlmError> {
        let ModelConfig { width, vocabulary, .. } = *model_config;
        let embedding = tensors.matrix("token_embd.weight", vocabulary, width)?;
        // An embedding that is not also the head is read one row per token: it stays mapped.
        let (own, tied) = match tensors.has("output.weight") {
            true => (Some(embedding), tensors.matrix("output.weight", vocabulary, width)?),
            false => (None, embedding),
        };
        let (head, screen) = tied.packed(pool)?.parted(pool);
        let embedding = own.unwrap_or_else(|| head.clone());
        let tensors = &mut Packing { tensors, pool };
        let layers =
            (0..model_config.layers).map(|n| Layer::bind(tensors, n, model_config)).collect::<Result<_, _>>()?;
        let norm = tensors.vector("output_norm.weight", width)?;
        tensors.refuse_the_rest()?;
        tensors.release();
        let weights = Weights { embedding, layers, norm, head, screen, draft: None };
        weights.populate_pages();
        Ok(weights)
    }

    /// Binds the tensors of the draft block.
    pub fn bind_draft(
        &mut self,
        tensors: &mut impl Tensors,
        model_config: &ModelConfig,
        pool: &Pool,
    ) -> Result<(), LlmError> {
        self.draft = Some(Draft::bind(&mut Packing { tensors, pool }, model_config)?);
        tensors.release();
        self.populate_pages();
        Ok(())
    }

    fn populate_pages(&self) {
        self.held().for_each(Weight::populate_pages);
    }

    /// Bytes of the matrices in memory. The small vectors beside them are below a thousandth of it.
    pub fn bytes(&self) -> usize {
        let screen = self.screen.as_ref().map_or(0, PrunedMatrix::bytes);
        self.held().map(|weight| weight.matrix().bytes().len()).sum::<usize>() + screen
    }

    /// Matrices that count as memory. A mapped embedding that is not also the head is left out:
    /// only the rows of used tokens are ever read.
    fn held(&self) -> impl Iterator<Item = &Weight> {
        let apart = self.embedding.is_owned() && !self.embedding.is(&self.head);
        let draft = self.draft.iter().flat_map(Draft::matrices);
        self.streamed().chain(apart.then_some(&self.embedding)).chain(draft)
    }

    /// Matrices that a decode step reads completely. It also reads a row of the embedding.
    pub fn streamed(&self) -> impl Iterator<Item = &Weight> {
        self.layers.iter().flat_map(Layer::matrices).chain([&self.head])
    }

    /// Bytes of weights that a decode step reads.
    pub fn bytes_per_step(&self) -> usize {
        let embedding = self.embedding.matrix();
        let row = embedding.bytes().len() / embedding.rows();
        self.streamed().map(|weight| weight.matrix().bytes().len()).sum::<usize>() + row
    }
}

/// The tensors of a checkpoint, with matrices packed for multiplication.
struct Packing<'a, T> {
    tensors: &'a mut T,
    pool: &'a Pool,
}

impl<T: Tensors> Tensors for Packing<'_, T> {
    fn has(&self, name: &str) -> bool {
        self.tensors.has(name)
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Weight, LlmError> {
        self.tensors.matrix(name, rows, cols)?.packed(self.pool)
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, LlmError> {
        self.tensors.vector(name, len)
    }

    fn refuse_the_rest(&self) -> Result<(), LlmError> {
        self.tensors.refuse_the_rest()
    }

    fn release(&self) {
        self.tensors.release();
    }
}

impl Draft {
    /// Binds the draft block, whose layer is numbered after the last of the model.
    fn bind(tensors: &mut impl Tensors, model_config: &ModelConfig) -> Result<Draft, LlmError> {
        let ModelConfig { width, layers, .. } = *model_config;
        let name = |part: &str| format!("blk.{layers}.nextn.{part}.weight");
        Ok(Draft {
            join: tensors.matrix(&name("eh_proj"), width, 2 * width)?,
            token_norm: tensors.vector(&name("enorm"), width)?,
            hidden_norm: tensors.vector(&name("hnorm"), width)?,
            layer: Layer::bind(tensors, layers, model_config)?,
            norm: tensors.vector(&name("shared_head_norm"), width)?,
        })
    }

    fn matrices(&self) -> impl Iterator<Item = &Weight> {
        self.layer.matrices().chain([&self.join])
    }
}

impl Layer {
    fn bind(tensors: &mut impl Tensors, layer: usize, model_config: &ModelConfig) -> Result<Layer, LlmError> {
        let ModelConfig { width, hidden, family, .. } = *model_config;
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let mixer_norm = tensors.vector(&name("attn_norm"), width)?;
        let mixer = match (family, &model_config.delta) {
            (_, Some(delta)) if model_config.is_delta(layer) => {
                Mixer::DeltaNet(Box::new(DeltaNetLayer::bind(tensors, layer, width, delta)?))
            }
            (Family::Qwen35, _) => Mixer::Gated(GatedAttention::bind(tensors, layer, model_config)?),
            (Family::Llama | Family::Qwen2, _) => Mixer::Attention(Attention::bind(tensors, layer, model_config)?),
        };
        let feed_forward_norm = match family {
            Family::Qwen35 => "post_attention_norm",
            Family::Llama | Family::Qwen2 => "ffn_norm",
        };
        Ok(Layer {
            mixer_norm,
            mixer,
            feed_forward_norm: tensors.vector(&name(feed_forward_norm), width)?,
            gate: tensors.matrix(&name("ffn_gate"), hidden, width)?,
            up: tensors.matrix(&name("ffn_up"), hidden, width)?,
            down: tensors.matrix(&name("ffn_down"), width, hidden)?,
        })
    }

    fn matrices(&self) -> impl Iterator<Item = &Weight> {
        let mixer: Vec<&Weight> = match &self.mixer {
            Mixer::Attention(Attention { q, k, v, output }) => vec![&q.weight, &k.weight, &v.weight, output],
            Mixer::Gated(GatedAttention { q, k, v, output, .. }) => vec![q, k, v, output],
            Mixer::DeltaNet(delta) => vec![&delta.qkv, &delta.z, &delta.a, &delta.b, &delta.output],
        };
        mixer.into_iter().chain([&self.gate, &self.up, &self.down])
    }
}

impl Attention {
    fn bind(tensors: &mut impl Tensors, layer: usize, model_config: &ModelConfig) -> Result<Self, LlmError> {
        let (width, query, kv) = (model_config.width, model_config.query_width(), model_config.kv_width());
        Ok(Attention {
            q: Linear::bind(tensors, layer, "attn_q", query, width)?,
            k: Linear::bind(tensors, layer, "attn_k", kv, width)?,
            v: Linear::bind(tensors, layer, "attn_v", kv, width)?,
            output: tensors.matrix(&format!("blk.{layer}.attn_output.weight"), width, query)?,
        })
    }
}

impl GatedAttention {
    fn bind(tensors: &mut impl Tensors, layer: usize, model_config: &ModelConfig) -> Result<Self, LlmError> {
        let (width, query, kv) = (model_config.width, model_config.query_width(), model_config.kv_width());
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        Ok(GatedAttention {
            q: tensors.matrix(&name("attn_q"), 2 * query, width)?,
            k: tensors.matrix(&name("attn_k"), kv, width)?,
            v: tensors.matrix(&name("attn_v"), kv, width)?,
            q_norm: tensors.vector(&name("attn_q_norm"), model_config.head_dim)?,
            k_norm: tensors.vector(&name("attn_k_norm"), model_config.head_dim)?,
            output: tensors.matrix(&name("attn_output"), width, query)?,
        })
    }
}

impl DeltaNetLayer {
    fn bind(tensors: &mut impl Tensors, layer: usize, width: usize, net: &DeltaNet) -> Result<Self, LlmError> {
        let heads = net.heads();
        let (channels, value_width) = (heads.channels(), heads.value_width());
        let name = |part: &str| format!("blk.{layer}.{part}");
        Ok(DeltaNetLayer {
            qkv: tensors.matrix(&name("attn_qkv.weight"), channels, width)?,
            z: tensors.matrix(&name("attn_gate.weight"), value_width, width)?,
            a: tensors.matrix(&name("ssm_alpha.weight"), heads.value_heads, width)?,
            b: tensors.matrix(&name("ssm_beta.weight"), heads.value_heads, width)?,
            taps: transposed(&tensors.vector(&name("ssm_conv1d.weight"), channels * net.taps)?, net.taps),
            rate: tensors.vector(&name("ssm_a"), heads.value_heads)?,
            dt_bias: tensors.vector(&name("ssm_dt.bias"), heads.value_heads)?,
            norm: tensors.vector(&name("ssm_norm.weight"), heads.value_dim)?,
            output: tensors.matrix(&name("ssm_out.weight"), width, value_width)?,
        })
    }
}

/// `[rows, cols]` to [cols, rows]
fn transposed(x: &[f32], cols: usize) -> Vec<f32> {
    (0..cols).flat_map(|col| x.iter().skip(col).step_by(cols)).copied().collect()
}

impl Linear {
    fn bind(tensors: &mut impl Tensors, layer: usize, part: &str, rows: usize, cols: usize) -> Result<Self, LlmError> {
        let weight = tensors.matrix(&format!("blk.{layer}.{part}.weight"), rows, cols)?;
        let bias = format!("blk.{layer}.{part}.bias");
        let bias = tensors.has(&bias).then(|| tensors.vector(&bias, rows)).transpose()?;
        Ok(Linear { weight, bias })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Builder};
    use super::*;

    fn bind(file: &Builder) -> Result<Weights, LlmError> {
        let gguf = testing::open(file);
        Weights::bind(&mut gguf.binder(), &ModelConfig::from_gguf(&gguf)?, &Pool::new(1))
    }

    #[test]
    fn a_head_is_tied_unless_it_has_its_own_weights() {
        let tied = bind(&testing::model("qwen2")).unwrap();
        assert!(tied.head.is(&tied.embedding));
        let bias = |layer: &Layer| match &layer.mixer {
            Mixer::Attention(attention) => attention.k.bias.as_ref().map(Vec::len),
            Mixer::Gated(_) | Mixer::DeltaNet(_) => None,
        };
        assert_eq!(bias(&tied.layers[1]), Some(16));
        let rows = tied.embedding.matrix().rows();
        let own = testing::model("llama").tensor("output.weight", &[32, rows as u64], &vec![0.5; 32 * rows]);
        let own = bind(&own).unwrap();
        assert!(!own.head.is(&own.embedding) && bias(&own.layers[0]).is_none());
    }

    #[test]
    fn a_hybrid_has_its_own_layers_and_may_bring_a_head_that_drafts() {
        let mixers =
            |weights: Weights| weights.layers.iter().map(|layer| matches!(layer.mixer, Mixer::DeltaNet(_))).collect();
        let plain: Vec<bool> = mixers(bind(&testing::model("qwen35")).unwrap());
        assert_eq!(plain, [true, false, true, false]);
        let drafts = testing::model("qwen35").tensor("blk.3.nextn.eh_proj.weight", &[64, 32], &[0.0; 2048]);
        let message = bind(&drafts).err().unwrap().to_string();
        assert!(message.contains("blk.3.nextn.eh_proj") && message.contains("qwen35"), "{message}");
        let drafting: Vec<bool> = mixers(bind(&drafts.u32("qwen35.nextn_predict_layers", 1)).unwrap());
        assert_eq!(drafting, [true, false, true], "the last of its 4 blocks now drafts");
    }

    #[test]
    fn the_taps_of_a_convolution_are_turned() {
        assert_eq!(transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    #[test]
    fn tensors_that_do_not_fit_the_blueprint_are_refused_by_name() {
        let plus = |name: &str, dims: &[u64]| {
            let values = vec![0.0; dims.iter().product::<u64>() as usize];
            testing::model("llama").tensor(name, dims, &values)
        };
        let lacking =
            testing::sizes(testing::tables("qwen2"), "llama").tensor("token_embd.weight", &[32, 263], &[0.0; 8416]);
        let cases = [
            (plus("rope_freqs.weight", &[4]), "rope_freqs.weight"),
            (plus("blk.0.attn_q_norm.weight", &[8]), "attn_q_norm"),
            (plus("blk.0.attn_q.bias", &[31]), "attn_q.bias\" is [31]"),
            (plus("output.weight", &[16, 263]), "ask for [32, 263]"),
            (lacking, "blk.0.attn_norm.weight\" is missing"),
        ];
        for (file, words) in cases {
            let message = bind(&file).err().unwrap().to_string();
            assert!(message.contains(words), "{words}: {message}");
        }
    }
}
