//! Time of a forward pass by kind of work.

use std::time::{Duration, Instant};

/// The kinds of work of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfilePart {
    /// The matrices of the mixers: queries, keys, values, gates, output.
    Projections,
    /// Convolution and recurrence of the DeltaNet layers.
    DeltaNetLayer,
    /// Norms of heads, rotary embedding, KV cache updates, and attention over the cache.
    Attention,
    /// The feed-forward network with its norm.
    FeedForward,
    /// The final norm and the head: the logits.
    Head,
    /// Rows of the embedding, norms before the mixers, the residual stream, bookkeeping.
    Other,
}

impl ProfilePart {
    pub const ALL: [ProfilePart; 6] = [
        ProfilePart::Projections,
        ProfilePart::DeltaNetLayer,
        ProfilePart::Attention,
        ProfilePart::FeedForward,
        ProfilePart::Head,
        ProfilePart::Other,
    ];

    pub fn name(self) -> &'static str {
        match self {
            ProfilePart::Projections => "projections",
            ProfilePart::DeltaNetLayer => "conv+delta",
            ProfilePart::Attention => "attention",
            ProfilePart::FeedForward => "mlp",
            ProfilePart::Head => "head",
            ProfilePart::Other => "other",
        }
    }
}

/// Time by kind of work: a stopwatch that the model marks at each change of work. While it is
/// stopped a mark costs one branch.
#[derive(Debug, Default)]
pub(super) struct OperationProfile {
    /// Time of the last mark; `None` while it is stopped.
    since: Option<Instant>,
    spent: [Duration; ProfilePart::ALL.len()],
}

impl OperationProfile {
    pub fn start(&mut self) {
        *self = OperationProfile { since: Some(Instant::now()), ..OperationProfile::default() };
    }

    /// Stops and returns the time of each of [`ProfilePart::ALL`] since the start.
    pub fn stop(&mut self) -> [Duration; ProfilePart::ALL.len()] {
        std::mem::take(self).spent
    }

    /// Begins the model's work: the time since the last mark is not counted.
    pub fn begin(&mut self) {
        if let Some(since) = &mut self.since {
            *since = Instant::now();
        }
    }

    /// Counts the time since the last mark as `part`.
    pub fn mark(&mut self, part: ProfilePart) {
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
        for (n, part) in ProfilePart::ALL.into_iter().enumerate() {
            assert_eq!(part as usize, n, "{}", part.name());
        }
        let mut profile = OperationProfile::default();
        profile.mark(ProfilePart::Head);
        assert_eq!(profile.stop(), [Duration::ZERO; 6]);
        profile.start();
        std::thread::sleep(Duration::from_millis(2));
        profile.begin();
        profile.mark(ProfilePart::DeltaNetLayer);
        std::thread::sleep(Duration::from_millis(2));
        profile.mark(ProfilePart::Head);
        let spent = profile.stop();
        assert!(spent[ProfilePart::Head as usize] >= Duration::from_millis(2), "{spent:?}");
        assert_eq!(spent[ProfilePart::Attention as usize], Duration::ZERO);
        profile.mark(ProfilePart::Head);
        assert_eq!(profile.stop(), [Duration::ZERO; 6], "it was stopped");
    }
}
