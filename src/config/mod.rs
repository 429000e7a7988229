//! Configuration: from raw text to a checked [`Plan`].
//!
//! There are four layers, and later ones override earlier ones: the defaults, the file, the
//! environment, the flags. Each value is checked on its own against the schema ([`field`]) and
//! keeps its [`SettingOrigin`]; then all of them are checked against each other ([`check`]). All
//! problems are reported together, so no later module gets a missing or impossible value.
//!
//! Architecture invariant: loading depends on its [`Sources`] alone, never on the process around
//! it.

mod check;
mod field;
mod file;
mod overrides;
mod plan;
mod problem;
mod raw;
mod show;
mod suggest;

use std::path::PathBuf;

use serde_json::{Map, Value};

pub use field::schema;
pub use file::FILE_NAME;
pub use overrides::{Environment, Flag};
pub use plan::*;
pub use problem::{ConfigErrors, Problem, SettingOrigin};
pub use show::{show, show_json};

/// Inputs of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// File named by a flag; without one the usual places are searched.
    pub file: Option<PathBuf>,
    pub env: Environment,
    /// Flags in the order of the command line; of two for one setting the later wins.
    pub flags: Vec<Flag>,
    /// Folder of `./pipeline.toml`; empty for the process's working directory.
    pub working_dir: PathBuf,
    /// Number of threads that the machine runs at once.
    pub cores: usize,
}

impl Sources {
    /// Collects the sources of this process.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Sources { file, env: Environment::of_process(), flags, working_dir: PathBuf::new(), cores }
    }
}

/// Loaded and checked configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub plan: Plan,
    /// Every setting, in the order in which they are documented.
    pub entries: Vec<ConfigEntry>,
    /// File that was read, if any.
    pub file: Option<PathBuf>,
}

/// One setting in force.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigEntry {
    /// Path `section.key`.
    pub path: String,
    /// Value as written: `"auto"` stays `"auto"`.
    pub value: Value,
    pub origin: SettingOrigin,
}

impl ConfigEntry {
    pub fn section(&self) -> &str {
        self.path.split('.').next().unwrap_or_default()
    }

    pub fn key(&self) -> &str {
        self.path.split('.').nth(1).unwrap_or_default()
    }
}

/// Setting in one layer.
struct Setting {
    field: &'static field::ConfigField,
    /// Value; `None` when it was refused, and reported.
    value: Option<Value>,
    origin: SettingOrigin,
}

/// Reads every layer and checks the whole. The error lists everything that is wrong.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let mut errors = ConfigErrors::default();
    let mut entries = defaults();

    let file = sources.file.clone().or_else(|| file::find(&sources.working_dir, &sources.env));
    if let Some(path) = &file {
        let text = file::read(path)?;
        overlay(&mut entries, file::settings(path, &text, &mut errors));
    }
    overlay(&mut entries, overrides::from_environment(&sources.env, &mut errors));
    overlay(&mut entries, overrides::from_flags(&sources.flags, &mut errors));

    check::orders(&entries, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let places = check::Places { entries: &entries, working_dir: &sources.working_dir, env: &sources.env };
    let plan = check::plan(&typed(&entries)?, &places, sources.cores)?;
    Ok(Loaded { plan, entries, file })
}

fn defaults() -> Vec<ConfigEntry> {
    let values = serde_json::to_value(raw::Raw::default()).unwrap_or_default();
    let entry = |field: &field::ConfigField| ConfigEntry {
        path: field.path(),
        value: values[&field.section][&field.key].clone(),
        origin: SettingOrigin::Default,
    };
    field::all().iter().map(entry).collect()
}

/// Applies a layer to the entries. An entry whose value was refused is removed, so that no other
/// check depends on it.
fn overlay(entries: &mut Vec<ConfigEntry>, layer: Vec<Setting>) {
    for Setting { field, value, origin } in layer {
        let Some(at) = entries.iter().position(|entry| entry.path == field.path()) else { continue };
        match value {
            Some(value) => entries[at] = ConfigEntry { path: field.path(), value, origin },
            None => drop(entries.remove(at)),
        }
    }
}

/// Converts the entries to the types from which the schema was made; they accept all that the
/// schema accepts.
fn typed(entries: &[ConfigEntry]) -> Result<raw::Raw, Problem> {
    let mut sections = Map::new();
    for entry in entries {
        let section = sections.entry(entry.section()).or_insert_with(|| Value::Object(Map::new()));
        section[entry.key()] = entry.value.clone();
    }
    serde_json::from_value(Value::Object(sections)).map_err(|error| Problem::at(&SettingOrigin::Default, error))
}
