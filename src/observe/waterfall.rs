//! The latency of one turn, stage by stage, measured from the last speech sample.

use std::fmt;
use std::time::Instant;

use serde::Serialize;

use super::{Event, Stamped};

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
    /// Computes the timings of one turn from its events. `None` without a last speech sample, from
    /// which they are measured.
    pub fn of(events: &[Stamped]) -> Option<Timings> {
        let zero = events.iter().find(|stamped| stamped.event == Event::LastSpeechSample)?.at;
        let mut timings = Timings::default();
        for stamped in events {
            let slot = match stamped.event {
                Event::PartialTranscript | Event::LastSpeechSample => continue,
                Event::TurnDecided => &mut timings.turn_end,
                Event::Transcript => &mut timings.transcript,
                Event::FirstToken => &mut timings.first_token,
                Event::FirstSentence => &mut timings.first_sentence,
                Event::FirstPcm => &mut timings.first_pcm,
                Event::FirstAudible => &mut timings.first_audio,
                Event::LastToken => &mut timings.last_token,
                Event::Done => &mut timings.done,
            };
            slot.get_or_insert(milliseconds(zero, stamped.at));
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

/// Signed milliseconds, to the tenth.
fn milliseconds(zero: Instant, at: Instant) -> f64 {
    let signed = match at.checked_duration_since(zero) {
        Some(after) => after.as_secs_f64(),
        None => -zero.duration_since(at).as_secs_f64(),
    };
    (signed * 10_000.0).round() / 10.0
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
    use std::time::Duration;

    use super::*;
    use crate::types::TurnId;

    #[test]
    fn timings_count_from_the_last_speech_sample() {
        let zero = Instant::now() + Duration::from_secs(1);
        let stamped = |at, event| Stamped { turn: TurnId(1), at, event };
        let events = [
            stamped(zero - Duration::from_millis(20), Event::Transcript),
            stamped(zero, Event::LastSpeechSample),
            stamped(zero + Duration::from_millis(320), Event::TurnDecided),
            stamped(zero + Duration::from_millis(900), Event::TurnDecided),
        ];
        let timings = Timings::of(&events).unwrap();
        assert_eq!(timings.transcript, Some(-20.0));
        assert_eq!(timings.turn_end, Some(320.0), "the first of its kind counts");
        assert_eq!(timings.done, None);
        assert!(Waterfall(&timings).to_string().contains("turn decided        320 ms"));
        assert_eq!(Timings::of(&events[2..]), None);
    }
}
