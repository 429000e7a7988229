//! How dependably a wake word is detected in recordings of people.
//!
//! `cargo run --release --example wake -- WORD CALLS... [--others FOLDER...] [--threshold T]`
//!
//! `CALLS` are files, or folders of files, in each of which the word is said once; `--others` are
//! those in which nobody says it. Prints the calls that were not detected exactly once, and the
//! false accepts per hour of the others.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use sotto::audio;
use sotto::config::{self, Flag, Sources};
use sotto::detect::{Spotter, WAKE_STEP, WakeState, WakeWordModel};
use sotto::engine::Loader;
use sotto::store::{Catalogue, HubEnv, Store, models_dir};
use sotto::types::SampleRate;

#[derive(Parser)]
struct Arguments {
    /// A wake word of the catalogue, or the path of a classifier
    word: String,
    #[arg(required = true)]
    calls: Vec<PathBuf>,
    #[arg(long, num_args = 1..)]
    others: Vec<PathBuf>,
    #[arg(long, default_value_t = 0.5)]
    threshold: f32,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut word = load(&arguments.word)?;
    let mut detections = |path: &Path| -> Result<(usize, f64)> {
        let samples = audio::load_at(path, audio::LONGEST, SampleRate::HEARING)?.samples;
        let (mut state, mut spotter) = (WakeState::default(), Spotter::new(arguments.threshold));
        let mut count = 0;
        for step in samples.as_chunks::<WAKE_STEP>().0 {
            count += usize::from(spotter.push(word.step(&mut state, step)?));
        }
        Ok((count, samples.len() as f64 / f64::from(SampleRate::HEARING.0)))
    };
    let calls = files(&arguments.calls)?;
    let mut once = 0;
    for path in &calls {
        match detections(path)?.0 {
            1 => once += 1,
            count => println!("{}: detected {count} times", path.display()),
        }
    }
    println!("{once} of {} calls were detected once", calls.len());
    let (mut accepts, mut seconds) = (0, 0.0);
    for path in files(&arguments.others)? {
        let (count, length) = detections(&path)?;
        if count > 0 {
            println!("{}: {count} false accepts", path.display());
        }
        (accepts, seconds) = (accepts + count, seconds + length);
    }
    println!("{accepts} false accepts in {:.1} minutes of other sound", seconds / 60.0);
    Ok(())
}

fn load(word: &str) -> Result<WakeWordModel> {
    let flag = Flag { path: "detect.wake_word".to_owned(), value: word.to_owned(), name: "WORD".to_owned() };
    let plan = config::load(&Sources { flags: vec![flag], cores: 1, ..Sources::default() })?.plan;
    let own = std::env::var_os("SOTTO_MODELS_DIR").map(PathBuf::from);
    let dir = models_dir(own.as_deref(), |name| std::env::var_os(name))?;
    let loader = Loader::new(plan, Store::open(Catalogue::builtin(), dir, HubEnv::from_env())?);
    loader.wake_word(loader.wake_features()?)
}

/// The files that are named, and those of the folders that are named, by name.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = path.read_dir().with_context(|| path.display().to_string())?;
        let mut inside = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}
