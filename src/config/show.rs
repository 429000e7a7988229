//! Output of the configuration in force, for people (TOML) and for programs (JSON), with the origin
//! of each value.

use serde_json::{Map, Value, json};

use super::raw::AUTO;
use super::{ConfigEntry, Loaded, Plan};

/// Configuration in force as TOML that reads back to the same. After each `"auto"` comes the chosen
/// value, and with `origin` after every value its origin.
pub fn show(loaded: &Loaded, origin: bool) -> String {
    let mut text = String::new();
    let mut section = "";
    for entry in &loaded.entries {
        if entry.section() != section {
            section = entry.section();
            let gap = if text.is_empty() { "" } else { "\n" };
            text += &format!("{gap}[{section}]\n");
        }
        text += &line(entry, &loaded.plan, origin);
    }
    text
}

fn line(entry: &ConfigEntry, plan: &Plan, origin: bool) -> String {
    let setting = format!("{} = {}", entry.key(), toml(&entry.value));
    let origin = origin.then(|| entry.origin.to_string());
    let chosen = chosen(entry, plan).map(|choice| format!("auto: {}", plain(&choice)));
    let notes: Vec<_> = origin.into_iter().chain(chosen).collect();
    if notes.is_empty() { format!("{setting}\n") } else { format!("{setting:<36} # {}\n", one_line(&notes.join("; "))) }
}

/// Configuration in force as one JSON object: `file`, `config` (as set), `chosen` (behind each
/// `"auto"`), and with `origin` also `origins`, all by section and key.
pub fn show_json(loaded: &Loaded, origin: bool) -> Value {
    let mut shown = json!({
        "file": loaded.file.as_ref().map(|file| file.display().to_string()),
        "config": by_section(loaded, |entry| Some(entry.value.clone())),
        "chosen": by_section(loaded, |entry| chosen(entry, &loaded.plan)),
    });
    if origin {
        shown["origins"] = by_section(loaded, |entry| Some(json!(entry.origin.to_string())));
    }
    shown
}

fn by_section(loaded: &Loaded, value: impl Fn(&ConfigEntry) -> Option<Value>) -> Value {
    let mut sections = Map::new();
    for entry in &loaded.entries {
        if let Some(value) = value(entry) {
            let section = sections.entry(entry.section()).or_insert_with(|| json!({}));
            section[entry.key()] = value;
        }
    }
    Value::Object(sections)
}

/// Value behind the `"auto"` of an entry, where the plan already knows it.
fn chosen(entry: &ConfigEntry, plan: &Plan) -> Option<Value> {
    if entry.value != AUTO {
        return None;
    }
    match entry.path.as_str() {
        "detect.voice_activity" => Some(json!(plan.detect.voice_activity)),
        "detect.end_of_turn" => Some(json!(plan.detect.end_of_turn)),
        "asr.model" => Some(json!(plan.asr.model)),
        "asr.threads" => Some(json!(plan.asr.threads)),
        "llm.model" => Some(json!(plan.llm.model)),
        "llm.threads" => Some(json!(plan.llm.threads)),
        "tts.voice" => Some(json!(plan.tts.voice)),
        "tts.threads" => Some(json!(plan.tts.threads)),
        // The cache folder, the language and the seed are determined later.
        _ => None,
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Scalar in TOML. JSON's numbers are valid TOML; its strings too, except for DEL, which TOML
/// requires to be escaped.
fn toml(value: &Value) -> String {
    value.to_string().replace('\u{7f}', "\\u007f")
}

/// Puts a text on one line: a comment ends with its line, and a path may hold anything.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
