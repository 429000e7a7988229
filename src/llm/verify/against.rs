//! Comparison of the engine with expected tensors: logits of every token, states after some of
//! them, a greedy answer.
//!
//! | model | logits | states, greedy answer |
//! |---|---|---|
//! | weights in floats | `logits` | `after{n}.layer{i}.*`, `greedy_*` |
//! | a quantised GGUF, such as Q8_0 | `gguf_q8_0.logits` | none: they belong to other weights |
//! | a checkpoint of MLX | `logits_f32run` of its own file | none |
//!
//! The tokens are `input_ids`. Keys and values are kept in f32 here, so that only the arithmetic
//! differs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::expected::ExpectedTensor;
use super::{Expected, Precision, VerifyError, best, within, worst};
use crate::llm::ModelSource;
use crate::llm::model_config::{DeltaNet, HeadOrder, ModelConfig};
use crate::llm::{KvCacheType, Model, SequenceState};

/// Name of the input tokens, in the file of the logits, or beside it or beside the model.
const TOKENS: &str = "input_ids";
/// Margin of the best logit above which another choice counts as an error.
pub const CLEAR_MARGIN: f32 = 1e-2;

/// Allowed differences of a model from the expected values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerances {
    /// Absolute difference of a logit.
    pub logits: f32,
    /// Difference of a state, relative to the largest value of its tensor.
    pub states: f32,
}

impl Tolerances {
    /// Tolerances for an engine in f32 (specification, 8.3): transformers in f32 differs from f64
    /// by up to 4.5e-4.
    pub const EXACT: Tolerances = Tolerances { logits: 2e-3, states: 1e-4 };
    /// Tolerances for mlx-lm's run in f32, which differs from f64 over the same codes by up to
    /// 2.4e-3 (8.3).
    pub const MLX: Tolerances = Tolerances { logits: 3e-3, ..Tolerances::EXACT };

    pub fn of(precision: &Precision) -> Tolerances {
        if precision.converted { Tolerances::MLX } else { Tolerances::EXACT }
    }
}

/// Results of a comparison.
#[derive(Clone, Debug)]
pub struct ComparisonReport {
    pub precision: Precision,
    /// File of the expected logits.
    pub file: PathBuf,
    pub tensor: String,
    pub tokens: usize,
    pub chunk: usize,
    /// Largest absolute difference of a logit.
    pub logits: f32,
    pub argmax: Argmax,
    pub states: States,
    /// Share of equal tokens in the greedy answer, counting those with a clear winner.
    pub greedy: Option<Share>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Argmax {
    pub all: Share,
    /// Share of equal tokens where the expected winner is clear by [`CLEAR_MARGIN`].
    pub clear: Share,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    pub equal: usize,
    pub of: usize,
}

/// Largest error of each kind of state, relative to the largest value of its tensor; `None` if none
/// was expected.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct States {
    pub recurrent: Option<f32>,
    pub conv: Option<f32>,
    pub keys: Option<f32>,
    pub values: Option<f32>,
    /// Number of moments at which states were compared.
    pub moments: usize,
}

impl Share {
    fn count(&mut self, equal: bool) {
        self.equal += usize::from(equal);
        self.of += 1;
    }

    pub fn is_whole(&self) -> bool {
        self.equal == self.of
    }

    /// Fraction of equal ones; 1 if there are none.
    pub fn part(&self) -> f64 {
        if self.of == 0 { 1.0 } else { self.equal as f64 / self.of as f64 }
    }
}

impl States {
    /// Errors with their names.
    pub fn kinds(&self) -> [(&'static str, Option<f32>); 4] {
        [("recurrent", self.recurrent), ("conv", self.conv), ("keys", self.keys), ("values", self.values)]
    }
}

impl ComparisonReport {
    /// Descriptions of all failed checks, a line each.
    pub fn failures(&self, tolerances: &Tolerances) -> Vec<String> {
        let Tolerances { logits, states } = *tolerances;
        let mut failures = Vec::new();
        if !within(self.logits, logits) {
            failures.push(format!("a logit is off by {:.2e}, more than {logits:.2e}", self.logits));
        }
        for (kind, error) in self.states.kinds() {
            if let Some(error) = error.filter(|&error| !within(error, states)) {
                failures.push(format!("{kind} are off by {error:.2e} of their largest value, more than {states:.2e}"));
            }
        }
        let Share { equal, of } = self.argmax.clear;
        if equal != of {
            failures.push(format!("{} of {of} clear winners among the logits are others", of - equal));
        }
        if let Some(Share { equal, of }) = self.greedy.filter(|greedy| !greedy.is_whole()) {
            failures.push(format!("{} of {of} tokens of the greedy answer are others", of - equal));
        }
        failures
    }
}

/// Expected tensors for a model, and the tokens they belong to.
pub struct Case {
    precision: Precision,
    expected: Expected,
    /// Name of the tensor of logits.
    tensor: String,
    tokens: Vec<u32>,
    /// Whether states and greedy answers belong to these weights.
    whole: bool,
}

impl Case {
    /// Chooses the tensors of `against` that belong to this kind of model.
    pub fn find(source: &ModelSource, against: &Path) -> Result<Case, VerifyError> {
        let (precision, vocabulary) = (source.precision(), source.model_config()?.vocabulary);
        let (expected, tensor) = match source {
            ModelSource::Checkpoint(_) if precision.converted => {
                (Expected::of_mlx(against, source.dir())?, "logits_f32run".to_owned())
            }
            ModelSource::Gguf(_) if !precision.exact => {
                (Expected::of_model(against)?, format!("gguf_{}.logits", precision.name))
            }
            _ => (Expected::of_model(against)?, "logits".to_owned()),
        };
        let missing = |tensor: &str, expected: &Expected| VerifyError::NoExpected {
            tensor: tensor.to_owned(),
            weights: precision.name.clone(),
            looked: expected.places(),
        };
        expected.get(&tensor).ok_or_else(|| missing(&tensor, &expected))?;
        let others = [Expected::beside(against)?, Expected::of_model(source.dir())?];
        let ids = [&expected, &others[0], &others[1]].into_iter().find_map(|files| files.get(TOKENS));
        let tokens = ids.ok_or_else(|| missing(TOKENS, &others[0]))?.tokens(vocabulary)?;
        let whole = tensor == "logits";
        Ok(Case { precision, expected, tensor, tokens, whole })
    }

    /// Number of input tokens.
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Number of positions that a state needs.
    pub fn context(&self) -> usize {
        let greedy = self.expected.get("greedy_prompt").zip(self.expected.get("greedy_tokens"));
        let len = |found: ExpectedTensor| found.dims().iter().product::<usize>();
        self.tokens.len().max(greedy.map_or(0, |(prompt, tokens)| len(prompt).saturating_add(len(tokens))))
    }

    /// Computes the tokens `chunk` at a time and compares. States are compared wherever they are
    /// expected; positions inside a chunk are computed separately, from the end of the chunk
    /// before.
    pub fn compare(&self, model: &mut Model, chunk: usize) -> Result<ComparisonReport, VerifyError> {
        let model_config = &model.model_config().clone();
        let found = self.expected.get(&self.tensor).expect("the case was made of it");
        let logits = found.values(&[self.tokens.len(), model_config.vocabulary])?;
        let moments = self.moments();
        let mut state = SequenceState::with_cache(model_config, self.tokens.len(), KvCacheType::F32);
        let (mut off, mut argmax) = (0.0, Argmax::default());
        let mut states = States { moments: moments.len(), ..States::default() };
        let mut rows = logits.chunks_exact(model_config.vocabulary);
        for piece in self.tokens.chunks(chunk) {
            let start = state.len();
            for &moment in moments.range(start + 1..start + piece.len()) {
                let mut inside = state.fork();
                model.forward(&mut inside, &piece[..moment - start]);
                self.compare_states(model_config, &inside, &mut states)?;
            }
            model.forward_each(&mut state, piece, |_, got| {
                let wanted = rows.next().expect("there is a row for each token");
                off = worst([off, largest_difference(got, wanted)]);
                argmax.count(got, wanted);
            });
            if moments.contains(&state.len()) {
                self.compare_states(model_config, &state, &mut states)?;
            }
        }
        Ok(ComparisonReport {
            precision: self.precision.clone(),
            file: found.path().to_owned(),
            tensor: self.tensor.clone(),
            tokens: self.tokens.len(),
            chunk,
            logits: off,
            argmax,
            states,
            greedy: self.greedy(model)?,
        })
    }

    /// Numbers of tokens after which states are expected.
    fn moments(&self) -> BTreeSet<usize> {
        let names = self.expected.names().into_iter().filter(|_| self.whole);
        let moment = |name: &str| name.strip_prefix("after")?.split_once('.')?.0.parse().ok();
        names.filter_map(moment).filter(|moment| (1..=self.tokens.len()).contains(moment)).collect()
    }

    fn compare_states(
        &self,
        model_config: &ModelConfig,
        state: &SequenceState,
        worst: &mut States,
    ) -> Result<(), VerifyError> {
        for n in 0..model_config.layers {
            let expected = |part: &str| self.expected.get(&format!("after{}.layer{n}.{part}", state.len()));
            match model_config.delta.as_ref().filter(|_| model_config.is_delta(n)) {
                Some(net) => {
                    note(&mut worst.recurrent, expected("recurrent_state"), |found| recurrent(net, state, n, found))?;
                    note(&mut worst.conv, expected("conv_state"), |found| convolved(net, state, n, found))?;
                }
                None => {
                    note(&mut worst.keys, expected("k"), |found| kept(model_config, state, n, found, false))?;
                    note(&mut worst.values, expected("v"), |found| kept(model_config, state, n, found, true))?;
                }
            }
        }
        Ok(())
    }

    /// Feeds the expected greedy answer token by token, and counts where the model chooses the same
    /// token.
    fn greedy(&self, model: &mut Model) -> Result<Option<Share>, VerifyError> {
        let get = |name| self.expected.get(name).filter(|_| self.whole);
        let (Some(prompt), Some(answer)) = (get("greedy_prompt"), get("greedy_tokens")) else { return Ok(None) };
        let model_config = &model.model_config().clone();
        let (prompt, answer) = (prompt.tokens(model_config.vocabulary)?, answer.tokens(model_config.vocabulary)?);
        let margins = get("greedy_margin").map(|margins| margins.values(&[answer.len()])).transpose()?;
        let mut state = SequenceState::with_cache(model_config, prompt.len() + answer.len(), KvCacheType::F32);
        model.forward(&mut state, &prompt);
        let mut share = Share::default();
        for (n, &token) in answer.iter().enumerate() {
            let said = model.logits(&state).map(|logits| best(logits).0);
            if margins.as_ref().is_none_or(|margins| margins[n] > CLEAR_MARGIN) {
                share.count(said == Some(token as usize));
            }
            model.forward(&mut state, &[token]);
        }
        Ok(Some(share))
    }
}

impl Argmax {
    fn count(&mut self, got: &[f32], wanted: &[f32]) {
        let (place, margin) = best(wanted);
        let equal = best(got).0 == place && got[place].is_finite();
        self.all.count(equal);
        if margin > CLEAR_MARGIN {
            self.clear.count(equal);
        }
    }
}

/// Includes the error of a state in the largest of its kind.
fn note(
    most: &mut Option<f32>,
    found: Option<ExpectedTensor>,
    error: impl Fn(ExpectedTensor) -> Result<f32, VerifyError>,
) -> Result<(), VerifyError> {
    if let Some(found) = found {
        *most = Some(worst([most.unwrap_or(0.0), error(found)?]));
    }
    Ok(())
}

/// Compares S: [value_heads, key_dim, value_dim], with the value heads of a key head adjacent.
fn recurrent(net: &DeltaNet, state: &SequenceState, n: usize, found: ExpectedTensor) -> Result<f32, VerifyError> {
    let DeltaNet { value_heads, key_dim, value_dim, .. } = *net;
    let wanted = found.values(&[value_heads, key_dim, value_dim])?;
    let got = state.recurrent(n).expect("the layer is a DeltaNet");
    let size = key_dim * value_dim;
    let in_order = (0..value_heads).flat_map(|head| &got[own_head(net, head) * size..][..size]);
    Ok(relative_error(in_order.copied(), &wanted))
}

/// Compares the rows before the convolution: [channels, taps - 1] with the newest last, or with one
/// unused column more in front.
fn convolved(net: &DeltaNet, state: &SequenceState, n: usize, found: ExpectedTensor) -> Result<f32, VerifyError> {
    let (channels, rows) = (net.heads().channels(), net.taps - 1);
    let columns = if found.dims() == [channels, rows + 1] { rows + 1 } else { rows };
    let wanted = found.values(&[channels, columns])?;
    let wanted: Vec<f32> = wanted.chunks_exact(columns).flat_map(|row| &row[columns - rows..]).copied().collect();
    let got = state.convolved(n).expect("the layer is a DeltaNet");
    let keys = 2 * net.heads().key_width();
    let own = |channel: usize| match channel.checked_sub(keys) {
        None => channel,
        Some(value) => keys + own_head(net, value / net.value_dim) * net.value_dim + value % net.value_dim,
    };
    let in_order = (0..channels).flat_map(|channel| (0..rows).map(move |row| got[row * channels + own(channel)]));
    Ok(relative_error(in_order, &wanted))
}

/// Compares keys (or values): [kv_heads, positions, head_dim].
fn kept(
    model_config: &ModelConfig,
    state: &SequenceState,
    n: usize,
    found: ExpectedTensor,
    value: bool,
) -> Result<f32, VerifyError> {
    let ModelConfig { kv_heads, head_dim, .. } = *model_config;
    let wanted = found.values(&[kv_heads, state.len(), head_dim])?;
    let places = (0..kv_heads).flat_map(|head| (0..state.len()).map(move |position| (head, position)));
    let got = places.flat_map(|(head, position)| {
        let (key, values) = state.key_value(n, head, position).expect("the layer attends");
        if value { values } else { key }
    });
    Ok(relative_error(got, &wanted))
}

/// Index in the model of the value head that transformers calls `head`.
fn own_head(net: &DeltaNet, head: usize) -> usize {
    let each = net.value_heads / net.key_heads;
    match net.order {
        HeadOrder::Grouped => head,
        HeadOrder::Tiled => head % each * net.key_heads + head / each,
    }
}

fn largest_difference(got: &[f32], wanted: &[f32]) -> f32 {
    worst(got.iter().zip(wanted).map(|(got, wanted)| (got - wanted).abs()))
}

/// Largest difference, relative to the largest expected value.
fn relative_error(got: impl Iterator<Item = f32>, wanted: &[f32]) -> f32 {
    let scale = worst(wanted.iter().map(|value| value.abs()));
    let off = worst(got.zip(wanted).map(|(got, wanted)| (got - wanted).abs()));
    if scale > 0.0 { off / scale } else { off }
}
