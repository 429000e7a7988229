//! The numbers of a model, found in its checkpoint. Matrices stay where they lie; small vectors are copied out.

use super::LlmError;
use super::blueprint::Blueprint;
use super::tensors::{Tensors, Weight};

pub struct Weights {
    /// [vocabulary, width]; a row per token.
    pub embedding: Weight,
    pub layers: Vec<Layer>,
    /// [width]
    pub norm: Vec<f32>,
    /// [vocabulary, width]; the embedding where the file has no `output.weight`.
    pub head: Weight,
}

pub struct Layer {
    /// [width]
    pub attention_norm: Vec<f32>,
    /// [query_width, width]
    pub q: Linear,
    /// [kv_width, width]
    pub k: Linear,
    /// [kv_width, width]
    pub v: Linear,
    /// [width, query_width]
    pub output: Weight,
    /// [width]
    pub feed_forward_norm: Vec<f32>,
    /// [hidden, width]
    pub gate: Weight,
    /// [hidden, width]
    pub up: Weight,
    /// [width, hidden]
    pub down: Weight,
}

/// y = x · Wᵀ + b
pub struct Linear {
    pub weight: Weight,
    pub bias: Option<Vec<f32>>,
}

impl Weights {
    /// Finds every tensor that `blueprint` asks for. One that it does not ask for is refused.
    pub fn bind(tensors: &mut impl Tensors, blueprint: &Blueprint) -> Result<Self, LlmError> {
        let Blueprint { width, vocabulary, .. } = *blueprint;
        let embedding = tensors.matrix("token_embd.weight", vocabulary, width)?;
        let head = match tensors.has("output.weight") {
            true => tensors.matrix("output.weight", vocabulary, width)?,
            false => embedding.clone(),
        };
        let layers = (0..blueprint.layers).map(|n| Layer::bind(tensors, n, blueprint)).collect::<Result<_, _>>()?;
        let norm = tensors.vector("output_norm.weight", width)?;
        tensors.refuse_the_rest()?;
        let weights = Weights { embedding, layers, norm, head };
        weights.bring_in();
        Ok(weights)
    }

    /// Of an embedding that is not the head too, only the rows of spoken tokens are ever read, so it stays out.
    fn bring_in(&self) {
        self.layers.iter().flat_map(Layer::matrices).chain([&self.head]).for_each(Weight::bring_in);
    }
}

impl Layer {
    fn bind(tensors: &mut impl Tensors, layer: usize, blueprint: &Blueprint) -> Result<Layer, LlmError> {
        let Blueprint { width, hidden, .. } = *blueprint;
        let (query, kv) = (blueprint.query_width(), blueprint.kv_width());
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        Ok(Layer {
            attention_norm: tensors.vector(&name("attn_norm"), width)?,
            q: Linear::bind(tensors, layer, "attn_q", query, width)?,
            k: Linear::bind(tensors, layer, "attn_k", kv, width)?,
            v: Linear::bind(tensors, layer, "attn_v", kv, width)?,
            output: tensors.matrix(&name("attn_output"), width, query)?,
            feed_forward_norm: tensors.vector(&name("ffn_norm"), width)?,
            gate: tensors.matrix(&name("ffn_gate"), hidden, width)?,
            up: tensors.matrix(&name("ffn_up"), hidden, width)?,
            down: tensors.matrix(&name("ffn_down"), width, hidden)?,
        })
    }

    fn matrices(&self) -> [&Weight; 7] {
        let Layer { q, k, v, output, gate, up, down, .. } = self;
        [&q.weight, &k.weight, &v.weight, output, gate, up, down]
    }
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
        Weights::bind(&mut gguf.binder(), &Blueprint::from_gguf(&gguf)?)
    }

    #[test]
    fn a_head_is_tied_unless_it_has_its_own_weights() {
        let tied = bind(&testing::model("qwen2")).unwrap();
        assert!(tied.head.is(&tied.embedding));
        assert!(tied.layers[1].k.bias.as_ref().is_some_and(|bias| bias.len() == 16));
        let rows = tied.embedding.matrix().rows();
        let own = testing::model("llama").tensor("output.weight", &[32, rows as u64], &vec![0.5; 32 * rows]);
        let own = bind(&own).unwrap();
        assert!(!own.head.is(&own.embedding) && own.layers[0].q.bias.is_none());
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
