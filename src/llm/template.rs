//! The chat format of the supported models: ChatML.
//!
//! `<|im_start|>ROLE\nTEXT<|im_end|>\n` for each message, and `<|im_start|>assistant\n` where the answer begins. The
//! renderer is our own and works in tokens: the two markers are put in by id, everything between them is ordinary
//! text. A model whose own template (`tokenizer.chat_template`) is of another kind is refused by name. The default
//! system prompts that such templates carry never apply, since Sotto always passes its own.

use super::LlmError;
use super::gguf::Gguf;
use super::tokenizer::Tokenizer;

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
        let refuse = |what: &str| gguf.unsupported(what, "ChatML with <|im_start|> and <|im_end|>");
        let Some(template) = gguf.text("tokenizer.chat_template")? else {
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

    fn opening(&self, tokenizer: &Tokenizer, role: &str, text: &str) -> Result<Vec<u32>, LlmError> {
        let mut tokens = vec![self.start];
        // Cut as one text, as the models saw it in training: a newline may join what follows it.
        tokens.extend(tokenizer.encode(&format!("{role}\n{text}"))?);
        Ok(tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
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
