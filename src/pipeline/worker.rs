//! Worker threads: each stage runs on a thread of its own, with a queue of jobs, and sends its
//! results to the coordinator.
//!
//! A stage that fails at a job reports the error and takes the next job. Only a panic ends the
//! stage, and with it the pipeline.

use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::latest::Latest;
use super::listen::{PlaybackPace, SpeechClip, SpeechUpdate, listen};
use super::response_language::ResponseLanguage;
use super::stage::{CurrentTurn, LanguageModel, Result, Synthesizer, Transcriber, TurnDetector, VoiceActivityDetector};
use crate::asr::{Cancel, Transcript};
use crate::config;
use crate::observe::{Event, Journal};
use crate::priority;
use crate::tts::{Sentences, Sound, Word, words};
use crate::turn::TurnStage;
use crate::types::{Frame, SampleRate, TurnId, WordMark};

/// Longest time that the language model waits for the synthesizer to begin, and interval at which
/// it checks whether the turn is still current.
const HEAD_START: Duration = Duration::from_millis(200);
const NOTICE: Duration = Duration::from_millis(10);

pub(super) struct DetectionJob {
    pub(super) clip: TurnId,
    pub(super) samples: Arc<[f32]>,
    pub(super) pace: PlaybackPace,
}

pub(super) struct TranscriptionJob {
    pub(super) turn: TurnId,
    pub(super) utterance: SpeechClip,
    pub(super) cancel: Cancel,
    /// Whether this is a partial transcription: the utterance is not over.
    pub(super) partial: bool,
}

pub(super) struct TurnDetectionJob {
    pub(super) turn: TurnId,
    pub(super) samples: Arc<[f32]>,
}

pub(super) struct AnswerJob {
    pub(super) turn: TurnId,
    pub(super) what: ReplyText,
    pub(super) past: Past,
    pub(super) fresh: bool,
    /// Whether to score how likely the question is a whole sentence.
    pub(super) sentence_end_probability: bool,
}

/// Last exchange that counts. Later answers of the language model must be removed from its history.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    pub(super) turn: TurnId,
    /// Part of its answer that was heard, if that was not all.
    pub(super) heard: Option<String>,
}

pub(super) enum ReplyText {
    /// Ask the language model, and answer in the language of the question.
    AnswerTo { question: String, language: String },
    /// Speak these words, which say why the question cannot be answered, in the language of the
    /// main voice.
    Words(String),
}

impl ReplyText {
    /// Chooses the reply to a question: an answer if one of the `voices` speaks its language,
    /// otherwise fixed words. No text is spoken by a voice made for another language.
    pub(super) fn reply_to(question: String, language: String, voices: &[String], plan: &config::TtsPlan) -> ReplyText {
        match language.is_empty() || voices.contains(&language) {
            true => ReplyText::AnswerTo { question, language },
            false => ReplyText::Words(plan.no_voice_reply.clone()),
        }
    }

    /// Language of the reply; empty for that of the main voice.
    fn language(&self) -> &str {
        match self {
            ReplyText::AnswerTo { language, .. } => language,
            ReplyText::Words(_) => "",
        }
    }
}

/// Job for the synthesizer.
pub(super) enum Speech {
    /// Language of the sentences that follow.
    In(String),
    Sentence(String),
    EndOfAnswer,
}

/// Message of a stage to the coordinator.
pub(super) enum StageMessage {
    SpeechUpdate(TurnId, SpeechUpdate),
    Recognised(TurnId, Transcript),
    /// Partial transcript of speech that goes on. It is stale once it is cancelled.
    Partial(TurnId, Transcript, Cancel),
    /// Probability that a sentence ends where the question ends. It is sent once for each job that
    /// asks for it.
    SentenceEndScored(TurnId, Option<f32>),
    /// Probability that the turn is complete, 0 to 1.
    TurnScored(TurnId, f32),
    /// Error of the turn detector, which is not used again.
    TurnDetectorFailed(anyhow::Error),
    Piece(TurnId, String),
    /// Sentence that is now sent to the synthesizer.
    Sentence(TurnId, String),
    Sound(Frame),
    AnswerSpoken(TurnId),
    /// Error of the listening stage at a clip.
    ListeningFailed(TurnId, anyhow::Error),
    TurnFailed(TurnStage, TurnId, anyhow::Error),
    /// Failure of a whole stage; no question will be answered any more.
    StageDied(anyhow::Error),
}

/// Queue to the synthesizer, for the language model.
pub(super) struct SynthesizerQueue {
    pub(super) speech: Sender<(TurnId, Speech)>,
    /// Turn whose first sound was made last.
    pub(super) begun: Receiver<TurnId>,
}

impl SynthesizerQueue {
    fn say(&self, turn: TurnId, speech: Speech) {
        let _dropped = self.speech.send((turn, speech));
    }

    /// Waits until the first sound of `turn` is made, so that the synthesizer has the processor to
    /// itself while the user waits for it. The rest of the answer is written faster than it is
    /// spoken in any case.
    fn let_it_begin(&self, turn: TurnId, present: &CurrentTurn) {
        let deadline = Instant::now() + HEAD_START;
        while present.is(turn) && Instant::now() < deadline {
            match self.begun.recv_timeout(NOTICE) {
                Ok(begun) if begun == turn => return,
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

/// Context of every stage's thread.
pub(super) struct Worker {
    pub(super) present: CurrentTurn,
    pub(super) journal: Journal,
    pub(super) tell: Sender<StageMessage>,
}

/// Starts a stage. If it panics, the coordinator gets a message that ends the pipeline.
pub(super) fn spawn(
    name: &'static str,
    worker: Worker,
    stage: impl FnOnce(&Worker) + Send + 'static,
) -> JoinHandle<()> {
    let run = move || {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stage(&worker)));
        if outcome.is_err() {
            worker.send(StageMessage::StageDied(anyhow!("the {name} stage panicked; this is a defect of Sotto")));
        }
    };
    match thread::Builder::new().name(format!("sotto-{name}")).spawn(run) {
        Ok(thread) => thread,
        Err(error) => panic!("the system refuses a thread for the {name} stage: {error}"),
    }
}

impl Worker {
    /// Sets the scheduling priority of a stage's thread.
    pub(super) fn lower(&self, priority: config::Priority) {
        if let Err(error) = priority::take(priority) {
            self.send(StageMessage::StageDied(error.into()));
        }
    }

    pub(super) fn run_detector(
        &self,
        mut detector: Box<dyn VoiceActivityDetector>,
        plan: &config::DetectPlan,
        present_clip: &CurrentTurn,
        jobs: &Receiver<DetectionJob>,
    ) {
        for DetectionJob { clip, samples, pace } in jobs {
            let mut tell = |heard| self.send(StageMessage::SpeechUpdate(clip, heard));
            let heard = listen(&samples, pace, plan, detector.as_mut(), &|| present_clip.is(clip), &mut tell);
            if let Err(error) = heard {
                self.send(StageMessage::ListeningFailed(clip, failure("listen", error)));
            }
        }
    }

    pub(super) fn run_transcriber(&self, mut transcriber: Box<dyn Transcriber>, jobs: &Receiver<TranscriptionJob>) {
        for TranscriptionJob { turn, utterance, cancel, partial } in jobs {
            if !self.present.is(turn) {
                continue;
            }
            if partial {
                // An error here will occur again in the final transcription and is reported there.
                if let Ok(transcript) = transcriber.transcribe_partial(&utterance.samples, &cancel) {
                    self.send(StageMessage::Partial(turn, transcript, cancel));
                }
                continue;
            }
            // A cancelled run also ends with an error, but its turn is stale by then and the
            // message is ignored.
            self.send(match transcriber.transcribe(&utterance.samples, &cancel) {
                Ok(transcript) => StageMessage::Recognised(turn, transcript),
                Err(error) => StageMessage::TurnFailed(TurnStage::Transcriber, turn, failure("recognise", error)),
            });
        }
    }

    /// Scores turns until the first failure. The failure is reported once, and the conversation
    /// goes on without the turn detector.
    pub(super) fn run_turn_detector(&self, mut detector: Box<dyn TurnDetector>, jobs: &Receiver<TurnDetectionJob>) {
        for TurnDetectionJob { turn, samples } in jobs {
            if !self.present.is(turn) {
                continue;
            }
            match detector.complete(&samples) {
                Ok(probability) => self.send(StageMessage::TurnScored(turn, probability)),
                Err(error) => return self.send(StageMessage::TurnDetectorFailed(failure("turn detector", error))),
            }
        }
    }

    pub(super) fn run_language_model(
        &self,
        mut language_model: Box<dyn LanguageModel>,
        jobs: &Receiver<AnswerJob>,
        voice: &SynthesizerQueue,
    ) {
        // Turn of the last exchange in the language model's history.
        let (mut answered, mut response_language) = (TurnId::default(), ResponseLanguage::default());
        for AnswerJob { turn, what, past, fresh, sentence_end_probability } in jobs {
            if !self.present.is(turn) {
                continue;
            }
            if fresh {
                response_language.forget();
            }
            let what = response_language.tell(what);
            match answered.cmp(&past.turn) {
                _ if fresh => language_model.forget_all(),
                Ordering::Greater => language_model.forget_last(),
                Ordering::Equal => past.heard.iter().for_each(|heard| language_model.keep_heard(heard)),
                // That answer failed, so it is not in the history.
                Ordering::Less => {}
            }
            answered = answered.min(past.turn);
            if sentence_end_probability {
                let probability = match &what {
                    // An error here will occur again below and is reported there.
                    ReplyText::AnswerTo { question, .. } => {
                        language_model.sentence_end_probability(question).unwrap_or_default()
                    }
                    // The question is not read, but the turn must get a message, or it would wait
                    // for a score in vain.
                    ReplyText::Words(_) => None,
                };
                self.send(StageMessage::SentenceEndScored(turn, probability));
            }
            match self.answer(language_model.as_mut(), turn, &what, voice) {
                Ok(()) if matches!(what, ReplyText::AnswerTo { .. }) => answered = turn,
                Ok(()) => {}
                Err(error) => {
                    self.send(StageMessage::TurnFailed(TurnStage::LanguageModel, turn, failure("think", error)))
                }
            }
        }
    }

    fn answer(
        &self,
        language_model: &mut dyn LanguageModel,
        turn: TurnId,
        what: &ReplyText,
        voice: &SynthesizerQueue,
    ) -> Result<()> {
        let mut cutter = Sentences::expecting(what.language());
        let mut sentences = 0;
        let mut say = |sentence: String| {
            if sentences == 0 {
                self.journal.note(turn, Event::FirstSentence);
                voice.say(turn, Speech::In(what.language().to_owned()));
            }
            sentences += 1;
            self.send(StageMessage::Sentence(turn, sentence.clone()));
            voice.say(turn, Speech::Sentence(sentence));
            if sentences == 1 {
                voice.let_it_begin(turn, &self.present);
            }
        };
        let mut on_piece = |piece: &str| {
            self.present.go_on(turn)?;
            self.send(StageMessage::Piece(turn, piece.to_owned()));
            cutter.push(piece).into_iter().for_each(&mut say);
            self.present.go_on(turn)
        };
        match what {
            ReplyText::Words(words) => {
                let _stale = on_piece(words);
            }
            ReplyText::AnswerTo { question, .. } => {
                let mut begun = false;
                language_model.answer(question, &mut |piece| {
                    if !std::mem::replace(&mut begun, true) {
                        self.journal.note(turn, Event::FirstToken);
                    }
                    on_piece(piece)
                })?;
                self.journal.note(turn, Event::LastToken);
            }
        }
        if self.present.is(turn) {
            cutter.finish().into_iter().for_each(&mut say);
            voice.say(turn, Speech::EndOfAnswer);
        }
        Ok(())
    }

    pub(super) fn run_synthesizer(
        &self,
        mut synthesizer: Box<dyn Synthesizer>,
        jobs: &Receiver<(TurnId, Speech)>,
        begun: &Latest<TurnId>,
    ) {
        let rate = synthesizer.rate();
        let mut first_sound_of = None;
        // Current answer, and the number of its words that were already sent to the synthesizer.
        let mut said = (TurnId::default(), 0);
        for (turn, speech) in jobs {
            if !self.present.is(turn) {
                continue;
            }
            if said.0 != turn {
                said = (turn, 0);
            }
            let sentence = match speech {
                Speech::EndOfAnswer => {
                    self.send(StageMessage::AnswerSpoken(turn));
                    continue;
                }
                Speech::In(language) => {
                    synthesizer.speak_in(&language);
                    continue;
                }
                Speech::Sentence(sentence) => sentence,
            };
            let words = words(&sentence);
            let spoken = synthesizer.speak(&sentence, &mut |sound| {
                if first_sound_of.replace(turn) != Some(turn) {
                    self.journal.note(turn, Event::FirstPcm);
                    begun.put(turn);
                }
                self.present.go_on(turn)?;
                self.send(StageMessage::Sound(frame(turn, rate, &sound, &words, said.1)));
                ControlFlow::Continue(())
            });
            said.1 += words.len();
            if let Err(error) = spoken {
                self.send(StageMessage::TurnFailed(TurnStage::Voice, turn, failure("speak", error)));
            }
        }
    }

    fn send(&self, message: StageMessage) {
        // After the pipeline is dropped nobody receives the message; the stage's own queue is
        // closed next.
        let _dropped = self.tell.send(message);
    }
}

/// Makes a frame from part of the sound of a sentence with these `words`. `before` is the number of
/// words of the answer before it.
fn frame(turn: TurnId, rate: SampleRate, sound: &Sound, words: &[Word], before: usize) -> Frame {
    let (from, length) = (sound.says.start, sound.says.end - sound.says.start);
    let at = |begins: f64| ((begins - from) / length * sound.samples.len() as f64) as usize;
    let here = words.iter().enumerate().filter(|(_, word)| sound.says.contains(&word.begins));
    let words = here.map(|(n, word)| WordMark { at: at(word.begins), word: before + n }).collect();
    Frame { turn, rate, samples: sound.samples.to_vec(), words }
}

/// Adds the stage `name` to an error, for the user.
fn failure(name: &str, error: anyhow::Error) -> anyhow::Error {
    error.context(format!("the {name} stage failed"))
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::super::latest::latest;
    use super::*;
    use crate::asr::Verdict;
    use crate::types::Ms;

    /// Language model whose turn is over before its first sentence is whole.
    struct Interrupted(CurrentTurn);

    impl LanguageModel for Interrupted {
        fn sentence_end_probability(&mut self, _: &str) -> Result<Option<f32>> {
            Ok(None)
        }

        fn answer(&mut self, _: &str, on_piece: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<usize> {
            assert!(on_piece("Half a sen").is_continue());
            self.0.advance();
            assert!(on_piece("tence.").is_break());
            Ok(1)
        }

        fn keep_heard(&mut self, _: &str) {}

        fn forget_last(&mut self) {}

        fn forget_all(&mut self) {}
    }

    struct Sure;

    impl TurnDetector for Sure {
        fn complete(&mut self, _: &[f32]) -> Result<f32> {
            Ok(0.9)
        }
    }

    #[test]
    fn a_stale_pause_is_not_judged() {
        let (present, (tell, inbox), (jobs, queue)) = (CurrentTurn::default(), bounded(8), bounded(8));
        let turn = present.advance();
        for stale in [TurnId(turn.0 + 1), TurnId::default(), turn] {
            jobs.send(TurnDetectionJob { turn: stale, samples: Arc::default() }).unwrap();
        }
        drop(jobs);
        Worker { present, journal: Journal::default(), tell }.run_turn_detector(Box::new(Sure), &queue);
        let judged: Vec<_> = inbox.iter().collect();
        assert!(matches!(judged[..], [StageMessage::TurnScored(of, 0.9)] if of == turn));
    }

    /// Language model that gives every question the same score, and answers with the question
    /// itself.
    struct Echoing(std::result::Result<Option<f32>, &'static str>);

    impl LanguageModel for Echoing {
        fn sentence_end_probability(&mut self, _: &str) -> Result<Option<f32>> {
            self.0.map_err(anyhow::Error::msg)
        }

        fn answer(&mut self, question: &str, on_piece: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<usize> {
            let _goes_on = on_piece(question);
            Ok(1)
        }

        fn keep_heard(&mut self, _: &str) {}

        fn forget_last(&mut self) {}

        fn forget_all(&mut self) {}
    }

    #[test]
    fn whoever_waits_for_a_weight_is_told_one_or_that_there_is_none() {
        let asked = || ReplyText::AnswerTo { question: "Why?".to_owned(), language: "en".to_owned() };
        let fixed = || ReplyText::Words("Please say that again.".to_owned());
        for (what, weight, sentence_end_probability, told) in [
            (asked(), Ok(Some(0.7)), true, Some(Some(0.7))),
            (asked(), Ok(None), true, Some(None)),
            (asked(), Err("it hangs"), true, Some(None)),
            (fixed(), Ok(Some(0.7)), true, Some(None)),
            (asked(), Ok(Some(0.7)), false, None),
            (fixed(), Ok(Some(0.7)), false, None),
        ] {
            let (present, (jobs, queue)) = (CurrentTurn::default(), bounded(8));
            let ((tell, inbox), (speech, _spoken), (begun, begun_in)) = (bounded(64), bounded(64), latest());
            let turn = present.advance();
            // The synthesizer begins at once.
            begun.put(turn);
            jobs.send(AnswerJob { turn, what, past: Past::default(), fresh: false, sentence_end_probability }).unwrap();
            drop(jobs);
            let worker = Worker { present, journal: Journal::default(), tell };
            worker.run_language_model(Box::new(Echoing(weight)), &queue, &SynthesizerQueue { speech, begun: begun_in });
            drop(worker);
            let messages: Vec<_> = inbox.iter().collect();
            let weights = messages.iter().filter_map(|message| match message {
                StageMessage::SentenceEndScored(of, weight) => Some((*of, *weight)),
                _ => None,
            });
            assert!(
                weights.eq(told.map(|weight| (turn, weight))),
                "{weight:?}, sentence end: {sentence_end_probability}"
            );
            assert!(messages.iter().any(|message| matches!(message, StageMessage::Sentence(of, _) if *of == turn)));
        }
    }

    /// Transcriber that returns as many words as there are samples. A partial transcription is
    /// cancelled at two samples, and fails at three.
    struct Counts;

    impl Transcriber for Counts {
        fn transcribe(&mut self, samples: &[f32], _: &Cancel) -> Result<Transcript> {
            let (text, language) = ("word ".repeat(samples.len()), String::new());
            Ok(Transcript {
                text,
                language,
                confidence: 1.0,
                ending: None,
                segments: Vec::new(),
                verdict: Verdict::Certain,
            })
        }

        fn transcribe_partial(&mut self, samples: &[f32], cancel: &Cancel) -> Result<Transcript> {
            match samples.len() {
                2 => cancel.cancel(),
                3 => return Err(anyhow!("scripted")),
                _ => {}
            }
            if cancel.is_cancelled() { Err(anyhow!("cancelled")) } else { self.transcribe(samples, cancel) }
        }
    }

    #[test]
    fn what_is_read_along_is_told_unless_it_is_stale_cancelled_or_fails_and_what_counts_always() {
        let (present, (tell, inbox), (jobs, queue)) = (CurrentTurn::default(), bounded(8), bounded(8));
        let turn = present.advance();
        let stale = TurnId(turn.0 + 1);
        for (turn, samples, partial) in
            [(turn, 1, true), (stale, 1, true), (turn, 2, true), (turn, 3, true), (turn, 4, false)]
        {
            let samples = vec![0.0; samples].into();
            let utterance = SpeechClip { samples, length: Ms(0.0), last_sample_at: Instant::now() };
            jobs.send(TranscriptionJob { turn, utterance, cancel: Cancel::default(), partial }).unwrap();
        }
        drop(jobs);
        Worker { present, journal: Journal::default(), tell }.run_transcriber(Box::new(Counts), &queue);
        let told: Vec<_> = inbox.iter().collect();
        let [StageMessage::Partial(a, so_far, _), StageMessage::Recognised(b, all)] = &told[..] else {
            panic!("{}", told.len())
        };
        assert_eq!((*a, *b, so_far.text.as_str(), all.text.len()), (turn, turn, "word ", 20));
    }

    #[test]
    fn nothing_of_a_stale_turn_is_said_or_waited_for() {
        let present = CurrentTurn::default();
        let ((tell, _inbox), (speech, spoken), (begun, begun_in)) = (bounded(8), bounded(8), latest());
        let worker = Worker { present: present.clone(), journal: Journal::default(), tell };
        let voice = SynthesizerQueue { speech, begun: begun_in };
        let turn = present.advance();
        let question = ReplyText::AnswerTo { question: String::new(), language: String::new() };
        worker.answer(&mut Interrupted(present.clone()), turn, &question, &voice).unwrap();
        assert!(spoken.is_empty());

        begun.put(TurnId(99));
        voice.let_it_begin(turn, &present);
        assert_eq!(voice.begun.try_recv(), Ok(TurnId(99)), "nobody looked");
    }
}
