//! Suggestions for a name that does not exist.

use super::field::{self, ConfigField, clipped};

/// Longest name that is compared: a longer one is no misspelt setting, and comparing it would take
/// time.
const LONGEST_NAME: usize = 64;

/// Message for a key that `section` does not have.
pub fn unknown_key(section: &str, key: &str) -> String {
    let unknown = format!("unknown key {}.{}", clipped(section), clipped(key));
    if let Some(field) = meant(section, key) {
        return format!("{unknown}; did you mean {}?", field.path());
    }
    let known: Vec<_> = field::all().iter().filter(|f| f.section == section).map(|f| f.key.as_str()).collect();
    format!("{unknown}; [{section}] has {}", known.join(", "))
}

/// Message for a section, or a key outside any section, that does not exist.
pub fn unknown_section(name: &str) -> String {
    let unknown = format!("unknown section [{}]", clipped(name));
    if let Some(section) = closest(name, field::sections()) {
        return format!("{unknown}; did you mean [{section}]?");
    }
    if let Some(field) = only_key(name) {
        return format!("unknown key {} outside a section; did you mean {}?", clipped(name), field.path());
    }
    let known: Vec<_> = field::sections().map(|name| format!("[{name}]")).collect();
    format!("{unknown}; there are {}", known.join(", "))
}

/// Message for a `section.key` of a flag.
pub fn unknown_path(path: &str) -> String {
    match path.split_once('.') {
        Some((section, key)) if field::sections().any(|known| known == section) => unknown_key(section, key),
        Some((section, _)) => unknown_section(section),
        None if field::sections().any(|known| known == path) => {
            format!("{path} is a section; write section.key, as in {}", first_of(path))
        }
        None => unknown_section(path),
    }
}

/// Message for a variable that has Sotto's prefix and names no setting.
pub fn unknown_variable(name: &str) -> String {
    // Name after the prefix, with either one or two underscores after the section.
    let tail = name.trim_start_matches("SOTTO_").to_ascii_lowercase();
    let flat: Vec<(String, &ConfigField)> =
        field::all().iter().map(|field| (format!("{}_{}", field.section, field.key), field)).collect();
    let misspelt = closest(&tail.replace("__", "_"), flat.iter().map(|(name, _)| name.as_str()));
    let field = misspelt.and_then(|name| flat.iter().find(|(flat, _)| flat == name)).map(|(_, field)| *field);
    match field.or_else(|| only_key(&tail)) {
        Some(field) => format!("no such setting; did you mean {}?", field.variable()),
        None => "no such setting; settings are named SOTTO_SECTION__KEY, as in SOTTO_LLM__MAX_TOKENS".to_owned(),
    }
}

fn meant(section: &str, key: &str) -> Option<&'static ConfigField> {
    let keys = field::all().iter().filter(|field| field.section == section).map(|field| field.key.as_str());
    only_key(key).or_else(|| field::find(section, closest(key, keys)?))
}

/// Setting with this key, if exactly one section has it.
fn only_key(key: &str) -> Option<&'static ConfigField> {
    let mut with_key = field::all().iter().filter(|field| field.key == key);
    with_key.next().filter(|_| with_key.next().is_none())
}

fn first_of(section: &str) -> String {
    field::all().iter().find(|field| field.section == section).map(ConfigField::path).unwrap_or_default()
}

/// Nearest of `known`, if it may be a misspelling: at most a third of its letters differ, or only
/// its unit is missing.
fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST_NAME {
        return None;
    }
    let name = name.to_ascii_lowercase().replace('-', "_");
    let distance = |known: &str| strsim::damerau_levenshtein(&name, known.trim_end_matches("_ms"));
    let near = known.map(|known| (strsim::damerau_levenshtein(&name, known).min(distance(known)), known));
    let (distance, best) = near.min_by_key(|(distance, _)| *distance)?;
    (distance <= (best.len() / 3).max(1)).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_nonsense_is_not() {
        let table = [
            (
                unknown_key("detect", "speech_treshold"),
                "unknown key detect.speech_treshold; did you mean detect.speech_threshold?",
            ),
            (
                unknown_key("detect", "Min-Silence"),
                "unknown key detect.Min-Silence; did you mean detect.min_silence_ms?",
            ),
            (unknown_key("llm", "speed"), "unknown key llm.speed; did you mean tts.speed?"),
            (unknown_key("memory", "zzz"), "unknown key memory.zzz; [memory] has budget"),
            (unknown_section("detcet"), "unknown section [detcet]; did you mean [detect]?"),
            (
                unknown_section("temperature"),
                "unknown key temperature outside a section; did you mean llm.temperature?",
            ),
            (unknown_path("llm"), "llm is a section; write section.key, as in llm.model"),
            (unknown_path("lm.top_k"), "unknown section [lm]; did you mean [llm]?"),
            (unknown_variable("SOTTO_LLM_MAX_TOKENS"), "no such setting; did you mean SOTTO_LLM__MAX_TOKENS?"),
            (unknown_variable("SOTTO_DETECT__WAKE_WORDD"), "no such setting; did you mean SOTTO_DETECT__WAKE_WORD?"),
            (unknown_variable("SOTTO_BUDGET"), "no such setting; did you mean SOTTO_MEMORY__BUDGET?"),
        ];
        for (message, expected) in table {
            assert_eq!(message, expected);
        }
        assert!(
            unknown_section("qqqqqqqq")
                .ends_with("there are [models], [memory], [audio], [detect], [turn], [asr], [llm], [tts]")
        );
        assert!(unknown_variable("SOTTO_QQQQQQQQ").contains("SOTTO_SECTION__KEY"));
    }
}
