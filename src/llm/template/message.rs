//! Messages and tools of a conversation.

use serde_json::{Map, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageRole {
    System,
    User,
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl MessageRole {
    pub fn name(self) -> &'static str {
        match self {
            MessageRole::System => "system",
            MessageRole::User => "user",
            MessageRole::Assistant => "assistant",
            MessageRole::Tool => "tool",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ChatMessage {
    pub role: MessageRole,
    pub content: String,
    /// Thought of the assistant before its answer. If absent, it is looked for in `content`, as the
    /// text up to `</think>`.
    pub reasoning: Option<String>,
    /// Tool calls of the assistant, in order.
    pub tool_calls: Vec<ToolCall>,
}

impl ChatMessage {
    pub fn new(role: MessageRole, content: impl Into<String>) -> Self {
        ChatMessage { role, content: content.into(), reasoning: None, tool_calls: Vec::new() }
    }

    pub fn system(content: impl Into<String>) -> Self {
        Self::new(MessageRole::System, content)
    }

    pub fn user(content: impl Into<String>) -> Self {
        Self::new(MessageRole::User, content)
    }

    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new(MessageRole::Assistant, content)
    }

    /// Creates a message with the result of a tool.
    pub fn tool(content: impl Into<String>) -> Self {
        Self::new(MessageRole::Tool, content)
    }
}

/// A call of a function by the assistant. The arguments keep their order.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    pub name: String,
    pub arguments: Map<String, Value>,
}

/// A function the assistant may call, as its JSON description: `{"type": "function", "function":
/// {"name", …}}` or the inner object alone. It is shown to the model unchanged, with the order of
/// its keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool(pub Value);

impl Tool {
    pub fn name(&self) -> Option<&str> {
        self.function()["name"].as_str()
    }

    /// Schema of one of its parameters.
    pub fn parameter(&self, name: &str) -> Option<&Value> {
        self.function()["parameters"]["properties"].get(name)
    }

    fn function(&self) -> &Value {
        self.0.get("function").unwrap_or(&self.0)
    }
}

/// Whether the model thinks before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thinking {
    /// The default of Qwen3.5 0.8B and 2B.
    #[default]
    Off,
    On,
}
