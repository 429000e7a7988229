//! Workspace of a model: buffers for activations and logits, shared by all states.

use std::ops::Range;

use sotto_kernels::{DeltaScratch, Rope, RopeStyle, Scratch, zeros};

use super::SequenceState;
use crate::llm::head::{HeadPruning, Logits};
use crate::llm::model_config::{DeltaNet, Family, ModelConfig};
use crate::llm::profile::OperationProfile;

/// Positions per batch of a prefill: enough for the matrix kernels to use each weight many times,
/// few enough for the activations to stay in the second-level cache.
pub const BATCH: usize = 64;

/// Rows of a buffer: the positions they belong to, and the call that computed them. Another state
/// has positions of other calls, so it can never take the rows for its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::llm) struct CallRows {
    pub call: u64,
    pub positions: Range<usize>,
}

/// Activations of up to [`BATCH`] positions, and the logits of the last. Allocated once; nothing is
/// allocated per token.
pub struct Workspace {
    /// Positions whose rows after the last layer are in `stream`; `None` once another computation
    /// has used it.
    pub residual: Option<CallRows>,
    /// Positions whose logits are in `logits`, and to which extent.
    pub predicted: Option<(CallRows, Logits)>,
    /// `[n, width]`: the residual stream.
    pub stream: Vec<f32>,
    /// Normed stream, then the output of the block that is added to it, `[n, width]`.
    pub normed: Vec<f32>,
    /// `[n, query_width]`
    pub q: Vec<f32>,
    /// `[n, kv_width]`
    pub k: Vec<f32>,
    /// `[n, kv_width]`
    pub v: Vec<f32>,
    /// `[n, query_width]`
    pub attended: Vec<f32>,
    /// `[n, hidden]`
    pub gate: Vec<f32>,
    /// `[n, hidden]`
    pub up: Vec<f32>,
    /// `[n, vocabulary]`: one row, or as many as were ever computed as steps at once.
    pub logits: Vec<f32>,
    vocabulary: usize,
    width: usize,
    /// Buffers of hybrid models.
    pub hybrid: Option<DeltaWork>,
    pub rope: Rope,
    pub scratch: Scratch,
    pub screening: HeadPruning,
    pub profile: OperationProfile,
}

impl CallRows {
    /// Returns the row of `position` of `state`, if it is its own.
    fn row_of(&self, state: &SequenceState, position: usize) -> Option<usize> {
        let own = state.call_of(position) == Some(self.call) && self.positions.contains(&position);
        own.then(|| position - self.positions.start)
    }
}

/// Additional buffers for the layers of a hybrid model.
pub struct DeltaWork {
    /// First projection of a mixer. [n, 2 · query_width]: of each head the query and the gate,
    /// before they are separated; or `[n, channels]`: input of the convolution.
    pub projected: Vec<f32>,
    /// `[n, kv_width]`: keys before they are normed.
    pub keys: Vec<f32>,
    /// `[n, value_width]`
    pub z: Vec<f32>,
    /// `[n, value_heads]`
    pub a: Vec<f32>,
    /// `[n, value_heads]`
    pub b: Vec<f32>,
    /// `[n, value_width]`
    pub read: Vec<f32>,
    pub scratch: DeltaScratch,
}

impl Workspace {
    pub fn new(model_config: &ModelConfig) -> Self {
        let batch = |width: usize| zeros(BATCH * width);
        let style = match model_config.family {
            Family::Llama => RopeStyle::Neighbours,
            Family::Qwen2 | Family::Qwen35 => RopeStyle::Halves,
        };
        Workspace {
            residual: None,
            predicted: None,
            vocabulary: model_config.vocabulary,
            width: model_config.width,
            stream: batch(model_config.width),
            normed: batch(model_config.width),
            q: batch(model_config.query_width()),
            k: batch(model_config.kv_width()),
            v: batch(model_config.kv_width()),
            attended: batch(model_config.query_width()),
            gate: batch(model_config.hidden),
            up: batch(model_config.hidden),
            logits: zeros(model_config.vocabulary),
            hybrid: model_config.delta.as_ref().map(|net| DeltaWork::new(model_config, net)),
            rope: Rope::new(style, model_config.head_dim, model_config.rotated, model_config.rope_base, None),
            scratch: Scratch::default(),
            screening: HeadPruning::default(),
            profile: OperationProfile::default(),
        }
    }

    /// Bytes of all buffers together. The limits of the model configuration keep this far from
    /// overflow.
    pub fn planned_bytes(model_config: &ModelConfig) -> Option<usize> {
        let ModelConfig { width, hidden, vocabulary, .. } = *model_config;
        let (query, kv) = (model_config.query_width(), model_config.kv_width());
        let hybrid = |net: &DeltaNet| {
            let heads = net.heads();
            BATCH * (heads.channels().max(2 * query) + kv + 2 * (heads.value_width() + heads.value_heads))
        };
        let values = BATCH * (2 * (width + query + kv) + 2 * hidden) + vocabulary;
        values.checked_add(model_config.delta.as_ref().map_or(0, hybrid))?.checked_mul(size_of::<f32>())
    }
}

impl Workspace {
    /// Makes space for the logits of `rows` positions.
    pub fn reserve_logits(&mut self, rows: usize) {
        if self.logits.len() < rows * self.vocabulary {
            self.logits.resize(rows * self.vocabulary, 0.0);
        }
    }

    /// Records that the first rows of `logits` were computed of `rows` of the stream.
    pub fn set_logits(&mut self, rows: Range<usize>, extent: Logits) {
        self.predicted = self.residual.as_ref().map(|residual| {
            let first = residual.positions.start;
            (CallRows { call: residual.call, positions: first + rows.start..first + rows.end }, extent)
        });
    }

    /// Logits after the first `len` positions of `state` and their extent, if they are there.
    pub fn logits_after(&mut self, state: &SequenceState, len: usize) -> Option<(Logits, &mut [f32])> {
        let (rows, extent) = self.predicted.as_ref()?;
        let row = rows.row_of(state, len.checked_sub(1)?)?;
        Some((*extent, &mut self.logits[row * self.vocabulary..][..self.vocabulary]))
    }

    /// First of the newest positions of `state` whose rows are in `stream`, and these rows,
    /// `[n, width]`.
    pub fn newest(&self, state: &SequenceState) -> (usize, &[f32]) {
        let len = state.len();
        let first = self.residual.as_ref().filter(|rows| len > 0 && rows.row_of(state, len - 1).is_some());
        let first = first.map_or(len, |rows| rows.positions.start);
        (first, &self.stream[..(len - first) * self.width])
    }

    /// Bytes of the buffers counted by [`Workspace::planned_bytes`], without the scratch memory of
    /// the products.
    pub fn bytes(&self) -> usize {
        let Workspace { stream, normed, q, k, v, attended, gate, up, logits, hybrid, .. } = self;
        let own = [stream, normed, q, k, v, attended, gate, up, logits];
        let hybrid = hybrid.iter().flat_map(|work| {
            let DeltaWork { projected, keys, z, a, b, read, scratch: _ } = work;
            [projected, keys, z, a, b, read]
        });
        own.into_iter().chain(hybrid).map(|buffer| buffer.capacity() * size_of::<f32>()).sum()
    }
}

impl DeltaWork {
    fn new(model_config: &ModelConfig, net: &DeltaNet) -> Self {
        let batch = |width: usize| zeros(BATCH * width);
        let heads = net.heads();
        DeltaWork {
            projected: batch(heads.channels().max(2 * model_config.query_width())),
            keys: batch(model_config.kv_width()),
            z: batch(heads.value_width()),
            a: batch(heads.value_heads),
            b: batch(heads.value_heads),
            read: batch(heads.value_width()),
            scratch: DeltaScratch::default(),
        }
    }
}
