//! Conversion of Whisper to two ONNX graphs with weights in eight bits, several times as fast on a
//! processor as whisper.cpp.
//!
//! `encoder.onnx` computes the keys and values for the cross-attention of each decoder layer from
//! log-mel features. `decoder.onnx` computes the logits of the next token from tokens, the keys and
//! values of earlier tokens and the outputs of the encoder. Names and shapes of the inputs and
//! outputs are in [`encoder`] and [`decoder`].
//!
//! Matrices are quantised to integers of -64 to 64 with a scale for each output. Activations are
//! quantised in each run, to integers of 0 to 255 (`DynamicQuantizeLinear`). One bit of the weights
//! is left unused on purpose: processors with AVX2 but without VNNI add two products in sixteen
//! bits, and 2 · 64 · 255 still fits.
//!
//! Activations have one scale for a whole tensor, so large values cost the others precision. Two
//! measures reduce this loss. Channels that a norm makes large are made smaller and their weights
//! larger ([`balance`]). After the GELU, where single positions are far above all others, each
//! position is divided by its highest number before the matrix product and multiplied by it after.
//! Together they halve the error of the encoder's output: from 0.16 to 0.087 of its size, over
//! seven recordings, where leaving those layers unquantised gives 0.08.

mod decoder;
mod encoder;

use std::collections::HashMap;
use std::path::Path;

use super::ct2::Ct2Checkpoint;
use super::{ImportError, WhisperDims};
use crate::store::import::onnx::{Attribute, AttributeValue, Dimension, Graph, Operation};

/// Names of the files, in the order in which they are made.
pub use crate::store::catalogue::WHISPER_GRAPHS as FILES;

/// Largest quantised weight: see the module's text.
const TOP: f32 = 64.0;
/// Number of rows of a matrix that are quantised at a time.
const ROWS: usize = 1024;
/// Share of the activations' size that is moved into the weights, 0 to 1, and number of standard
/// deviations from the mean that counts as their size. Of 0.3, 0.5, 0.7, 0.85 and 1, a share of 0.7
/// had the smallest error.
const SHIFT: f32 = 0.7;
const DEVIATIONS: f32 = 3.0;
/// Lower bound of a size; smaller ones count as this.
const SMALLEST: f32 = 1e-5;
/// Bound of the GELU below zero: it is nowhere lower than minus this.
const GELU_DEPTH: f32 = 0.17;
/// Epsilon that the norms of Whisper add to the variance.
const EPSILON: f32 = 1e-5;
/// Attribute for f32, as a `TensorProto.DataType`.
const TO_F32: Attribute = Attribute::Int("to", 1);

/// Writes one of [`FILES`] as `target`.
pub(super) fn write(
    checkpoint: &mut Ct2Checkpoint,
    blueprint: &WhisperDims,
    file: &str,
    target: &Path,
) -> Result<(), ImportError> {
    let mut builder = Builder { graph: Graph::default(), checkpoint, size: *blueprint, quantised: HashMap::new() };
    match file == FILES[0] {
        true => builder.encoder()?,
        false => builder.decoder()?,
    }
    super::super::write_whole(target, &builder.graph.finish())
}

/// Graph under construction, and the source of its weights.
struct Builder<'c> {
    graph: Graph,
    checkpoint: &'c mut Ct2Checkpoint,
    size: WhisperDims,
    /// Activations that are already quantised: numbers, scale and zero point.
    quantised: HashMap<AttributeValue, [AttributeValue; 3]>,
}

/// Linear layer with weights `[outputs, inputs]`: part `index` of the `parts` that a variable of
/// the checkpoint joins row-wise.
#[derive(Clone, Copy)]
struct Linear<'n> {
    name: &'n str,
    outputs: usize,
    inputs: usize,
    part: (usize, usize),
    bias: bool,
    /// Factor of each column, if its inputs were divided by it.
    balance: Option<&'n [f32]>,
}

impl<'n> Linear<'n> {
    fn new(name: &'n str, outputs: usize, inputs: usize) -> Self {
        Linear { name, outputs, inputs, part: (0, 1), bias: true, balance: None }
    }

    fn part(self, index: usize, parts: usize) -> Self {
        Linear { part: (index, parts), ..self }
    }

    /// Marks a layer whose input is a balanced norm.
    fn balanced(self, balance: &'n [f32]) -> Self {
        Linear { balance: Some(balance), ..self }
    }

    /// Omits the bias. Keys have no bias in Whisper; their part of a joined bias is zero.
    fn without_bias(self) -> Self {
        Linear { bias: false, ..self }
    }
}

impl Builder<'_> {
    fn op(&mut self, name: &'static str, inputs: &[&AttributeValue], attributes: &[Attribute]) -> AttributeValue {
        self.graph.node(Operation::Standard(name), inputs, attributes)
    }

    fn add(&mut self, a: &AttributeValue, b: &AttributeValue) -> AttributeValue {
        self.op("Add", &[a, b], &[])
    }

    fn gelu(&mut self, x: &AttributeValue) -> AttributeValue {
        self.graph.node(Operation::Fused("Gelu"), &[x], &[])
    }

    /// Adds a whole variable unchanged, in f32.
    fn variable(&mut self, name: &str, shape: &[usize]) -> Result<AttributeValue, ImportError> {
        let numbers = self.checkpoint.numbers(name, shape, 0..shape[0])?;
        Ok(self.graph.floats(shape, &numbers))
    }

    fn norm(&mut self, x: &AttributeValue, name: &str) -> Result<AttributeValue, ImportError> {
        Ok(self.balanced_norm(x, name, &[])?.0)
    }

    /// Adds a norm and returns its output, and the factors its channels were divided by. They suit
    /// the matrices that follow it, named in `behind` with their rows.
    fn balanced_norm(
        &mut self,
        x: &AttributeValue,
        name: &str,
        behind: &[(String, usize)],
    ) -> Result<(AttributeValue, Vec<f32>), ImportError> {
        let width = self.size.width;
        let mut highest = vec![0.0f32; width];
        for (variable, rows) in behind {
            let weights = self.checkpoint.numbers(variable, &[*rows, width], 0..*rows)?;
            let columns = weights.iter().zip((0..width).cycle());
            columns.for_each(|(weight, column)| highest[column] = highest[column].max(weight.abs()));
        }
        let mut gamma = self.checkpoint.numbers(&format!("{name}/gamma"), &[width], 0..width)?;
        let mut beta = self.checkpoint.numbers(&format!("{name}/beta"), &[width], 0..width)?;
        let balance = if behind.is_empty() { vec![1.0; width] } else { balance(&gamma, &beta, &highest) };
        gamma.iter_mut().zip(&balance).for_each(|(gamma, balance)| *gamma /= balance);
        beta.iter_mut().zip(&balance).for_each(|(beta, balance)| *beta /= balance);
        let (gamma, beta) = (self.graph.floats(&[width], &gamma), self.graph.floats(&[width], &beta));
        let attributes = [Attribute::Int("axis", -1), Attribute::Float("epsilon", EPSILON)];
        Ok((self.op("LayerNormalization", &[x, &gamma, &beta], &attributes), balance))
    }

    /// Computes `y[.., outputs] = x[.., inputs] · weightsᵀ + bias`.
    fn linear(&mut self, x: &AttributeValue, layer: Linear) -> Result<AttributeValue, ImportError> {
        let Linear { name, outputs, inputs, part: (index, parts), bias, balance } = layer;
        let rows = outputs * index..outputs * (index + 1);
        let weights = format!("{name}/weight");
        let mut weights = self.checkpoint.numbers(&weights, &[outputs * parts, inputs], rows.clone())?;
        if let Some(balance) = balance {
            weights.iter_mut().zip(balance.iter().cycle()).for_each(|(weight, balance)| *weight *= balance);
        }
        let (numbers, scales) = quantise(&weights, inputs);
        let numbers = self.graph.bytes(&[inputs, outputs], &transposed(&numbers, inputs));
        let scales = self.graph.floats(&[outputs], &scales);
        let y = self.product(x, &numbers, &scales);
        if !bias {
            return Ok(y);
        }
        let bias = self.checkpoint.numbers(&format!("{name}/bias"), &[outputs * parts], rows)?;
        let bias = self.graph.floats(&[outputs], &bias);
        Ok(self.add(&y, &bias))
    }

    /// Multiplies by a quantised matrix `[inputs, outputs]`, in the form that ONNX Runtime fuses
    /// into one operation.
    fn product(&mut self, x: &AttributeValue, matrix: &AttributeValue, scales: &AttributeValue) -> AttributeValue {
        let [numbers, scale, zero] = self.quantised(x);
        let sums = self.op("MatMulInteger", &[&numbers, matrix, &zero], &[]);
        let sums = self.op("Cast", &[&sums], &[TO_F32]);
        let scale = self.op("Mul", &[&scale, scales], &[]);
        self.op("Mul", &[&sums, &scale], &[])
    }

    fn quantised(&mut self, x: &AttributeValue) -> [AttributeValue; 3] {
        if let Some(known) = self.quantised.get(x) {
            return known.clone();
        }
        let made = self.graph.nodes(Operation::Standard("DynamicQuantizeLinear"), &[x], &[]);
        self.quantised.insert(x.clone(), made.clone());
        made
    }

    /// Query, key and value of the self-attention of a layer, including the norm in front of it.
    fn own_projections(&mut self, x: &AttributeValue, attention: &str) -> Result<[AttributeValue; 3], ImportError> {
        let width = self.size.width;
        let name = format!("{attention}/linear_0");
        let behind = [(format!("{name}/weight"), 3 * width)];
        let (x, balance) = self.balanced_norm(x, &format!("{attention}/layer_norm"), &behind)?;
        let joined = Linear::new(&name, width, width).balanced(&balance);
        Ok([
            self.linear(&x, joined.part(0, 3))?,
            self.linear(&x, joined.part(1, 3).without_bias())?,
            self.linear(&x, joined.part(2, 3))?,
        ])
    }

    /// Two-layer perceptron of a layer, with its norm and residual connection.
    fn perceptron(&mut self, x: &AttributeValue, layer: &str) -> Result<AttributeValue, ImportError> {
        let width = self.size.width;
        let (first, second) = (format!("{layer}/ffn/linear_0"), format!("{layer}/ffn/linear_1"));
        let behind = [(format!("{first}/weight"), 4 * width)];
        let (y, balance) = self.balanced_norm(x, &format!("{layer}/ffn/layer_norm"), &behind)?;
        let y = self.linear(&y, Linear::new(&first, 4 * width, width).balanced(&balance))?;
        let y = self.gelu(&y);
        let (y, height) = self.levelled(&y);
        let y = self.linear(&y, Linear::new(&second, width, 4 * width).without_bias())?;
        let y = self.op("Mul", &[&y, &height], &[]);
        let bias = self.variable(&format!("{second}/bias"), &[width])?;
        let y = self.add(&y, &bias);
        Ok(self.add(x, &y))
    }

    /// Divides each position of a GELU's output by its highest number. Returns the quotients and
    /// those numbers.
    fn levelled(&mut self, x: &AttributeValue) -> (AttributeValue, AttributeValue) {
        let last = self.graph.whole(&[-1]);
        let highest = self.op("ReduceMax", &[x, &last], &[]);
        let depth = self.graph.floats(&[1], &[GELU_DEPTH]);
        let height = self.op("Max", &[&highest, &depth], &[]);
        (self.op("Div", &[x, &height], &[]), height)
    }

    fn heads(&self) -> Attribute<'static> {
        Attribute::Int("num_heads", self.size.heads as i64)
    }

    /// Reshapes `[1, positions, width]` to `[1, heads, positions, width / heads]`.
    fn by_heads(&mut self, x: &AttributeValue) -> AttributeValue {
        let WhisperDims { heads, width, .. } = self.size;
        let shape = self.graph.whole(&[0, 0, heads as i64, (width / heads) as i64]);
        let x = self.op("Reshape", &[x, &shape], &[]);
        self.op("Transpose", &[&x], &[Attribute::Ints("perm", &[0, 2, 1, 3])])
    }

    /// Shape of a tensor that is split by heads.
    fn heads_shape(&self, positions: &'static str) -> [Dimension; 4] {
        let WhisperDims { heads, width, .. } = self.size;
        [Dimension::Of(1), Dimension::Of(heads), Dimension::Named(positions), Dimension::Of(width / heads)]
    }
}

/// Factors by which to divide the channels of a norm, and multiply the columns of the matrices
/// after it, so that both quantise well. They balance the size of each channel against the
/// `highest` weight of its column, as SmoothQuant does (G. Xiao and others, 2023), but take the
/// size from the parameters of the norm instead of recorded activations. Their geometric mean is 1.
fn balance(gamma: &[f32], beta: &[f32], highest: &[f32]) -> Vec<f32> {
    let sizes = gamma.iter().zip(beta).map(|(gamma, beta)| DEVIATIONS * gamma.abs() + beta.abs());
    let balances = sizes
        .zip(highest)
        .map(|(size, highest)| SHIFT * size.max(SMALLEST).ln() - (1.0 - SHIFT) * highest.max(SMALLEST).ln());
    let balances: Vec<f32> = balances.collect();
    let mean = balances.iter().sum::<f32>() / balances.len().max(1) as f32;
    balances.iter().map(|balance| (balance - mean).exp()).collect()
}

/// Quantises each row of `inputs` numbers to integers of -64 to 64. Returns them and the scale of
/// each row.
fn quantise(weights: &[f32], inputs: usize) -> (Vec<i8>, Vec<f32>) {
    let scales: Vec<f32> = weights.chunks_exact(inputs).map(scale).collect();
    let rows = weights.chunks_exact(inputs).zip(&scales);
    let numbers = rows.flat_map(|(row, scale)| row.iter().map(move |weight| (weight / scale).round() as i8));
    (numbers.collect(), scales)
}

fn scale(row: &[f32]) -> f32 {
    let highest = row.iter().fold(0.0f32, |highest, weight| highest.max(weight.abs()));
    if highest > 0.0 { highest / TOP } else { 1.0 }
}

/// Transposes a matrix with `columns` columns.
fn transposed(numbers: &[i8], columns: usize) -> Vec<i8> {
    (0..columns).flat_map(|column| numbers.iter().skip(column).step_by(columns).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_within_half_a_step() {
        let weights = [0.5, -1.0, 0.25, 0.0, 0.0, 0.0, 3.0, 1.0, -2.0];
        let (numbers, scales) = quantise(&weights, 3);
        assert_eq!(scales, [1.0 / 64.0, 1.0, 3.0 / 64.0]);
        assert!(numbers.iter().all(|number| number.abs() <= 64));
        for ((weight, number), scale) in weights.iter().zip(&numbers).zip(scales.iter().flat_map(|scale| [scale; 3])) {
            assert!((weight - f32::from(*number) * scale).abs() <= scale / 2.0, "{weight}");
        }
        assert_eq!(transposed(&[1, 2, 3, 4, 5, 6], 3), [1, 4, 2, 5, 3, 6]);
    }

    /// A larger channel gets a larger divisor, and none is zero.
    #[test]
    fn channels_are_balanced_against_their_weights() {
        let balance = balance(&[0.1, 10.0, 1.0, 0.0], &[0.0, -5.0, 0.0, 0.0], &[1.0, 1.0, 0.0, 1.0]);
        assert!(balance.iter().all(|balance| *balance > 0.0 && balance.is_finite()), "{balance:?}");
        assert!(balance[1] > balance[0] && balance[2] > balance[0] && balance[0] > balance[3], "{balance:?}");
        assert!((balance.iter().map(|balance| balance.ln()).sum::<f32>()).abs() < 1e-3);
    }
}
