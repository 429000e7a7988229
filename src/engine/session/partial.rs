//! Schedule of partial transcripts: when the transcriber reads the sound so far while somebody
//! speaks, and when it stops.
//!
//! Partial transcripts serve the display, and the detection of words over an answer. The transcript
//! that counts is made when the voice pauses, and must never wait for a partial one. So a partial
//! transcription is cancelled at the first quiet frame, which comes before a pause is detected, or
//! when the transcriber gets other work. If the voice was only weak for a moment, it is started
//! again.

use crate::asr::Cancel;
use crate::types::{Ms, TurnId};

/// New speech between two partial transcripts, and before the first: two or three words.
const EVERY: Ms = Ms(1_000.0);
/// Wait after a partial transcription, as a multiple of its duration. With it partial transcripts
/// take at most a third of the transcriber's time, however slow it is.
const REST: f64 = 2.0;

/// State of the partial transcripts of the current utterance.
#[derive(Default)]
pub(super) struct PartialTranscription {
    followed: Option<(TurnId, Ms)>,
    reading: Option<Reading>,
    /// End of the sound that was already transcribed.
    read_to: Ms,
    rests_until: Ms,
}

/// Partial transcription that began at `since`, with the sound up to there.
struct Reading {
    cancel: Cancel,
    since: Ms,
}

impl PartialTranscription {
    /// Starts to follow an utterance whose speech began at `from`.
    pub(super) fn follow(&mut self, turn: TurnId, from: Ms) {
        self.followed = Some((turn, from));
    }

    /// Returns the utterance to transcribe now, and the start of its sound, if a partial transcript
    /// is due.
    pub(super) fn due(&self, now: Ms) -> Option<(TurnId, Ms)> {
        let (_, from) = self.followed.filter(|_| self.reading.is_none())?;
        let new = now.0 - from.0.max(self.read_to.0);
        self.followed.filter(|_| new >= EVERY.0 && now.0 >= self.rests_until.0)
    }

    /// Begins a partial transcription. The returned handle cancels it.
    pub(super) fn begin(&mut self, now: Ms) -> Cancel {
        let cancel = Cancel::default();
        self.reading = Some(Reading { cancel: cancel.clone(), since: now });
        cancel
    }

    /// Records that the transcript has arrived.
    pub(super) fn done(&mut self, now: Ms) {
        if let Some(reading) = self.rest(now) {
            self.read_to = reading.since;
        }
    }

    /// Cancels the running partial transcription to free the transcriber. Its sound still counts as
    /// not transcribed.
    pub(super) fn let_go(&mut self, now: Ms) {
        if let Some(reading) = self.rest(now) {
            reading.cancel.cancel();
        }
    }

    /// Stops following the utterance.
    pub(super) fn end(&mut self, now: Ms) {
        self.let_go(now);
        self.followed = None;
    }

    /// Stops following the utterance, whose sound up to `to` is transcribed elsewhere.
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

    /// Follows speech from 500 ms on for `length` ms, with transcriptions that each take `takes` ms
    /// and a voice that is weak at the times in `weak`. Returns when each transcription began and
    /// whether it finished.
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
            // Started again, with the sound that has arrived meanwhile.
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
