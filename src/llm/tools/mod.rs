//! Parser of tool calls in the assistant's answer.
//!
//! The grammar is
//! `<tool_call>\n<function=NAME>\n(<parameter=KEY>\nVALUE\n</parameter>\n)*`
//! `</function>\n</tool_call>`. The parser accepts typical errors of small models: tags that are
//! never closed, parameters in any order, JSON in place of the tags, a call without its outer tag.
//! The end of the turn closes everything. Text before a call is passed on at once, but never a part
//! of a tag.

mod call;
mod json;
#[cfg(test)]
mod tests;

use super::template::{Tool, ToolCall};

/// Size limit of the body of a call. The longest arguments in the training format are files, some
/// kilobytes.
pub const MAX_CALL_BYTES: usize = 64 << 10;
/// Limit of calls in one turn; more mean that the model repeats itself.
pub const MAX_CALLS: usize = 32;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";
const FUNCTION: &str = "<function=";
const END_FUNCTION: &str = "</function>";
/// Tags that are recognised outside of a call.
const TAGS: [&str; 4] = [OPEN, CLOSE, FUNCTION, END_FUNCTION];
/// Shortest piece of a tag that is dropped at the end of a turn. A shorter one may be the end of `1
/// <` or of `</p`.
const HALF_TAG: usize = "<func".len();

/// A part of the assistant's answer, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum ParsedPart {
    Text(String),
    Call(ToolCall),
    /// A call that cannot be parsed, and the reason.
    Broken {
        why: String,
    },
}

/// Incremental parser of an answer. The division into pieces only affects how text is divided.
pub struct ToolParser {
    tools: Vec<Tool>,
    place: Place,
    /// Pending text. Outside of calls: the possible beginning of a tag, or white space before one.
    /// Inside: the body so far.
    pending: String,
    calls: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Text,
    Call {
        /// Whether the call began with a `<function=` without a `<tool_call>` around it.
        bare: bool,
        /// Whether the body exceeded the size limit.
        too_long: bool,
    },
}

impl ToolParser {
    /// Creates a parser. The tools determine the types of the values. Calls of unknown tools are
    /// parsed too: the caller decides about them.
    pub fn new(tools: &[Tool]) -> Self {
        ToolParser { tools: tools.to_vec(), place: Place::Text, pending: String::new(), calls: 0 }
    }

    /// Takes the next piece of the answer, and returns the complete parts.
    pub fn push(&mut self, text: &str) -> Vec<ParsedPart> {
        self.pending.push_str(text);
        let mut parts = Vec::new();
        while match self.place {
            Place::Text => self.read_text(&mut parts),
            Place::Call { bare, too_long } => self.read_call(bare, too_long, &mut parts),
        } {}
        parts
    }

    /// Ends the turn, which closes all open tags.
    pub fn finish(&mut self) -> Vec<ParsedPart> {
        let mut parts = Vec::new();
        let rest = std::mem::take(&mut self.pending);
        match std::mem::replace(&mut self.place, Place::Text) {
            Place::Text => {
                let half = half_tag(&rest);
                let kept = if half >= HALF_TAG { rest.len() - half } else { rest.len() };
                // White space at the end is dropped, as the history of a conversation has none.
                say(rest[..kept].trim_end(), &mut parts);
            }
            Place::Call { too_long, .. } => self.close(&rest, too_long, &mut parts),
        }
        parts
    }

    /// Passes text on up to the next tag. Returns false if more input is needed.
    fn read_text(&mut self, parts: &mut Vec<ParsedPart>) -> bool {
        let Some((at, tag)) = first_of(&self.pending, &TAGS) else {
            let certain = self.pending.len() - half_tag(&self.pending);
            let certain = self.pending[..certain].trim_end().len();
            say(&self.pending[..certain], parts);
            self.pending.drain(..certain);
            return false;
        };
        say(self.pending[..at].trim_end(), parts);
        // The body of a bare function begins with its tag. An end tag without a beginning is
        // dropped.
        self.pending.drain(..if tag == FUNCTION { at } else { at + tag.len() });
        if tag == FUNCTION || tag == OPEN {
            self.place = Place::Call { bare: tag == FUNCTION, too_long: false };
        }
        true
    }

    /// Waits for the end of a call. Returns false if more input is needed.
    fn read_call(&mut self, bare: bool, too_long: bool, parts: &mut Vec<ParsedPart>) -> bool {
        let ends: &[&str] = if bare { &[CLOSE, END_FUNCTION, OPEN] } else { &[CLOSE, OPEN] };
        let Some((at, tag)) = first_of(&self.pending, ends) else {
            self.bound(bare, too_long, parts);
            return false;
        };
        let body: String = self.pending.drain(..at).collect();
        // A next call may begin without the end of the one before.
        self.pending.drain(..if tag == OPEN { 0 } else { tag.len() });
        self.place = Place::Text;
        self.close(&body, too_long, parts);
        true
    }

    /// Discards a body that exceeds the limit, except for the possible beginning of its end tag.
    fn bound(&mut self, bare: bool, mut too_long: bool, parts: &mut Vec<ParsedPart>) {
        if !too_long && self.pending.len() > MAX_CALL_BYTES + CLOSE.len() {
            too_long = true;
            self.place = Place::Call { bare, too_long };
            parts.push(ParsedPart::too_long());
        }
        if too_long {
            self.pending.drain(..self.pending.len() - half_tag(&self.pending));
        }
    }

    fn close(&mut self, body: &str, too_long: bool, parts: &mut Vec<ParsedPart>) {
        if too_long {
            return;
        }
        if body.len() > MAX_CALL_BYTES {
            return parts.push(ParsedPart::too_long());
        }
        let calls = call::read(body, &self.tools);
        if calls.is_empty() {
            parts.push(ParsedPart::Broken { why: "the tool call names no function".to_owned() });
        }
        for call in calls {
            self.calls += 1;
            match self.calls {
                ..=MAX_CALLS => parts.push(ParsedPart::Call(call)),
                n if n == MAX_CALLS + 1 => {
                    parts.push(ParsedPart::Broken {
                        why: format!("a turn may have {MAX_CALLS} tool calls; the rest is ignored"),
                    });
                }
                _ => {}
            }
        }
    }
}

impl ParsedPart {
    fn too_long() -> Self {
        ParsedPart::Broken { why: format!("the tool call is longer than {MAX_CALL_BYTES} bytes") }
    }
}

fn say(text: &str, parts: &mut Vec<ParsedPart>) {
    if !text.is_empty() {
        parts.push(ParsedPart::Text(text.to_owned()));
    }
}

/// First tag in `text`, and its offset.
fn first_of<'a>(text: &str, tags: &[&'a str]) -> Option<(usize, &'a str)> {
    tags.iter().filter_map(|&tag| Some((text.find(tag)?, tag))).min()
}

/// Number of bytes at the end of `text` that may be the beginning of a tag.
fn half_tag(text: &str) -> usize {
    let beginning = |tag: &str| (1..tag.len()).rev().find(|&n| text.ends_with(&tag[..n])).unwrap_or(0);
    TAGS.into_iter().map(beginning).max().unwrap_or(0)
}
