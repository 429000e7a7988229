//! The graphs that are made of Whisper's weights compute what Whisper is defined to compute: a
//! small model of made-up weights, against plain code in double precision.

mod common;
#[path = "common/onnx.rs"]
mod onnx;

use std::collections::BTreeMap;
use std::path::Path;

use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor};
use sotto::store::import::whisper::convert;

const MELS: usize = 80;
const WIDTH: usize = 64;
const HEADS: usize = 2;
const TOKENS: usize = 50;
const FRAMES: usize = 40;
const POSITIONS: usize = FRAMES / 2;
/// Quantising loses this share of a result's size at most. Wrong wiring loses all of it.
const TOLERANCE: f64 = 0.04;

/// Row-major numbers by their CTranslate2 names.
type Weights = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Adds a variable by its name and shape, with numbers that lie so far around a middle.
type Add<'a> = dyn FnMut(&str, &[usize], f32, f32) + 'a;

/// Numbers in -1.0..1.0 (a multiplicative hash, Knuth).
fn noise(seed: usize) -> impl Iterator<Item = f32> {
    let hash = |n: u64| (n ^ (n >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40;
    (1..).map(move |n: u64| {
        hash((n + ((seed as u64) << 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15)) as f32 / (1 << 23) as f32 - 1.0
    })
}

fn weights() -> Weights {
    let mut weights = Weights::new();
    let mut add = |name: &str, shape: &[usize], scale: f32, middle: f32| {
        let count: usize = shape.iter().product();
        let numbers = noise(weights.len() + 1).take(count).map(|number| half(middle + scale * number)).collect();
        weights.insert(name.to_owned(), (shape.to_vec(), numbers));
    };
    add("encoder/conv1/weight", &[WIDTH, MELS, 3], 0.1, 0.0);
    add("encoder/conv1/bias", &[WIDTH], 0.1, 0.0);
    add("encoder/conv2/weight", &[WIDTH, WIDTH, 3], 0.1, 0.0);
    add("encoder/conv2/bias", &[WIDTH], 0.1, 0.0);
    add("decoder/embeddings/weight", &[TOKENS, WIDTH], 1.0, 0.0);
    let norm = |add: &mut Add, name: &str| {
        add(&format!("{name}/gamma"), &[WIDTH], 0.6, 1.0);
        add(&format!("{name}/beta"), &[WIDTH], 0.2, 0.0);
    };
    let linear = |add: &mut Add, name: &str, outputs: usize, inputs: usize| {
        add(&format!("{name}/weight"), &[outputs, inputs], 0.2, 0.0);
        add(&format!("{name}/bias"), &[outputs], 0.1, 0.0);
    };
    for (side, positions) in [("encoder", 1500), ("decoder", 448)] {
        add(&format!("{side}/position_encodings/encodings"), &[positions, WIDTH], 0.5, 0.0);
        norm(&mut add, &format!("{side}/layer_norm"));
        let layer = format!("{side}/layer_0");
        norm(&mut add, &format!("{layer}/self_attention/layer_norm"));
        linear(&mut add, &format!("{layer}/self_attention/linear_0"), 3 * WIDTH, WIDTH);
        linear(&mut add, &format!("{layer}/self_attention/linear_1"), WIDTH, WIDTH);
        norm(&mut add, &format!("{layer}/ffn/layer_norm"));
        linear(&mut add, &format!("{layer}/ffn/linear_0"), 4 * WIDTH, WIDTH);
        linear(&mut add, &format!("{layer}/ffn/linear_1"), WIDTH, 4 * WIDTH);
    }
    norm(&mut add, "decoder/layer_0/attention/layer_norm");
    linear(&mut add, "decoder/layer_0/attention/linear_0", WIDTH, WIDTH);
    linear(&mut add, "decoder/layer_0/attention/linear_1", 2 * WIDTH, WIDTH);
    linear(&mut add, "decoder/layer_0/attention/linear_2", WIDTH, WIDTH);
    // Keys have no bias.
    for name in ["encoder/layer_0/self_attention/linear_0", "decoder/layer_0/self_attention/linear_0"] {
        weights.get_mut(&format!("{name}/bias")).unwrap().1[WIDTH..2 * WIDTH].fill(0.0);
    }
    weights.get_mut("decoder/layer_0/attention/linear_1/bias").unwrap().1[..WIDTH].fill(0.0);
    weights
}

/// As f16 holds it.
fn half(number: f32) -> f32 {
    half::f16::from_f32(number).to_f32()
}

/// The weights in CTranslate2's format (its description stands in `store::import::whisper::ct2`).
fn checkpoint(weights: &Weights) -> Vec<u8> {
    let string = |out: &mut Vec<u8>, text: &str| {
        out.extend((text.len() as u16 + 1).to_le_bytes());
        out.extend([text.as_bytes(), &[0]].concat());
    };
    let mut out = Vec::from(6u32.to_le_bytes());
    string(&mut out, "WhisperSpec");
    out.extend(3u32.to_le_bytes());
    out.extend((weights.len() as u32 + 2).to_le_bytes());
    for side in ["encoder", "decoder"] {
        string(&mut out, &format!("{side}/num_heads"));
        out.extend([0, 2]);
        out.extend(2u32.to_le_bytes());
        out.extend((HEADS as u16).to_le_bytes());
    }
    for (name, (shape, numbers)) in weights {
        string(&mut out, name);
        out.push(shape.len() as u8);
        shape.iter().for_each(|&size| out.extend((size as u32).to_le_bytes()));
        out.push(4);
        out.extend((numbers.len() as u32 * 2).to_le_bytes());
        numbers.iter().for_each(|&number| out.extend(half::f16::from_f32(number).to_le_bytes()));
    }
    out.extend(0u32.to_le_bytes());
    out
}

/// Rows of numbers, and the arithmetic on them that Whisper is made of.
type Rows = Vec<Vec<f64>>;

struct Plain<'w>(&'w Weights);

impl Plain<'_> {
    fn numbers(&self, name: &str) -> Vec<f64> {
        self.0[name].1.iter().map(|&number| f64::from(number)).collect()
    }

    fn rows(&self, name: &str) -> Rows {
        let (shape, _) = &self.0[name];
        self.numbers(name).chunks_exact(shape[1..].iter().product()).map(<[f64]>::to_vec).collect()
    }

    fn linear(&self, x: &Rows, name: &str) -> Rows {
        let (weights, bias) = (self.rows(&format!("{name}/weight")), self.numbers(&format!("{name}/bias")));
        let out = |row: &Vec<f64>| weights.iter().zip(&bias).map(|(weights, bias)| dot(row, weights) + bias).collect();
        x.iter().map(out).collect()
    }

    fn norm(&self, x: &Rows, name: &str) -> Rows {
        let (gamma, beta) = (self.numbers(&format!("{name}/gamma")), self.numbers(&format!("{name}/beta")));
        let out = |row: &Vec<f64>| {
            let mean = row.iter().sum::<f64>() / WIDTH as f64;
            let variance = row.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / WIDTH as f64;
            let unit = row.iter().map(|number| (number - mean) / (variance + 1e-5).sqrt());
            unit.zip(&gamma).zip(&beta).map(|((number, gamma), beta)| number * gamma + beta).collect()
        };
        x.iter().map(out).collect()
    }

    fn convolution(&self, x: &Rows, name: &str, stride: usize) -> Rows {
        let (weights, bias) = (self.rows(&format!("{name}/weight")), self.numbers(&format!("{name}/bias")));
        let at = |place: usize, tap: usize| (place * stride + tap).checked_sub(1).and_then(|place| x.get(place));
        let one = |place: usize, weights: &Vec<f64>| {
            let tap =
                |tap: usize, row: &Vec<f64>| row.iter().enumerate().map(|(i, x)| x * weights[i * 3 + tap]).sum::<f64>();
            (0..3).filter_map(|n| at(place, n).map(|row| tap(n, row))).sum::<f64>()
        };
        let places = 0..x.len().div_ceil(stride);
        places.map(|place| weights.iter().zip(&bias).map(|(w, bias)| gelu(one(place, w) + bias)).collect()).collect()
    }

    fn perceptron(&self, x: &Rows, layer: &str) -> Rows {
        let y = self.linear(&self.norm(x, &format!("{layer}/ffn/layer_norm")), &format!("{layer}/ffn/linear_0"));
        let y = y.iter().map(|row| row.iter().map(|&number| gelu(number)).collect()).collect();
        sum(x, &self.linear(&y, &format!("{layer}/ffn/linear_1")))
    }

    fn attend_to_itself(&self, x: &Rows, layer: &str, causal: bool) -> Rows {
        let attention = format!("{layer}/self_attention");
        let joined = self.linear(&self.norm(x, &format!("{attention}/layer_norm")), &format!("{attention}/linear_0"));
        let part = |n: usize| -> Rows { joined.iter().map(|row| row[n * WIDTH..][..WIDTH].to_vec()).collect() };
        sum(x, &self.linear(&attend(&part(0), &part(1), &part(2), causal), &format!("{attention}/linear_1")))
    }

    /// Keys and values for the decoder's attention, of features `[frames][80]`.
    fn detect(&self, mel: &Rows) -> (Rows, Rows) {
        let x = self.convolution(&self.convolution(mel, "encoder/conv1", 1), "encoder/conv2", 2);
        let x = sum(&x, &self.rows("encoder/position_encodings/encodings"));
        let x = self.perceptron(&self.attend_to_itself(&x, "encoder/layer_0", false), "encoder/layer_0");
        let joined = self.linear(&self.norm(&x, "encoder/layer_norm"), "decoder/layer_0/attention/linear_1");
        joined.iter().map(|row| (row[..WIDTH].to_vec(), row[WIDTH..].to_vec())).unzip()
    }

    /// The logits of each of `tokens`.
    fn write(&self, tokens: &[i64], (keys, values): &(Rows, Rows)) -> Rows {
        let embeddings = self.rows("decoder/embeddings/weight");
        let x = tokens.iter().map(|&token| embeddings[token as usize].clone()).collect();
        let x = sum(&x, &self.rows("decoder/position_encodings/encodings"));
        let x = self.attend_to_itself(&x, "decoder/layer_0", true);
        let query = self.norm(&x, "decoder/layer_0/attention/layer_norm");
        let query = self.linear(&query, "decoder/layer_0/attention/linear_0");
        let heard = attend(&query, keys, values, false);
        let x = sum(&x, &self.linear(&heard, "decoder/layer_0/attention/linear_2"));
        let x = self.norm(&self.perceptron(&x, "decoder/layer_0"), "decoder/layer_norm");
        x.iter().map(|row| embeddings.iter().map(|token| dot(row, token)).collect()).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sum(a: &Rows, b: &Rows) -> Rows {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect()).collect()
}

/// x · Φ(x), with the error function by Abramowitz and Stegun, 7.1.26 (to 1.5e-7).
fn gelu(x: f64) -> f64 {
    let z = x.abs() / 2f64.sqrt();
    let t = 1.0 / (1.0 + 0.3275911 * z);
    let series = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592];
    let erf = 1.0 - series.iter().fold(0.0, |sum, factor| (sum + factor) * t) * (-z * z).exp();
    0.5 * x * (1.0 + erf.copysign(x))
}

fn attend(queries: &Rows, keys: &Rows, values: &Rows, causal: bool) -> Rows {
    let size = WIDTH / HEADS;
    let one = |(place, query): (usize, &Vec<f64>)| {
        let seen = if causal { place + 1 } else { keys.len() };
        let head = |head: usize| {
            let of = |row: &Vec<f64>| row[head * size..][..size].to_vec();
            let scores = keys[..seen].iter().map(|key| (dot(&of(query), &of(key)) / (size as f64).sqrt()).exp());
            let scores: Vec<f64> = scores.collect();
            let all: f64 = scores.iter().sum();
            (0..size).map(move |n| {
                scores.iter().zip(values).map(|(score, value)| score * value[head * size + n]).sum::<f64>() / all
            })
        };
        (0..HEADS).flat_map(|n| head(n).collect::<Vec<_>>()).collect()
    };
    queries.iter().enumerate().map(one).collect()
}

/// The size of the difference as a share of the size of what is wanted.
fn error(found: &[f32], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let difference: f64 = found.iter().zip(wanted).map(|(found, wanted)| (f64::from(*found) - wanted).powi(2)).sum();
    (difference / wanted.iter().map(|wanted| wanted.powi(2)).sum::<f64>()).sqrt()
}

fn numbers(value: &DynValue) -> Vec<f32> {
    value.try_extract_tensor::<f32>().unwrap().1.to_vec()
}

/// `[positions][width]` in the order of `[heads, positions, width / heads]`.
fn by_heads(rows: &Rows) -> Vec<f64> {
    (0..HEADS)
        .flat_map(|head| rows.iter().flat_map(move |row| row[head * WIDTH / HEADS..][..WIDTH / HEADS].to_vec()))
        .collect()
}

fn session(folder: &Path, name: &str) -> Session {
    convert(folder, &folder.join(name)).unwrap();
    onnx::runtime().session(&folder.join(name), 1).unwrap()
}

/// Logits and the present keys and values of one pass.
fn pass(decoder: &mut Session, tokens: &[i64], place: i64, past: &[DynValue], cross: &[DynValue]) -> [DynValue; 3] {
    let row = |numbers: Vec<i64>| Tensor::from_array(([1, numbers.len()], numbers)).unwrap();
    let rows = Tensor::from_array(([1usize], vec![tokens.len() as i64 - 1])).unwrap();
    let mut inputs: Vec<(&str, SessionInputValue)> = vec![
        ("tokens", row(tokens.to_vec()).into()),
        ("places", row((place..place + tokens.len() as i64).collect()).into()),
        ("rows", rows.into()),
    ];
    inputs.extend(["past_k_0", "past_v_0"].into_iter().zip(past.iter().map(Into::into)));
    inputs.extend(["cross_k_0", "cross_v_0"].into_iter().zip(cross.iter().map(Into::into)));
    let mut outputs = decoder.run(inputs).unwrap();
    ["logits", "present_k_0", "present_v_0"].map(|name| outputs.remove(name).unwrap())
}

#[test]
fn graphs_compute_what_whisper_is_defined_to_compute() {
    let weights = weights();
    let plain = Plain(&weights);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.bin"), checkpoint(&weights)).unwrap();
    let mut encoder = session(folder.path(), "encoder.onnx");
    let mut decoder = session(folder.path(), "decoder.onnx");

    let features: Vec<f32> = noise(999).take(MELS * FRAMES).collect();
    let mel: Rows =
        (0..FRAMES).map(|frame| (0..MELS).map(|band| f64::from(features[band * FRAMES + frame])).collect()).collect();
    let wanted = plain.detect(&mel);
    let input = Tensor::from_array(([1, MELS, FRAMES], features)).unwrap();
    let mut outputs = encoder.run(ort::inputs!["mel" => input]).unwrap();
    let cross = ["cross_k_0", "cross_v_0"].map(|name| outputs.remove(name).unwrap());
    for (found, wanted) in cross.iter().zip([&wanted.0, &wanted.1]) {
        assert_eq!(wanted.len(), POSITIONS);
        let error = error(&numbers(found), &by_heads(wanted));
        assert!(error < TOLERANCE, "the encoder is off by {error}");
    }

    let tokens = [3, 17, 42, 8, 29];
    let logits = plain.write(&tokens, &wanted);
    let empty = || Tensor::<f32>::from_array(([1, HEADS, 0, WIDTH / HEADS], Vec::new())).unwrap().into_dyn();
    let [first, keys, values] = pass(&mut decoder, &tokens[..3], 0, &[empty(), empty()], &cross);
    let [second, keys, values] = pass(&mut decoder, &tokens[3..4], 3, &[keys, values], &cross);
    let [third, ..] = pass(&mut decoder, &tokens[4..], 4, &[keys, values], &cross);
    for (found, wanted) in [first, second, third].iter().zip(&logits[2..]) {
        let error = error(&numbers(found), wanted);
        assert!(error < TOLERANCE, "the decoder is off by {error}");
    }
}
