//! Every stage with every fault: the conversation goes on, and the next question is answered.

use std::sync::Mutex;
use std::sync::mpsc;

use super::world::{CALL, Called, Reads, Talks, plan, stages};
use super::*;
use crate::asr::Transcript;
use crate::detect::{WAKE_STEP, WakeState};
use crate::engine::EngineLimits;
use crate::engine::host::StageCondition;
use crate::engine::stage::{ChatTurn, LanguageModel, StageLoader, Stages, Transcriber, TurnDetector, WakeWordDetector};

/// Time after which a stage counts as hung here, and what a slow one takes for a call: less. The
/// detectors have many calls for each question.
const HANG: Duration = Duration::from_millis(400);
const SLOW: Duration = Duration::from_millis(150);
const SLOW_FRAME: Duration = Duration::from_millis(3);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Panic,
    Error,
    /// For good.
    Hang,
    Slow,
}

const FAULTS: [Fault; 4] = [Fault::Panic, Fault::Error, Fault::Hang, Fault::Slow];

/// Fault that a stage is to have in its next call. A slow one stays slow.
#[derive(Default)]
struct Trap {
    fault: Mutex<Option<Fault>>,
    /// Number of models that are loaded: a model that hangs is still there.
    models: AtomicUsize,
    /// Ends of the channels that hung calls wait at; dropping them lets the calls go on.
    hung: Mutex<Vec<mpsc::Sender<()>>>,
}

impl Trap {
    fn spring(&self, slow: Duration) -> Result<()> {
        let mut armed = self.fault.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let fault = if *armed == Some(Fault::Slow) { *armed } else { armed.take() };
        drop(armed);
        match fault {
            None => Ok(()),
            Some(Fault::Panic) => panic!("scripted"),
            Some(Fault::Error) => Err(anyhow::anyhow!("scripted")),
            Some(Fault::Hang) => {
                let (end, wait) = mpsc::channel();
                self.hung.lock().unwrap().push(end);
                let _released = wait.recv();
                Ok(())
            }
            Some(Fault::Slow) => {
                std::thread::sleep(slow);
                Ok(())
            }
        }
    }

    fn arm(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = fault;
    }
}

/// Model with a trap.
struct Trapped<M> {
    model: M,
    trap: Arc<Trap>,
}

impl<M> Trapped<M> {
    fn new(model: M, trap: &Arc<Trap>) -> Self {
        trap.models.fetch_add(1, Ordering::Relaxed);
        Trapped { model, trap: trap.clone() }
    }
}

impl<M> Drop for Trapped<M> {
    fn drop(&mut self) {
        self.trap.models.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<M: VoiceActivityDetector> VoiceActivityDetector for Trapped<M> {
    fn step(&mut self, state: &mut VadState, frame: &[f32; FRAME]) -> Result<f32> {
        self.trap.spring(SLOW_FRAME)?;
        self.model.step(state, frame)
    }
}

impl<M: WakeWordDetector> WakeWordDetector for Trapped<M> {
    fn step(&mut self, state: &mut WakeState, step: &[f32; WAKE_STEP]) -> Result<f32> {
        self.trap.spring(SLOW_FRAME)?;
        self.model.step(state, step)
    }
}

impl<M: TurnDetector> TurnDetector for Trapped<M> {
    fn complete(&mut self, samples: &[f32]) -> Result<f32> {
        self.trap.spring(SLOW)?;
        self.model.complete(samples)
    }
}

impl<M: Transcriber> Transcriber for Trapped<M> {
    fn transcribe(&mut self, samples: &[f32], cancel: &Cancel) -> Result<Transcript> {
        self.trap.spring(SLOW)?;
        self.model.transcribe(samples, cancel)
    }
}

impl<M: LanguageModel> LanguageModel for Trapped<M> {
    fn sentence_end_probability(&mut self, turn: &ChatTurn) -> Result<Option<f32>> {
        self.model.sentence_end_probability(turn)
    }

    fn begin(&mut self, turn: &ChatTurn) -> Result<()> {
        self.model.begin(turn)
    }

    fn next_piece(&mut self, session: SessionId) -> Result<Option<String>> {
        self.trap.spring(SLOW / 5)?;
        self.model.next_piece(session)
    }
}

impl<M: Synthesizer> Synthesizer for Trapped<M> {
    fn rate(&self) -> SampleRate {
        self.model.rate()
    }

    fn speak(
        &mut self,
        sentence: &str,
        language: &str,
        on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>,
    ) -> Result<()> {
        self.trap.spring(SLOW)?;
        self.model.speak(sentence, language, on_sound)
    }
}

/// Stages of which `kind` has the trap, and can be loaded again.
fn trapped(kind: StageKind, trap: &Arc<Trap>) -> Stages {
    let (trap, asked) = (trap.clone(), Arc::default());
    let stages = stages(Box::new(Loud), None, Box::new(Reads), &asked, Box::new(Hums));
    match kind {
        StageKind::VoiceActivity => Stages {
            voice_activity: StageLoader::<dyn VoiceActivityDetector>::new(move || {
                Ok(Box::new(Trapped::new(Loud, &trap)))
            }),
            ..stages
        },
        StageKind::WakeWord => Stages {
            wake_word: Some(StageLoader::<dyn WakeWordDetector>::new(move || {
                Ok(Box::new(Trapped::new(Called(false), &trap)))
            })),
            ..stages
        },
        StageKind::TurnDetector => Stages {
            turn_detector: Some(StageLoader::<dyn TurnDetector>::new(move || {
                Ok(Box::new(Trapped::new(Judges(Some(0.9), Arc::default()), &trap)))
            })),
            ..stages
        },
        StageKind::Transcriber => Stages {
            transcriber: StageLoader::<dyn Transcriber>::new(move || Ok(Box::new(Trapped::new(Reads, &trap)))),
            ..stages
        },
        StageKind::LanguageModel => Stages {
            language_model: StageLoader::<dyn LanguageModel>::new(move || {
                Ok(Box::new(Trapped::new(Talks::new(&asked), &trap)))
            }),
            ..stages
        },
        StageKind::Synthesizer => Stages {
            synthesizer: StageLoader::<dyn Synthesizer>::new(move || Ok(Box::new(Trapped::new(Hums, &trap)))),
            ..stages
        },
    }
}

fn engine(kind: StageKind, trap: &Arc<Trap>, plan: &Plan) -> Arc<Engine> {
    let limits = EngineLimits {
        detector: HANG,
        turn_detector: HANG,
        transcriber: HANG,
        language_model: HANG,
        synthesizer: HANG,
        ..EngineLimits::default()
    };
    Engine::start_with(trapped(kind, trap), plan, limits).unwrap()
}

fn settings(kind: StageKind) -> Vec<(&'static str, &'static str)> {
    let mut settings = vec![("audio.echo", "off")];
    if kind == StageKind::WakeWord {
        settings.push(("detect.wake_word", "alexa"));
    }
    settings
}

/// Asks a question and waits until nothing is under way. Returns how much of an answer was heard.
fn ask(world: &mut World, kind: StageKind) -> String {
    let before = world.answers().len();
    if kind == StageKind::WakeWord {
        world.say(CALL, 500);
        world.pass(300);
    }
    world.say(0, 1000);
    for _ in 0..3000 {
        world.pass(10);
        if world.session.view().is_at_rest() && !world.session.is_awaiting() {
            break;
        }
    }
    world.answers().get(before).map(|answer| answer.heard.clone()).unwrap_or_default()
}

fn go_through(kind: StageKind, fault: Fault) {
    let (trap, plan) = (Arc::new(Trap::default()), plan(&settings(kind)));
    let engine = engine(kind, &trap, &plan);
    let mut world = World::of(engine.clone(), SimulatedRoom::HEADPHONES, &plan);
    let case = format!("{} {fault:?}", kind.name());
    trap.arm(Some(fault));
    let heard = ask(&mut world, kind);
    let failures = world.happened.iter().filter(|event| matches!(event.kind, EventKind::Failed { .. })).count();
    let status = |engine: &Engine| engine.status().into_iter().find(|status| status.kind == kind).unwrap();
    match fault {
        Fault::Slow => assert_eq!((heard.as_str(), failures, status(&engine).generation), (ANSWER, 0, 0), "{case}"),
        _ => {
            assert_eq!(failures, 1, "{case}: {:?}", world.happened);
            let replaced = u64::from(fault != Fault::Error);
            assert_eq!(status(&engine).generation, replaced, "{case}");
        }
    }
    // Without the turn detector's score a turn ends all the same.
    if kind == StageKind::TurnDetector {
        assert_eq!(heard, ANSWER, "{case}");
    }
    trap.arm(None);
    let next = ask(&mut world, kind);
    assert_eq!(next, ANSWER, "{case}: {:?}", world.happened);
    assert_eq!(status(&engine).condition, StageCondition::Ready, "{case}");

    // The thread that hangs is still there with its model. Let go, it ends.
    if fault == Fault::Hang {
        assert_eq!((status(&engine).abandoned, trap.models.load(Ordering::Relaxed)), (1, 2), "{case}");
    }
    trap.hung.lock().unwrap().clear();
    for _ in 0..1000 {
        if status(&engine).abandoned == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!((status(&engine).abandoned, trap.models.load(Ordering::Relaxed)), (0, 1), "{case}");
    println!("{case}: first question {}, next answered", if heard == ANSWER { "answered" } else { "failed" });
}

#[test]
fn after_every_fault_of_every_stage_the_next_question_is_answered() {
    std::thread::scope(|scope| {
        for kind in StageKind::ALL {
            scope.spawn(move || FAULTS.into_iter().for_each(|fault| go_through(kind, fault)));
        }
    });
}

#[test]
fn a_stage_that_was_unloaded_answers_the_next_question() {
    for kind in StageKind::ALL {
        let (trap, plan) = (Arc::new(Trap::default()), plan(&settings(kind)));
        let engine = engine(kind, &trap, &plan);
        let mut world = World::of(engine.clone(), SimulatedRoom::HEADPHONES, &plan);
        assert!(engine.unload(kind));
        // The detectors are loaded again by the next frame.
        if !matches!(kind, StageKind::VoiceActivity | StageKind::WakeWord) {
            let is_gone = || trap.models.load(Ordering::Relaxed) == 0;
            assert!(
                (0..5000).any(|_| is_gone() || (std::thread::sleep(Duration::from_millis(1)), false).1),
                "{kind:?}"
            );
        }
        assert_eq!(ask(&mut world, kind), ANSWER, "{kind:?}: {:?}", world.happened);
    }
    let plan = plan(&settings(StageKind::Transcriber));
    assert!(!engine(StageKind::Transcriber, &Arc::default(), &plan).unload(StageKind::WakeWord), "it has none");
}

#[test]
fn a_stage_that_fails_again_and_again_rests_and_says_so() {
    let (trap, plan) = (Arc::new(Trap::default()), plan(&settings(StageKind::Transcriber)));
    let limits = EngineLimits { restarts: 2, ..EngineLimits::default() };
    let engine = Engine::start_with(trapped(StageKind::Transcriber, &trap), &plan, limits).unwrap();
    let mut world = World::of(engine, SimulatedRoom::HEADPHONES, &plan);
    for _ in 0..3 {
        trap.arm(Some(Fault::Panic));
        ask(&mut world, StageKind::Transcriber);
    }
    assert_eq!(ask(&mut world, StageKind::Transcriber), "", "it would answer now");
    let why = world.happened.iter().rev().find_map(|event| match &event.kind {
        EventKind::Failed { why, .. } => Some(why.clone()),
        _ => None,
    });
    assert!(why.as_ref().is_some_and(|why| why.contains("failed 3 times within 10 minutes")), "{why:?}");
}
