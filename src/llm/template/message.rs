//! What is said in a conversation, and with which tools.

use serde_json::{Map, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub role: Role,
    pub content: String,
    /// What the assistant thought before it spoke. Where there is none it is looked for in `content`, as the text up
    /// to `</think>`.
    pub reasoning: Option<String>,
    /// What the assistant called, in order.
    pub tool_calls: Vec<ToolCall>,
}

impl Message {
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Message { role, content: content.into(), reasoning: None, tool_calls: Vec::new() }
    }

    pub fn system(content: impl Into<String>) -> Self {
        Self::new(Role::System, content)
    }

    pub fn user(content: impl Into<String>) -> Self {
        Self::new(Role::User, content)
    }

    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new(Role::Assistant, content)
    }

    /// What a tool answered.
    pub fn tool(content: impl Into<String>) -> Self {
        Self::new(Role::Tool, content)
    }
}

/// A function that the assistant wants called. The arguments keep their order.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    pub name: String,
    pub arguments: Map<String, Value>,
}

/// A function the assistant may call, as its JSON description: `{"type": "function", "function": {"name", …}}` or
/// the inner object alone. It is shown to the model as it is, with the order of its keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool(pub Value);

impl Tool {
    pub fn name(&self) -> Option<&str> {
        self.function()["name"].as_str()
    }

    /// The schema of one of its parameters.
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
