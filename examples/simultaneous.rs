//! Several sessions on one engine: a question is asked in each at the same moment, at the pace of
//! speech. Prints the latency of each session, and what the process holds per session.
//!
//! `cargo run --release --example simultaneous -- QUESTION.wav [SESSIONS]`

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sotto::audio::device::{Clock, Moment};
use sotto::audio::{self, ClipInput, ClipOutput, ManualClock};
use sotto::config::{self, AudioPlan, EchoMode, Plan, Sources, TurnPlan};
use sotto::engine::{Engine, Loader, Purpose, Session, SessionAudio, TICK};
use sotto::memory::resident;
use sotto::observe::{EventKind, Exchange};
use sotto::store::{Catalogue, HubEnv, Store, models_dir};
use sotto::types::{Bytes, SampleRate};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let question = arguments.next().context("name a question: simultaneous QUESTION.wav [SESSIONS]")?;
    let most: usize = arguments.next().map_or(Ok(2), |count| count.parse()).context("SESSIONS is a number")?;
    let samples: Arc<[f32]> = audio::load_at(Path::new(&question), audio::LONGEST, SampleRate::HEARING)?.samples.into();
    let plan = config::load(&Sources::of_process(None, Vec::new()))?.plan;
    let dir = models_dir(plan.models.dir.as_deref(), |name| std::env::var_os(name))?;
    let loader = Arc::new(Loader::new(plan, Store::open(Catalogue::builtin(), dir, HubEnv::from_env())?));
    let engine = Engine::start(loader.stages(Purpose::Questions, &|_| ())?, loader.plan())?;
    let plan = Plan {
        audio: AudioPlan { echo: EchoMode::Off, ..loader.plan().audio.clone() },
        turn: TurnPlan { earcons: false, ..loader.plan().turn.clone() },
        ..loader.plan().clone()
    };
    // The first answer of a process also fills caches of the models.
    ask_in(1, &engine, &plan, &samples)?;
    for count in [1, most] {
        let before = resident();
        let exchanges = ask_in(count, &engine, &plan, &samples)?;
        let grown = resident().zip(before).map(|(after, before)| Bytes(after.0.saturating_sub(before.0)));
        println!("{count} at once: the process grew by {}", grown.map_or("?".to_owned(), |grown| grown.to_string()));
        for Exchange { question, heard, timings, .. } in exchanges {
            let timings = timings.context("the turn has no last speech sample")?;
            let whole = |at: Option<f64>| at.map_or("-".to_owned(), |at| format!("{at:.0}"));
            println!(
                "  decided {}, first token {}, first sentence {}, first sound heard {} ms: {question} {heard}",
                whole(timings.turn_end),
                whole(timings.first_token),
                whole(timings.first_sentence),
                whole(timings.first_audio)
            );
        }
    }
    Ok(())
}

/// Asks the question in `count` sessions at once, each on a thread of its own.
fn ask_in(count: usize, engine: &Arc<Engine>, plan: &Plan, samples: &Arc<[f32]>) -> Result<Vec<Exchange>> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..count).map(|_| scope.spawn(|| ask(engine, plan, samples))).collect();
        asked.into_iter().map(|session| session.join().expect("a session does not panic")).collect()
    })
}

fn ask(engine: &Arc<Engine>, plan: &Plan, samples: &Arc<[f32]>) -> Result<Exchange> {
    let (manual, begun) = (ManualClock::default(), Instant::now());
    let clock: Arc<dyn Clock> = Arc::new(manual.clone());
    let (output, _played) = ClipOutput::new(engine.rate(), clock.clone());
    let input = ClipInput::new(samples.clone(), clock.clone());
    let audio = SessionAudio { clock: clock.clone(), input: Box::new(input), output: Box::new(output) };
    let mut session = Session::start(engine.clone(), audio, plan);
    while begun.elapsed() < PATIENCE {
        for event in session.step(TICK)? {
            match event.kind {
                EventKind::Exchange(exchange) => return Ok(exchange),
                EventKind::Failed { why, .. } => bail!("{why}"),
                _ => {}
            }
        }
        manual.advance(Moment(begun.elapsed().as_nanos() as u64).since(clock.now()));
    }
    bail!("no answer came within {} s", PATIENCE.as_secs())
}
