//! Speed of a model on this machine: prefill of a prompt, decode of an answer step by step, and the
//! bytes that one step reads. Tokens are drawn at random, so the speed does not depend on the text.

use std::hint::black_box;
use std::ops::Range;
use std::time::{Duration, Instant};

use sotto_kernels::{Best, PrunedMatrix, machine};

use super::loaded::Llm;
pub use super::profile::ProfilePart;
use super::state::SequenceState;
use crate::memory;
use crate::types::Bytes;

/// Unmeasured steps at the start: they start the threads of the pool, map the pages and raise the
/// clock of the cores.
const WARM_UP_STEPS: usize = 16;
/// Passes over the weights that measure the read bandwidth; the fastest counts.
const PASSES: usize = 5;
const SEED: u64 = 1;

/// Workload of a benchmark run.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Tokens of the prompt, read into an empty state; at least one.
    pub prompt: usize,
    /// Decode steps of the answer; at least one.
    pub generate: usize,
    /// Positions in the state before the first decode step.
    pub depth: usize,
    /// Repeats of each measurement; at least one.
    pub repeat: usize,
    /// Number of best tokens for a second measured answer that only needs those; `None` to skip it.
    pub top_k: Option<usize>,
    /// Whether to add one run of each kind that reports time by kind of work.
    pub profile: bool,
}

/// Results of a benchmark run.
#[derive(Clone, Debug)]
pub struct BenchReport {
    pub prompt: Rates,
    /// Decode rates with the logits of all tokens at each step.
    pub decode: Rates,
    /// Decode rates with the logits of the best tokens alone.
    pub screened: Option<PrunedHeadUse>,
    /// Resident memory of this process with model and state loaded; `None` where the system does
    /// not report it.
    pub resident: Option<Bytes>,
    pub reading: PrefillMeasurement,
    pub profile: Option<BenchProfile>,
}

/// Tokens per second, one figure for each repeat.
#[derive(Clone, Debug)]
pub struct Rates(pub Vec<f64>);

/// Decode rates when only the best tokens are computed, so that part of the head is not read.
/// Measured in alternation with the full head.
#[derive(Clone, Debug)]
pub struct PrunedHeadUse {
    pub top_k: usize,
    pub decode: Rates,
    /// Bytes of the head that a step does not read.
    pub saved: usize,
}

/// Bytes read by one decode step.
#[derive(Clone, Debug)]
pub struct PrefillMeasurement {
    /// Bytes of the matrices of all layers, of the head, and of a row of the embedding.
    pub weights: usize,
    /// Bytes of the state halfway through the answer: keys and values, or the recurrent state of
    /// the DeltaNet layers.
    pub state: usize,
    /// Formats of the matrices and the bytes in each; the most common first.
    pub formats: Vec<(String, usize)>,
    pub bits_per_weight: f64,
    /// Bytes per second at which the same threads read these weights without computing.
    pub bandwidth: f64,
}

/// Time for each of [`ProfilePart::ALL`].
#[derive(Clone, Debug)]
pub struct BenchProfile {
    /// Time of the whole prefill.
    pub prompt: [Duration; ProfilePart::ALL.len()],
    /// Time of all decode steps.
    pub decode: [Duration; ProfilePart::ALL.len()],
}

impl Workload {
    /// Number of positions that a state needs for this workload.
    pub fn context(&self) -> usize {
        self.prompt.max(self.depth.saturating_add(self.generate))
    }
}

impl Rates {
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() % 2 {
            _ if sorted.is_empty() => 0.0,
            0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
            _ => sorted[middle],
        }
    }

    pub fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub fn most(&self) -> f64 {
        self.0.iter().copied().fold(0.0, f64::max)
    }
}

impl PrefillMeasurement {
    pub fn bytes_per_token(&self) -> usize {
        self.weights + self.state
    }

    /// Steps per second if reading were the only cost.
    pub fn limit(&self) -> f64 {
        self.bandwidth / self.bytes_per_token() as f64
    }
}

/// Measures `llm` after a warm-up. Panics if its context has fewer than [`Workload::context`]
/// positions.
pub fn measure(llm: &mut Llm, load: &Workload) -> BenchReport {
    let mut bench = Bench::new(llm, load);
    bench.warm_up();
    let prompt = bench.rates(load.prompt, Bench::read);
    let prompt_parts = load.profile.then(|| bench.profiled(Bench::read));
    bench.fill();
    let (decode, screened) = bench.answers();
    let resident = memory::resident();
    let profile = prompt_parts.map(|prompt| BenchProfile { prompt, decode: bench.profiled(Bench::write) });
    BenchReport { prompt, decode, screened, resident, reading: bench.reading(), profile }
}

struct Bench<'a> {
    llm: &'a mut Llm,
    load: &'a Workload,
    tokens: Vec<u32>,
    state: SequenceState,
    /// Number of best tokens that a step needs; `None` for all.
    top_k: Option<usize>,
}

impl<'a> Bench<'a> {
    fn new(llm: &'a mut Llm, load: &'a Workload) -> Self {
        let mut random = fastrand::Rng::with_seed(SEED);
        let vocabulary = llm.tokenizer().used() as u32;
        let tokens = (0..load.context()).map(|_| random.u32(..vocabulary)).collect();
        let state = llm.state();
        Bench { llm, load, tokens, state, top_k: None }
    }

    fn warm_up(&mut self) {
        self.read();
        self.llm.rollback(&mut self.state, 0);
        self.steps(0..self.load.generate.min(WARM_UP_STEPS));
    }

    /// Measures tokens per second of `tokens` tokens, once per repeat.
    fn rates(&mut self, tokens: usize, run: impl Fn(&mut Self) -> Duration) -> Rates {
        Rates((0..self.load.repeat).map(|_| tokens as f64 / run(self).as_secs_f64()).collect())
    }

    /// Measures answers with the logits of all tokens and, in alternation, with those of the best.
    fn answers(&mut self) -> (Rates, Option<PrunedHeadUse>) {
        let (mut full, mut best) = (Vec::new(), Vec::new());
        for _ in 0..self.load.repeat {
            full.push(self.answer(None));
            best.extend(self.load.top_k.map(|top_k| self.answer(Some(top_k))));
        }
        let screened = self.load.top_k.map(|top_k| PrunedHeadUse { top_k, decode: Rates(best), saved: self.saved() });
        (Rates(full), screened)
    }

    /// Measures one answer in tokens per second.
    fn answer(&mut self, top_k: Option<usize>) -> f64 {
        self.top_k = top_k;
        let spent = self.write();
        self.top_k = None;
        self.load.generate as f64 / spent.as_secs_f64()
    }

    /// Mean bytes of the head that a step did not read when it needed only the best tokens.
    fn saved(&self) -> usize {
        let (screening, screen) = (&self.llm.model.work.screening, &self.llm.model.network.weights.screen);
        let full = screen.as_ref().map_or(0, PrunedMatrix::full_bytes);
        full.saturating_sub(screening.bytes / screening.steps.max(1))
    }

    /// Measures one more run by kind of work.
    fn profiled(&mut self, run: impl Fn(&mut Self) -> Duration) -> [Duration; ProfilePart::ALL.len()] {
        self.llm.model.work.profile.start();
        run(self);
        self.llm.model.work.profile.stop()
    }

    /// Times the prefill of the prompt, from an empty state.
    fn read(&mut self) -> Duration {
        self.llm.rollback(&mut self.state, 0);
        let started = Instant::now();
        self.llm.forward(&mut self.state, &self.tokens[..self.load.prompt]);
        started.elapsed()
    }

    /// Fills the state with the positions before the answer. Marks the end of a turn there, so that
    /// going back does not compute them again.
    fn fill(&mut self) {
        self.llm.rollback(&mut self.state, 0);
        self.llm.forward(&mut self.state, &self.tokens[..self.load.depth]);
        self.state.mark_turn();
    }

    /// Times the answer, step by step.
    fn write(&mut self) -> Duration {
        self.llm.rollback(&mut self.state, self.load.depth);
        let started = Instant::now();
        self.steps(self.load.depth..self.load.depth + self.load.generate);
        started.elapsed()
    }

    fn steps(&mut self, tokens: Range<usize>) {
        for token in &self.tokens[tokens] {
            let (state, token) = (&mut self.state, std::slice::from_ref(token));
            match self.top_k {
                Some(count) => self.llm.forward_best(state, token, Best { count, counts: &|_| true }),
                None => self.llm.forward(state, token),
            }
        }
    }

    fn reading(&mut self) -> PrefillMeasurement {
        let middle = self.load.depth + self.load.generate.div_ceil(2);
        self.llm.rollback(&mut self.state, middle);
        let weights = &self.llm.model.network.weights;
        let mut formats: Vec<(String, usize)> = Vec::new();
        let (mut bytes, mut values) = (0, 0);
        for matrix in weights.streamed().map(|weight| weight.matrix()) {
            let (format, len) = (matrix.kind().to_string(), matrix.bytes().len());
            bytes += len;
            values += matrix.rows() * matrix.cols();
            match formats.iter_mut().find(|(name, _)| *name == format) {
                Some((_, sum)) => *sum += len,
                None => formats.push((format, len)),
            }
        }
        formats.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        PrefillMeasurement {
            weights: weights.bytes_per_step(),
            state: self.state.layers.iter().map(|layer| layer.written_bytes(middle)).sum(),
            formats,
            bits_per_weight: 8.0 * bytes as f64 / values as f64,
            bandwidth: bytes as f64 / self.fastest_pass().as_secs_f64(),
        }
    }

    /// Shortest time in which all threads read the weights without computing.
    fn fastest_pass(&self) -> Duration {
        let network = &self.llm.model.network;
        let pass = || {
            let started = Instant::now();
            for weight in network.weights.streamed() {
                black_box(machine::read(&network.pool, network.simd, weight.matrix().bytes()));
            }
            started.elapsed()
        };
        (0..PASSES).map(|_| pass()).min().unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::memory::Budget;

    fn tiny(family: &str) -> Llm {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), testing::model(family).build()).unwrap();
        let budget = Bytes::mib(64);
        let permit = Budget::new(budget).reserve("tiny", budget).unwrap();
        Llm::load(file.path(), &testing::settings(64, 4), permit).unwrap()
    }

    #[test]
    fn the_median_is_the_middle() {
        for (runs, median) in [(vec![], 0.0), (vec![3.0], 3.0), (vec![9.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0], 2.5)] {
            assert_eq!(Rates(runs.clone()).median(), median, "{runs:?}");
        }
        let rates = Rates(vec![9.0, 1.0, 2.0]);
        assert_eq!((rates.least(), rates.most()), (1.0, 9.0));
    }

    #[test]
    fn every_family_is_measured_at_every_depth() {
        for family in ["llama", "qwen2", "qwen35"] {
            let mut llm = tiny(family);
            for (depth, prompt) in [(0, 1), (0, 64), (9, 2), (57, 64)] {
                let load = Workload { prompt, generate: 7, depth, repeat: 2, top_k: Some(3), profile: true };
                let report = measure(&mut llm, &load);
                assert_eq!((report.prompt.0.len(), report.decode.0.len()), (2, 2), "{family}");
                let screened = report.screened.unwrap();
                assert_eq!((screened.decode.0.len(), screened.saved), (2, 0), "{family}: weights in floats");
                assert!(report.prompt.least() > 0.0 && report.decode.least() > 0.0, "{family} at {depth}");
                assert!(report.reading.limit().is_finite() && report.reading.limit() > 0.0);
            }
        }
    }

    #[test]
    fn a_profile_names_the_work_that_a_family_does() {
        let load = Workload { prompt: 8, generate: 4, depth: 0, repeat: 1, top_k: None, profile: true };
        for (family, recurs) in [("qwen2", false), ("qwen35", true)] {
            let profile = measure(&mut tiny(family), &load).profile.unwrap();
            for part in ProfilePart::ALL {
                let spent = [profile.prompt, profile.decode].map(|spent| spent[part as usize] > Duration::ZERO);
                assert_eq!(spent, [recurs || part != ProfilePart::DeltaNetLayer; 2], "{family}: {}", part.name());
            }
        }
    }

    #[test]
    fn a_deeper_state_is_more_to_read_and_the_weights_are_the_same() {
        let load = |depth| Workload { prompt: 2, generate: 2, depth, repeat: 1, top_k: None, profile: false };
        let mut llm = tiny("qwen2");
        let [near, far] = [0, 40].map(|depth| measure(&mut llm, &load(depth)).reading);
        assert_eq!(near.weights, far.weights);
        // Two layers, f16 keys and values.
        let position = 2 * 2 * llm.model_config().layers * llm.model_config().kv_width();
        assert_eq!(far.state - near.state, 40 * position);
        let row = llm.model_config().width * 4;
        assert_eq!(near.weights, near.formats.iter().map(|(_, bytes)| bytes).sum::<usize>() + row);
        assert_eq!(near.bits_per_weight, 32.0);
    }
}
