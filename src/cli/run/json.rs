//! Conversation for programs: one JSON object per line on stdout.

use serde_json::{Value, json};

use super::plain::notice_text;
use super::{Event, EventKind, Frontend, Result};
use crate::cli::console::Console;
use crate::cli::print_line;
use crate::observe::Exchange;
use crate::turn::{SessionState, TurnStage};

/// Frontend that writes JSON, with the console and the wake word if there is one.
pub struct Json<'a>(pub &'a Console, pub Option<String>);

impl Frontend for Json<'_> {
    fn tell(&mut self, event: &Event) -> Result<()> {
        print_line(&line(event, self.1.as_deref()).to_string())
    }

    fn note(&mut self, line: &str) -> Result<()> {
        self.0.note(line);
        Ok(())
    }
}

/// Makes the line of an event: its session, its turn if it has one, its time on the session's clock
/// in milliseconds, and what happened. `name` is the wake word, if one is set.
fn line(event: &Event, name: Option<&str>) -> Value {
    let mut line = what(&event.kind, name);
    line["session"] = json!(event.session.0);
    line["turn"] = json!(event.turn.map(|turn| turn.0));
    line["at"] = json!((event.at.0 * 10.0).round() / 10.0);
    line["kind"] = json!(event.kind.name());
    line
}

fn what(kind: &EventKind, name: Option<&str>) -> Value {
    match kind {
        EventKind::Device(change) => json!({ "device": change.to_string() }),
        EventKind::State(view @ SessionState::Waiting) => json!({ "state": view.name(), "for": name }),
        EventKind::State(view) => json!({ "state": view.name() }),
        EventKind::Partial(transcript) => json!({ "partial": transcript.text.trim() }),
        EventKind::Understood(transcript) => json!({
            "understood": transcript.text.trim(),
            "verdict": transcript.verdict.name(),
            "confidence": transcript.confidence,
        }),
        EventKind::Milestone(milestone) => json!({ "milestone": milestone.name() }),
        EventKind::Exchange(Exchange { question, heard, how, timings, glitches, echo_loss, .. }) => json!({
            "question": question,
            "heard": heard,
            "ended": how.name(),
            "timings": timings,
            "glitches": glitches,
            "echo_loss_db": echo_loss,
        }),
        EventKind::Notice(notice) => json!({
            "notice": notice.name(),
            "stage": notice.stage().map(TurnStage::name),
            "text": notice_text(*notice),
        }),
        EventKind::Failed { stage, why } => json!({ "failed": why, "stage": stage.name() }),
        EventKind::Replaced { stage, generation, abandoned } => json!({
            "replaced": stage,
            "generation": generation,
            "abandoned": abandoned,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asr::{Transcript, Verdict};
    use crate::audio::device::{DeviceChange, Direction, StreamFault};
    use crate::observe::{Milestone, Timings};
    use crate::turn::{Ending, Notice};
    use crate::types::{Ms, SessionId, TurnId};

    /// One event of each kind that programs read, with every name in it.
    fn events() -> Vec<Event> {
        use SessionState::*;
        let views = [Waiting, Listening, Hearing, Thinking, Speaking, Interrupted, Muted, NoDevice, Closed];
        let stages = [
            TurnStage::Detector,
            TurnStage::Transcriber,
            TurnStage::LanguageModel,
            TurnStage::Voice,
            TurnStage::Playback,
        ];
        let failures = stages.map(|stage| EventKind::Notice(Notice::StageFailed(stage)));
        let notices = [
            Notice::StageHangs(TurnStage::Transcriber),
            Notice::AnswerTooLong,
            Notice::IsMuted,
            Notice::IsWithoutDevice,
        ];
        let endings = [Ending::Done, Ending::Interrupted, Ending::Failed, Ending::Revised];
        let transcript = || Transcript {
            text: " What time is it? ".to_owned(),
            language: "en".to_owned(),
            confidence: 0.5,
            verdict: Verdict::Certain,
            ending: None,
            segments: Vec::new(),
        };
        let timings = Timings {
            turn_end: Some(510.0),
            transcript: Some(520.0),
            first_token: Some(560.0),
            first_sentence: Some(600.0),
            first_pcm: Some(620.0),
            first_audio: Some(640.0),
            last_token: Some(900.0),
            done: Some(2000.0),
        };
        let exchange = |how| Exchange {
            spoken: Ms(900.0),
            question: "What time is it?".to_owned(),
            heard: "I cannot".to_owned(),
            how,
            timings: Some(timings),
            glitches: 0,
            echo_loss: Some(21.5),
        };
        let (direction, device) = (Direction::Input, "USB microphone".to_owned());
        let mut all = vec![EventKind::Device(DeviceChange::Lost { direction, device, why: StreamFault::Gone })];
        all.extend(views.map(EventKind::State));
        all.extend([EventKind::Partial(transcript()), EventKind::Understood(transcript())]);
        let milestones = [
            Milestone::LastSpeechSample,
            Milestone::Transcript,
            Milestone::FirstToken,
            Milestone::FirstSentence,
            Milestone::FirstSound,
            Milestone::TurnDecided,
            Milestone::FirstAudible,
            Milestone::LastToken,
            Milestone::Done,
        ];
        all.extend(milestones.map(EventKind::Milestone));
        all.extend(endings.map(|how| EventKind::Exchange(exchange(how))));
        all.extend(failures);
        all.extend(notices.map(EventKind::Notice));
        all.push(EventKind::Failed { stage: TurnStage::LanguageModel, why: "out of memory".to_owned() });
        all.push(EventKind::Replaced { stage: "transcriber", generation: 2, abandoned: 1 });
        let event = |kind| Event { session: SessionId(1), turn: Some(TurnId(3)), at: Ms(1234.56), kind };
        let whole = Event { turn: None, ..event(EventKind::State(Listening)) };
        all.into_iter().map(event).chain([whole]).collect()
    }

    #[test]
    fn lines_for_programs_keep_their_names() {
        let lines: String = events().iter().map(|event| format!("{}\n", line(event, Some("alexa")))).collect();
        assert_eq!(lines, include_str!("../../../tests/golden/run.jsonl"));
    }
}
