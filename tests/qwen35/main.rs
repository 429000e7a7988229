//! The hybrid model of Qwen3.5 against expected tensors (tests/golden/README.md), in every form a
//! sequence can take.
//!
mod expected;
#[path = "../common/goldens.rs"]
mod goldens;

use std::path::PathBuf;

use expected::Expected;
use sotto::llm::{KvCacheType, Model, SequenceState};
use sotto_kernels::{BlockType, unpack_row};

/// SPEC 8.3: logits absolutely, states relative to the largest value of their tensor, and how clear
/// a winner must be.
const LOGIT_TOLERANCE: f32 = 2e-3;
const STATE_TOLERANCE: f32 = 1e-4;
const CLEAR_MARGIN: f32 = 1e-2;

const CONTEXT: usize = 256;
/// Pieces that a sequence is computed in.
const CHUNKS: [usize; 5] = [1, 3, 16, 64, 200];
/// Where DeltaNet layers are compared.
const MOMENTS: [usize; 11] = [1, 2, 3, 4, 5, 63, 64, 65, 128, 130, 200];

/// The golden model in bf16, and what it computes.
fn exact() -> (PathBuf, Expected) {
    (goldens::model().join("tiny_gva2-bf16.gguf"), expected())
}

fn expected() -> Expected {
    Expected::read(&["golden.safetensors", "ref_f64.safetensors"].map(|file| goldens::model().join(file)))
}

fn state(model: &Model) -> SequenceState {
    SequenceState::with_cache(model.model_config(), CONTEXT, KvCacheType::F32)
}

/// The golden model in bf16 and in Q8_0, each with what it computes.
fn cases() -> [(PathBuf, Expected); 2] {
    let quantized = goldens::model().join("tiny_gva2-q8_0.gguf");
    [exact(), (quantized, expected().of_logits("gguf_q8_0.logits"))]
}

/// Logits of every position, the sequence cut after `ends`.
fn logits(model: &mut Model, tokens: &[u32], ends: &[usize]) -> Vec<Vec<f32>> {
    let (mut state, mut rows, mut from) = (state(model), Vec::new(), 0);
    for &to in ends {
        model.forward_each(&mut state, &tokens[from..to], |_, logits| rows.push(logits.to_vec()));
        from = to;
    }
    rows
}

fn ends(len: usize, chunk: usize) -> Vec<usize> {
    (0..len).step_by(chunk).map(|start| len.min(start + chunk)).collect()
}

fn assert_logits(case: &str, got: &[Vec<f32>], wanted: &[f32]) -> f32 {
    assert_eq!(got.len() * got[0].len(), wanted.len(), "{case}");
    let mut worst: f32 = 0.0;
    for (position, (got, wanted)) in got.iter().zip(wanted.chunks_exact(got[0].len())).enumerate() {
        let off = got.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off <= LOGIT_TOLERANCE, "{case}, position {position}: a logit is off by {off}");
        let (best, margin) = best(wanted);
        assert!(margin <= CLEAR_MARGIN || self::best(got).0 == best, "{case}, position {position}: another argmax");
        worst = worst.max(off);
    }
    worst
}

/// The place of the largest value, and how far the next is below it.
fn best(values: &[f32]) -> (usize, f32) {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    (order[0], values[order[0]] - values[order[1]])
}

fn assert_state(case: &str, got: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(got.len(), wanted.len(), "{case}");
    let scale = wanted.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
    let off = got.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off <= STATE_TOLERANCE * scale, "{case}: off by {off} of {scale}");
    off / scale
}

#[test]
fn logits_are_those_of_the_reference_however_the_prompt_is_cut() {
    for (path, golden) in cases() {
        let mut model = Model::open(&path, 2).unwrap();
        let tokens = golden.tokens("input_ids");
        for chunk in CHUNKS {
            let case = format!("{} in chunks of {chunk}", path.display());
            let got = logits(&mut model, &tokens, &ends(tokens.len(), chunk));
            println!("{case}: largest error {:.2e}", assert_logits(&case, &got, golden.values(golden.logits())));
        }
        for cut in [63, 64, 65] {
            let got = logits(&mut model, &tokens, &[cut, tokens.len()]);
            assert_logits(&format!("{} cut at {cut}", path.display()), &got, golden.values(golden.logits()));
        }
    }
}

#[test]
fn pieces_of_more_than_one_token_and_any_number_of_threads_change_no_bit() {
    let (path, golden) = exact();
    let tokens = golden.tokens("input_ids");
    let whole = logits(&mut Model::open(&path, 1).unwrap(), &tokens, &[200]);
    let alone = logits(&mut Model::open(&path, 1).unwrap(), &tokens, &ends(200, 1));
    for threads in [1, 2, 3] {
        let mut model = Model::open(&path, threads).unwrap();
        for cuts in [vec![200], ends(200, 3), ends(200, 16), ends(200, 65), vec![63, 200], vec![64, 200], vec![65, 200]]
        {
            // 200 in threes ends with a piece of two; in 65s with one of five.
            assert_eq!(logits(&mut model, &tokens, &cuts), whole, "{threads} threads, {cuts:?}");
        }
        assert_eq!(logits(&mut model, &tokens, &ends(200, 1)), alone, "{threads} threads, one by one");
    }
}

#[test]
fn states_are_those_of_the_reference_after_any_number_of_tokens() {
    for (path, golden) in cases() {
        if !golden.has_states() {
            continue;
        }
        let mut model = Model::open(&path, 2).unwrap();
        let tokens = golden.tokens("input_ids");
        let mut worst: f32 = 0.0;
        for chunk in [1, 200] {
            let (mut state, mut at) = (state(&model), 0);
            for moment in MOMENTS {
                tokens[at..moment].chunks(chunk).for_each(|piece| model.forward(&mut state, piece));
                at = moment;
                worst =
                    worst.max(assert_states(&format!("{} after {moment}", path.display()), &model, &state, &golden));
            }
        }
        println!("{}: largest relative error of a state {worst:.2e}", path.display());
    }
}

fn assert_states(case: &str, model: &Model, state: &SequenceState, golden: &Expected) -> f32 {
    let mut worst: f32 = 0.0;
    let prefix = format!("after{}", state.len());
    for n in 0..model.model_config().layers {
        let name = |part: &str| format!("{prefix}.layer{n}.{part}");
        if let Some(wanted) = golden.get(&name("recurrent_state")) {
            let got = expected::grouped(model.model_config(), &state.recurrent(n).unwrap());
            worst = worst.max(assert_state(&format!("{case}, S of layer {n}"), &got, wanted));
            let wanted = golden.conv_rows(&name("conv_state"), model.model_config());
            worst =
                worst.max(assert_state(&format!("{case}, rows of layer {n}"), state.convolved(n).unwrap(), &wanted));
        }
        if let (Some(keys), Some(values)) = (golden.get(&name("k")), golden.get(&name("v"))) {
            let (mut k, mut v) = (Vec::new(), Vec::new());
            for head in 0..model.model_config().kv_heads {
                for position in 0..state.len() {
                    let (key, value) = state.key_value(n, head, position).unwrap();
                    k.extend(key);
                    v.extend(value);
                }
            }
            worst = worst.max(assert_state(&format!("{case}, keys of layer {n}"), &k, keys));
            worst = worst.max(assert_state(&format!("{case}, values of layer {n}"), &v, values));
        }
    }
    worst
}

#[test]
fn a_greedy_answer_is_that_of_the_reference() {
    for (path, golden) in cases() {
        if !golden.has_states() {
            continue;
        }
        let mut model = Model::open(&path, 2).unwrap();
        let mut state = state(&model);
        model.forward(&mut state, &golden.tokens("greedy_prompt"));
        for (i, (wanted, margin)) in
            golden.tokens("greedy_tokens").iter().zip(golden.values("greedy_margin")).enumerate()
        {
            let token = best(model.logits(&state).unwrap()).0 as u32;
            assert!(token == *wanted || *margin <= CLEAR_MARGIN, "{}, token {i}", path.display());
            model.forward(&mut state, &[*wanted]);
        }
    }
}

#[test]
fn ten_thousand_tokens_stay_finite_and_take_no_more_memory_than_planned() {
    const TOKENS: usize = 10_000;
    let (path, _) = exact();
    let mut model = Model::open(&path, 1).unwrap();
    let mut state = SequenceState::new(model.model_config(), TOKENS);
    let mut held = Vec::new();
    model.forward(&mut state, &[1, 2, 3]);
    while state.len() < TOKENS {
        let position = state.len();
        let logits: &[f32] = model.logits(&state).unwrap();
        assert!(logits.iter().all(|logit| logit.is_finite()), "position {position}");
        // A little disorder, or a greedy model of noise soon repeats one token.
        let disorder = position % 7;
        let token = (best(logits).0 + disorder) as u32 % 512;
        model.forward(&mut state, &[token]);
        if state.len().is_multiple_of(2_000) {
            held.push(state.bytes());
        }
    }
    // The two attention layers keep 2 x 2 x 32 halves a position, in segments of 128, and the state
    // keeps 20 bytes of its token; nothing else grows.
    let grown = held[4] - held[0];
    assert!(grown.abs_diff(8_000 * (2 * 2 * 2 * 32 * 2 + 20)) <= 2 * 128 * 2 * 2 * 32 * 2, "{held:?}");
    assert!(state.bytes() <= SequenceState::planned_bytes(model.model_config(), TOKENS).unwrap());
}

/// What rounding keys and values costs: the golden logits are of a model that rounds nothing.
#[test]
fn rounded_keys_and_values_stay_near_the_golden_logits() {
    let (path, golden) = exact();
    let mut model = Model::open(&path, 1).unwrap();
    for (kind, most) in [(KvCacheType::F16, 8e-3), (KvCacheType::Q8, 8e-2)] {
        let mut state = SequenceState::with_cache(model.model_config(), CONTEXT, kind);
        let mut worst: f32 = 0.0;
        let wanted = golden.values(golden.logits()).chunks_exact(model.model_config().vocabulary).collect::<Vec<_>>();
        model.forward_each(&mut state, &golden.tokens("input_ids"), |i, logits| {
            worst = logits.iter().zip(wanted[i]).map(|(a, b)| (a - b).abs()).fold(worst, f32::max);
        });
        println!("{kind:?}: a logit is off by at most {worst}");
        assert!(worst <= most, "{kind:?}: a logit is off by {worst}");
    }
}

#[test]
fn blocks_hold_the_values_that_ggml_gives_them() {
    let golden = Expected::read(&[goldens::folder().join("blocks.safetensors")]);
    for kind in BlockType::GGML.into_iter().filter(|kind| kind.block_len() > 1) {
        let bytes: Vec<u8> = golden.values(&format!("{kind}.bytes")).iter().map(|&byte| byte as u8).collect();
        let wanted = golden.values(&format!("{kind}.values"));
        let mut values = vec![0.0; wanted.len()];
        unpack_row(kind, &bytes, &mut values);
        for (n, (value, wanted)) in values.iter().zip(wanted).enumerate() {
            // The scale of a K block is a product, which the two may round in another order.
            assert!((value - wanted).abs() <= 2e-7 * wanted.abs().max(1.0), "{kind} value {n}: {value}, not {wanted}");
        }
    }
}
