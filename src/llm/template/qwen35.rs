//! The chat format of Qwen3.5, byte for byte as the template published with the 0.8B and 2B
//! (SHA-256 273d8e0e…).

use std::path::Path;

use super::super::LlmError;
use super::super::tokenizer::Tokenizer;
use super::{ChatMessage, Marker, MessageRole, TemplateError, TemplateSegment, Thinking, Tool, ToolCall, python};

const BEFORE_TOOLS: &str = "# Tools\n\nYou have access to the following functions:\n\n<tools>";
const AFTER_TOOLS: &str = "
</tools>

If you choose to call a function ONLY reply in the following format with NO suffix:

<tool_call>
<function=example_function_name>
<parameter=example_parameter_1>
value_1
</parameter>
<parameter=example_parameter_2>
This is the value for the second parameter
that can span
multiple lines
</parameter>
</function>
</tool_call>

<IMPORTANT>
Reminder:
- Function calls MUST follow the specified format: an inner <function=...></function> block must be nested within \
<tool_call></tool_call> XML tags
- Required parameters MUST be specified
- You may provide optional reasoning for your function call in natural language BEFORE the function call, but NOT after
- If there is no function call available, answer the question like normal with your current knowledge and do not tell \
the user about function calls
</IMPORTANT>";

/// Token ids that this format needs from a vocabulary.
#[derive(Clone, Debug)]
pub struct Qwen35 {
    end: u32,
    think: u32,
    end_think: u32,
    tool_call: Option<u32>,
    newline: Vec<u32>,
    blank_line: Vec<u32>,
}

impl Qwen35 {
    /// Looks up the markers; fails if the vocabulary lacks one. `path` is the model's, for the
    /// error.
    pub fn new(path: &Path, tokenizer: &Tokenizer) -> Result<Self, LlmError> {
        let find = |marker: Marker| {
            tokenizer.control(marker.name()).ok_or_else(|| LlmError::Unsupported {
                path: path.to_owned(),
                what: format!("a vocabulary without {}", marker.name()),
                supported: "the markers of Qwen3.5's chat format".to_owned(),
            })
        };
        find(Marker::Start)?;
        Ok(Qwen35 {
            end: find(Marker::End)?,
            think: find(Marker::Think)?,
            end_think: find(Marker::EndThink)?,
            tool_call: tokenizer.control(Marker::ToolCall.name()),
            newline: tokenizer.encode("\n")?,
            blank_line: tokenizer.encode("\n\n")?,
        })
    }

    /// Id of `<think>`, which must never be sampled while thinking is off.
    pub fn think(&self) -> u32 {
        self.think
    }

    pub fn end_think(&self) -> u32 {
        self.end_think
    }

    pub fn tool_call(&self) -> Option<u32> {
        self.tool_call
    }

    /// Tokens that close a thought: `\n</think>\n\n`, without the first newline `after_newline`.
    pub fn close_thought(&self, after_newline: bool) -> impl Iterator<Item = u32> {
        let newline = if after_newline { &[] } else { &self.newline[..] };
        newline.iter().chain([&self.end_think]).chain(&self.blank_line).copied()
    }

    pub(super) fn ending(&self) -> (u32, &[u32]) {
        (self.end, &self.newline)
    }
}

/// Renders the prompt for the next answer to `messages`.
pub fn render(
    messages: &[ChatMessage],
    tools: &[Tool],
    thinking: Thinking,
) -> Result<Vec<TemplateSegment>, TemplateError> {
    let mut prompt = Prompt(history(messages, tools)?);
    prompt.answer(thinking);
    Ok(prompt.0)
}

/// Renders `messages` without the opening of a next answer.
pub fn history(messages: &[ChatMessage], tools: &[Tool]) -> Result<Vec<TemplateSegment>, TemplateError> {
    let first = messages.first().ok_or(TemplateError::Empty)?;
    if let Some(at) = messages.iter().skip(1).position(|message| message.role == MessageRole::System) {
        return Err(TemplateError::LateSystem { at: at + 1 });
    }
    let last_query = messages.iter().rposition(is_query).ok_or(TemplateError::NoQuestion)?;

    let mut prompt = Prompt::default();
    match first.role {
        MessageRole::System => prompt.system(&first.content, tools),
        _ if !tools.is_empty() => prompt.system("", tools),
        _ => {}
    }
    prompt.turns(messages, Some(last_query));
    Ok(prompt.0)
}

/// Renders questions and results of tools after an answer, and the opening of the next answer.
pub(super) fn more(messages: &[ChatMessage], thinking: Thinking) -> Vec<TemplateSegment> {
    let mut prompt = Prompt::default();
    prompt.turns(messages, None);
    prompt.answer(thinking);
    prompt.0
}

/// Renders a system turn alone.
pub(super) fn system(text: &str, tools: &[Tool]) -> Vec<TemplateSegment> {
    let mut prompt = Prompt::default();
    prompt.system(text, tools);
    prompt.0
}

/// Renders a turn of the user and the opening of the answer.
pub(super) fn question(text: &str, thinking: Thinking) -> Vec<TemplateSegment> {
    let mut prompt = Prompt::default();
    prompt.user(text);
    prompt.answer(thinking);
    prompt.0
}

/// Whether the message is a question of the user; results of tools may have the user's role.
fn is_query(message: &ChatMessage) -> bool {
    let content = strip(&message.content);
    let is_result = content.starts_with("<tool_response>") && content.ends_with("</tool_response>");
    message.role == MessageRole::User && !is_result
}

/// A prompt being rendered. [`Prompt::write`] is for the template's own text, which may contain
/// markers; [`Prompt::quote`] for other text, which may not.
#[derive(Default)]
struct Prompt(Vec<TemplateSegment>);

impl Prompt {
    /// Renders the turns. Thoughts are shown in answers after the `last_query`.
    fn turns(&mut self, messages: &[ChatMessage], last_query: Option<usize>) {
        let is_tool = |at: usize| messages.get(at).is_some_and(|message| message.role == MessageRole::Tool);
        for (at, message) in messages.iter().enumerate() {
            match message.role {
                MessageRole::System => {}
                MessageRole::User => self.user(&message.content),
                MessageRole::Assistant => self.assistant(message, last_query.is_none_or(|query| at > query)),
                MessageRole::Tool => self.result(&message.content, at == 0 || !is_tool(at - 1), !is_tool(at + 1)),
            }
        }
    }

    fn system(&mut self, content: &str, tools: &[Tool]) {
        let content = strip(content);
        self.write("<|im_start|>system\n");
        if !tools.is_empty() {
            self.tools(tools);
            self.write(if content.is_empty() { "" } else { "\n\n" });
        }
        self.quote(content);
        self.write("<|im_end|>\n");
    }

    fn tools(&mut self, tools: &[Tool]) {
        self.write(BEFORE_TOOLS);
        for tool in tools {
            self.write("\n");
            self.quote(&python::json(&tool.0));
        }
        self.write(AFTER_TOOLS);
    }

    fn user(&mut self, content: &str) {
        self.write("<|im_start|>user\n");
        self.quote(strip(content));
        self.write("<|im_end|>\n");
    }

    /// Renders an answer. Its thought is shown only while the present question is being answered.
    fn assistant(&mut self, message: &ChatMessage, shows_thought: bool) {
        let (thought, content) = thought_and_content(message);
        self.write("<|im_start|>assistant\n");
        if shows_thought {
            self.write("<think>\n");
            self.quote(strip(thought));
            self.write("\n</think>\n\n");
        }
        self.quote(content);
        for (at, call) in message.tool_calls.iter().enumerate() {
            self.write(match at {
                0 if strip(content).is_empty() => "",
                0 => "\n\n",
                _ => "\n",
            });
            self.call(call);
        }
        self.write("<|im_end|>\n");
    }

    fn call(&mut self, call: &ToolCall) {
        self.write("<tool_call>\n<function=");
        self.quote(&call.name);
        self.write(">\n");
        for (name, value) in &call.arguments {
            self.write("<parameter=");
            self.quote(name);
            self.write(">\n");
            self.quote(&python::plain(value));
            self.write("\n</parameter>\n");
        }
        self.write("</function>\n</tool_call>");
    }

    /// Renders a result. Consecutive results share one turn of the user.
    fn result(&mut self, content: &str, is_first: bool, is_last: bool) {
        self.write(if is_first { "<|im_start|>user" } else { "" });
        self.write("\n<tool_response>\n");
        self.quote(strip(content));
        self.write("\n</tool_response>");
        self.write(if is_last { "<|im_end|>\n" } else { "" });
    }

    fn answer(&mut self, thinking: Thinking) {
        self.write("<|im_start|>assistant\n<think>\n");
        self.write(match thinking {
            Thinking::On => "",
            Thinking::Off => "\n</think>\n\n",
        });
    }

    fn write(&mut self, mut template: &'static str) {
        let first = |text: &str| {
            let found = Marker::ALL.into_iter().filter_map(|marker| Some((text.find(marker.name())?, marker)));
            found.min_by_key(|&(at, _)| at)
        };
        while let Some((at, marker)) = first(template) {
            self.quote(&template[..at]);
            self.0.push(TemplateSegment::Marker(marker));
            template = &template[at + marker.name().len()..];
        }
        self.quote(template);
    }

    fn quote(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(TemplateSegment::Text(last)) => last.push_str(text),
            _ => self.0.push(TemplateSegment::Text(text.to_owned())),
        }
    }
}

/// Separates the assistant's thought from its answer.
fn thought_and_content(message: &ChatMessage) -> (&str, &str) {
    let content = strip(&message.content);
    let close = Marker::EndThink.name();
    match (&message.reasoning, content.find(close), content.rfind(close)) {
        (Some(reasoning), ..) => (reasoning, content),
        (None, Some(first), Some(last)) => {
            let before = content[..first].trim_end_matches('\n');
            let thought = before.rsplit(Marker::Think.name()).next().unwrap_or(before);
            (thought.trim_start_matches('\n'), content[last + close.len()..].trim_start_matches('\n'))
        }
        _ => ("", content),
    }
}

/// Strips like Python's `str.strip`, which also treats the four separators U+001C to U+001F as
/// white space.
fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}
