//! What the user wants, from raw text to a checked [`Plan`].
//!
//! Four layers, of which the later win: the defaults, the file, the environment, the flags. Each
//! value is checked on its own against the schema ([`field`]), keeps its [`SettingOrigin`], and all
//! of them are then checked against each other ([`check`]). Everything that is wrong is reported
//! together; nothing below this room sees a missing or impossible value.
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

/// All that a configuration is made from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file that a flag names; without one the usual places are searched.
    pub file: Option<PathBuf>,
    pub env: Environment,
    /// In the order of the command line; of two for one setting the later wins.
    pub flags: Vec<Flag>,
    /// Where `./pipeline.toml` is looked for; empty is the process's own.
    pub working_dir: PathBuf,
    /// How many threads the machine runs at once.
    pub cores: usize,
}

impl Sources {
    /// The sources of this process.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Sources { file, env: Environment::of_process(), flags, working_dir: PathBuf::new(), cores }
    }
}

/// A configuration that holds.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub plan: Plan,
    /// Every setting, in the order in which they are documented.
    pub entries: Vec<ConfigEntry>,
    /// The file that was read, if one was.
    pub file: Option<PathBuf>,
}

/// One setting in force.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigEntry {
    /// `section.key`
    pub path: String,
    /// As it was written: `"auto"` stays `"auto"`.
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

/// What one layer says of one setting.
struct Setting {
    field: &'static field::ConfigField,
    /// `None` when it was refused, and reported.
    value: Option<Value>,
    origin: SettingOrigin,
}

/// Reads every layer and checks the whole, or says everything that is wrong with it.
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

/// Lays a layer over the entries. An entry whose value was refused goes, so that nothing is
/// concluded from it.
fn overlay(entries: &mut Vec<ConfigEntry>, layer: Vec<Setting>) {
    for Setting { field, value, origin } in layer {
        let Some(at) = entries.iter().position(|entry| entry.path == field.path()) else { continue };
        match value {
            Some(value) => entries[at] = ConfigEntry { path: field.path(), value, origin },
            None => drop(entries.remove(at)),
        }
    }
}

/// The entries as the types from which the schema was made; what the schema let pass, they take.
fn typed(entries: &[ConfigEntry]) -> Result<raw::Raw, Problem> {
    let mut sections = Map::new();
    for entry in entries {
        let section = sections.entry(entry.section()).or_insert_with(|| Value::Object(Map::new()));
        section[entry.key()] = entry.value.clone();
    }
    serde_json::from_value(Value::Object(sections)).map_err(|error| Problem::at(&SettingOrigin::Default, error))
}
