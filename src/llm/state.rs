//! What a running model remembers: the keys and values of every position so far, and the room it computes in.

use half::f16;
use sotto_kernels::{KvCache, Rope, RopeStyle, Scratch};

use super::blueprint::{Blueprint, Family};

/// Positions that are computed together when a prompt is read: enough for the matrix kernels to use each weight many
/// times, few enough for the activations to stay in the second-level cache.
pub const BATCH: usize = 64;
/// The cache starts with room for so many positions and doubles up to the full context.
const FIRST_ROOM: usize = 256;

/// Keys and values are kept as f16, half the memory of f32.
pub type Cache = KvCache<f16>;

pub struct State {
    /// The token at each computed position.
    tokens: Vec<u32>,
    /// Most positions there may ever be.
    context: usize,
    pub(super) caches: Vec<Cache>,
    pub(super) work: Workspace,
    /// `work.logits` are those of the last position.
    logits_current: bool,
}

/// Activations of up to [`BATCH`] positions, and of the last one's logits. Sized once; nothing is allocated per token.
pub struct Workspace {
    /// [n, width]: the residual stream.
    pub stream: Vec<f32>,
    /// [n, width]: the stream normed, then what a block adds to it.
    pub normed: Vec<f32>,
    /// [n, query_width]
    pub q: Vec<f32>,
    /// [n, kv_width]
    pub k: Vec<f32>,
    /// [n, kv_width]
    pub v: Vec<f32>,
    /// [n, query_width]
    pub attended: Vec<f32>,
    /// [n, hidden]
    pub gate: Vec<f32>,
    /// [n, hidden]
    pub up: Vec<f32>,
    /// [n, hidden]
    pub mixed: Vec<f32>,
    /// [vocabulary]
    pub logits: Vec<f32>,
    pub rope: Rope,
    pub scratch: Scratch,
}

impl State {
    pub fn new(blueprint: &Blueprint, context: usize) -> Self {
        let room = FIRST_ROOM.min(context);
        let cache = || Cache::new(blueprint.kv_heads, blueprint.head_dim, room);
        State {
            tokens: Vec::with_capacity(context),
            context,
            caches: (0..blueprint.layers).map(|_| cache()).collect(),
            work: Workspace::new(blueprint),
            logits_current: false,
        }
    }

    /// Bytes of a state with `context` positions; `None` if they overflow.
    pub fn planned_bytes(blueprint: &Blueprint, context: usize) -> Option<usize> {
        let cache = Cache::planned_bytes(blueprint.kv_heads, blueprint.head_dim, context)?;
        let caches = cache.checked_mul(blueprint.layers)?;
        let work = Workspace::values(blueprint).checked_mul(size_of::<f32>())?;
        caches.checked_add(work)?.checked_add(context.checked_mul(size_of::<u32>())?)
    }

    /// Computed positions.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    pub fn context(&self) -> usize {
        self.context
    }

    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Goes back to the first `len` positions. What came after is forgotten at no cost.
    pub fn truncate(&mut self, len: usize) {
        if len < self.tokens.len() {
            self.tokens.truncate(len);
            self.logits_current = false;
        }
    }

    /// The logits after the last position, `[vocabulary]`; `None` when the last position went back or was not asked.
    pub fn logits(&mut self) -> Option<&mut [f32]> {
        self.logits_current.then_some(&mut self.work.logits)
    }

    pub(super) fn set_logits_current(&mut self) {
        self.logits_current = true;
    }

    /// Records that `tokens` have been computed.
    pub(super) fn advance(&mut self, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
        self.logits_current = false;
    }

    /// Makes room for `more` positions; layer by layer, so that only one of them is ever held twice.
    pub(super) fn make_room(&mut self, blueprint: &Blueprint, more: usize) {
        let wanted = self.tokens.len() + more;
        assert!(wanted <= self.context, "position {wanted} of a context of {}", self.context);
        let room = self.caches.first().map_or(0, Cache::capacity);
        if wanted <= room {
            return;
        }
        let room = wanted.max(room * 2).min(self.context);
        for cache in &mut self.caches {
            let mut larger = Cache::new(blueprint.kv_heads, blueprint.head_dim, room);
            copy_positions(blueprint, self.tokens.len(), cache, &mut larger);
            *cache = larger;
        }
    }
}

fn copy_positions(blueprint: &Blueprint, positions: usize, from: &Cache, to: &mut Cache) {
    let mut key = vec![0.0; blueprint.kv_width()];
    let mut value = vec![0.0; blueprint.kv_width()];
    for position in 0..positions {
        let heads = key.chunks_exact_mut(blueprint.head_dim).zip(value.chunks_exact_mut(blueprint.head_dim));
        for (head, (key, value)) in heads.enumerate() {
            from.load(head, position, key, value);
        }
        // f16 to f32 and back loses nothing.
        to.store(position, &key, &value);
    }
}

impl Workspace {
    fn new(blueprint: &Blueprint) -> Self {
        let batch = |width: usize| vec![0.0; BATCH * width];
        let style = match blueprint.family {
            Family::Llama => RopeStyle::Neighbours,
            Family::Qwen2 | Family::Qwen35 => RopeStyle::Halves,
        };
        Workspace {
            stream: batch(blueprint.width),
            normed: batch(blueprint.width),
            q: batch(blueprint.query_width()),
            k: batch(blueprint.kv_width()),
            v: batch(blueprint.kv_width()),
            attended: batch(blueprint.query_width()),
            gate: batch(blueprint.hidden),
            up: batch(blueprint.hidden),
            mixed: batch(blueprint.hidden),
            logits: vec![0.0; blueprint.vocabulary],
            rope: Rope::new(style, blueprint.head_dim, blueprint.rotated, blueprint.rope_base, None),
            scratch: Scratch::default(),
        }
    }

    /// Values of all buffers together. The blueprint's limits keep this below 2^31.
    fn values(blueprint: &Blueprint) -> usize {
        let per_position =
            2 * (blueprint.width + blueprint.query_width() + blueprint.kv_width()) + 3 * blueprint.hidden;
        BATCH * per_position + blueprint.vocabulary
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn blueprint() -> Blueprint {
        Blueprint::from_gguf(&testing::open(&testing::model("llama"))).unwrap()
    }

    #[test]
    fn the_cache_grows_in_steps_and_keeps_what_it_has() {
        let blueprint = blueprint();
        let mut state = State::new(&blueprint, 1000);
        state.make_room(&blueprint, 3);
        let keys: Vec<f32> = (0..48).map(|i| i as f32).collect();
        let values: Vec<f32> = keys.iter().map(|k| -k).collect();
        state.caches[1].store(0, &keys, &values);
        state.advance(&[1, 2, 3]);
        assert_eq!(state.caches[1].capacity(), 256);
        state.make_room(&blueprint, 254);
        assert_eq!(state.caches[1].capacity(), 512);
        let (mut key, mut value) = ([0.0; 8], [0.0; 8]);
        state.caches[1].load(1, 2, &mut key, &mut value);
        assert_eq!((key.as_slice(), value.as_slice()), (&keys[40..48], &values[40..48]));
        state.make_room(&blueprint, 997);
        assert!(state.caches.iter().all(|cache| (1000..1016).contains(&cache.capacity())));
    }

    #[test]
    fn going_back_forgets_tokens_and_logits() {
        let mut state = State::new(&blueprint(), 16);
        state.advance(&[5, 6, 7]);
        state.set_logits_current();
        state.truncate(3);
        assert!(state.logits().is_some());
        state.truncate(1);
        assert_eq!(state.tokens(), [5]);
        assert!(state.logits().is_none());
    }
}
