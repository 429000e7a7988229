//! What transcriber and plan say, in the terms of the turn machine.

use crate::asr;
use crate::config::{self, Plan};
use crate::turn::{BargeIn, EndOfTurn, TurnSettings, TurnTranscript, TurnVerdict};

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

/// How the plan wants the conversation to behave, where it has a name or none.
pub(super) fn turn_settings(plan: &Plan, wake_word: bool) -> TurnSettings {
    let (usual, turn) = (TurnSettings::default(), &plan.turn);
    TurnSettings {
        end: EndOfTurn {
            short: turn.likely_silence,
            middle: turn.possible_silence,
            long: turn.unlikely_silence,
            hanging: turn.incomplete_silence,
            ..usual.end
        },
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
