//! Formatting of values in Python's notation, as in the training data: the templates were rendered
//! by Python.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

/// Formats like `json.dumps(value, ensure_ascii=False)`: with `", "` and `": "`, letters of all
/// scripts unescaped.
pub fn json(value: &Value) -> String {
    let mut bytes = Vec::new();
    let written = value.serialize(&mut Serializer::with_formatter(&mut bytes, Python));
    debug_assert!(written.is_ok(), "keys are strings, and memory takes every byte");
    String::from_utf8(bytes).unwrap_or_default()
}

/// Formats like `str(value)`, but objects and lists as JSON.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => json(value),
    }
}

struct Python;

impl Formatter for Python {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(float(value).as_bytes())
    }
}

/// Formats like `repr(value)`: the shortest digits that read back, with an exponent below 1e-4 and
/// from 1e16 on.
fn float(value: f64) -> String {
    let scientific = format!("{value:e}");
    match scientific.split_once('e').map(|(digits, exponent)| (digits, exponent.parse::<i32>())) {
        Some((digits, Ok(exponent))) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_in_python() {
        let cases = [
            (1.5, "1.5"),
            (3.0, "3.0"),
            (-0.0, "-0.0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.25e-7, "1.25e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (-2.5e300, "-2.5e+300"),
        ];
        for (value, wanted) in cases {
            assert_eq!(float(value), wanted);
        }
    }

    #[test]
    fn values_look_as_in_python() {
        let cases = [
            (r#"{"b":[1,2.0,{}],"a":{"x":null,"y":[]}}"#, r#"{"b": [1, 2.0, {}], "a": {"x": null, "y": []}}"#),
            (r#""a\"\\\n\u0001\u00e9</é""#, "a\"\\\n\u{1}é</é"),
            (r#"["a\"\\\n\u0001\u007f\u00e9<"]"#, "[\"a\\\"\\\\\\n\\u0001\u{7f}é<\"]"),
            ("true", "True"),
            ("null", "None"),
            ("18446744073709551615", "18446744073709551615"),
        ];
        for (value, wanted) in cases {
            assert_eq!(plain(&serde_json::from_str(value).unwrap()), wanted);
        }
    }
}
