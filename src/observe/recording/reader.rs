//! Reader of recordings. It holds one line at a time, and trusts nothing in it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{FORMAT, MAX_INPUTS, MAX_LINE, RecordedInput, RecordingError, VERSION};
use crate::turn::TurnSettings;

/// Recording that is read line by line: an iterator over its inputs. After an error it ends.
pub struct RecordedConversation {
    /// Name of the file, for messages.
    file: String,
    lines: Box<dyn BufRead>,
    program: String,
    settings: TurnSettings,
    /// Number of the line that was read last, from 1.
    line: u64,
    /// Number of further inputs that are accepted.
    pub(super) left: u64,
    buffer: Vec<u8>,
    truncated: bool,
    ended: bool,
}

/// Fields of the header that every version has.
#[derive(Deserialize)]
struct Preamble {
    format: String,
    version: u64,
    program: String,
}

#[derive(Deserialize)]
struct HeaderSettings {
    settings: TurnSettings,
}

impl RecordedConversation {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// The file cannot be read, is no recording, or one of another version.
    pub fn read(path: &Path) -> Result<RecordedConversation, RecordingError> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => RecordedConversation::of(name, Box::new(BufReader::new(file))),
            Err(source) => Err(RecordingError::Read { file: name, source }),
        }
    }

    /// Reads the header of the recording in `lines`, which messages call `file`.
    ///
    /// # Errors
    /// The lines cannot be read, are no recording, or one of another version.
    pub fn of(file: String, lines: Box<dyn BufRead>) -> Result<RecordedConversation, RecordingError> {
        let mut recording = RecordedConversation {
            file,
            lines,
            program: String::new(),
            settings: TurnSettings::default(),
            line: 0,
            left: MAX_INPUTS,
            buffer: Vec::new(),
            truncated: false,
            ended: false,
        };
        recording.read_header()?;
        Ok(recording)
    }

    /// Name of the file, for messages.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Version of the program that recorded it.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Settings of the machine that was recorded.
    pub fn settings(&self) -> &TurnSettings {
        &self.settings
    }

    /// Whether the file ends inside a line, as a killed program leaves it. Known once all inputs
    /// were read; that line is none of them.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    fn read_header(&mut self) -> Result<(), RecordingError> {
        let refused =
            |file: &str, why: &str| RecordingError::NotARecording { file: file.to_owned(), why: why.to_owned() };
        match self.read_line() {
            Ok(true) => {}
            Ok(false) => return Err(refused(&self.file, "it is empty")),
            Err(RecordingError::LongLine { .. }) => return Err(refused(&self.file, "its first line is too long")),
            Err(error) => return Err(error),
        }
        let Ok(Preamble { format, version, program }) = serde_json::from_slice(&self.buffer) else {
            return Err(refused(&self.file, "its first line is no header"));
        };
        if format != FORMAT {
            return Err(refused(&self.file, &format!("its first line names the format {format:?}")));
        }
        // The text is shown, and may be anything.
        self.program = program.escape_debug().to_string();
        if version != VERSION {
            return Err(RecordingError::OtherVersion {
                file: self.file.clone(),
                version,
                program: self.program.clone(),
            });
        }
        let HeaderSettings { settings } = self.parse()?;
        if let Some(name) = settings.fault() {
            return Err(self.damaged(format!("the setting {name} must be finite, and no time negative")));
        }
        self.settings = settings;
        Ok(())
    }

    fn next_input(&mut self) -> Result<Option<RecordedInput>, RecordingError> {
        if !self.read_line()? {
            return Ok(None);
        }
        let Some(left) = self.left.checked_sub(1) else {
            return Err(RecordingError::ManyLines { file: self.file.clone() });
        };
        self.left = left;
        match self.parse() {
            Err(_) if self.buffer.last() != Some(&b'\n') => {
                self.truncated = true;
                Ok(None)
            }
            parsed => parsed.map(Some),
        }
    }

    /// Reads the next line into the buffer. Returns false at the end of the file.
    fn read_line(&mut self) -> Result<bool, RecordingError> {
        self.buffer.clear();
        self.line += 1;
        let read = self.lines.by_ref().take(MAX_LINE.0 + 1).read_until(b'\n', &mut self.buffer);
        let read = read.map_err(|source| RecordingError::Read { file: self.file.clone(), source })?;
        match read as u64 > MAX_LINE.0 {
            true => Err(RecordingError::LongLine { file: self.file.clone(), line: self.line }),
            false => Ok(read > 0),
        }
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, RecordingError> {
        serde_json::from_slice(&self.buffer).map_err(|error| {
            // The parser counts lines from the buffer's beginning.
            let text = error.to_string();
            let why = text.rsplit_once(" at line ").map_or(text.as_str(), |(why, _)| why);
            self.damaged(format!("column {}: {}", error.column(), why.escape_debug()))
        })
    }

    fn damaged(&self, why: String) -> RecordingError {
        RecordingError::Damaged { file: self.file.clone(), line: self.line, why }
    }
}

impl Iterator for RecordedConversation {
    type Item = Result<RecordedInput, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_input().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}
