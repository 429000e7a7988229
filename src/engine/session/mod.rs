//! A session: one conversation, with the turn machine in the middle.
//!
//! One thread ([`Session::step`], over and over) has the audio input, the machine and the audio
//! output. What happens is told to the machine as it happens, and its commands are carried out
//! here; nothing here decides. The models belong to the [`Engine`], which other sessions share: a
//! session sends it jobs and gets messages back. It waits for no stage but the detectors, because
//! it counts time in what they have scored.
//!
//! Recognitions and answers have current turns of their own, because somebody may speak while an
//! answer is being given. The next sentence of an answer goes to the synthesizer when there is room
//! for its sound: so the synthesizer waits for the listener, and holds up no other session.

mod adapters;
mod answers;
mod history;
mod input_path;
mod output_path;
mod partial;
mod spoken_answer;
mod turn_detection;
mod types;
mod wake_word;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::Engine;
use super::latest::{Latest, latest};
use super::stage::{Result, StageKind};
use super::work::{CurrentTurn, ReplyTo, StageMessage, StageResult, TranscriptionJob, TurnDetectionJob};
use crate::asr::{self, Cancel};
use crate::audio::device::{Clock, DeviceChange, Direction};
use crate::audio::front::Front;
use crate::audio::{AudioInput, EarconSound, LevelMeter};
use crate::config::Plan;
use crate::observe::{Event, EventKind, Milestone};
use crate::turn::{
    BargeIn, Control, DeviceKind, EarconKind, Machine, Pause, PlaybackEvent, SessionState, TurnCommand, TurnInput,
    TurnSettings, TurnStage, TurnVerdict,
};
use crate::types::{Ms, SessionId, TurnId};
use adapters::{turn_settings, words};
use history::History;
use input_path::{CapturedSound, InputPath, SpeechClip};
use output_path::{OutputPath, PlaybackProgress};
use partial::PartialTranscription;
use spoken_answer::SpokenAnswer;
use turn_detection::PendingDetection;
pub use types::{SessionAudio, SessionDevices, StatusSnapshot};
use wake_word::WakeWordListener;

/// Most frames in a row, 32 ms each, on which voice activity detection may fail: one second.
const MOST_FAILED_FRAMES: u32 = 32;
/// How long the thread sleeps when nobody tells it anything: half a block of the microphone.
pub const TICK: Duration = Duration::from_millis(5);
/// Most milestones that are kept: those of some twenty turns.
const MILESTONES: usize = 256;

/// A conversation, running.
pub struct Session {
    id: SessionId,
    engine: Arc<Engine>,
    plan: Plan,
    clock: Arc<dyn Clock>,
    machine: Machine,
    input: Box<dyn AudioInput>,
    /// Level of the microphone's raw sound.
    meter: LevelMeter,
    front: Front,
    input_path: InputPath,
    output_path: OutputPath,
    /// Turns that are still worth transcribing, and answering.
    transcribing: CurrentTurn,
    answering: CurrentTurn,
    cancel: Cancel,
    /// Schedule of partial transcripts, where the transcriber can give them.
    partial: Option<PartialTranscription>,
    detection: PendingDetection,
    /// Whether the last run of the turn detector failed.
    detector_failed: bool,
    /// Length of the speech that was transcribed last.
    spoken: Ms,
    answer: Option<SpokenAnswer>,
    /// Progress that was reported last.
    progress: Option<PlaybackProgress>,
    history: History,
    /// Whether the next answer begins a new history.
    fresh: bool,
    messages: Messages,
    /// Generations of the engine's stages as they were reported last.
    generations: Vec<u64>,
    /// Milestones of the last turns, oldest first.
    milestones: VecDeque<(TurnId, Milestone, Ms)>,
    happened: Vec<Event>,
    observer: Option<TurnObserver>,
}

/// Function that sees each input of the turn machine with its time and what the machine commands,
/// in the order in which the machine sees them.
pub type TurnObserver = Box<dyn FnMut(Ms, &TurnInput, &[TurnCommand])>;

/// Channels from the stages. Those of the engine have one job of a session each at most, so what
/// waits here is bounded by one answer.
struct Messages {
    to_inbox: Sender<StageMessage>,
    inbox: Receiver<StageMessage>,
    /// Turn whose first sound was made last.
    begun: Arc<Latest<TurnId>>,
    begun_in: Receiver<TurnId>,
}

impl Messages {
    fn new() -> Self {
        let ((to_inbox, inbox), (begun, begun_in)) = (unbounded(), latest());
        Messages { to_inbox, inbox, begun: Arc::new(begun), begun_in }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.stop_partial_transcription();
        self.transcribing.clear();
        self.answering.clear();
        self.engine.close_session(self.id);
    }
}

impl Session {
    /// Begins a conversation on `audio`. `plan` says how it behaves; what it says of models has
    /// been settled with the engine, but that without a wake word in it none is needed.
    pub fn start(engine: Arc<Engine>, audio: SessionAudio, plan: &Plan) -> Session {
        let (id, SessionAudio { clock, input, output }) = (engine.open_session(), audio);
        let wake_word = plan.detect.wake_word.as_ref().and_then(|word| {
            let scores = engine.wake_scores(id)?;
            Some(WakeWordListener::new(scores, word))
        });
        let turns = turn_settings(plan, wake_word.is_some(), engine.turn_weights);
        let input_path = InputPath::new(engine.voice_scores(id), wake_word, &plan.detect, turns.own_sound);
        Session {
            id,
            plan: plan.clone(),
            clock,
            machine: Machine::new(turns),
            input,
            meter: LevelMeter::default(),
            front: Front::new(&plan.audio),
            input_path,
            output_path: OutputPath::new(output, engine.rate()),
            transcribing: CurrentTurn::default(),
            answering: CurrentTurn::default(),
            cancel: Cancel::default(),
            partial: engine.transcribes_partially().then(PartialTranscription::default),
            detection: PendingDetection::default(),
            detector_failed: false,
            spoken: Ms(0.0),
            answer: None,
            progress: None,
            history: History::default(),
            fresh: false,
            messages: Messages::new(),
            generations: engine.generations(),
            milestones: VecDeque::new(),
            happened: Vec::new(),
            observer: None,
            engine,
        }
    }

    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Waits up to `patience`, or until something is due, for a stage to say something, looks after
    /// everything, and says what happened. To be called over and over, every [`TICK`]. Errors when
    /// the conversation cannot go on: nothing is heard any more.
    pub fn step(&mut self, patience: Duration) -> Result<Vec<Event>> {
        let patience = (self.until_due().0 / 1000.0).clamp(0.0, patience.as_secs_f64());
        let first = self.messages.inbox.recv_timeout(Duration::from_secs_f64(patience)).ok();
        let waiting: Vec<StageMessage> = first.into_iter().chain(self.messages.inbox.try_iter()).collect();
        waiting.into_iter().for_each(|message| self.take(message));
        self.engine.supervise();
        self.report_replaced();
        self.listen()?;
        self.transcribe_partially();
        self.ask_turn_detector();
        if self.until_due().0 <= 0.0 {
            self.tell(TurnInput::Tick);
        }
        self.speak();
        self.send_sentences();
        Ok(std::mem::take(&mut self.happened))
    }

    /// Until the machine has something to do, whatever is heard: endless where nothing waits.
    fn until_due(&self) -> Ms {
        Ms(self.machine.next_deadline().map_or(f64::INFINITY, |deadline| deadline.0 - self.now().0))
    }

    pub fn control(&mut self, control: Control) {
        self.tell(TurnInput::Control(control));
    }

    pub fn view(&self) -> SessionState {
        self.machine.view()
    }

    /// The pause in what is being said, if there is one now.
    pub fn pause(&self) -> Option<Pause> {
        self.machine.pause()
    }

    /// Whether a stage works on something without which the conversation stands still: words that
    /// were asked for, what the turn detector says of them, the first sentence of an answer, or
    /// more of an answer of which all has been played. A clock that can stand still may wait for
    /// it.
    pub fn is_awaiting(&self) -> bool {
        let words = self.machine.awaits_words() || self.detection.is_awaited(&self.transcribing);
        let answer = self.answer.as_ref().filter(|answer| !answer.is_made());
        words || answer.is_some_and(|answer| answer.is_silent() || self.output_path.is_dry())
    }

    pub fn glance(&self) -> StatusSnapshot<'_> {
        let given = self.machine.answering().zip(self.answer.as_ref());
        let given = given.filter(|((turn, _), answer)| answer.turn == *turn);
        let (heard, ahead) = given.map(|((_, heard), answer)| answer.parted(heard)).unwrap_or_default();
        StatusSnapshot { view: self.view(), level: self.meter.decibels(), heard, ahead }
    }

    /// Begins a new history with the next question.
    pub fn forget(&mut self) {
        self.fresh = true;
    }

    /// Lets `observer` see what the turn machine is told from now on, as a recording does.
    pub fn observe_turns(&mut self, observer: TurnObserver) {
        self.observer = Some(observer);
    }

    /// Returns the settings of the turn machine.
    pub fn turn_settings(&self) -> &TurnSettings {
        self.machine.settings()
    }

    /// Reports the stages that were restarted or replaced since it was last called.
    fn report_replaced(&mut self) {
        let generations = self.engine.generations();
        if self.generations == generations {
            return;
        }
        let before = std::mem::replace(&mut self.generations, generations);
        for (status, before) in self.engine.status().into_iter().zip(before) {
            if status.generation != before {
                let (stage, generation, abandoned) = (status.kind.name(), status.generation, status.abandoned);
                self.happen(None, EventKind::Replaced { stage, generation, abandoned });
            }
        }
    }

    fn now(&self) -> Ms {
        Ms::from(self.clock.now())
    }

    fn listen(&mut self) -> Result<()> {
        if let Some(change) = self.input.poll() {
            self.device_changed(change);
        }
        while let Some(block) = self.input.read() {
            let (at, mut samples) = (Ms::from(block.at), block.samples);
            self.meter.take(&samples);
            let played = self.output_path.reference(at);
            self.front.process(&mut samples, &played);
            let heard = CapturedSound { samples: &samples, words: self.front.words(), played: &played };
            for event in self.input_path.detect(heard, at) {
                match event {
                    Ok(event) => self.tell(event),
                    Err(error) => self.ears_failed(error)?,
                }
            }
        }
        Ok(())
    }

    /// Reads what is being said, while somebody says it and nobody else needs the cores.
    fn transcribe_partially(&mut self) {
        let (now, voiced) = (self.now(), self.input_path.is_voiced());
        let making = self.answer.as_ref().is_some_and(|answer| !answer.is_made());
        let Some(partial) = &mut self.partial else { return };
        if !voiced {
            return partial.let_go(now);
        }
        let Some((turn, from)) = partial.due(now).filter(|_| !making) else { return };
        let cancel = partial.begin(now);
        let utterance = self.utterance(from, now);
        self.transcribe(turn, utterance, cancel, true);
        self.compare(turn, from, now);
    }

    fn stop_partial_transcription(&mut self) {
        let now = self.now();
        self.partial.iter_mut().for_each(|partial| partial.end(now));
    }

    /// A frame that could not be judged counts as silence; ears that judge none any more are the
    /// end.
    fn ears_failed(&mut self, error: anyhow::Error) -> Result<()> {
        match self.input_path.failures() {
            1 => {
                self.failed(None, TurnStage::Detector, &error);
                self.tell(TurnInput::StageFailed { stage: TurnStage::Detector, turn: None });
                Ok(())
            }
            MOST_FAILED_FRAMES.. => Err(error),
            _ => Ok(()),
        }
    }

    fn speak(&mut self) {
        if let Some(change) = self.output_path.step(self.now()) {
            self.device_changed(change);
        }
        let Some(progress) = self.output_path.progress() else { return };
        let now = self.now();
        if let (Some(answer), Some(ago)) = (&mut self.answer, progress.audible_for)
            && !std::mem::replace(&mut answer.audible, true)
        {
            let turn = answer.turn;
            self.reach(turn, Ms(now.0 - ago.0), Milestone::FirstAudible);
        }
        // Only what has moved is told: an answer that stands still is to be missed.
        if self.progress.replace(progress) == Some(progress) {
            return;
        }
        let event = match progress.drained {
            true => PlaybackEvent::Drained,
            false => PlaybackEvent::Played { position: progress.position },
        };
        self.tell(TurnInput::Playback { turn: progress.turn, event });
    }

    fn device_changed(&mut self, change: DeviceChange) {
        let (DeviceChange::Opened { direction, .. } | DeviceChange::Lost { direction, .. }) = &change;
        let device = match direction {
            Direction::Input => DeviceKind::Microphone,
            Direction::Output => DeviceKind::Speaker,
        };
        let input = match &change {
            DeviceChange::Opened { .. } => TurnInput::DeviceBack(device),
            DeviceChange::Lost { .. } => TurnInput::DeviceLost(device),
        };
        // Another device, or another distance: what the canceller has learned of the room no longer
        // holds.
        self.front.reset();
        self.meter = LevelMeter::default();
        self.happen(None, EventKind::Device(change));
        self.tell(input);
    }

    /// Handles the message of a stage.
    fn take(&mut self, StageMessage { turn, at, result }: StageMessage) {
        match result {
            StageResult::Recognised(transcript) => self.recognised(turn, at, transcript),
            StageResult::Partial(transcript, cancel) => {
                if self.transcribing.is(turn) && !cancel.is_cancelled() {
                    self.read_so_far(turn, transcript);
                }
            }
            StageResult::SentenceEndScored(probability) => self.tell(TurnInput::SentenceEndScore { turn, probability }),
            StageResult::TurnScored(probability) => {
                self.detector_failed = false;
                self.detection.end(turn);
                self.tell(TurnInput::EndOfTurnScore { turn, probability });
            }
            StageResult::FirstToken => self.reach(turn, at, Milestone::FirstToken),
            StageResult::FirstSound => self.reach(turn, at, Milestone::FirstSound),
            StageResult::Piece(piece) => self.follow(turn, |answer| answer.written(&piece)),
            StageResult::Sentence(sentence) => self.sentence(turn, at, &sentence),
            StageResult::Written => {
                self.reach(turn, at, Milestone::LastToken);
                self.follow(turn, SpokenAnswer::end_text);
                self.look_whether_made(turn);
            }
            StageResult::Sound(frame) => {
                let Some(answer) = self.answer.as_mut().filter(|answer| answer.turn == turn) else { return };
                let events = answer.sound(&frame);
                self.output_path.sound(frame);
                events.into_iter().for_each(|event| self.tell(TurnInput::Answer { turn, event }));
            }
            StageResult::SentenceSpoken => {
                self.follow(turn, SpokenAnswer::end_sentence);
                self.look_whether_made(turn);
            }
            StageResult::Failed(kind, error) => self.stage_failed(kind, turn, &error),
        }
    }

    fn stage_failed(&mut self, kind: StageKind, turn: TurnId, error: &anyhow::Error) {
        let stage = kind.turn_stage();
        if kind == StageKind::TurnDetector {
            // The turn goes on without its score. One that fails each time is reported once.
            self.detection.end(turn);
            if !std::mem::replace(&mut self.detector_failed, true) {
                self.failed(Some(turn), stage, error);
            }
        } else if [self.transcribing.get(), self.answering.get()].contains(&turn) {
            self.failed(Some(turn), stage, error);
            self.tell(TurnInput::StageFailed { stage, turn: Some(turn) });
        }
    }

    fn follow(&mut self, turn: TurnId, note: impl FnOnce(&mut SpokenAnswer)) {
        if let Some(answer) = self.answer.as_mut().filter(|answer| answer.turn == turn) {
            note(answer);
        }
    }

    fn recognised(&mut self, turn: TurnId, at: Ms, transcript: asr::Transcript) {
        if !self.transcribing.is(turn) {
            return;
        }
        self.reach(turn, at, Milestone::Transcript);
        let words = words(&transcript);
        self.happen(Some(turn), EventKind::Understood(transcript));
        self.tell(TurnInput::Recognised { turn, transcript: words });
    }

    fn read_so_far(&mut self, turn: TurnId, transcript: asr::Transcript) {
        let now = self.now();
        self.partial.iter_mut().for_each(|partial| partial.done(now));
        let words = words(&transcript);
        if words.verdict == TurnVerdict::Nothing {
            return;
        }
        self.happen(Some(turn), EventKind::Partial(transcript));
        self.tell(TurnInput::Partial { turn, transcript: words });
    }

    fn tell(&mut self, input: TurnInput) {
        let at = self.now();
        let observed = self.observer.is_some().then(|| input.clone());
        let commands = self.machine.on(at, input);
        if let (Some(observer), Some(input)) = (&mut self.observer, observed) {
            observer(at, &input, &commands);
        }
        commands.into_iter().for_each(|command| self.obey(command));
    }

    fn obey(&mut self, command: TurnCommand) {
        match command {
            TurnCommand::BeginRecognition { turn, from } => {
                self.transcribing.set(turn);
                self.partial.iter_mut().for_each(|partial| partial.follow(turn, from));
                self.compare(turn, from, self.now());
            }
            TurnCommand::Recognise { turn, from, to } => self.recognise(turn, from, to),
            TurnCommand::CancelRecognition { .. } => {
                self.cancel.cancel();
                self.stop_partial_transcription();
                self.transcribing.clear();
            }
            TurnCommand::Prepare { turn, reply } => self.prepare(turn, reply),
            TurnCommand::Discard { .. } => self.drop_answer(),
            TurnCommand::Confirm { turn } => {
                self.reach(turn, self.now(), Milestone::TurnDecided);
                self.output_path.say(turn);
            }
            TurnCommand::Duck { .. } => self.output_path.duck(true),
            TurnCommand::Unduck { .. } => self.output_path.duck(false),
            TurnCommand::Pause { .. } => self.output_path.pause(),
            TurnCommand::Resume { from, .. } => self.output_path.resume(from, self.now()),
            TurnCommand::End { turn, how, heard } => self.end(turn, how, heard),
            TurnCommand::Notice(notice) => self.happen(None, EventKind::Notice(notice)),
            TurnCommand::Show(view) => self.happen(None, EventKind::State(view)),
            TurnCommand::Earcon(EarconKind::Listening) if self.plan.turn.earcons => {
                self.output_path.ring(EarconSound::LISTENING)
            }
            TurnCommand::Earcon(EarconKind::Thinking) if self.plan.turn.earcons => {
                self.output_path.ring(EarconSound::THINKING)
            }
            TurnCommand::Earcon(_) => {}
        }
    }

    fn recognise(&mut self, turn: TurnId, from: Ms, to: Ms) {
        let now = self.now();
        self.partial.iter_mut().for_each(|partial| partial.end_at(to, now));
        let utterance = self.utterance(from, to);
        self.spoken = utterance.length;
        self.reach(turn, utterance.last_sample_at, Milestone::LastSpeechSample);
        self.transcribing.set(turn);
        self.cancel = Cancel::default();
        self.detection.pause((turn, from, to));
        self.transcribe(turn, utterance, self.cancel.clone(), false);
        self.compare(turn, from, to);
    }

    fn transcribe(&self, turn: TurnId, utterance: SpeechClip, cancel: Cancel, partial: bool) {
        let (samples, reply) = (utterance.samples, self.reply_to(turn, &self.transcribing));
        self.engine.transcribe(TranscriptionJob { samples, cancel, partial, reply });
    }

    fn reply_to(&self, turn: TurnId, current: &CurrentTurn) -> ReplyTo {
        let (clock, inbox) = (self.clock.clone(), self.messages.to_inbox.clone());
        ReplyTo { session: self.id, turn, current: current.clone(), clock, inbox }
    }

    /// Samples to transcribe between two moments. Where a stop word alone ends an answer, it is
    /// worth a try in what sounds like the answer, too.
    fn utterance(&mut self, from: Ms, to: Ms) -> SpeechClip {
        let tries = self.machine.settings().barge_in == BargeIn::Stop && self.machine.answering().is_some();
        self.input_path.utterance(from, to, tries)
    }

    /// Tells whether it may be the answer that is heard.
    fn compare(&mut self, turn: TurnId, from: Ms, to: Ms) {
        let likeness = self.input_path.likeness(from, to);
        self.tell(TurnInput::LikePlayed { turn, likeness });
    }

    /// Lets the pause be judged once there is enough of it.
    fn ask_turn_detector(&mut self) {
        if !self.engine.detects_turns() {
            return;
        }
        let Some((turn, from, to)) = self.detection.take_due(&self.transcribing, self.now()) else { return };
        let (samples, reply) = (self.utterance(from, to).samples, self.reply_to(turn, &self.transcribing));
        self.engine.detect_turn(TurnDetectionJob { samples, reply });
    }

    fn failed(&mut self, turn: Option<TurnId>, stage: TurnStage, error: &anyhow::Error) {
        self.happen(turn, EventKind::Failed { stage, why: format!("{error:#}") });
    }

    fn happen(&mut self, turn: Option<TurnId>, kind: EventKind) {
        let at = self.now();
        self.happened.push(Event { session: self.id, turn, at, kind });
    }

    fn reach(&mut self, turn: TurnId, at: Ms, milestone: Milestone) {
        if self.milestones.len() == MILESTONES {
            self.milestones.pop_front();
        }
        self.milestones.push_back((turn, milestone, at));
        self.happened.push(Event { session: self.id, turn: Some(turn), at, kind: EventKind::Milestone(milestone) });
    }
}
