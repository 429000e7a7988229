//! Where the time of a forward goes, by kind of work.

use std::time::{Duration, Instant};

/// The kinds of work of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The matrices of the mixers: queries, keys, values, gates, output.
    Projections,
    /// Convolution and recurrence of the DeltaNet layers.
    Delta,
    /// Norms of heads, rotation, keys and values, and looking back over them.
    Attention,
    /// The feed-forward network with its norm.
    FeedForward,
    /// Norm and head: the logits.
    Head,
    /// Rows of the embedding, norms before the mixers, the residual stream, bookkeeping.
    Other,
}

impl Part {
    pub const ALL: [Part; 6] =
        [Part::Projections, Part::Delta, Part::Attention, Part::FeedForward, Part::Head, Part::Other];

    pub fn name(self) -> &'static str {
        match self {
            Part::Projections => "projections",
            Part::Delta => "conv+delta",
            Part::Attention => "attention",
            Part::FeedForward => "mlp",
            Part::Head => "head",
            Part::Other => "other",
        }
    }
}

/// Time by kind of work: a stopwatch that the model marks as it goes. Until it is started a mark costs one branch.
#[derive(Debug, Default)]
pub(super) struct Profile {
    /// The end of the work that was marked last; `None` while nobody asks.
    since: Option<Instant>,
    spent: [Duration; Part::ALL.len()],
}

impl Profile {
    pub fn start(&mut self) {
        *self = Profile { since: Some(Instant::now()), ..Profile::default() };
    }

    /// What was spent on each of [`Part::ALL`] since the start. It stops.
    pub fn stop(&mut self) -> [Duration; Part::ALL.len()] {
        std::mem::take(self).spent
    }

    /// What the model does begins now: the time since the last mark was another's.
    pub fn begin(&mut self) {
        if let Some(since) = &mut self.since {
            *since = Instant::now();
        }
    }

    /// The work since the last mark was `part`.
    pub fn mark(&mut self, part: Part) {
        if let Some(since) = &mut self.since {
            let now = Instant::now();
            self.spent[part as usize] += now - *since;
            *since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_its_own_place_and_an_idle_watch_counts_nothing() {
        for (n, part) in Part::ALL.into_iter().enumerate() {
            assert_eq!(part as usize, n, "{}", part.name());
        }
        let mut profile = Profile::default();
        profile.mark(Part::Head);
        assert_eq!(profile.stop(), [Duration::ZERO; 6]);
        profile.start();
        std::thread::sleep(Duration::from_millis(2));
        profile.begin();
        profile.mark(Part::Delta);
        std::thread::sleep(Duration::from_millis(2));
        profile.mark(Part::Head);
        let spent = profile.stop();
        assert!(spent[Part::Head as usize] >= Duration::from_millis(2), "{spent:?}");
        assert_eq!(spent[Part::Attention as usize], Duration::ZERO);
        profile.mark(Part::Head);
        assert_eq!(profile.stop(), [Duration::ZERO; 6], "it was stopped");
    }
}
