//! Recording of a conversation: the settings of the turn machine, every input with its time, and
//! the commands that the machine gave. The machine is pure, so the same inputs give the same
//! commands again ([`super::Replay`]).
//!
//! A recording is text, one JSON object a line. The first line is the header:
//!
//! ```text
//! {"format":"sotto-conversation","version":1,"program":"0.1.0","settings":{...}}
//! {"at":2310.5,"input":{"voice":{"seen":{"since":2278.0}}},"commands":[...]}
//! ```
//!
//! The words that were said and answered are in it, but no sound. Only its owner may read the file.

mod reader;

#[cfg(test)]
mod tests;

pub use reader::RecordedConversation;

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::turn::{TurnCommand, TurnInput, TurnSettings};
use crate::types::{Bytes, Ms};

/// Name of the format, in the header.
const FORMAT: &str = "sotto-conversation";
/// Version of the format. It changes with the meaning of the lines or of the settings.
const VERSION: u64 = 1;
/// Version of this program, in the header.
const PROGRAM: &str = env!("CARGO_PKG_VERSION");
/// Longest line. The longest lines are answers' sentences and transcripts of half a minute.
const MAX_LINE: Bytes = Bytes::mib(1);
/// Most inputs: those of a whole day in which an answer is always heard, at 200 a second.
const MAX_INPUTS: u64 = 24 * 3_600 * 200;

/// Input of the turn machine as it was recorded.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedInput {
    /// Time of the input on the session's clock.
    pub at: Ms,
    pub input: TurnInput,
    /// Commands that the machine gave.
    pub commands: Vec<TurnCommand>,
}

/// Recorded input, to be written.
#[derive(Serialize)]
struct InputLine<'a> {
    at: Ms,
    input: &'a TurnInput,
    commands: &'a [TurnCommand],
}

#[derive(Serialize)]
struct HeaderLine<'a> {
    format: &'a str,
    version: u64,
    program: &'a str,
    settings: &'a TurnSettings,
}

/// Reason why a conversation cannot be recorded, read or replayed.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    #[error("{} is there already, and a recording replaces no file; name another one, or remove it", path.display())]
    Exists { path: PathBuf },
    #[error("{} could not be written, so the recording ends: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "{} holds the {MAX_INPUTS} inputs that a recording may have; the conversation goes on and is not recorded",
        path.display()
    )]
    Full { path: PathBuf },
    #[error("{file} could not be read: {source}")]
    Read { file: String, source: io::Error },
    #[error("{file} is no recording of a conversation: {why}; \"sotto run --record FILE\" makes one")]
    NotARecording { file: String, why: String },
    #[error(
        "{file} is a recording of version {version}, made by sotto {program}; sotto {PROGRAM} reads version {VERSION}, \
        so replay it with sotto {program}"
    )]
    OtherVersion { file: String, version: u64, program: String },
    #[error("{file}:{line}: {why}; the file is not as it was written: record the conversation again")]
    Damaged { file: String, line: u64, why: String },
    #[error("{file}:{line}: the line is longer than the {MAX_LINE} that are accepted; no recording has such a line")]
    LongLine { file: String, line: u64 },
    #[error("{file} has more than the {MAX_INPUTS} inputs that are accepted; cut lines from its end")]
    ManyLines { file: String },
    #[error(
        "{file}: the machine takes input {number}, at {at:.1} ms, otherwise than when it was recorded by sotto \
        {program}: expected {expected}, got {got}; the turn machine has changed since, or the file has"
    )]
    Differs { file: String, number: u64, at: f64, program: String, expected: String, got: String },
}

impl RecordingError {
    /// Whether a wrong file was named, rather than something having failed.
    pub fn is_misuse(&self) -> bool {
        use RecordingError::*;
        match self {
            Exists { .. } | NotARecording { .. } | OtherVersion { .. } => true,
            Damaged { .. } | LongLine { .. } | ManyLines { .. } => true,
            Write { .. } | Full { .. } | Read { .. } | Differs { .. } => false,
        }
    }
}

/// Writer of a recording. It holds at most a few KiB, and the file has all up to the last change of
/// the shown state, even if the program is killed.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    /// `None` once the recording has ended with an error.
    file: Option<BufWriter<File>>,
    /// Number of inputs for which there is room.
    left: u64,
    line: Vec<u8>,
}

impl Recorder {
    /// Begins a recording in a new file, which its owner alone may read.
    ///
    /// # Errors
    /// The path exists: the file is written while the conversation goes on, so an older one could
    /// not be kept until the new one is complete. Or the file cannot be written.
    pub fn create(path: &Path, settings: &TurnSettings) -> Result<Recorder, RecordingError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => RecordingError::Exists { path: path.to_owned() },
            _ => RecordingError::Write { path: path.to_owned(), source },
        })?;
        let (path, file) = (path.to_owned(), Some(BufWriter::new(file)));
        let mut recorder = Recorder { path, file, left: MAX_INPUTS, line: Vec::new() };
        recorder.write(&HeaderLine { format: FORMAT, version: VERSION, program: PROGRAM, settings }, true)?;
        Ok(recorder)
    }

    /// Records an input, and the commands that the machine gave for it.
    ///
    /// # Errors
    /// The file cannot be written, or is full. That ends the recording: the error comes once, and
    /// later calls do nothing.
    pub fn note(&mut self, at: Ms, input: &TurnInput, commands: &[TurnCommand]) -> Result<(), RecordingError> {
        if self.left == 0 && self.file.take().is_some() {
            return Err(RecordingError::Full { path: self.path.clone() });
        }
        self.left = self.left.saturating_sub(1);
        let shows = commands.iter().any(|command| matches!(command, TurnCommand::Show(_)));
        self.write(&InputLine { at, input, commands }, shows)
    }

    fn write(&mut self, line: &impl Serialize, flush: bool) -> Result<(), RecordingError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let written = append(file, &mut self.line, line, flush);
        written.map_err(|source| {
            self.file = None;
            RecordingError::Write { path: self.path.clone(), source }
        })
    }
}

/// Writes a line, by way of `buffer`. A line that no reader would take is refused.
fn append(file: &mut BufWriter<File>, buffer: &mut Vec<u8>, line: &impl Serialize, flush: bool) -> io::Result<()> {
    buffer.clear();
    serde_json::to_writer(&mut *buffer, line)?;
    buffer.push(b'\n');
    if buffer.len() as u64 > MAX_LINE.0 {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("an input takes more than {MAX_LINE}")));
    }
    file.write_all(buffer)?;
    if flush { file.flush() } else { Ok(()) }
}
