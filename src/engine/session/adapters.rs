//! Conversions of transcripts and of the plan to the types of the turn machine.

use crate::asr;
use crate::config::{self, Plan};
use crate::turn::{BargeIn, EndOfTurn, TurnSettings, TurnTranscript, TurnVerdict, TurnWeights};

/// A transcript, for the machine.
pub(super) fn words(transcript: &asr::Transcript) -> TurnTranscript {
    let verdict = match transcript.verdict {
        asr::Verdict::Certain => TurnVerdict::Certain,
        asr::Verdict::Doubtful(_) => TurnVerdict::Doubtful,
        asr::Verdict::Nothing(_) => TurnVerdict::Nothing,
    };
    TurnTranscript {
        text: transcript.text.trim().to_owned(),
        language: transcript.language.clone(),
        verdict,
        ending: transcript.ending,
    }
}

/// How the plan wants the conversation to behave, where it has a name or none, and weights that
/// were fitted to its models or none.
pub(super) fn turn_settings(plan: &Plan, wake_word: bool, weights: Option<TurnWeights>) -> TurnSettings {
    let (usual, turn) = (TurnSettings::default(), &plan.turn);
    TurnSettings {
        end: EndOfTurn {
            likely_silence: if weights.is_some() { turn.likely_silence } else { turn.possible_silence },
            possible_silence: turn.possible_silence,
            unlikely_silence: turn.unlikely_silence,
            incomplete_silence: turn.incomplete_silence,
            ..usual.end
        },
        weights: weights.unwrap_or(usual.weights),
        use_sentence_end: true,
        longest_turn: plan.detect.max_turn,
        barge_in: match turn.barge_in {
            config::BargeInMode::On => BargeIn::On,
            config::BargeInMode::Stop => BargeIn::Stop,
            config::BargeInMode::Off => BargeIn::Off,
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
        let fitted = end(Some(TurnWeights::default()));
        assert_eq!((fitted.likely_silence, fitted.possible_silence), (Ms(510.0), Ms(800.0)));
        let unfitted = end(None);
        assert_eq!((unfitted.likely_silence, unfitted.incomplete_silence), (Ms(800.0), fitted.incomplete_silence));
    }
}
