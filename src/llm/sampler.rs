//! How the next token is chosen from the logits.
//!
//! In this order, as in `transformers`: penalties, temperature, top-k, top-p, min-p, then one draw. The generator is
//! `fastrand`'s (wyrand), so the same seed gives the same answer on every platform.

use std::cmp::Ordering;

use crate::config::Sampling;

/// How far back repetition counts, in tokens of the present answer. The question is not counted: a good answer
/// repeats the words of the question.
pub const PENALTY_WINDOW: usize = 64;

/// Candidates so many nats below the best are not sorted: all 250,000 of a large vocabulary together would weigh
/// 250,000 · e^-30 = 2e-8 of the best, less than the rounding of an f32 sum.
const NEGLIGIBLE: f32 = 30.0;

pub struct Sampler {
    settings: Sampling,
    random: fastrand::Rng,
    /// The last tokens of this answer, oldest first.
    recent: Vec<u32>,
    candidates: Vec<Candidate>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    token: u32,
    logit: f32,
    /// Relative to the best candidate, not normalised.
    weight: f32,
}

impl Sampler {
    pub fn new(settings: &Sampling) -> Self {
        Sampler {
            settings: settings.clone(),
            random: settings.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
            recent: Vec::with_capacity(PENALTY_WINDOW),
            candidates: Vec::new(),
        }
    }

    /// Forgets the tokens of the answer before. The random sequence goes on.
    pub fn start_answer(&mut self) {
        self.recent.clear();
    }

    /// The next token, or `None` when no logit is a finite number. Penalties are written into `logits[vocabulary]`.
    pub fn choose(&mut self, logits: &mut [f32]) -> Option<u32> {
        self.penalise(logits);
        let best = greatest(logits)?;
        let token = if self.settings.temperature <= 0.0 { best } else { self.draw(logits, logits[best as usize]) };
        self.remember(token);
        Some(token)
    }

    fn penalise(&self, logits: &mut [f32]) {
        let Sampling { repetition_penalty, presence_penalty, .. } = self.settings;
        for (at, &token) in self.recent.iter().enumerate() {
            if self.recent[..at].contains(&token) {
                continue;
            }
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
                *logit -= presence_penalty;
            }
        }
    }

    fn remember(&mut self, token: u32) {
        if self.recent.len() == PENALTY_WINDOW {
            self.recent.remove(0);
        }
        self.recent.push(token);
    }

    fn draw(&mut self, logits: &[f32], best: f32) -> u32 {
        self.gather(logits, best);
        self.keep_top_k();
        self.keep_top_p();
        self.keep_min_p();
        let total: f32 = self.candidates.iter().map(|c| c.weight).sum();
        let mut left = self.random.f32() * total;
        for candidate in &self.candidates {
            left -= candidate.weight;
            if left < 0.0 {
                return candidate.token;
            }
        }
        // Rounding used up the whole sum: the first is the most probable.
        self.candidates[0].token
    }

    fn gather(&mut self, logits: &[f32], best: f32) {
        let temperature = self.settings.temperature;
        self.candidates.clear();
        self.candidates.extend(logits.iter().enumerate().filter_map(|(token, &logit)| {
            let below = (best - logit) / temperature;
            (0.0..=NEGLIGIBLE).contains(&below).then(|| Candidate {
                token: token as u32,
                logit,
                weight: (-below).exp(),
            })
        }));
    }

    /// Leaves the candidates sorted, the most probable first.
    fn keep_top_k(&mut self) {
        let k = self.settings.top_k;
        if k > 0 && k < self.candidates.len() {
            self.candidates.select_nth_unstable_by(k - 1, Candidate::by_rank);
            self.candidates.truncate(k);
        }
        self.candidates.sort_unstable_by(Candidate::by_rank);
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
        // The best candidate weighs 1.
        let floor = self.settings.min_p.min(1.0);
        let keep = self.candidates.iter().take_while(|candidate| candidate.weight >= floor).count();
        self.candidates.truncate(keep);
    }
}

impl Candidate {
    /// Higher logit first; equal ones in the order of the vocabulary.
    fn by_rank(a: &Self, b: &Self) -> Ordering {
        b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
    }
}

/// The token of the greatest finite logit, the first of equals.
fn greatest(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(usize, f32)> = None;
    for (token, &logit) in logits.iter().enumerate() {
        if logit.is_finite() && best.is_none_or(|(_, highest)| logit > highest) {
            best = Some((token, logit));
        }
    }
    best.map(|(token, _)| token as u32)
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

    /// How often each token comes in 4,000 draws, in percent.
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
                // 4,000 draws: the standard deviation is at most 0.8 %; what must never come never does.
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
            sampler.recent = vec![0, 1, 0];
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
}
