//! Encoder graph, from `mel` f32 `[1, 80, frames]` to `cross_k_i` and `cross_v_i` f32 `[1, heads,
//! positions, width / heads]` for each decoder layer `i`: the keys and values of its attention to
//! the sound. There are half as many positions as frames, at most 1500.

use super::super::{AUDIO_POSITIONS, MELS};
use super::{Builder, ImportError, Linear};
use crate::store::import::onnx::{Attribute, AttributeValue, Dimension, Element, Operation};

impl Builder<'_> {
    pub(super) fn encoder(&mut self) -> Result<(), ImportError> {
        let shape = [Dimension::Of(1), Dimension::Of(MELS), Dimension::Named("frames")];
        let mel = self.graph.input("mel", Element::F32, &shape);
        let mut x = self.positions_of(&mel)?;
        for layer in 0..self.size.encoder_layers {
            let layer = format!("encoder/layer_{layer}");
            x = self.attend_to_itself(&x, &layer)?;
            x = self.perceptron(&x, &layer)?;
        }
        self.give_out(&x)
    }

    /// Two convolutions, the second of which halves the number of frames, plus the position
    /// encodings.
    fn positions_of(&mut self, mel: &AttributeValue) -> Result<AttributeValue, ImportError> {
        let x = self.convolution(mel, "encoder/conv1", MELS, 1)?;
        let x = self.convolution(&x, "encoder/conv2", self.size.width, 2)?;
        let x = self.op("Transpose", &[&x], &[Attribute::Ints("perm", &[0, 2, 1])]);
        let places = self.variable("encoder/position_encodings/encodings", &[AUDIO_POSITIONS, self.size.width])?;
        let (start, count) = (Attribute::Int("start", 1), Attribute::Int("end", 2));
        let end = self.op("Shape", &[&x], &[start, count]);
        let zero = self.graph.whole(&[0]);
        let places = self.op("Slice", &[&places, &zero, &end], &[]);
        Ok(self.add(&x, &places))
    }

    fn convolution(
        &mut self,
        x: &AttributeValue,
        name: &str,
        inputs: usize,
        stride: i64,
    ) -> Result<AttributeValue, ImportError> {
        let width = self.size.width;
        let weights = self.variable(&format!("{name}/weight"), &[width, inputs, 3])?;
        let bias = self.variable(&format!("{name}/bias"), &[width])?;
        let (pads, strides) = ([1, 1], [stride]);
        let attributes = [Attribute::Ints("pads", &pads), Attribute::Ints("strides", &strides)];
        let y = self.op("Conv", &[x, &weights, &bias], &attributes);
        Ok(self.gelu(&y))
    }

    fn attend_to_itself(&mut self, x: &AttributeValue, layer: &str) -> Result<AttributeValue, ImportError> {
        let width = self.size.width;
        let attention = format!("{layer}/self_attention");
        let [query, key, value] = self.own_projections(x, &attention)?;
        let heads = self.heads();
        let y = self.graph.node(Operation::Fused("MultiHeadAttention"), &[&query, &key, &value], &[heads]);
        let y = self.linear(&y, Linear::new(&format!("{attention}/linear_1"), width, width))?;
        Ok(self.add(x, &y))
    }

    /// Adds the outputs: the keys and values that each decoder layer attends to.
    fn give_out(&mut self, x: &AttributeValue) -> Result<(), ImportError> {
        let width = self.size.width;
        let name = |layer: usize| format!("decoder/layer_{layer}/attention/linear_1");
        let layers = 0..self.size.decoder_layers;
        let behind: Vec<_> = layers.clone().map(|layer| (format!("{}/weight", name(layer)), 2 * width)).collect();
        let (x, balance) = self.balanced_norm(x, "encoder/layer_norm", &behind)?;
        for layer in layers {
            let name = name(layer);
            let joined = Linear::new(&name, width, width).balanced(&balance);
            for (kind, part) in [("k", joined.part(0, 2).without_bias()), ("v", joined.part(1, 2))] {
                let made = self.linear(&x, part)?;
                let made = self.by_heads(&made);
                let shape = self.heads_shape("positions");
                self.graph.output(made, &format!("cross_{kind}_{layer}"), Element::F32, &shape);
            }
        }
        Ok(())
    }
}
