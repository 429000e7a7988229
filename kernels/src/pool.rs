//! Thread pool for one operation after another.
//!
//! An operation is divided into many small tasks. Each thread has a range of them, which it takes
//! one by one: the memory of consecutive tasks is prefetched already. A thread that has finished
//! its own range takes tasks of the others, so that a thread on a disturbed core does fewer. The
//! caller works too, and never waits for a thread that has not begun: when no task is left it
//! closes the job, and late threads find it closed. Idle threads spin for [`SPIN`], which is longer
//! than the gaps between the operations of a token, and then sleep, because audio and speech
//! recognition need the cores as well.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// Time for which an idle thread spins before it sleeps. Waking a sleeping thread takes about as
/// long.
const SPIN: Duration = Duration::from_micros(40);
/// Number of spins between two reads of the clock.
const TURNS_PER_LOOK: u32 = 64;
/// Limit of threads, above the cores of any present machine: a request for more is a mistake.
const MOST_THREADS: usize = 256;

/// A fixed set of threads that run one job at a time. Dropping the pool ends them.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Lock held while a job runs, so that a second caller, or a task that starts a job, is
    /// detected.
    busy: Mutex<()>,
}

struct Shared {
    /// State of the gate: the number of the job in the upper half, then [`OPEN`], then the number
    /// of workers inside the job.
    gate: AtomicU64,
    /// Current job. Written by the caller alone, while the gate is closed and no worker is inside.
    job: UnsafeCell<Option<Job>>,
    /// Next task of each thread's range.
    next: Vec<Next>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Flags set by workers that are about to sleep; the thread that clears one wakes the worker.
    asleep: Vec<AtomicBool>,
    ending: AtomicBool,
    /// Caller that waits for the last worker to leave.
    caller: Mutex<Option<Thread>>,
}

/// Index of the next task, in a cache line of its own, because each thread mostly updates its own.
#[repr(align(128))]
#[derive(Default)]
struct Next(AtomicUsize);

/// A job with an erased lifetime: [`Pool::run`] returns only when no thread can access it any more.
#[derive(Clone, Copy)]
struct Job {
    task: *const (dyn Fn(usize, usize) + Sync),
    tasks: usize,
    threads: usize,
}

impl Job {
    /// First task of a thread's range, which ends where that of the next begins.
    fn first_of(&self, thread: usize) -> usize {
        // Not tasks * thread / threads, which could overflow.
        self.tasks / self.threads * thread + (self.tasks % self.threads).min(thread)
    }
}

// SAFETY: `job` is written only by the thread that holds `Pool::busy`, while the gate is closed and
// no worker is inside (`Pool::open`, after `Pool::close` of the job before), and read only by
// workers between entering and leaving. The closure behind its pointer is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: nothing in it is tied to the thread that created it; the pointer is covered by the
// argument above.
unsafe impl Send for Shared {}

const OPEN: u64 = 1 << 31;
const INSIDE: u64 = OPEN - 1;
const NEXT_JOB: u64 = 1 << 32;

impl Pool {
    /// Creates a pool of `threads` threads, the calling one included: 1 starts none, and 0 counts
    /// as 1. If the system refuses to start a thread, the pool is smaller.
    pub fn new(threads: usize) -> Pool {
        Pool::started_by(threads, || ())
    }

    /// Creates a pool whose threads, except for the calling one, call `begin` first.
    pub fn started_by(threads: usize, begin: impl Fn() + Clone + Send + 'static) -> Pool {
        let others = threads.clamp(1, MOST_THREADS) - 1;
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            next: (0..=others).map(|_| Next::default()).collect(),
            panic: Mutex::new(None),
            asleep: (0..others).map(|_| AtomicBool::new(false)).collect(),
            ending: AtomicBool::new(false),
            caller: Mutex::new(None),
        });
        let start = |worker: usize| {
            let (shared, begin) = (Arc::clone(&shared), begin.clone());
            let builder = std::thread::Builder::new().name(format!("kernel-{worker}"));
            let work = move || {
                begin();
                shared.work(worker);
            };
            builder.spawn(work).ok()
        };
        let workers = (1..=others).map_while(start).collect();
        Pool { shared, workers, busy: Mutex::new(()) }
    }

    /// Number of threads that work on a job, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task(i, worker)` once for every `i` in `0..tasks` and returns when all are done.
    /// `worker` is below [`Pool::threads`], and no two calls at the same time get the same one.
    ///
    /// A panic in a task ends the job and is passed on. Called from inside a task, or while another
    /// thread uses the pool, it runs all tasks on the calling thread.
    pub fn run(&self, tasks: usize, task: impl Fn(usize, usize) + Sync) {
        let alone = || (0..tasks).for_each(|i| task(i, 0));
        if tasks <= 1 || self.workers.is_empty() {
            return alone();
        }
        let Ok(busy) = self.busy.try_lock() else { return alone() };
        let job = Job { task: forget_borrow(&task), tasks, threads: self.threads() };
        self.open(job);
        let ours = catch_unwind(AssertUnwindSafe(|| self.shared.take_tasks(job, 0)));
        let theirs = self.close();
        drop(busy);
        if let Some(panic) = ours.err().or(theirs) {
            resume_unwind(panic);
        }
    }

    /// Does [`Pool::run`] over pieces of `data`: `task(i, piece, worker)` for piece `i` of `size`
    /// elements, the last of which may be shorter. Panics if `size` is 0.
    pub fn for_pieces<T: Send>(&self, data: &mut [T], size: usize, task: impl Fn(usize, &mut [T], usize) + Sync) {
        assert!(size > 0, "pieces of at least one element");
        let len = data.len();
        let all = SharedMut::new(data);
        self.run(len.div_ceil(size), |i, worker| {
            let first = i * size;
            // SAFETY: pieces do not overlap, and each number is given to one task.
            task(i, unsafe { all.slice(first, size.min(len - first)) }, worker);
        });
    }

    fn open(&self, job: Job) {
        let shared = &*self.shared;
        // SAFETY: `busy` is held; the gate has been closed and empty since the previous job was
        // closed.
        unsafe { *shared.job.get() = Some(job) };
        for (thread, next) in shared.next.iter().enumerate().take(job.threads) {
            next.0.store(job.first_of(thread), Ordering::Relaxed);
        }
        let before = shared.gate.load(Ordering::Relaxed);
        // SeqCst, as in `sleep`: either the worker reads the new job or this thread reads that it
        // sleeps.
        shared.gate.store((before & !(OPEN | INSIDE)).wrapping_add(NEXT_JOB) | OPEN, Ordering::SeqCst);
        for (worker, asleep) in self.workers.iter().zip(&shared.asleep) {
            if asleep.swap(false, Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
    }

    /// Admits no more workers, waits for those inside, and returns the panic of one of them, if
    /// any.
    fn close(&self) -> Option<Box<dyn Any + Send>> {
        let shared = &*self.shared;
        let inside = |gate: u64| gate & INSIDE != 0;
        let gate = shared.gate.fetch_and(!OPEN, Ordering::AcqRel);
        if inside(gate) && !spin_until(|| !inside(shared.gate.load(Ordering::Acquire))) {
            *lock(&shared.caller) = Some(std::thread::current());
            while inside(shared.gate.load(Ordering::SeqCst)) {
                std::thread::park();
            }
            *lock(&shared.caller) = None;
        }
        lock(&shared.panic).take()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches panics of its tasks; it only ends by returning.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn work(&self, worker: usize) {
        let mut seen = 0;
        while let Some(job) = self.wait_for_job(&mut seen, worker) {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.take_tasks(job, worker))) {
                lock(&self.panic).get_or_insert(panic);
            }
            self.leave();
        }
    }

    /// Waits for a job that is newer than `seen` and still open, and enters it. `None` when the
    /// pool ends.
    fn wait_for_job(&self, seen: &mut u64, worker: usize) -> Option<Job> {
        let is_new = |seen: u64| self.gate.load(Ordering::SeqCst) / NEXT_JOB != seen;
        loop {
            let ended = || self.ending.load(Ordering::SeqCst);
            while !is_new(*seen) {
                if ended() {
                    return None;
                }
                if !spin_until(|| is_new(*seen) || ended()) {
                    self.sleep(worker, || is_new(*seen) || ended());
                }
            }
            if let Some(job) = self.enter(seen) {
                return Some(job);
            }
        }
    }

    fn sleep(&self, worker: usize, awake: impl Fn() -> bool) {
        let asleep = &self.asleep[worker - 1];
        asleep.store(true, Ordering::SeqCst);
        while asleep.load(Ordering::SeqCst) && !awake() {
            std::thread::park();
        }
        asleep.store(false, Ordering::SeqCst);
    }

    fn enter(&self, seen: &mut u64) -> Option<Job> {
        let mut gate = self.gate.load(Ordering::Acquire);
        loop {
            *seen = gate / NEXT_JOB;
            if gate & OPEN == 0 {
                return None;
            }
            match self.gate.compare_exchange_weak(gate, gate + 1, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: this worker is inside an open job, so the caller does not write until it
                // has left.
                Ok(_) => return unsafe { *self.job.get() },
                Err(now) => gate = now,
            }
        }
    }

    fn leave(&self) {
        let before = self.gate.fetch_sub(1, Ordering::SeqCst);
        if before & INSIDE == 1
            && before & OPEN == 0
            && let Some(caller) = &*lock(&self.caller)
        {
            caller.unpark();
        }
    }

    fn take_tasks(&self, job: Job, worker: usize) {
        // SAFETY: this thread is inside the job, or is its caller; `run` keeps the closure until
        // all have left.
        let task = unsafe { &*job.task };
        let mut ended = EndOnPanic { next: &self.next, tasks: job.tasks, panicking: true };
        for thread in (worker..job.threads).chain(0..worker) {
            let end = job.first_of(thread + 1);
            loop {
                let i = self.next[thread].0.fetch_add(1, Ordering::Relaxed);
                if i >= end {
                    break;
                }
                task(i, worker);
            }
        }
        ended.panicking = false;
    }
}

/// Guard that stops all tasks of a job in which one has panicked.
struct EndOnPanic<'a> {
    next: &'a [Next],
    tasks: usize,
    panicking: bool,
}

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if self.panicking {
            self.next.iter().for_each(|next| next.0.store(self.tasks, Ordering::Relaxed));
        }
    }
}

/// Spins until `done`, but not longer than [`SPIN`]; returns whether it is done.
fn spin_until(done: impl Fn() -> bool) -> bool {
    let begin = Instant::now();
    loop {
        for _ in 0..TURNS_PER_LOOK {
            if done() {
                return true;
            }
            std::hint::spin_loop();
        }
        if begin.elapsed() > SPIN {
            return done();
        }
    }
}

fn forget_borrow<'a>(task: &'a (dyn Fn(usize, usize) + Sync + 'a)) -> *const (dyn Fn(usize, usize) + Sync) {
    // SAFETY: only the lifetime in the type of a raw pointer changes; each dereference states why
    // the closure still lives.
    unsafe { std::mem::transmute::<*const (dyn Fn(usize, usize) + Sync + 'a), _>(task) }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A slice that several tasks write to, each in its own range.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut<'a, T> {
    first: *mut T,
    len: usize,
    slice: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: the ranges that tasks write to do not overlap, as `slice` requires, so this is a `&mut
// [T]` cut into pieces.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> SharedMut<'a, T> {
        SharedMut { first: slice.as_mut_ptr(), len: slice.len(), slice: std::marker::PhantomData }
    }

    /// Returns elements `first..first + count`. Panics beyond the end.
    ///
    /// # Safety
    /// While the result lives, no other slice of an overlapping range may be in use.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn slice(&self, first: usize, count: usize) -> &mut [T] {
        assert!(first <= self.len && count <= self.len - first, "{first} + {count} of {}", self.len);
        // SAFETY: the range is inside the slice; the caller keeps it from overlapping with another.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(first), count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_and_workers_are_distinct() {
        for threads in [0, 1, 2, 3, 8] {
            let pool = Pool::new(threads);
            for tasks in [0, 1, 2, 7, 100, 1000] {
                let runs: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                let inside: Vec<AtomicUsize> = (0..pool.threads()).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, |i, worker| {
                    assert_eq!(inside[worker].fetch_add(1, Ordering::SeqCst), 0, "worker {worker} is given out twice");
                    runs[i].fetch_add(1, Ordering::SeqCst);
                    inside[worker].fetch_sub(1, Ordering::SeqCst);
                });
                assert!(runs.iter().all(|r| r.load(Ordering::SeqCst) == 1), "{threads} threads, {tasks} tasks");
            }
        }
    }

    #[test]
    fn many_small_jobs() {
        let pool = Pool::new(4);
        let mut values = [0u32; 64];
        for _ in 0..20_000 {
            pool.for_pieces(&mut values, 5, |_, piece, _| piece.iter_mut().for_each(|v| *v += 1));
        }
        assert_eq!(values, [20_000; 64]);
    }

    #[test]
    fn wakes_sleepers() {
        let pool = Pool::new(2);
        for _ in 0..20 {
            while !pool.shared.asleep[0].load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            // Both tasks must run at the same time for either to end, so the sleeping thread must
            // wake.
            let meeting = std::sync::Barrier::new(2);
            pool.run(2, |_, _| {
                meeting.wait();
            });
        }
    }

    #[test]
    fn a_panic_is_passed_on_and_the_pool_lives() {
        let pool = Pool::new(3);
        for culprit in [0, 1, 17, 99] {
            for _ in 0..50 {
                let panic = catch_unwind(AssertUnwindSafe(|| {
                    pool.run(100, |i, _| assert!(i != culprit, "task {i}"));
                }));
                let message = panic.unwrap_err().downcast::<String>().unwrap();
                assert_eq!(*message, format!("task {culprit}"));
                let count = AtomicUsize::new(0);
                pool.run(100, |_, _| {
                    count.fetch_add(1, Ordering::SeqCst);
                });
                assert_eq!(count.into_inner(), 100);
            }
        }
    }

    #[test]
    fn a_job_within_a_job_and_two_callers() {
        let pool = Pool::new(2);
        let count = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        pool.run(4, |_, _| {
                            pool.run(4, |_, _| {
                                count.fetch_add(1, Ordering::SeqCst);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 3 * 100 * 16);
    }
}
