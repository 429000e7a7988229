//! Decoding allocates nothing per token: only where the cache of keys and values grows by a
//! segment, or a checkpoint is taken for the first time.

mod common;

use std::path::Path;

use allocation_counter::measure;
use sotto::llm::{Model, SequenceState};
use sotto_kernels::Best;

/// Beyond the first checkpoints, which are then filled again and again.
const WARM_UP: usize = 400;
const STEPS: usize = 128;

/// Steps that allocated, of [`STEPS`].
fn allocating(model: &mut Model, step: impl Fn(&mut Model, &mut SequenceState)) -> usize {
    let mut state = SequenceState::new(model.model_config(), WARM_UP + STEPS);
    let mut allocates = || measure(|| step(model, &mut state)).count_total > 0;
    let growing = (0..WARM_UP).filter(|_| allocates()).count();
    assert!(growing > 0, "what the first tokens allocate must be seen");
    (0..STEPS).filter(|_| allocates()).count()
}

#[test]
fn a_token_allocates_nothing() {
    let smollm = common::model_file("smollm2-135m", "model.gguf");
    let qwen = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/qwen35/tiny_gva2/tiny_gva2-bf16.gguf");
    for path in [smollm, qwen] {
        // The pool's other threads are not counted; the calling one does the same work.
        let mut model = Model::open(&path, 2).unwrap();
        let best = Best { count: 1, counts: &|_| true };
        for (how, allocating) in [
            ("all logits", allocating(&mut model, |model, state| model.forward(state, &[7]))),
            ("the best", allocating(&mut model, |model, state| model.forward_best(state, &[7], best))),
        ] {
            assert!(allocating <= 2, "{}: {allocating} of {STEPS} steps allocated ({how})", path.display());
        }
    }
}
