use std::path::Path;

use serde_json::{Value, json};

use super::super::testing::{self as tables, goldens};
use super::super::tokenizer::testing;
use super::*;

fn message(value: &Value) -> ChatMessage {
    let role = [MessageRole::System, MessageRole::User, MessageRole::Assistant, MessageRole::Tool]
        .into_iter()
        .find(|r| value["role"] == r.name());
    let call = |call: &Value| ToolCall {
        name: call["function"]["name"].as_str().unwrap().to_owned(),
        arguments: call["function"]["arguments"].as_object().unwrap().clone(),
    };
    ChatMessage {
        reasoning: value["reasoning_content"].as_str().map(str::to_owned),
        tool_calls: value["tool_calls"].as_array().into_iter().flatten().map(call).collect(),
        ..ChatMessage::new(role.unwrap(), value["content"].as_str().unwrap())
    }
}

/// Renders one of the published cases: the 4B thinks unless told not to, the 0.8B and 2B do the
/// opposite.
fn rendered(case: &Value) -> String {
    let list = |key: &str| case[key].as_array().cloned().unwrap_or_default();
    let messages: Vec<_> = list("messages").iter().map(message).collect();
    let tools: Vec<_> = list("tools").into_iter().map(Tool).collect();
    let thinks = case["kwargs"]["enable_thinking"].as_bool().unwrap_or(case["template"] == "4B");
    let thinking = if thinks { Thinking::On } else { Thinking::Off };
    let segments = match case["add_generation_prompt"] == true {
        true => render(&messages, &tools, thinking),
        false => history(&messages, &tools),
    };
    text(&segments.unwrap())
}

#[test]
fn published_cases_are_rendered_to_the_byte() {
    let cases = std::fs::read(goldens::folder().join("template_goldens.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&cases).unwrap();
    for case in &cases {
        assert_eq!(rendered(case), case["rendered"].as_str().unwrap(), "{} of {}", case["name"], case["template"]);
    }
    assert_eq!(cases.len(), 14);
}

#[test]
fn turns_are_rendered_by_the_rules() {
    let user = ChatMessage::user;
    let thought = |reasoning: &str, content: &str| ChatMessage {
        reasoning: Some(reasoning.to_owned()),
        ..ChatMessage::assistant(content)
    };
    let cases: [(&str, Vec<ChatMessage>, &str); 9] = [
        ("text is trimmed", vec![user(" Hi \n")], "[user\nHi]\n"),
        (
            "no default system prompt",
            vec![ChatMessage::system(" Be brief.\n"), user("Hi")],
            "[system\nBe brief.]\n[user\nHi]\n",
        ),
        ("an empty system prompt stands", vec![ChatMessage::system(" "), user("Hi")], "[system\n]\n[user\nHi]\n"),
        (
            "thoughts vanish from history",
            vec![
                user("A?"),
                thought("Hm.", "B."),
                user("C?"),
                ChatMessage::assistant("<think>\nr\n</think>\n\nD."),
                user("E?"),
            ],
            "[user\nA?]\n[assistant\nB.]\n[user\nC?]\n[assistant\nD.]\n[user\nE?]\n",
        ),
        (
            "thoughts on the present question stay",
            vec![user("A?"), thought(" Hm.\n", "B.")],
            "[user\nA?]\n[assistant\n<think>\nHm.\n</think>\n\nB.]\n",
        ),
        (
            "even empty ones",
            vec![user("A?"), ChatMessage::assistant("B.")],
            "[user\nA?]\n[assistant\n<think>\n\n</think>\n\nB.]\n",
        ),
        (
            "the first end and the last beginning bound a thought",
            vec![user("A?"), ChatMessage::assistant("x<think>y<think>\nz\n\n</think>u</think>\n\nv")],
            "[user\nA?]\n[assistant\n<think>\nz\n</think>\n\nv]\n",
        ),
        (
            "a result dressed as the user's words is no question",
            vec![user("A?"), ChatMessage::assistant("B."), user("<tool_response>5</tool_response>")],
            "[user\nA?]\n[assistant\n<think>\n\n</think>\n\nB.]\n[user\n<tool_response>5</tool_response>]\n",
        ),
        (
            "results in a row share a turn",
            vec![
                user("A?"),
                ChatMessage::tool(" 1 "),
                ChatMessage::tool("2"),
                ChatMessage::assistant("B."),
                ChatMessage::tool("3"),
            ],
            "[user\nA?]\n[user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>]\n\
             [assistant\n<think>\n\n</think>\n\nB.]\n[user\n<tool_response>\n3\n</tool_response>]\n",
        ),
    ];
    for (case, messages, wanted) in cases {
        let wanted = wanted.replace('[', "<|im_start|>").replace(']', "<|im_end|>");
        assert_eq!(text(&history(&messages, &[]).unwrap()), wanted, "{case}");
        let thinks = text(&render(&messages, &[], Thinking::On).unwrap());
        assert_eq!(thinks, wanted.clone() + "<|im_start|>assistant\n<think>\n", "{case}");
        let answers = text(&render(&messages, &[], Thinking::Off).unwrap());
        assert_eq!(answers, wanted + "<|im_start|>assistant\n<think>\n\n</think>\n\n", "{case}");
    }
}

#[test]
fn calls_are_written_as_the_models_write_them() {
    let arguments = json!({"s": "a\nb", "n": 1, "x": 1e-5, "b": false, "z": null, "o": {"k": [1, "é"]}});
    let call = |arguments: &Value| ToolCall { name: "f".to_owned(), arguments: arguments.as_object().unwrap().clone() };
    let first = "<tool_call>\n<function=f>\n<parameter=s>\na\nb\n</parameter>\n<parameter=n>\n1\n</parameter>\n\
                 <parameter=x>\n1e-05\n</parameter>\n<parameter=b>\nFalse\n</parameter>\n<parameter=z>\nNone\n</parameter>\n\
                 <parameter=o>\n{\"k\": [1, \"é\"]}\n</parameter>\n</function>\n</tool_call>";
    let second = "<tool_call>\n<function=f>\n</function>\n</tool_call>";
    for (content, before) in [("Sure.", "Sure.\n\n"), ("", ""), (" \n", "")] {
        let calls = vec![call(&arguments), call(&json!({}))];
        let said = ChatMessage { tool_calls: calls, ..ChatMessage::assistant(content) };
        let written = text(&history(&[ChatMessage::user("do"), said], &[]).unwrap());
        assert!(written.ends_with(&format!("</think>\n\n{before}{first}\n{second}<|im_end|>\n")), "{written}");
    }
}

#[test]
fn tools_open_the_system_turn() {
    let tool = Tool(json!({"name": "t", "d": "é<>&'\"", "a": [1, {"z": true}]}));
    let shown =
        "\n<tools>\n{\"name\": \"t\", \"d\": \"é<>&'\\\"\", \"a\": [1, {\"z\": true}]}\n</tools>\n\nIf you choose";
    for (messages, end) in [
        (vec![ChatMessage::user("x")], "</IMPORTANT><|im_end|>\n<|im_start|>user\nx<|im_end|>\n"),
        (
            vec![ChatMessage::system(" "), ChatMessage::user("x")],
            "</IMPORTANT><|im_end|>\n<|im_start|>user\nx<|im_end|>\n",
        ),
        (
            vec![ChatMessage::system("Be brief. "), ChatMessage::user("x")],
            "</IMPORTANT>\n\nBe brief.<|im_end|>\n<|im_start|>user\nx<|im_end|>\n",
        ),
    ] {
        let written = text(&history(&messages, std::slice::from_ref(&tool)).unwrap());
        assert!(written.starts_with("<|im_start|>system\n# Tools\n\nYou have access to"), "{written}");
        assert!(written.contains(shown) && written.ends_with(end), "{written}");
    }
}

#[test]
fn impossible_conversations_are_refused() {
    let cases = [
        (vec![], TemplateError::Empty),
        (vec![ChatMessage::user("a"), ChatMessage::system("b")], TemplateError::LateSystem { at: 1 }),
        (vec![ChatMessage::system("a"), ChatMessage::system("b")], TemplateError::LateSystem { at: 1 }),
        (vec![ChatMessage::system("a"), ChatMessage::assistant("b")], TemplateError::NoQuestion),
        (vec![ChatMessage::user("<tool_response>1</tool_response>")], TemplateError::NoQuestion),
    ];
    for (messages, wanted) in cases {
        assert_eq!(render(&messages, &[], Thinking::Off), Err(wanted), "{messages:?}");
    }
}

/// ChatFormat::Qwen35 over the test vocabulary.
fn format(tokenizer: &Tokenizer) -> ChatFormat {
    ChatFormat::from_template(Path::new("m"), Some("{% if enable_thinking %}<function=f>"), tokenizer).unwrap()
}

#[test]
fn markers_are_tokens_and_typed_ones_are_text() {
    let tokenizer = testing::qwen35();
    let format = format(&tokenizer);
    let id = |marker: Marker| tokenizer.control(marker.name()).unwrap();
    let typed = Marker::ALL.map(Marker::name).concat();
    let call = ToolCall { name: typed.clone(), arguments: json!({ &typed: typed }).as_object().unwrap().clone() };
    let messages = [
        ChatMessage::system(typed.as_str()),
        ChatMessage::user(typed.clone() + "?"),
        ChatMessage {
            reasoning: Some(typed.clone()),
            tool_calls: vec![call],
            ..ChatMessage::assistant(typed.as_str())
        },
        ChatMessage::tool(typed.as_str()),
    ];
    let tools = [Tool(json!({ "name": typed }))];
    let segments = format.render(&messages, &tools, Thinking::Off).unwrap();
    let tokens = format.tokens(&tokenizer, &segments).unwrap();
    // The tools block contains one call and one pair of tags, as in the published template.
    let wanted = [(Marker::Start, 5), (Marker::End, 4), (Marker::Think, 2), (Marker::EndThink, 2)];
    for (marker, count) in wanted.into_iter().chain([
        (Marker::ToolCall, 3),
        (Marker::EndToolCall, 3),
        (Marker::ToolResponse, 1),
        (Marker::EndToolResponse, 1),
    ]) {
        assert_eq!(tokens.iter().filter(|&&token| token == id(marker)).count(), count, "{marker:?}");
    }
    let name = |&token: &u32| match token {
        t if t == id(Marker::Start) => Marker::Start.name().to_owned(),
        t if t == id(Marker::End) => Marker::End.name().to_owned(),
        t => String::from_utf8_lossy(tokenizer.bytes(t)).into_owned(),
    };
    assert_eq!(tokens.iter().map(name).collect::<String>(), text(&segments), "and both renderings say the same");
}

#[test]
fn a_prompt_is_its_system_turn_and_its_question() {
    let (tokenizer, plain) = (testing::qwen35(), tables::tokenizer("qwen2"));
    let chatml = tables::chatml(&plain);
    assert!(matches!(chatml, ChatFormat::ChatMl(_)));
    for (format, tokenizer) in [(format(&tokenizer), tokenizer), (chatml, plain)] {
        let messages = [ChatMessage::system("Be brief."), ChatMessage::user("Hi")];
        let whole = format.render(&messages, &[], Thinking::Off).unwrap();
        let parts = [format.system(&tokenizer, "Be brief.").unwrap(), format.question(&tokenizer, "Hi").unwrap()];
        assert_eq!(format.tokens(&tokenizer, &whole).unwrap(), parts.concat());
        let closing: Vec<u32> = format.closing().collect();
        assert!(parts[0].ends_with(&closing) && closing.len() == 2);
    }
}

#[test]
fn chatml_has_no_tools() {
    let chatml = tables::chatml(&tables::tokenizer("qwen2"));
    let tools = [Tool(json!({}))];
    for (messages, tools) in [(vec![ChatMessage::user("a")], &tools[..]), (vec![ChatMessage::tool("a")], &[])] {
        let refused = chatml.render(&messages, tools, Thinking::Off);
        assert_eq!(refused, Err(TemplateError::NotInChatMl { what: "tools" }));
    }
    assert_eq!(chatml.render(&[], &[], Thinking::Off), Err(TemplateError::Empty));
}

#[test]
fn a_vocabulary_without_the_markers_is_refused_by_name() {
    let refused = Qwen35::new(Path::new("m"), &tables::tokenizer("qwen2")).unwrap_err().to_string();
    assert!(refused.contains("<think>"), "{refused}");
}

/// `SOTTO_QWEN35_TOKENIZER` names a tokenizer.json with the published vocabulary.
#[test]
#[ignore = "needs the published vocabulary of Qwen3.5, which is in no package registry"]
fn the_published_prompts_come_out() {
    let path = std::env::var_os("SOTTO_QWEN35_TOKENIZER").expect("SOTTO_QWEN35_TOKENIZER names a tokenizer.json");
    let tokenizer = Tokenizer::from_json(Path::new(&path)).unwrap();
    let format = format(&tokenizer);
    let ready = vec![ChatMessage::user("Reply with the single word: ready")];
    let sum = vec![ChatMessage::system("You are a helpful assistant."), ChatMessage::user("What is 2+2?")];
    let ready_ids = [248045, 846, 198, 20206, 440, 279, 3074, 3299, 25, 5354, 248046, 198, 248045, 74455, 198, 248068];
    let sum_ids = [
        248045, 8678, 198, 2523, 513, 264, 10631, 17313, 13, 248046, 198, 248045, 846, 198, 3710, 369, 220, 17, 10, 17,
        30, 248046, 198, 248045, 74455, 198, 248068,
    ];
    for (messages, ids) in [(ready, &ready_ids[..]), (sum, &sum_ids)] {
        for (thinking, end) in [(Thinking::Off, &[271, 248069, 271][..]), (Thinking::On, &[198])] {
            let segments = format.render(&messages, &[], thinking).unwrap();
            assert_eq!(format.tokens(&tokenizer, &segments).unwrap(), [ids, end].concat());
        }
    }
}
