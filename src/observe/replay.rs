//! Replay of a recorded conversation: the turn machine takes the recorded inputs again, and must
//! give the recorded commands.

use super::recording::{RecordedConversation, RecordedInput, RecordingError};
use crate::turn::{AnswerEvent, Ending, Machine, Notice, Reply, SessionState, TurnCommand, TurnInput};
use crate::types::{Ms, TurnId};

/// Event of a conversation that is replayed.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayEvent {
    /// Time on the session's clock.
    pub at: Ms,
    /// Turn that it belongs to; `None` where nothing is in progress.
    pub turn: Option<TurnId>,
    pub what: ReplayEventKind,
}

/// Content of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplayEventKind {
    State(SessionState),
    /// The turn is certain. The question is `None` where its words were not clear and the answer
    /// asks for them again.
    Decided {
        question: Option<String>,
    },
    /// The answer is over. Its first `bytes` bytes were heard.
    Ended {
        how: Ending,
        heard: String,
        bytes: usize,
    },
    Notice(Notice),
}

/// Replay of a recording: an iterator over the events of each input. It ends after an error, which
/// may be the first difference.
pub struct Replay {
    recording: RecordedConversation,
    machine: Machine,
    inputs: u64,
    now: Ms,
    /// Newest turn that the machine has named.
    newest: Option<TurnId>,
    /// The answer that is open.
    answer: Option<PreparedAnswer>,
    ended: bool,
}

/// Question and words of an answer.
#[derive(Debug)]
struct PreparedAnswer {
    turn: TurnId,
    question: Option<String>,
    /// Pieces of the answer, each with the byte at which it begins.
    pieces: Vec<(usize, String)>,
    /// Whether all pieces are there. The machine ignores further ones.
    complete: bool,
}

impl PreparedAnswer {
    /// Words in the first `bytes` bytes of the answer.
    fn heard(&self, bytes: usize) -> String {
        let heard = self.pieces.iter().map(|(at, text)| {
            let most = bytes.saturating_sub(*at).min(text.len());
            &text[..text.floor_char_boundary(most)]
        });
        heard.map(str::trim).filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

impl Replay {
    pub fn new(recording: RecordedConversation) -> Replay {
        let machine = Machine::new(recording.settings().clone());
        Replay { recording, machine, inputs: 0, now: Ms(0.0), newest: None, answer: None, ended: false }
    }

    /// Number of inputs so far.
    pub fn inputs(&self) -> u64 {
        self.inputs
    }

    /// Latest time so far, on the session's clock.
    pub fn length(&self) -> Ms {
        self.now
    }

    /// The recording.
    pub fn recording(&self) -> &RecordedConversation {
        &self.recording
    }

    fn take(&mut self, recorded: RecordedInput) -> Result<Vec<ReplayEvent>, RecordingError> {
        let RecordedInput { at, input, commands: expected } = recorded;
        self.inputs += 1;
        if at.0.is_finite() {
            self.now = Ms(self.now.0.max(at.0));
        }
        self.listen(&input);
        let got = self.machine.on(at, input);
        if got != expected {
            return Err(self.difference(&expected, &got));
        }
        Ok(got.into_iter().filter_map(|command| self.event(command)).collect())
    }

    /// Keeps the words of the answer.
    fn listen(&mut self, input: &TurnInput) {
        let TurnInput::Answer { turn, event } = input else { return };
        let Some(answer) = self.answer.as_mut().filter(|answer| answer.turn == *turn && !answer.complete) else {
            return;
        };
        match event {
            AnswerEvent::Sound { at, text, .. } => answer.pieces.push((*at, text.clone())),
            AnswerEvent::Complete => answer.complete = true,
            AnswerEvent::FirstSentence => {}
        }
    }

    fn event(&mut self, command: TurnCommand) -> Option<ReplayEvent> {
        let (turn, what) = match command {
            TurnCommand::BeginRecognition { turn, .. } => {
                self.newest = Some(turn);
                return None;
            }
            TurnCommand::Prepare { turn, reply } => {
                self.newest = Some(turn);
                let question = if let Reply::To { text, .. } = reply { Some(text) } else { None };
                self.answer = Some(PreparedAnswer { turn, question, pieces: Vec::new(), complete: false });
                return None;
            }
            TurnCommand::Discard { .. } => {
                self.answer = None;
                return None;
            }
            TurnCommand::Confirm { turn } => {
                let question = self.answer.as_ref().and_then(|answer| answer.question.clone());
                (Some(turn), ReplayEventKind::Decided { question })
            }
            TurnCommand::End { turn, how, heard: bytes } => {
                let heard = self.answer.take().map(|answer| answer.heard(bytes)).unwrap_or_default();
                (Some(turn), ReplayEventKind::Ended { how, heard, bytes })
            }
            TurnCommand::Notice(notice) => (self.turn(), ReplayEventKind::Notice(notice)),
            TurnCommand::Show(state) => (self.turn(), ReplayEventKind::State(state)),
            _ => return None,
        };
        Some(ReplayEvent { at: self.now, turn, what })
    }

    /// Turn in progress: that of the answer, or else of the person who speaks.
    fn turn(&self) -> Option<TurnId> {
        let answered = self.machine.answering().map(|(turn, _)| turn);
        answered.or(self.newest).filter(|_| !self.machine.view().is_at_rest())
    }

    fn difference(&self, expected: &[TurnCommand], got: &[TurnCommand]) -> RecordingError {
        let same = expected.iter().zip(got).take_while(|(expected, got)| expected == got).count();
        let first = |commands: &[TurnCommand]| commands.get(same).map_or("no command".to_owned(), command_text);
        RecordingError::Differs {
            file: self.recording.file().to_owned(),
            number: self.inputs,
            at: self.now.0,
            program: self.recording.program().to_owned(),
            expected: first(expected),
            got: first(got),
        }
    }
}

impl Iterator for Replay {
    type Item = Result<Vec<ReplayEvent>, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let taken = self.recording.next()?.and_then(|recorded| self.take(recorded));
        self.ended = taken.is_err();
        Some(taken)
    }
}

/// A command as it stands in a recording.
fn command_text(command: &TurnCommand) -> String {
    serde_json::to_string(command).unwrap_or_else(|error| error.to_string())
}
