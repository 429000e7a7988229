//! `sotto replay`: runs the turn machine over a recorded conversation and tells what happens in it.

use std::io::{self, BufReader, IsTerminal};
use std::time::Instant;

use serde_json::{Value, json};

use super::args::ReplayArgs;
use super::console::Console;
use super::{Usage, files, print_line};
use crate::engine::Result;
use crate::observe::{RecordedConversation, Replay, ReplayEvent, ReplayEventKind};
use crate::turn::TurnStage;
use crate::types::Ms;

pub fn run(args: &ReplayArgs, console: &Console) -> Result<()> {
    let begun = Instant::now();
    let mut replay = Replay::new(open(args)?);
    for events in replay.by_ref() {
        for event in events? {
            match args.json {
                true => print_line(&json_line(&event).to_string())?,
                false => print_line(&text_line(&event))?,
            }
        }
    }
    if replay.recording().is_truncated() {
        let file = replay.recording().file();
        console.note(&format!("{file} ends inside a line, as a killed program leaves it; that input is left out"));
    }
    console.note(&summary(&replay, Ms::from(begun.elapsed())));
    Ok(())
}

fn open(args: &ReplayArgs) -> Result<RecordedConversation> {
    if !files::is_standard(&args.file) {
        return Ok(RecordedConversation::read(&args.file)?);
    }
    if io::stdin().is_terminal() {
        return Err(Usage("standard input is a terminal; pipe a recording into it, or name one".to_owned()).into());
    }
    Ok(RecordedConversation::of(files::name(&args.file), Box::new(BufReader::new(io::stdin())))?)
}

fn summary(replay: &Replay, took: Ms) -> String {
    let (inputs, length) = (replay.inputs(), replay.length().0 / 1_000.0);
    let plural = if inputs == 1 { "" } else { "s" };
    let took = took.0 / 1_000.0;
    format!(
        "{inputs} input{plural} of {length:.1} s gave the recorded commands, in {took:.3} s: {:.0} times faster than \
        real time",
        length / took
    )
}

/// One line for a person: the time, the turn and the event. Words are quoted, because a recording
/// may hold any characters.
fn text_line(ReplayEvent { at, turn, what }: &ReplayEvent) -> String {
    let turn = turn.map_or(String::new(), |turn| turn.0.to_string());
    let what = match what {
        ReplayEventKind::State(state) => state.name().replace('_', " "),
        ReplayEventKind::Decided { question: Some(question) } => format!("turn decided: {question:?}"),
        ReplayEventKind::Decided { question: None } => "turn decided, and its words were not clear".to_owned(),
        ReplayEventKind::Ended { how, bytes: 0, .. } => format!("answer {}, none of it heard", how.name()),
        ReplayEventKind::Ended { how, heard, bytes } => {
            format!("answer {}, heard {bytes} bytes: {heard:?}", how.name())
        }
        ReplayEventKind::Notice(notice) => {
            let stage = notice.stage().map_or(String::new(), |stage| format!(" ({})", stage.name()));
            format!("notice: {}{stage}", notice.name()).replace('_', " ")
        }
    };
    format!("{:>12}  {turn:>4}  {what}", clock(*at))
}

/// A time as minutes, seconds and milliseconds.
fn clock(Ms(at): Ms) -> String {
    let ms = at as u64;
    format!("{}:{:02}.{:03}", ms / 60_000, ms / 1_000 % 60, ms % 1_000)
}

fn json_line(ReplayEvent { at, turn, what }: &ReplayEvent) -> Value {
    let (at, turn) = (at.0, turn.map(|turn| turn.0));
    match what {
        ReplayEventKind::State(state) => json!({ "at": at, "turn": turn, "kind": "state", "state": state.name() }),
        ReplayEventKind::Decided { question } => {
            json!({ "at": at, "turn": turn, "kind": "decided", "question": question })
        }
        ReplayEventKind::Ended { how, heard, bytes } => {
            json!({ "at": at, "turn": turn, "kind": "ended", "how": how.name(), "heard": heard, "heard_bytes": bytes })
        }
        ReplayEventKind::Notice(notice) => {
            let stage = notice.stage().map(TurnStage::name);
            json!({ "at": at, "turn": turn, "kind": "notice", "notice": notice.name(), "stage": stage })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::{Ending, Notice, SessionState};
    use crate::types::TurnId;

    #[test]
    fn every_event_has_a_line_for_a_person_and_one_for_a_program() {
        let ended = |how, heard: &str| ReplayEventKind::Ended { how, heard: heard.to_owned(), bytes: heard.len() };
        let question = Some("\u{1b}[2J Why?".to_owned());
        for (turn, what, text, json) in [
            (
                None,
                ReplayEventKind::State(SessionState::NoDevice),
                "   61:01.007        no device",
                r#""turn":null,"kind":"state","state":"no_device""#,
            ),
            (
                Some(TurnId(3)),
                ReplayEventKind::Decided { question },
                "   61:01.007     3  turn decided: \"\\u{1b}[2J Why?\"",
                r#""turn":3,"kind":"decided","question":"\u001b[2J Why?""#,
            ),
            (
                Some(TurnId(3)),
                ReplayEventKind::Decided { question: None },
                "   61:01.007     3  turn decided, and its words were not clear",
                r#""turn":3,"kind":"decided","question":null"#,
            ),
            (
                Some(TurnId(3)),
                ended(Ending::Interrupted, "It is"),
                "   61:01.007     3  answer interrupted, heard 5 bytes: \"It is\"",
                r#""turn":3,"kind":"ended","how":"interrupted","heard":"It is","heard_bytes":5"#,
            ),
            (
                Some(TurnId(3)),
                ended(Ending::Revised, ""),
                "   61:01.007     3  answer revised, none of it heard",
                r#""turn":3,"kind":"ended","how":"revised","heard":"","heard_bytes":0"#,
            ),
            (
                None,
                ReplayEventKind::Notice(Notice::StageHangs(TurnStage::LanguageModel)),
                "   61:01.007        notice: stage timed out (language model)",
                r#""turn":null,"kind":"notice","notice":"stage_timed_out","stage":"language_model""#,
            ),
        ] {
            let event = ReplayEvent { at: Ms(3_661_007.5), turn, what };
            assert_eq!(text_line(&event), text);
            assert_eq!(json_line(&event).to_string(), format!("{{\"at\":3661007.5,{json}}}"));
        }
    }
}
