//! Rules for text with timestamps, as OpenAI's decoder applies them: a segment of text stands
//! between two timestamps, and time never goes back.

use std::ops::Range;

use crate::types::Ms;

/// Time between two timestamp tokens.
const STEP: Ms = Ms(20.0);
/// Latest start of the text, in steps: the first second of a window.
const LATEST_START: usize = 50;

/// Timestamp tokens of a vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct Timestamps {
    ids: Range<usize>,
    end_of_text: usize,
}

impl Timestamps {
    /// Makes the rules. `ids` are the tokens of 0 to 30 s; all tokens below `end_of_text` are text.
    pub fn new(ids: Range<usize>, end_of_text: usize) -> Self {
        Timestamps { ids, end_of_text }
    }

    pub fn is_timestamp(&self, id: i32) -> bool {
        self.ids.contains(&(id as usize))
    }

    /// Time of a timestamp token, from the start of the window.
    pub fn time(&self, id: i32) -> Option<Ms> {
        self.is_timestamp(id).then(|| Ms((id as usize - self.ids.start) as f64 * STEP.0))
    }

    /// Removes all timestamps from `logits`.
    pub fn forbid(&self, logits: &mut [f32]) {
        forbid(logits, self.ids.clone());
    }

    /// Removes from `logits` the tokens that must not follow `written`, in a sound that ends at
    /// `last`.
    pub fn constrain(&self, logits: &mut [f32], written: &[i32], last: Ms) {
        let Some(latest) = self.times(logits, last) else { return };
        let is_time = |back: usize| written.len().checked_sub(back).map(|at| self.is_timestamp(written[at]));
        let previous = written.iter().rev().find(|&&id| self.is_timestamp(id)).map(|&id| id as usize);
        match (is_time(1), is_time(2)) {
            // The text begins with a timestamp.
            (None, _) => {
                forbid(logits, 0..self.ids.start);
                forbid(logits, (self.ids.start + LATEST_START).min(latest)..self.ids.end);
            }
            // A segment begins: text follows.
            (Some(true), None | Some(true)) => forbid(logits, self.ids.clone()),
            // A segment has ended: the next begins, or the text ends.
            (Some(true), Some(false)) => forbid(logits, 0..self.end_of_text),
            (Some(false), _) => {}
        }
        if let Some(previous) = previous {
            // Only the start of the next segment may repeat a time.
            let earliest = if is_time(1) == Some(true) { previous } else { previous + 1 };
            forbid(logits, self.ids.start..earliest.max(self.ids.start));
        }
        self.prefer_time(logits);
    }

    /// Leaves only timestamps up to `last`. Returns the token behind them; `None` where `logits`
    /// are too few.
    fn times(&self, logits: &mut [f32], last: Ms) -> Option<usize> {
        let latest = self.ids.start + (last.0 / STEP.0) as usize + 1;
        logits.get(self.ids.clone())?;
        forbid(logits, latest.min(self.ids.end)..self.ids.end);
        Some(latest.min(self.ids.end))
    }

    /// Removes text tokens where all timestamps together are more probable than any one of them.
    fn prefer_time(&self, logits: &mut [f32]) {
        let highest = |logits: &[f32]| logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let (text, time) = (highest(&logits[..self.ids.start]), highest(&logits[self.ids.clone()]));
        if time == f32::NEG_INFINITY {
            return;
        }
        let all: f32 = logits[self.ids.clone()].iter().map(|logit| (logit - time).exp()).sum();
        if time + all.ln() > text {
            forbid(logits, 0..self.ids.start);
        }
    }
}

fn forbid(logits: &mut [f32], ids: Range<usize>) {
    if let Some(logits) = logits.get_mut(ids) {
        logits.fill(f32::NEG_INFINITY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: i32 = 4;
    /// Number of timestamp tokens, for 0 to 100 ms.
    const TIMES: i32 = 6;
    const SIZE: usize = 12;

    fn timestamps() -> Timestamps {
        Timestamps::new(TIMES as usize..SIZE, END as usize)
    }

    /// Tokens that may follow `written` when all are about as probable, text a little more.
    fn allowed(written: &[i32], last: f64) -> Vec<i32> {
        let mut logits: Vec<f32> = (0..SIZE).map(|id| if id < TIMES as usize { 9.0 } else { 0.0 }).collect();
        timestamps().constrain(&mut logits, written, Ms(last));
        (0..).zip(&logits).filter(|(_, logit)| logit.is_finite()).map(|(id, _)| id).collect()
    }

    #[test]
    fn segments_stand_between_rising_times() {
        for (written, last, expected) in [
            // The text begins with a timestamp, within the sound.
            (&[][..], 100.0, vec![6, 7, 8, 9, 10, 11]),
            (&[], 40.0, vec![6, 7, 8]),
            // Text follows the first timestamp.
            (&[7], 100.0, vec![0, 1, 2, 3, 4, 5]),
            // Within text anything but a timestamp that is not later.
            (&[7, 1], 100.0, vec![0, 1, 2, 3, 4, 5, 8, 9, 10, 11]),
            // After the end of a segment: its end again, a later timestamp, or the end of the text.
            (&[7, 1, 9], 100.0, vec![4, 5, 9, 10, 11]),
            (&[7, 1, 9, 9], 100.0, vec![0, 1, 2, 3, 4, 5]),
        ] {
            assert_eq!(allowed(written, last), expected, "{written:?} of {last} ms");
        }
    }

    #[test]
    fn times_are_due_when_together_they_are_likeliest() {
        let mut logits = vec![0.0; SIZE];
        timestamps().constrain(&mut logits, &[6, 1], Ms(100.0));
        assert!(logits[..TIMES as usize].iter().all(|logit| *logit == f32::NEG_INFINITY), "{logits:?}");
        assert!(logits[8..].iter().all(|logit| *logit == 0.0), "{logits:?}");
    }

    #[test]
    fn tokens_say_their_time() {
        let times = timestamps();
        assert_eq!((times.time(5), times.time(6), times.time(9)), (None, Some(Ms(0.0)), Some(Ms(60.0))));
        let mut short = vec![0.0; 3];
        times.constrain(&mut short, &[], Ms(1e9));
        assert_eq!(short, [0.0; 3]);
    }
}
