//! What the front end of the microphone does to echo, noise and voices.
//!
//! `cargo run --release --example front -- rooms FOLDER` prints, for simulated rooms, how much of
//! the echo goes and how much of a person who talks over it stays, for the canceller of Sotto and
//! for that of the crate `sonora`.
//!
//! `cargo run --release --example front -- process FOLDER OUT …` sends every recording of FOLDER
//! through the front end, with noise or an echo added if wished, and writes OUT in the form that
//! the example `wer` reads.
//!
//! FOLDER holds recorded voices. `--silero` and `--onnx` name the voice activity model and ONNX
//! Runtime's library, to see what voice activity makes of it.

mod process;
mod rooms;
#[path = "../../tests/common/room.rs"]
mod simulated;
mod voice;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use sotto::audio::{self, front::BLOCK, front::ProcessedBlock};
use sotto::types::SampleRate;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    ears: Ears,
}

#[derive(Subcommand)]
enum What {
    Rooms { folder: PathBuf },
    Process(process::Process),
}

/// Voice activity, where it is there.
#[derive(Args)]
struct Ears {
    #[arg(long, global = true, requires = "onnx")]
    silero: Option<PathBuf>,
    #[arg(long, global = true)]
    onnx: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut voice = voice::Voice::load(&arguments.ears)?;
    match arguments.what {
        What::Rooms { folder } => rooms::print(&folder, voice.as_mut()),
        What::Process(process) => process.run(voice.as_mut()),
    }
}

fn read(path: &Path) -> Result<Vec<f32>> {
    Ok(audio::load_at(path, audio::LONGEST, SampleRate::HEARING)?.samples)
}

/// The WAV files of `folder`, in order.
fn recordings(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = folder.read_dir().with_context(|| folder.display().to_string())?;
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "wav"));
    files.sort();
    ensure!(files.len() >= 2, "{} holds no two WAV files", folder.display());
    Ok(files)
}

/// Sends a sound through block by block; what is left over at the end is dropped.
fn through(
    microphone: &[f32],
    played: &[f32],
    mut process: impl FnMut(&mut ProcessedBlock, &ProcessedBlock),
) -> Vec<f32> {
    let mut out = Vec::with_capacity(microphone.len());
    for (heard, played) in microphone.chunks_exact(BLOCK).zip(played.chunks_exact(BLOCK)) {
        let mut block: ProcessedBlock = heard.try_into().expect("chunks are blocks");
        process(&mut block, played.try_into().expect("chunks are blocks"));
        out.extend(block);
    }
    out
}
