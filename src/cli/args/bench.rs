//! Arguments of `sotto bench`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args as Group, Subcommand};

use super::{Format, Memory};

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Measure the language model
    ///
    /// Reads a prompt of random tokens from an empty state, and writes an answer token by token;
    /// each is done several times, after a warm-up, and the median counts. Use it on a machine that
    /// does nothing else.
    ///
    /// With --json there are "prompt.tokens_per_second", "decode.tokens_per_second" (the medians;
    /// beside them "least", "most" and all "runs"), "resident_bytes", "bytes_per_token" (weights
    /// and state that a step reads) and "limit.tokens_per_second" (steps per second if reading
    /// those bytes were all there is to do).
    Llm(BenchLlm),
    /// Measure whole turns, from the last sample of speech to the first sound heard
    ///
    /// Says recordings of spoken questions into a simulated microphone, in real time, and listens
    /// for the answers at a simulated speaker; each is a conversation of its own. Use it on a
    /// machine that does nothing else.
    ///
    /// With --json there are "turns", "first_audio_ms" with "p50", "p95" and "max", the same for
    /// "turn_end_ms", "transcript_ms", "first_token_ms", "first_sentence_ms" and "first_pcm_ms",
    /// "false_cutoff_rate" (answers that began before the question was over, as a share of the
    /// turns), "missed" (turns without an answer), "asked_again", and "each" of them.
    Turn(BenchTurn),
}

#[derive(Debug, Group)]
pub struct BenchTurn {
    /// WAV files, or folders of them: one question in each
    #[arg(value_name = "RECORDING", required = true)]
    pub recordings: Vec<PathBuf>,

    /// Say only so many of them
    #[arg(long, value_name = "N")]
    pub turns: Option<NonZeroUsize>,

    /// Make a pause of 300, 450 or 600 ms in every Nth of them, where the voice is weakest in its
    /// middle; 0 makes none
    #[arg(long, value_name = "N", default_value = "3")]
    pub pause_every: usize,

    /// Weigh the evidence of a turn's end by those in this file, which benches/fit_turn.py writes
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,

    /// Tell instead what the models say of every pause, one JSON object a line, never the words;
    /// each recording is said as it is and a second time with pauses put in
    #[arg(long, conflicts_with_all = ["pause_every", "weights", "json"])]
    pub pauses: bool,

    #[command(flatten)]
    pub memory: Memory,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Group)]
pub struct BenchLlm {
    /// The model: a name of the catalogue, a GGUF file or a folder; without it, the pipeline's own
    #[arg(value_name = "MODEL")]
    pub model: Option<String>,

    /// Tokens of the prompt
    #[arg(short, long, value_name = "N", default_value = "128")]
    pub prompt: NonZeroUsize,

    /// Tokens of the answer
    #[arg(short, long, value_name = "N", default_value = "256")]
    pub generate: NonZeroUsize,

    /// Tokens that are there before the answer begins
    #[arg(long, value_name = "N", default_value = "0")]
    pub depth: usize,

    /// Threads to compute with; without it, as many as the pipeline would use
    #[arg(long, value_name = "N")]
    pub threads: Option<String>,

    /// How often each is measured
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub repeat: u16,

    /// Measure besides an answer chosen from the K best tokens, for which less of the head is read;
    /// 1 is greedy
    #[arg(long, value_name = "K")]
    pub top_k: Option<NonZeroUsize>,

    /// Tell where the time goes, by kind of work
    #[arg(long)]
    pub profile: bool,

    #[command(flatten)]
    pub memory: Memory,

    #[command(flatten)]
    pub format: Format,
}

impl Bench {
    pub(super) fn memory(&self) -> &Memory {
        match self {
            Bench::Llm(bench) => &bench.memory,
            Bench::Turn(bench) => &bench.memory,
        }
    }

    pub(super) fn threads(&self) -> Option<&str> {
        match self {
            Bench::Llm(bench) => bench.threads.as_deref(),
            Bench::Turn(_) => None,
        }
    }
}
