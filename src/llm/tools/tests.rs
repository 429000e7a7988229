use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::template::{self, ChatMessage};
use super::*;

fn weather() -> Tool {
    Tool(json!({"type": "function", "function": {"name": "weather", "parameters": {"properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "factor": {"type": "number"},
        "metric": {"type": "boolean"},
        "tags": {"type": "array"},
        "place": {"type": "object"},
        "note": {"type": ["string", "null"]},
        "level": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "unit": {"enum": ["1", "2"]},
    }}}}))
}

/// The parts of `output`, with neighbouring texts joined.
fn parse(pieces: &[&str]) -> Vec<ParsedPart> {
    let mut parser = ToolParser::new(&[weather()]);
    let mut parts: Vec<ParsedPart> = pieces.iter().flat_map(|piece| parser.push(piece)).collect();
    parts.extend(parser.finish());
    let mut joined: Vec<ParsedPart> = Vec::new();
    for part in parts {
        match (joined.last_mut(), part) {
            (Some(ParsedPart::Text(last)), ParsedPart::Text(text)) => last.push_str(&text),
            (_, part) => joined.push(part),
        }
    }
    joined
}

fn said(text: &str) -> ParsedPart {
    ParsedPart::Text(text.to_owned())
}

fn call(name: &str, arguments: Value) -> ParsedPart {
    ParsedPart::Call(ToolCall { name: name.to_owned(), arguments: arguments.as_object().unwrap().clone() })
}

#[test]
fn well_formed_calls_are_read() {
    let paris = call("weather", json!({"city": "Paris"}));
    let cases = [
        ("Just text.", vec![said("Just text.")]),
        (
            "<tool_call>\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>",
            vec![paris.clone()],
        ),
        (
            "I look.\n\n<tool_call>\n<function=weather>\n<parameter=days>\n3\n</parameter>\n<parameter=city>\nNew\nYork\n\
             </parameter>\n</function>\n</tool_call>",
            vec![said("I look."), call("weather", json!({"days": 3, "city": "New\nYork"}))],
        ),
        (
            "<tool_call>\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>\n\
             <tool_call>\n<function=now>\n</function>\n</tool_call>",
            vec![paris, call("now", json!({}))],
        ),
        ("a < b, <b>c</b> </p", vec![said("a < b, <b>c</b> </p")]),
        ("", vec![]),
    ];
    for (output, wanted) in cases {
        assert_eq!(parse(&[output]), wanted, "{output}");
    }
}

/// Defect 6: tools are called, but without arguments. (The other defects of that system:
/// `turn::tests::defects`.)
#[test]
fn defect_6_the_arguments_reach_the_tool() {
    /// A tool that returns nothing if an argument is missing.
    fn forecast(arguments: &Map<String, Value>) -> Option<String> {
        let (city, days) = (arguments.get("city")?.as_str()?, arguments.get("days")?.as_i64()?);
        Some(format!("{days} days of rain in {city}"))
    }
    let tags = "<tool_call>\n<function=weather>\n<parameter=city>\nSão Paulo\n</parameter>\n<parameter=days>\n3\n\
                </parameter>\n</function>\n</tool_call>";
    let json = r#"<tool_call>{"name": "weather", "arguments": {"city": "São Paulo", "days": 3}}</tool_call>"#;
    for output in [tags, json] {
        // As the model writes them: one token, or one character, at a time.
        for pieces in [vec![output.to_owned()], output.chars().map(String::from).collect()] {
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let parts = parse(&pieces);
            let [ParsedPart::Call(call)] = &parts[..] else { panic!("{parts:?}") };
            assert_eq!(call.name, "weather");
            assert_eq!(forecast(&call.arguments).as_deref(), Some("3 days of rain in São Paulo"), "{output}");
        }
    }
}

#[test]
fn damage_of_small_models_is_forgiven() {
    let paris = || call("weather", json!({"city": "Paris"}));
    let both = || call("weather", json!({"city": "Paris", "days": 2}));
    let cases = [
        ("no end", "<tool_call>\n<function=weather>\n<parameter=city>\nParis", vec![paris()]),
        (
            "no end of the value",
            "<tool_call><function=weather>\n<parameter=city>\nParis\n</function></tool_call>",
            vec![paris()],
        ),
        (
            "no end of the first value",
            "<tool_call><function=weather>\n<parameter=city>\nParis\n<parameter=days>\n2\n</parameter></function></tool_call>",
            vec![both()],
        ),
        (
            "one line",
            "<tool_call><function=weather><parameter=city>Paris<parameter=days>2</function></tool_call>",
            vec![both()],
        ),
        (
            "no end of the function",
            "<tool_call>\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n</tool_call>",
            vec![paris()],
        ),
        (
            "no outer tag",
            "Well.\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n</function>",
            vec![said("Well."), paris()],
        ),
        (
            "only the end of the outer tag",
            "<function=weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>",
            vec![paris()],
        ),
        (
            "no end before the next",
            "<tool_call>\n<function=weather>\n<parameter=city>\nParis\n<tool_call>\n<function=now>\n</function>\n</tool_call>",
            vec![paris(), call("now", json!({}))],
        ),
        (
            "two functions in one",
            "<tool_call>\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n<function=now>\n</function></tool_call>",
            vec![paris(), call("now", json!({}))],
        ),
        (
            "a name without its end",
            "<tool_call>\n<function=weather\n<parameter=city\nParis\n</parameter>\n",
            vec![paris()],
        ),
        (
            "quotes",
            "<tool_call><function=\"weather\"><parameter=\"city\">Paris</parameter></function></tool_call>",
            vec![paris()],
        ),
        (
            "JSON",
            r#"<tool_call>{"name": "weather", "arguments": {"city": "Paris", "days": "2"}}</tool_call>"#,
            vec![both()],
        ),
        (
            "JSON, a brace missing",
            r#"<tool_call>{"name": "weather", "arguments": {"city": "Paris"}</tool_call>"#,
            vec![paris()],
        ),
        (
            "JSON, a brace too many",
            r#"<tool_call>{"name": "weather", "arguments": {"city": "Paris"}}}</tool_call>"#,
            vec![paris()],
        ),
        ("JSON, cut short", r#"<tool_call>{"name": "weather", "arguments": {"city": "Paris"#, vec![paris()]),
        (
            "JSON, cut behind a comma",
            r#"<tool_call>{"name": "weather", "arguments": {"city": "Paris", "#,
            vec![paris()],
        ),
        (
            "JSON in other words",
            r#"<tool_call>[{"type": "function", "function": {"name": "weather", "parameters": "{\"city\": \"Paris\"}"}}]</tool_call>"#,
            vec![paris()],
        ),
        (
            "JSON for parameters",
            r#"<tool_call><function=weather>{"city": "Paris"}</function></tool_call>"#,
            vec![paris()],
        ),
        ("half a tag at the end", "Well. <tool_c", vec![said("Well.")]),
    ];
    for (case, output, wanted) in cases {
        assert_eq!(parse(&[output]), wanted, "{case}: {output}");
    }
}

#[test]
fn values_have_the_types_of_the_schema() {
    let cases = [
        ("city", "5", json!("5")),
        ("city", "None", json!("None")),
        ("city", "  two \n lines ", json!("  two \n lines ")),
        ("city", "\nx\n", json!("\nx\n")),
        ("days", "5", json!(5)),
        ("days", " 5.0 ", json!(5)),
        ("days", "5.5", json!(5.5)),
        ("days", "five", json!("five")),
        ("days", "1e300", json!(1e300)),
        ("factor", "5.0", json!(5.0)),
        ("metric", "True", json!(true)),
        ("metric", "false", json!(false)),
        ("metric", "FALSE", json!(false)),
        ("tags", r#"["a", 1]"#, json!(["a", 1])),
        ("tags", r#"["a", 1"#, json!(["a", 1])),
        ("place", r#"{"b": {"a": null}}"#, json!({"b": {"a": null}})),
        ("place", "nowhere", json!("nowhere")),
        ("note", "None", Value::Null),
        ("note", "3", json!("3")),
        ("level", "null", Value::Null),
        ("level", "3", json!(3)),
        ("unit", "1", json!("1")),
        ("unknown", "3", json!(3)),
        ("unknown", "None", Value::Null),
        ("unknown", "\"x\"", json!("\"x\"")),
        ("unknown", "x", json!("x")),
        ("unknown", "", json!("")),
    ];
    for (key, text, wanted) in cases {
        let output =
            format!("<tool_call><function=weather>\n<parameter={key}>\n{text}\n</parameter></function></tool_call>");
        assert_eq!(parse(&[&output]), [call("weather", json!({ key: wanted }))], "{key}: {text:?}");
    }
}

#[test]
fn what_cannot_be_understood_is_named() {
    let too_many = "<tool_call><function=f></function></tool_call>\n".repeat(MAX_CALLS + 3);
    let long = format!("<tool_call><function=f><parameter=a>{}</parameter>", "x".repeat(MAX_CALL_BYTES));
    let cases = [
        ("<tool_call>\nhello\n</tool_call>", "no function"),
        ("<tool_call>", "no function"),
        ("<tool_call><function=></function></tool_call>", "no function"),
        (r#"<tool_call>{"arguments": {}}</tool_call>"#, "no function"),
        (r#"<tool_call>{"name": "f", "arguments": 5}</tool_call>"#, "no function"),
        (&too_many, "32 tool calls"),
        (&long, "65536 bytes"),
    ];
    for (output, reason) in cases {
        let parts = parse(&[output]);
        let Some(ParsedPart::Broken { why }) = parts.last() else { panic!("{parts:?}") };
        assert!(why.contains(reason), "{why}");
        assert!(parts.len() == 1 || parts.len() == MAX_CALLS + 1);
    }
}

#[test]
fn a_call_that_is_too_long_takes_no_memory_and_no_text_with_it() {
    let mut parser = ToolParser::new(&[]);
    let mut parts = parser.push("Well. <tool_call>");
    for _ in 0..100 {
        parts.extend(parser.push(&"x".repeat(10_000)));
        assert!(parser.pending.len() <= MAX_CALL_BYTES + 10_100);
    }
    parts.extend(parser.push("</tool_"));
    parts.extend(parser.push("call>So."));
    parts.extend(parser.finish());
    assert_eq!(parts, [said("Well."), ParsedPart::too_long(), said("So.")]);
}

#[test]
fn text_comes_as_soon_as_it_is_certain() {
    let mut parser = ToolParser::new(&[]);
    for (piece, certain) in
        [("Sure", "Sure"), (".\n", "."), ("\n<", ""), ("b>", "\n\n<b>"), (" <tool", ""), ("_call", "")]
    {
        let text: String = parser.push(piece).iter().map(|part| format!("{part:?}")).collect();
        assert_eq!(text, if certain.is_empty() { String::new() } else { format!("{:?}", said(certain)) });
    }
    assert_eq!(parser.push("><function=f>"), []);
    assert_eq!(parser.finish(), [call("f", json!({}))]);
}

/// Elements of the grammar and similar text, in any order.
fn fragments() -> impl Strategy<Value = Vec<String>> {
    let words = [
        "<tool_call>",
        "</tool_call>",
        "<function=",
        "weather",
        ">",
        "</function>",
        "<parameter=",
        "city",
        "</parameter>",
        "\n",
        "{",
        "}",
        "\"name\":",
        "\"f\"",
        ",",
        "[",
        "]",
        "True",
        "5",
        "<",
        "</",
        "é🙂",
        " ",
        "\\",
    ];
    let word = prop_oneof![4 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => any::<String>()];
    proptest::collection::vec(word, 0..24)
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1000i32..1000).prop_map(|n| json!(f64::from(n) / 8.0)),
        "[a-z<>/\"\\\\{ \né]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Schema for a value of that kind.
fn schema(value: &Value) -> Value {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    json!({ "type": kind })
}

proptest! {
    /// Nothing panics, no tag becomes text, and the division into pieces does not matter.
    #[test]
    fn any_output_can_come_in_any_pieces(words in fragments(), size in 1usize..9) {
        let whole = words.concat();
        let chars: Vec<char> = whole.chars().collect();
        let pieces: Vec<String> = chars.chunks(size).map(|chunk| chunk.iter().collect()).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let parts = parse(&[&whole]);
        prop_assert_eq!(&parse(&pieces), &parts);
        for part in &parts {
            if let ParsedPart::Text(text) = part {
                prop_assert!(!TAGS.iter().any(|tag| text.contains(tag)), "{:?} of {:?}", text, whole);
            }
        }
    }

    /// The output of the template is parsed back.
    #[test]
    fn rendered_calls_are_read_back(arguments in proptest::collection::btree_map("[a-z_]{1,8}", value(), 0..5)) {
        let arguments: Map<String, Value> = arguments.into_iter().collect();
        let schemas: Map<String, Value> = arguments.iter().map(|(key, value)| (key.clone(), schema(value))).collect();
        let tools = [Tool(json!({"name": "f", "parameters": {"properties": schemas}}))];
        let call = ToolCall { name: "f".to_owned(), arguments };
        let message = ChatMessage { tool_calls: vec![call.clone(), call.clone()], ..ChatMessage::assistant("Sure.") };
        let prompt = template::history(&[ChatMessage::user("?"), message], &tools).unwrap();
        let prompt = template::text(&prompt);
        let said = prompt.rsplit_once("</think>\n\n").unwrap().1.strip_suffix("<|im_end|>\n").unwrap();
        let mut parser = ToolParser::new(&tools);
        let mut parts = parser.push(said);
        parts.extend(parser.finish());
        let call = ParsedPart::Call(call);
        prop_assert_eq!(parts, [ParsedPart::Text("Sure.".to_owned()), call.clone(), call]);
    }
}
