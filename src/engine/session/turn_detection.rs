//! Schedule of the turn detector: the pause that it is to score, and whether it has.

use crate::engine::work::CurrentTurn;
use crate::types::{Ms, TurnId};

/// Silence behind the speech that the turn detector is given. Asked at 96 to 160 ms Smart Turn told
/// the ends and pauses of 97 recordings from each other a little better than later (area under the
/// curve 0.88; 0.86 at 200 ms, 0.85 at 400), and by now the transcriber has had both cores to
/// itself.
const SCORED_SILENCE: Ms = Ms(160.0);

/// Turn, and where its speech begins and ends.
pub(super) type PausedSpeech = (TurnId, Ms, Ms);

#[derive(Default)]
pub(super) struct PendingDetection {
    /// Pause that is still to be scored.
    waits: Option<PausedSpeech>,
    /// Turn whose score is still to come.
    asked: Option<TurnId>,
}

impl PendingDetection {
    /// Begins a pause.
    pub(super) fn pause(&mut self, speech: PausedSpeech) {
        *self = PendingDetection { waits: Some(speech), asked: None };
    }

    /// Takes the speech to be scored now: enough silence follows it, and its turn is current.
    pub(super) fn take_due(&mut self, present: &CurrentTurn, now: Ms) -> Option<PausedSpeech> {
        let due = self.waits.take_if(|(.., to)| now.0 >= to.0 + SCORED_SILENCE.0);
        due.filter(|(turn, ..)| present.is(*turn)).inspect(|(turn, ..)| self.asked = Some(*turn))
    }

    /// Takes note of the score of a turn.
    pub(super) fn end(&mut self, turn: TurnId) {
        self.asked.take_if(|asked| *asked == turn);
    }

    /// Whether the score of the current turn is still to come.
    pub(super) fn is_awaited(&self, present: &CurrentTurn) -> bool {
        self.asked.is_some_and(|turn| present.is(turn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_scored_once_while_its_turn_is_current() {
        let (present, mut detection) = (CurrentTurn::default(), PendingDetection::default());
        let turn = TurnId(1);
        present.set(turn);
        let speech = (turn, Ms(0.0), Ms(1_000.0));
        detection.pause(speech);
        assert_eq!(detection.take_due(&present, Ms(1_159.0)), None);
        assert!(!detection.is_awaited(&present));
        assert_eq!(detection.take_due(&present, Ms(1_160.0)), Some(speech));
        assert_eq!(detection.take_due(&present, Ms(1_170.0)), None);
        assert!(detection.is_awaited(&present));
        detection.end(TurnId(turn.0 - 1));
        assert!(detection.is_awaited(&present));
        detection.end(turn);
        assert!(!detection.is_awaited(&present));
        detection.pause(speech);
        present.set(TurnId(2));
        assert_eq!(detection.take_due(&present, Ms(2_000.0)), None);
        assert!(!detection.is_awaited(&present));
    }
}
