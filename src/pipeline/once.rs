//! One spoken question from a clip to one spoken answer: the coordinator that follows a turn
//! through the graph.
//!
//! Work runs ahead of certainty. At the first pause the speech so far is recognised and answered,
//! and the answer's sound is held back; when the pause has lasted long enough the turn is decided
//! and the sound is let go. When speech goes on instead, the turn's number advances and all that
//! was made for the older number is dropped where it is met.
//!
//! Every queue is bounded. Jobs for the listener, the transcriber and the language model sit in a
//! place for one, where the newer replaces the older; sentences, and sound on its way back, wait.
//! The coordinator never waits to send, so nothing can lock up.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::active_question::ActiveQuestion;
use super::latest::{Latest, latest};
use super::listen::{PlaybackPace, SpeechClip, SpeechUpdate};
use super::stage::{CurrentTurn, Result, Stages};
use super::worker::{
    AnswerJob, DetectionJob, Past, ReplyText, StageMessage, SynthesizerQueue, TranscriptionJob, Worker, spawn,
};
use crate::asr::{Cancel, Transcript, Verdict};
use crate::config::Plan;
use crate::observe::{Event, Journal, Timings};
use crate::types::{Ms, SampleRate, TurnId};

/// Sentences that may wait for the voice, and chunks of sound that may wait for the coordinator.
const QUEUE: usize = 16;

/// Once the file is over, a stage that says nothing for so long has hung in foreign code, and is
/// given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Result of a clip.
#[derive(Clone, Debug)]
pub enum OnceOutcome {
    Answered(Box<OnceAnswer>),
    /// Nobody spoke, or what sounded like speech was none; the reason says what was there.
    Silence {
        why: String,
    },
}

#[derive(Clone, Debug)]
pub struct OnceAnswer {
    pub transcript: Transcript,
    pub reply: String,
    /// How long the speech lasted, its pauses included.
    pub heard: Ms,
    pub timings: Timings,
}

/// Destination of the answer while it is made.
pub trait Sink {
    /// The reply starts (again): what came before belongs to a turn that did not hold.
    fn begin(&mut self) -> Result<()>;
    fn text(&mut self, piece: &str) -> Result<()>;
    fn sound(&mut self, samples: &[f32]) -> Result<()>;
}

/// How long a pipeline that is dropped waits for its stages. One that hangs in foreign code is left
/// behind.
const FAREWELL: Duration = Duration::from_secs(5);

/// The graph, running. Dropping it closes its queues and waits for the threads: foreign code that
/// still ran while the process ends would meet its own globals half torn down.
pub struct Pipeline {
    plan: Plan,
    present: CurrentTurn,
    /// Counts clips as `present` counts turns: a clip that was given up is listened to no further.
    present_clip: CurrentTurn,
    /// The last turn whose answer was given. What the language model answered after it did not
    /// hold.
    confirmed: TurnId,
    /// The next question begins a conversation of its own.
    fresh: bool,
    journal: Journal,
    rate: SampleRate,
    /// Two-letter codes of what can be spoken.
    languages: Vec<String>,
    /// Cancels the transcriber's current run.
    cancel: Cancel,
    /// Taken away when the pipeline is dropped.
    queues: Option<Queues>,
    stages: Vec<JoinHandle<()>>,
    /// Why no question can be answered any more: a stage has ended.
    dead: Option<String>,
}

struct Queues {
    clips: Latest<DetectionJob>,
    hearing: Latest<TranscriptionJob>,
    answer_jobs: Latest<AnswerJob>,
    inbox: Receiver<StageMessage>,
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

impl Pipeline {
    /// Starts a thread for each stage.
    pub fn start(stages: Stages, plan: &Plan, journal: Journal) -> Pipeline {
        let (present, present_clip) = (CurrentTurn::default(), CurrentTurn::default());
        let (tell, inbox) = bounded(QUEUE);
        let (clips, clips_in) = latest();
        let (hearing, hearing_in) = latest();
        let (answer_jobs, thinking_in) = latest();
        let (speech, speech_in) = bounded(QUEUE);
        let (begun, begun_in) = latest();
        let (rate, languages) = (stages.synthesizer.rate(), stages.synthesizer.languages());
        // Nobody can go on after the end of a file, so the turn detector is not asked.
        let Stages { voice_activity, transcriber, language_model, synthesizer, .. } = stages;
        let context = || Worker { present: present.clone(), journal: journal.clone(), tell: tell.clone() };

        let (detect, clip, priority) = (plan.detect.clone(), present_clip.clone(), plan.llm.priority);
        let stages = vec![
            spawn("detector", context(), move |worker| worker.run_detector(voice_activity, &detect, &clip, &clips_in)),
            spawn("transcriber", context(), move |worker| worker.run_transcriber(transcriber, &hearing_in)),
            spawn("language-model", context(), move |worker| {
                worker.lower(priority);
                worker.run_language_model(language_model, &thinking_in, &SynthesizerQueue { speech, begun: begun_in })
            }),
            spawn("synthesizer", context(), move |worker| worker.run_synthesizer(synthesizer, &speech_in, &begun)),
        ];
        let queues = Some(Queues { clips, hearing, answer_jobs, inbox });
        let (plan, confirmed, fresh, cancel) = (plan.clone(), TurnId::default(), false, Cancel::default());
        Pipeline {
            plan,
            present,
            present_clip,
            confirmed,
            fresh,
            journal,
            rate,
            languages,
            cancel,
            queues,
            stages,
            dead: None,
        }
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
    pub fn ask(&mut self, samples: Arc<[f32]>, pace: PlaybackPace, sink: &mut dyn Sink) -> Result<OnceOutcome> {
        if let Some(why) = &self.dead {
            return Err(anyhow!("{why}; nothing can be answered until Sotto is started again"));
        }
        let (clip, turn) = (self.present_clip.advance(), self.present.advance());
        self.queues().clips.put(DetectionJob { clip, samples, pace });
        let mut asked = ActiveQuestion::new(turn, sink);
        let outcome = self.follow(clip, &mut asked);
        if matches!(outcome, Ok(OnceOutcome::Answered(_))) {
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

    fn follow(&mut self, clip: TurnId, asked: &mut ActiveQuestion) -> Result<OnceOutcome> {
        loop {
            if let Some(outcome) = asked.outcome(&self.journal)? {
                return Ok(outcome);
            }
            match self.next_message(asked.file_over)? {
                StageMessage::SpeechUpdate(of, heard) if of == clip => self.heard(asked, heard)?,
                StageMessage::Recognised(turn, transcript) if turn == asked.turn => self.recognised(asked, transcript),
                StageMessage::Piece(turn, piece) if turn == asked.turn => asked.piece(piece)?,
                StageMessage::Sound(frame) if frame.turn == asked.turn => asked.sound(frame, &self.journal)?,
                StageMessage::AnswerSpoken(turn) if turn == asked.turn => asked.spoken = true,
                StageMessage::ListeningFailed(of, error) if of == clip => return Err(error),
                StageMessage::TurnFailed(_, turn, error) if turn == asked.turn => return Err(error),
                StageMessage::StageDied(error) => {
                    self.dead = Some(error.to_string());
                    return Err(error);
                }
                _stale => {}
            }
        }
    }

    fn next_message(&self, file_over: bool) -> Result<StageMessage> {
        let patience = if file_over { PATIENCE } else { Duration::MAX };
        match self.queues().inbox.recv_timeout(patience) {
            Ok(message) => Ok(message),
            Err(RecvTimeoutError::Timeout) => {
                Err(anyhow!("no stage has answered for {} s: one of them hangs; try again", PATIENCE.as_secs()))
            }
            Err(RecvTimeoutError::Disconnected) => Err(anyhow!("every stage has ended")),
        }
    }

    fn heard(&mut self, asked: &mut ActiveQuestion, heard: SpeechUpdate) -> Result<()> {
        match heard {
            SpeechUpdate::Paused(utterance) => self.recognise(asked, utterance)?,
            SpeechUpdate::Resumed => {
                self.cancel.cancel();
                asked.restart(self.present.advance())?;
            }
            SpeechUpdate::Decided => asked.decide(&self.journal)?,
            SpeechUpdate::EndOfFile => asked.file_over = true,
        }
        Ok(())
    }

    fn recognise(&mut self, asked: &mut ActiveQuestion, utterance: SpeechClip) -> Result<()> {
        let longest = self.plan.detect.max_turn;
        if utterance.length > longest {
            return Err(anyhow!(
                "the speech lasts {:.1} s; a question may last at most {:.1} s ([detect] max_turn_ms); for long recordings \
                 use \"sotto transcribe\"",
                utterance.length.0 / 1000.0,
                longest.0 / 1000.0
            ));
        }
        asked.heard = Some(utterance.length);
        self.journal.note_at(asked.turn, utterance.last_sample_at, Event::LastSpeechSample);
        self.cancel = Cancel::default();
        let cancel = self.cancel.clone();
        self.queues().hearing.put(TranscriptionJob { turn: asked.turn, utterance, cancel, partial: false });
        Ok(())
    }

    fn recognised(&self, asked: &mut ActiveQuestion, transcript: Transcript) {
        self.journal.note(asked.turn, Event::Transcript);
        let what = match &transcript.verdict {
            Verdict::Certain => {
                let (question, language) = (transcript.text.clone(), transcript.language.clone());
                Some(ReplyText::reply_to(question, language, &self.languages, &self.plan.tts))
            }
            Verdict::Doubtful(_) => Some(ReplyText::Words(self.plan.asr.unclear_reply.clone())),
            Verdict::Nothing(_) => None,
        };
        asked.transcript = Some(transcript);
        if let Some(what) = what {
            let past = Past { turn: self.confirmed, heard: None };
            let job = AnswerJob { turn: asked.turn, what, past, fresh: self.fresh, sentence_end_probability: false };
            self.queues().answer_jobs.put(job);
        }
    }
}
