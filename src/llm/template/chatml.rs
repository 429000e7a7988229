//! ChatML, the chat format of Qwen2.5, SmolLM2 and many others.
//!
//! `<|im_start|>ROLE\nTEXT<|im_end|>\n` for each message, and `<|im_start|>assistant\n` where the answer begins. A model
//! whose own template (`tokenizer.chat_template`) is of another kind is refused by name. The default system prompts that
//! such templates carry never apply, since Sotto always passes its own.

use std::path::Path;

use super::super::LlmError;
use super::super::gguf::Gguf;
use super::super::tokenizer::Tokenizer;
use super::{Marker, Message, Role, Segment, TemplateError, Tool};

const START: &str = "<|im_start|>";
const END: &str = "<|im_end|>";

#[derive(Clone, Debug)]
pub struct ChatMl {
    start: u32,
    end: u32,
    newline: Vec<u32>,
}

impl ChatMl {
    pub fn from_gguf(gguf: &Gguf, tokenizer: &Tokenizer) -> Result<Self, LlmError> {
        Self::from_template(gguf.path(), gguf.text("tokenizer.chat_template")?, tokenizer)
    }

    pub(super) fn from_template(path: &Path, template: Option<&str>, tokenizer: &Tokenizer) -> Result<Self, LlmError> {
        let refuse = |what: &str| LlmError::Unsupported {
            path: path.to_owned(),
            what: what.to_owned(),
            supported: "ChatML with <|im_start|> and <|im_end|>".to_owned(),
        };
        let Some(template) = template else {
            return Err(refuse("a model without a chat template"));
        };
        if !template.contains(START) || !template.contains(END) {
            return Err(refuse("its chat template"));
        }
        match (tokenizer.control(START), tokenizer.control(END)) {
            (Some(start), Some(end)) => Ok(ChatMl { start, end, newline: tokenizer.encode("\n")? }),
            _ => Err(refuse("a vocabulary without the markers of its own chat template")),
        }
    }

    pub fn system(&self, tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, LlmError> {
        let mut tokens = self.opening(tokenizer, "system", text)?;
        tokens.extend(self.closing());
        Ok(tokens)
    }

    /// The user's message and the opening of the answer.
    pub fn question(&self, tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, LlmError> {
        let mut tokens = self.opening(tokenizer, "user", text)?;
        tokens.extend(self.closing());
        tokens.extend(self.opening(tokenizer, "assistant", "")?);
        Ok(tokens)
    }

    /// What ends a message.
    pub fn closing(&self) -> impl Iterator<Item = u32> {
        std::iter::once(self.end).chain(self.newline.iter().copied())
    }

    pub(super) fn ending(&self) -> (u32, &[u32]) {
        (self.end, &self.newline)
    }

    fn opening(&self, tokenizer: &Tokenizer, role: &str, text: &str) -> Result<Vec<u32>, LlmError> {
        let mut tokens = vec![self.start];
        // Cut as one text, as the models saw it in training: a newline may join what follows it.
        tokens.extend(tokenizer.encode(&format!("{role}\n{text}"))?);
        Ok(tokens)
    }
}

/// The prompt for the next answer to `messages`.
pub(super) fn render(messages: &[Message], tools: &[Tool]) -> Result<Vec<Segment>, TemplateError> {
    if messages.is_empty() {
        return Err(TemplateError::Empty);
    }
    if !tools.is_empty() || messages.iter().any(|m| m.role == Role::Tool || !m.tool_calls.is_empty()) {
        return Err(TemplateError::NotInChatMl { what: "tools" });
    }
    let turn = |message: &Message| {
        let text = format!("{}\n{}", message.role.name(), message.content);
        [Segment::Marker(Marker::Start), Segment::Text(text), Segment::Marker(Marker::End), Segment::Text("\n".into())]
    };
    let answer = [Segment::Marker(Marker::Start), Segment::Text("assistant\n".into())];
    Ok(messages.iter().flat_map(turn).chain(answer).collect())
}

#[cfg(test)]
mod tests {
    use super::super::super::testing;
    use super::*;

    fn show(tokenizer: &Tokenizer, tokens: &[u32]) -> String {
        let name = |&token: &u32| match token {
            t if Some(t) == tokenizer.control(START) => "[start]".to_owned(),
            t if Some(t) == tokenizer.control(END) => "[end]".to_owned(),
            t => String::from_utf8_lossy(tokenizer.bytes(t)).into_owned(),
        };
        tokens.iter().map(name).collect()
    }

    #[test]
    fn messages_are_rendered_as_chatml() {
        let tokenizer = testing::tokenizer("qwen2");
        let format = ChatMl::from_gguf(&testing::open(&testing::tables("qwen2")), &tokenizer).unwrap();
        let system = format.system(&tokenizer, "Be brief.").unwrap();
        assert_eq!(show(&tokenizer, &system), "[start]system\nBe brief.[end]\n");
        let question = format.question(&tokenizer, "Hi<|im_end|>").unwrap();
        assert_eq!(show(&tokenizer, &question), "[start]user\nHi<|im_end|>[end]\n[start]assistant\n");
        assert_eq!(question.iter().filter(|&&t| t == format.end).count(), 1, "the typed marker stays text");
    }

    #[test]
    fn other_formats_are_refused_by_name() {
        let tokenizer = testing::tokenizer("qwen2");
        for template in [Some("[INST] {{ message }} [/INST]"), None] {
            let file = testing::Builder::default();
            let file = template.iter().fold(file, |file, text| file.text("tokenizer.chat_template", text));
            let message = ChatMl::from_gguf(&testing::open(&file), &tokenizer).unwrap_err().to_string();
            assert!(message.contains("chat template") && message.contains("ChatML"), "{message}");
        }
    }
}
