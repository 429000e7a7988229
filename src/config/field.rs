//! Every setting as described by the schema, and the check of one value against it.

use std::sync::LazyLock;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Map, Value};
use toml::de::DeValue;

use super::raw::{AUTO, Raw};
use crate::types::Bytes;

/// One setting, such as `detect.speech_threshold`, with the values that it accepts.
#[derive(Debug)]
pub struct ConfigField {
    pub section: String,
    pub key: String,
    form: Form,
    /// Whether `"auto"` is accepted.
    auto: bool,
}

#[derive(Debug, PartialEq)]
enum Form {
    Integer {
        min: i64,
        max: i64,
    },
    Number {
        min: f64,
        max: f64,
    },
    Choice(Vec<String>),
    Language(Vec<String>),
    Model,
    ModelOrPath,
    /// Name or path of a wake word model, or "off".
    WakeWord,
    /// List of models, of limited length.
    Models {
        most: usize,
    },
    Size,
    /// Size, or 0.
    Limit,
    Folder,
    Text {
        min: u64,
        max: u64,
    },
}

/// Longest part of a value that a message repeats, in characters.
const SHOWN: usize = 60;

/// JSON schema of `pipeline.toml`, pretty-printed, with a newline at its end.
pub fn schema() -> String {
    let mut text = serde_json::to_string_pretty(&SCHEMA.clone()).unwrap_or_default();
    text.push('\n');
    text
}

/// All settings, in the order in which they are documented.
pub fn all() -> &'static [ConfigField] {
    static FIELDS: LazyLock<Vec<ConfigField>> = LazyLock::new(|| {
        let sections = properties(&SCHEMA).into_iter().flatten();
        sections
            .flat_map(|(section, schema)| {
                properties(schema).into_iter().flatten().map(|(key, schema)| ConfigField::new(section, key, schema))
            })
            .collect()
    });
    &FIELDS
}

/// Finds the setting at `section`.`key`.
pub fn find(section: &str, key: &str) -> Option<&'static ConfigField> {
    all().iter().find(|field| field.section == section && field.key == key)
}

/// Names of the sections, in the order in which they are documented.
pub fn sections() -> impl Iterator<Item = &'static str> {
    properties(&SCHEMA).into_iter().flatten().map(|(name, _)| name.as_str())
}

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    // The TOML extensions of editors read draft 7.
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let settings = settings.with_transform(RecursiveTransform(unwrap_description));
    let mut schema = settings.into_generator().into_root_schema_for::<Raw>().to_value();
    // The defaults stand at the keys. Repeated for whole sections, they would only make editors
    // insert all of them.
    for section in schema["properties"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        section.as_object_mut().map(|section| section.remove("default"));
    }
    schema
});

/// Joins the lines of a description, which is a comment of the source.
fn unwrap_description(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema["properties"].as_object()
}

impl ConfigField {
    fn new(section: &str, key: &str, schema: &Value) -> ConfigField {
        let is_auto = |branch: &&Value| branch["const"] == AUTO;
        let branches = schema["anyOf"].as_array().map(Vec::as_slice).unwrap_or_default();
        let form = branches.iter().find(|branch| !is_auto(branch)).unwrap_or(schema);
        let form = Form::new(form);
        let auto = branches.iter().any(|branch| is_auto(&branch))
            || matches!(form, Form::Model | Form::ModelOrPath | Form::Folder);
        ConfigField { section: section.to_owned(), key: key.to_owned(), form, auto }
    }

    /// Path of the setting, such as `detect.speech_threshold`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// Environment variable of the setting, such as `SOTTO_DETECT__SPEECH_THRESHOLD`.
    pub fn variable(&self) -> String {
        format!("SOTTO_{}__{}", self.section, self.key).to_ascii_uppercase()
    }

    /// Checks a value of a file; the error names the value and what is accepted.
    pub fn accept(&self, value: &DeValue) -> Result<Value, String> {
        match value {
            DeValue::String(text) if self.is_numeric() && !self.takes_auto(text) => {
                Err(self.refuse(&format!("{}, a string", quoted(text)), &self.form.expected()))
            }
            DeValue::String(text) if !self.is_list() => self.accept_word(text),
            DeValue::Array(items) if self.is_list() => {
                let names = items.iter().map(|item| item.get_ref().as_str().ok_or_else(|| describe(item.get_ref())));
                self.accept_list(names)
            }
            DeValue::Integer(number) if self.is_size() => {
                Err(self.refuse(&without_unit(&number.to_string()), &self.form.expected()))
            }
            DeValue::Integer(number) if self.is_numeric() => {
                self.accept_integer(i128::from_str_radix(number.as_str(), number.radix()).ok(), &number.to_string())
            }
            DeValue::Float(number) if matches!(self.form, Form::Number { .. }) => {
                self.accept_number(number.as_str().parse().unwrap_or(f64::NAN), number.as_str())
            }
            other => Err(self.refuse(&describe(other), &self.form.expected())),
        }
    }

    /// Checks a value given as plain text: from the environment or from a flag.
    pub fn accept_text(&self, text: &str) -> Result<Value, String> {
        match self.form {
            _ if self.takes_auto(text) => self.accept_word(text),
            Form::Models { .. } => {
                self.accept_list(text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(Ok))
            }
            Form::Integer { .. } => match text.parse::<i128>() {
                Ok(number) => self.accept_integer(Some(number), text),
                Err(_) => Err(self.refuse(&quoted(text), &self.form.expected())),
            },
            Form::Number { .. } => match text.parse::<f64>() {
                Ok(number) => self.accept_number(number, text),
                Err(_) => Err(self.refuse(&quoted(text), &self.form.expected())),
            },
            _ => self.accept_word(text),
        }
    }

    fn accept_integer(&self, number: Option<i128>, shown: &str) -> Result<Value, String> {
        match (&self.form, number) {
            (Form::Number { .. }, Some(number)) => self.accept_number(number as f64, shown),
            (Form::Integer { min, max }, Some(number)) if (i128::from(*min)..=i128::from(*max)).contains(&number) => {
                Ok(Value::from(number as i64))
            }
            _ => Err(self.refuse(&clipped(shown), &self.form.bounds())),
        }
    }

    fn accept_number(&self, number: f64, shown: &str) -> Result<Value, String> {
        match self.form {
            Form::Number { min, max } if (min..=max).contains(&number) => Ok(Value::from(number)),
            _ => Err(self.refuse(&clipped(shown), &self.form.bounds())),
        }
    }

    fn accept_word(&self, text: &str) -> Result<Value, String> {
        if self.takes_auto(text) || self.form.allows(text) {
            return Ok(Value::from(text));
        }
        let bare = self.is_size() && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let found = if bare { without_unit(&quoted(text)) } else { quoted(text) };
        Err(self.refuse(&found, &self.form.expected()))
    }

    /// Checks a list of names; `Err` holds an item that is not text.
    fn accept_list<'a>(&self, names: impl Iterator<Item = Result<&'a str, String>>) -> Result<Value, String> {
        let mut list = Vec::new();
        for name in names {
            match name {
                Ok(name) if Form::ModelOrPath.allows(name) => list.push(name),
                Ok(name) => return Err(self.refuse(&format!("a list with {}", quoted(name)), &self.form.expected())),
                Err(other) => return Err(self.refuse(&format!("a list with {other}"), &self.form.expected())),
            }
        }
        match self.form {
            Form::Models { most } if list.len() > most => {
                Err(self.refuse(&format!("a list of {}", list.len()), &format!("a list of at most {most}")))
            }
            _ => Ok(Value::from(list)),
        }
    }

    fn is_size(&self) -> bool {
        matches!(self.form, Form::Size | Form::Limit)
    }

    fn is_list(&self) -> bool {
        matches!(self.form, Form::Models { .. })
    }

    fn takes_auto(&self, text: &str) -> bool {
        self.auto && text == AUTO
    }

    fn is_numeric(&self) -> bool {
        matches!(self.form, Form::Integer { .. } | Form::Number { .. })
    }

    fn refuse(&self, found: &str, expected: &str) -> String {
        let or_auto = if self.auto { ", or \"auto\"" } else { "" };
        format!("{} is {found}; must be {expected}{or_auto}", self.path())
    }
}

impl Form {
    fn new(schema: &Value) -> Form {
        let bound = |name: &str| schema[name].as_f64().unwrap_or_default();
        match (schema["type"].as_str(), schema["format"].as_str()) {
            (Some("integer"), _) => Form::Integer { min: bound("minimum") as i64, max: bound("maximum") as i64 },
            (Some("number"), _) => Form::Number { min: bound("minimum"), max: bound("maximum") },
            (Some("array"), _) => Form::Models { most: schema["maxItems"].as_u64().unwrap_or_default() as usize },
            (_, Some("model")) => Form::Model,
            (_, Some("model-or-path")) => Form::ModelOrPath,
            (_, Some("wake-word")) => Form::WakeWord,
            (_, Some("size")) => Form::Size,
            (_, Some("limit")) => Form::Limit,
            (_, Some("folder")) => Form::Folder,
            (_, Some("language")) => Form::Language(choices(schema)),
            _ if !choices(schema).is_empty() => Form::Choice(choices(schema)),
            _ => {
                let length = |name: &str| schema[name].as_u64().unwrap_or_default();
                Form::Text { min: length("minLength"), max: length("maxLength") }
            }
        }
    }

    fn allows(&self, text: &str) -> bool {
        match self {
            Form::Choice(words) | Form::Language(words) => words.iter().any(|word| word == text),
            Form::Model => is_model_name(text),
            // "auto" is not accepted: no wake word can be chosen for the user.
            Form::WakeWord if text == AUTO => false,
            Form::ModelOrPath | Form::WakeWord => is_model_name(text) || (text.contains('/') && !text.contains('\0')),
            Form::Size => text.parse::<Bytes>().is_ok_and(|size| size.0 > 0),
            Form::Limit => text.parse::<Bytes>().is_ok(),
            Form::Folder => !text.is_empty() && !text.contains('\0'),
            Form::Text { min, max } => (*min..=*max).contains(&(text.chars().count() as u64)),
            Form::Integer { .. } | Form::Number { .. } | Form::Models { .. } => false,
        }
    }

    /// Description of what is accepted, such as `a number between 0 and 1`.
    fn expected(&self) -> String {
        match self {
            Form::Integer { .. } => format!("a whole number {}", self.bounds()),
            Form::Number { .. } => format!("a number {}", self.bounds()),
            Form::Choice(words) => {
                format!("one of {}", words.iter().map(|w| quoted(w)).collect::<Vec<_>>().join(", "))
            }
            Form::Language(_) => "the two-letter code of a language that Whisper knows, such as \"en\"".to_owned(),
            Form::Model => "a model's name (lower-case letters, digits, \"-\", \"_\" and \".\")".to_owned(),
            Form::ModelOrPath => "a model's name, or the path of a model with a \"/\" in it".to_owned(),
            Form::WakeWord => {
                "\"off\", the name of a wake word, such as \"alexa\", or the path of its classifier with a \"/\" in it"
                    .to_owned()
            }
            Form::Models { .. } => "a list of models' names and of paths with a \"/\" in them".to_owned(),
            Form::Size => "a whole number above 0 and its unit, such as \"1500MiB\" or \"2GiB\"".to_owned(),
            Form::Limit => "a whole number and its unit, such as \"256MiB\", or \"0\" for none".to_owned(),
            Form::Folder => "the path of a folder".to_owned(),
            Form::Text { min: 0, max } => format!("text of at most {max} characters"),
            Form::Text { min, max } => format!("text of {min} to {max} characters"),
        }
    }

    fn bounds(&self) -> String {
        match self {
            Form::Integer { min, max } => format!("between {min} and {max}"),
            Form::Number { min, max } => format!("between {min} and {max}"),
            _ => self.expected(),
        }
    }
}

/// Values of an `enum`, or of the constants that schemars writes for an enum with documented
/// variants.
fn choices(schema: &Value) -> Vec<String> {
    let listed = schema["enum"].as_array().into_iter().flatten();
    let described = schema["oneOf"].as_array().into_iter().flatten().map(|branch| &branch["const"]);
    listed.chain(described).filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Whether a text is a model's name. Names become folders below the cache, so no path is accepted.
fn is_model_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    text.len() <= 64 && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain)
}

/// Error for a size without a unit, which could mean bytes or MiB.
fn without_unit(number: &str) -> String {
    format!("{number}, which needs a unit")
}

fn describe(value: &DeValue) -> String {
    match value {
        DeValue::String(text) => format!("{}, a string", quoted(text)),
        DeValue::Integer(number) => format!("{}, a whole number", clipped(&number.to_string())),
        DeValue::Float(number) => format!("{}, a number", clipped(number.as_str())),
        DeValue::Boolean(word) => word.to_string(),
        DeValue::Datetime(date) => format!("{date}, a date"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a section".to_owned(),
    }
}

/// Part of a foreign text, short and harmless enough for a terminal.
pub fn clipped(text: &str) -> String {
    let shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() { format!("{shown}…") } else { shown }
}

pub fn quoted(text: &str) -> String {
    format!("\"{}\"", clipped(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_form_with_real_bounds() {
        for field in all() {
            match &field.form {
                Form::Integer { min, max } => assert!(min < max, "{}", field.path()),
                Form::Number { min, max } => assert!(min < max, "{}", field.path()),
                Form::Choice(words) | Form::Language(words) => assert!(words.len() > 1, "{}", field.path()),
                Form::Text { min, max } => assert!(min < max, "{}", field.path()),
                Form::Models { most } => assert!(*most > 0, "{}", field.path()),
                Form::Model | Form::ModelOrPath | Form::WakeWord | Form::Size | Form::Limit | Form::Folder => {}
            }
        }
        assert_eq!(all().len(), 54);
    }

    #[test]
    fn text_is_read_as_its_setting_demands() {
        let table = [
            ("llm.max_tokens", "64", Some(Value::from(64))),
            ("llm.max_tokens", "0", None),
            ("llm.max_tokens", "6.5", None),
            ("llm.max_tokens", "auto", None),
            ("llm.threads", "auto", Some(Value::from("auto"))),
            ("llm.threads", "65", None),
            ("detect.speech_threshold", "1", Some(Value::from(1.0))),
            ("detect.speech_threshold", "nan", None),
            ("detect.speech_threshold", "-0.1", None),
            ("detect.speech_threshold", "1e400", None),
            ("llm.seed", "4294967295", Some(Value::from(4_294_967_295_i64))),
            ("llm.seed", "4294967296", None),
            ("memory.budget", "2GiB", Some(Value::from("2GiB"))),
            ("memory.budget", "0MiB", None),
            ("memory.budget", "1600", None),
            ("llm.prompt_cache", "0", Some(Value::from("0"))),
            ("llm.prompt_cache", "64 MiB", Some(Value::from("64 MiB"))),
            ("llm.prompt_cache", "64", None),
            ("llm.prompt_cache", "some", None),
            ("llm.context", "auto", Some(Value::from("auto"))),
            ("llm.context", "127", None),
            ("llm.kv_cache", "q8", Some(Value::from("q8"))),
            ("llm.kv_cache", "q4", None),
            ("llm.priority", "low", Some(Value::from("low"))),
            ("llm.priority", "high", None),
            ("models.profile", "qwen", Some(Value::from("qwen"))),
            ("models.profile", "Qwen", None),
            ("models.profile", "auto", None),
            ("asr.backend", "whisper.cpp", Some(Value::from("whisper.cpp"))),
            ("asr.backend", "ggml", None),
            ("asr.language", "de", Some(Value::from("de"))),
            ("asr.language", "eng", None),
            ("asr.language", "xx", None),
            ("llm.model", "smollm2-135m", Some(Value::from("smollm2-135m"))),
            ("llm.model", "../model.gguf", Some(Value::from("../model.gguf"))),
            ("detect.voice_activity", "../etc", None),
            ("detect.end_of_turn", "off", Some(Value::from("off"))),
            ("detect.end_of_turn", "./turn.onnx", None),
            ("detect.wake_word", "off", Some(Value::from("off"))),
            ("detect.wake_word", "hey_jarvis", Some(Value::from("hey_jarvis"))),
            ("detect.wake_word", "./computer.onnx", Some(Value::from("./computer.onnx"))),
            ("detect.wake_word", "Hey Jarvis", None),
            ("detect.wake_word", "auto", None),
            ("detect.wake_threshold", "0", None),
            ("turn.wake_window_ms", "0", None),
            ("turn.follow_up_ms", "0", Some(Value::from(0))),
            ("asr.model", "./my.ggml", Some(Value::from("./my.ggml"))),
            ("tts.voice", "Piper Joe", None),
            ("tts.voices", "", Some(Value::from(Vec::<String>::new()))),
            ("tts.voices", "piper-joe, ./de", Some(Value::from(vec!["piper-joe", "./de"]))),
            ("tts.voices", "Piper Joe", None),
            ("tts.voices", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", None),
            ("llm.model", "..", None),
            ("models.dir", "", None),
            ("audio.microphone", "pulse:mic", Some(Value::from("pulse:mic"))),
            ("audio.microphone", "", None),
            ("asr.unclear_reply", "", None),
            ("llm.system_prompt", "", Some(Value::from(""))),
            ("turn.barge_in", "on", Some(Value::from("on"))),
            ("turn.barge_in", "yes", None),
            ("turn.unlikely_silence_ms", "99", None),
        ];
        for (path, text, expected) in table {
            let (section, key) = path.split_once('.').unwrap();
            assert_eq!(find(section, key).unwrap().accept_text(text).ok(), expected, "{path} = {text}");
        }
    }

    #[test]
    fn a_size_without_a_unit_is_told_what_it_lacks() {
        for (path, text) in [("memory.budget", "1600"), ("llm.prompt_cache", "64"), ("memory.budget", "0")] {
            let (section, key) = path.split_once('.').unwrap();
            let message = find(section, key).unwrap().accept_text(text).unwrap_err();
            assert!(message.contains(&format!("{path} is \"{text}\", which needs a unit")), "{message}");
        }
    }

    #[test]
    fn foreign_text_is_shown_short_and_without_control_characters() {
        assert_eq!(quoted("a\u{1b}[31m\n"), "\"a\\u{1b}[31m\\n\"");
        assert_eq!(clipped(&"é".repeat(100)).chars().count(), SHOWN + 1);
    }
}
