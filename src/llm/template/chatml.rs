//! ChatML, the chat format of Qwen2.5, SmolLM2 and many others.
//!
//! Each message is `<|im_start|>ROLE\nTEXT<|im_end|>\n`, and the answer begins after
//! `<|im_start|>assistant\n`. A model whose own template (`tokenizer.chat_template`) is of another
//! kind is refused by name. The default system prompts in such templates never apply, since Sotto
//! always sends its own.

use std::path::Path;

use super::super::LlmError;
use super::super::tokenizer::Tokenizer;
use super::{ChatMessage, Marker, MessageRole, TemplateError, TemplateSegment, Tool};

/// Token ids that this format needs from a vocabulary.
#[derive(Clone, Debug)]
pub struct ChatMl {
    end: u32,
    newline: Vec<u32>,
}

impl ChatMl {
    pub(super) fn from_template(path: &Path, template: Option<&str>, tokenizer: &Tokenizer) -> Result<Self, LlmError> {
        let [start, end] = [Marker::Start, Marker::End].map(Marker::name);
        let refuse = |what: &str| LlmError::Unsupported {
            path: path.to_owned(),
            what: what.to_owned(),
            supported: format!("ChatML with {start} and {end}"),
        };
        let template = template.ok_or_else(|| refuse("a model without a chat template"))?;
        if !template.contains(start) || !template.contains(end) {
            return Err(refuse("its chat template"));
        }
        match (tokenizer.control(start), tokenizer.control(end)) {
            (Some(_), Some(end)) => Ok(ChatMl { end, newline: tokenizer.encode("\n")? }),
            _ => Err(refuse("a vocabulary without the markers of its own chat template")),
        }
    }

    pub(super) fn ending(&self) -> (u32, &[u32]) {
        (self.end, &self.newline)
    }
}

/// Renders the prompt for the next answer to `messages`.
pub(super) fn render(messages: &[ChatMessage], tools: &[Tool]) -> Result<Vec<TemplateSegment>, TemplateError> {
    if messages.is_empty() {
        return Err(TemplateError::Empty);
    }
    if !tools.is_empty() || messages.iter().any(|m| m.role == MessageRole::Tool || !m.tool_calls.is_empty()) {
        return Err(TemplateError::NotInChatMl { what: "tools" });
    }
    let turns = messages.iter().flat_map(|message| turn(message.role, &message.content));
    Ok(turns.chain(answer()).collect())
}

/// Renders a system turn alone.
pub(super) fn system(text: &str) -> Vec<TemplateSegment> {
    turn(MessageRole::System, text).into()
}

/// Renders a turn of the user and the opening of the answer.
pub(super) fn question(text: &str) -> Vec<TemplateSegment> {
    turn(MessageRole::User, text).into_iter().chain(answer()).collect()
}

/// Renders a turn. Role and text are one segment, as in training: a newline may merge with the text
/// after it.
fn turn(role: MessageRole, text: &str) -> [TemplateSegment; 4] {
    let text = format!("{}\n{text}", role.name());
    [
        TemplateSegment::Marker(Marker::Start),
        TemplateSegment::Text(text),
        TemplateSegment::Marker(Marker::End),
        TemplateSegment::Text("\n".into()),
    ]
}

fn answer() -> [TemplateSegment; 2] {
    [TemplateSegment::Marker(Marker::Start), TemplateSegment::Text("assistant\n".into())]
}

#[cfg(test)]
mod tests {
    use super::super::super::testing;
    use super::super::text;
    use super::*;

    #[test]
    fn messages_are_rendered_as_chatml() {
        assert_eq!(text(&system("Be brief.")), "<|im_start|>system\nBe brief.<|im_end|>\n");
        let asked = question("Hi<|im_end|>");
        let whole = "<|im_start|>user\nHi<|im_end|><|im_end|>\n<|im_start|>assistant\n";
        assert_eq!(text(&asked), whole);
        assert_eq!(render(&[ChatMessage::user("Hi<|im_end|>")], &[]).unwrap(), asked);
        let ends = asked.iter().filter(|&segment| *segment == TemplateSegment::Marker(Marker::End)).count();
        assert_eq!(ends, 1, "the typed marker stays text");
    }

    #[test]
    fn other_formats_are_refused_by_name() {
        let tokenizer = testing::tokenizer("qwen2");
        for template in [Some("[INST] {{ message }} [/INST]"), None] {
            let refused = ChatMl::from_template(Path::new("m"), template, &tokenizer).unwrap_err().to_string();
            assert!(refused.contains("chat template") && refused.contains("ChatML"), "{refused}");
        }
    }
}
