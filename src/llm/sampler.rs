//! Sampling of the next token from the logits.
//!
//! The order is: banned ids; penalties; temperature; top-k; top-p; min-p; one draw. It is the order
//! of `transformers` and vLLM. llama.cpp applies the temperature last, so its top-p cuts elsewhere
//! if the temperature is not 1. The random generator is `fastrand`'s (wyrand), so the same seed
//! gives the same answer on every platform.

use std::cmp::Ordering;
use std::collections::HashSet;

use crate::config::Sampling;

/// Window of the repetition penalty, in tokens of the present answer. The question is not counted,
/// because a good answer repeats words of the question. The presence penalty covers the whole
/// answer, as the model cards define it.
pub const PENALTY_WINDOW: usize = 64;

/// Distance in nats below the best logit, beyond which tokens are not sorted if all are kept: all
/// 250,000 of a large vocabulary together would weigh 250,000 · e^-30 = 2e-8 of the best, less than
/// the rounding of an f32 sum.
const NEGLIGIBLE: f32 = 30.0;

/// Number of logits that are skipped together if none of them can be among the top k.
const STRIDE: usize = 64;

pub struct Sampler {
    settings: Sampling,
    random: fastrand::Rng,
    /// First id that has no token.
    limit: usize,
    banned: Vec<u32>,
    /// The last tokens of this answer, oldest first.
    recent: Vec<u32>,
    /// All tokens of this answer.
    said: HashSet<u32>,
    candidates: Vec<Candidate>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    token: u32,
    logit: f32,
    /// Probability relative to the best candidate, not normalised.
    weight: f32,
}

impl Sampler {
    pub fn new(settings: &Sampling) -> Self {
        Sampler {
            settings: settings.clone(),
            random: settings.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
            limit: usize::MAX,
            banned: Vec::new(),
            recent: Vec::with_capacity(PENALTY_WINDOW),
            said: HashSet::new(),
            candidates: Vec::new(),
        }
    }

    /// Excludes ids of `limit` or more: an embedding may have more rows than the tokenizer has
    /// tokens ([`Tokenizer::used`](super::Tokenizer::used)).
    pub fn within(self, limit: usize) -> Self {
        Sampler { limit, ..self }
    }

    /// Bans these tokens from now on, in place of those banned before.
    pub fn ban(&mut self, tokens: impl IntoIterator<Item = u32>) {
        self.banned.clear();
        self.banned.extend(tokens);
    }

    /// Clears the tokens of the previous answer. The random sequence continues, bans stay.
    pub fn start_answer(&mut self) {
        self.recent.clear();
        self.said.clear();
    }

    /// Chooses the next token; `None` if no allowed logit is finite. Bans and penalties are written
    /// into `logits[vocabulary]`.
    pub fn choose(&mut self, logits: &mut [f32]) -> Option<u32> {
        let used = self.limit.min(logits.len());
        let logits = &mut logits[..used];
        self.strike_out(logits);
        self.penalise(logits);
        let greedy = self.settings.temperature <= 0.0;
        match self.settings.top_k {
            _ if greedy => self.gather_top(logits, 1),
            0 => self.gather_likely(logits),
            k => self.gather_top(logits, k),
        }
        self.candidates.sort_unstable_by(Candidate::by_rank);
        let token = if greedy { self.candidates.first()?.token } else { self.draw()? };
        self.remember(token);
        Some(token)
    }

    /// Number of best logits that [`Sampler::choose`] needs, counted over tokens that it
    /// [leaves](Sampler::leaves) unchanged. If those are present, and of the other tokens all that
    /// exceed the last of them, the choice is the same as with all logits. `None` if it needs all:
    /// without a top-k, or if a penalty can make tokens more probable.
    pub fn looks_at(&self) -> Option<usize> {
        let Sampling { temperature, top_k, repetition_penalty, presence_penalty, .. } = self.settings;
        let lowers = repetition_penalty >= 1.0 && presence_penalty >= 0.0;
        let count = if temperature <= 0.0 { 1 } else { top_k };
        (lowers && count > 0).then_some(count)
    }

    /// Whether the logit of a token is neither banned nor lowered by a penalty.
    pub fn leaves(&self, token: usize) -> bool {
        let Sampling { repetition_penalty, presence_penalty, .. } = self.settings;
        let penalised = |token: &u32| match (repetition_penalty > 1.0, presence_penalty > 0.0) {
            (_, true) => self.said.contains(token),
            (true, false) => self.recent.contains(token),
            (false, false) => false,
        };
        let within = u32::try_from(token).ok().filter(|_| token < self.limit);
        within.is_some_and(|token| !self.banned.contains(&token) && !penalised(&token))
    }

    /// Counts `token` as part of the answer although it was forced, not sampled.
    pub fn remember(&mut self, token: u32) {
        if self.recent.len() == PENALTY_WINDOW {
            self.recent.remove(0);
        }
        self.recent.push(token);
        self.said.insert(token);
    }

    fn strike_out(&self, logits: &mut [f32]) {
        for &token in &self.banned {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    fn penalise(&self, logits: &mut [f32]) {
        let Sampling { repetition_penalty, presence_penalty, .. } = self.settings;
        for (at, &token) in self.recent.iter().enumerate() {
            if self.recent[..at].contains(&token) {
                continue;
            }
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
            }
        }
        for &token in &self.said {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit -= presence_penalty;
            }
        }
    }

    /// Gathers the `k` greatest in one pass: logits above the k-th greatest so far are collected,
    /// and the collection is cut back to `k` from time to time.
    fn gather_top(&mut self, logits: &[f32], k: usize) {
        self.candidates.clear();
        let mut floor = f32::NEG_INFINITY;
        for (at, stride) in logits.chunks(STRIDE).enumerate() {
            // No branch inside, so that the compiler can compare several at once.
            if !stride.iter().fold(false, |any, &logit| any | (logit > floor)) {
                continue;
            }
            let above = stride.iter().zip(at * STRIDE..).filter(|&(&logit, _)| logit > floor && logit.is_finite());
            self.candidates.extend(above.map(|(&logit, token)| Candidate::new(token, logit)));
            // Twice as many, so that cutting costs little even for a large k.
            if self.candidates.len() >= k.saturating_mul(2).saturating_add(STRIDE) {
                floor = self.cut_to(k);
            }
        }
        if self.candidates.len() > k {
            self.cut_to(k);
        }
    }

    /// Keeps the `k` best of more than `k` candidates, and returns the least of their logits.
    fn cut_to(&mut self, k: usize) -> f32 {
        let (_, last, _) = self.candidates.select_nth_unstable_by(k - 1, Candidate::by_rank);
        let floor = last.logit;
        self.candidates.truncate(k);
        floor
    }

    /// Gathers all tokens with a significant probability.
    fn gather_likely(&mut self, logits: &[f32]) {
        self.gather_top(logits, 1);
        let Some(best) = self.candidates.first() else { return };
        let floor = best.logit - NEGLIGIBLE * self.settings.temperature;
        self.candidates.clear();
        let likely = logits.iter().enumerate().filter(|&(_, &logit)| logit >= floor && logit.is_finite());
        self.candidates.extend(likely.map(|(token, &logit)| Candidate::new(token, logit)));
    }

    /// Draws one of the candidates, which are sorted, the most probable first.
    fn draw(&mut self) -> Option<u32> {
        let best = self.candidates.first()?.logit;
        for candidate in &mut self.candidates {
            candidate.weight = ((candidate.logit - best) / self.settings.temperature).exp();
        }
        self.keep_top_p();
        self.keep_min_p();
        let total: f32 = self.candidates.iter().map(|c| c.weight).sum();
        let mut left = self.random.f32() * total;
        let drawn = self.candidates.iter().find(|candidate| {
            left -= candidate.weight;
            left < 0.0
        });
        // Falls back to the most probable if rounding used up the whole sum.
        drawn.or(self.candidates.first()).map(|candidate| candidate.token)
    }

    fn keep_top_p(&mut self) {
        let total: f32 = self.candidates.iter().map(|c| c.weight).sum();
        let mut left = self.settings.top_p * total;
        let enough = self.candidates.iter().position(|candidate| {
            left -= candidate.weight;
            left <= 0.0
        });
        if self.settings.top_p < 1.0 {
            self.candidates.truncate(enough.map_or(usize::MAX, |last| last + 1));
        }
    }

    fn keep_min_p(&mut self) {
        // The weight of the best candidate is 1.
        let floor = self.settings.min_p.min(1.0);
        let keep = self.candidates.iter().take_while(|candidate| candidate.weight >= floor).count();
        self.candidates.truncate(keep);
    }
}

impl Candidate {
    fn new(token: usize, logit: f32) -> Self {
        Candidate { token: token as u32, logit, weight: 0.0 }
    }

    /// Orders by logit, higher first, and equal ones by token id.
    fn by_rank(a: &Self, b: &Self) -> Ordering {
        b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Sampling = Sampling {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        presence_penalty: 0.0,
        seed: Some(1),
    };

    /// Probabilities 1/2, 1/4, 1/8, 1/16, 1/16 for tokens 3, 1, 0, 2, 4.
    fn logits() -> Vec<f32> {
        [0.125f32, 0.25, 0.0625, 0.5, 0.0625].map(f32::ln).to_vec()
    }

    /// Share of each token in 4,000 draws, in percent.
    fn shares(settings: Sampling) -> [f32; 5] {
        let mut sampler = Sampler::new(&settings);
        let mut counts = [0f32; 5];
        for _ in 0..4000 {
            sampler.start_answer();
            counts[sampler.choose(&mut logits()).unwrap() as usize] += 1.0;
        }
        counts.map(|n| n / 40.0)
    }

    #[test]
    fn filters_keep_what_they_say() {
        let cases = [
            ("all", PLAIN, [12.5, 25.0, 6.25, 50.0, 6.25]),
            ("top-k 1", Sampling { top_k: 1, ..PLAIN }, [0.0, 0.0, 0.0, 100.0, 0.0]),
            ("top-k 2", Sampling { top_k: 2, ..PLAIN }, [0.0, 33.3, 0.0, 66.7, 0.0]),
            ("top-k of equals keeps the first", Sampling { top_k: 4, ..PLAIN }, [13.3, 26.7, 6.7, 53.3, 0.0]),
            ("top-p just reached", Sampling { top_p: 0.49, ..PLAIN }, [0.0, 0.0, 0.0, 100.0, 0.0]),
            ("top-p 0.7", Sampling { top_p: 0.7, ..PLAIN }, [0.0, 33.3, 0.0, 66.7, 0.0]),
            ("top-p 0 keeps the best", Sampling { top_p: 0.0, ..PLAIN }, [0.0, 0.0, 0.0, 100.0, 0.0]),
            ("min-p a quarter", Sampling { min_p: 0.24, ..PLAIN }, [14.3, 28.6, 0.0, 57.1, 0.0]),
            ("min-p 1", Sampling { min_p: 1.0, ..PLAIN }, [0.0, 0.0, 0.0, 100.0, 0.0]),
            ("temperature 0.5 squares", Sampling { temperature: 0.5, ..PLAIN }, [4.7, 18.6, 1.2, 74.4, 1.2]),
            ("top-p counts after top-k", Sampling { top_k: 2, top_p: 0.6, ..PLAIN }, [0.0, 0.0, 0.0, 100.0, 0.0]),
        ];
        for (case, settings, wanted) in cases {
            for (token, (share, want)) in shares(settings.clone()).into_iter().zip(wanted).enumerate() {
                // 4,000 draws: the standard deviation is at most 0.8 %; excluded tokens never
                // occur.
                let tolerance = if want == 0.0 || want == 100.0 { 0.0 } else { 3.0 };
                assert!((share - want).abs() <= tolerance, "{case}: token {token} came in {share} %, wanted {want}");
            }
        }
    }

    #[test]
    fn penalties_change_logits_by_the_book() {
        // (repetition, presence) on logits 2, -2, 1 after tokens 0, 1, 0.
        let cases = [
            (1.0, 0.0, [2.0, -2.0, 1.0]),
            (2.0, 0.0, [1.0, -4.0, 1.0]),
            (1.0, 1.5, [0.5, -3.5, 1.0]),
            (2.0, 0.5, [0.5, -4.5, 1.0]),
        ];
        for (repetition_penalty, presence_penalty, wanted) in cases {
            let mut sampler = Sampler::new(&Sampling { repetition_penalty, presence_penalty, ..PLAIN });
            [0, 1, 0].into_iter().for_each(|token| sampler.remember(token));
            let mut logits = [2.0, -2.0, 1.0];
            sampler.penalise(&mut logits);
            assert_eq!(logits, wanted, "repetition {repetition_penalty}, presence {presence_penalty}");
        }
    }

    #[test]
    fn greedy_takes_the_first_of_the_greatest_and_skips_what_is_no_number() {
        let greedy = Sampling { temperature: 0.0, ..PLAIN };
        let cases: [(&[f32], Option<u32>); 5] = [
            (&[1.0, 3.0, 3.0], Some(1)),
            (&[f32::NAN, -5.0], Some(1)),
            (&[f32::INFINITY, 0.0], Some(1)),
            (&[f32::NAN, f32::NEG_INFINITY], None),
            (&[], None),
        ];
        for (logits, wanted) in cases {
            assert_eq!(Sampler::new(&greedy).choose(&mut logits.to_vec()), wanted, "{logits:?}");
        }
    }

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let run = |seed| {
            let mut sampler = Sampler::new(&Sampling { seed: Some(seed), ..PLAIN });
            (0..40).map(|_| sampler.choose(&mut logits()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn the_window_forgets_its_oldest_token() {
        let mut sampler = Sampler::new(&PLAIN);
        for token in 0..PENALTY_WINDOW as u32 + 1 {
            sampler.remember(token);
        }
        assert_eq!((sampler.recent[0], sampler.recent.len()), (1, PENALTY_WINDOW));
        sampler.start_answer();
        assert!(sampler.recent.is_empty());
    }

    #[test]
    fn presence_outlasts_the_window_and_counts_once() {
        let mut sampler = Sampler::new(&Sampling { presence_penalty: 2.0, repetition_penalty: 2.0, ..PLAIN });
        for token in [0, 0].into_iter().chain([1; PENALTY_WINDOW]) {
            sampler.remember(token);
        }
        let mut logits = [4.0, 4.0, 4.0];
        sampler.penalise(&mut logits);
        assert_eq!(logits, [2.0, 0.0, 4.0]);
        sampler.start_answer();
        sampler.penalise(&mut logits);
        assert_eq!(logits, [2.0, 0.0, 4.0]);
    }

    #[test]
    fn what_is_banned_or_beyond_the_vocabulary_never_comes() {
        for settings in [PLAIN, Sampling { temperature: 0.0, ..PLAIN }, Sampling { top_k: 3, ..PLAIN }] {
            let mut sampler = Sampler::new(&settings).within(4);
            sampler.ban([3, 1, 99]);
            for _ in 0..500 {
                let token = sampler.choose(&mut [0.0, 5.0, 0.5, 9.0, 50.0, 60.0]);
                assert!([Some(0), Some(2)].contains(&token), "{settings:?} gave {token:?}");
            }
            sampler.ban([0, 1, 2, 3]);
            assert_eq!(sampler.choose(&mut [0.0, 5.0, 0.5, 9.0, 50.0]), None);
        }
    }

    #[test]
    fn where_all_logits_count_none_may_be_left_out() {
        let cases = [
            (PLAIN, None),
            (Sampling { top_k: 20, ..PLAIN }, Some(20)),
            (Sampling { temperature: 0.0, top_k: 20, ..PLAIN }, Some(1)),
            (Sampling { top_k: 20, presence_penalty: -0.1, ..PLAIN }, None),
            (Sampling { top_k: 20, repetition_penalty: 0.9, ..PLAIN }, None),
        ];
        for (settings, count) in cases {
            assert_eq!(Sampler::new(&settings).looks_at(), count, "{settings:?}");
        }
    }

    proptest::proptest! {
        /// Logits left out by a screened head change no choice.
        #[test]
        fn the_best_logits_are_enough(
            seed: u64,
            top_k in 1usize..30,
            temperature in proptest::sample::select(vec![0.0, 0.7]),
            penalties in proptest::sample::select(vec![(1.0, 0.0), (1.3, 0.0), (1.0, 1.5), (1.1, 0.5)]),
            levels in proptest::sample::select(vec![4u32, 1 << 20]),
        ) {
            let (repetition_penalty, presence_penalty) = penalties;
            let settings = Sampling { temperature, top_k, repetition_penalty, presence_penalty, ..PLAIN };
            let mut random = fastrand::Rng::with_seed(seed);
            let mut samplers = [0; 2].map(|_| Sampler::new(&settings).within(190));
            samplers.iter_mut().for_each(|sampler| sampler.ban([3, 5, 8]));
            for _ in 0..100 {
                let scale = 8.0 / levels as f32;
                let mut all: Vec<f32> = (0..200).map(|_| random.u32(0..levels) as f32 * scale - 2.0).collect();
                let count = samplers[1].looks_at().unwrap();
                let mut left: Vec<f32> = (0..200).filter(|&id| samplers[1].leaves(id)).map(|id| all[id]).collect();
                left.sort_by(|a, b| b.total_cmp(a));
                let floor = left.get(count - 1).copied().unwrap_or(f32::NEG_INFINITY);
                let kept = |&logit: &f32| if logit >= floor { logit } else { f32::NEG_INFINITY };
                let mut best: Vec<f32> = all.iter().map(kept).collect();
                let chosen = samplers[0].choose(&mut all);
                proptest::prop_assert_eq!(chosen, samplers[1].choose(&mut best));
                proptest::prop_assert!(chosen.is_some());
            }
        }

        /// One pass finds the same tokens as a full sort.
        #[test]
        fn the_top_k_are_those_of_a_sort(
            seed: u64,
            n in 0usize..3000,
            k in 1usize..200,
            levels in proptest::sample::select(vec![2u32, 50, 1 << 20]),
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
            let logit = |random: &mut fastrand::Rng| match random.usize(0..40) {
                strange @ 0..3 => odd[strange],
                _ => random.u32(0..levels) as f32 - levels as f32 / 2.0,
            };
            let logits: Vec<f32> = (0..n).map(|_| logit(&mut random)).collect();
            let mut sampler = Sampler::new(&PLAIN);
            sampler.gather_top(&logits, k);
            sampler.candidates.sort_unstable_by(Candidate::by_rank);
            let finite = logits.iter().enumerate().filter(|(_, logit)| logit.is_finite());
            let mut sorted: Vec<Candidate> = finite.map(|(token, &logit)| Candidate::new(token, logit)).collect();
            sorted.sort_by(Candidate::by_rank);
            sorted.truncate(k);
            proptest::prop_assert_eq!(&sampler.candidates, &sorted);
        }
    }
}
