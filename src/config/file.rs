//! Configuration file: the search for it, its text, and its settings.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::field::quoted;
use super::problem::{ConfigErrors, Problem, SettingOrigin};
use super::{Environment, Setting, field, suggest};

/// File name under which a configuration is searched.
pub const FILE_NAME: &str = "pipeline.toml";

/// Largest configuration file in bytes; a longer file was named by mistake.
const LONGEST_FILE: u64 = 1 << 20;

/// Finds the file to read, the first that exists of: `$SOTTO_CONFIG`, `./pipeline.toml`, and the
/// one in the user's (under systemd: the service's) configuration folder. A file named in the
/// environment is returned even if it is missing.
pub fn find(working_dir: &Path, env: &Environment) -> Option<PathBuf> {
    if let Some(named) = env.path("SOTTO_CONFIG") {
        return Some(named);
    }
    let here = working_dir.join(FILE_NAME);
    let user = configuration_dir(env).map(|dir| dir.join(FILE_NAME));
    [Some(here), user].into_iter().flatten().find(|path| path.symlink_metadata().is_ok())
}

fn configuration_dir(env: &Environment) -> Option<PathBuf> {
    if let Some(service) = env.path("CONFIGURATION_DIRECTORY") {
        // A unit may name several, joined by colons; the first is its own.
        return std::env::split_paths(&service).next();
    }
    let absolute = |path: &PathBuf| path.is_absolute();
    let base =
        env.path("XDG_CONFIG_HOME").filter(absolute).or_else(|| env.path("HOME").map(|home| home.join(".config")));
    base.map(|base| base.join("sotto"))
}

/// Reads the whole text, without the byte order mark that some editors put in front.
pub fn read(path: &Path) -> Result<String, Problem> {
    let problem = |message: &str| Problem::with(path, message);
    if path.is_dir() {
        return Err(Problem::with(path, format!("is a folder; name a file in it, such as {FILE_NAME}")));
    }
    let file = fs::File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => problem("no such file; name another one, or leave it out for the defaults"),
        _ => Problem::with(path, format!("cannot be opened: {error}")),
    })?;
    let mut bytes = Vec::new();
    let length = file.take(LONGEST_FILE + 1).read_to_end(&mut bytes);
    length.map_err(|error| Problem::with(path, format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(problem("is longer than 1 MiB; a configuration is a few kilobytes of TOML"));
    }
    decode(path, bytes)
}

fn decode(path: &Path, bytes: Vec<u8>) -> Result<String, Problem> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Problem::with(path, "is UTF-16 text; save it as UTF-8"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
        let byte = error.as_bytes()[valid.len()];
        let origin = Lines::new(path, &valid).origin(valid.len());
        Problem::at(&origin, format!("byte 0x{byte:02x} is not UTF-8; save the file as UTF-8"))
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Settings of the text; everything that is wrong with it goes to `errors`. For a text that is not
/// TOML only the places of those errors are reported, because the meaning of the rest would be a
/// guess.
pub fn settings(path: &Path, text: &str, errors: &mut ConfigErrors) -> Vec<Setting> {
    let lines = Lines::new(path, text);
    let document = match parse(text) {
        Ok(document) => document,
        Err(mut broken) => {
            broken.sort_by_key(|error| error.span().map(|span| span.start));
            broken.iter().for_each(|error| errors.push(syntax_problem(&lines, error)));
            return Vec::new();
        }
    };
    let mut walk = Walk { lines, settings: Vec::new(), problems: Vec::new() };
    walk.document(document.get_ref());
    // The tables come sorted by name; the user reads from top to bottom.
    walk.problems.sort_by_key(|(offset, _)| *offset);
    walk.problems.into_iter().for_each(|(_, problem)| errors.push(problem));
    walk.settings
}

/// Longest text in bytes of which all errors are reported. In a longer one only the first is: the
/// parser keeps each, and a file that is not TOML at all has hundreds of thousands.
const LONGEST_RECOVERY: usize = 64 << 10;

fn parse(text: &str) -> Result<Spanned<DeTable<'_>>, Vec<toml::de::Error>> {
    if text.len() > LONGEST_RECOVERY {
        return DeTable::parse(text).map_err(|error| vec![error]);
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() { Ok(document) } else { Err(errors) }
}

fn syntax_problem(lines: &Lines, error: &toml::de::Error) -> Problem {
    let span = error.span().unwrap_or_default();
    let message = match error.message() {
        message if message.starts_with("duplicate key") => {
            let name = quoted(lines.text.get(span.clone()).unwrap_or_default());
            format!("{name} stands here a second time; keep one of them")
        }
        // The parser reports this for "onset =" without a value.
        message if message.starts_with("string values must be quoted") && span.is_empty() => {
            "the value is missing".to_owned()
        }
        message if message.contains("recur") => "is nested too deeply; write [section] and key = value".to_owned(),
        message => message.to_owned(),
    };
    match error.span() {
        Some(span) => Problem::at(&lines.origin(span.start), message),
        None => Problem::with(lines.path, message),
    }
}

struct Walk<'a> {
    lines: Lines<'a>,
    settings: Vec<Setting>,
    /// Problems with their byte offsets.
    problems: Vec<(usize, Problem)>,
}

/// Largest number of problems that are collected; a file with more is not a configuration.
const MOST_PROBLEMS: usize = 1000;

impl Walk<'_> {
    fn document(&mut self, document: &DeTable) {
        for (name, value) in document {
            let section = name.get_ref();
            match value.get_ref() {
                _ if !field::sections().any(|known| known == section) => {
                    self.problem(name.span().start, || suggest::unknown_section(section));
                }
                DeValue::Table(keys) => self.section(section, keys),
                _ => self.problem(name.span().start, || {
                    format!("{section} must be a section: write [{section}] on a line of its own, and its keys below")
                }),
            }
        }
    }

    fn section(&mut self, section: &str, keys: &DeTable) {
        for (key, value) in keys {
            match field::find(section, key.get_ref()) {
                None => self.problem(key.span().start, || suggest::unknown_key(section, key.get_ref())),
                Some(field) => self.value(field, value),
            }
        }
    }

    fn value(&mut self, field: &'static field::ConfigField, value: &Spanned<DeValue>) {
        let offset = value.span().start;
        let accepted = field.accept(value.get_ref()).map_err(|message| self.problem(offset, || message));
        self.settings.push(Setting { field, value: accepted.ok(), origin: self.lines.origin(offset) });
    }

    fn problem(&mut self, offset: usize, message: impl FnOnce() -> String) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push((offset, Problem::at(&self.lines.origin(offset), message())));
        }
    }
}

/// Finds the line and column of a byte.
struct Lines<'a> {
    path: &'a Path,
    text: &'a str,
    /// Offset at which each line starts.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(path: &'a Path, text: &'a str) -> Self {
        let after_newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Lines { path, text, starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    fn origin(&self, offset: usize) -> SettingOrigin {
        let line = self.starts.partition_point(|start| *start <= offset);
        let before = self.text.get(self.starts[line - 1]..offset).unwrap_or_default();
        SettingOrigin::File { path: self.path.to_owned(), line, column: before.chars().count() + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let lines = Lines::new(Path::new("p"), "a\nßb\n\nc");
        for (offset, position) in [(0, (1, 1)), (2, (2, 1)), (4, (2, 2)), (6, (3, 1)), (7, (4, 1)), (8, (4, 2))] {
            let SettingOrigin::File { line, column, .. } = lines.origin(offset) else { panic!("not a file") };
            assert_eq!((line, column), position, "offset {offset}");
        }
    }
}
