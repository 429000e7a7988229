//! The command line, with one file per command. A command reads its arguments, calls the rest of
//! the program and prints. Results go to stdout, messages to stderr; the error decides the exit
//! code ([`exit`]).

pub mod args;
mod bench;
mod chat;
mod console;
mod context;
mod devices;
pub mod docs;
mod doctor;
mod exit;
mod files;
mod models;
mod once;
mod plan;
mod quantize;
mod replay;
mod run;
mod say;
mod signals;
mod transcribe;
mod verify;

use std::io::Write;
use std::process::ExitCode;

use args::{Args, Command, Config};
use console::{Console, error_text};
use context::AppContext;
use exit::Exit;

use crate::config::{self, ConfigErrors, Loaded};
use crate::engine::Result;
use crate::store::progress::say;

/// Command line that asks for something impossible: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(String);

/// Runs the program as the command line asks.
pub fn run() -> ExitCode {
    signals::install();
    let args = Args::read(std::env::args_os()).unwrap_or_else(|refused| refused.exit());
    match dispatch(&args) {
        Ok(()) => Exit::Fine.into(),
        Err(error) if reader_has_gone(&error) => Exit::Fine.into(),
        Err(error) => {
            report(&error);
            Exit::of(&error).into()
        }
    }
}

fn dispatch(args: &Args) -> Result<()> {
    let quiet = args.global.quiet;
    let loaded = || config::load(&args.sources());
    let at_home = |loaded: &Loaded| AppContext::new(loaded.plan.clone(), Console::new(quiet));
    let context = || Ok::<_, ConfigErrors>(at_home(&loaded()?));
    match &args.command {
        Command::Once(args) => once::run(args, &context()?),
        Command::Run(args) => run::run(args, &context()?),
        Command::Transcribe(args) => transcribe::run(args, &context()?),
        Command::Say(args) => say::run(args, &context()?),
        Command::Chat(args) => chat::run(args, &context()?),
        Command::Plan(args) => plan::run(args, &context()?),
        Command::Models(args) => models::run(args, &context()?),
        Command::Quantize(args) => quantize::run(args, &context()?),
        Command::Verify(args) => verify::run(args, &context()?),
        Command::Bench(args) => bench::run(args, &context()?),
        Command::Check(_) => {
            let loaded = loaded()?;
            check(&loaded, &at_home(&loaded))
        }
        Command::Config(Config::Show { origin, format }) if format.json => {
            print_json(&config::show_json(&loaded()?, *origin))
        }
        Command::Config(Config::Show { origin, .. }) => print_text(&config::show(&loaded()?, *origin)),
        Command::Config(Config::Schema) => print_text(&config::schema()),
        Command::Devices { format } => devices::run(format.json),
        Command::Doctor(args) => doctor::run(args, &context()?),
        Command::Replay(args) => replay::run(args, &Console::new(quiet)),
        Command::Completions { shell } => Ok(docs::completions(*shell, &mut std::io::stdout())?),
        Command::Man { command } => {
            let page = docs::man(command).map_err(|error| Usage(error.to_string()))?;
            Ok(std::io::stdout().write_all(&page)?)
        }
    }
}

/// Checks what needs the catalogue; all other mistakes were found when the file was loaded.
fn check(loaded: &Loaded, context: &AppContext) -> Result<()> {
    let loader = context.loader_with_language_model()?;
    loader.check_names()?;
    // The languages of a voice are known once the voice is installed.
    if loader.has_voices() {
        loader.check_language()?;
    }
    let file = loaded.file.as_ref().map_or("the built-in defaults".to_owned(), |file| file.display().to_string());
    context.console().note(&format!("{file}: no mistakes"));
    Ok(())
}

/// Prints one line for a failure; the mistakes of a configuration get one line each.
fn report(error: &anyhow::Error) {
    if error.is::<ConfigErrors>() {
        say(&error.to_string());
    } else {
        say(&format!("sotto: {}", error_text(error)));
    }
}

fn print_json(value: &serde_json::Value) -> Result<()> {
    print_line(&serde_json::to_string_pretty(value)?)
}

fn print_text(text: &str) -> Result<()> {
    print_line(text.trim_end())
}

/// Prints to stdout. A closed pipe is an error like any other and ends the command, but it is not
/// reported.
fn print_line(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

fn reader_has_gone(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.any(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
