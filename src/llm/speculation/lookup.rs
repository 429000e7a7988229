//! Drafts by lookup in the text so far: the tokens that followed an earlier occurrence of the last
//! few tokens.
//!
//! Occurrences are found through hash chains as in DEFLATE (RFC 1951, section 4): each pair of
//! tokens links to its last occurrence, and from there to the one before. The cost per token does
//! not depend on the length of the text.

use super::Drafter;

/// Fewest tokens that must agree; one alone is too weak as evidence.
const PAIR: usize = 2;
/// Limit of occurrences that are compared.
const PLACES: usize = 16;
/// Limit of agreement in tokens; longer agreement is not counted.
const LONGEST: usize = 32;
const NONE: u32 = u32::MAX;

/// An index over a growing sequence of tokens.
pub struct Lookup {
    tokens: Vec<u32>,
    /// Last occurrence for each hash of a pair: the index of its second token.
    last: Vec<u32>,
    /// For each token, the previous occurrence of a pair with the same hash.
    before: Vec<u32>,
}

impl Lookup {
    /// Creates an index for texts of up to `most` tokens.
    pub fn new(most: usize) -> Self {
        Lookup { tokens: Vec::with_capacity(most), last: vec![NONE; buckets(most)], before: Vec::with_capacity(most) }
    }

    /// Bytes that [`Lookup::new`] takes.
    pub fn planned_bytes(most: usize) -> usize {
        (2 * most + buckets(most)) * size_of::<u32>()
    }

    /// Removes the tokens after the first `len`.
    fn truncate(&mut self, len: usize) {
        while self.tokens.len() > len {
            let place = self.tokens.len() - 1;
            if let (Some(bucket), Some(&before)) = (self.bucket(place), self.before.last()) {
                self.last[bucket] = before;
            }
            self.before.pop();
            self.tokens.pop();
        }
    }

    /// Number of tokens before and at `place` that equal those at the end of the text.
    fn agreeing(&self, place: usize) -> usize {
        let end = self.tokens.iter().rev();
        end.zip(self.tokens[..=place].iter().rev()).take(LONGEST).take_while(|(a, b)| a == b).count()
    }

    /// Hash bucket of the pair that ends at `place`.
    fn bucket(&self, place: usize) -> Option<usize> {
        let first = self.tokens[place.checked_sub(1)?];
        let pair = u64::from(first) << 32 | u64::from(self.tokens[place]);
        // Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4): the upper bits of a
        // product.
        let hash = pair.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        Some(hash as usize & (self.last.len() - 1))
    }
}

impl Drafter for Lookup {
    fn follow(&mut self, tokens: &[u32]) {
        let known = self.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        self.truncate(known);
        tokens[known..].iter().for_each(|&token| self.push(token));
    }

    fn push(&mut self, token: u32) {
        let place = self.tokens.len();
        self.tokens.push(token);
        let before = match self.bucket(place) {
            Some(bucket) => std::mem::replace(&mut self.last[bucket], place as u32),
            None => NONE,
        };
        self.before.push(before);
    }

    /// Drafts from the occurrence with the longest agreement; of several, the newest.
    fn propose(&self, most: usize, draft: &mut Vec<u32>) -> usize {
        draft.clear();
        let mut best = (0, 0);
        let mut place = self.before.last().copied().unwrap_or(NONE);
        for _ in 0..PLACES {
            if place == NONE {
                break;
            }
            let agreeing = self.agreeing(place as usize);
            if agreeing > best.0 {
                best = (agreeing, place as usize);
            }
            place = self.before[place as usize];
        }
        let (agreeing, place) = best;
        // Different pairs may have the same hash.
        if agreeing < PAIR {
            return 0;
        }
        // If the occurrence is so near that its continuation reaches the end of the text, the
        // continuation repeats.
        let period = self.tokens.len() - 1 - place;
        draft.extend((0..most).map(|i| self.tokens[place + 1 + i % period]));
        agreeing
    }
}

fn buckets(most: usize) -> usize {
    most.clamp(1 << 8, 1 << 16).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &[u32]) -> Lookup {
        let mut lookup = Lookup::new(text.len());
        lookup.follow(text);
        lookup
    }

    #[test]
    fn what_followed_the_longest_agreement_is_proposed() {
        let table: &[(&[u32], usize, &[u32], usize)] = &[
            (&[], 4, &[], 0),
            (&[1], 4, &[], 0),
            (&[1, 2, 3, 4], 4, &[], 0),
            // One agreeing token is too few.
            (&[1, 2, 3, 2], 4, &[], 0),
            (&[1, 2, 3, 4, 1, 2], 2, &[3, 4], 2),
            (&[1, 2, 3, 4, 1, 2], 9, &[3, 4, 1, 2, 3, 4, 1, 2, 3], 2),
            // The longer agreement is older than the shorter one.
            (&[7, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2], 1, &[3], 3),
            // Of equal ones the newest counts.
            (&[1, 2, 3, 1, 2, 4, 1, 2], 1, &[4], 2),
            (&[5, 5, 5, 5], 3, &[5, 5, 5], 3),
            (&[1, 2, 1, 2, 1], 4, &[2, 1, 2, 1], 3),
        ];
        for &(text, most, wanted, agreeing) in table {
            let mut draft = vec![99];
            assert_eq!((of(text).propose(most, &mut draft), &draft[..]), (agreeing, wanted), "{text:?}");
        }
    }

    #[test]
    fn a_text_that_went_another_way_leaves_no_trace() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut lookup = Lookup::new(400);
        let mut text: Vec<u32> = Vec::new();
        for _ in 0..300 {
            text.truncate(random.usize(0..=text.len()));
            text.extend((0..random.usize(0..40)).map(|_| random.u32(0..6)));
            text.truncate(400);
            lookup.follow(&text);
            let mut fresh = Lookup::new(400);
            fresh.follow(&text);
            assert_eq!((&lookup.tokens, &lookup.before), (&fresh.tokens, &fresh.before));
            let (mut a, mut b) = (Vec::new(), Vec::new());
            assert_eq!((lookup.propose(5, &mut a), &a), (fresh.propose(5, &mut b), &b));
        }
    }
}
