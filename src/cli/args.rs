//! Definition of the command line. The help, the man pages and the completions are all generated
//! from it ([`super::docs`]).

mod bench;
mod models;
#[cfg(test)]
mod tests;

pub use bench::{Bench, BenchLlm, BenchTurn};
pub use models::{Models, Quantize, Verify};

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgMatches, Args as Group, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::{Flag, Sources};
use crate::observe::{Recorder, RecordingError};
use crate::turn::TurnSettings;

/// Exit codes, for the help and the man page. Scripts depend on them.
pub const EXIT_CODES: [(&str, &str); 9] = [
    ("0", "all went well"),
    ("1", "the task failed"),
    ("2", "the command line or the configuration is wrong"),
    ("3", "a model is missing or damaged"),
    ("4", "an audio device is missing or failed"),
    ("5", "the memory budget is too small"),
    ("129", "stopped by the end of its terminal"),
    ("130", "stopped by Ctrl-C"),
    ("143", "stopped by a termination signal"),
];

/// Environment variables that Sotto reads, for the man page.
pub const ENVIRONMENT: [(&str, &str); 7] = [
    ("SOTTO_SECTION__KEY", "a setting, such as SOTTO_LLM__MAX_TOKENS=100; wins over the file, loses to a flag"),
    ("SOTTO_CONFIG", "the pipeline file to use when --config is not given"),
    ("SOTTO_MODELS_DIR", "the folder in which models are kept; another name of SOTTO_MODELS__DIR"),
    (
        "SOTTO_KERNELS",
        "the kernels: reference, portable, neon, neoni8mm, avx2, avx512, avx512vnni or amx; else the fastest of them",
    ),
    (
        "HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE",
        "where and how the model hub is reached",
    ),
    ("CACHE_DIRECTORY, CONFIGURATION_DIRECTORY", "the folders of a systemd service"),
    ("NO_COLOR", "any value turns colours off"),
];

/// Files that Sotto reads and writes, for the man page.
pub const FILES: [(&str, &str); 4] = [
    ("./pipeline.toml", "the pipeline of this folder"),
    (
        "~/.config/sotto/pipeline.toml",
        "your pipeline, below $XDG_CONFIG_HOME if that is set; a systemd service reads \
      pipeline.toml in $CONFIGURATION_DIRECTORY instead",
    ),
    ("~/.cache/sotto/models", "the models, below $XDG_CACHE_HOME if that is set"),
    ("~/.cache/sotto/prompts", "system prompts that the language model has computed once; nothing that anybody said"),
];

/// A voice assistant that never leaves the machine
///
/// Sotto hears a question, thinks, and answers aloud, all on this machine: nothing is sent
/// anywhere. To begin, fetch the models once with "sotto models pull", then try "sotto once
/// QUESTION.wav".
///
/// Results are printed on standard output, everything else on standard error.
#[derive(Debug, Parser)]
#[command(name = "sotto", version, after_long_help = exit_codes_text(), subcommand_required = true)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Group)]
pub struct Global {
    /// Use this pipeline file
    ///
    /// Without it Sotto uses the file that $SOTTO_CONFIG names, ./pipeline.toml, or
    /// sotto/pipeline.toml in your configuration folder, whichever is there first; without any, the
    /// built-in defaults.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Change one setting, such as --set llm.max_tokens=100 (may be given several times)
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", value_parser = parse_setting)]
    pub set: Vec<Flag>,

    /// Say nothing but results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer one spoken question from a file with one spoken answer
    ///
    /// Listens to the question, writes what was heard and answered, and with -o the spoken answer
    /// as a WAV file.
    Once(OnceArgs),
    /// Talk hands-free, with a microphone and a speaker
    ///
    /// Listens, answers aloud, and can be interrupted. What was understood and what of the answer
    /// was heard is written to stdout, a line each. A device that disappears is taken back when it
    /// returns.
    ///
    /// A terminal shows the state, and takes keys: m mutes and unmutes, space stops the answer, q
    /// ends. Elsewhere, with NO_COLOR and with --json, lines on stdin are commands: mute, unmute,
    /// stop, quit. The end of stdin ends nothing.
    Run(Run),
    /// Run the decisions of a recorded conversation again
    ///
    /// Feeds the inputs of a recording to the turn machine, as fast as it takes them, and says when
    /// which state was shown, which question was decided, and how each answer ended. No model and
    /// no device is needed. Every command must be the recorded one: the first that is not is named,
    /// and the exit code is 1. It is 2 where the file is no recording.
    ///
    /// With --json each line has "at" (milliseconds), "turn" and "kind": "state" with "state",
    /// "decided" with "question" (null where it was not clear), "ended" with "how", "heard" and
    /// "heard_bytes", "notice" with "notice" and "stage".
    Replay(ReplayArgs),
    /// Write down what is said in sound files
    ///
    /// Ctrl-C prints what was recognised so far, says that it is not all, and ends with exit code
    /// 130. With --json each file has "complete", which is false then.
    Transcribe(Transcribe),
    /// Speak a text
    Say(Say),
    /// Talk to the language model in writing
    Chat(ChatArgs),
    /// Say whether a pipeline file is valid
    ///
    /// Prints every mistake with its line and column, and ends with exit code 2 if there is one.
    Check(Check),
    /// Show what the pipeline will hold in memory
    Plan(PlanArgs),
    /// Show the configuration in force, or its schema
    #[command(subcommand)]
    Config(Config),
    /// List, fetch and check models
    #[command(subcommand)]
    Models(Models),
    /// Make a Qwen3.5 checkpoint smaller
    ///
    /// Reads a checkpoint as it was published (config.json and .safetensors files in bf16 or f32)
    /// and writes one with fewer bits for each weight, in the layout of MLX, which Sotto and mlx-lm
    /// read.
    Quantize(Quantize),
    /// Say whether a model computes what it should
    ///
    /// Reads a text with the model and with the checkpoint it was made of, computed in f32, and
    /// compares what they expect token by token: how often the likeliest next token is the same,
    /// the divergence of their probabilities, their perplexity, and where their greedy answers
    /// part. The reference holds four bytes for each weight; give the room with --budget.
    ///
    /// With --against it compares logits and states with tensors that another implementation has
    /// written instead.
    ///
    /// Ends with exit code 1 when a limit is broken. With --json, "passed" and "failures" are the
    /// verdict. Beside them stand "top1_agreement", "mean_kl", "max_kl", "mean_logit_error",
    /// "max_logit_error", "perplexity" (of model and reference, and the increase) and "rollouts";
    /// with --against "max_logit_error", "argmax_equal", "argmax_equal_where_clear" (a margin above
    /// 0.01), "max_state_error" ("recurrent", "conv", "keys", "values", by the largest value of the
    /// tensor) and "greedy_equal". An error that is no number is null.
    Verify(Verify),
    /// Measure how fast the parts are on this machine
    #[command(subcommand)]
    Bench(Bench),
    /// List microphones and speakers
    ///
    /// The one that stands behind "default" is marked. A device is opened by the name in the first
    /// column. Ends with exit code 4 when there is none at all.
    Devices {
        #[command(flatten)]
        format: Format,
    },
    /// Examine this machine and this place, and say what to change
    ///
    /// Lists the devices, plays three chirps and some speech to measure the delay from speaker to
    /// microphone, the echo, what the canceller leaves of it and the room's noise, and times every
    /// installed model. It makes a sound unless --no-sound is given; be quiet meanwhile. What
    /// cannot be measured is told with the reason. Ends with exit code 4 when there is no device at
    /// all, after everything else was told.
    Doctor(Doctor),
    /// Print the completions for a shell
    ///
    /// For bash, for example: sotto completions bash >
    /// ~/.local/share/bash-completion/completions/sotto
    Completions {
        /// The shell that will read them
        shell: Shell,
    },
    /// Print the manual page
    ///
    /// To read it: sotto man | man -l -
    Man {
        /// The page of this command, such as "once" or "models pull"; without one, the page of
        /// sotto itself
        #[arg(value_name = "COMMAND")]
        command: Vec<String>,
    },
}

#[derive(Debug, Group)]
pub struct OnceArgs {
    /// The question: a sound file, of the kinds that transcribe reads; "-" reads it from standard
    /// input
    #[arg(value_name = "QUESTION.wav")]
    pub question: PathBuf,

    /// Write the spoken answer to this WAV file; "-" writes it to standard output, and the text to
    /// standard error
    #[arg(short, long, value_name = "ANSWER.wav")]
    pub output: Option<PathBuf>,

    /// Feed the question at the pace of speech, as a microphone would
    ///
    /// Without it time passes faster where nobody waits for a model.
    #[arg(long)]
    pub realtime: bool,

    /// Take the whole file for one question, however long its pauses are, as with a held talk key
    ///
    /// Without it a question ends as in a conversation, by the silence behind it. A file with
    /// several questions gets several answers.
    #[arg(long)]
    pub whole: bool,

    #[command(flatten)]
    pub memory: Memory,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Group)]
pub struct Run {
    /// The microphone, as "sotto devices" calls it, instead of the file's
    #[arg(long, value_name = "NAME")]
    pub microphone: Option<String>,

    /// The speaker, as "sotto devices" calls it, instead of the file's
    #[arg(long, value_name = "NAME")]
    pub speaker: Option<String>,

    #[command(flatten)]
    pub memory: Memory,

    /// Record the conversation in this new file, for "sotto replay": what was said and answered as
    /// text, and when what was decided; no sound
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// One JSON object a line on stdout: for each exchange, and for each change of the state
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Group)]
pub struct ReplayArgs {
    /// The recording; "-" reads it from standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// One JSON object a line on stdout for each event
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Group)]
pub struct Doctor {
    /// The microphone, as "sotto devices" calls it, instead of the file's
    #[arg(long, value_name = "NAME")]
    pub microphone: Option<String>,

    /// The speaker, as "sotto devices" calls it, instead of the file's
    #[arg(long, value_name = "NAME")]
    pub speaker: Option<String>,

    /// Play nothing and listen to nothing: models and devices alone; to have no device is no error
    /// then
    #[arg(long)]
    pub no_sound: bool,

    #[command(flatten)]
    pub memory: Memory,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Group)]
pub struct Transcribe {
    /// The sound: WAV, FLAC, MP3, AAC, Ogg Vorbis, MP4 (M4A), AIFF, CAF, Matroska or WebM files;
    /// "-" reads one from standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    #[command(flatten)]
    pub memory: Memory,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Group)]
pub struct Say {
    /// Text to speak; "-" reads it from standard input
    #[arg(value_name = "TEXT")]
    pub text: String,

    /// The language of the text, as a two-letter code, for the voice that speaks it; without it,
    /// that of the main voice
    #[arg(short, long, value_name = "CODE")]
    pub language: Option<String>,

    /// Write the speech to this WAV file; "-" writes it to standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    #[command(flatten)]
    pub memory: Memory,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Group)]
pub struct ChatArgs {
    /// One question to answer; without it, questions are read from standard input, one per line
    #[arg(value_name = "PROMPT")]
    pub prompt: Option<String>,

    /// Let the model think before it answers, where it can (Qwen3.5)
    #[arg(long)]
    pub think: bool,

    /// Most tokens of thoughts; then the thought is closed and the model answers
    #[arg(long, value_name = "TOKENS", default_value_t = 100)]
    pub max_thinking_tokens: usize,

    #[command(flatten)]
    pub memory: Memory,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Group)]
pub struct Check {
    /// The file to check; without it, the one that Sotto would use
    #[arg(value_name = "PIPELINE.toml", conflicts_with = "config")]
    pub file: Option<PathBuf>,
}

#[derive(Debug, Group)]
pub struct PlanArgs {
    #[command(flatten)]
    pub memory: Memory,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Print every setting in force
    Show {
        /// Say where each value comes from: the default, a line of the file, a variable or a flag
        #[arg(long)]
        origin: bool,

        #[command(flatten)]
        format: Format,
    },
    /// Print the JSON schema of pipeline.toml, for editors
    Schema,
}

#[derive(Debug, Group)]
pub struct Memory {
    /// Hold at most this much memory, such as 1500MiB; wins over the pipeline file
    #[arg(long, value_name = "SIZE")]
    pub budget: Option<String>,
}

#[derive(Debug, Group)]
pub struct Format {
    /// Print one JSON object, for programs
    #[arg(long)]
    pub json: bool,
}

/// Name of the flag that every command accepts, and whose values all count.
const SET: &str = "set";

impl Args {
    /// Parses a command line. The first word is the program's own name.
    pub fn read<W: Into<OsString> + Clone>(words: impl IntoIterator<Item = W>) -> Result<Args, clap::Error> {
        let mut matches = Args::described().try_get_matches_from(words)?;
        let set = settings(&matches);
        let mut args =
            Args::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut Args::described()))?;
        args.global.set = set;
        Ok(args)
    }

    /// Describes the whole command line. For a flag that clap passes down to the subcommands, only
    /// the values after the last command count. The values of `--set` before and after it must add
    /// up, so it is declared at each command.
    pub fn described() -> clap::Command {
        let command = Args::command();
        let set = command.get_arguments().find(|argument| argument.get_id() == SET).cloned();
        set.iter().fold(command, |command, set| command.mut_subcommands(|below| with_below(below, set)))
    }

    /// Sources of the configuration: the file and the flags of this command line, and the
    /// environment of this process.
    pub fn sources(&self) -> Sources {
        let checked = match &self.command {
            Command::Check(check) => check.file.clone(),
            _ => None,
        };
        Sources::of_process(checked.or_else(|| self.global.config.clone()), self.flags())
    }

    /// Lists every flag that changes a setting. The dedicated flags come last, so that they win
    /// over `--set`.
    fn flags(&self) -> Vec<Flag> {
        let command = &self.command;
        let [microphone, speaker] = command.devices();
        let special = [
            ("memory.budget", "--budget", command.memory().and_then(|memory| memory.budget.as_deref())),
            ("llm.threads", "--threads", command.threads()),
            ("audio.microphone", "--microphone", microphone),
            ("audio.speaker", "--speaker", speaker),
        ];
        let special = special.into_iter().filter_map(|(path, name, value)| {
            Some(Flag { path: path.to_owned(), value: value?.to_owned(), name: name.to_owned() })
        });
        self.global.set.iter().cloned().chain(special).collect()
    }
}

impl Run {
    /// Begins the recording that `--record` asks for, of a conversation with these settings. `None`
    /// where nothing is to be recorded.
    ///
    /// # Errors
    /// The file is there already, or cannot be written.
    pub fn recorder(&self, settings: &TurnSettings) -> Result<Option<Recorder>, RecordingError> {
        self.record.as_deref().map(|path| Recorder::create(path, settings)).transpose()
    }
}

impl Command {
    fn memory(&self) -> Option<&Memory> {
        match self {
            Command::Once(once) => Some(&once.memory),
            Command::Run(run) => Some(&run.memory),
            Command::Doctor(doctor) => Some(&doctor.memory),
            Command::Transcribe(transcribe) => Some(&transcribe.memory),
            Command::Say(say) => Some(&say.memory),
            Command::Chat(chat) => Some(&chat.memory),
            Command::Plan(plan) => Some(&plan.memory),
            Command::Verify(verify) => Some(&verify.memory),
            Command::Bench(bench) => Some(bench.memory()),
            _ => None,
        }
    }

    /// Names of the microphone and the speaker given on the command line.
    fn devices(&self) -> [Option<&str>; 2] {
        match self {
            Command::Run(run) => [run.microphone.as_deref(), run.speaker.as_deref()],
            Command::Doctor(doctor) => [doctor.microphone.as_deref(), doctor.speaker.as_deref()],
            _ => [None, None],
        }
    }

    fn threads(&self) -> Option<&str> {
        match self {
            Command::Bench(bench) => bench.threads(),
            _ => None,
        }
    }
}

/// Adds `argument` to `command` and to every command below it.
fn with_below(command: clap::Command, argument: &clap::Arg) -> clap::Command {
    command.arg(argument.clone()).mut_subcommands(|below| with_below(below, argument))
}

/// Values of `--set`, in the order in which they were written.
fn settings(matches: &ArgMatches) -> Vec<Flag> {
    let here = matches.get_many(SET).into_iter().flatten().cloned();
    let below = matches.subcommand().map(|(_, below)| settings(below)).unwrap_or_default();
    here.chain(below).collect()
}

fn parse_setting(text: &str) -> Result<Flag, String> {
    let (path, value) = text.split_once('=').ok_or("write SECTION.KEY=VALUE, as in llm.max_tokens=100")?;
    let path = path.trim();
    Ok(Flag { path: path.to_owned(), value: value.to_owned(), name: format!("--set {}", path.escape_debug()) })
}

fn exit_codes_text() -> String {
    let rows: Vec<_> = EXIT_CODES.iter().map(|(code, meaning)| format!("  {code:<4} {meaning}")).collect();
    format!("Exit codes:\n{}", rows.join("\n"))
}
