//! Conversation in plain lines: exchanges on stdout, everything else on stderr.

use super::{Event, EventKind, Frontend, Result};
use crate::cli::console::Console;
use crate::cli::print_text;
use crate::observe::{Exchange, Waterfall};
use crate::turn::{Ending, Notice, SessionState, TurnStage};

/// Frontend that writes plain lines, with the console and the wake word if there is one.
pub struct Plain<'a>(pub &'a Console, pub Option<String>);

impl Frontend for Plain<'_> {
    fn tell(&mut self, event: &Event) -> Result<()> {
        for line in lines(&event.kind, self.1.as_deref()) {
            match line {
                ConsoleLine::Note(text) => self.0.note(&text),
                ConsoleLine::Exchange(text) => print_text(&text)?,
                ConsoleLine::Chart(text) => self.0.block(&text),
            }
        }
        Ok(())
    }

    fn note(&mut self, line: &str) -> Result<()> {
        self.0.note(line);
        Ok(())
    }
}

/// Text for a person.
#[derive(Debug, PartialEq)]
pub enum ConsoleLine {
    Note(String),
    /// Question and answer, one line each.
    Exchange(String),
    /// Rows that must not be wrapped.
    Chart(String),
}

/// Lines to print for an event. `name` is the wake word, if one is set.
pub fn lines(kind: &EventKind, name: Option<&str>) -> Vec<ConsoleLine> {
    let note = |text: &str| vec![ConsoleLine::Note(text.to_owned())];
    match kind {
        EventKind::Device(change) => note(&change.to_string()),
        EventKind::State(SessionState::Waiting) => note(&waiting(name)),
        EventKind::State(SessionState::Listening) => note("listening"),
        EventKind::State(SessionState::Muted) => note("muted"),
        EventKind::State(_) | EventKind::Partial(_) | EventKind::Understood(_) | EventKind::Milestone(_) => Vec::new(),
        EventKind::Exchange(exchange) => answered(exchange),
        EventKind::Notice(notice) => note(notice_text(*notice)),
        EventKind::Failed { why, .. } => note(why),
        EventKind::Replaced { stage, .. } => {
            note(&format!("the {} stage failed and was loaded again", stage.replace('_', " ")))
        }
    }
}

/// Text of the state in which the session waits for the wake word.
pub fn waiting(name: Option<&str>) -> String {
    name.map_or("waiting".to_owned(), |name| format!("waiting for \"{name}\""))
}

fn answered(Exchange { question, heard, how, timings, .. }: &Exchange) -> Vec<ConsoleLine> {
    if *how == Ending::Revised {
        return Vec::new();
    }
    let cut = if *how == Ending::Interrupted { " -" } else { "" };
    let exchange = ConsoleLine::Exchange(format!("You:    {question}\nSotto:  {heard}{cut}"));
    let chart = timings.iter().map(|timings| ConsoleLine::Chart(Waterfall(timings).to_string()));
    std::iter::once(exchange).chain(chart).collect()
}

pub fn notice_text(notice: Notice) -> &'static str {
    match notice {
        Notice::StageFailed(stage) => match stage {
            TurnStage::Detector => "listening failed; go on speaking",
            TurnStage::Transcriber => "that could not be recognised; say it again",
            TurnStage::LanguageModel => "no answer could be made; ask again",
            TurnStage::Voice => "the voice failed; ask again",
            TurnStage::Playback => "the speaker failed; ask again",
        },
        Notice::StageHangs(_) => "that took too long and was given up; ask again",
        Notice::AnswerTooLong => "the answer was too long and was ended",
        Notice::IsMuted => "the microphone is muted; unmute it first",
        Notice::IsWithoutDevice => "there is no device to talk with; \"sotto devices\" lists what there is",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Timings;
    use crate::types::Ms;

    #[test]
    fn an_exchange_is_told_with_its_chart_and_a_revised_one_is_not() {
        let (question, heard) = ("Why?".to_owned(), "Because.".to_owned());
        let timings = Some(Timings { first_audio: Some(640.0), ..Timings::default() });
        let (spoken, how) = (Ms(900.0), Ending::Interrupted);
        let exchange = Exchange { spoken, question, heard, how, timings, glitches: 0, echo_loss: None };
        let said = lines(&EventKind::Exchange(exchange.clone()), None);
        let [ConsoleLine::Exchange(text), ConsoleLine::Chart(chart)] = &said[..] else { panic!("{said:?}") };
        assert_eq!(text, "You:    Why?\nSotto:  Because. -");
        assert!(chart.contains("first sound heard   640 ms"), "{chart}");
        assert!(lines(&EventKind::Exchange(Exchange { how: Ending::Revised, ..exchange }), None).is_empty());
    }

    #[test]
    fn who_waits_for_a_name_says_which() {
        let said = |name| lines(&EventKind::State(SessionState::Waiting), name);
        assert_eq!(said(Some("hey jarvis")), [ConsoleLine::Note("waiting for \"hey jarvis\"".to_owned())]);
    }
}
