//! A conversation on real devices: the turn machine in the middle of the graph.
//!
//! One thread ([`Live::step`], over and over) has the microphone, voice activity, the machine and
//! the speaker; the transcriber, the language model and the voice have theirs, and so has the turn
//! detector, who hears at each pause what the transcriber hears and a little more silence, and says
//! how likely it is that nothing more is to come. What happens is told to the machine as it
//! happens, and its commands are carried out here; nothing here decides. The wake word is listened
//! for on the same thread: it costs 1.5 ms of every 80.
//!
//! Recognitions and answers have present turns of their own, because somebody may speak while an
//! answer is being given. The sound of an answer comes through a queue of its own, which is not
//! emptied while much of it waits to be heard: so the voice, and through it the language model,
//! wait for the listener.

mod adapters;
mod event;
mod input_path;
mod output_path;
mod partial;
mod spoken_answer;
mod turn_detection;
mod wake_word;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use super::detached::detached;
use super::latest::{Latest, latest};
use super::listen::SpeechClip;
use super::stage::{CurrentTurn, Result, Stages};
use super::worker::{
    AnswerJob, Past, ReplyText, StageMessage, SynthesizerQueue, TranscriptionJob, TurnDetectionJob, Worker, spawn,
};
use crate::asr::{self, Cancel};
use crate::audio::device::{Capture, Clock, DeviceChange, Direction, Playback, PlaybackSettings};
use crate::audio::front::Front;
use crate::audio::{AudioError, EarconSound, LevelMeter};
use crate::config::Plan;
use crate::observe::{Event, Journal, Timings};
use crate::turn::{
    self, AnswerEvent, BargeIn, Control, DeviceKind, Ending, Machine, Pause, PlaybackEvent, Reply, SessionState,
    TurnCommand, TurnInput, TurnStage, TurnVerdict,
};
use crate::types::{Ms, TurnId};
use adapters::{turn_settings, words};
pub use event::{Exchange, SessionDevices, SessionEvent, StatusSnapshot};
use input_path::{CapturedSound, InputPath};
use output_path::{OutputPath, PlaybackProgress};
use partial::PartialTranscription;
use spoken_answer::SpokenAnswer;
use turn_detection::PendingDetection;
use wake_word::WakeWordListener;

/// Messages that may wait: sentences and pieces of text are small, and stages wait for room.
const QUEUE: usize = 64;
/// Chunks of sound that may wait.
const SOUNDS: usize = 4;
/// Most frames in a row, 32 ms each, on which voice activity detection may fail: one second.
const MOST_FAILED_FRAMES: u32 = 32;
/// How long the thread sleeps when nobody tells it anything: half a block of the microphone.
pub const TICK: Duration = Duration::from_millis(5);
/// How long a conversation that ends waits for its stages. One that hangs in foreign code is left
/// behind.
const FAREWELL: Duration = Duration::from_secs(5);

/// The conversation, running.
pub struct Live {
    plan: Plan,
    /// Two-letter codes of what can be spoken.
    languages: Vec<String>,
    clock: Arc<dyn Clock>,
    machine: Machine,
    capture: Capture,
    /// Level of the microphone's raw sound.
    meter: LevelMeter,
    front: Front,
    input_path: InputPath,
    output_path: OutputPath,
    /// Turns that are still worth transcribing, and answering.
    transcribing: CurrentTurn,
    answering: CurrentTurn,
    journal: Journal,
    cancel: Cancel,
    /// Schedule of partial transcripts, where the transcriber can give them.
    partial: Option<PartialTranscription>,
    detection: PendingDetection,
    answer: Option<SpokenAnswer>,
    /// Progress that was reported last.
    progress: Option<PlaybackProgress>,
    /// The last exchange of the history.
    past: Past,
    /// Whether the next answer begins a new history.
    fresh: bool,
    /// `None` once the conversation is dropped.
    queues: Option<Queues>,
    stages: Vec<JoinHandle<()>>,
    happened: Vec<SessionEvent>,
}

struct Queues {
    transcribing: Latest<TranscriptionJob>,
    turn_detection_jobs: Option<Latest<TurnDetectionJob>>,
    answer_jobs: Latest<AnswerJob>,
    inbox: Receiver<StageMessage>,
    sounds: Receiver<StageMessage>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.stop_partial_transcription();
        self.transcribing.set(TurnId::default());
        self.answering.set(TurnId::default());
        self.queues = None;
        let deadline = Instant::now() + FAREWELL;
        while !self.stages.iter().all(JoinHandle::is_finished) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Live {
    /// Opens the devices and starts a thread for each stage. Devices that are not there are waited
    /// for.
    pub fn start(
        stages: Stages,
        plan: &Plan,
        devices: SessionDevices,
        journal: Journal,
    ) -> std::result::Result<Live, AudioError> {
        let (transcribing, answering) = (CurrentTurn::default(), CurrentTurn::default());
        let ((tell, inbox), (tell_sound, sounds)) = (bounded(QUEUE), bounded(SOUNDS));
        let ((detect, hear_in), (think, think_in), (begun, begun_in)) = (latest(), latest(), latest());
        let (speech, speech_in) = bounded(QUEUE);
        let Stages { voice_activity, turn_detector, wake_word, transcriber, language_model, synthesizer, turn_weights } =
            stages;
        let wake_word =
            wake_word.zip(plan.detect.wake_word.as_ref()).map(|(model, plan)| WakeWordListener::new(model, plan));
        let worker = |present: &CurrentTurn, tell| Worker { present: present.clone(), journal: journal.clone(), tell };
        let (rate, languages, priority) = (synthesizer.rate(), synthesizer.languages(), plan.llm.priority);
        let partial = transcriber.can_transcribe_partially().then(PartialTranscription::default);
        let mut threads = Vec::new();
        let turn_detection_jobs = turn_detector.map(|detector| {
            let (queue, jobs) = latest();
            threads.push(spawn("turn-detector", worker(&transcribing, tell.clone()), move |worker| {
                worker.run_turn_detector(detector, &jobs)
            }));
            queue
        });
        threads.extend([
            spawn("transcriber", worker(&transcribing, tell.clone()), move |worker| {
                worker.run_transcriber(transcriber, &hear_in)
            }),
            spawn("language-model", worker(&answering, tell), move |worker| {
                worker.lower(priority);
                worker.run_language_model(language_model, &think_in, &SynthesizerQueue { speech, begun: begun_in })
            }),
            spawn("synthesizer", worker(&answering, tell_sound), move |worker| {
                worker.run_synthesizer(synthesizer, &speech_in, &begun)
            }),
        ]);
        let (card, detached) = (devices.card, detached());
        let settings = PlaybackSettings::at(rate);
        let playback = Playback::open(card.clone(), &devices.speaker, settings, detached.clone())?;
        let turns = turn_settings(plan, wake_word.is_some(), turn_weights);
        let input_path = InputPath::new(voice_activity, wake_word, &plan.detect, turns.own_sound);
        Ok(Live {
            plan: plan.clone(),
            languages,
            clock: card.clock(),
            machine: Machine::new(turns),
            capture: Capture::open(card, &devices.microphone, detached),
            meter: LevelMeter::default(),
            front: Front::new(&plan.audio),
            input_path,
            output_path: OutputPath::new(playback, rate),
            transcribing,
            answering,
            journal,
            cancel: Cancel::default(),
            partial,
            detection: PendingDetection::default(),
            answer: None,
            progress: None,
            past: Past::default(),
            fresh: false,
            queues: Some(Queues { transcribing: detect, turn_detection_jobs, answer_jobs: think, inbox, sounds }),
            stages: threads,
            happened: Vec::new(),
        })
    }

    /// Waits up to `patience`, or until something is due, for a stage to say something, looks after
    /// everything, and says what happened. To be called over and over, every [`TICK`]. Errors when
    /// the conversation cannot go on: a stage has ended.
    pub fn step(&mut self, patience: Duration) -> Result<Vec<SessionEvent>> {
        let patience = (self.until_due().0 / 1000.0).clamp(0.0, patience.as_secs_f64());
        let first = self.queues().inbox.recv_timeout(Duration::from_secs_f64(patience)).ok();
        first.into_iter().try_for_each(|message| self.take(message))?;
        self.take_all()?;
        while self.output_path.has_room()
            && let Ok(message) = self.queues().sounds.try_recv()
        {
            // A sentence is told before it is said, but through the other queue.
            self.take_all()?;
            self.take(message)?;
        }
        self.listen()?;
        self.transcribe_partially();
        self.ask_turn_detector();
        if self.until_due().0 <= 0.0 {
            self.tell(TurnInput::Tick);
        }
        self.speak();
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

    /// Whether words that were asked for, what the turn detector says of them, or the first
    /// sentence of an answer are still to come: a clock that can stand still may wait for them.
    pub fn is_awaiting(&self) -> bool {
        let awaited = self.machine.awaits_words() || self.detection.is_awaited(&self.transcribing);
        awaited || self.answer.as_ref().is_some_and(|answer| answer.is_silent() && !answer.made)
    }

    pub fn glance(&self) -> StatusSnapshot<'_> {
        let given = self.machine.answering().zip(self.answer.as_ref());
        let given = given.filter(|((turn, _), answer)| answer.turn == *turn);
        let (heard, ahead) = given.map(|((_, heard), answer)| answer.parted(heard)).unwrap_or_default();
        StatusSnapshot { view: self.view(), level: self.meter.decibels(), heard, ahead }
    }

    /// Begins a new conversation with the next question.
    pub fn forget(&mut self) {
        self.fresh = true;
    }

    fn queues(&self) -> &Queues {
        self.queues.as_ref().expect("only a drop takes them")
    }

    fn now(&self) -> Ms {
        Ms::from(self.clock.now())
    }

    fn listen(&mut self) -> Result<()> {
        if let Some(change) = self.capture.poll() {
            self.device_changed(change);
        }
        while let Some(block) = self.capture.read() {
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
        let making = self.answer.as_ref().is_some_and(|answer| !answer.made);
        let Some(partial) = &mut self.partial else { return };
        if !voiced {
            return partial.let_go(now);
        }
        let Some((turn, from)) = partial.due(now).filter(|_| !making) else { return };
        let cancel = partial.begin(now);
        let utterance = self.utterance(from, now);
        self.queues().transcribing.put(TranscriptionJob { turn, utterance, cancel, partial: true });
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
                self.happened.push(SessionEvent::Failed(format!("{error:#}")));
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
        if let (Some(answer), Some(ago)) = (&mut self.answer, progress.audible_for)
            && !std::mem::replace(&mut answer.audible, true)
        {
            let at = Instant::now().checked_sub(Duration::from_secs_f64(ago.0 / 1000.0)).unwrap_or_else(Instant::now);
            self.journal.note_at(answer.turn, at, Event::FirstAudible);
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
        self.happened.push(SessionEvent::Device(change));
        self.tell(input);
    }

    /// Everything that stages have said but sound.
    fn take_all(&mut self) -> Result<()> {
        let waiting: Vec<StageMessage> = self.queues().inbox.try_iter().collect();
        waiting.into_iter().try_for_each(|message| self.take(message))
    }

    /// Handles the message of a stage.
    fn take(&mut self, message: StageMessage) -> Result<()> {
        match message {
            StageMessage::Recognised(turn, transcript) => self.recognised(turn, transcript),
            StageMessage::Partial(turn, transcript, cancel) if self.transcribing.is(turn) && !cancel.is_cancelled() => {
                self.read_so_far(turn, transcript);
            }
            StageMessage::Partial(..) => {}
            StageMessage::SentenceEndScored(turn, probability) => {
                self.tell(TurnInput::SentenceEndScore { turn, probability })
            }
            StageMessage::TurnScored(turn, probability) => {
                self.detection.end(turn);
                self.tell(TurnInput::EndOfTurnScore { turn, probability });
            }
            StageMessage::TurnDetectorFailed(error) => {
                self.detection = PendingDetection::default();
                self.queues.iter_mut().for_each(|queues| queues.turn_detection_jobs = None);
                self.happened.push(SessionEvent::Failed(format!("{error:#}")));
            }
            StageMessage::Piece(turn, piece) => self.follow(turn, |answer| answer.written(&piece)),
            StageMessage::Sentence(turn, sentence) => {
                let begun = self.answer.as_ref().is_some_and(|answer| answer.turn == turn && answer.is_silent());
                self.follow(turn, |answer| answer.sentence(&sentence));
                if begun {
                    self.tell(TurnInput::Answer { turn, event: AnswerEvent::FirstSentence });
                }
            }
            StageMessage::Sound(frame) => {
                let turn = frame.turn;
                let Some(answer) = self.answer.as_mut().filter(|answer| answer.turn == turn) else { return Ok(()) };
                let events = answer.sound(&frame);
                self.output_path.sound(frame);
                events.into_iter().for_each(|event| self.tell(TurnInput::Answer { turn, event }));
            }
            StageMessage::AnswerSpoken(turn) => {
                if self.answer.as_ref().is_some_and(|answer| answer.turn == turn) {
                    self.follow(turn, |answer| answer.made = true);
                    self.output_path.complete();
                    self.tell(TurnInput::Answer { turn, event: AnswerEvent::Complete });
                }
            }
            StageMessage::TurnFailed(stage, turn, error) => {
                let current = [self.transcribing.get(), self.answering.get()].contains(&turn);
                if current {
                    self.happened.push(SessionEvent::Failed(format!("{error:#}")));
                    self.tell(TurnInput::StageFailed { stage, turn: Some(turn) });
                }
            }
            StageMessage::StageDied(error) => return Err(error),
            StageMessage::SpeechUpdate(..) | StageMessage::ListeningFailed(..) => {}
        }
        Ok(())
    }

    fn follow(&mut self, turn: TurnId, note: impl FnOnce(&mut SpokenAnswer)) {
        if let Some(answer) = self.answer.as_mut().filter(|answer| answer.turn == turn) {
            note(answer);
        }
    }

    fn recognised(&mut self, turn: TurnId, transcript: asr::Transcript) {
        if !self.transcribing.is(turn) {
            return;
        }
        self.journal.note(turn, Event::Transcript);
        let words = words(&transcript);
        self.happened.push(SessionEvent::Understood(transcript));
        self.tell(TurnInput::Recognised { turn, transcript: words });
    }

    fn read_so_far(&mut self, turn: TurnId, transcript: asr::Transcript) {
        let now = self.now();
        self.partial.iter_mut().for_each(|partial| partial.done(now));
        let words = words(&transcript);
        if words.verdict == TurnVerdict::Nothing {
            return;
        }
        self.journal.note(turn, Event::PartialTranscript);
        self.happened.push(SessionEvent::Partial(transcript));
        self.tell(TurnInput::Partial { turn, transcript: words });
    }

    fn tell(&mut self, input: TurnInput) {
        for command in self.machine.on(self.now(), input) {
            self.obey(command);
        }
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
                self.transcribing.set(TurnId::default());
            }
            TurnCommand::Prepare { turn, reply } => self.prepare(turn, reply),
            TurnCommand::Discard { .. } => self.drop_answer(),
            TurnCommand::Confirm { turn } => {
                self.journal.note(turn, Event::TurnDecided);
                self.output_path.say(turn);
            }
            TurnCommand::Duck { .. } => self.output_path.duck(true),
            TurnCommand::Unduck { .. } => self.output_path.duck(false),
            TurnCommand::Pause { .. } => self.output_path.pause(),
            TurnCommand::Resume { from, .. } => self.output_path.resume(from, self.now()),
            TurnCommand::End { turn, how, heard } => self.end(turn, how, heard),
            TurnCommand::Notice(notice) => self.happened.push(SessionEvent::Notice(notice)),
            TurnCommand::Show(view) => self.happened.push(SessionEvent::State(view)),
            TurnCommand::Earcon(turn::EarconKind::Listening) if self.plan.turn.earcons => {
                self.output_path.ring(EarconSound::LISTENING)
            }
            TurnCommand::Earcon(turn::EarconKind::Thinking) if self.plan.turn.earcons => {
                self.output_path.ring(EarconSound::THINKING)
            }
            TurnCommand::Earcon(_) => {}
        }
    }

    fn recognise(&mut self, turn: TurnId, from: Ms, to: Ms) {
        let now = self.now();
        self.partial.iter_mut().for_each(|partial| partial.end_at(to, now));
        let utterance = self.utterance(from, to);
        self.journal.note_at(turn, utterance.last_sample_at, Event::LastSpeechSample);
        self.transcribing.set(turn);
        self.cancel = Cancel::default();
        self.detection.pause((turn, from, to));
        self.queues().transcribing.put(TranscriptionJob {
            turn,
            utterance,
            cancel: self.cancel.clone(),
            partial: false,
        });
        self.compare(turn, from, to);
    }

    /// Samples to transcribe between two moments. Where a stop word alone ends an
    /// answer, it is worth a try in what sounds like the answer, too.
    fn utterance(&mut self, from: Ms, to: Ms) -> SpeechClip {
        let tries = self.machine.settings().barge_in == BargeIn::Stop && self.machine.answering().is_some();
        self.input_path.utterance(from, to, tries, (self.now(), Instant::now()))
    }

    /// Tells whether it may be the answer that is heard.
    fn compare(&mut self, turn: TurnId, from: Ms, to: Ms) {
        let likeness = self.input_path.likeness(from, to);
        self.tell(TurnInput::LikePlayed { turn, likeness });
    }

    /// Lets the pause be judged once there is enough of it.
    fn ask_turn_detector(&mut self) {
        if self.queues().turn_detection_jobs.is_none() {
            return;
        }
        let Some((turn, from, to)) = self.detection.take_due(&self.transcribing, self.now()) else { return };
        let job = TurnDetectionJob { turn, samples: self.utterance(from, to).samples };
        if let Some(verdict) = &self.queues().turn_detection_jobs {
            verdict.put(job);
        }
    }

    fn prepare(&mut self, turn: TurnId, reply: Reply) {
        self.output_path.prepare();
        let (question, what) = match reply {
            Reply::To { text, language } => {
                let what = ReplyText::reply_to(text.clone(), language, &self.languages, &self.plan.tts);
                (matches!(what, ReplyText::AnswerTo { .. }).then_some(text), what)
            }
            Reply::AskAgain => (None, ReplyText::Words(self.plan.asr.unclear_reply.clone())),
        };
        self.answer = Some(SpokenAnswer::new(turn, question, self.output_path.glitches()));
        self.answering.set(turn);
        let fresh = std::mem::take(&mut self.fresh);
        self.queues().answer_jobs.put(AnswerJob {
            turn,
            what,
            past: self.past.clone(),
            fresh,
            sentence_end_probability: true,
        });
    }

    fn drop_answer(&mut self) {
        self.answering.set(TurnId::default());
        self.output_path.break_off(self.now());
        self.answer = None;
    }

    fn end(&mut self, turn: TurnId, how: Ending, heard: usize) {
        let answer = self.answer.take().filter(|answer| answer.turn == turn);
        self.answering.set(TurnId::default());
        match how {
            Ending::Done => self.output_path.fall_silent(),
            _ => self.output_path.break_off(self.now()),
        }
        let Some(answer) = answer else { return };
        let heard = answer.heard(heard);
        if answer.question.is_some() && how != Ending::Revised {
            self.past = Past { turn, heard: (how != Ending::Done).then(|| heard.to_owned()) };
        }
        self.journal.note(turn, Event::Done);
        let timings = Timings::of(&self.journal.of(turn));
        let (question, heard) = (answer.question.clone().unwrap_or_default(), heard.to_owned());
        let glitches = self.output_path.glitches() - answer.glitches;
        let echo_loss = self.front.echo_loss().enhancement();
        self.happened.push(SessionEvent::Exchange(Exchange {
            turn,
            question,
            heard,
            how,
            timings,
            glitches,
            echo_loss,
        }));
    }
}
