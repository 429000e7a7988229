//! How far ahead it pays to compute, by what was measured: what several tokens at once cost against
//! one, and how often guesses of the same worth came true.
//!
//! If each guess comes true with probability p, given that those before it did, k guesses bring 1 +
//! p + p² + … + pᵏ tokens (Leviathan, Kalman and Matias 2023, section 3.1) for the cost of k + 1 at
//! once. The k that brings most for its cost is taken, and none where that is not more than a step
//! brings.
//!
//! Guesses that were looked up are watched even where they are not computed, so what they are worth
//! is always known. Those of the model's own block cost time, which is counted; where they do not
//! pay, one is made now and then. What several tokens cost is only known from doing it: with each
//! plain step it is believed to be a little less, so that it is tried again when what slowed it
//! down may be over.

/// Most tokens that are guessed at once. With the one before them they are a tile of the matrix
/// kernels.
pub const MOST: usize = 7;

/// Guesses are of one sort for which 2, 3, 4 or 5, 6 to 9, 10 or more tokens speak, and of one
/// those of the model itself.
const SORTS: usize = 6;
/// How often a guess of each sort is believed to come true before any has been seen. The model's
/// own block is said to be right in 60 to 85 of 100 cases.
const AT_FIRST: [f64; SORTS] = [0.25, 0.4, 0.5, 0.6, 0.7, 0.6];
/// What a draft of the model's own block is believed to cost, in steps, before it is known.
const DRAFT_AT_FIRST: f64 = 0.1;
/// Where the model's own drafts do not pay, they are tried once in so many steps.
const TRIAL: usize = 64;
/// What each of several tokens is believed to cost beyond the first, in steps, before it is known.
const COST_AT_FIRST: f64 = 0.1;
/// What a guess changes in the belief about its sort.
const PER_GUESS: f64 = 1.0 / 16.0;
/// What the time of a step changes in the mean.
const PER_STEP: f64 = 1.0 / 8.0;
/// What the time of several at once changes in theirs: they are measured less often.
const PER_TRIAL: f64 = 1.0 / 4.0;
/// What it changes in that of other numbers: what slows down one slows down the others.
const PER_OTHER: f64 = 1.0 / 8.0;
/// A time counts as no more than so many times what was expected, and no less than its inverse:
/// another program may have had the core.
const OUTLIER: f64 = 2.0;
/// What each plain step takes of what several at once are believed to cost beyond one.
const DOUBT: f64 = 1.0 / 1024.0;
/// Several at once are never believed to cost less beyond one, in steps.
const LEAST: f64 = 0.01;
/// Guessing must bring so much more than a step: the measures are noisy.
const WORTHWHILE: f64 = 1.05;

/// What speaks for a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// So many tokens of the text.
    Text(usize),
    /// The model's own block that drafts.
    Model,
}

pub struct Pace {
    /// Seconds of a step; `None` before the first.
    step: Option<f64>,
    /// `[k - 1]`: what k more tokens cost beyond the one, in steps. Never falls with k.
    costs: [f64; MOST],
    /// How often guesses come true.
    odds: [f64; SORTS],
    /// What a draft of the model's own block costs, in steps.
    draft: f64,
    /// Steps since the model's own drafts were tried.
    declined: usize,
}

impl Default for Pace {
    fn default() -> Self {
        let costs = std::array::from_fn(|k| COST_AT_FIRST * (k + 1) as f64);
        Pace { step: None, costs, odds: AT_FIRST, draft: DRAFT_AT_FIRST, declined: 0 }
    }
}

impl Pace {
    /// How many of `most` tokens should be drafted by the model's own block, which is then to be
    /// done.
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

    /// How many of `most` tokens should be guessed for which `reason` speaks.
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

    /// A guess for which `reason` spoke was right or wrong.
    pub fn learn(&mut self, reason: Reason, right: bool) {
        let odds = &mut self.odds[sort(reason)];
        *odds += (f64::from(u8::from(right)) - *odds) * PER_GUESS;
    }

    /// A token and `more` beside it, at most [`MOST`], took so many seconds.
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

    /// The model's own block took so many seconds for `count` drafts, which are not part of a step.
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

    /// A machine on which `n` tokens at once take 1 + slope · (n - 1) steps, and guesses come true
    /// `odds` of the time.
    struct World {
        slope: f64,
        odds: f64,
        random: fastrand::Rng,
    }

    impl World {
        fn new(slope: f64, odds: f64) -> World {
            World { slope, odds, random: fastrand::Rng::with_seed(1) }
        }

        /// Runs `pace` for so many calls. Returns how many tokens were guessed, and tokens per
        /// second.
        fn run(&mut self, pace: &mut Pace, calls: usize) -> (usize, f64) {
            let (mut guessed, mut tokens, mut seconds) = (0, 0, 0.0);
            for _ in 0..calls {
                let length = pace.length(Reason::Text(4), MOST);
                // One guess is watched where none is computed.
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
            // Nearly free, nearly always right: as much as there is.
            (0.05, 0.98, 6.5, 7.0),
            // Each costs a step: now and then, to see whether it still does.
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

    /// Runs the model's own drafts where `k` of them cost `each · k` steps and come true `odds` of
    /// the time. Returns how many were made in the last half of the calls, and tokens per second
    /// where a step brings 100.
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
            // Too dear, and too often wrong: one in 64 steps.
            (1.5, 0.9, 10..=40, 97.0..=101.0),
            (0.1, 0.05, 10..=40, 97.0..=101.0),
        ] {
            let (drafts, tokens) = run_drafts(&mut Pace::default(), each, odds);
            assert!(made.contains(&drafts) && speed.contains(&tokens), "{each} {odds}: {drafts} drafts, {tokens}/s");
        }
    }
}
