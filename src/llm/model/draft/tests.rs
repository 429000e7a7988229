use std::path::Path;

use sotto_kernels::{Pool, unpack_row};

use super::super::f64_model::{F64Model, RandomTensors};
use super::*;
use crate::llm::checkpoint::{header, map_file};
use crate::llm::source::ModelSource;
use crate::llm::state::{KvCacheType, SequenceState};
use crate::llm::testing;

/// Number of positions computed at once.
const CHUNK: usize = 50;

/// Returns the logits of the block after every position of `tokens`, the last one followed by the
/// first of `then`; then one more for each of `then`, with the block's previous output as input.
fn drafts(model: &mut Model, tokens: &[u32], then: &[u32]) -> Vec<Vec<f32>> {
    let model_config = &model.model_config().clone();
    let (width, layer) = (model_config.width, model_config.layers);
    let mut state = SequenceState::with_cache(model_config, tokens.len() + then.len(), KvCacheType::F32);
    let mut memory = LayerState::new(model_config, layer, KvCacheType::F32);
    let (mut hidden, mut pairs) = (vec![0.0; CHUNK * width], vec![0.0; 2 * CHUNK * width]);
    let next: Vec<u32> = tokens[1..].iter().chain(&then[..1]).copied().collect();
    let mut rows = Vec::new();
    let mut logits = vec![0.0; model_config.vocabulary];
    let mut last = Vec::new();
    for (tokens, next) in tokens.chunks(CHUNK).zip(next.chunks(CHUNK)) {
        model.forward(&mut state, tokens);
        let (first, stream) = model.newest(&state);
        assert_eq!((first + tokens.len(), stream.len()), (state.len(), tokens.len() * width));
        model.network.hidden(stream, &mut hidden[..stream.len()]);
        let Model { network, work } = &mut *model;
        network.draft(work, &mut memory, first, next, &mut hidden, &mut pairs);
        for y in hidden.chunks_exact(width).take(tokens.len()) {
            network.draft_token(work, y, &mut logits);
            rows.push(logits.clone());
            last = y.to_vec();
        }
    }
    let Model { network, work } = &mut *model;
    for (i, &token) in then.iter().enumerate().skip(1) {
        network.draft(work, &mut memory, tokens.len() + i - 1, &[token], &mut last, &mut pairs);
        network.draft_token(work, &last, &mut logits);
        rows.push(logits.clone());
    }
    rows
}

fn furthest(got: &[f32], wanted: impl Iterator<Item = f64>) -> f64 {
    got.iter().zip(wanted).map(|(&got, wanted)| (f64::from(got) - wanted).abs()).fold(0.0, f64::max)
}

#[test]
fn the_block_computes_what_its_mathematics_says() {
    let gguf = testing::open(&testing::drafting(false));
    let values = |tensor: &crate::llm::gguf::GgufTensor| {
        let mut values = vec![0.0; tensor.dims.iter().product()];
        unpack_row(tensor.kind, gguf.bytes(tensor), &mut values);
        (tensor.name.clone(), values)
    };
    let tensors: RandomTensors = gguf.tensors().map(values).collect();
    let model_config = crate::llm::ModelConfig::from_gguf(&gguf).unwrap();
    let mut model = Model::bind(&mut gguf.binder(), model_config.clone(), Pool::new(2)).unwrap();
    model.bind_draft(&mut gguf.binder()).unwrap();
    let tokens: Vec<u32> = (0..70).map(|i| i * 37 % 251).collect();
    let then = [3, 99, 180];
    let got = drafts(&mut model, &tokens, &then);

    let mut f64_model = F64Model::new(&model_config, &tensors);
    let mut y = Vec::new();
    for (position, got) in got.iter().enumerate() {
        let next = *tokens.get(position + 1).unwrap_or_else(|| &then[position + 1 - tokens.len()]);
        if let Some(&token) = tokens.get(position) {
            f64_model.step(token);
            y = f64_model.hidden.clone();
        } else {
            f64_model.position += 1;
        }
        let (drafted, logits) = f64_model.draft(&y, next);
        y = drafted;
        let off = furthest(got, logits.into_iter());
        assert!(off < 1e-4, "position {position}: off by {off}");
    }
}

/// The F32 tensor called `name`, or the I32 one.
fn golden(file: &Path, name: &str) -> Vec<f64> {
    let map = map_file(file).unwrap();
    let tensors = header::parse(&map).unwrap();
    let tensor = tensors.iter().find(|tensor| tensor.name == name).unwrap();
    let words = map[tensor.span.clone()].as_chunks::<4>().0.iter();
    match tensor.dtype.name() {
        "F32" => words.map(|word| f64::from(f32::from_le_bytes(*word))).collect(),
        _ => words.map(|word| f64::from(i32::from_le_bytes(*word))).collect(),
    }
}

/// Model and block are in separate safetensors files.
#[test]
fn the_block_computes_the_golden_logits() {
    let model = testing::goldens::model();
    let expected = model.join("mtp_golden.safetensors");
    let dir = tempfile::tempdir().unwrap();
    for (from, to) in [
        ("hf/config.json", "config.json"),
        ("hf/model.safetensors", "model-1.safetensors"),
        ("mtp.f32.safetensors", "model-2.safetensors"),
    ] {
        std::fs::copy(model.join(from), dir.path().join(to)).unwrap();
    }
    let source = ModelSource::open(dir.path()).unwrap();
    assert!(source.drafts());
    let mut ours = source.load_on(Pool::new(2), true).unwrap();
    let whole = |name: &str, file: &Path| golden(file, name).into_iter().map(|token| token as u32).collect();
    let tokens: Vec<u32> = whole("input_ids", &model.join("golden.safetensors"));
    let then: Vec<u32> = whole("chain_tokens", &expected);
    let got = drafts(&mut ours, &tokens, &then[..2]);
    let wanted = [golden(&expected, "logits"), golden(&expected, "chain_logits")].concat();
    assert_eq!(got.len() * 512, wanted.len());
    for (position, (got, wanted)) in got.iter().zip(wanted.chunks_exact(512)).enumerate() {
        let off = furthest(got, wanted.iter().copied());
        assert!(off < 2e-3, "position {position}: off by {off}");
    }
}
