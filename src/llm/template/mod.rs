//! Rendering of messages to a prompt: the chat formats of the supported models.
//!
//! The renderers write [`TemplateSegment`]s: markers, which become tokens by id, and ordinary text,
//! which the tokenizer splits and which can never become a marker. The same rendering serves the
//! model (as tokens) and people (as text).

mod chatml;
mod message;
mod python;
mod qwen35;
#[cfg(test)]
mod tests;

use std::path::Path;

use super::LlmError;
use super::tokenizer::Tokenizer;
pub use chatml::ChatMl;
pub use message::{ChatMessage, MessageRole, Thinking, Tool, ToolCall};
pub use qwen35::{Qwen35, history, render};

/// A part of a prompt. Two texts are never adjacent.
#[derive(Clone, Debug, PartialEq)]
pub enum TemplateSegment {
    Marker(Marker),
    Text(String),
}

/// Tokens that a chat format inserts by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    Start,
    End,
    Think,
    EndThink,
    ToolCall,
    EndToolCall,
    ToolResponse,
    EndToolResponse,
}

impl Marker {
    pub const ALL: [Marker; 8] = [
        Marker::Start,
        Marker::End,
        Marker::Think,
        Marker::EndThink,
        Marker::ToolCall,
        Marker::EndToolCall,
        Marker::ToolResponse,
        Marker::EndToolResponse,
    ];

    /// Name of the marker in the vocabulary.
    pub fn name(self) -> &'static str {
        match self {
            Marker::Start => "<|im_start|>",
            Marker::End => "<|im_end|>",
            Marker::Think => "<think>",
            Marker::EndThink => "</think>",
            Marker::ToolCall => "<tool_call>",
            Marker::EndToolCall => "</tool_call>",
            Marker::ToolResponse => "<tool_response>",
            Marker::EndToolResponse => "</tool_response>",
        }
    }
}

impl std::fmt::Display for TemplateSegment {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            TemplateSegment::Marker(marker) => marker.name(),
            TemplateSegment::Text(text) => text,
        })
    }
}

/// Joins the whole prompt as one text, for people and tests. It must never be tokenized: a marker
/// typed by a user is indistinguishable from a real one in it.
pub fn text(segments: &[TemplateSegment]) -> String {
    segments.iter().map(TemplateSegment::to_string).collect()
}

/// Errors in the messages of a conversation.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("there are no messages; send at least one of the user")]
    Empty,
    #[error("message {at} is a system message, but only the first may be; put its text into message 0")]
    LateSystem { at: usize },
    #[error("no message is a question of the user; send at least one that is not a tool's answer")]
    NoQuestion,
    #[error("this model's chat format (ChatML) has no {what}; choose a Qwen3.5 model or leave them out")]
    NotInChatMl { what: &'static str },
}

/// Chat format of a model, according to its own template.
#[derive(Clone, Debug)]
pub enum ChatFormat {
    ChatMl(ChatMl),
    Qwen35(Qwen35),
}

impl ChatFormat {
    /// Detects the format of `template` (a Jinja text). `path` is the model's, for the error.
    pub fn from_template(path: &Path, template: Option<&str>, tokenizer: &Tokenizer) -> Result<Self, LlmError> {
        // Qwen3 thinks too but calls tools in JSON; Qwen3-Coder calls them in this way but does not
        // think.
        let is_qwen35 = |text: &str| text.contains("<function=") && text.contains("enable_thinking");
        match template {
            Some(text) if is_qwen35(text) => Qwen35::new(path, tokenizer).map(ChatFormat::Qwen35),
            _ => ChatMl::from_template(path, template, tokenizer).map(ChatFormat::ChatMl),
        }
    }

    /// Returns the thinking mode in effect if `asked` is requested: ChatML has none.
    pub fn thinking(&self, asked: Thinking) -> Thinking {
        match self {
            ChatFormat::ChatMl(_) => Thinking::Off,
            ChatFormat::Qwen35(_) => asked,
        }
    }

    /// Renders the prompt for the next answer to `messages`. ChatML supports neither tools nor
    /// thinking.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        tools: &[Tool],
        thinking: Thinking,
    ) -> Result<Vec<TemplateSegment>, TemplateError> {
        match self {
            ChatFormat::ChatMl(_) => chatml::render(messages, tools),
            ChatFormat::Qwen35(_) => render(messages, tools, thinking),
        }
    }

    /// Renders the messages that follow an answer: questions of the user and results of tools, and
    /// the opening of the next answer. `None` if the whole prompt must be rendered.
    pub fn more(&self, messages: &[ChatMessage], thinking: Thinking) -> Option<Vec<TemplateSegment>> {
        let is = |role: MessageRole| move |message: &ChatMessage| message.role == role;
        match self {
            _ if messages.is_empty() => None,
            ChatFormat::ChatMl(_) if messages.iter().all(is(MessageRole::User)) => chatml::render(messages, &[]).ok(),
            ChatFormat::Qwen35(_) if messages.iter().all(|m| is(MessageRole::User)(m) || is(MessageRole::Tool)(m)) => {
                Some(qwen35::more(messages, thinking))
            }
            _ => None,
        }
    }

    /// Tokenizes a prompt from its beginning.
    pub fn prompt(&self, tokenizer: &Tokenizer, segments: &[TemplateSegment]) -> Result<Vec<u32>, LlmError> {
        Ok(tokenizer.begin().into_iter().chain(self.tokens(tokenizer, segments)?).collect())
    }

    /// Tokenizes a part of a prompt.
    pub fn tokens(&self, tokenizer: &Tokenizer, segments: &[TemplateSegment]) -> Result<Vec<u32>, LlmError> {
        let mut tokens = Vec::new();
        for segment in segments {
            match segment {
                TemplateSegment::Text(text) => tokens.extend(tokenizer.encode(text)?),
                TemplateSegment::Marker(marker) => match tokenizer.control(marker.name()) {
                    Some(token) => tokens.push(token),
                    // A small vocabulary may lack the markers of tools; then they are text, as in
                    // every tokenizer.
                    None => tokens.extend(tokenizer.encode(marker.name())?),
                },
            }
        }
        Ok(tokens)
    }

    /// Tokenizes the system turn, which begins every prompt.
    pub fn system(&self, tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, LlmError> {
        let segments = match self {
            ChatFormat::ChatMl(_) => chatml::system(text),
            ChatFormat::Qwen35(_) => qwen35::system(text, &[]),
        };
        self.prompt(tokenizer, &segments)
    }

    /// Renders a system turn that describes `tools`; `None` if the format does not support them.
    pub fn system_with_tools(&self, text: &str, tools: &[Tool]) -> Option<Vec<TemplateSegment>> {
        match self {
            ChatFormat::ChatMl(_) => None,
            ChatFormat::Qwen35(_) => Some(qwen35::system(text, tools)),
        }
    }

    /// Tokenizes the user's message and the opening of the answer, without thinking.
    pub fn question(&self, tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, LlmError> {
        let segments = match self {
            ChatFormat::ChatMl(_) => chatml::question(text),
            ChatFormat::Qwen35(_) => qwen35::question(text, Thinking::Off),
        };
        self.tokens(tokenizer, &segments)
    }

    /// Tokens that end a message.
    pub fn closing(&self) -> impl Iterator<Item = u32> {
        let (end, newline) = match self {
            ChatFormat::ChatMl(format) => format.ending(),
            ChatFormat::Qwen35(format) => format.ending(),
        };
        std::iter::once(end).chain(newline.iter().copied())
    }
}
