//! Commands that a person gives by a key or a line of text.

use std::io::{BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::cli::signals;

/// Longest line of a command, in bytes. A longer one is not a command.
const LONGEST: u64 = 1024;
/// Most commands that wait to be carried out.
const WAITING: usize = 16;

/// Command of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserCommand {
    Mute,
    Unmute,
    /// Mute if unmuted, unmute if muted.
    ToggleMute,
    /// Stop speaking.
    Stop,
    Quit,
    /// End the program as an interrupt does.
    Interrupt,
}

impl UserCommand {
    /// Names of the commands, for a person.
    pub const NAMES: &str = "mute, unmute, stop, quit";

    fn named(word: &str) -> Option<UserCommand> {
        match word {
            "mute" => Some(UserCommand::Mute),
            "unmute" => Some(UserCommand::Unmute),
            "stop" => Some(UserCommand::Stop),
            "quit" => Some(UserCommand::Quit),
            _ => None,
        }
    }
}

/// Reads commands from stdin, one per line, on a thread of its own. The end of stdin ends only the
/// commands, not the conversation.
pub fn commands() -> Receiver<Result<UserCommand, String>> {
    signals::read_in_background();
    let (tell, commands) = sync_channel(WAITING);
    thread::spawn(move || read(std::io::stdin().lock(), &tell));
    commands
}

/// Parses each line and sends the command, or an error that says what is wrong with the line.
fn read(mut from: impl BufRead, tell: &SyncSender<Result<UserCommand, String>>) {
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = from.by_ref().take(LONGEST).read_until(b'\n', &mut line);
        if !length.is_ok_and(|length| length > 0) {
            return;
        }
        let whole = line.ends_with(b"\n") || (line.len() as u64) < LONGEST;
        if !whole {
            let _nobody_listens = tell.send(Err(format!(
                "stdin has a line of more than {LONGEST} bytes: no command is read from it any more"
            )));
            return;
        }
        let text = String::from_utf8_lossy(&line).trim().to_lowercase();
        let shown = || text.chars().take(20).flat_map(char::escape_debug).collect::<String>();
        let user_command =
            UserCommand::named(&text).ok_or_else(|| format!("\"{}\" is no command: {}", shown(), UserCommand::NAMES));
        if !text.is_empty() && tell.send(user_command).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands_in(input: &[u8]) -> Vec<Result<UserCommand, String>> {
        let (tell, commands) = sync_channel(WAITING);
        read(input, &tell);
        drop(tell);
        commands.iter().collect()
    }

    #[test]
    fn a_line_is_a_command() {
        let orders = [UserCommand::Mute, UserCommand::Unmute, UserCommand::Stop, UserCommand::Quit].map(Ok);
        assert_eq!(commands_in(b"mute\n  UNMUTE \r\n\n\nstop\nquit"), orders);
        for name in UserCommand::NAMES.split(", ") {
            assert!(UserCommand::named(name).is_some(), "{name}");
        }
        assert!(commands_in(b"").is_empty());
    }

    #[test]
    fn what_is_no_command_is_told_and_endless_lines_end_the_reading() {
        let refusals = |input: &[u8]| commands_in(input).into_iter().map(Result::unwrap_err).collect::<Vec<_>>();
        assert_eq!(refusals(b"dance\x1b[2J\n"), ["\"dance\\u{1b}[2j\" is no command: mute, unmute, stop, quit"]);
        assert_eq!(refusals(b"\xff\xfe\n").len(), 1);
        assert_eq!(refusals(&[b'm'; 5000]).len(), 1);
        assert_eq!(commands_in(&[vec![b' '; 1000], b"stop\n".to_vec()].concat()), [Ok(UserCommand::Stop)]);
    }
}
