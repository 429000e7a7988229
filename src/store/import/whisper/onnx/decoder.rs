//! Decoder graph. Inputs:
//! - `tokens` i64 `[1, n]`, `places` i64 `[1, n]`: the new tokens, and their positions in the text;
//! - `rows` i64 `[m]`: indices of the tokens for which logits are wanted;
//! - for each layer `i`, `past_k_i` and `past_v_i` f32 `[1, heads, past, width / heads]`: the keys
//!   and values of earlier tokens;
//! - for each layer `i`, `cross_k_i` and `cross_v_i` from the encoder.
//!
//! Outputs: `logits` f32 `[1, m, vocabulary]`, and for each layer `present_k_i` and `present_v_i`,
//! which are the past of the next pass.

use super::super::TEXT_POSITIONS;
use super::{Builder, ImportError, Linear, ROWS, TO_F32, quantise};
use crate::store::import::onnx::{Attribute, AttributeValue, Dimension, Element, Operation};

/// Embeddings: integers `[vocabulary, width]` and the scale of each row `[vocabulary]`. They are
/// also the output matrix.
struct Embeddings {
    numbers: AttributeValue,
    scales: AttributeValue,
}

impl Builder<'_> {
    pub(super) fn decoder(&mut self) -> Result<(), ImportError> {
        let row = [Dimension::Of(1), Dimension::Named("n")];
        let tokens = self.graph.input("tokens", Element::I64, &row);
        let places = self.graph.input("places", Element::I64, &row);
        let rows = self.graph.input("rows", Element::I64, &[Dimension::Named("m")]);
        let embeddings = self.embeddings()?;
        let mut x = self.embed(&tokens, &places, &embeddings)?;
        for number in 0..self.size.decoder_layers {
            let layer = format!("decoder/layer_{number}");
            x = self.attend_to_text(&x, &layer, number)?;
            x = self.attend_to_sound(&x, &layer, number)?;
            x = self.perceptron(&x, &layer)?;
        }
        let x = self.op("Gather", &[&x, &rows], &[Attribute::Int("axis", 1)]);
        let x = self.norm(&x, "decoder/layer_norm")?;
        let matrix = self.op("Transpose", &[&embeddings.numbers], &[Attribute::Ints("perm", &[1, 0])]);
        let logits = self.product(&x, &matrix, &embeddings.scales);
        let shape = [Dimension::Of(1), Dimension::Named("m"), Dimension::Of(self.size.vocabulary)];
        self.graph.output(logits, "logits", Element::F32, &shape);
        Ok(())
    }

    fn embeddings(&mut self) -> Result<Embeddings, ImportError> {
        let (vocabulary, width) = (self.size.vocabulary, self.size.width);
        let (mut numbers, mut scales) = (Vec::with_capacity(vocabulary * width), Vec::with_capacity(vocabulary));
        for start in (0..vocabulary).step_by(ROWS) {
            let rows = start..(start + ROWS).min(vocabulary);
            let weights = self.checkpoint.numbers("decoder/embeddings/weight", &[vocabulary, width], rows)?;
            let (more_numbers, more_scales) = quantise(&weights, width);
            numbers.extend(more_numbers);
            scales.extend(more_scales);
        }
        let numbers = self.graph.bytes(&[vocabulary, width], &numbers);
        Ok(Embeddings { numbers, scales: self.graph.floats(&[vocabulary], &scales) })
    }

    /// Adds the embeddings of the tokens and of their positions.
    fn embed(
        &mut self,
        tokens: &AttributeValue,
        places: &AttributeValue,
        table: &Embeddings,
    ) -> Result<AttributeValue, ImportError> {
        let numbers = self.op("Gather", &[&table.numbers, tokens], &[]);
        let numbers = self.op("Cast", &[&numbers], &[TO_F32]);
        let scales = self.op("Gather", &[&table.scales, tokens], &[]);
        let last = self.graph.whole(&[-1]);
        let scales = self.op("Unsqueeze", &[&scales, &last], &[]);
        let x = self.op("Mul", &[&numbers, &scales], &[]);
        let all = self.variable("decoder/position_encodings/encodings", &[TEXT_POSITIONS, self.size.width])?;
        let places = self.op("Gather", &[&all, places], &[]);
        Ok(self.add(&x, &places))
    }

    /// Causal self-attention: to the tokens so far, not to later ones.
    fn attend_to_text(
        &mut self,
        x: &AttributeValue,
        layer: &str,
        number: usize,
    ) -> Result<AttributeValue, ImportError> {
        let width = self.size.width;
        let attention = format!("{layer}/self_attention");
        let [query, key, value] = self.own_projections(x, &attention)?;
        let past = self.heads_shape("past");
        let past_k = self.graph.input(&format!("past_k_{number}"), Element::F32, &past);
        let past_v = self.graph.input(&format!("past_v_{number}"), Element::F32, &past);
        let none = AttributeValue::new();
        let inputs = [&query, &key, &value, &none, &none, &none, &past_k, &past_v];
        let attributes = [self.heads(), Attribute::Int("unidirectional", 1)];
        let [y, present_k, present_v] = self.graph.nodes(Operation::Fused("MultiHeadAttention"), &inputs, &attributes);
        let present = self.heads_shape("present");
        self.graph.output(present_k, &format!("present_k_{number}"), Element::F32, &present);
        self.graph.output(present_v, &format!("present_v_{number}"), Element::F32, &present);
        let y = self.linear(&y, Linear::new(&format!("{attention}/linear_1"), width, width))?;
        Ok(self.add(x, &y))
    }

    fn attend_to_sound(
        &mut self,
        x: &AttributeValue,
        layer: &str,
        number: usize,
    ) -> Result<AttributeValue, ImportError> {
        let width = self.size.width;
        let attention = format!("{layer}/attention");
        let name = format!("{attention}/linear_0");
        let behind = [(format!("{name}/weight"), width)];
        let (y, balance) = self.balanced_norm(x, &format!("{attention}/layer_norm"), &behind)?;
        let query = self.linear(&y, Linear::new(&name, width, width).balanced(&balance))?;
        let sound = self.heads_shape("positions");
        let key = self.graph.input(&format!("cross_k_{number}"), Element::F32, &sound);
        let value = self.graph.input(&format!("cross_v_{number}"), Element::F32, &sound);
        let heads = self.heads();
        let y = self.graph.node(Operation::Fused("MultiHeadAttention"), &[&query, &key, &value], &[heads]);
        let y = self.linear(&y, Linear::new(&format!("{attention}/linear_2"), width, width))?;
        Ok(self.add(x, &y))
    }
}
