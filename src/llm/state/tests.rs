use super::*;
use crate::llm::testing;

fn blueprint(family: &str) -> Blueprint {
    Blueprint::from_gguf(&testing::open(&testing::model(family))).unwrap()
}

#[test]
fn the_cache_grows_in_segments_and_keeps_what_it_has() {
    let mut state = State::new(&blueprint("llama"), 1000);
    assert_eq!(state.bytes(), 0);
    state.make_room(3);
    let keys: Vec<f32> = (0..48).map(|i| i as f32).collect();
    let values: Vec<f32> = keys.iter().map(|k| -k).collect();
    let Memory::Attention(cache) = &mut state.layers[1] else { panic!("llama only attends") };
    cache.store(0, &keys, &values);
    state.advance(&[1, 2, 3]);
    let segment = state.bytes();
    assert_eq!(segment, 2 * 2 * 128 * 16 * 2);
    state.make_room(997);
    assert_eq!(state.bytes(), 8 * segment);
    assert_eq!(state.key_value(1, 1, 2), Some((keys[40..48].to_vec(), values[40..48].to_vec())));
    assert_eq!((state.key_value(1, 2, 2), state.key_value(1, 1, 3)), (None, None));
}

#[test]
fn going_back_forgets_tokens_and_logits() {
    for family in ["llama", "qwen35"] {
        let mut state = State::new(&blueprint(family), 16);
        state.make_room(3);
        state.advance(&[5, 6, 7]);
        state.set_logits_current();
        assert_eq!(state.rewind(3), 3);
        assert!(state.logits().is_some());
        assert_eq!(state.rewind(1), 1);
        assert_eq!(state.tokens(), [5]);
        assert!(state.logits().is_none());
    }
}

#[test]
fn what_is_planned_is_what_can_be_held() {
    // Qwen3.5-0.8B: 18 DeltaNet layers of 16 heads of 128 x 128 and 6144 channels, 6 of attention over 2 x 256.
    let delta = crate::llm::blueprint::DeltaNet {
        layers: (1..=24).map(|n| n % 4 != 0).collect(),
        key_heads: 16,
        value_heads: 16,
        key_dim: 128,
        value_dim: 128,
        taps: 4,
        order: crate::llm::blueprint::HeadOrder::Grouped,
    };
    let blueprint = Blueprint {
        layers: 24,
        width: 1024,
        hidden: 3584,
        heads: 8,
        kv_heads: 2,
        head_dim: 256,
        rotated: 64,
        vocabulary: 248_320,
        delta: Some(delta),
        ..blueprint("qwen35")
    };
    let mib = |bytes: usize| bytes as f64 / (1 << 20) as f64;
    let memories = |n| Memory::planned_bytes(&blueprint, n, 8191, CacheKind::F16).unwrap();
    let (delta, attention) = (18.0 * mib(memories(0)), 6.0 * mib(memories(3)));
    assert!((41.7..41.9).contains(&delta), "S, the entries of a chunk and their rows: {delta}");
    assert!((96.0..96.1).contains(&attention), "{attention}");
    let one = mib(Checkpoints::planned_bytes(&blueprint).unwrap()) / 7.0;
    assert!((19.2..19.3).contains(&one), "{one}");
}
