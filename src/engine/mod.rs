//! The engine: the stages of a process, each with its model loaded once, and the sessions that
//! share them.
//!
//! An [`Engine`] owns a host for each stage (`host`): a thread, a mailbox and a restart budget
//! around a model. A [`Session`] is one conversation: the turn machine with an audio input and an
//! audio output. It owns state and no weights, so that any number of sessions share one engine.
//! [`answer_file`] holds a session with a file for a microphone, and a [`TurnBenchmark`] plays
//! recorded questions to one and times it (`sotto bench turn`). [`detached()`] gives a thread to
//! whoever opens devices without a session, as `sotto doctor` does for its sound check.
//!
//! Architecture invariant: this is the only room that starts threads of the engine.

mod detached;
mod host;
mod latest;
mod load;
mod models;
mod once;
mod quantizer;
mod session;
mod stage;
mod turn_benchmark;
mod work;

#[cfg(test)]
mod tests;

pub use detached::detached;
pub use host::{StageCondition, StageStatus};
pub use load::{Loader, ModelPart, ModelPartPlan, Purpose, local};
pub use once::{AnswerSink, OnceAnswer, OnceOptions, OnceOutcome, PlaybackPace, answer_file};
pub use quantizer::{EngineQuantizer, QuantizeProgress};
pub use session::{Session, SessionAudio, SessionDevices, StatusSnapshot, TICK, TurnObserver};
pub use stage::{
    ChatTurn, LanguageModel, PastExchange, Result, StageKind, StageLoader, Stages, Synthesizer, Transcriber,
    TurnDetector, VoiceActivityDetector, WakeWordDetector,
};
pub use turn_benchmark::{
    BenchmarkedTurn, PauseFeatures, PauseKind, Recording, TurnBenchmark, TurnOutcome, without_ends,
};

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::Plan;
use crate::detect::{FRAME, WAKE_STEP};
use crate::priority;
use crate::turn::TurnWeights;
use crate::types::{SampleRate, SessionId};
use host::{AnyHost, Host, StageLimits};
use work::{
    AnswerJob, AnswerStage, DetectionStage, Scorer, Scores, SynthesisJob, SynthesisStage, TranscriptionJob,
    TranscriptionStage, TurnDetectionJob, TurnDetectionStage, scores,
};

/// How long an engine that is dropped waits for its stages. One that hangs in foreign code is left
/// behind.
const FAREWELL: Duration = Duration::from_secs(5);

/// Limits of every stage of an engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EngineLimits {
    /// Longest time without a sign of work. The turn machine gives up on a transcript after 15 s
    /// and on an answer after 60 s before its first sound, so that a stage is replaced first.
    pub detector: Duration,
    pub turn_detector: Duration,
    pub transcriber: Duration,
    pub language_model: Duration,
    pub synthesizer: Duration,
    /// Longest time for loading a model: from a slow disk, or converted on the way.
    pub load: Duration,
    /// Number of restarts of a stage that are allowed within `window`.
    pub restarts: usize,
    pub window: Duration,
}

impl Default for EngineLimits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        EngineLimits {
            detector: seconds(2),
            turn_detector: seconds(5),
            transcriber: seconds(12),
            language_model: seconds(45),
            synthesizer: seconds(20),
            load: seconds(120),
            restarts: 5,
            window: seconds(600),
        }
    }
}

impl EngineLimits {
    fn of(&self, kind: StageKind) -> StageLimits {
        let hang = match kind {
            StageKind::VoiceActivity | StageKind::WakeWord => self.detector,
            StageKind::TurnDetector => self.turn_detector,
            StageKind::Transcriber => self.transcriber,
            StageKind::LanguageModel => self.language_model,
            StageKind::Synthesizer => self.synthesizer,
        };
        StageLimits { hang, load: self.load, restarts: self.restarts, window: self.window }
    }
}

type VoiceActivityHost = Host<DetectionStage<Box<dyn VoiceActivityDetector>, FRAME>>;
type WakeWordHost = Host<DetectionStage<Box<dyn WakeWordDetector>, WAKE_STEP>>;

/// Loaded stages. Sessions share it; its threads end when the last owner drops it.
pub struct Engine {
    voice_activity: Arc<VoiceActivityHost>,
    wake_word: Option<Arc<WakeWordHost>>,
    turn_detector: Option<Host<TurnDetectionStage>>,
    transcriber: Host<TranscriptionStage>,
    language_model: Host<AnswerStage>,
    synthesizer: Host<SynthesisStage>,
    limits: EngineLimits,
    voice: Arc<OnceLock<VoiceFacts>>,
    /// Whether the transcriber can give partial transcripts.
    partial: Arc<OnceLock<bool>>,
    turn_weights: Option<TurnWeights>,
    /// Number of sessions so far.
    sessions: AtomicU64,
}

/// Facts of the synthesizer that sessions need, whether it is loaded or not.
struct VoiceFacts {
    rate: SampleRate,
    languages: Vec<String>,
}

impl Engine {
    /// Starts a thread for each stage and loads the models.
    pub fn start(stages: Stages, plan: &Plan) -> Result<Arc<Engine>> {
        Engine::start_with(stages, plan, EngineLimits::default())
    }

    /// Does [`Engine::start`] with other limits.
    pub fn start_with(stages: Stages, plan: &Plan, limits: EngineLimits) -> Result<Arc<Engine>> {
        let Stages { voice_activity, turn_detector, wake_word, transcriber, language_model, synthesizer, turn_weights } =
            stages;
        let (voice, partial, lower) = (Arc::new(OnceLock::new()), Arc::new(OnceLock::new()), plan.llm.priority);
        let (facts, can) = (voice.clone(), partial.clone());
        let engine = Engine {
            voice_activity: detection(StageKind::VoiceActivity, limits.of(StageKind::VoiceActivity), voice_activity),
            wake_word: wake_word.map(|loader| detection(StageKind::WakeWord, limits.of(StageKind::WakeWord), loader)),
            turn_detector: turn_detector.map(|loader| {
                let limits = limits.of(StageKind::TurnDetector);
                Host::new(StageKind::TurnDetector, limits, move || loader.load().map(TurnDetectionStage))
            }),
            transcriber: Host::new(StageKind::Transcriber, limits.of(StageKind::Transcriber), move || {
                let model = transcriber.load()?;
                can.get_or_init(|| model.can_transcribe_partially());
                Ok(TranscriptionStage(model))
            }),
            language_model: Host::new(StageKind::LanguageModel, limits.of(StageKind::LanguageModel), move || {
                priority::take(lower)?;
                language_model.load().map(AnswerStage::new)
            }),
            synthesizer: Host::new(StageKind::Synthesizer, limits.of(StageKind::Synthesizer), move || {
                let model = synthesizer.load()?;
                facts.get_or_init(|| VoiceFacts { rate: model.rate(), languages: model.languages() });
                Ok(SynthesisStage(model))
            }),
            limits,
            voice,
            partial,
            turn_weights,
            sessions: AtomicU64::new(0),
        };
        engine.hosts().try_for_each(AnyHost::load)?;
        Ok(Arc::new(engine))
    }

    /// Sample rate of the answers.
    pub fn rate(&self) -> SampleRate {
        self.facts().rate
    }

    /// Two-letter codes of the languages that can be spoken, that of the main voice first.
    pub fn languages(&self) -> &[String] {
        &self.facts().languages
    }

    fn facts(&self) -> &VoiceFacts {
        self.voice.get().expect("the engine has started, and the synthesizer was loaded then")
    }

    fn hosts(&self) -> impl Iterator<Item = &dyn AnyHost> {
        let all: [Option<&dyn AnyHost>; 6] = [
            Some(&*self.voice_activity),
            self.wake_word.as_deref().map(|host| host as &dyn AnyHost),
            self.turn_detector.as_ref().map(|host| host as &dyn AnyHost),
            Some(&self.transcriber),
            Some(&self.language_model),
            Some(&self.synthesizer),
        ];
        all.into_iter().flatten()
    }

    /// State of each stage.
    pub fn status(&self) -> Vec<StageStatus> {
        self.hosts().map(AnyHost::status).collect()
    }

    /// Replaces the stages that hang. Every session calls it; it costs nothing where none does.
    pub fn supervise(&self) {
        self.hosts().for_each(AnyHost::supervise);
    }

    /// Drops the model of a stage; the next job loads it again. Returns whether there is such a
    /// stage.
    pub fn unload(&self, kind: StageKind) -> bool {
        let host = self.hosts().find(|host| host.status().kind == kind);
        host.map(AnyHost::unload).is_some()
    }

    /// Generation of each stage: another number means that the stage was replaced.
    fn generations(&self) -> Vec<u64> {
        self.hosts().map(AnyHost::generation).collect()
    }

    fn open_session(&self) -> SessionId {
        SessionId(self.sessions.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn close_session(&self, session: SessionId) {
        self.hosts().for_each(|host| host.close(session));
    }

    fn voice_scores(&self, session: SessionId) -> Scores<FRAME> {
        scores(self.voice_activity.clone(), session, self.patience())
    }

    fn wake_scores(&self, session: SessionId) -> Option<Scores<WAKE_STEP>> {
        Some(scores(self.wake_word.clone()?, session, self.patience()))
    }

    /// How long a session waits for the score of a detector: until one that hangs is replaced, and
    /// as long again for the next.
    fn patience(&self) -> Duration {
        2 * self.limits.detector
    }

    /// Whether there is a turn detector.
    fn detects_turns(&self) -> bool {
        self.turn_detector.is_some()
    }

    fn transcribes_partially(&self) -> bool {
        self.partial.get().is_some_and(|can| *can)
    }

    fn transcribe(&self, job: TranscriptionJob) {
        self.transcriber.submit(job);
    }

    fn detect_turn(&self, job: TurnDetectionJob) {
        if let Some(host) = &self.turn_detector {
            host.submit(job);
        }
    }

    fn answer(&self, job: AnswerJob) {
        self.language_model.submit(job);
    }

    fn speak(&self, job: SynthesisJob) {
        self.synthesizer.submit(job);
    }
}

/// Makes the host of a stage that scores stretches of sound.
fn detection<M: ?Sized + Send + 'static, const N: usize>(
    kind: StageKind,
    limits: StageLimits,
    loader: StageLoader<M>,
) -> Arc<Host<DetectionStage<Box<M>, N>>>
where
    Box<M>: Scorer<N>,
{
    Arc::new(Host::new(kind, limits, move || loader.load().map(DetectionStage)))
}

/// Foreign code that still ran while the process ends would meet its own globals half torn down.
impl Drop for Engine {
    fn drop(&mut self) {
        self.hosts().for_each(AnyHost::stop);
        let deadline = Instant::now() + FAREWELL;
        while !self.hosts().all(AnyHost::has_ended) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
