//! Origin of a value, and what is wrong with it.

use std::fmt;
use std::path::PathBuf;

/// Origin of a value. Later ones win over earlier ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SettingOrigin {
    Default,
    /// File, with line and column (in characters) from 1.
    File {
        path: PathBuf,
        line: usize,
        column: usize,
    },
    /// Name of an environment variable.
    Env(String),
    /// Flag as the user knows it, such as `--budget`.
    Flag(String),
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingOrigin::Default => write!(f, "default"),
            SettingOrigin::File { path, line, .. } => write!(f, "{}:{line}", path.display()),
            SettingOrigin::Env(name) => write!(f, "env {name}"),
            SettingOrigin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

impl SettingOrigin {
    /// Beginning of a message about a value from here: `pipeline.toml:12:9`.
    fn place(&self) -> String {
        match self {
            SettingOrigin::File { path, line, column } => format!("{}:{line}:{column}", path.display()),
            SettingOrigin::Env(name) | SettingOrigin::Flag(name) => name.clone(),
            SettingOrigin::Default => "default".to_owned(),
        }
    }
}

/// One problem: the place, the value, the limit, and what to write instead.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem(String);

impl Problem {
    pub fn at(origin: &SettingOrigin, message: impl fmt::Display) -> Problem {
        Problem(format!("{}: {message}", origin.place()))
    }

    /// Makes a problem with a whole file.
    pub fn with(file: &std::path::Path, message: impl fmt::Display) -> Problem {
        Problem(format!("{}: {message}", file.display()))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything that is wrong with the configuration, one problem per line. The program ends with
/// exit code 2 on it.
#[derive(Clone, Debug, Default, PartialEq, thiserror::Error)]
pub struct ConfigErrors {
    shown: Vec<Problem>,
    /// Number of further problems, which are only counted.
    more: usize,
}

/// Largest number of problems kept; a file with more of them is not a configuration.
const MOST_SHOWN: usize = 50;

impl ConfigErrors {
    pub fn push(&mut self, problem: Problem) {
        if self.is_full() {
            self.more += 1;
        } else {
            self.shown.push(problem);
        }
    }

    /// Whether the next problem will only be counted.
    fn is_full(&self) -> bool {
        self.shown.len() >= MOST_SHOWN
    }

    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    pub fn problems(&self) -> &[Problem] {
        &self.shown
    }
}

impl From<Problem> for ConfigErrors {
    fn from(problem: Problem) -> Self {
        ConfigErrors { shown: vec![problem], more: 0 }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.shown.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))?;
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}
