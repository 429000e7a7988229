//! Checker of the machine's commands against the invariants. It does not know how the machine
//! decides.

use std::collections::BTreeSet;

use crate::turn::{
    AnswerEvent, Control, DeviceKind, Ending, Machine, PlaybackEvent, SessionState, TurnCommand, TurnInput,
    TurnSettings,
};
use crate::types::{Ms, TurnId};

/// Input with its time, and the commands that the machine gave for it.
pub(crate) type Told = (Ms, TurnInput, Vec<TurnCommand>);

/// Machine whose every command is checked.
pub(super) struct Checked {
    pub(super) machine: Machine,
    pub(super) now: Ms,
    /// Every command so far, with its time.
    pub(super) said: Vec<(Ms, TurnCommand)>,
    /// Every input so far, as the machine got it, with the commands that it gave.
    pub(super) told: Vec<Told>,
    closed: bool,
    muted: bool,
    lost: [bool; 2],
    talk_key: bool,
    view: SessionState,
    /// Open recognition, and whether its words were requested.
    recognition: Option<(TurnId, Ms, bool)>,
    answer: Option<Checks>,
    /// Numbers that were used, for recognitions and for answers.
    begun: BTreeSet<TurnId>,
    prepared: BTreeSet<TurnId>,
    ended: BTreeSet<TurnId>,
}

/// Open answer, as an observer sees it.
#[derive(Debug)]
struct Checks {
    turn: TurnId,
    confirmed: bool,
    level: Level,
    /// End of each piece, in its sound and its text.
    pieces: Vec<(f64, usize)>,
    text_start: Option<usize>,
    complete: bool,
    position: f64,
    furthest: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Level {
    Full,
    Ducked,
    Paused,
}

impl Checked {
    pub(super) fn new(settings: TurnSettings) -> Checked {
        let machine = Machine::new(settings);
        Checked {
            view: machine.view(),
            machine,
            now: Ms(0.0),
            said: Vec::new(),
            told: Vec::new(),
            closed: false,
            muted: false,
            lost: [false; 2],
            talk_key: false,
            recognition: None,
            answer: None,
            begun: BTreeSet::new(),
            prepared: BTreeSet::new(),
            ended: BTreeSet::new(),
        }
    }

    /// Passes on an input and checks the resulting commands.
    pub(super) fn on(&mut self, at: f64, input: TurnInput) -> Vec<TurnCommand> {
        if at.is_finite() {
            self.now = Ms(self.now.0.max(at));
        }
        let overdue = self.machine.next_deadline().is_some_and(|due| due.0 <= self.now.0);
        // Overdue deadlines come first: their commands are checked against the state before the
        // input.
        let before = if overdue { self.tell(at, TurnInput::Tick) } else { Vec::new() };
        before.iter().for_each(|command| self.check(command));
        let shut = self.closed;
        self.closed |= input == TurnInput::Shutdown;
        self.note(&input);
        let commands = self.tell(at, input.clone());
        assert!(!shut || commands.is_empty(), "something is said after the end: {commands:?}");
        commands.iter().for_each(|command| self.check(command));
        assert_eq!(self.machine.view(), self.view, "the view that was shown is another one");
        let held = self.answer.as_ref().is_some_and(|answer| answer.level == Level::Paused);
        match self.view {
            SessionState::Interrupted => assert!(held, "an answer goes on and is shown as held"),
            // An answer that was not heard yet may be held for a possible voice.
            SessionState::Thinking => {}
            SessionState::NoDevice => assert!(!held || self.lost[1], "an answer is held though there is a loudspeaker"),
            _ => assert!(!held, "an answer is held for nobody, or it is not shown"),
        }
        assert!(self.closed || self.machine.next_deadline().is_none_or(|due| due.0 > self.now.0), "overdue");
        self.check_control(&input);
        let all: Vec<_> = before.into_iter().chain(commands).collect();
        self.said.extend(all.iter().map(|command| (self.now, command.clone())));
        all
    }

    fn tell(&mut self, at: f64, input: TurnInput) -> Vec<TurnCommand> {
        let commands = self.machine.on(Ms(at), input.clone());
        self.told.push((Ms(at), input, commands.clone()));
        commands
    }

    /// Advances time to `at`, waking the machine at its deadlines.
    pub(super) fn pass(&mut self, at: f64) -> Vec<TurnCommand> {
        let mut all = Vec::new();
        while let Some(due) = self.machine.next_deadline().filter(|due| due.0 <= at) {
            all.extend(self.on(due.0, TurnInput::Tick));
        }
        all.extend(self.on(at, TurnInput::Tick));
        all
    }

    /// Advances time until no deadline is left, and checks that the machine is at rest.
    pub(super) fn rest(&mut self) {
        for _ in 0..64 {
            let Some(due) = self.machine.next_deadline().filter(|_| !self.closed) else { break };
            self.on(due.0, TurnInput::Tick);
        }
        assert!(self.machine.view().is_at_rest(), "stuck: {:?}", self.machine);
        assert!(self.recognition.is_none() && self.answer.is_none(), "something is left open");
    }

    pub(super) fn live_answer(&self) -> Option<TurnId> {
        self.answer.as_ref().filter(|answer| answer.confirmed).map(|answer| answer.turn)
    }

    fn note(&mut self, input: &TurnInput) {
        let open = !self.closed && !self.muted && !self.lost[0];
        match input {
            TurnInput::Control(Control::Mute) => self.muted = true,
            TurnInput::Control(Control::Unmute) => self.muted = false,
            TurnInput::DeviceLost(device) => self.lost[usize::from(*device == DeviceKind::Speaker)] = true,
            TurnInput::DeviceBack(device) => self.lost[usize::from(*device == DeviceKind::Speaker)] = false,
            // A recognition is over when its words arrive, if they were requested.
            TurnInput::Recognised { turn, .. } if matches!(self.recognition, Some((of, _, true)) if of == *turn) => {
                self.recognition = None;
            }
            TurnInput::Answer { turn, event } if open => self.note_answer(*turn, event),
            TurnInput::Playback { turn, event } if open && !self.lost[1] => self.note_playback(*turn, *event),
            _ => {}
        }
    }

    fn note_answer(&mut self, turn: TurnId, event: &AnswerEvent) {
        let Some(answer) = self.answer.as_mut().filter(|answer| answer.turn == turn) else { return };
        match event {
            AnswerEvent::Sound { length, at, text } if !answer.complete => {
                let (sound, said) = answer.pieces.last().copied().unwrap_or((0.0, 0));
                let length = if length.0.is_finite() { length.0.max(0.0) } else { 0.0 };
                answer.text_start.get_or_insert(*at);
                answer.pieces.push((sound + length, said.max(*at).saturating_add(text.len())));
            }
            AnswerEvent::Complete => answer.complete = true,
            _ => {}
        }
    }

    fn note_playback(&mut self, turn: TurnId, event: PlaybackEvent) {
        let Some(answer) = self.answer.as_mut().filter(|answer| answer.turn == turn && answer.confirmed) else {
            return;
        };
        let length = answer.pieces.last().map_or(0.0, |piece| piece.0);
        let position = match event {
            PlaybackEvent::Played { position } if position.0.is_finite() => position.0.clamp(0.0, length),
            PlaybackEvent::Drained if answer.complete => length,
            _ => return,
        };
        answer.position = position;
        answer.furthest = answer.furthest.max(position);
    }

    fn check(&mut self, command: &TurnCommand) {
        match *command {
            TurnCommand::BeginRecognition { turn, from } => {
                assert!(self.recognition.is_none(), "two recognitions");
                assert!(self.begun.last().is_none_or(|last| *last < turn), "an old number begins");
                assert!(from.0 >= 0.0 && from.0 <= self.now.0);
                self.begun.insert(turn);
                self.recognition = Some((turn, from, false));
            }
            TurnCommand::Recognise { turn, from, to } => {
                assert_eq!(self.recognition, Some((turn, from, false)), "not open, or asked for twice");
                assert!(from.0 <= to.0 && to.0 <= self.now.0, "{command:?} at {}", self.now);
                self.recognition = Some((turn, from, true));
            }
            TurnCommand::CancelRecognition { turn } => {
                assert_eq!(self.recognition.take().map(|open| open.0), Some(turn), "not open");
            }
            TurnCommand::Prepare { turn, .. } => self.check_prepared(turn),
            TurnCommand::Discard { turn } => {
                let answer = self.answer.take().expect("nothing to discard");
                assert!(answer.turn == turn && !answer.confirmed, "{answer:?}");
                assert!(self.ended.insert(turn));
            }
            TurnCommand::Confirm { turn } => {
                let answer = self.answer.as_mut().expect("nothing to confirm");
                assert!(answer.turn == turn && !answer.confirmed);
                answer.confirmed = true;
            }
            TurnCommand::Duck { turn } => self.step(turn, |level| (level == Level::Full).then_some(Level::Ducked)),
            TurnCommand::Unduck { turn } => self.step(turn, |level| (level == Level::Ducked).then_some(Level::Full)),
            TurnCommand::Pause { turn } => self.step(turn, |level| (level != Level::Paused).then_some(Level::Paused)),
            TurnCommand::Resume { turn, from } => {
                self.step(turn, |level| (level == Level::Paused).then_some(Level::Full));
                let answer = self.answer.as_ref().unwrap();
                let start = answer.pieces.iter().map(|piece| piece.0).rfind(|end| *end <= answer.position);
                let said = start.unwrap_or(0.0)..=answer.position;
                assert!(said.contains(&from.0), "{from} is not in the piece {said:?}");
            }
            TurnCommand::End { turn, how, heard } => self.check_end(turn, how, heard),
            TurnCommand::Show(view) => assert_ne!(std::mem::replace(&mut self.view, view), view, "shown twice"),
            TurnCommand::Earcon(_) | TurnCommand::Notice(_) => {}
        }
    }

    fn check_prepared(&mut self, turn: TurnId) {
        assert!(self.answer.is_none(), "two answers");
        assert!(self.recognition.is_none(), "an answer to words that are still read");
        assert!(self.begun.last().is_none_or(|last| *last <= turn), "an answer to a stale turn");
        assert!(self.prepared.last().is_none_or(|last| *last < turn), "a number is used twice");
        self.prepared.insert(turn);
        self.begun.insert(turn);
        self.answer = Some(Checks {
            turn,
            confirmed: false,
            level: Level::Full,
            pieces: Vec::new(),
            text_start: None,
            complete: false,
            position: 0.0,
            furthest: 0.0,
        });
    }

    fn step(&mut self, turn: TurnId, next: impl Fn(Level) -> Option<Level>) {
        let answer = self.answer.as_mut().expect("no answer to play otherwise");
        assert!(answer.turn == turn && answer.confirmed, "{answer:?}");
        answer.level = next(answer.level).unwrap_or_else(|| panic!("makes no sense while it is {:?}", answer.level));
    }

    fn check_end(&mut self, turn: TurnId, how: Ending, heard: usize) {
        let answer = self.answer.take().expect("nothing to end");
        assert!(answer.turn == turn && answer.confirmed, "{answer:?}");
        assert!(self.ended.insert(turn), "two ends");
        let all = answer.pieces.last().map_or(0, |piece| piece.1);
        let whole =
            answer.pieces.iter().take_while(|piece| piece.0 <= answer.furthest && answer.furthest > 0.0).count();
        let least = whole.checked_sub(1).map_or(0, |last| answer.pieces[last].1);
        let most = if answer.furthest > 0.0 { answer.pieces.get(whole).map_or(all, |piece| piece.1) } else { 0 };
        match how {
            Ending::Done => {
                assert!(answer.complete && heard == all, "{heard} of {answer:?}");
                assert!(answer.position + 1.0 >= answer.pieces.last().map_or(0.0, |piece| piece.0));
            }
            Ending::Revised => assert!((heard, least) == (0, 0), "{heard} of {answer:?}"),
            Ending::Interrupted | Ending::Failed => {
                assert!((least..=most).contains(&heard), "{heard} is not in {least}..={most} of {answer:?}");
            }
        }
    }

    /// Checks that a control has taken effect when the machine returns.
    fn check_control(&mut self, input: &TurnInput) {
        let nothing = self.answer.is_none() && self.recognition.is_none();
        let shut = self.closed || self.muted || self.lost[0];
        match input {
            TurnInput::Control(Control::Mute | Control::Stop)
            | TurnInput::DeviceLost(DeviceKind::Microphone)
            | TurnInput::Shutdown => {
                assert!(nothing && self.view.is_at_rest(), "{input:?} leaves something under way");
            }
            TurnInput::DeviceLost(DeviceKind::Speaker) => {
                let level = self.answer.as_ref().filter(|answer| answer.confirmed).map(|answer| answer.level);
                assert!(level.is_none_or(|level| level == Level::Paused), "an answer is played to nobody");
            }
            // A repeated press of a key that is down changes nothing.
            TurnInput::Control(Control::TalkKeyDown) if self.talk_key => {}
            TurnInput::Control(Control::ListenNow | Control::TalkKeyDown) if !shut => {
                assert!(self.live_answer().is_none(), "still answering");
                let shown = matches!(self.view, SessionState::Listening | SessionState::Hearing);
                assert!(
                    shown || self.lost[1] && self.view == SessionState::NoDevice,
                    "{input:?} shows {:?}",
                    self.view
                );
                let key = *input == TurnInput::Control(Control::TalkKeyDown);
                self.talk_key |= key;
                assert!(!key || self.recognition.is_some() || self.answer.is_some(), "the key is not heard");
            }
            _ => {}
        }
        self.talk_key &= !shut && *input != TurnInput::Control(Control::TalkKeyUp);
        let expected = match () {
            () if self.closed => Some(SessionState::Closed),
            () if self.lost[0] => Some(SessionState::NoDevice),
            () if self.muted => Some(if self.lost[1] { SessionState::NoDevice } else { SessionState::Muted }),
            () => None,
        };
        match expected {
            Some(view) => assert!(self.view == view && nothing, "{:?} instead of {view:?}", self.view),
            None => {
                assert!(!matches!(self.view, SessionState::Closed | SessionState::Muted));
                assert!(self.view != SessionState::NoDevice || self.lost[1]);
            }
        }
    }
}
