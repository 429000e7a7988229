use proptest::prelude::*;

use sotto_kernels::{Best, Pool};

use super::*;
use crate::llm::model::Model;
use crate::llm::testing;

const STAMP: Stamp = Stamp::of_bytes([9; 32]);
const KINDS: [KvCacheType; 3] = [KvCacheType::F16, KvCacheType::F32, KvCacheType::Q8];

fn model_config(family: &str) -> ModelConfig {
    ModelConfig::from_gguf(&testing::open(&testing::model(family))).unwrap()
}

#[test]
fn the_cache_grows_in_segments_and_keeps_what_it_has() {
    let mut state = SequenceState::new(&model_config("llama"), 1000);
    let empty = state.bytes();
    state.make_room(3);
    let keys: Vec<f32> = (0..48).map(|i| i as f32).collect();
    let values: Vec<f32> = keys.iter().map(|k| -k).collect();
    let LayerState::Attention(cache) = &mut state.layers[1] else { panic!("llama only attends") };
    cache.store(0, &keys, &values);
    state.advance(&[1, 2, 3], false);
    let segment = state.bytes() - empty;
    let position = 2 * 2 * 16 * 2 + size_of::<u32>() + size_of::<StateOrigin>();
    assert_eq!(segment, 128 * position);
    state.make_room(997);
    assert_eq!(state.bytes() - empty, 8 * segment);
    assert_eq!(state.key_value(1, 1, 2), Some((keys[40..48].to_vec(), values[40..48].to_vec())));
    assert_eq!((state.key_value(1, 2, 2), state.key_value(1, 1, 3)), (None, None));
}

#[test]
fn going_back_forgets_tokens() {
    for family in ["llama", "qwen35"] {
        let mut state = SequenceState::new(&model_config(family), 16);
        state.make_room(3);
        state.advance(&[5, 6, 7], false);
        assert_eq!(state.rewind(3), 3);
        assert_eq!(state.rewind(1), 1);
        assert_eq!(state.tokens(), [5]);
    }
}

#[test]
fn logits_belong_to_the_state_that_computed_them() {
    for family in ["llama", "qwen35"] {
        let mut model = model(family);
        let [mut one, mut other] = [(); 2].map(|()| SequenceState::new(model.model_config(), 100));
        model.forward(&mut one, &[5, 6, 7]);
        let wanted = model.logits(&one).unwrap().to_vec();
        assert!(model.logits(&one.fork()).is_some() && model.logits(&other).is_none(), "{family}");
        assert_eq!(model.newest(&one).0, 0);
        model.forward(&mut other, &[5, 6, 7]);
        assert!(model.logits(&one).is_none() && model.newest(&one).1.is_empty());
        assert!(model.recompute_logits(&mut one) && !model.recompute_logits(&mut one));
        assert_eq!(model.logits(&one).unwrap(), wanted, "{family}");
        model.forward_best(&mut one, &[8], Best { count: 1, counts: &|_| true });
        assert!(model.logits(&one).is_none() && model.best_logits(&one).is_some());
        model.spend_logits(&other);
        assert!(model.best_logits(&one).is_some());
        model.spend_logits(&one);
        assert!(model.best_logits(&one).is_none());
        model.rollback(&mut one, 1);
        assert!(model.logits(&one).is_none());
    }
}

#[test]
fn what_is_planned_is_what_can_be_held() {
    // Qwen3.5-0.8B: 18 DeltaNet layers of 16 heads of 128 x 128 and 6144 channels, 6 of attention
    // over 2 x 256.
    let delta = crate::llm::model_config::DeltaNet {
        layers: (1..=24).map(|n| n % 4 != 0).collect(),
        key_heads: 16,
        value_heads: 16,
        key_dim: 128,
        value_dim: 128,
        taps: 4,
        order: crate::llm::model_config::HeadOrder::Grouped,
    };
    let model_config = ModelConfig {
        layers: 24,
        width: 1024,
        hidden: 3584,
        heads: 8,
        kv_heads: 2,
        head_dim: 256,
        rotated: 64,
        vocabulary: 248_320,
        delta: Some(delta),
        ..model_config("qwen35")
    };
    let mib = |bytes: usize| bytes as f64 / (1 << 20) as f64;
    let memories = |n| LayerState::planned_bytes(&model_config, n, 8191, KvCacheType::F16).unwrap();
    let (delta, attention) = (18.0 * mib(memories(0)), 6.0 * mib(memories(3)));
    assert!((41.7..41.9).contains(&delta), "S, the entries of a chunk and their rows: {delta}");
    assert!((96.0..96.1).contains(&attention), "{attention}");
    let one = mib(StateCheckpoints::planned_bytes(&model_config).unwrap()) / super::checkpoints::MOST as f64;
    assert!((19.2..19.3).contains(&one), "{one}");
}

fn model(family: &str) -> Model {
    let gguf = testing::open(&testing::model(family));
    Model::bind(&mut gguf.binder(), ModelConfig::from_gguf(&gguf).unwrap(), Pool::new(1)).unwrap()
}

fn written(state: &SequenceState, waypoints: CheckpointRange) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.write_to(&STAMP, waypoints, &mut bytes).unwrap();
    assert_eq!(bytes.len(), state.written_bytes(waypoints));
    bytes
}

/// A prompt, some steps, and logits.
fn lived(model: &mut Model, kind: KvCacheType) -> SequenceState {
    let mut state = SequenceState::with_cache(model.model_config(), 400, kind);
    model.forward(&mut state, &(0..150).collect::<Vec<u32>>());
    state.mark_turn();
    (0..20).for_each(|token| model.forward(&mut state, &[token]));
    state
}

#[test]
fn going_on_after_reading_or_waking_is_as_if_one_had_stayed() {
    for family in ["llama", "qwen2", "qwen35"] {
        let mut model = model(family);
        for kind in KINDS {
            let mut stayed = lived(&mut model, kind);
            let bytes = written(&stayed, CheckpointRange::All);
            let mut read = SequenceState::read_from(&STAMP, model.model_config(), 400, kind, &bytes[..]).unwrap();
            let mut woken = stayed.fork().suspend(&STAMP).resume(&STAMP, model.model_config()).unwrap();
            assert!(bytes == written(&read, CheckpointRange::All));
            assert!(bytes == sealed(&bytes[..bytes.len() - 32]), "the last 32 bytes are the checksum of the rest");
            for state in [&mut stayed, &mut read, &mut woken] {
                model.forward(state, &[model.model_config().vocabulary as u32 - 1]);
                model.forward(state, &[1, 2, 3]);
                model.rollback(state, 30);
                model.forward(state, &(0..100).collect::<Vec<u32>>());
            }
            let images = [&stayed, &read, &woken].map(|state| written(state, CheckpointRange::None));
            assert!(images[0] == images[1] && images[0] == images[2], "{family} {kind:?}");
        }
    }
}

#[test]
fn snapshots_outlive_parking_but_not_the_process() {
    let mut model = model("qwen35");
    let state = lived(&mut model, KvCacheType::F16);
    let snapshot = state.snapshot();
    let bytes = written(&state, CheckpointRange::None);
    let mut woken = state.suspend(&STAMP).resume(&STAMP, model.model_config()).unwrap();
    model.forward(&mut woken, &[1, 2, 3]);
    woken.restore(&snapshot).unwrap();
    assert!(bytes == written(&woken, CheckpointRange::None));
    let mut read = SequenceState::read_from(&STAMP, model.model_config(), 400, KvCacheType::F16, &bytes[..]).unwrap();
    assert!(read.restore(&snapshot).is_err());
}

#[test]
fn parked_is_what_is_used_and_no_more() {
    let mut model = model("qwen35");
    let state = lived(&mut model, KvCacheType::F16);
    let (held, positions) = (state.bytes(), state.len());
    let parked = state.suspend(&STAMP);
    assert_eq!((parked.len(), parked.is_empty()), (positions, false));
    // Two DeltaNet layers with two checkpoints of turns at most, two of attention over 2 x 8 as
    // f16, tokens.
    let net = model.model_config().delta.as_ref().unwrap();
    let memory = sotto_kernels::DeltaState::planned_bytes(&net.heads()).unwrap()
        + sotto_kernels::ConvState::planned_bytes(net.heads().channels(), net.taps).unwrap();
    let keys = 2 * 2 * 16 * 2 * positions;
    let rest = 200 + positions * (5 + size_of::<StateOrigin>());
    assert!(parked.bytes() <= 3 * 2 * memory + keys + rest, "{} bytes", parked.bytes());
    assert!(parked.bytes() * 3 < held * 2, "{} of {held}", parked.bytes());
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let mut model = model("qwen35");
    let state = lived(&mut model, KvCacheType::F16);
    let bytes = written(&state, CheckpointRange::Turns);
    let read = |stamp: &Stamp, context, kind, bytes: &[u8]| {
        SequenceState::read_from(stamp, model.model_config(), context, kind, bytes).err().unwrap().to_string()
    };
    let other = Stamp::of_bytes([8; 32]);
    assert!(read(&other, 400, KvCacheType::F16, &bytes).contains("another model"));
    assert!(read(&STAMP, 400, KvCacheType::Q8, &bytes).contains("F16 and Q8"));
    assert!(read(&STAMP, 169, KvCacheType::F16, &bytes).contains("170 positions"));
    assert!(read(&STAMP, 400, KvCacheType::F16, &bytes[..bytes.len() - 1]).contains("ends early"));
    assert!(read(&STAMP, 400, KvCacheType::F16, &[&bytes[..], &[0]].concat()).contains("more bytes"));
    assert!(read(&STAMP, 400, KvCacheType::F16, b"").contains("ends early"));
    assert!(state.suspend(&STAMP).resume(&other, model.model_config()).is_err());
}

/// Stored bytes with a valid checksum, which protects against accidents, not against an attacker.
fn sealed(body: &[u8]) -> Vec<u8> {
    use sha2::Digest;
    [body, &sha2::Sha256::digest(body)].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damage_anywhere_is_refused(hits in prop::collection::vec((any::<prop::sample::Index>(), 1u8..=255), 1..4), cut in any::<prop::sample::Index>()) {
        let mut model = model("qwen35");
        let whole = written(&lived(&mut model, KvCacheType::Q8), CheckpointRange::All);
        let mut bytes = whole.clone();
        for (at, flip) in hits {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        prop_assume!(bytes != whole);
        let read = |bytes: &[u8]| SequenceState::read_from(&STAMP, model.model_config(), 400, KvCacheType::Q8, bytes);
        prop_assert!(read(&bytes).is_err());
        prop_assert!(read(&whole[..cut.index(whole.len())]).is_err());
    }

    /// With a valid checksum, any bytes are either refused or make a usable state.
    #[test]
    fn hostile_bytes_never_panic(hits in prop::collection::vec((0usize..120, any::<u8>()), 1..6), far in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
        let mut model = model("qwen35");
        let whole = written(&lived(&mut model, KvCacheType::F16), CheckpointRange::All);
        let mut body = whole[..whole.len() - 32].to_vec();
        for (at, byte) in hits {
            body[at] = byte;
        }
        for (at, byte) in far {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Ok(mut state) = SequenceState::read_from(&STAMP, model.model_config(), 400, KvCacheType::F16, &sealed(&body)[..]) {
            model.forward(&mut state, &[5]);
            model.rollback(&mut state, 40);
            model.forward(&mut state, &[5, 6]);
        }
    }
}

/// Runs in a process of its own, where nothing else is allocated meanwhile.
#[test]
fn what_is_counted_is_what_the_process_holds() {
    let own = std::env::current_exe().unwrap();
    let name = "llm::state::tests::alone_what_is_counted_is_what_the_process_holds";
    let run = std::process::Command::new(own).args(["--exact", name, "--ignored"]).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "run by what_is_counted_is_what_the_process_holds"]
fn alone_what_is_counted_is_what_the_process_holds() {
    use crate::memory::resident;
    // Kept, so that no state reuses memory that another freed.
    let mut kept = Vec::new();
    for kind in [KvCacheType::F16, KvCacheType::Q8] {
        let model_config = ModelConfig { kv_heads: 8, head_dim: 512, heads: 8, ..model_config("qwen35") };
        let before = resident().unwrap().0;
        let mut state = SequenceState::with_cache(&model_config, 4000, kind);
        state.make_room(4000);
        let row = vec![0.5; model_config.kv_width()];
        for layer in &mut state.layers {
            if let LayerState::Attention(cache) = layer {
                (0..4000).for_each(|position| cache.store(position, &row, &row));
            }
        }
        state.advance(&[1; 4000], false);
        let (counted, grown) = (state.bytes() as f64, (resident().unwrap().0 - before) as f64);
        assert!(counted > 60e6 && (grown / counted - 1.0).abs() < 0.05, "{kind:?}: {counted} counted, {grown} grown");
        assert!(state.bytes() <= SequenceState::planned_bytes_with(&model_config, 4000, kind).unwrap());
        kept.push(state);
    }
}
