//! Release check of a quantised model: agreement with the unquantised model.
//!
//! Both read the same text, regardless of their own predictions ("teacher forcing"), and their
//! next-token distributions are compared at each token. A text is divided into windows, each read
//! from an empty state, and both models compute a few tokens at a time, so that never more than a
//! few rows of logits are held. Then both answer some prompts greedily; the answers are shown and
//! not judged, because one close choice early on changes all the rest.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::passages::{PASSAGES, PROMPTS};
use super::{Precision, VerifyError, best, within, worst};
use crate::llm::ModelSource;
use crate::llm::model_config::ModelConfig;
use crate::llm::reference::ReferenceModel;
use crate::llm::{Model, SequenceState, Tokenizer};

/// Largest number of tokens read from an empty state.
pub const WINDOW: usize = 512;
/// Number of tokens whose logits are held at a time: 32 MB with Qwen3.5's vocabulary.
const BLOCK: usize = 32;
/// Number of tokens of an answer.
const ANSWER: usize = 24;
/// Fewest tokens for a meaningful result.
const LEAST_TOKENS: usize = 16;
/// Size limit of a text, about 250,000 tokens of English.
pub const MAX_TEXT: u64 = 1 << 20;

/// Allowed degradation of a model against the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateLimits {
    /// Share of tokens with the same most probable token.
    pub top1: f64,
    /// Relative increase of the perplexity.
    pub perplexity: f64,
    /// Mean KL divergence in nats, if it is limited.
    pub kl: Option<f64>,
    /// Whether the first two were measured on another, longer text: then they count as exceeded
    /// only beyond two standard errors of this measurement.
    pub by_chance: bool,
}

/// Limits by least number of bits of a weight's code: agreement and perplexity of Qwen3.5-0.8B
/// against bf16 over 32k tokens, as published for 4, 5 and 8 bits (specification, 5.2). 6 bits are
/// interpolated: from 5 to 8 each bit multiplies disagreement by 0.59 and the increase by 0.45.
/// Float weights compare two implementations of the same arithmetic: hardly any change is allowed.
const MEASURED: [(f64, f64, f64); 5] =
    [(16.0, 0.995, 0.001), (8.0, 0.979, 0.002), (6.0, 0.939, 0.010), (5.0, 0.896, 0.022), (0.0, 0.783, 0.199)];

impl GateLimits {
    /// Limits from published results for the same number of bits.
    pub fn of(precision: &Precision) -> GateLimits {
        let row = MEASURED.iter().find(|(bits, ..)| precision.bits >= *bits).unwrap_or(&MEASURED[MEASURED.len() - 1]);
        GateLimits { top1: row.1, perplexity: row.2, kl: None, by_chance: true }
    }
}

/// Results of the check.
#[derive(Clone, Debug)]
pub struct GateReport {
    pub precision: Precision,
    pub tally: AgreementCount,
    pub rollouts: Vec<Rollout>,
}

/// A greedy answer by both models.
#[derive(Clone, Debug)]
pub struct Rollout {
    pub prompt: String,
    pub model: String,
    pub reference: String,
    /// Number of equal tokens from the first on.
    pub common: usize,
    pub of: usize,
}

/// Sums over all compared tokens.
#[derive(Clone, Debug, Default)]
pub struct AgreementCount {
    pub tokens: usize,
    /// Number of tokens for which a logit of either model was not finite.
    pub broken: usize,
    equal: usize,
    divergence: f64,
    max_divergence: f64,
    difference: f64,
    max_difference: f32,
    /// Number of tokens that had to be predicted.
    foreseen: usize,
    /// Sums of -ln p of the actual token, by the model and by the reference.
    model_loss: f64,
    reference_loss: f64,
    /// Sum of the squared difference of both.
    squared: f64,
}

impl AgreementCount {
    /// Adds the predictions of both after one token, `[vocabulary]` each, and the actual next
    /// token.
    fn row(&mut self, model: &[f32], reference: &[f32], next: Option<u32>) {
        self.tokens += 1;
        if !model.iter().chain(reference).all(|logit| logit.is_finite()) {
            self.broken += 1;
            return;
        }
        self.equal += usize::from(best(model).0 == best(reference).0);
        let (of_model, of_reference) = (log_sum_exp(model), log_sum_exp(reference));
        let (mut divergence, mut difference) = (0.0, 0.0);
        for (&got, &wanted) in model.iter().zip(reference) {
            let (got, wanted) = (f64::from(got), f64::from(wanted));
            divergence += (wanted - of_reference).exp() * ((wanted - of_reference) - (got - of_model));
            difference += (got - wanted).abs();
        }
        // Rounding may give a slightly negative value.
        let divergence = divergence.max(0.0);
        self.divergence += divergence;
        self.max_divergence = self.max_divergence.max(divergence);
        self.difference += difference / model.len() as f64;
        let differences = model.iter().zip(reference).map(|(got, wanted)| (got - wanted).abs());
        self.max_difference = worst(differences.chain([self.max_difference]));
        if let Some(next) = next.map(|next| next as usize) {
            let (model, reference) = (of_model - f64::from(model[next]), of_reference - f64::from(reference[next]));
            self.foreseen += 1;
            self.model_loss += model;
            self.reference_loss += reference;
            self.squared += (model - reference).powi(2);
        }
    }

    /// Share of tokens with the same most probable token.
    pub fn top1(&self) -> f64 {
        self.equal as f64 / self.tokens.max(1) as f64
    }

    fn whole(&self) -> f64 {
        (self.tokens - self.broken).max(1) as f64
    }

    /// Mean KL divergence of the model's probabilities from the reference's, in nats.
    pub fn mean_kl(&self) -> f64 {
        self.divergence / self.whole()
    }

    pub fn max_kl(&self) -> f64 {
        self.max_divergence
    }

    pub fn mean_logit_error(&self) -> f64 {
        self.difference / self.whole()
    }

    pub fn max_logit_error(&self) -> f32 {
        self.max_difference
    }

    pub fn model_perplexity(&self) -> f64 {
        (self.model_loss / self.foreseen.max(1) as f64).exp()
    }

    pub fn reference_perplexity(&self) -> f64 {
        (self.reference_loss / self.foreseen.max(1) as f64).exp()
    }

    /// Relative increase of the perplexity.
    pub fn increase(&self) -> f64 {
        self.mean_loss_difference().exp() - 1.0
    }

    fn mean_loss_difference(&self) -> f64 {
        (self.model_loss - self.reference_loss) / self.foreseen.max(1) as f64
    }

    /// Standard error of the mean difference of losses.
    fn loss_error(&self) -> f64 {
        let n = self.foreseen.max(2) as f64;
        let variance = (self.squared / n - self.mean_loss_difference().powi(2)).max(0.0);
        (variance / (n - 1.0)).sqrt()
    }

    /// Limits adjusted to the length of the text.
    pub fn limits(&self, limits: &GateLimits) -> GateLimits {
        if !limits.by_chance {
            return *limits;
        }
        let top1 = limits.top1 - 2.0 * (limits.top1 * (1.0 - limits.top1) / self.tokens.max(1) as f64).sqrt();
        let perplexity = ((1.0 + limits.perplexity).ln() + 2.0 * self.loss_error()).exp() - 1.0;
        GateLimits { top1, perplexity, ..*limits }
    }

    /// Descriptions of all exceeded limits, a line each.
    pub fn failures(&self, limits: &GateLimits) -> Vec<String> {
        let GateLimits { top1, perplexity, kl, .. } = self.limits(limits);
        let mut failures = Vec::new();
        if self.broken > 0 {
            let (broken, all) = (self.broken, self.tokens);
            failures.push(format!("after {broken} of {all} tokens a logit of one of the two is no finite number"));
        }
        if !within(top1, self.top1()) {
            let (found, least) = (100.0 * self.top1(), 100.0 * top1);
            failures.push(format!("the same token is the likeliest at {found:.1} %, less than {least:.1} %"));
        }
        if !within(self.increase(), perplexity) {
            let (found, most) = (100.0 * self.increase(), 100.0 * perplexity);
            failures.push(format!("the perplexity is {found:.2} % higher, more than {most:.2} %"));
        }
        if let Some(most) = kl.filter(|&most| !within(self.mean_kl(), most)) {
            failures.push(format!("the mean divergence is {:.2e} nats, more than {most:.2e}", self.mean_kl()));
        }
        failures
    }
}

/// ln Σ exp(x)
fn log_sum_exp(logits: &[f32]) -> f64 {
    let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    most + logits.iter().map(|&logit| (f64::from(logit) - most).exp()).sum::<f64>().ln()
}

/// Bytes that the comparison of `source` with the checkpoint at `reference` will hold.
pub fn planned_bytes(source: &ModelSource, reference: &Path) -> Result<u64, VerifyError> {
    check_reference(&ModelSource::open(reference)?)?;
    let model_config = source.model_config()?;
    let state = SequenceState::planned_bytes(&model_config, WINDOW).unwrap_or(usize::MAX) as u64;
    let work = Model::planned_workspace_bytes(&model_config).unwrap_or(usize::MAX) as u64;
    let tokenizer = Tokenizer::building_bytes(model_config.vocabulary);
    let parts =
        [source.resident_bytes(false), state, work, tokenizer, ReferenceModel::planned_bytes(reference, BLOCK)?];
    Ok(parts.into_iter().fold(0, u64::saturating_add))
}

/// Runs `source` and the checkpoint at `reference` over a text, or the built-in one, and lets them
/// answer. Reports progress with `tell`.
pub fn measure(
    source: &ModelSource,
    reference: &Path,
    text: Option<&str>,
    threads: usize,
    tell: &dyn Fn(&str),
) -> Result<GateReport, VerifyError> {
    let published = ModelSource::open(reference)?;
    check_reference(&published)?;
    check_kinship(&source.model_config()?, &published.model_config()?)?;
    let with_tokenizer = [&published, source].into_iter().find(|source| source.has_tokenizer());
    let missing = || VerifyError::NoTokenizer { model: source.dir().to_owned(), reference: published.dir().to_owned() };
    let tokenizer = with_tokenizer.ok_or_else(missing)?.tokenizer()?;
    let mut pair = Pair { model: source.load(threads)?, tokenizer, reference: ReferenceModel::open(reference)? };
    let windows = pair.windows(text)?;
    let mut tally = AgreementCount::default();
    for (n, window) in windows.iter().enumerate() {
        tell(&format!("reading passage {} of {}, {} tokens", n + 1, windows.len(), window.len()));
        pair.read(window, &mut tally)?;
    }
    tell("answering");
    let rollouts = PROMPTS.iter().map(|prompt| pair.answer(prompt)).collect::<Result<_, _>>()?;
    Ok(GateReport { precision: source.precision(), tally, rollouts })
}

/// Checks that the reference is a checkpoint of floats.
fn check_reference(published: &ModelSource) -> Result<(), VerifyError> {
    let weights = match published {
        ModelSource::Checkpoint(_) if published.is_unquantised_checkpoint() => return Ok(()),
        ModelSource::Checkpoint(_) => published.precision().name,
        ModelSource::Gguf(_) => format!("{} in a GGUF file", published.precision().name),
    };
    Err(VerifyError::NoReference { path: published.path().to_owned(), weights })
}

/// Checks that both models have the same sizes.
fn check_kinship(model: &ModelConfig, reference: &ModelConfig) -> Result<(), VerifyError> {
    let sizes = |model_config: &ModelConfig| {
        let ModelConfig { layers, width, heads, kv_heads, head_dim, vocabulary, .. } = *model_config;
        let value_heads = model_config.delta.as_ref().map_or(0, |net| net.value_heads);
        format!(
            "{layers} layers of width {width} ({heads} heads over {kv_heads} of {head_dim}, {value_heads} value heads) \
             and {vocabulary} tokens"
        )
    };
    match (sizes(model), sizes(reference)) {
        (found, wanted) if found == wanted => Ok(()),
        (found, wanted) => Err(VerifyError::OtherModel { what: "the model".to_owned(), found, wanted }),
    }
}

struct Pair {
    model: Model,
    tokenizer: Tokenizer,
    reference: ReferenceModel,
}

impl Pair {
    /// Divides a text into windows; each passage of the built-in text starts a window.
    fn windows(&self, text: Option<&str>) -> Result<Vec<Vec<u32>>, VerifyError> {
        let passages = text.map_or(PASSAGES.to_vec(), |text| vec![text]);
        let mut windows = Vec::new();
        for passage in passages {
            let tokens = self.checked(self.tokenizer.encode_whole(passage)?)?;
            windows.extend(tokens.chunks(WINDOW).map(<[u32]>::to_vec));
        }
        match windows.iter().map(Vec::len).sum::<usize>() {
            tokens if tokens < LEAST_TOKENS => Err(VerifyError::ShortText { tokens, least: LEAST_TOKENS }),
            _ => Ok(windows),
        }
    }

    fn checked(&self, tokens: Vec<u32>) -> Result<Vec<u32>, VerifyError> {
        let vocabulary = self.reference.vocabulary();
        match tokens.iter().find(|&&token| token as usize >= vocabulary) {
            Some(&token) => Err(VerifyError::Token { token, vocabulary }),
            None => Ok(tokens),
        }
    }

    fn read(&mut self, window: &[u32], tally: &mut AgreementCount) -> Result<(), VerifyError> {
        let (mut state, mut memory) =
            (SequenceState::new(self.model.model_config(), window.len()), self.reference.memory()?);
        for (number, block) in window.chunks(BLOCK).enumerate() {
            let rows = self.reference.logits(block, &mut memory)?;
            let mut rows = rows.chunks_exact(self.reference.vocabulary());
            self.model.forward_each(&mut state, block, |i, logits| {
                let wanted = rows.next().expect("the reference gives a row for each token");
                tally.row(logits, wanted, window.get(number * BLOCK + i + 1).copied());
            });
        }
        Ok(())
    }

    fn answer(&mut self, prompt: &str) -> Result<Rollout, VerifyError> {
        let tokens = self.tokenizer.begin().into_iter().chain(self.tokenizer.encode(prompt)?).collect();
        let tokens = self.checked(tokens)?;
        let (mine, wanted) = (self.model_answer(&tokens)?, self.reference_answer(&tokens)?);
        let common = mine.iter().zip(&wanted).take_while(|(a, b)| a == b).count();
        let (model, reference) = (self.text(&mine), self.text(&wanted));
        Ok(Rollout { prompt: prompt.to_owned(), model, reference, common, of: mine.len().max(wanted.len()) })
    }

    fn model_answer(&mut self, prompt: &[u32]) -> Result<Vec<u32>, VerifyError> {
        let mut state = SequenceState::new(self.model.model_config(), prompt.len() + ANSWER);
        self.model.forward(&mut state, prompt);
        let mut answer = Vec::new();
        while let Some(token) = self.model.logits(&state).map(|logits| best(logits).0 as u32) {
            answer.push(token);
            if answer.len() == ANSWER || self.tokenizer.is_control(token) {
                break;
            }
            self.model.forward(&mut state, &[token]);
        }
        Ok(answer)
    }

    fn reference_answer(&self, prompt: &[u32]) -> Result<Vec<u32>, VerifyError> {
        let mut memory = self.reference.memory()?;
        let (mut next, mut answer) = (prompt.to_vec(), Vec::new());
        loop {
            let rows = self.reference.logits(&next, &mut memory)?;
            let last = rows.len() - self.reference.vocabulary();
            let token = best(&rows[last..]).0 as u32;
            answer.push(token);
            if answer.len() == ANSWER || self.tokenizer.is_control(token) {
                return Ok(answer);
            }
            next = vec![token];
        }
    }

    fn text(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens.iter().flat_map(|&token| self.tokenizer.bytes(token)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Reads a text for comparison. Its size is checked first, and again while reading.
pub fn read_text(path: &Path) -> Result<String, VerifyError> {
    let unreadable = |why| VerifyError::Unreadable { path: path.to_owned(), why };
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(unreadable(std::io::Error::other("it is not a regular file")));
    }
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    match file.take(MAX_TEXT + 1).read_to_string(&mut text).map_err(unreadable)? as u64 {
        bytes if bytes > MAX_TEXT => Err(VerifyError::LongText { path: path.to_owned(), limit: MAX_TEXT }),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_follow_the_bits_of_the_weights() {
        let cases =
            [(32.0, 0.995), (16.0, 0.995), (9.0, 0.979), (8.0, 0.979), (6.5, 0.939), (5.2, 0.896), (4.0, 0.783)];
        for (bits, top1) in cases {
            let precision = Precision { name: "x".to_owned(), bits, exact: bits >= 16.0, converted: false };
            assert_eq!(GateLimits::of(&precision).top1, top1, "{bits}");
        }
    }

    fn tally(rows: &[([f32; 3], [f32; 3], u32)]) -> AgreementCount {
        let mut tally = AgreementCount::default();
        rows.iter().for_each(|(model, reference, next)| tally.row(model, reference, Some(*next)));
        tally
    }

    #[test]
    fn figures_are_those_of_their_definitions() {
        // p = (1/2, 1/4, 1/4), q = (1/4, 1/2, 1/4): KL(p|q) = 1/2 ln 2 - 1/4 ln 2.
        let (p, q) = ([2f32.ln(), 0.0, 0.0], [0.0, 2f32.ln(), 0.0]);
        let tally = tally(&[(q, p, 0), (p, p, 0)]);
        assert_eq!(tally.top1(), 0.5);
        assert!(
            (tally.max_kl() - 0.25 * 2f64.ln()).abs() < 1e-7 && (tally.mean_kl() - tally.max_kl() / 2.0).abs() < 1e-9
        );
        assert!((tally.max_logit_error() - 2f32.ln()).abs() < 1e-6);
        assert!((tally.mean_logit_error() - 2f64.ln() / 3.0).abs() < 1e-6);
        // The model gave the actual tokens 1/4 and 1/2, the reference 1/2 and 1/2.
        assert!(
            (tally.model_perplexity() - 8f64.sqrt()).abs() < 1e-6 && (tally.reference_perplexity() - 2.0).abs() < 1e-6
        );
        assert!((tally.increase() - (2f64.sqrt() - 1.0)).abs() < 1e-6);
    }

    #[test]
    fn limits_are_broken_by_more_than_chance_or_exactly() {
        let (a, b) = ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]);
        let rows: Vec<_> = (0..100).map(|n| (if n < 3 { b } else { a }, a, 2)).collect();
        let mut tally = tally(&rows);
        let limits = GateLimits { top1: 0.98, perplexity: 0.01, kl: None, by_chance: true };
        // 97 % is less than 98 %, but within two standard errors of 1.4 %.
        assert!(tally.failures(&limits).is_empty(), "{:?}", tally.failures(&limits));
        let exact = GateLimits { by_chance: false, kl: Some(1e-6), ..limits };
        let failures = tally.failures(&exact).join("\n");
        assert!(
            failures.contains("97.0 %") && failures.contains("nats") && !failures.contains("perplexity"),
            "{failures}"
        );
        tally.row(&[f32::NAN, 0.0, 0.0], &a, None);
        assert!(tally.failures(&limits).join("").contains("after 1 of 101 tokens"));
    }

    /// Non-finite values on either side count as failures.
    #[test]
    fn what_is_not_finite_fails_on_either_side() {
        let limits = GateLimits { top1: 0.0, perplexity: 1e9, kl: Some(1e9), by_chance: true };
        let good = [1.0, 0.0, 0.0];
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for rows in
                [[(good, [0.0, bad, 0.0], 0); 20], [([0.0, 0.0, bad], good, 2); 20], [([bad; 3], [bad; 3], 1); 20]]
            {
                let tally = tally(&rows);
                let failures = tally.failures(&limits).join("\n");
                assert!(tally.broken == 20 && failures.contains("after 20 of 20 tokens"), "{rows:?}: {failures}");
                assert!(tally.mean_kl().is_finite() && tally.increase().is_finite(), "{rows:?}");
            }
        }
        let mut tally = tally(&[(good, good, 0)]);
        (tally.divergence, tally.model_loss) = (f64::NAN, f64::NAN);
        let failures = tally.failures(&limits).join("\n");
        assert!(failures.contains("nats") && failures.contains("perplexity"), "{failures}");
    }
}
