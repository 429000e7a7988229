//! A conversation on real devices: the turn machine in the middle of the graph.
//!
//! One thread ([`Live::step`], over and over) has the microphone, voice activity, the machine and the speaker; the
//! recogniser, the language model and the voice have theirs, and so has the judge, who hears at each pause what the
//! recogniser hears and a little more silence, and says how likely it is that nothing more is to come. What happens is told
//! to the machine as it happens, and its commands are carried out here; nothing here decides. The wake word is listened for
//! on the same thread: it costs 1.5 ms of every 80.
//!
//! Recognitions and answers have present turns of their own, because somebody may speak while an answer is being given. The
//! sound of an answer comes through a queue of its own, which is not emptied while much of it waits to be heard: so the
//! voice, and through it the language model, wait for the listener.

mod along;
mod ears;
mod judging;
mod mouth;
mod name;
mod spoken;
mod terms;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use super::elsewhere::elsewhere;
use super::latest::{Latest, latest};
use super::listen::Utterance;
use super::stage::{PresentTurn, Result, Stages};
use super::worker::{HearingJob, JudgingJob, Message, Past, Say, ThinkingJob, Voiced, Worker, spawn};
use crate::asr::{self, Cancel};
use crate::audio::device::{Capture, Card, Change, Clock, Direction, Playback, PlaybackSettings};
use crate::audio::front::Front;
use crate::audio::{AudioError, Earcon, Meter};
use crate::config::Plan;
use crate::observe::{Event, Journal, Timings};
use crate::turn::{
    self, AnswerEvent, BargeIn, Command, Control, Device, Ending, Input, Machine, Notice, Pause, PlaybackEvent, Reply,
    Stage, Verdict, View,
};
use crate::types::{Ms, TurnId};
use along::Along;
use ears::{Ears, Heard};
use judging::Judging;
use mouth::{Mouth, Progress};
use name::NameEar;
use spoken::Spoken;
use terms::{turn_settings, words};

/// Messages that may wait: sentences and pieces of text are small, and stages wait for room.
const QUEUE: usize = 64;
/// Chunks of sound that may wait.
const SOUNDS: usize = 4;
/// Frames of the microphone, 32 ms each, that cannot be judged one after another: after a second the ears are dead.
const MOST_DEAF: u32 = 32;
/// How long the thread sleeps when nobody tells it anything: half a block of the microphone.
pub const TICK: Duration = Duration::from_millis(5);
/// How long a conversation that ends waits for its stages. One that hangs in foreign code is left behind.
const FAREWELL: Duration = Duration::from_secs(5);

/// Which devices.
pub struct Devices {
    pub card: Arc<dyn Card>,
    /// Names, or [`DEFAULT`](crate::audio::device::DEFAULT).
    pub microphone: String,
    pub speaker: String,
}

/// Something that a person may want to see.
#[derive(Clone, Debug)]
pub enum Happening {
    Device(Change),
    View(View),
    /// What was understood so far of somebody who speaks on.
    Partial(asr::Transcript),
    /// What was understood, before it is certain that it was all.
    Understood(asr::Transcript),
    /// An answer has ended.
    Answered(Answered),
    Notice(Notice),
    /// A stage failed, in its own words.
    Failed(String),
}

/// One exchange.
#[derive(Clone, Debug)]
pub struct Answered {
    pub turn: TurnId,
    /// Empty where Sotto asked for it again.
    pub question: String,
    /// What of the answer was heard.
    pub heard: String,
    pub how: Ending,
    pub timings: Option<Timings>,
    /// How often the speaker ran dry, or was interrupted by the system.
    pub glitches: u64,
    /// By how many decibels Sotto's own voice was weaker behind the canceller, where that is known.
    pub echo_loss: Option<f32>,
}

/// What a person may want to see at this moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Glance<'a> {
    pub view: View,
    /// Of the microphone, in decibels of full scale; minus infinity where it gives none.
    pub level: f32,
    /// What was heard of the answer that is being given, and what is written beyond.
    pub heard: &'a str,
    pub ahead: &'a str,
}

/// The conversation, running.
pub struct Live {
    plan: Plan,
    /// Two-letter codes of what can be spoken.
    languages: Vec<String>,
    clock: Arc<dyn Clock>,
    machine: Machine,
    capture: Capture,
    /// What the microphone gives, before anything is done to it.
    meter: Meter,
    front: Front,
    ears: Ears,
    mouth: Mouth,
    /// The turns that are worth recognising, and answering.
    hearing: PresentTurn,
    answering: PresentTurn,
    journal: Journal,
    cancel: Cancel,
    /// Where the recogniser can.
    along: Option<Along>,
    judging: Judging,
    answer: Option<Spoken>,
    /// How far it was when that was told last.
    progress: Option<Progress>,
    /// The last exchange of the history.
    past: Past,
    /// The next answer is to know of none.
    fresh: bool,
    /// Taken away when the conversation is dropped.
    queues: Option<Queues>,
    stages: Vec<JoinHandle<()>>,
    happened: Vec<Happening>,
}

struct Queues {
    hearing: Latest<HearingJob>,
    judging: Option<Latest<JudgingJob>>,
    thinking: Latest<ThinkingJob>,
    inbox: Receiver<Message>,
    sounds: Receiver<Message>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.stop_reading_along();
        self.hearing.set(TurnId::default());
        self.answering.set(TurnId::default());
        self.queues = None;
        let deadline = Instant::now() + FAREWELL;
        while !self.stages.iter().all(JoinHandle::is_finished) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Live {
    /// Opens the devices and starts a thread for each stage. Devices that are not there are waited for.
    pub fn start(
        stages: Stages,
        plan: &Plan,
        devices: Devices,
        journal: Journal,
    ) -> std::result::Result<Live, AudioError> {
        let (hearing, answering) = (PresentTurn::default(), PresentTurn::default());
        let ((tell, inbox), (tell_sound, sounds)) = (bounded(QUEUE), bounded(SOUNDS));
        let ((hear, hear_in), (think, think_in), (begun, begun_in)) = (latest(), latest(), latest());
        let (speech, speech_in) = bounded(QUEUE);
        let Stages { detector, judge, name, recogniser, thinker, speaker, turn_weights } = stages;
        let name = name.zip(plan.hear.wake_word.as_ref()).map(|(name, plan)| NameEar::new(name, plan));
        let worker = |present: &PresentTurn, tell| Worker { present: present.clone(), journal: journal.clone(), tell };
        let (rate, languages, priority) = (speaker.rate(), speaker.languages(), plan.llm.priority);
        let along = recogniser.reads_along().then(Along::default);
        let mut threads = Vec::new();
        let judging = judge.map(|judge| {
            let (queue, jobs) = latest();
            threads.push(spawn("judge", worker(&hearing, tell.clone()), move |worker| worker.judging(judge, &jobs)));
            queue
        });
        threads.extend([
            spawn("recognise", worker(&hearing, tell.clone()), move |worker| worker.recognising(recogniser, &hear_in)),
            spawn("think", worker(&answering, tell), move |worker| {
                worker.lower(priority);
                worker.thinking(thinker, &think_in, &Voiced { speech, begun: begun_in })
            }),
            spawn("speak", worker(&answering, tell_sound), move |worker| worker.speaking(speaker, &speech_in, &begun)),
        ]);
        let (card, elsewhere) = (devices.card, elsewhere());
        let settings = PlaybackSettings::at(rate);
        let playback = Playback::open(card.clone(), &devices.speaker, settings, elsewhere.clone())?;
        let turns = turn_settings(plan, name.is_some(), turn_weights);
        let ears = Ears::new(detector, name, &plan.hear, turns.own_sound);
        Ok(Live {
            plan: plan.clone(),
            languages,
            clock: card.clock(),
            machine: Machine::new(turns),
            capture: Capture::open(card, &devices.microphone, elsewhere),
            meter: Meter::default(),
            front: Front::new(&plan.audio),
            ears,
            mouth: Mouth::new(playback, rate),
            hearing,
            answering,
            journal,
            cancel: Cancel::default(),
            along,
            judging: Judging::default(),
            answer: None,
            progress: None,
            past: Past::default(),
            fresh: false,
            queues: Some(Queues { hearing: hear, judging, thinking: think, inbox, sounds }),
            stages: threads,
            happened: Vec::new(),
        })
    }

    /// Waits up to `patience`, or until something is due, for a stage to say something, looks after everything, and says what
    /// happened. To be called over and over, every [`TICK`]. Errors when the conversation cannot go on: a stage has ended.
    pub fn step(&mut self, patience: Duration) -> Result<Vec<Happening>> {
        let patience = (self.until_due().0 / 1000.0).clamp(0.0, patience.as_secs_f64());
        let first = self.queues().inbox.recv_timeout(Duration::from_secs_f64(patience)).ok();
        first.into_iter().try_for_each(|message| self.take(message))?;
        self.take_all()?;
        while self.mouth.has_room()
            && let Ok(message) = self.queues().sounds.try_recv()
        {
            // A sentence is told before it is said, but through the other queue.
            self.take_all()?;
            self.take(message)?;
        }
        self.listen()?;
        self.read_along();
        self.ask_judge();
        if self.until_due().0 <= 0.0 {
            self.tell(Input::Tick);
        }
        self.speak();
        Ok(std::mem::take(&mut self.happened))
    }

    /// Until the machine has something to do, whatever is heard: endless where nothing waits.
    fn until_due(&self) -> Ms {
        Ms(self.machine.next_deadline().map_or(f64::INFINITY, |deadline| deadline.0 - self.now().0))
    }

    pub fn control(&mut self, control: Control) {
        self.tell(Input::Control(control));
    }

    pub fn view(&self) -> View {
        self.machine.view()
    }

    /// The pause in what is being said, if there is one now.
    pub fn pause(&self) -> Option<Pause> {
        self.machine.pause()
    }

    /// Whether words that were asked for, what the judge says of them, or the first sentence of an
    /// answer are still to come: a clock that can stand still may wait for them.
    pub fn is_awaiting(&self) -> bool {
        let awaited = self.machine.awaits_words() || self.judging.is_awaited(&self.hearing);
        awaited || self.answer.as_ref().is_some_and(|answer| answer.is_silent() && !answer.made)
    }

    pub fn glance(&self) -> Glance<'_> {
        let given = self.machine.answering().zip(self.answer.as_ref());
        let given = given.filter(|((turn, _), answer)| answer.turn == *turn);
        let (heard, ahead) = given.map(|((_, heard), answer)| answer.parted(heard)).unwrap_or_default();
        Glance { view: self.view(), level: self.meter.decibels(), heard, ahead }
    }

    /// What is asked from now on is a new conversation.
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
            let played = self.mouth.reference(at);
            self.front.process(&mut samples, &played);
            let heard = Heard { samples: &samples, words: self.front.words(), played: &played };
            for event in self.ears.hear(heard, at) {
                match event {
                    Ok(event) => self.tell(event),
                    Err(error) => self.ears_failed(error)?,
                }
            }
        }
        Ok(())
    }

    /// Reads what is being said, while somebody says it and nobody else needs the cores.
    fn read_along(&mut self) {
        let (now, voiced) = (self.now(), self.ears.is_voiced());
        let making = self.answer.as_ref().is_some_and(|answer| !answer.made);
        let Some(along) = &mut self.along else { return };
        if !voiced {
            return along.let_go(now);
        }
        let Some((turn, from)) = along.due(now).filter(|_| !making) else { return };
        let cancel = along.begin(now);
        let utterance = self.utterance(from, now);
        self.queues().hearing.put(HearingJob { turn, utterance, cancel, along: true });
        self.compare(turn, from, now);
    }

    fn stop_reading_along(&mut self) {
        let now = self.now();
        self.along.iter_mut().for_each(|along| along.end(now));
    }

    /// A frame that could not be judged counts as silence; ears that judge none any more are the end.
    fn ears_failed(&mut self, error: anyhow::Error) -> Result<()> {
        match self.ears.failures() {
            1 => {
                self.happened.push(Happening::Failed(format!("{error:#}")));
                self.tell(Input::StageFailed { stage: Stage::Ears, turn: None });
                Ok(())
            }
            MOST_DEAF.. => Err(error),
            _ => Ok(()),
        }
    }

    fn speak(&mut self) {
        if let Some(change) = self.mouth.step(self.now()) {
            self.device_changed(change);
        }
        let Some(progress) = self.mouth.progress() else { return };
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
        self.tell(Input::Playback { turn: progress.turn, event });
    }

    fn device_changed(&mut self, change: Change) {
        let (Change::Opened { direction, .. } | Change::Lost { direction, .. }) = &change;
        let device = match direction {
            Direction::Input => Device::Microphone,
            Direction::Output => Device::Speaker,
        };
        let input = match &change {
            Change::Opened { .. } => Input::DeviceBack(device),
            Change::Lost { .. } => Input::DeviceLost(device),
        };
        // Another device, or another distance: what the canceller has learned of the room no longer holds.
        self.front.reset();
        self.meter = Meter::default();
        self.happened.push(Happening::Device(change));
        self.tell(input);
    }

    /// Everything that stages have said but sound.
    fn take_all(&mut self) -> Result<()> {
        let waiting: Vec<Message> = self.queues().inbox.try_iter().collect();
        waiting.into_iter().try_for_each(|message| self.take(message))
    }

    /// What a stage says.
    fn take(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Recognised(turn, transcript) => self.recognised(turn, transcript),
            Message::Partial(turn, transcript, cancel) if self.hearing.is(turn) && !cancel.is_cancelled() => {
                self.read_so_far(turn, transcript);
            }
            Message::Partial(..) => {}
            Message::Weighed(turn, probability) => self.tell(Input::WordsWeighed { turn, probability }),
            Message::Judged(turn, probability) => {
                self.judging.end(turn);
                self.tell(Input::EndOfTurnScore { turn, probability });
            }
            Message::JudgeFailed(error) => {
                self.judging = Judging::default();
                self.queues.iter_mut().for_each(|queues| queues.judging = None);
                self.happened.push(Happening::Failed(format!("{error:#}")));
            }
            Message::Piece(turn, piece) => self.follow(turn, |answer| answer.written(&piece)),
            Message::Sentence(turn, sentence) => {
                let begun = self.answer.as_ref().is_some_and(|answer| answer.turn == turn && answer.is_silent());
                self.follow(turn, |answer| answer.sentence(&sentence));
                if begun {
                    self.tell(Input::Answer { turn, event: AnswerEvent::FirstSentence });
                }
            }
            Message::Sound(frame) => {
                let turn = frame.turn;
                let Some(answer) = self.answer.as_mut().filter(|answer| answer.turn == turn) else { return Ok(()) };
                let events = answer.sound(&frame);
                self.mouth.sound(frame);
                events.into_iter().for_each(|event| self.tell(Input::Answer { turn, event }));
            }
            Message::AnswerSpoken(turn) => {
                if self.answer.as_ref().is_some_and(|answer| answer.turn == turn) {
                    self.follow(turn, |answer| answer.made = true);
                    self.mouth.complete();
                    self.tell(Input::Answer { turn, event: AnswerEvent::Complete });
                }
            }
            Message::TurnFailed(stage, turn, error) => {
                let current = [self.hearing.get(), self.answering.get()].contains(&turn);
                if current {
                    self.happened.push(Happening::Failed(format!("{error:#}")));
                    self.tell(Input::StageFailed { stage, turn: Some(turn) });
                }
            }
            Message::StageDied(error) => return Err(error),
            Message::Heard(..) | Message::ListeningFailed(..) => {}
        }
        Ok(())
    }

    fn follow(&mut self, turn: TurnId, note: impl FnOnce(&mut Spoken)) {
        if let Some(answer) = self.answer.as_mut().filter(|answer| answer.turn == turn) {
            note(answer);
        }
    }

    fn recognised(&mut self, turn: TurnId, transcript: asr::Transcript) {
        if !self.hearing.is(turn) {
            return;
        }
        self.journal.note(turn, Event::Transcript);
        let words = words(&transcript);
        self.happened.push(Happening::Understood(transcript));
        self.tell(Input::Recognised { turn, transcript: words });
    }

    fn read_so_far(&mut self, turn: TurnId, transcript: asr::Transcript) {
        let now = self.now();
        self.along.iter_mut().for_each(|along| along.done(now));
        let words = words(&transcript);
        if words.verdict == Verdict::Nothing {
            return;
        }
        self.journal.note(turn, Event::PartialTranscript);
        self.happened.push(Happening::Partial(transcript));
        self.tell(Input::Partial { turn, transcript: words });
    }

    fn tell(&mut self, input: Input) {
        for command in self.machine.on(self.now(), input) {
            self.obey(command);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::BeginRecognition { turn, from } => {
                self.hearing.set(turn);
                self.along.iter_mut().for_each(|along| along.follow(turn, from));
                self.compare(turn, from, self.now());
            }
            Command::Recognise { turn, from, to } => self.recognise(turn, from, to),
            Command::CancelRecognition { .. } => {
                self.cancel.cancel();
                self.stop_reading_along();
                self.hearing.set(TurnId::default());
            }
            Command::Prepare { turn, reply } => self.prepare(turn, reply),
            Command::Discard { .. } => self.drop_answer(),
            Command::Confirm { turn } => {
                self.journal.note(turn, Event::TurnDecided);
                self.mouth.say(turn);
            }
            Command::Duck { .. } => self.mouth.duck(true),
            Command::Unduck { .. } => self.mouth.duck(false),
            Command::Pause { .. } => self.mouth.pause(),
            Command::Resume { from, .. } => self.mouth.resume(from, self.now()),
            Command::End { turn, how, heard } => self.end(turn, how, heard),
            Command::Notice(notice) => self.happened.push(Happening::Notice(notice)),
            Command::Show(view) => self.happened.push(Happening::View(view)),
            Command::Earcon(turn::Earcon::Listening) if self.plan.turn.earcons => self.mouth.ring(Earcon::LISTENING),
            Command::Earcon(turn::Earcon::Thinking) if self.plan.turn.earcons => self.mouth.ring(Earcon::THINKING),
            Command::Earcon(_) => {}
        }
    }

    fn recognise(&mut self, turn: TurnId, from: Ms, to: Ms) {
        let now = self.now();
        self.along.iter_mut().for_each(|along| along.end_at(to, now));
        let utterance = self.utterance(from, to);
        self.journal.note_at(turn, utterance.last_sample_at, Event::LastSpeechSample);
        self.hearing.set(turn);
        self.cancel = Cancel::default();
        self.judging.pause((turn, from, to));
        self.queues().hearing.put(HearingJob { turn, utterance, cancel: self.cancel.clone(), along: false });
        self.compare(turn, from, to);
    }

    /// What is to be understood of the speech between two moments. Where a stop word alone ends an answer, it is worth a try
    /// in what sounds like the answer, too.
    fn utterance(&mut self, from: Ms, to: Ms) -> Utterance {
        let tries = self.machine.settings().barge_in == BargeIn::Stop && self.machine.answering().is_some();
        self.ears.utterance(from, to, tries, (self.now(), Instant::now()))
    }

    /// Tells whether it may be the answer that is heard.
    fn compare(&mut self, turn: TurnId, from: Ms, to: Ms) {
        let likeness = self.ears.likeness(from, to);
        self.tell(Input::LikePlayed { turn, likeness });
    }

    /// Lets the pause be judged once there is enough of it.
    fn ask_judge(&mut self) {
        if self.queues().judging.is_none() {
            return;
        }
        let Some((turn, from, to)) = self.judging.take_due(&self.hearing, self.now()) else { return };
        let job = JudgingJob { turn, samples: self.utterance(from, to).samples };
        if let Some(judge) = &self.queues().judging {
            judge.put(job);
        }
    }

    fn prepare(&mut self, turn: TurnId, reply: Reply) {
        self.mouth.prepare();
        let (question, what) = match reply {
            Reply::To { text, language } => {
                let what = Say::reply_to(text.clone(), language, &self.languages, &self.plan.tts);
                (matches!(what, Say::AnswerTo { .. }).then_some(text), what)
            }
            Reply::AskAgain => (None, Say::Words(self.plan.asr.unclear_reply.clone())),
        };
        self.answer = Some(Spoken::new(turn, question, self.mouth.glitches()));
        self.answering.set(turn);
        let fresh = std::mem::take(&mut self.fresh);
        self.queues().thinking.put(ThinkingJob { turn, what, past: self.past.clone(), fresh, weigh: true });
    }

    fn drop_answer(&mut self) {
        self.answering.set(TurnId::default());
        self.mouth.break_off(self.now());
        self.answer = None;
    }

    fn end(&mut self, turn: TurnId, how: Ending, heard: usize) {
        let answer = self.answer.take().filter(|answer| answer.turn == turn);
        self.answering.set(TurnId::default());
        match how {
            Ending::Done => self.mouth.fall_silent(),
            _ => self.mouth.break_off(self.now()),
        }
        let Some(answer) = answer else { return };
        let heard = answer.heard(heard);
        if answer.question.is_some() && how != Ending::Revised {
            self.past = Past { turn, heard: (how != Ending::Done).then(|| heard.to_owned()) };
        }
        self.journal.note(turn, Event::Done);
        let timings = Timings::of(&self.journal.of(turn));
        let (question, heard) = (answer.question.clone().unwrap_or_default(), heard.to_owned());
        let glitches = self.mouth.glitches() - answer.glitches;
        let echo_loss = self.front.echo_loss().enhancement();
        self.happened.push(Happening::Answered(Answered { turn, question, heard, how, timings, glitches, echo_loss }));
    }
}
