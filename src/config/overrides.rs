//! Settings from the environment (`SOTTO_SECTION__KEY`) and from flags (`--set section.key=value`).

use std::ffi::OsString;
use std::path::PathBuf;

use super::problem::{ConfigErrors, Problem, SettingOrigin};
use super::{Setting, field, field::ConfigField, suggest};

/// Environment variables of Sotto that are not settings.
const RESERVED: [&str; 2] = ["SOTTO_CONFIG", "SOTTO_KERNELS"];

/// Shorter second variable of a setting, for scripts. Where both are set, the one in the usual form
/// wins.
const OTHER_NAME: (&str, &str) = ("SOTTO_MODELS_DIR", "SOTTO_MODELS__DIR");

/// Setting given by a flag.
#[derive(Clone, Debug, PartialEq)]
pub struct Flag {
    /// Path `section.key`.
    pub path: String,
    pub value: String,
    /// Flag as the user knows it, such as `--budget`, for messages.
    pub name: String,
}

/// Environment variables of the process. An empty one counts as not set, as is usual.
#[derive(Clone, Debug, Default)]
pub struct Environment(Vec<(OsString, OsString)>);

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        Environment(variables.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }
}

impl Environment {
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.into())
    }

    /// Sotto's own variables, in the order of their names: of a setting's two, the usual one comes
    /// last.
    fn settings(&self) -> Vec<(String, &OsString)> {
        let all = self.0.iter().map(|(name, value)| (name.to_string_lossy().into_owned(), value));
        let mut ours: Vec<_> =
            all.filter(|(name, _)| name.starts_with("SOTTO_") && !RESERVED.contains(&name.as_str())).collect();
        ours.sort();
        ours
    }
}

pub fn from_environment(env: &Environment, errors: &mut ConfigErrors) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (name, value) in env.settings() {
        let origin = SettingOrigin::Env(name.clone());
        let usual = if name == OTHER_NAME.0 { OTHER_NAME.1 } else { &name };
        match field::all().iter().find(|field| field.variable() == usual) {
            Some(field) => settings.push(setting(field, value.to_str(), origin, errors)),
            None => errors.push(Problem::at(&origin, suggest::unknown_variable(&name))),
        }
    }
    settings
}

pub fn from_flags(flags: &[Flag], errors: &mut ConfigErrors) -> Vec<Setting> {
    let mut settings = Vec::new();
    for flag in flags {
        let origin = SettingOrigin::Flag(flag.name.clone());
        match flag.path.split_once('.').and_then(|(section, key)| field::find(section, key)) {
            Some(field) => settings.push(setting(field, Some(&flag.value), origin, errors)),
            None => errors.push(Problem::at(&origin, suggest::unknown_path(&flag.path))),
        }
    }
    settings
}

/// Makes a setting from `text`, which is `None` when it was not UTF-8.
fn setting(
    field: &'static ConfigField,
    text: Option<&str>,
    origin: SettingOrigin,
    errors: &mut ConfigErrors,
) -> Setting {
    let not_text = || format!("{} is not UTF-8 text", field.path());
    let accepted = text.ok_or_else(not_text).and_then(|text| field.accept_text(text));
    let value = accepted.map_err(|message| errors.push(Problem::at(&origin, message))).ok();
    Setting { field, value, origin }
}
