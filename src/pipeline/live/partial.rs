//! Reading along: when the transcriber looks at the sound so far while somebody speaks, and when it
//! lets go of it.
//!
//! What is read along is for the eye, and for words over an answer. What counts is read when the
//! voice pauses, and must never wait for it: so a reading ends with the first quiet frame, which
//! comes before a pause is one, or when anything else is asked of the transcriber. Where the voice
//! was only weak for a moment, it is begun again.

use crate::asr::Cancel;
use crate::types::{Ms, TurnId};

/// New speech from one reading to the next, and before the first: two or three words.
const EVERY: Ms = Ms(1_000.0);
/// So many times as long as a reading took is none: it has a third of the transcriber's time at
/// most, however slow that is.
const REST: f64 = 2.0;

/// Who is followed, and what is read of it.
#[derive(Default)]
pub(super) struct PartialTranscription {
    followed: Option<(TurnId, Ms)>,
    reading: Option<Reading>,
    /// Up to which moment sound was read.
    read_to: Ms,
    rests_until: Ms,
}

/// The transcriber is at it since `since`, with the sound up to there.
struct Reading {
    cancel: Cancel,
    since: Ms,
}

impl PartialTranscription {
    /// Somebody speaks since `from`.
    pub(super) fn follow(&mut self, turn: TurnId, from: Ms) {
        self.followed = Some((turn, from));
    }

    /// The utterance of which the sound from that moment on is to be read now.
    pub(super) fn due(&self, now: Ms) -> Option<(TurnId, Ms)> {
        let (_, from) = self.followed.filter(|_| self.reading.is_none())?;
        let new = now.0 - from.0.max(self.read_to.0);
        self.followed.filter(|_| new >= EVERY.0 && now.0 >= self.rests_until.0)
    }

    /// It is read; this stops it.
    pub(super) fn begin(&mut self, now: Ms) -> Cancel {
        let cancel = Cancel::default();
        self.reading = Some(Reading { cancel: cancel.clone(), since: now });
        cancel
    }

    /// Its words have come.
    pub(super) fn done(&mut self, now: Ms) {
        if let Some(reading) = self.rest(now) {
            self.read_to = reading.since;
        }
    }

    /// The transcriber is to be free at once. What was being read is still to be read.
    pub(super) fn let_go(&mut self, now: Ms) {
        if let Some(reading) = self.rest(now) {
            reading.cancel.cancel();
        }
    }

    /// Nobody is followed any more.
    pub(super) fn end(&mut self, now: Ms) {
        self.let_go(now);
        self.followed = None;
    }

    /// The sound up to `to` is read otherwise.
    pub(super) fn end_at(&mut self, to: Ms, now: Ms) {
        self.end(now);
        self.read_to = to;
    }

    fn rest(&mut self, now: Ms) -> Option<Reading> {
        let reading = self.reading.take()?;
        self.rests_until = Ms(now.0 + REST * (now.0 - reading.since.0));
        Some(reading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows from the moment 500 on for so long, by readings that each take so long; the voice is
    /// weak in `weak`. When readings begin, and whether each came to its end.
    fn followed(length: u32, takes: f64, weak: &[f64]) -> Vec<(f64, bool)> {
        let (mut partial, mut readings): (PartialTranscription, Vec<(f64, bool)>) = Default::default();
        partial.follow(TurnId(1), Ms(500.0));
        for now in (700..500 + length).step_by(10).map(f64::from) {
            if partial.reading.as_ref().is_some_and(|reading| now - reading.since.0 >= takes) {
                partial.done(Ms(now));
                readings.last_mut().unwrap().1 = true;
            }
            if weak.contains(&now) {
                partial.let_go(Ms(now));
            } else if let Some(due) = partial.due(Ms(now)) {
                assert_eq!(due, (TurnId(1), Ms(500.0)));
                let _cancel = partial.begin(Ms(now));
                readings.push((now, false));
            }
        }
        readings
    }

    #[test]
    fn a_reading_is_due_with_each_second_of_speech_and_rests_twice_as_long_as_it_took() {
        for (length, takes, weak, expected) in [
            (1_000, 100.0, &[][..], &[][..]),
            (3_200, 100.0, &[], &[(1_500.0, true), (2_500.0, true), (3_500.0, true)]),
            (4_600, 500.0, &[], &[(1_500.0, true), (3_000.0, true), (4_500.0, true)]),
            (3_500, 9_000.0, &[], &[(1_500.0, false)]),
            // Begun again, with the sound that has come meanwhile.
            (2_000, 200.0, &[1_600.0], &[(1_500.0, false), (1_800.0, true)]),
            (2_000, 200.0, &[1_510.0, 1_540.0], &[(1_500.0, false), (1_530.0, false), (1_560.0, true)]),
        ] {
            assert_eq!(followed(length, takes, weak), expected, "{length} ms, each {takes} ms");
        }
    }

    #[test]
    fn what_was_read_otherwise_is_no_new_speech() {
        let mut partial = PartialTranscription::default();
        assert_eq!(partial.due(Ms(9_000.0)), None, "nobody is followed");
        partial.follow(TurnId(1), Ms(500.0));
        let cancel = partial.begin(Ms(2_000.0));
        partial.end_at(Ms(2_050.0), Ms(2_100.0));
        assert!(cancel.is_cancelled() && partial.due(Ms(9_000.0)).is_none());
        partial.follow(TurnId(2), Ms(500.0));
        assert_eq!((partial.due(Ms(3_000.0)), partial.due(Ms(3_050.0))), (None, Some((TurnId(2), Ms(500.0)))));
        // Another utterance.
        partial.end(Ms(3_100.0));
        partial.follow(TurnId(3), Ms(6_000.0));
        assert_eq!((partial.due(Ms(6_900.0)), partial.due(Ms(7_000.0))), (None, Some((TurnId(3), Ms(6_000.0)))));
    }
}
