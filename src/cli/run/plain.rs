//! Conversation in plain lines: exchanges on stdout, everything else on stderr.

use super::{Frontend, Result, SessionEvent};
use crate::cli::console::Console;
use crate::cli::print_text;
use crate::observe::Waterfall;
use crate::pipeline::Exchange;
use crate::turn::{Ending, Notice, SessionState, TurnStage};

/// Frontend that writes plain lines, with the console and the wake word if there is one.
pub struct Plain<'a>(pub &'a Console, pub Option<String>);

impl Frontend for Plain<'_> {
    fn tell(&mut self, happening: &SessionEvent) -> Result<()> {
        for line in lines(happening, self.1.as_deref()) {
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
pub fn lines(happening: &SessionEvent, name: Option<&str>) -> Vec<ConsoleLine> {
    let note = |text: &str| vec![ConsoleLine::Note(text.to_owned())];
    match happening {
        SessionEvent::Device(change) => note(&change.to_string()),
        SessionEvent::State(SessionState::Waiting) => note(&waiting(name)),
        SessionEvent::State(SessionState::Listening) => note("listening"),
        SessionEvent::State(SessionState::Muted) => note("muted"),
        SessionEvent::State(_) | SessionEvent::Partial(_) | SessionEvent::Understood(_) => Vec::new(),
        SessionEvent::Exchange(exchange) => answered(exchange),
        SessionEvent::Notice(notice) => note(notice_text(*notice)),
        SessionEvent::Failed(why) => note(why),
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
    use crate::types::TurnId;

    #[test]
    fn an_exchange_is_told_with_its_chart_and_a_revised_one_is_not() {
        let (question, heard) = ("Why?".to_owned(), "Because.".to_owned());
        let timings = Some(Timings { first_audio: Some(640.0), ..Timings::default() });
        let (turn, how) = (TurnId(1), Ending::Interrupted);
        let exchange = Exchange { turn, question, heard, how, timings, glitches: 0, echo_loss: None };
        let said = lines(&SessionEvent::Exchange(exchange.clone()), None);
        let [ConsoleLine::Exchange(text), ConsoleLine::Chart(chart)] = &said[..] else { panic!("{said:?}") };
        assert_eq!(text, "You:    Why?\nSotto:  Because. -");
        assert!(chart.contains("first sound heard   640 ms"), "{chart}");
        assert!(lines(&SessionEvent::Exchange(Exchange { how: Ending::Revised, ..exchange }), None).is_empty());
    }

    #[test]
    fn who_waits_for_a_name_says_which() {
        let said = |name| lines(&SessionEvent::State(SessionState::Waiting), name);
        assert_eq!(said(Some("hey jarvis")), [ConsoleLine::Note("waiting for \"hey jarvis\"".to_owned())]);
    }
}
