//! The pause about which the judge is asked: when it is, and whether it has answered.

use crate::pipeline::stage::PresentTurn;
use crate::types::{Ms, TurnId};

/// Silence that the judge hears behind the speech. Asked at 96 to 160 ms Smart Turn told the ends
/// and pauses of 97 recordings from each other a little better than later (area under the curve
/// 0.88; 0.86 at 200 ms, 0.85 at 400), and by now the recogniser has had both cores to itself.
const JUDGED_SILENCE: Ms = Ms(160.0);

/// A turn, and from where to where its speech goes.
pub(super) type Speech = (TurnId, Ms, Ms);

#[derive(Default)]
pub(super) struct Judging {
    /// What the judge is still to be asked about.
    waits: Option<Speech>,
    /// What it was asked about and has not answered.
    asked: Option<TurnId>,
}

impl Judging {
    /// The voice has paused.
    pub(super) fn pause(&mut self, speech: Speech) {
        *self = Judging { waits: Some(speech), asked: None };
    }

    /// Takes the speech that is to be judged now: there is silence enough behind it, and its turn
    /// is the present one.
    pub(super) fn take_due(&mut self, present: &PresentTurn, now: Ms) -> Option<Speech> {
        let due = self.waits.take_if(|(.., to)| now.0 >= to.0 + JUDGED_SILENCE.0);
        due.filter(|(turn, ..)| present.is(*turn)).inspect(|(turn, ..)| self.asked = Some(*turn))
    }

    /// The judge has answered about a turn.
    pub(super) fn end(&mut self, turn: TurnId) {
        self.asked.take_if(|asked| *asked == turn);
    }

    /// Whether the answer about the present turn is still to come.
    pub(super) fn is_awaited(&self, present: &PresentTurn) -> bool {
        self.asked.is_some_and(|turn| present.is(turn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_judged_once_while_its_turn_is_present() {
        let (present, mut judging) = (PresentTurn::default(), Judging::default());
        let turn = present.advance();
        let speech = (turn, Ms(0.0), Ms(1_000.0));
        judging.pause(speech);
        assert_eq!(judging.take_due(&present, Ms(1_159.0)), None);
        assert!(!judging.is_awaited(&present));
        assert_eq!(judging.take_due(&present, Ms(1_160.0)), Some(speech));
        assert_eq!(judging.take_due(&present, Ms(1_170.0)), None);
        assert!(judging.is_awaited(&present));
        judging.end(TurnId(turn.0 - 1));
        assert!(judging.is_awaited(&present));
        judging.end(turn);
        assert!(!judging.is_awaited(&present));
        judging.pause(speech);
        present.advance();
        assert_eq!(judging.take_due(&present, Ms(2_000.0)), None);
        assert!(!judging.is_awaited(&present));
    }
}
