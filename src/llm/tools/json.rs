//! Tolerant parser for JSON from small models: unbalanced at the end, or followed by surplus text.

use serde_json::{Deserializer, Map, Value};

use super::super::template::ToolCall;

/// Reads the calls in a body of JSON: one object, several, or a list of them.
pub fn calls(body: &str) -> Vec<ToolCall> {
    let flat = values(body).into_iter().flat_map(|value| match value {
        Value::Array(several) => several,
        one => vec![one],
    });
    flat.filter_map(call).collect()
}

/// Reads a call as `{"name": NAME, "arguments": {…}}`, as other model families write it; also with
/// `parameters` for `arguments`, and with `function` around both.
fn call(mut value: Value) -> Option<ToolCall> {
    if value["function"].is_object() {
        value = value["function"].take();
    }
    let name =
        ["name", "function"].iter().find_map(|key| value[key].as_str()).filter(|name| !name.is_empty())?.to_owned();
    let given = ["arguments", "parameters"].iter().find_map(|key| value.get(key)).cloned();
    let arguments = match given {
        Some(Value::Object(arguments)) => arguments,
        // Some models write the arguments as JSON within a string.
        Some(Value::String(text)) => match self::value(&text) {
            Some(Value::Object(arguments)) => arguments,
            _ => return None,
        },
        Some(Value::Null) | None => Map::new(),
        Some(_) => return None,
    };
    Some(ToolCall { name, arguments })
}

/// Parses `text` as a value. Only an object or a list may be damaged.
pub fn value(text: &str) -> Option<Value> {
    match text.starts_with(['{', '[']) {
        true => values(text).into_iter().next(),
        false => serde_json::from_str(text).ok(),
    }
}

/// Parses the values in `text` up to the first that cannot be read. The last one is closed if it is
/// incomplete.
fn values(text: &str) -> Vec<Value> {
    let mut stream = Deserializer::from_str(text).into_iter();
    let mut values = Vec::new();
    loop {
        let at = stream.byte_offset();
        match stream.next() {
            Some(Ok(value)) => values.push(value),
            Some(Err(error)) if error.is_eof() => {
                values.extend(serde_json::from_str::<Value>(&closed(&text[at..])).ok());
                return values;
            }
            Some(Err(_)) | None => return values,
        }
    }
}

/// Adds the missing quote and brackets to `text`.
fn closed(text: &str) -> String {
    let (mut open, mut in_string, mut escaped) = (Vec::new(), false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' => open.push('}'),
            b'[' => open.push(']'),
            b'}' | b']' => drop(open.pop()),
            _ => {}
        }
    }
    let mut closed = text.to_owned();
    if escaped {
        closed.pop();
    }
    if in_string {
        closed.push('"');
    } else {
        let end = closed.trim_end().trim_end_matches(',').len();
        closed.truncate(end);
    }
    closed.extend(open.iter().rev());
    closed
}
