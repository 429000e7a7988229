use proptest::collection::vec;
use proptest::prelude::*;

use super::f64_model::{F64Model, RandomTensors};
use super::*;
use crate::llm::model_config::HeadOrder;
use crate::llm::state::{CheckpointRange, KvCacheType, Stamp};
use crate::llm::testing::{self, Builder};

const CONTEXT: usize = 600;

fn model(family: &str, threads: usize) -> Model {
    let gguf = testing::open(&testing::model(family));
    Model::bind(&mut gguf.binder(), ModelConfig::from_gguf(&gguf).unwrap(), Pool::new(threads)).unwrap()
}

fn tokens(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| i.wrapping_mul(2_654_435_761) >> 24).collect()
}

/// Sizes of a random hybrid model.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    key_heads: u32,
    group: u32,
    key_dim: u32,
    value_dim: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    rotated: u32,
    layers: u32,
    interval: u32,
    taps: u32,
    tied: bool,
}

const WIDTH: u32 = 24;
const HIDDEN: u32 = 40;
const VOCABULARY: u32 = 64;

impl Geometry {
    fn model_config(&self, tensors: &RandomTensors) -> (Builder, ModelConfig) {
        let numbers = [
            ("block_count", self.layers),
            ("embedding_length", WIDTH),
            ("feed_forward_length", HIDDEN),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("attention.key_length", self.head_dim),
            ("context_length", 4096),
            ("rope.dimension_count", self.rotated),
            ("full_attention_interval", self.interval),
            ("ssm.conv_kernel", self.taps),
            ("ssm.state_size", self.key_dim),
            ("ssm.group_count", self.key_heads),
            ("ssm.time_step_rank", self.key_heads * self.group),
            ("ssm.inner_size", self.key_heads * self.group * self.value_dim),
        ];
        let file = Builder::default().text("general.architecture", "qwen35");
        let file = file.f32("qwen35.attention.layer_norm_rms_epsilon", 1e-5);
        let file = numbers.iter().fold(file, |file, (key, value)| file.u32(&format!("qwen35.{key}"), *value));
        let file = self.shapes().iter().fold(file, |file, (name, dims)| file.tensor(name, dims, &tensors[name]));
        let model_config = ModelConfig::from_gguf(&testing::open(&file)).unwrap();
        (file, model_config)
    }

    fn shapes(&self) -> Vec<(String, Vec<u64>)> {
        let value_heads = self.key_heads * self.group;
        let (keys, values) = (self.key_heads * self.key_dim, value_heads * self.value_dim);
        let channels = 2 * keys + values;
        let (query, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let delta: &[(&str, &[u32])] = &[
            ("attn_qkv.weight", &[WIDTH, channels]),
            ("attn_gate.weight", &[WIDTH, values]),
            ("ssm_alpha.weight", &[WIDTH, value_heads]),
            ("ssm_beta.weight", &[WIDTH, value_heads]),
            ("ssm_conv1d.weight", &[self.taps, channels]),
            ("ssm_a", &[value_heads]),
            ("ssm_dt.bias", &[value_heads]),
            ("ssm_norm.weight", &[self.value_dim]),
            ("ssm_out.weight", &[values, WIDTH]),
        ];
        let attention: &[(&str, &[u32])] = &[
            ("attn_q.weight", &[WIDTH, 2 * query]),
            ("attn_k.weight", &[WIDTH, kv]),
            ("attn_v.weight", &[WIDTH, kv]),
            ("attn_q_norm.weight", &[self.head_dim]),
            ("attn_k_norm.weight", &[self.head_dim]),
            ("attn_output.weight", &[query, WIDTH]),
        ];
        let both: &[(&str, &[u32])] = &[
            ("attn_norm.weight", &[WIDTH]),
            ("post_attention_norm.weight", &[WIDTH]),
            ("ffn_gate.weight", &[WIDTH, HIDDEN]),
            ("ffn_up.weight", &[WIDTH, HIDDEN]),
            ("ffn_down.weight", &[HIDDEN, WIDTH]),
        ];
        let wide = |dims: &[u32]| dims.iter().map(|&dim| u64::from(dim)).collect::<Vec<_>>();
        let mut shapes = vec![
            ("token_embd.weight".to_owned(), wide(&[WIDTH, VOCABULARY])),
            ("output_norm.weight".to_owned(), wide(&[WIDTH])),
        ];
        if !self.tied {
            shapes.push(("output.weight".to_owned(), wide(&[WIDTH, VOCABULARY])));
        }
        for n in 0..self.layers {
            let mixer = if (n + 1).is_multiple_of(self.interval) { attention } else { delta };
            shapes.extend(mixer.iter().chain(both).map(|(name, dims)| (format!("blk.{n}.{name}"), wide(dims))));
        }
        shapes
    }

    /// Weights that keep the stream of order 1; heads with hardly any decay beside heads that decay
    /// at once.
    fn tensors(&self) -> RandomTensors {
        let mut random = fastrand::Rng::with_seed(u64::from(self.key_dim * 31 + self.value_dim * 7 + self.group));
        let mut fill = |(name, dims): (String, Vec<u64>)| {
            let len = dims.iter().product::<u64>() as usize;
            let mut even =
                |from: f32, to: f32| -> Vec<f32> { (0..len).map(|_| from + random.f32() * (to - from)).collect() };
            let values = match name.rsplit_once('.').map_or("", |(_, part)| part) {
                _ if name.contains("norm") => even(0.5, 1.5),
                "ssm_a" => (0..len).map(|i| if i == 0 { -0.01 } else { -16.0 * i as f32 / len as f32 }).collect(),
                "bias" => (0..len).map(|i| if i + 1 == len && i > 0 { 3.0 } else { -4.0 }).collect(),
                _ => {
                    let most = 1.7 / (dims[0] as f32).sqrt();
                    even(-most, most)
                }
            };
            (name, values)
        };
        self.shapes().into_iter().map(&mut fill).collect()
    }
}

const PLAIN: Geometry = Geometry {
    key_heads: 2,
    group: 1,
    key_dim: 16,
    value_dim: 16,
    heads: 4,
    kv_heads: 2,
    head_dim: 16,
    rotated: 4,
    layers: 3,
    interval: 3,
    taps: 4,
    tied: true,
};

#[test]
fn every_geometry_follows_the_mathematics() {
    let geometries = [
        PLAIN,
        Geometry { group: 2, ..PLAIN },
        Geometry { group: 3, key_dim: 16, value_dim: 32, interval: 2, tied: false, rotated: 8, ..PLAIN },
        Geometry { group: 2, key_dim: 24, value_dim: 12, key_heads: 3, taps: 2, ..PLAIN },
        Geometry { key_heads: 1, group: 3, key_dim: 5, value_dim: 7, heads: 3, kv_heads: 3, head_dim: 10, ..PLAIN },
        Geometry { key_dim: 128, value_dim: 128, head_dim: 256, rotated: 64, heads: 2, kv_heads: 1, ..PLAIN },
        Geometry { taps: 1, layers: 2, interval: 2, rotated: 2, ..PLAIN },
    ];
    for geometry in geometries {
        let tensors = geometry.tensors();
        let (file, tiled) = geometry.model_config(&tensors);
        for order in [HeadOrder::Tiled, HeadOrder::Grouped] {
            let mut model_config = tiled.clone();
            model_config.delta.as_mut().unwrap().order = order;
            let gguf = testing::open(&file);
            let mut model = Model::bind(&mut gguf.binder(), model_config.clone(), Pool::new(2)).unwrap();
            assert_follows(&format!("{geometry:?} {order:?}"), &mut model, &model_config, &tensors);
        }
    }
}

fn assert_follows(case: &str, model: &mut Model, model_config: &ModelConfig, tensors: &RandomTensors) {
    let tokens: Vec<u32> = tokens(100).iter().map(|token| token % VOCABULARY).collect();
    let mut f64_model = F64Model::new(model_config, tensors);
    let wanted: Vec<Vec<f64>> = tokens.iter().map(|&token| f64_model.step(token)).collect();
    for chunk in [1, 7, 100] {
        let mut state = SequenceState::with_cache(model_config, CONTEXT, KvCacheType::F32);
        let mut at = 0;
        for piece in tokens.chunks(chunk) {
            model.forward_each(&mut state, piece, |i, logits| {
                let off =
                    logits.iter().zip(&wanted[at + i]).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
                assert!(off < 1e-3, "{case} in chunks of {chunk}, position {}: off by {off}", at + i);
            });
            at += piece.len();
        }
    }
}

/// Complete contents of a state, to the bit.
fn remembered(state: &SequenceState) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    for n in 0..4 {
        all.extend(state.recurrent(n));
        all.extend(state.convolved(n).map(<[f32]>::to_vec));
        for position in 0..state.len() {
            all.extend(state.key_value(n, 1, position).into_iter().flat_map(|(key, value)| [key, value]));
        }
    }
    all
}

/// Logits after the last position, computed again if another state has computed since.
fn logits(model: &mut Model, state: &mut SequenceState) -> Vec<f32> {
    model.recompute_logits(state);
    model.logits(state).unwrap().to_vec()
}

/// State of a straight run over the same positions, each alone or together with others.
fn straight(model: &mut Model, kind: KvCacheType, history: &[(u32, bool)]) -> SequenceState {
    let mut state = SequenceState::with_cache(model.model_config(), CONTEXT, kind);
    for run in history.chunk_by(|a, b| a.1 == b.1) {
        let tokens: Vec<u32> = run.iter().map(|(token, _)| *token).collect();
        match run[0].1 {
            true => tokens.iter().for_each(|&token| model.forward(&mut state, &[token])),
            false => model.read(&mut state, &tokens, |_, _, _| ()),
        }
    }
    state
}

#[derive(Clone, Debug)]
enum Deed {
    Read(usize),
    Step(usize),
    /// Number of tokens computed as steps at once, and how many of them are kept.
    Steps(usize, usize),
    Snapshot,
    Restore(usize),
    Rollback(f64),
    Fork,
    Mark,
    /// Unload the model and load it again.
    Park,
    /// Continue in another process.
    WriteAndRead(CheckpointRange),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        3 => (2usize..150).prop_map(Deed::Read),
        3 => (1usize..60).prop_map(Deed::Step),
        4 => (1usize..9, 1usize..9).prop_map(|(n, kept)| Deed::Steps(n, kept.min(n))),
        1 => Just(Deed::Snapshot),
        1 => (0usize..4).prop_map(Deed::Restore),
        4 => (0.0f64..=1.0).prop_map(Deed::Rollback),
        1 => Just(Deed::Fork),
        1 => Just(Deed::Mark),
        1 => Just(Deed::Park),
        1 => prop::sample::select(vec![CheckpointRange::None, CheckpointRange::Turns, CheckpointRange::All]).prop_map(Deed::WriteAndRead),
    ];
    vec(deed, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_was_undone_is_as_if_it_had_never_been(
        deeds in deeds(),
        kind in prop::sample::select(vec![KvCacheType::F16, KvCacheType::Q8]),
    ) {
        let (mut model, stamp) = (model("qwen35", 1), Stamp::of_bytes([3; 32]));
        let mut state = SequenceState::with_cache(model.model_config(), CONTEXT, kind);
        let mut history: Vec<(u32, bool)> = Vec::new();
        let mut snapshots = Vec::new();
        for (i, deed) in deeds.into_iter().enumerate() {
            let room = CONTEXT - 1 - history.len();
            match deed {
                Deed::Read(n) if n <= room => {
                    let new: Vec<u32> = tokens(n).iter().map(|token| (token + i as u32) % 256).collect();
                    model.forward(&mut state, &new);
                    history.extend(new.iter().map(|&token| (token, false)));
                }
                Deed::Step(n) if n <= room => {
                    for token in tokens(n) {
                        model.forward(&mut state, &[token]);
                        history.push((token, true));
                    }
                }
                Deed::Steps(n, kept) if n <= room => {
                    let new: Vec<u32> = tokens(n).iter().map(|token| (token + i as u32) % 256).collect();
                    let within = n <= state.reach_ahead();
                    model.forward_steps(&mut state, &new);
                    prop_assert!(model.logits(&state).is_some());
                    prop_assert!(!within || state.goes_back_by_itself(history.len() + 1));
                    history.extend(new[..kept].iter().map(|&token| (token, true)));
                    model.rollback(&mut state, history.len());
                }
                Deed::Snapshot => snapshots.push((state.snapshot(), history.clone())),
                Deed::Restore(n) if n < snapshots.len() => {
                    let (snapshot, then) = &snapshots[n];
                    match state.restore(snapshot) {
                        Ok(()) => history.clone_from(then),
                        Err(stale) => prop_assert!(!history.starts_with(then) && stale.len == then.len()),
                    }
                }
                Deed::Rollback(share) => {
                    let len = (history.len() as f64 * share) as usize;
                    model.rollback(&mut state, len);
                    history.truncate(len);
                }
                Deed::Fork => state = state.fork(),
                Deed::Mark => state.mark_turn(),
                Deed::Park => state = state.suspend(&stamp).resume(&stamp, model.model_config()).unwrap(),
                Deed::WriteAndRead(waypoints) => {
                    let mut bytes = Vec::new();
                    state.write_to(&stamp, waypoints, &mut bytes).unwrap();
                    prop_assert_eq!(bytes.len(), state.written_bytes(waypoints));
                    state = SequenceState::read_from(&stamp, model.model_config(), CONTEXT, kind, &bytes[..]).unwrap();
                    snapshots.clear();
                }
                _ => {}
            }
            prop_assert_eq!(state.len(), history.len());
        }
        let mut straight = straight(&mut model, kind, &history);
        prop_assert!(state.tokens() == straight.tokens() && remembered(&state) == remembered(&straight));
        model.forward(&mut state, &[7]);
        model.forward(&mut straight, &[7]);
        prop_assert_eq!(logits(&mut model, &mut state), logits(&mut model, &mut straight));
        prop_assert!(state.bytes() <= SequenceState::planned_bytes_with(model.model_config(), CONTEXT, kind).unwrap());
    }
}

#[test]
fn a_lone_token_of_a_prompt_is_read_as_among_others() {
    for family in ["llama", "qwen2", "qwen35"] {
        let mut model = model(family, 2);
        for (len, cut) in [(65, 64), (2, 1), (129, 65), (33, 32)] {
            let tokens = tokens(len);
            let (mut whole, mut cut_back) =
                (SequenceState::new(model.model_config(), len), SequenceState::new(model.model_config(), CONTEXT));
            model.forward(&mut whole, &tokens);
            model.forward(&mut cut_back, &[&tokens[..], &tokens[..]].concat());
            model.rollback(&mut cut_back, cut);
            model.read(&mut cut_back, &tokens[cut..], |_, _, _| ());
            assert_eq!(remembered(&whole), remembered(&cut_back), "{family} {len} {cut}");
        }
    }
}

/// Cases: families with each type of weight that the models of the catalogue use in products of any
/// length.
#[test]
fn steps_at_once_are_to_the_bit_as_one_by_one() {
    let geometry = Geometry { key_dim: 128, value_dim: 128, head_dim: 64, rotated: 16, group: 2, ..PLAIN };
    let (file, model_config) = geometry.model_config(&geometry.tensors());
    let wide = Model::bind(&mut testing::open(&file).binder(), model_config, Pool::new(2)).unwrap();
    for mut model in [model("llama", 2), model("qwen2", 2), model("qwen35", 2), wide] {
        for kind in [KvCacheType::F16, KvCacheType::Q8] {
            assert_steps_agree(&mut model, kind);
        }
    }
}

fn assert_steps_agree(model: &mut Model, kind: KvCacheType) {
    let fresh = SequenceState::with_cache(model.model_config(), CONTEXT, kind);
    let prompt: Vec<u32> = tokens(150).iter().map(|token| token % VOCABULARY).collect();
    let (mut alone, mut at_once) = (fresh.fork(), fresh);
    model.forward(&mut alone, &prompt);
    model.forward(&mut at_once, &prompt);
    for n in (1..9).chain([17, 33]) {
        let len = at_once.len();
        model.forward_steps(&mut at_once, &prompt[..n]);
        let rows: Vec<Vec<f32>> =
            (1..=n).map(|more| model.logits_after(&at_once, len + more).unwrap().to_vec()).collect();
        for (token, logits) in prompt[..n].iter().zip(rows) {
            model.forward(&mut alone, &[*token]);
            let family = model.model_config().family;
            assert_eq!(model.logits(&alone).unwrap(), logits, "{family:?} {kind:?} {n} at once");
        }
    }
    assert_eq!((alone.tokens(), remembered(&alone)), (at_once.tokens(), remembered(&at_once)));
}

#[test]
fn a_snapshot_is_stale_once_its_positions_are_gone() {
    let mut model = model("qwen35", 1);
    let mut state = SequenceState::new(model.model_config(), CONTEXT);
    assert_eq!(state.snapshot().len(), 0);
    model.forward(&mut state, &tokens(70));
    let (snapshot, wanted) = (state.snapshot(), logits(&mut model, &mut state));
    let mut fork = state.fork();
    model.forward(&mut state, &[1, 2, 3]);
    state.restore(&snapshot).unwrap();
    assert_eq!(logits(&mut model, &mut state), wanted);
    model.rollback(&mut state, 60);
    model.forward(&mut state, &tokens(70)[60..]);
    let message = state.restore(&snapshot).unwrap_err().to_string();
    assert!(message.contains("70 positions") && message.contains("again"), "{message}");
    fork.restore(&snapshot).unwrap();
    assert_eq!(logits(&mut model, &mut fork), wanted);
}

#[test]
fn going_far_back_leaves_what_was_computed_again_where_snapshots_look_for_it() {
    let mut model = model("qwen35", 1);
    let mut state = SequenceState::new(model.model_config(), CONTEXT);
    tokens(100).iter().for_each(|&token| model.forward(&mut state, &[token]));
    let snapshot = state.snapshot();
    model.forward(&mut state, &tokens(400));
    model.rollback(&mut state, 120);
    state.restore(&snapshot).unwrap();
    assert_eq!(
        remembered(&state),
        remembered(&straight(
            &mut model,
            KvCacheType::F16,
            &tokens(100).iter().map(|&t| (t, true)).collect::<Vec<_>>()
        ))
    );
}

/// The root mean square of the error is compared with that of the logits. These models have far
/// sharper attention than trained ones.
#[test]
fn eight_bits_stay_near_what_is_not_rounded() {
    for (family, kind, most) in [
        ("llama", KvCacheType::F16, 2e-3),
        ("qwen35", KvCacheType::F16, 1e-4),
        ("llama", KvCacheType::Q8, 3e-2),
        ("qwen2", KvCacheType::Q8, 3e-2),
        ("qwen35", KvCacheType::Q8, 2e-3),
    ] {
        let mut model = model(family, 1);
        let mut run = |kind| {
            let mut all = Vec::new();
            let mut state = SequenceState::with_cache(model.model_config(), CONTEXT, kind);
            model.forward_each(&mut state, &tokens(300), |_, logits| all.extend_from_slice(logits));
            all
        };
        let (exact, rounded) = (run(KvCacheType::F32), run(kind));
        let root_mean = |values: &mut dyn Iterator<Item = f32>| {
            let (sum, n) = values.fold((0.0, 0), |(sum, n), v| (sum + f64::from(v) * f64::from(v), n + 1));
            (sum / f64::from(n)).sqrt()
        };
        let off =
            root_mean(&mut exact.iter().zip(&rounded).map(|(a, b)| a - b)) / root_mean(&mut exact.iter().copied());
        assert!(off > 0.0 && off < most, "{family} {kind:?}: off by {off} of the spread");
    }
}

#[test]
#[should_panic(expected = "position 11 of a context of 10")]
fn a_context_is_never_overrun() {
    let mut model = model("qwen35", 1);
    let mut state = SequenceState::new(model.model_config(), 10);
    model.forward(&mut state, &tokens(11));
}
