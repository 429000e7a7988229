//! The state machine: its state, inputs, outputs and deadlines. `hearing` handles utterances,
//! `barge_in` speech over an answer, `answering` answers.

use super::answer::{Answer, Level};
use super::command::{EarconKind, Ending, Notice, SessionState, TurnCommand};
use super::command_buffer::{CommandBuffer, after, latest};
use super::evidence::{Evidence, LogOdds};
use super::input::{Control, DeviceKind, TurnInput};
use super::settings::TurnSettings;
use super::utterance::{TranscriptState, TurnUtterance, VoicePresence};
use crate::types::{Ms, TurnId};

/// One conversation.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) settings: TurnSettings,
    pub(super) now: Ms,
    pub(super) commands: CommandBuffer,
    pub(super) gates: Gates,
    /// Until when no wake word is needed.
    pub(super) attentive_until: Option<Ms>,
    pub(super) voice: VoicePresence,
    pub(super) state: TurnPhase,
    /// Last answer, which may still echo.
    pub(super) recent: Option<Recent>,
    shown: SessionState,
}

#[derive(Clone, Debug)]
pub(super) enum TurnPhase {
    /// Nobody speaks to us, and nothing is answered.
    Listening,
    /// Somebody speaks, or has spoken and the words are waited for.
    Hearing(TurnUtterance),
    /// A confirmed answer is computed or heard.
    Answering(Answer),
    /// Somebody speaks over it.
    Interrupted { answer: Answer, over: TurnUtterance },
}

/// A pause in what is being said, by which its end is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pause {
    /// When the voice fell silent, on the session's clock.
    pub since: Ms,
    /// Whether a voice may be coming back. No silence ends the turn meanwhile.
    pub seen: bool,
    /// Log-odds by the models so far; `None` where no words are transcribed that could be over.
    pub evidence: Option<LogOdds>,
    /// The probability that the turn is over, 0..=1, by the settings' weights.
    pub over: Option<f32>,
}

/// Conditions under which the conversation stands still.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gates {
    muted: bool,
    no_microphone: bool,
    pub(super) no_speaker: bool,
    closed: bool,
    /// The talk key is down: the turn ends with it, not with silence.
    pub(super) talking: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Recent {
    pub(super) text: String,
    pub(super) until: Ms,
}

/// Purpose of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// A first voiced frame came to nothing.
    Candidate,
    /// The silence is long enough, or the utterance is.
    TurnEnd,
    /// The words do not come.
    Unread,
    /// Speech over the answer is to be looked through.
    WordCheck,
    /// Speech over the answer has no words.
    NoWords,
    /// The answer does not move.
    Stalled,
    Chime,
    /// The wake word is needed again.
    Attention,
}

impl Machine {
    /// A conversation at rest at the moment 0.
    pub fn new(settings: TurnSettings) -> Machine {
        let mut machine = Machine {
            settings,
            now: Ms(0.0),
            commands: CommandBuffer::default(),
            gates: Gates::default(),
            attentive_until: None,
            voice: VoicePresence::Quiet { since: Ms(0.0) },
            state: TurnPhase::Listening,
            recent: None,
            shown: SessionState::Listening,
        };
        machine.shown = machine.view();
        machine
    }

    /// Takes what happened at the moment `at` and says what to do. A moment before that of an
    /// earlier input counts as that one.
    pub fn on(&mut self, at: Ms, input: TurnInput) -> Vec<TurnCommand> {
        if self.gates.closed {
            return Vec::new();
        }
        if at.0.is_finite() {
            self.now = latest(self.now, at);
        }
        self.catch_up();
        self.take(input);
        self.catch_up();
        let view = self.view();
        if std::mem::replace(&mut self.shown, view) != view {
            self.commands.say(TurnCommand::Show(view));
        }
        self.commands.take()
    }

    /// When to send [`TurnInput::Tick`] if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Ms> {
        self.earliest().map(|(at, _)| at)
    }

    /// Settings that it was made with.
    pub fn settings(&self) -> &TurnSettings {
        &self.settings
    }

    /// The confirmed answer, and up to which byte its text was heard.
    pub fn answering(&self) -> Option<(TurnId, usize)> {
        self.active().map(|answer| (answer.turn, answer.ledger.heard()))
    }

    /// The pause in what is being said, if there is one now.
    pub fn pause(&self) -> Option<Pause> {
        let TurnPhase::Hearing(utterance) = &self.state else { return None };
        let since = self.voice.quiet_since()?;
        let evidence = utterance.evidence();
        Some(Pause {
            since,
            seen: matches!(self.voice, VoicePresence::Seen { .. }),
            evidence: evidence.as_ref().and_then(Evidence::log_odds),
            over: evidence.and_then(|evidence| evidence.over(&self.settings.weights)),
        })
    }

    /// Whether words were asked for and are not there.
    pub fn awaits_words(&self) -> bool {
        self.words_due().is_some()
    }

    /// The state, for the eye.
    pub fn view(&self) -> SessionState {
        match &self.state {
            _ if self.gates.closed => SessionState::Closed,
            _ if self.gates.no_microphone => SessionState::NoDevice,
            TurnPhase::Listening | TurnPhase::Answering(_) if self.gates.no_speaker => SessionState::NoDevice,
            _ if self.gates.muted => SessionState::Muted,
            TurnPhase::Listening if !self.is_attentive_at(self.now) => SessionState::Waiting,
            TurnPhase::Listening => SessionState::Listening,
            TurnPhase::Hearing(utterance) if utterance.decided => SessionState::Thinking,
            TurnPhase::Hearing(_) => SessionState::Hearing,
            TurnPhase::Interrupted { answer, .. } if answer.level == Level::Paused => SessionState::Interrupted,
            TurnPhase::Answering(answer) if answer.is_held() => SessionState::Interrupted,
            TurnPhase::Answering(answer) | TurnPhase::Interrupted { answer, .. } if answer.ledger.is_audible() => {
                SessionState::Speaking
            }
            TurnPhase::Answering(_) | TurnPhase::Interrupted { .. } => SessionState::Thinking,
        }
    }

    fn take(&mut self, input: TurnInput) {
        match input {
            TurnInput::Voice(event) => self.hear_voice(event),
            TurnInput::EndOfTurnScore { turn, probability } => self.hear_score(turn, probability),
            TurnInput::LikePlayed { turn, likeness } => self.compare_with_played(turn, likeness),
            TurnInput::SentenceEndScore { turn, probability } => self.words_weighed(turn, probability),
            TurnInput::Partial { turn, transcript } => self.read_partial(turn, &transcript),
            TurnInput::Recognised { turn, transcript } => self.read(turn, transcript),
            TurnInput::WakeWord { until } => self.hear_wake_word(self.moment(until)),
            TurnInput::Answer { turn, event } => self.follow_answer(turn, event),
            TurnInput::Playback { turn, event } => self.follow_playback(turn, event),
            TurnInput::Control(control) => self.obey(control),
            TurnInput::DeviceLost(device) => self.device_there(device, false),
            TurnInput::DeviceBack(device) => self.device_there(device, true),
            TurnInput::StageFailed { stage, turn } => self.stage_failed(stage, turn),
            TurnInput::Tick => {}
            TurnInput::Shutdown => {
                self.close_ears();
                self.gates.closed = true;
            }
        }
    }

    fn obey(&mut self, control: Control) {
        match control {
            Control::Mute => {
                self.close_ears();
                self.gates.muted = true;
            }
            Control::Unmute => self.gates.muted = false,
            Control::Stop => self.drop_everything(),
            Control::ListenNow if self.may_listen() => self.listen_from(self.now),
            Control::TalkKeyDown if !self.gates.talking && self.may_listen() => self.hold_floor(),
            Control::TalkKeyUp if std::mem::take(&mut self.gates.talking) => self.decide(),
            Control::ListenNow | Control::TalkKeyDown | Control::TalkKeyUp => {}
        }
    }

    /// Listens to everything from now on, and to what was being said.
    fn hold_floor(&mut self) {
        self.fall_silent();
        self.gates.talking = true;
        match &mut self.state {
            TurnPhase::Hearing(utterance) if utterance.reading != TranscriptState::Following => {
                utterance.revise(&mut self.commands, utterance.from, self.now);
            }
            TurnPhase::Hearing(_) => {}
            _ => self.state = TurnPhase::Hearing(TurnUtterance::open(&mut self.commands, self.now, self.now)),
        }
    }

    /// Whether a key may open the ears; says why not.
    fn may_listen(&mut self) -> bool {
        if self.ears_are_open() {
            return true;
        }
        self.commands.say(TurnCommand::Notice(if self.gates.no_microphone {
            Notice::IsWithoutDevice
        } else {
            Notice::IsMuted
        }));
        false
    }

    /// Without a microphone everything ends. Without a loudspeaker the microphone is heard on, and
    /// an answer waits.
    fn device_there(&mut self, device: DeviceKind, there: bool) {
        match device {
            DeviceKind::Microphone => {
                if !there {
                    self.close_ears();
                }
                self.gates.no_microphone = !there;
            }
            DeviceKind::Speaker => {
                self.gates.no_speaker = !there;
                let (commands, now) = (&mut self.commands, self.now);
                if let TurnPhase::Answering(answer) | TurnPhase::Interrupted { answer, .. } = &mut self.state {
                    if there { answer.find_speaker(commands, now) } else { answer.lose_speaker(commands, now) }
                }
            }
        }
    }

    pub(super) fn ears_are_open(&self) -> bool {
        !(self.gates.muted || self.gates.no_microphone)
    }

    fn close_ears(&mut self) {
        self.drop_everything();
        self.gates.talking = false;
        self.voice = VoicePresence::Quiet { since: self.now };
    }

    /// Ends whatever is under way.
    fn drop_everything(&mut self) {
        self.finish(Ending::Interrupted);
        if let TurnPhase::Hearing(mut utterance) = self.take_state() {
            utterance.give_up(&mut self.commands);
        }
    }

    /// Ends what is answered or is about to be; an utterance that is not over goes on.
    pub(super) fn fall_silent(&mut self) {
        self.finish(Ending::Interrupted);
        if matches!(&self.state, TurnPhase::Hearing(utterance) if utterance.decided) {
            self.drop_everything();
        }
    }

    /// Needs no wake word for `span`.
    pub(super) fn attend(&mut self, span: Ms) {
        let until = after(self.now, span);
        self.attentive_until = Some(self.attentive_until.map_or(until, |earlier| latest(earlier, until)));
        if matches!(self.state, TurnPhase::Listening) {
            self.commands.say(TurnCommand::Earcon(EarconKind::Listening));
        }
    }

    pub(super) fn is_attentive_at(&self, at: Ms) -> bool {
        !self.settings.wake_word || self.gates.talking || self.attentive_until.is_some_and(|until| at < until)
    }

    /// A moment that was told, as one that can be.
    pub(super) fn moment(&self, told: Ms) -> Ms {
        Ms(if told.0.is_finite() { told.0.clamp(0.0, self.now.0) } else { self.now.0 })
    }

    /// The state, to be replaced; listening until then.
    pub(super) fn take_state(&mut self) -> TurnPhase {
        std::mem::replace(&mut self.state, TurnPhase::Listening)
    }

    fn catch_up(&mut self) {
        while let Some((at, due)) = self.earliest()
            && at.0 <= self.now.0
        {
            self.expire(due);
        }
    }

    fn earliest(&self) -> Option<(Ms, Due)> {
        let all = [
            self.candidate_due().map(|at| (at, Due::Candidate)),
            self.turn_end_due().map(|at| (at, Due::TurnEnd)),
            self.words_due().map(|at| (at, Due::Unread)),
            self.word_check_due().map(|at| (at, Due::WordCheck)),
            self.no_words_due().map(|at| (at, Due::NoWords)),
            self.active().and_then(|answer| answer.stalls_at(&self.settings)).map(|at| (at, Due::Stalled)),
            self.chime_due().map(|at| (at, Due::Chime)),
            self.attention_due().map(|at| (at, Due::Attention)),
        ];
        all.into_iter().flatten().min_by(|(a, _), (b, _)| a.0.total_cmp(&b.0))
    }

    fn expire(&mut self, due: Due) {
        match due {
            Due::Candidate => self.voice_lost(),
            Due::TurnEnd => self.decide(),
            Due::Unread => self.give_up_words(),
            Due::WordCheck => self.check_for_words(),
            Due::NoWords => self.let_answer_go_on(),
            Due::Stalled => self.give_up_answer(),
            Due::Chime => self.chime(),
            Due::Attention => self.attentive_until = None,
        }
    }

    fn candidate_due(&self) -> Option<Ms> {
        match self.voice {
            VoicePresence::Seen { since, .. } => Some(after(since, self.settings.candidate_limit)),
            _ => None,
        }
    }

    fn turn_end_due(&self) -> Option<Ms> {
        let utterance = self.utterance().filter(|utterance| !utterance.decided)?;
        let longest = after(utterance.from, self.settings.longest_turn);
        match self.voice {
            // While a voice may be coming back nothing ends.
            VoicePresence::Quiet { since } if !self.gates.talking => {
                let silence = utterance.ends_at(since, &self.settings);
                Some(Ms(silence.0.min(longest.0)))
            }
            _ => Some(longest),
        }
    }

    fn words_due(&self) -> Option<Ms> {
        match self.utterance()?.reading {
            TranscriptState::Asked { at } => Some(after(at, self.settings.recognise_limit)),
            _ => None,
        }
    }

    fn attention_due(&self) -> Option<Ms> {
        let at_rest = matches!(
            (&self.state, self.voice),
            (TurnPhase::Listening, VoicePresence::Quiet { .. } | VoicePresence::Speech)
        );
        self.attentive_until.filter(|_| at_rest && self.settings.wake_word)
    }

    pub(super) fn utterance(&self) -> Option<&TurnUtterance> {
        match &self.state {
            TurnPhase::Hearing(utterance) | TurnPhase::Interrupted { over: utterance, .. } => Some(utterance),
            TurnPhase::Listening | TurnPhase::Answering(_) => None,
        }
    }

    pub(super) fn utterance_mut(&mut self) -> Option<&mut TurnUtterance> {
        match &mut self.state {
            TurnPhase::Hearing(utterance) | TurnPhase::Interrupted { over: utterance, .. } => Some(utterance),
            TurnPhase::Listening | TurnPhase::Answering(_) => None,
        }
    }

    /// The confirmed answer.
    pub(super) fn active(&self) -> Option<&Answer> {
        match &self.state {
            TurnPhase::Answering(answer) | TurnPhase::Interrupted { answer, .. } => Some(answer),
            TurnPhase::Listening | TurnPhase::Hearing(_) => None,
        }
    }
}
