//! Conversation for programs: one JSON object per line on stdout.

use serde_json::{Value, json};

use super::plain::notice_text;
use super::{Frontend, Result, SessionEvent};
use crate::cli::console::Console;
use crate::cli::print_line;
use crate::pipeline::Exchange;
use crate::turn::{SessionState, TurnStage};

/// Frontend that writes JSON, with the console and the wake word if there is one.
pub struct Json<'a>(pub &'a Console, pub Option<String>);

impl Frontend for Json<'_> {
    fn tell(&mut self, happening: &SessionEvent) -> Result<()> {
        print_line(&line(happening, self.1.as_deref()).to_string())
    }

    fn note(&mut self, line: &str) -> Result<()> {
        self.0.note(line);
        Ok(())
    }
}

fn line(happening: &SessionEvent, name: Option<&str>) -> Value {
    match happening {
        SessionEvent::Device(change) => json!({ "device": change.to_string() }),
        SessionEvent::State(view @ SessionState::Waiting) => json!({ "state": view.name(), "for": name }),
        SessionEvent::State(view) => json!({ "state": view.name() }),
        SessionEvent::Partial(transcript) => json!({ "partial": transcript.text.trim() }),
        SessionEvent::Understood(transcript) => json!({
            "understood": transcript.text.trim(),
            "verdict": transcript.verdict.name(),
            "confidence": transcript.confidence,
        }),
        SessionEvent::Exchange(Exchange { question, heard, how, timings, glitches, echo_loss, .. }) => json!({
            "question": question,
            "heard": heard,
            "ended": how.name(),
            "timings": timings,
            "glitches": glitches,
            "echo_loss_db": echo_loss,
        }),
        SessionEvent::Notice(notice) => json!({
            "notice": notice.name(),
            "stage": notice.stage().map(TurnStage::name),
            "text": notice_text(*notice),
        }),
        SessionEvent::Failed(why) => json!({ "failed": why }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asr::{Transcript, Verdict};
    use crate::audio::device::{DeviceChange, Direction, StreamFault};
    use crate::observe::Timings;
    use crate::turn::{Ending, Notice};
    use crate::types::TurnId;

    /// One event of each kind that programs read, with every name in it.
    fn happenings() -> Vec<SessionEvent> {
        use SessionState::*;
        let views = [Waiting, Listening, Hearing, Thinking, Speaking, Interrupted, Muted, NoDevice, Closed];
        let stages = [
            TurnStage::Detector,
            TurnStage::Transcriber,
            TurnStage::LanguageModel,
            TurnStage::Voice,
            TurnStage::Playback,
        ];
        let failures = stages.map(|stage| SessionEvent::Notice(Notice::StageFailed(stage)));
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
            turn: TurnId(1),
            question: "What time is it?".to_owned(),
            heard: "I cannot".to_owned(),
            how,
            timings: Some(timings),
            glitches: 0,
            echo_loss: Some(21.5),
        };
        let (direction, device) = (Direction::Input, "USB microphone".to_owned());
        let mut all = vec![SessionEvent::Device(DeviceChange::Lost { direction, device, why: StreamFault::Gone })];
        all.extend(views.map(SessionEvent::State));
        all.extend([SessionEvent::Partial(transcript()), SessionEvent::Understood(transcript())]);
        all.extend(endings.map(|how| SessionEvent::Exchange(exchange(how))));
        all.extend(failures);
        all.extend(notices.map(SessionEvent::Notice));
        all.push(SessionEvent::Failed("out of memory".to_owned()));
        all
    }

    #[test]
    fn lines_for_programs_keep_their_names() {
        let lines: String =
            happenings().iter().map(|happening| format!("{}\n", line(happening, Some("alexa")))).collect();
        assert_eq!(lines, include_str!("../../../tests/golden/run.jsonl"));
    }
}
