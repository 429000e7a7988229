//! `sotto run`: a hands-free conversation with a microphone and a speaker.
//!
//! A [`Frontend`] shows what happens: a full view on a terminal, plain lines without a terminal or
//! without colours, JSON for programs. Commands come from keys of the view, and from lines on
//! stdin.

mod json;
mod layout;
mod plain;
mod user_command;
mod view;

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::sync::Arc;

use crossbeam_channel::{Receiver, unbounded};

use super::Usage;
use super::args::Run;
use super::console::Console;
use super::context::AppContext;
use super::files;
use super::signals;
use crate::audio::device::{Hardware, SystemClock};
use crate::config::WakeWordPlan;
use crate::engine::{Engine, Purpose, Result, Session, SessionAudio, SessionDevices, StatusSnapshot, TICK};
use crate::observe::{Event, EventKind, Recorder, RecordingError};
use crate::turn::Control;
use json::Json;
use plain::Plain;
use user_command::UserCommand;

/// Display of the conversation.
trait Frontend {
    /// Shows an event of the conversation.
    fn tell(&mut self, event: &Event) -> Result<()>;

    /// Shows a message that is not part of the conversation.
    fn note(&mut self, line: &str) -> Result<()>;

    /// Shows the current status; called every [`TICK`].
    fn show(&mut self, _: StatusSnapshot) -> Result<()> {
        Ok(())
    }

    /// Returns the command of a pressed key, if there is one.
    fn user_command(&mut self) -> Result<Option<UserCommand>> {
        Ok(None)
    }
}

pub fn run(args: &Run, context: &AppContext) -> Result<()> {
    check_recording(args)?;
    let stages = context.console().loading(context.loader_for_turns()?, Purpose::Conversation)?;
    let card = Arc::new(Hardware::new(SystemClock::start()));
    let named = &context.plan().devices;
    let devices = SessionDevices { card, microphone: named.microphone.clone(), speaker: named.speaker.clone() };
    let engine = Engine::start(stages, context.plan())?;
    let audio = SessionAudio::open(devices, engine.rate())?;
    let mut session = Session::start(engine, audio, context.plan());
    let recorder = args.recorder(session.turn_settings())?;
    let recording = recorder.map(|recorder| record(&mut session, recorder));
    // Declared here so that it is dropped before the engine, whose stages may take a while to end.
    let (mut face, keys) = face(args, context);
    let commands = (!keys || !stdin().is_terminal()).then(user_command::commands);
    let mut muted = false;
    loop {
        for event in session.step(TICK)? {
            face.tell(&event)?;
        }
        for error in recording.iter().flat_map(Receiver::try_iter) {
            face.note(&error.to_string())?;
        }
        while let Some(user_command) = face.user_command()? {
            if !obey(user_command, &mut session, &mut muted) {
                return Ok(());
            }
        }
        for command in commands.iter().flat_map(|commands| commands.try_iter()) {
            match command {
                Ok(user_command) if !obey(user_command, &mut session, &mut muted) => return Ok(()),
                Ok(_) => {}
                Err(why) => face.note(&why)?,
            }
        }
        face.show(session.glance())?;
    }
}

/// Refuses a file that cannot be recorded to, before the models are loaded.
fn check_recording(args: &Run) -> Result<()> {
    let Some(path) = &args.record else { return Ok(()) };
    if files::is_standard(path) {
        let why = "--record -: the conversation itself goes to standard output; name a file to record to";
        return Err(Usage(why.to_owned()).into());
    }
    match path.symlink_metadata() {
        Ok(_) => Err(RecordingError::Exists { path: path.clone() }.into()),
        Err(_) => Ok(()),
    }
}

/// Records the conversation. An error that ends the recording comes through the returned channel,
/// and the conversation goes on.
fn record(session: &mut Session, mut recorder: Recorder) -> Receiver<RecordingError> {
    let (failed, failures) = unbounded();
    session.observe_turns(Box::new(move |at, input, commands| {
        if let Err(error) = recorder.note(at, input, commands) {
            let _ended = failed.send(error);
        }
    }));
    failures
}

/// Chooses the frontend; the flag is true if it reads the keyboard.
fn face<'a>(args: &Run, context: &'a AppContext) -> (Box<dyn Frontend + 'a>, bool) {
    let (console, plan) = (context.console(), context.plan());
    let name = plan.detect.wake_word.as_ref().map(WakeWordPlan::spoken);
    if args.json {
        return (Box::new(Json(console, name)), false);
    }
    if is_watched(console) {
        match view::TerminalView::open(plan.memory.budget, name.clone()) {
            Ok(screen) => return (Box::new(screen), true),
            Err(why) => console.note(&format!("plain lines, because the terminal cannot be drawn on: {why}")),
        }
    }
    if stdin().is_terminal() {
        console.note(&format!("commands: {}", UserCommand::NAMES));
    }
    (Box::new(Plain(console, name)), false)
}

/// Whether a person watches the terminal and wants it drawn.
fn is_watched(console: &Console) -> bool {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let colours = variable("NO_COLOR").is_none() && variable("TERM").is_some_and(|term| term != "dumb");
    colours && console.watched() && stdout().is_terminal() && stderr().is_terminal() && signals::in_foreground()
}

/// Carries out a command. Returns whether the conversation goes on.
fn obey(user_command: UserCommand, session: &mut Session, muted: &mut bool) -> bool {
    match user_command {
        UserCommand::Mute | UserCommand::Unmute | UserCommand::ToggleMute => {
            *muted = user_command == UserCommand::Mute || (user_command == UserCommand::ToggleMute && !*muted);
            session.control(if *muted { Control::Mute } else { Control::Unmute });
        }
        UserCommand::Stop => session.control(Control::Stop),
        UserCommand::Quit => return false,
        UserCommand::Interrupt => signals::interrupt(),
    }
    true
}
