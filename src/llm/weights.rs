//! Where the numbers of a model lie. The file is mapped and read in place; only the small vectors are copied out.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;
use sotto_kernels::{BlockType, Matrix, unpack_row};

use super::LlmError;
use super::blueprint::Blueprint;
use super::gguf::{Gguf, GgufFault, Tensor};

pub struct Weights {
    map: Arc<Mmap>,
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

/// A matrix in the file: its bytes were held against its shape when it was bound.
#[derive(Clone, PartialEq)]
pub struct Weight {
    kind: BlockType,
    rows: usize,
    cols: usize,
    span: Range<usize>,
}

impl Weights {
    /// Finds every tensor that `blueprint` asks for and checks its shape. A tensor that nobody asks for is refused:
    /// a model that has it computes something else than [`super::model`] does.
    pub fn bind(gguf: &Gguf, blueprint: &Blueprint) -> Result<Self, LlmError> {
        let mut binder = Binder { gguf, bound: HashSet::new() };
        let Blueprint { width, vocabulary, .. } = *blueprint;
        let embedding = binder.matrix("token_embd.weight", vocabulary, width)?;
        let head = match gguf.tensor("output.weight") {
            Some(_) => binder.matrix("output.weight", vocabulary, width)?,
            None => embedding.clone(),
        };
        let layers = (0..blueprint.layers).map(|layer| binder.layer(layer, blueprint)).collect::<Result<_, _>>()?;
        let norm = binder.vector("output_norm.weight", width)?;
        binder.refuse_the_rest()?;
        let weights = Weights { map: Arc::clone(gguf.map()), embedding, layers, norm, head };
        weights.bring_in();
        Ok(weights)
    }

    pub fn matrix(&self, weight: &Weight) -> Matrix<'_> {
        Matrix::new(weight.kind, weight.rows, weight.cols, &self.map[weight.span.clone()])
            .expect("the shape was checked when the weight was bound")
    }

    /// Maps the pages of all matrices now, so that the first question does not pay for it. Of an embedding that is not
    /// the head too, only the rows of spoken tokens are ever read, so it stays out.
    fn bring_in(&self) {
        let layers = self.layers.iter().flat_map(Layer::matrices);
        for Weight { span, .. } in layers.chain([&self.head]) {
            // Only a hint: where the system does not know it, the pages come as they are touched.
            #[cfg(target_os = "linux")]
            let _ = self.map.advise_range(memmap2::Advice::PopulateRead, span.start, span.len());
            #[cfg(all(unix, not(target_os = "linux")))]
            let _ = self.map.advise_range(memmap2::Advice::WillNeed, span.start, span.len());
        }
    }
}

impl Layer {
    fn matrices(&self) -> [&Weight; 7] {
        let Layer { q, k, v, output, gate, up, down, .. } = self;
        [&q.weight, &k.weight, &v.weight, output, gate, up, down]
    }
}

struct Binder<'a> {
    gguf: &'a Gguf,
    bound: HashSet<String>,
}

impl Binder<'_> {
    fn layer(&mut self, layer: usize, blueprint: &Blueprint) -> Result<Layer, LlmError> {
        let Blueprint { width, hidden, .. } = *blueprint;
        let (query, kv) = (blueprint.query_width(), blueprint.kv_width());
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        Ok(Layer {
            attention_norm: self.vector(&name("attn_norm"), width)?,
            q: self.linear(layer, "attn_q", query, width)?,
            k: self.linear(layer, "attn_k", kv, width)?,
            v: self.linear(layer, "attn_v", kv, width)?,
            output: self.matrix(&name("attn_output"), width, query)?,
            feed_forward_norm: self.vector(&name("ffn_norm"), width)?,
            gate: self.matrix(&name("ffn_gate"), hidden, width)?,
            up: self.matrix(&name("ffn_up"), hidden, width)?,
            down: self.matrix(&name("ffn_down"), width, hidden)?,
        })
    }

    fn linear(&mut self, layer: usize, part: &str, rows: usize, cols: usize) -> Result<Linear, LlmError> {
        let weight = self.matrix(&format!("blk.{layer}.{part}.weight"), rows, cols)?;
        let bias = format!("blk.{layer}.{part}.bias");
        let bias = self.gguf.tensor(&bias).is_some().then(|| self.vector(&bias, rows)).transpose()?;
        Ok(Linear { weight, bias })
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Weight, LlmError> {
        let Tensor { kind, span, .. } = self.tensor(name, &[cols, rows])?.clone();
        Ok(Weight { kind, rows, cols, span })
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, LlmError> {
        let gguf = self.gguf;
        let tensor = self.tensor(name, &[len])?;
        let mut values = vec![0.0; len];
        unpack_row(tensor.kind, &gguf.map()[tensor.span.clone()], &mut values);
        Ok(values)
    }

    fn tensor(&mut self, name: &str, dims: &[usize]) -> Result<&Tensor, LlmError> {
        let missing = || self.gguf.damaged(GgufFault::MissingTensor { tensor: name.to_owned() });
        let tensor = self.gguf.tensor(name).ok_or_else(missing)?;
        if tensor.dims != dims {
            let (found, wanted) = (format!("{:?}", tensor.dims), format!("{dims:?}"));
            return Err(self.gguf.damaged(GgufFault::TensorMismatch { tensor: name.to_owned(), found, wanted }));
        }
        self.bound.insert(name.to_owned());
        Ok(tensor)
    }

    fn refuse_the_rest(&self) -> Result<(), LlmError> {
        // The first by name, so that the same file always gives the same message.
        let unbound = self.gguf.tensors().map(|tensor| &tensor.name).filter(|name| !self.bound.contains(*name)).min();
        match unbound {
            Some(name) => Err(self.gguf.unsupported(format!("the tensor {name:?}"), "plain llama and qwen2 layers")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Builder};
    use super::*;

    fn bind(file: &Builder) -> Result<Weights, LlmError> {
        let gguf = testing::open(file);
        Weights::bind(&gguf, &Blueprint::from_gguf(&gguf)?)
    }

    #[test]
    fn a_head_is_tied_unless_it_has_its_own_weights() {
        let tied = bind(&testing::model("qwen2")).unwrap();
        assert!(tied.head == tied.embedding);
        assert!(tied.layers[1].k.bias.as_ref().is_some_and(|bias| bias.len() == 16));
        let rows = tied.embedding.rows;
        let own = testing::model("llama").tensor("output.weight", &[32, rows as u64], &vec![0.5; 32 * rows]);
        let own = bind(&own).unwrap();
        assert!(own.head != own.embedding && own.layers[0].q.bias.is_none());
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
