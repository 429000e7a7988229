//! The latency of one turn, stage by stage, measured from the last speech sample.

use std::fmt;

use serde::Serialize;

use super::milestone::Milestone;
use crate::types::Ms;

/// Milliseconds from the last speech sample to each stage; negative where a stage ran ahead of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Timings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn_end: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcript: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_sentence: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_pcm: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_audio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_token: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<f64>,
}

impl Timings {
    /// Computes the timings from the milestones of one turn. The first of each kind counts. `None`
    /// without a last speech sample, from which they are measured.
    pub fn from_milestones(milestones: &[(Milestone, Ms)]) -> Option<Timings> {
        let (_, zero) = milestones.iter().find(|(milestone, _)| *milestone == Milestone::LastSpeechSample)?;
        let mut timings = Timings::default();
        for (milestone, at) in milestones {
            let slot = match milestone {
                Milestone::LastSpeechSample => continue,
                Milestone::TurnDecided => &mut timings.turn_end,
                Milestone::Transcript => &mut timings.transcript,
                Milestone::FirstToken => &mut timings.first_token,
                Milestone::FirstSentence => &mut timings.first_sentence,
                Milestone::FirstSound => &mut timings.first_pcm,
                Milestone::FirstAudible => &mut timings.first_audio,
                Milestone::LastToken => &mut timings.last_token,
                Milestone::Done => &mut timings.done,
            };
            slot.get_or_insert(((at.0 - zero.0) * 10.0).round() / 10.0);
        }
        Some(timings)
    }

    fn rows(&self) -> [(&'static str, Option<f64>); 8] {
        [
            ("turn decided", self.turn_end),
            ("transcript", self.transcript),
            ("first token", self.first_token),
            ("first sentence", self.first_sentence),
            ("first sound made", self.first_pcm),
            ("first sound heard", self.first_audio),
            ("last token", self.last_token),
            ("answer complete", self.done),
        ]
    }
}

/// Chart of the timings for a person.
pub struct Waterfall<'a>(pub &'a Timings);

impl fmt::Display for Waterfall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WIDTH: f64 = 40.0;
        writeln!(f, "  {:<18}{:>8}", "last speech sample", "0 ms")?;
        let rows = self.0.rows();
        let longest = rows.iter().filter_map(|(_, at)| *at).fold(1.0, f64::max);
        for (name, at) in rows {
            let Some(at) = at else { continue };
            let bar = "▇".repeat((at.max(0.0) / longest * WIDTH) as usize);
            writeln!(f, "  {name:<18}{:>8}  {bar}", format!("{at:.0} ms"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timings_count_from_the_last_speech_sample() {
        let milestones = [
            (Milestone::Transcript, Ms(980.0)),
            (Milestone::LastSpeechSample, Ms(1000.0)),
            (Milestone::TurnDecided, Ms(1320.0)),
            (Milestone::TurnDecided, Ms(1900.0)),
        ];
        let timings = Timings::from_milestones(&milestones).unwrap();
        assert_eq!(timings.transcript, Some(-20.0));
        assert_eq!(timings.turn_end, Some(320.0), "the first of its kind counts");
        assert_eq!((timings.first_token, timings.done), (None, None));
        assert!(Waterfall(&timings).to_string().contains("turn decided        320 ms"));
        assert_eq!(Timings::from_milestones(&milestones[2..]), None);
    }
}
