//! Parser of the body of a tool call: functions, parameters, and values by their schema.

use serde_json::{Map, Value};

use super::super::template::{Tool, ToolCall};
use super::{END_FUNCTION, FUNCTION, first_of, json};

const PARAMETER: &str = "<parameter=";
const END_PARAMETER: &str = "</parameter>";

/// Reads the calls in a body; none if it contains no function name.
pub fn read(body: &str, tools: &[Tool]) -> Vec<ToolCall> {
    let body = body.trim();
    match body.starts_with(['{', '[']) {
        true => json::calls(body).into_iter().map(|call| retype(call, tools)).collect(),
        false => functions(body, tools),
    }
}

fn functions(mut rest: &str, tools: &[Tool]) -> Vec<ToolCall> {
    let mut calls = Vec::new();
    while let Some(at) = rest.find(FUNCTION) {
        let (name, behind) = name(&rest[at + FUNCTION.len()..]);
        let mut call = ToolCall { name: name.to_owned(), arguments: Map::new() };
        rest = parameters(behind, &mut call.arguments, find(tools, name));
        if !name.is_empty() {
            calls.push(call);
        }
    }
    calls
}

/// Splits off a name from the text after its `>`, which a small model may have replaced by a
/// newline.
fn name(text: &str) -> (&str, &str) {
    let end = text.find(['>', '\n']).unwrap_or(text.len());
    let (name, behind) = text.split_at(end);
    (name.trim().trim_matches('"'), behind.strip_prefix('>').unwrap_or(behind))
}

/// Reads the parameters of a function into `arguments`, and returns the text after them.
fn parameters<'a>(mut rest: &'a str, arguments: &mut Map<String, Value>, tool: Option<&Tool>) -> &'a str {
    if rest.trim_start().starts_with('{') {
        let end = rest.find(END_FUNCTION).unwrap_or(rest.len());
        if let Some(Value::Object(object)) = json::value(rest[..end].trim()) {
            arguments.extend(object.into_iter().map(|(key, value)| retyped(key, value, tool)));
        }
        return &rest[end..];
    }
    while let Some((at, tag)) = first_of(rest, &[PARAMETER, END_FUNCTION, FUNCTION]) {
        if tag == FUNCTION {
            return &rest[at..];
        }
        rest = &rest[at + tag.len()..];
        if tag == END_FUNCTION {
            return rest;
        }
        let (key, behind) = name(rest);
        let (text, behind) = value(behind);
        if !key.is_empty() {
            arguments.insert(key.to_owned(), typed(text, tool.and_then(|tool| tool.parameter(key))));
        }
        rest = behind;
    }
    ""
}

/// Splits off a value, without the newline on each side. It ends at its end tag, or at a tag on a
/// new line if the end tag is missing.
fn value(text: &str) -> (&str, &str) {
    let forgotten = ["\n<parameter=", "\n</function>"];
    let (value, rest) = match (text.find(END_PARAMETER), first_of(text, &forgotten)) {
        (Some(end), next) if next.is_none_or(|(at, _)| end < at) => (&text[..end], &text[end + END_PARAMETER.len()..]),
        (_, Some((at, _))) => text.split_at(at + 1),
        // There is not even a newline before the next tag.
        _ => text.split_at(first_of(text, &[PARAMETER, END_FUNCTION]).map_or(text.len(), |(at, _)| at)),
    };
    let value = value.strip_prefix('\n').unwrap_or(value);
    (value.strip_suffix('\n').unwrap_or(value), rest)
}

fn find<'a>(tools: &'a [Tool], name: &str) -> Option<&'a Tool> {
    tools.iter().find(|tool| tool.name() == Some(name))
}

/// Converts the values of a JSON call to the types in the tool's schema.
fn retype(call: ToolCall, tools: &[Tool]) -> ToolCall {
    let tool = find(tools, &call.name);
    let arguments = call.arguments.into_iter().map(|(key, value)| retyped(key, value, tool)).collect();
    ToolCall { arguments, ..call }
}

fn retyped(key: String, value: Value, tool: Option<&Tool>) -> (String, Value) {
    let value = match (value, tool.and_then(|tool| tool.parameter(&key))) {
        // A string in JSON stays one, unless the schema requires another type.
        (Value::String(text), Some(schema)) if !types(schema).is_empty() => typed(&text, Some(schema)),
        (value, _) => value,
    };
    (key, value)
}

/// Value of `text` for a parameter of that schema. Text that does not fit the type stays text: the
/// tool will report it.
fn typed(text: &str, schema: Option<&Value>) -> Value {
    let types = schema.map(types).unwrap_or_default();
    let may_be = |name: &str| types.contains(&name);
    let raw = || Value::String(text.to_owned());
    let literal = match text.trim() {
        "null" | "None" => Some(Value::Null),
        word if word.eq_ignore_ascii_case("true") => Some(Value::Bool(true)),
        word if word.eq_ignore_ascii_case("false") => Some(Value::Bool(false)),
        word => json::value(word),
    };
    match literal {
        Some(Value::Null) if may_be("null") => Value::Null,
        _ if may_be("string") || schema.is_some_and(lists_strings) => raw(),
        // Without a type, quotes belong to the text.
        Some(Value::String(_)) | None => raw(),
        Some(Value::Number(number)) if may_be("integer") && !may_be("number") => {
            whole(&number).map_or(Value::Number(number), Value::from)
        }
        Some(value) => value,
    }
}

/// Converts a number without fraction to an integer, such as 5.0 to 5.
fn whole(number: &serde_json::Number) -> Option<i64> {
    let value = number.as_f64().filter(|_| number.is_f64())?;
    // Up to 2^53 every whole number has its own f64.
    (value.fract() == 0.0 && value.abs() <= (1u64 << 53) as f64).then_some(value as i64)
}

/// Types that a schema allows, including those of its alternatives.
fn types(schema: &Value) -> Vec<&str> {
    let alternatives = ["anyOf", "oneOf"].iter().filter_map(|key| schema[key].as_array()).flatten();
    std::iter::once(schema).chain(alternatives).flat_map(own_types).collect()
}

fn own_types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

/// Whether a schema without a type lists strings to choose from.
fn lists_strings(schema: &Value) -> bool {
    let listed = schema["enum"].as_array().filter(|_| schema.get("type").is_none());
    listed.is_some_and(|values| values.iter().all(Value::is_string))
}
