//! Choice of the draft length, from measurements: the cost of several tokens at once relative to
//! one, and the acceptance rate of drafts with the same evidence.
//!
//! If each draft token is accepted with probability p, given that those before it were, k draft
//! tokens yield 1 + p + p² + … + pᵏ tokens (Leviathan, Kalman and Matias 2023, section 3.1) for the
//! cost of k + 1 at once. The k with the best ratio is chosen, or none if no ratio exceeds that of
//! a plain step.
//!
//! Drafts from lookup are checked even if they are not computed, so their acceptance rate is always
//! known. Drafts of the model's draft block take time, which is counted; if they are not
//! worthwhile, one is made occasionally. The cost of several tokens is only known from computing
//! them: with each plain step the estimate is lowered a little, so that they are tried again after
//! a temporary slowdown.

/// Largest number of draft tokens at once. With the token before them they fill a tile of the
/// matrix kernels.
pub const MOST: usize = 7;

/// Classes of drafts by evidence: 2, 3, 4 or 5, 6 to 9, 10 or more tokens that agree; and one for
/// the draft block.
const SORTS: usize = 6;
/// Initial acceptance rate of each class. The model's draft block is reported to be right in 60 to
/// 85 of 100 cases.
const AT_FIRST: [f64; SORTS] = [0.25, 0.4, 0.5, 0.6, 0.7, 0.6];
/// Initial estimate of the cost of a draft by the draft block, in steps.
const DRAFT_AT_FIRST: f64 = 0.1;
/// Interval of trial drafts, in steps, if the draft block is not worthwhile.
const TRIAL: usize = 64;
/// Initial estimate of the cost of each further token, in steps.
const COST_AT_FIRST: f64 = 0.1;
/// Weight of a new result in the acceptance rate of its class.
const PER_GUESS: f64 = 1.0 / 16.0;
/// Weight of the time of a step in the mean.
const PER_STEP: f64 = 1.0 / 8.0;
/// Weight of the time of several tokens in its mean: they are measured less often.
const PER_TRIAL: f64 = 1.0 / 4.0;
/// Weight of a change in the estimates for other numbers of tokens: a slowdown affects all of them.
const PER_OTHER: f64 = 1.0 / 8.0;
/// Limit of a measured time relative to the estimate, and of its inverse: another program may have
/// used the core.
const OUTLIER: f64 = 2.0;
/// Fraction by which each plain step lowers the estimated cost of further tokens.
const DOUBT: f64 = 1.0 / 1024.0;
/// Least estimate of the cost of further tokens, in steps.
const LEAST: f64 = 0.01;
/// Least gain over a plain step for drafts to be used: the measurements are noisy.
const WORTHWHILE: f64 = 1.05;

/// Evidence for a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Number of tokens in the text that agree.
    Text(usize),
    /// Draft block of the model.
    Model,
}

pub struct Pace {
    /// Seconds of a step; `None` before the first.
    step: Option<f64>,
    /// Cost of k more tokens beyond the first, in steps, `[k - 1]`. Never falls with k.
    costs: [f64; MOST],
    /// Acceptance rate of each class.
    odds: [f64; SORTS],
    /// Cost of a draft by the draft block, in steps.
    draft: f64,
    /// Steps since the draft block was last tried.
    declined: usize,
}

impl Default for Pace {
    fn default() -> Self {
        let costs = std::array::from_fn(|k| COST_AT_FIRST * (k + 1) as f64);
        Pace { step: None, costs, odds: AT_FIRST, draft: DRAFT_AT_FIRST, declined: 0 }
    }
}

impl Pace {
    /// Number of tokens, up to `most`, that the draft block should draft; the caller then runs it.
    pub fn draft_length(&mut self, most: usize) -> usize {
        let length = self.length(Reason::Model, most);
        self.declined = if length > 0 { 0 } else { self.declined + 1 };
        match self.declined {
            TRIAL.. => {
                self.declined = 0;
                most.min(1)
            }
            _ => length,
        }
    }

    /// Number of draft tokens, up to `most`, that should be computed with this evidence.
    pub fn length(&self, reason: Reason, most: usize) -> usize {
        if self.step.is_none() {
            return 0;
        }
        let p = self.odds[sort(reason)];
        let each = if reason == Reason::Model { self.draft } else { 0.0 };
        let (mut best, mut length) = (WORTHWHILE, 0);
        let (mut tokens, mut all_right) = (1.0, 1.0);
        for k in 1..=most.min(MOST) {
            all_right *= p;
            tokens += all_right;
            let gain = tokens / (1.0 + self.costs[k - 1] + each * k as f64);
            if gain > best {
                (best, length) = (gain, k);
            }
        }
        length
    }

    /// Records whether a draft token with this evidence was right.
    pub fn learn(&mut self, reason: Reason, right: bool) {
        let odds = &mut self.odds[sort(reason)];
        *odds += (f64::from(u8::from(right)) - *odds) * PER_GUESS;
    }

    /// Records the seconds for a token and `more` others, at most [`MOST`].
    pub fn took(&mut self, more: usize, seconds: f64) {
        match self.step {
            None if more == 0 => self.step = Some(seconds.max(f64::MIN_POSITIVE)),
            None => {}
            Some(step) if more == 0 => {
                let seconds = seconds.clamp(step / OUTLIER, step * OUTLIER);
                self.step = Some(step + (seconds - step) * PER_STEP);
                self.costs.iter_mut().for_each(|cost| *cost -= *cost * DOUBT);
            }
            Some(step) => self.cost(more, (seconds / step - 1.0).max(LEAST)),
        }
    }

    /// Records the seconds of the draft block for `count` drafts, which are not part of a step.
    pub fn drafted(&mut self, count: usize, seconds: f64) {
        let Some(step) = self.step.filter(|_| count > 0) else { return };
        let each = (seconds / step / count as f64).clamp(self.draft / OUTLIER, self.draft * OUTLIER);
        self.draft = (self.draft + (each - self.draft) * PER_TRIAL).max(LEAST);
    }

    fn cost(&mut self, more: usize, steps: f64) {
        let off = (steps / self.costs[more - 1]).clamp(1.0 / OUTLIER, OUTLIER) - 1.0;
        for (k, cost) in self.costs.iter_mut().enumerate() {
            *cost *= 1.0 + off * if k + 1 == more { PER_TRIAL } else { PER_OTHER };
            *cost = cost.max(LEAST);
        }
        let cost = self.costs[more - 1];
        self.costs[..more].iter_mut().for_each(|fewer| *fewer = fewer.min(cost));
        self.costs[more..].iter_mut().for_each(|more| *more = more.max(cost));
    }
}

fn sort(reason: Reason) -> usize {
    match reason {
        Reason::Text(0..=2) => 0,
        Reason::Text(3) => 1,
        Reason::Text(4..=5) => 2,
        Reason::Text(6..=9) => 3,
        Reason::Text(_) => 4,
        Reason::Model => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A simulated machine where `n` tokens at once take 1 + slope · (n - 1) steps, and drafts are
    /// accepted at a rate of `odds`.
    struct World {
        slope: f64,
        odds: f64,
        random: fastrand::Rng,
    }

    impl World {
        fn new(slope: f64, odds: f64) -> World {
            World { slope, odds, random: fastrand::Rng::with_seed(1) }
        }

        /// Runs `pace` for this many calls. Returns the number of drafted tokens, and tokens per
        /// second.
        fn run(&mut self, pace: &mut Pace, calls: usize) -> (usize, f64) {
            let (mut guessed, mut tokens, mut seconds) = (0, 0, 0.0);
            for _ in 0..calls {
                let length = pace.length(Reason::Text(4), MOST);
                // One draft token is checked even if none is computed.
                let right = (0..length.max(1)).take_while(|_| self.random.f64() < self.odds).count();
                (0..right).for_each(|_| pace.learn(Reason::Text(4), true));
                if right < length.max(1) {
                    pace.learn(Reason::Text(4), false);
                }
                let time = 0.01 * (1.0 + self.slope * length as f64);
                pace.took(length, time);
                (guessed, tokens, seconds) = (guessed + length, tokens + 1 + right.min(length), seconds + time);
            }
            (guessed, tokens as f64 / seconds)
        }
    }

    #[test]
    fn what_pays_is_done_and_what_does_not_is_left() {
        for (slope, odds, at_least, at_most) in [
            // Nearly free, nearly always right: the longest draft.
            (0.05, 0.98, 6.5, 7.0),
            // Each costs a step: only occasional trials.
            (1.0, 0.9, 0.0, 0.2),
            // Nearly never right, and not free.
            (0.3, 0.05, 0.0, 0.1),
            (0.1, 0.7, 2.0, 5.0),
        ] {
            let (mut world, mut pace) = (World::new(slope, odds), Pace::default());
            world.run(&mut pace, 500);
            let (guessed, speed) = world.run(&mut pace, 1000);
            let mean = guessed as f64 / 1000.0;
            assert!((at_least..=at_most).contains(&mean), "{slope} {odds}: {mean} at once");
            assert!(speed > 97.0, "{slope} {odds}: {speed} tokens a second, 100 without");
        }
    }

    #[test]
    fn it_comes_back_when_guesses_become_right_and_when_the_machine_becomes_fast() {
        let mut pace = Pace::default();
        World::new(0.1, 0.02).run(&mut pace, 500);
        assert_eq!(pace.length(Reason::Text(4), MOST), 0);
        World::new(0.1, 0.95).run(&mut pace, 50);
        assert!(pace.length(Reason::Text(4), MOST) > 2);
        World::new(1.5, 0.95).run(&mut pace, 500);
        let (while_slow, _) = World::new(1.5, 0.95).run(&mut pace, 1000);
        assert!((1..60).contains(&while_slow), "tried now and then: {while_slow}");
        World::new(0.1, 0.95).run(&mut pace, 2000);
        assert!(pace.length(Reason::Text(4), MOST) > 2);
    }

    #[test]
    fn sorts_are_told_apart_and_limits_are_kept() {
        let mut pace = Pace::default();
        assert_eq!(pace.length(Reason::Text(9), MOST), 0, "nothing is known of a step");
        pace.took(0, 0.01);
        (0..100).for_each(|_| pace.learn(Reason::Text(2), false));
        (0..100).for_each(|_| pace.learn(Reason::Text(20), true));
        for (agreeing, most, length) in [(2, 7, 0), (20, 99, MOST), (20, 2, 2), (20, 0, 0)] {
            assert_eq!(pace.length(Reason::Text(agreeing), most), length, "{agreeing} {most}");
        }
        for (more, seconds) in [(3, 1e9), (0, 0.0), (7, 1.0), (2, 0.0)] {
            pace.took(more, seconds);
        }
        assert!(pace.costs.is_sorted() && pace.costs.iter().all(|cost| cost.is_finite()));
    }

    /// Runs the draft block where `k` drafts cost `each · k` steps and are accepted at a rate of
    /// `odds`. Returns the number of drafts in the last half of the calls, and tokens per second
    /// where a plain step yields 100.
    fn run_drafts(pace: &mut Pace, each: f64, odds: f64) -> (usize, f64) {
        let mut random = fastrand::Rng::with_seed(2);
        let (mut made, mut tokens, mut seconds) = (0, 0, 0.0);
        for call in 0..3000 {
            let length = pace.draft_length(MOST);
            let right = (0..length).take_while(|_| random.f64() < odds).count();
            (0..length.min(right + 1)).for_each(|n| pace.learn(Reason::Model, n < right));
            pace.drafted(length, 0.01 * each * length as f64);
            pace.took(length, 0.01 * (1.0 + 0.1 * length as f64));
            if call >= 1500 {
                (made, tokens) = (made + length, tokens + 1 + right);
                seconds += 0.01 * (1.0 + (0.1 + each) * length as f64);
            }
        }
        (made, tokens as f64 / seconds)
    }

    #[test]
    fn what_drafting_costs_decides_whether_it_is_done() {
        for (each, odds, made, speed) in [
            (0.05, 0.9, 4000..=10500, 200.0..=400.0),
            (0.1, 0.7, 1500..=6000, 130.0..=250.0),
            // Too expensive, and too often wrong: one in 64 steps.
            (1.5, 0.9, 10..=40, 97.0..=101.0),
            (0.1, 0.05, 10..=40, 97.0..=101.0),
        ] {
            let (drafts, tokens) = run_drafts(&mut Pace::default(), each, odds);
            assert!(made.contains(&drafts) && speed.contains(&tokens), "{each} {odds}: {drafts} drafts, {tokens}/s");
        }
    }
}
