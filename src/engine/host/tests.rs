//! Tests of the host with a stage that notes what it does.

use std::sync::mpsc;

use super::*;

/// Job with a number. It waits until it may go on, if it has to.
struct Numbered {
    session: SessionId,
    number: u32,
    priority: u8,
    replaces: bool,
    is_current: bool,
    gate: Option<mpsc::Receiver<()>>,
    failed: mpsc::Sender<(u32, String)>,
}

impl Job for Numbered {
    fn session(&self) -> SessionId {
        self.session
    }

    fn priority(&self) -> u8 {
        self.priority
    }

    fn replaces_waiting(&self) -> bool {
        self.replaces
    }

    fn is_current(&self) -> bool {
        self.is_current
    }

    fn failure_report(&self) -> FailureReport {
        let (number, failed) = (self.number, self.failed.clone());
        Box::new(move |error| failed.send((number, format!("{error:#}"))).unwrap())
    }
}

/// Notes the numbers of its jobs. Number 13 panics.
struct Notes(mpsc::Sender<u32>);

impl Stage for Notes {
    type Job = Numbered;

    fn start(&mut self, job: Numbered, context: &StageContext) {
        if let Some(gate) = job.gate {
            let _open = gate.recv();
        }
        assert_ne!(job.number, 13, "scripted");
        if context.is_current() {
            self.0.send(job.number).unwrap();
        }
    }

    fn close(&mut self, session: SessionId) {
        self.0.send(1000 + session.0 as u32).unwrap();
    }
}

struct Bench {
    host: Host<Notes>,
    done: mpsc::Receiver<u32>,
    failed: mpsc::Receiver<(u32, String)>,
    fails: mpsc::Sender<(u32, String)>,
    /// Number of loads so far.
    loads: Arc<AtomicU64>,
}

const LIMITS: StageLimits = StageLimits {
    hang: Duration::from_millis(100),
    load: Duration::from_secs(60),
    restarts: 2,
    window: Duration::from_secs(600),
};

impl Bench {
    /// A stage whose loads fail from number `good` on.
    fn new(good: u64) -> Bench {
        let ((note, done), (fails, failed), loads) = (mpsc::channel(), mpsc::channel(), Arc::new(AtomicU64::new(0)));
        let count = loads.clone();
        let host =
            Host::new(StageKind::Transcriber, LIMITS, move || match count.fetch_add(1, Ordering::Relaxed) < good {
                true => Ok(Notes(note.clone())),
                false => Err(anyhow!("the file is gone")),
            });
        Bench { host, done, failed, fails, loads }
    }

    fn job(&self, session: u64, number: u32) -> Numbered {
        Numbered {
            session: SessionId(session),
            number,
            priority: 0,
            replaces: false,
            is_current: true,
            gate: None,
            failed: self.fails.clone(),
        }
    }

    /// Submits a job that holds the stage up until the returned gate is opened or dropped.
    fn hold(&self, number: u32) -> mpsc::Sender<()> {
        let (open, gate) = mpsc::channel();
        self.host.submit(Numbered { gate: Some(gate), ..self.job(9, number) });
        while !self.host.shared.lock().waiting.is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        open
    }

    fn next(&self) -> u32 {
        self.done.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    fn failure(&self) -> (u32, String) {
        self.failed.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

#[test]
fn urgent_jobs_go_first_and_equals_in_their_order() {
    let bench = Bench::new(1);
    let open = bench.hold(0);
    for (number, priority) in [(1, 0), (2, 1), (3, 0), (4, 1)] {
        bench.host.submit(Numbered { priority, ..bench.job(u64::from(number), number) });
    }
    drop(open);
    assert_eq!([(); 5].map(|()| bench.next()), [0, 2, 4, 1, 3]);
}

#[test]
fn a_newer_job_of_the_same_session_replaces_one_that_waits() {
    let bench = Bench::new(1);
    let open = bench.hold(0);
    for (session, number) in [(1, 1), (2, 2), (1, 3)] {
        bench.host.submit(Numbered { replaces: true, ..bench.job(session, number) });
    }
    bench.host.submit(Numbered { is_current: false, ..bench.job(3, 4) });
    bench.host.submit(bench.job(4, 5));
    drop(open);
    assert_eq!([(); 4].map(|()| bench.next()), [0, 2, 3, 5], "1 was replaced, and nobody wants 4");
}

#[test]
fn an_unloaded_stage_is_loaded_by_the_next_job() {
    let bench = Bench::new(2);
    bench.host.load().unwrap();
    bench.host.load().unwrap();
    assert_eq!((bench.loads.load(Ordering::Relaxed), bench.host.status().condition), (1, StageCondition::Ready));
    bench.host.submit(bench.job(1, 1));
    bench.host.unload();
    assert_eq!(bench.next(), 1);
    while bench.host.status().condition != StageCondition::Unloaded {
        thread::sleep(Duration::from_millis(1));
    }
    bench.host.submit(bench.job(1, 2));
    assert_eq!((bench.next(), bench.loads.load(Ordering::Relaxed)), (2, 2));
}

#[test]
fn a_stage_that_cannot_be_loaded_fails_each_job_and_says_why() {
    let bench = Bench::new(0);
    assert!(bench.host.load().unwrap_err().to_string().contains("the file is gone"));
    bench.host.submit(bench.job(1, 1));
    let (number, why) = bench.failure();
    assert_eq!((number, why.as_str()), (1, "the transcriber could not be loaded: the file is gone"));
    assert!(matches!(bench.host.status().condition, StageCondition::Failed(why) if why.contains("is gone")));
}

#[test]
fn a_hung_thread_is_replaced_and_what_it_says_later_is_dropped() {
    let bench = Bench::new(2);
    let open = bench.hold(0);
    bench.host.submit(bench.job(1, 1));
    while bench.host.generation() == 0 {
        bench.host.supervise();
    }
    let (number, why) = bench.failure();
    assert!(number == 0 && why.contains("gave no sign of work for 0.1 s and was replaced"), "{why}");
    assert_eq!(bench.next(), 1, "the mailbox goes over to the next thread");
    assert_eq!(bench.host.status().abandoned, 1);
    drop(open);
    while bench.host.status().abandoned > 0 {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(bench.done.try_recv().is_err(), "the old generation is not heard");
}

#[test]
fn a_stage_that_panics_too_often_rests() {
    let bench = Bench::new(9);
    for _ in 0..=LIMITS.restarts {
        bench.host.submit(bench.job(1, 13));
        assert!(bench.failure().1.contains("the transcriber panicked"));
    }
    bench.host.submit(bench.job(1, 1));
    let (number, why) = bench.failure();
    assert!(number == 1 && why.contains("failed 3 times within 10 minutes"), "{why}");
    assert!(bench.done.try_recv().is_err());
}

#[test]
fn a_session_that_is_over_leaves_no_job_and_no_state() {
    let bench = Bench::new(1);
    let open = bench.hold(0);
    bench.host.submit(bench.job(1, 1));
    bench.host.submit(bench.job(2, 2));
    bench.host.close(SessionId(1));
    drop(open);
    assert_eq!([(); 3].map(|()| bench.next()), [0, 2, 1001]);
}
