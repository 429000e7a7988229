//! What recogniser and plan say, in the terms of the turn machine.

use crate::asr;
use crate::config::{self, Plan};
use crate::turn::{BargeIn, EndOfTurn, Transcript, TurnSettings, Verdict, Weights};

/// A transcript, for the machine.
pub(super) fn words(transcript: &asr::Transcript) -> Transcript {
    let verdict = match transcript.verdict {
        asr::Verdict::Certain => Verdict::Certain,
        asr::Verdict::Doubtful(_) => Verdict::Doubtful,
        asr::Verdict::Nothing(_) => Verdict::Nothing,
    };
    Transcript {
        text: transcript.text.trim().to_owned(),
        language: transcript.language.clone(),
        verdict,
        ending: transcript.ending,
    }
}

/// How the plan wants the conversation to behave, where it has a name or none, and weights that
/// were fitted to its models or none.
pub(super) fn turn_settings(plan: &Plan, wake_word: bool, weights: Option<Weights>) -> TurnSettings {
    let (usual, turn) = (TurnSettings::default(), &plan.turn);
    TurnSettings {
        end: EndOfTurn {
            short: if weights.is_some() { turn.short_silence } else { turn.middle_silence },
            middle: turn.middle_silence,
            long: turn.long_silence,
            hanging: turn.hanging_silence,
            ..usual.end
        },
        weights: weights.unwrap_or(usual.weights),
        weigh_words: true,
        longest_turn: plan.hear.max_turn,
        barge_in: match turn.barge_in {
            config::BargeIn::On => BargeIn::On,
            config::BargeIn::Stop => BargeIn::Stop,
            config::BargeIn::Off => BargeIn::Off,
        },
        wake_word,
        wake_window: turn.wake_window,
        follow_up: turn.follow_up,
        chime_after: usual.chime_after.filter(|_| turn.earcons),
        ..usual
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Ms;

    #[test]
    fn without_weights_of_its_models_no_turn_ends_soon() {
        let plan = config::load(&config::Sources { cores: 1, ..Default::default() }).unwrap().plan;
        let end = |weights| turn_settings(&plan, false, weights).end;
        let fitted = end(Some(Weights::default()));
        assert_eq!((fitted.short, fitted.middle), (Ms(510.0), Ms(800.0)));
        let unfitted = end(None);
        assert_eq!((unfitted.short, unfitted.hanging), (Ms(800.0), fitted.hanging));
    }
}
