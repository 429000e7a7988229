//! One spoken question from a clip to one spoken answer: the graph's threads and the coordinator that follows a turn.
//!
//! Work runs ahead of certainty. At the first pause the speech so far is recognised and answered, and the answer's sound
//! is held back; when the pause has lasted long enough the turn is decided and the sound is let go. When speech goes on
//! instead, the turn's number advances and all that was made for the older number is dropped where it is met.
//!
//! Every queue is bounded. Jobs for the recogniser and the thinker sit in a place for one, where the newer replaces the
//! older; sentences, and sound on its way back, wait. The coordinator never waits to send, so nothing can lock up.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::latest::{Latest, latest};
use super::listen::{Heard, Pace, Utterance, listen};
use super::stage::{Detector, PresentTurn, Recogniser, Result, Speaker, Stages, Thinker};
use crate::asr::{Cancel, Transcript, Verdict};
use crate::config::{self, Plan};
use crate::observe::{Event, Journal, Timings};
use crate::tts::Sentences;
use crate::types::{Frame, Ms, SampleRate, TurnId};

/// Sentences that may wait for the voice, and chunks of sound that may wait for the coordinator.
const QUEUE: usize = 16;

/// Once the file is over, a stage that says nothing for so long has hung in foreign code, and is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// The longest that the language model waits for the voice to begin.
const HEAD_START: Duration = Duration::from_millis(200);

/// A sample from which a listener hears something: -50 dB of full scale.
const AUDIBLE: f32 = 0.003;

/// What became of a clip.
#[derive(Clone, Debug)]
pub enum Outcome {
    Answered(Box<Answered>),
    /// Nobody spoke, or what sounded like speech was none; the reason says what was there.
    Silence {
        why: String,
    },
}

#[derive(Clone, Debug)]
pub struct Answered {
    pub transcript: Transcript,
    pub reply: String,
    /// How long the speech lasted, its pauses included.
    pub heard: Ms,
    pub timings: Timings,
}

/// Where the answer goes while it is made.
pub trait Sink {
    /// The reply starts (again): what came before belongs to a turn that did not hold.
    fn begin(&mut self) -> Result<()>;
    fn text(&mut self, piece: &str) -> Result<()>;
    fn sound(&mut self, samples: &[f32]) -> Result<()>;
}

/// How long a pipeline that is dropped waits for its stages. One that hangs in foreign code is left behind.
const FAREWELL: Duration = Duration::from_secs(5);

/// The graph, running. Dropping it closes its queues and waits for the threads: foreign code that still ran while the
/// process ends would meet its own globals half torn down.
pub struct Pipeline {
    plan: Plan,
    present: PresentTurn,
    /// Counts clips as `present` counts turns: a clip that was given up is listened to no further.
    present_clip: PresentTurn,
    /// The last turn whose answer was given. What the thinker answered after it did not hold.
    confirmed: TurnId,
    /// The next question begins a conversation of its own.
    fresh: bool,
    journal: Journal,
    rate: SampleRate,
    /// What the recogniser works on, to be told to stop.
    cancel: Cancel,
    /// Taken away when the pipeline is dropped.
    queues: Option<Queues>,
    stages: Vec<JoinHandle<()>>,
}

struct Queues {
    clips: Sender<ListeningJob>,
    hearing: Latest<HearingJob>,
    thinking: Latest<ThinkingJob>,
    inbox: Receiver<Message>,
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.give_up();
        self.queues = None;
        let deadline = Instant::now() + FAREWELL;
        while !self.stages.iter().all(JoinHandle::is_finished) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

struct ListeningJob {
    clip: TurnId,
    samples: Arc<[f32]>,
    pace: Pace,
}

struct HearingJob {
    turn: TurnId,
    utterance: Utterance,
    cancel: Cancel,
}

struct ThinkingJob {
    turn: TurnId,
    what: Say,
    confirmed: TurnId,
    fresh: bool,
}

enum Say {
    /// Ask the language model.
    AnswerTo(String),
    /// The question was not understood; this asks for it again.
    Words(String),
}

/// What goes to the voice.
enum Speech {
    Sentence(String),
    EndOfAnswer,
}

/// What comes back to the coordinator.
enum Message {
    Heard(TurnId, Heard),
    Recognised(TurnId, Transcript),
    Piece(TurnId, String),
    Sound(Frame),
    AnswerSpoken(TurnId),
    Failed(anyhow::Error),
}

impl Pipeline {
    /// Starts a thread for each stage.
    pub fn start(stages: Stages, plan: &Plan, journal: Journal) -> Pipeline {
        let (present, present_clip) = (PresentTurn::default(), PresentTurn::default());
        let (tell, inbox) = bounded(QUEUE);
        let (clips, clips_in) = bounded(1);
        let (hearing, hearing_in) = latest();
        let (thinking, thinking_in) = latest();
        let (speech, speech_in) = bounded(QUEUE);
        let (begun, begun_in) = latest();
        let rate = stages.speaker.rate();
        let Stages { detector, recogniser, thinker, speaker } = stages;
        let context = || Worker { present: present.clone(), journal: journal.clone(), tell: tell.clone() };

        let (hear, clip) = (plan.hear.clone(), present_clip.clone());
        let stages = vec![
            spawn("listen", context(), move |worker| worker.listening(detector, &hear, &clip, &clips_in)),
            spawn("recognise", context(), move |worker| worker.recognising(recogniser, &hearing_in)),
            spawn("think", context(), move |worker| {
                worker.thinking(thinker, &thinking_in, &Voiced { speech, begun: begun_in })
            }),
            spawn("speak", context(), move |worker| worker.speaking(speaker, &speech_in, &begun)),
        ];
        let queues = Some(Queues { clips, hearing, thinking, inbox });
        let (plan, confirmed, fresh, cancel) = (plan.clone(), TurnId::default(), false, Cancel::default());
        Pipeline { plan, present, present_clip, confirmed, fresh, journal, rate, cancel, queues, stages }
    }

    /// The rate of the sound that the sink receives.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// The next question begins a conversation of its own.
    pub fn forget(&mut self) {
        self.fresh = true;
    }

    /// Answers the question in `samples` (16 kHz mono) into `sink`.
    pub fn ask(&mut self, samples: Arc<[f32]>, pace: Pace, sink: &mut dyn Sink) -> Result<Outcome> {
        let (clip, turn) = (self.present_clip.advance(), self.present.advance());
        let job = ListeningJob { clip, samples, pace };
        self.queues().clips.send(job).map_err(|_| anyhow!("the listening stage has ended"))?;
        let mut asked = Asked::new(turn, sink);
        let outcome = self.follow(clip, &mut asked);
        if matches!(outcome, Ok(Outcome::Answered(_))) {
            self.confirmed = asked.turn;
            self.fresh = false;
        }
        self.give_up();
        outcome
    }

    fn queues(&self) -> &Queues {
        self.queues.as_ref().expect("only a drop takes them")
    }

    /// Whatever is still under way belongs to no turn any more.
    fn give_up(&mut self) {
        self.cancel.cancel();
        self.present_clip.advance();
        self.present.advance();
    }

    fn follow(&mut self, clip: TurnId, asked: &mut Asked) -> Result<Outcome> {
        loop {
            if let Some(outcome) = asked.outcome(&self.journal)? {
                return Ok(outcome);
            }
            match self.next_message(asked.file_over)? {
                Message::Heard(of, heard) if of == clip => self.heard(asked, heard)?,
                Message::Recognised(turn, transcript) if turn == asked.turn => self.recognised(asked, transcript),
                Message::Piece(turn, piece) if turn == asked.turn => asked.piece(piece)?,
                Message::Sound(frame) if frame.turn == asked.turn => asked.sound(frame, &self.journal)?,
                Message::AnswerSpoken(turn) if turn == asked.turn => asked.spoken = true,
                Message::Failed(error) => return Err(error),
                _stale => {}
            }
        }
    }

    fn next_message(&self, file_over: bool) -> Result<Message> {
        let patience = if file_over { PATIENCE } else { Duration::MAX };
        match self.queues().inbox.recv_timeout(patience) {
            Ok(message) => Ok(message),
            Err(RecvTimeoutError::Timeout) => {
                Err(anyhow!("no stage has answered for {} s: one of them hangs; try again", PATIENCE.as_secs()))
            }
            Err(RecvTimeoutError::Disconnected) => Err(anyhow!("every stage has ended")),
        }
    }

    fn heard(&mut self, asked: &mut Asked, heard: Heard) -> Result<()> {
        match heard {
            Heard::Paused(utterance) => self.recognise(asked, utterance)?,
            Heard::Resumed => {
                self.cancel.cancel();
                asked.restart(self.present.advance())?;
            }
            Heard::Decided => asked.decide(&self.journal)?,
            Heard::EndOfFile => asked.file_over = true,
        }
        Ok(())
    }

    fn recognise(&mut self, asked: &mut Asked, utterance: Utterance) -> Result<()> {
        let longest = self.plan.hear.max_turn;
        if utterance.length > longest {
            return Err(anyhow!(
                "the speech lasts {:.1} s; a question may last at most {:.1} s ([hear] max_turn_ms); for long recordings \
                 use \"sotto transcribe\"",
                utterance.length.0 / 1000.0,
                longest.0 / 1000.0
            ));
        }
        asked.heard = Some(utterance.length);
        self.journal.note_at(asked.turn, utterance.last_sample_at, Event::LastSpeechSample);
        self.cancel = Cancel::default();
        self.queues().hearing.put(HearingJob { turn: asked.turn, utterance, cancel: self.cancel.clone() });
        Ok(())
    }

    fn recognised(&self, asked: &mut Asked, transcript: Transcript) {
        self.journal.note(asked.turn, Event::Transcript { text: transcript.text.clone() });
        let what = match &transcript.verdict {
            Verdict::Certain => Some(Say::AnswerTo(transcript.text.clone())),
            Verdict::Doubtful(_) => Some(Say::Words(self.plan.asr.unclear_reply.clone())),
            Verdict::Nothing(_) => None,
        };
        asked.transcript = Some(transcript);
        if let Some(what) = what {
            let job = ThinkingJob { turn: asked.turn, what, confirmed: self.confirmed, fresh: self.fresh };
            self.queues().thinking.put(job);
        }
    }
}

/// One question being followed.
struct Asked<'a> {
    turn: TurnId,
    sink: &'a mut dyn Sink,
    /// How long the speech lasted, once there was some.
    heard: Option<Ms>,
    file_over: bool,
    decided: bool,
    transcript: Option<Transcript>,
    reply: String,
    /// Text and sound of a turn that is not decided yet.
    held: Vec<Held>,
    audible: bool,
    spoken: bool,
}

enum Held {
    Text(String),
    Sound(Frame),
}

impl<'a> Asked<'a> {
    fn new(turn: TurnId, sink: &'a mut dyn Sink) -> Self {
        Asked {
            turn,
            sink,
            heard: None,
            file_over: false,
            decided: false,
            transcript: None,
            reply: String::new(),
            held: Vec::new(),
            audible: false,
            spoken: false,
        }
    }

    /// Speech went on: the question starts again under a new number.
    fn restart(&mut self, turn: TurnId) -> Result<()> {
        self.turn = turn;
        self.decided = false;
        self.transcript = None;
        self.reply.clear();
        self.held.clear();
        self.audible = false;
        self.spoken = false;
        self.sink.begin()
    }

    fn decide(&mut self, journal: &Journal) -> Result<()> {
        if self.decided {
            return Ok(());
        }
        self.decided = true;
        journal.note(self.turn, Event::TurnDecided);
        for held in std::mem::take(&mut self.held) {
            match held {
                Held::Text(piece) => self.sink.text(&piece)?,
                Held::Sound(frame) => self.play(&frame, journal)?,
            }
        }
        Ok(())
    }

    fn piece(&mut self, piece: String) -> Result<()> {
        self.reply.push_str(&piece);
        if self.decided {
            return self.sink.text(&piece);
        }
        self.held.push(Held::Text(piece));
        Ok(())
    }

    fn sound(&mut self, frame: Frame, journal: &Journal) -> Result<()> {
        if self.decided {
            return self.play(&frame, journal);
        }
        self.held.push(Held::Sound(frame));
        Ok(())
    }

    fn play(&mut self, frame: &Frame, journal: &Journal) -> Result<()> {
        let first_audible = || frame.samples.iter().position(|sample| sample.abs() >= AUDIBLE);
        if let Some(offset) = (!self.audible).then(first_audible).flatten() {
            self.audible = true;
            let until = frame.rate.duration(offset).0 / 1000.0;
            journal.note_at(self.turn, Instant::now() + Duration::from_secs_f64(until), Event::FirstAudible);
        }
        self.sink.sound(&frame.samples)
    }

    /// What became of the question, once nothing more can come.
    fn outcome(&mut self, journal: &Journal) -> Result<Option<Outcome>> {
        if !self.file_over {
            return Ok(None);
        }
        let Some(heard) = self.heard else {
            return Ok(Some(Outcome::Silence { why: "no speech was found".to_owned() }));
        };
        let Some(transcript) = &self.transcript else { return Ok(None) };
        if let Verdict::Nothing(why) = &transcript.verdict {
            return Ok(Some(Outcome::Silence { why: why.to_string() }));
        }
        if !(self.spoken && self.decided) {
            return Ok(None);
        }
        journal.note(self.turn, Event::Done);
        let timings = Timings::of(&journal.of(self.turn)).context("the turn has no last speech sample")?;
        Ok(Some(Outcome::Answered(Box::new(Answered {
            transcript: transcript.clone(),
            reply: self.reply.trim().to_owned(),
            heard,
            timings,
        }))))
    }
}

/// The voice, as the thinker sees it.
struct Voiced {
    speech: Sender<(TurnId, Speech)>,
    /// The turn whose first sound was made last.
    begun: Receiver<TurnId>,
}

impl Voiced {
    fn say(&self, turn: TurnId, speech: Speech) {
        let _dropped = self.speech.send((turn, speech));
    }

    /// Waits until the first sound of `turn` is made. The voice then has the processor to itself while somebody waits for
    /// it; the rest of the answer is written faster than it is spoken anyhow.
    fn let_it_begin(&self, turn: TurnId) {
        let deadline = Instant::now() + HEAD_START;
        while self.begun.recv_deadline(deadline).is_ok_and(|begun| begun != turn) {}
    }
}

/// What every stage's thread has at hand.
struct Worker {
    present: PresentTurn,
    journal: Journal,
    tell: Sender<Message>,
}

/// Starts a stage. An error of the stage, or its panic, reaches the coordinator as the turn's failure.
fn spawn(
    name: &'static str,
    worker: Worker,
    stage: impl FnOnce(&Worker) -> Result<()> + Send + 'static,
) -> JoinHandle<()> {
    let run = move || {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stage(&worker)));
        let failure = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.context(format!("the {name} stage failed")),
            Err(_) => anyhow!("the {name} stage panicked; this is a defect of Sotto"),
        };
        // Nobody is left to tell when the pipeline was dropped first.
        let _dropped = worker.tell.send(Message::Failed(failure));
    };
    match thread::Builder::new().name(format!("sotto-{name}")).spawn(run) {
        Ok(thread) => thread,
        Err(error) => panic!("the system refuses a thread for the {name} stage: {error}"),
    }
}

impl Worker {
    fn listening(
        &self,
        mut detector: Box<dyn Detector>,
        plan: &config::Hear,
        present_clip: &PresentTurn,
        jobs: &Receiver<ListeningJob>,
    ) -> Result<()> {
        for ListeningJob { clip, samples, pace } in jobs {
            listen(&samples, pace, plan, detector.as_mut(), &mut |heard| {
                present_clip.is(clip) && self.tell.send(Message::Heard(clip, heard)).is_ok()
            })?;
        }
        Ok(())
    }

    fn recognising(&self, mut recogniser: Box<dyn Recogniser>, jobs: &Receiver<HearingJob>) -> Result<()> {
        for HearingJob { turn, utterance, cancel } in jobs {
            if !self.present.is(turn) {
                continue;
            }
            match recogniser.transcribe(&utterance.samples, &cancel) {
                Ok(transcript) => self.send(Message::Recognised(turn, transcript)),
                // A cancelled run ends as an error; so does anything else that went wrong for a turn nobody waits for.
                Err(_) if !self.present.is(turn) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn thinking(&self, mut thinker: Box<dyn Thinker>, jobs: &Receiver<ThinkingJob>, voice: &Voiced) -> Result<()> {
        // The turn of the last exchange in the thinker's history.
        let mut answered = TurnId::default();
        for ThinkingJob { turn, what, confirmed, fresh } in jobs {
            if !self.present.is(turn) {
                continue;
            }
            if fresh {
                thinker.forget_all();
            } else if answered > confirmed {
                thinker.forget_last();
            }
            answered = confirmed;
            if let Say::AnswerTo(_) = what {
                answered = turn;
            }
            self.answer(thinker.as_mut(), turn, &what, voice)?;
        }
        Ok(())
    }

    fn answer(&self, thinker: &mut dyn Thinker, turn: TurnId, what: &Say, voice: &Voiced) -> Result<()> {
        let mut cutter = Sentences::new();
        let mut sentences = 0;
        let mut say = |sentence: String| {
            if sentences == 0 {
                self.journal.note(turn, Event::FirstSentence { text: sentence.clone() });
            }
            sentences += 1;
            voice.say(turn, Speech::Sentence(sentence));
            if sentences == 1 {
                voice.let_it_begin(turn);
            }
        };
        let mut on_piece = |piece: &str| {
            self.present.go_on(turn)?;
            self.send(Message::Piece(turn, piece.to_owned()));
            cutter.push(piece).into_iter().for_each(&mut say);
            self.present.go_on(turn)
        };
        match what {
            Say::Words(words) => {
                let _stale = on_piece(words);
            }
            Say::AnswerTo(question) => {
                let mut begun = false;
                let tokens = thinker.answer(question, &mut |piece| {
                    if !std::mem::replace(&mut begun, true) {
                        self.journal.note(turn, Event::FirstToken);
                    }
                    on_piece(piece)
                })?;
                self.journal.note(turn, Event::LastToken { tokens });
            }
        }
        cutter.finish().into_iter().for_each(&mut say);
        voice.say(turn, Speech::EndOfAnswer);
        Ok(())
    }

    fn speaking(
        &self,
        mut speaker: Box<dyn Speaker>,
        jobs: &Receiver<(TurnId, Speech)>,
        begun: &Latest<TurnId>,
    ) -> Result<()> {
        let rate = speaker.rate();
        let mut first_sound_of = None;
        for (turn, speech) in jobs {
            if !self.present.is(turn) {
                continue;
            }
            let sentence = match speech {
                Speech::EndOfAnswer => {
                    self.send(Message::AnswerSpoken(turn));
                    continue;
                }
                Speech::Sentence(sentence) => sentence,
            };
            speaker.speak(&sentence, &mut |samples| {
                if first_sound_of.replace(turn) != Some(turn) {
                    self.journal.note(turn, Event::FirstPcm);
                    begun.put(turn);
                }
                self.present.go_on(turn)?;
                self.send(Message::Sound(Frame { turn, rate, samples: samples.to_vec() }));
                ControlFlow::Continue(())
            })?;
        }
        Ok(())
    }

    fn send(&self, message: Message) {
        // When the pipeline was dropped nobody waits for this any more; the stage's own queue ends next.
        let _dropped = self.tell.send(message);
    }
}
