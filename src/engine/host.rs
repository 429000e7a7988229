//! Host of one stage: a thread with a mailbox around one loaded model.
//!
//! Jobs of all sessions come in through the mailbox, the more urgent first. A stage that panics is
//! loaded again, and the job it had is reported as failed. A stage that gives no sign for too long
//! hangs, in foreign code as a rule: its thread is abandoned, another takes its place and its
//! mailbox, and the generation number goes up. What an abandoned thread still sends is dropped by
//! that number. Its model, and the memory permit that the model holds, stay until the thread ends;
//! [`StageStatus::abandoned`] counts such threads.
//!
//! Restarts are limited ([`StageLimits`]). A stage over its limit fails its jobs at once, until the
//! oldest restart is long enough ago.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::anyhow;

use super::stage::{Result, StageKind};
use crate::types::SessionId;

/// Job for a stage.
pub(super) trait Job: Send + 'static {
    fn session(&self) -> SessionId;

    /// Place in the mailbox: jobs with a greater number go first.
    fn priority(&self) -> u8 {
        0
    }

    /// Whether the job replaces one of the same session that waits.
    fn replaces_waiting(&self) -> bool;

    /// Whether anybody still wants the result.
    fn is_current(&self) -> bool;

    /// Makes the report of a failure of the stage in this job.
    fn failure_report(&self) -> FailureReport;
}

/// Tells the session of a job that the stage has failed in it.
pub(super) type FailureReport = Box<dyn FnOnce(anyhow::Error) + Send>;

/// Loaded model with what it does for a job.
pub(super) trait Stage {
    type Job: Job;

    /// Does the job, or begins it; [`Stage::advance`] then goes on with it.
    fn start(&mut self, job: Self::Job, context: &StageContext);

    /// Goes on with the jobs that were begun, by a step of one of them.
    fn advance(&mut self, _context: &StageContext) {}

    /// Sessions whose jobs were begun and are not over.
    fn active(&self) -> Vec<SessionId> {
        Vec::new()
    }

    /// Frees what is kept for a session that is over.
    fn close(&mut self, _session: SessionId) {}
}

/// Limits of a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageLimits {
    /// Time without a sign of work after which the stage counts as hung.
    pub hang: Duration,
    /// Time without a sign of work while its model is loaded.
    pub load: Duration,
    /// Number of restarts within `window` that are allowed.
    pub restarts: usize,
    pub window: Duration,
}

/// Whether a stage can work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StageCondition {
    Unloaded,
    Loading,
    Ready,
    /// The last attempt to load it failed, or it has failed too often; the reason.
    Failed(String),
}

/// State of a stage, for a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageStatus {
    pub kind: StageKind,
    pub condition: StageCondition,
    /// Number of replacements and restarts so far.
    pub generation: u64,
    /// Number of threads that hang and still hold their model.
    pub abandoned: usize,
}

/// Host of whatever stage.
pub(super) trait AnyHost {
    /// Loads the model, if it is not loaded, and waits for it.
    fn load(&self) -> Result<()>;

    /// Drops the model behind the jobs that wait; the next job loads it again.
    fn unload(&self);

    /// Drops the jobs of a session that is over, and what is kept for it.
    fn close(&self, session: SessionId);

    /// Replaces the thread if it hangs. To be called now and then.
    fn supervise(&self);

    fn status(&self) -> StageStatus;

    /// Number of replacements and restarts so far.
    fn generation(&self) -> u64;

    /// Ends the thread once its job is done.
    fn stop(&self);

    fn has_ended(&self) -> bool;
}

/// Owner of a stage's thread.
pub(super) struct Host<S: Stage> {
    shared: Arc<Shared<S>>,
}

/// Handle of a running stage: for signs of work, and to drop what an abandoned thread has to say.
pub(super) struct StageContext {
    generation: u64,
    signs: Arc<Signs>,
}

/// Signs of work, which a thread and its supervisor share without a lock.
struct Signs {
    origin: Instant,
    /// Milliseconds from `origin` to the last sign of work.
    last: AtomicU64,
    generation: AtomicU64,
}

struct Shared<S: Stage> {
    kind: StageKind,
    limits: StageLimits,
    load: Box<dyn Fn() -> Result<S> + Send + Sync>,
    signs: Arc<Signs>,
    state: Mutex<HostState<S::Job>>,
    changed: Condvar,
}

struct HostState<J> {
    waiting: VecDeque<Order<J>>,
    /// Reports for the jobs under way.
    active: Vec<(SessionId, FailureReport)>,
    /// Whether the thread is at work, and gives signs of it.
    busy: bool,
    condition: StageCondition,
    restarts: VecDeque<Instant>,
    abandoned: usize,
    stopped: bool,
    thread: Option<JoinHandle<()>>,
}

enum Order<J> {
    Work(J),
    Load,
    Unload,
    Close(SessionId),
}

/// Next thing for a thread to do.
enum Next<J> {
    Order(Order<J>),
    /// Go on with the jobs that were begun.
    Advance,
    End,
}

impl StageContext {
    /// Gives a sign of work.
    pub(super) fn beat(&self) {
        self.signs.beat();
    }

    /// Whether the thread was not abandoned.
    pub(super) fn is_current(&self) -> bool {
        self.signs.generation.load(Ordering::Acquire) == self.generation
    }
}

impl Signs {
    fn beat(&self) {
        self.last.store(self.origin.elapsed().as_millis() as u64, Ordering::Release);
    }

    fn silent_for(&self) -> Duration {
        self.origin.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Acquire)))
    }
}

impl<S: Stage + 'static> Host<S> {
    /// Makes the host of a stage. Its thread loads the model with `load` when it is told to, or
    /// when the first job comes.
    pub(super) fn new(
        kind: StageKind,
        limits: StageLimits,
        load: impl Fn() -> Result<S> + Send + Sync + 'static,
    ) -> Self {
        let signs = Signs { origin: Instant::now(), last: AtomicU64::new(0), generation: AtomicU64::new(0) };
        let state = HostState {
            waiting: VecDeque::new(),
            active: Vec::new(),
            busy: false,
            condition: StageCondition::Unloaded,
            restarts: VecDeque::new(),
            abandoned: 0,
            stopped: false,
            thread: None,
        };
        let shared = Arc::new(Shared {
            kind,
            limits,
            load: Box::new(load),
            signs: Arc::new(signs),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        Host { shared }
    }

    pub(super) fn submit(&self, job: S::Job) {
        let mut state = self.shared.lock();
        if let Err(error) = self.shared.ensure_thread(&mut state) {
            drop(state);
            return job.failure_report()(error);
        }
        if job.replaces_waiting() {
            let session = job.session();
            state.waiting.retain(|order| !matches!(order, Order::Work(other) if other.session() == session));
        }
        state.waiting.push_back(Order::Work(job));
        self.shared.changed.notify_all();
    }
}

impl<S: Stage + 'static> AnyHost for Host<S> {
    fn load(&self) -> Result<()> {
        let mut state = self.shared.lock();
        self.shared.ensure_thread(&mut state)?;
        state.condition = StageCondition::Loading;
        state.waiting.push_back(Order::Load);
        self.shared.changed.notify_all();
        while state.condition == StageCondition::Loading && !state.stopped {
            state = self.shared.wait(state);
        }
        match &state.condition {
            StageCondition::Failed(why) => Err(anyhow!("{why}")),
            _ => Ok(()),
        }
    }

    fn unload(&self) {
        self.shared.lock().waiting.push_back(Order::Unload);
        self.shared.changed.notify_all();
    }

    fn close(&self, session: SessionId) {
        let mut state = self.shared.lock();
        state.waiting.retain(|order| !matches!(order, Order::Work(job) if job.session() == session));
        state.active.retain(|(of, _)| *of != session);
        state.waiting.push_back(Order::Close(session));
        self.shared.changed.notify_all();
    }

    fn supervise(&self) {
        let state = self.shared.lock();
        let limit = match state.condition {
            StageCondition::Loading => self.shared.limits.load,
            _ => self.shared.limits.hang,
        };
        let silent = self.shared.signs.silent_for();
        if state.busy && silent >= limit {
            self.shared.abandon(state, silent);
        }
    }

    fn status(&self) -> StageStatus {
        let state = self.shared.lock();
        StageStatus {
            kind: self.shared.kind,
            condition: state.condition.clone(),
            generation: self.shared.signs.generation.load(Ordering::Acquire),
            abandoned: state.abandoned,
        }
    }

    fn generation(&self) -> u64 {
        self.shared.signs.generation.load(Ordering::Acquire)
    }

    fn stop(&self) {
        let mut state = self.shared.lock();
        state.stopped = true;
        state.waiting.clear();
        self.shared.changed.notify_all();
    }

    fn has_ended(&self) -> bool {
        self.shared.lock().thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl<S: Stage + 'static> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, HostState<S::Job>> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn wait<'a>(&self, state: MutexGuard<'a, HostState<S::Job>>) -> MutexGuard<'a, HostState<S::Job>> {
        self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Starts a thread of the present generation, if there is none. Errors where the system refuses
    /// one; the next job tries again.
    fn ensure_thread(self: &Arc<Self>, state: &mut HostState<S::Job>) -> Result<()> {
        if state.thread.is_some() {
            return Ok(());
        }
        let (shared, generation) = (self.clone(), self.signs.generation.load(Ordering::Acquire));
        let name = format!("sotto-{}", self.kind.name().replace('_', "-"));
        let thread = thread::Builder::new().name(name).spawn(move || shared.run(generation)).map_err(|error| {
            let why = format!("the system refuses a thread for the {}: {error}; end other programs", self.kind.title());
            state.condition = StageCondition::Failed(why.clone());
            anyhow!("{why}")
        })?;
        state.thread = Some(thread);
        Ok(())
    }

    fn run(self: Arc<Self>, mut generation: u64) {
        let mut stage = None;
        loop {
            let context = StageContext { generation, signs: self.signs.clone() };
            let unfinished = stage.as_ref().is_some_and(|stage: &S| !stage.active().is_empty());
            let outcome = match self.next(generation, unfinished) {
                Next::End => break,
                Next::Order(order) => self.obey(order, &mut stage, &context),
                Next::Advance => self.caught(|| stage.iter_mut().for_each(|stage| stage.advance(&context))),
            };
            let goes_on = match outcome {
                Ok(()) => self.settle(generation, stage.as_ref().map(Stage::active).unwrap_or_default()),
                Err(error) => {
                    self.discard(&mut stage);
                    self.restart(generation, &error).inspect(|next| generation = *next).is_some()
                }
            };
            if !goes_on {
                break;
            }
        }
        self.discard(&mut stage);
        if self.signs.generation.load(Ordering::Acquire) != generation {
            self.lock().abandoned -= 1;
        }
    }

    /// Waits for something to do.
    fn next(&self, generation: u64, unfinished: bool) -> Next<S::Job> {
        let mut state = self.lock();
        loop {
            if self.signs.generation.load(Ordering::Acquire) != generation || state.stopped {
                return Next::End;
            }
            let order = most_urgent(&state.waiting, unfinished).and_then(|at| state.waiting.remove(at));
            if order.is_some() || unfinished {
                self.signs.beat();
                state.busy = true;
                return order.map_or(Next::Advance, Next::Order);
            }
            state = self.wait(state);
        }
    }

    /// Carries out an order. An error is a panic of the stage.
    fn obey(&self, order: Order<S::Job>, stage: &mut Option<S>, context: &StageContext) -> Result<()> {
        match order {
            Order::Work(job) if job.is_current() => self.work(job, stage, context),
            Order::Work(_) => Ok(()),
            Order::Load => {
                match self.check_restarts() {
                    // A failure is kept as the stage's condition.
                    Ok(()) => drop(self.ready(stage, context)),
                    Err(error) => self.set(context, StageCondition::Failed(format!("{error:#}"))),
                }
                Ok(())
            }
            Order::Unload => {
                self.discard(stage);
                self.set(context, StageCondition::Unloaded);
                Ok(())
            }
            Order::Close(session) => self.caught(|| stage.iter_mut().for_each(|stage| stage.close(session))),
        }
    }

    fn work(&self, job: S::Job, stage: &mut Option<S>, context: &StageContext) -> Result<()> {
        let (session, report) = (job.session(), job.failure_report());
        if let Err(error) = self.check_restarts() {
            report(error);
            return Ok(());
        }
        self.lock().active.push((session, report));
        match self.ready(stage, context) {
            Ok(stage) => self.caught(|| stage.start(job, context)),
            Err(error) => {
                self.fail(self.take_active(context.generation), &error);
                Ok(())
            }
        }
    }

    /// Returns the stage, which is loaded now if it was not.
    fn ready<'s>(&self, stage: &'s mut Option<S>, context: &StageContext) -> Result<&'s mut S> {
        let loaded = match stage.take() {
            Some(loaded) => Ok(loaded),
            None => {
                self.set(context, StageCondition::Loading);
                self.caught(&self.load).and_then(|loaded| loaded)
            }
        };
        match loaded {
            Ok(loaded) => {
                self.set(context, StageCondition::Ready);
                Ok(stage.insert(loaded))
            }
            Err(error) => {
                let error = error.context(format!("the {} could not be loaded", self.kind.title()));
                self.set(context, StageCondition::Failed(format!("{error:#}")));
                Err(error)
            }
        }
    }

    /// Sets the condition, which an abandoned thread no longer says.
    fn set(&self, context: &StageContext, condition: StageCondition) {
        let mut state = self.lock();
        if context.is_current() {
            state.condition = condition;
            self.signs.beat();
            self.changed.notify_all();
        }
    }

    /// Runs foreign code. A panic becomes an error.
    fn caught<T>(&self, run: impl FnOnce() -> T) -> Result<T> {
        catch_unwind(AssertUnwindSafe(run)).map_err(|_| {
            anyhow!(
                "the {} panicked, which is a defect of Sotto: please report it; it is loaded again, so ask again",
                self.kind.title()
            )
        })
    }

    /// Drops the model. One that has panicked may panic again.
    fn discard(&self, stage: &mut Option<S>) {
        let _panic = self.caught(|| drop(stage.take()));
    }

    /// Forgets the reports of jobs that are over. Returns whether the thread was not abandoned.
    fn settle(&self, generation: u64, active: Vec<SessionId>) -> bool {
        let mut state = self.lock();
        if self.signs.generation.load(Ordering::Acquire) != generation {
            return false;
        }
        state.busy = !active.is_empty();
        state.active.retain(|(session, _)| active.contains(session));
        true
    }

    /// Begins the next generation in this thread, after a panic. Returns its number, or `None` if
    /// the thread was abandoned.
    fn restart(&self, generation: u64, error: &anyhow::Error) -> Option<u64> {
        let mut state = self.lock();
        if self.signs.generation.load(Ordering::Acquire) != generation {
            return None;
        }
        self.begin_generation(&mut state);
        let failed = std::mem::take(&mut state.active);
        drop(state);
        self.fail(failed, error);
        Some(generation + 1)
    }

    /// Gives up on the thread, which has given no sign for `silent`, and starts another.
    fn abandon(self: &Arc<Self>, mut state: MutexGuard<HostState<S::Job>>, silent: Duration) {
        state.abandoned += 1;
        self.begin_generation(&mut state);
        state.thread = None;
        let refused = self.ensure_thread(&mut state).is_err();
        let mut failed = std::mem::take(&mut state.active);
        if refused {
            let waiting = std::mem::take(&mut state.waiting).into_iter();
            failed.extend(waiting.filter_map(|order| match order {
                Order::Work(job) => Some((job.session(), job.failure_report())),
                Order::Load | Order::Unload | Order::Close(_) => None,
            }));
        }
        drop(state);
        self.changed.notify_all();
        let (stage, seconds) = (self.kind.title(), silent.as_secs_f64());
        self.fail(failed, &anyhow!("the {stage} gave no sign of work for {seconds:.1} s and was replaced; ask again"));
    }

    fn begin_generation(&self, state: &mut HostState<S::Job>) {
        self.signs.generation.fetch_add(1, Ordering::AcqRel);
        self.signs.beat();
        state.busy = false;
        state.restarts.push_back(Instant::now());
        while state.restarts.len() > self.limits.restarts + 1 {
            state.restarts.pop_front();
        }
        // The next question should not wait for it.
        state.waiting.push_front(Order::Load);
    }

    /// Errors when the stage was restarted too often of late.
    fn check_restarts(&self) -> Result<()> {
        let mut state = self.lock();
        let StageLimits { restarts, window, .. } = self.limits;
        while state.restarts.front().is_some_and(|at| at.elapsed() >= window) {
            state.restarts.pop_front();
        }
        if state.restarts.len() <= restarts {
            return Ok(());
        }
        let (stage, minutes) = (self.kind.title(), window.as_secs_f64() / 60.0);
        Err(anyhow!(
            "the {stage} has failed {} times within {minutes:.0} minutes and rests; run \"sotto doctor\", or start Sotto again",
            state.restarts.len()
        ))
    }

    fn take_active(&self, generation: u64) -> Vec<(SessionId, FailureReport)> {
        let mut state = self.lock();
        let is_current = self.signs.generation.load(Ordering::Acquire) == generation;
        if is_current { std::mem::take(&mut state.active) } else { Vec::new() }
    }

    /// Reports a failure to the sessions whose jobs it ended.
    fn fail(&self, reports: Vec<(SessionId, FailureReport)>, error: &anyhow::Error) {
        reports.into_iter().for_each(|(_, report)| report(anyhow!("{error:#}")));
    }
}

/// Place of the order that goes first: the job of the greatest priority, of equals the oldest.
/// Orders other than jobs go in their turn, and only between jobs.
fn most_urgent<J: Job>(waiting: &VecDeque<Order<J>>, unfinished: bool) -> Option<usize> {
    let mut first: Option<(usize, u8)> = None;
    for (at, order) in waiting.iter().enumerate() {
        let priority = match order {
            Order::Work(job) => job.priority(),
            Order::Load | Order::Unload if unfinished => continue,
            _ if first.is_none() => return Some(at),
            // What waits before it goes before it.
            _ => break,
        };
        if first.is_none_or(|(_, most)| priority > most) {
            first = Some((at, priority));
        }
    }
    first.map(|(at, _)| at)
}

#[cfg(test)]
mod tests;
