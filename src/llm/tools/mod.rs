//! What the assistant calls, read from what it says.
//!
//! The grammar is
//! `<tool_call>\n<function=NAME>\n(<parameter=KEY>\nVALUE\n</parameter>\n)*</function>\n</tool_call>`,
//! and the parser forgives what small models do to it: tags that are never closed, parameters in
//! any order, JSON in place of the tags, a call without its outer tag. The end of the turn closes
//! everything. Text before a call is passed on as it comes, and never a part of a tag.

mod call;
mod json;
#[cfg(test)]
mod tests;

use super::template::{Tool, ToolCall};

/// The longest body of a call. The longest arguments of the training format are files, some
/// kilobytes.
pub const MAX_CALL_BYTES: usize = 64 << 10;
/// Calls in one turn; more are a model that goes round in circles.
pub const MAX_CALLS: usize = 32;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";
const FUNCTION: &str = "<function=";
const END_FUNCTION: &str = "</function>";
/// The tags that mean something outside of a call.
const TAGS: [&str; 4] = [OPEN, CLOSE, FUNCTION, END_FUNCTION];
/// A piece of a tag at the end of a turn is dropped if it is at least this long. A shorter one may
/// be the end of `1 <` or of `</p`.
const HALF_TAG: usize = "<func".len();

/// A part of what the assistant said, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum ParsedPart {
    Text(String),
    Call(ToolCall),
    /// A call that cannot be understood, and why.
    Broken {
        why: String,
    },
}

/// Takes the answer piece by piece. How it is cut into pieces changes nothing but the cuts between
/// texts.
pub struct ToolParser {
    tools: Vec<Tool>,
    place: Place,
    /// Outside of calls: what may become a tag or stands as white space before one. Inside: the
    /// body so far.
    pending: String,
    calls: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Text,
    Call {
        /// Begun by a `<function=` that has no `<tool_call>` around it.
        bare: bool,
        /// More than can be kept.
        too_long: bool,
    },
}

impl ToolParser {
    /// The tools give the values their types. Calls of others are read too: the caller decides what
    /// to do with them.
    pub fn new(tools: &[Tool]) -> Self {
        ToolParser { tools: tools.to_vec(), place: Place::Text, pending: String::new(), calls: 0 }
    }

    /// Takes the next piece of the answer, and gives what is certain by now.
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
                // White space at the end is not said, as there is none in the history of a
                // conversation.
                say(rest[..kept].trim_end(), &mut parts);
            }
            Place::Call { too_long, .. } => self.close(&rest, too_long, &mut parts),
        }
        parts
    }

    /// Passes text on up to the next tag. False when more has to come first.
    fn read_text(&mut self, parts: &mut Vec<ParsedPart>) -> bool {
        let Some((at, tag)) = first_of(&self.pending, &TAGS) else {
            let certain = self.pending.len() - half_tag(&self.pending);
            let certain = self.pending[..certain].trim_end().len();
            say(&self.pending[..certain], parts);
            self.pending.drain(..certain);
            return false;
        };
        say(self.pending[..at].trim_end(), parts);
        // The body of a bare function begins with its tag. An end without a beginning is dropped.
        self.pending.drain(..if tag == FUNCTION { at } else { at + tag.len() });
        if tag == FUNCTION || tag == OPEN {
            self.place = Place::Call { bare: tag == FUNCTION, too_long: false };
        }
        true
    }

    /// Waits for the end of a call. False when more has to come first.
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

    /// Lets go of a body that has become too long, but for what may be the beginning of its end.
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

/// The tag that comes first in `text`, and where.
fn first_of<'a>(text: &str, tags: &[&'a str]) -> Option<(usize, &'a str)> {
    tags.iter().filter_map(|&tag| Some((text.find(tag)?, tag))).min()
}

/// How many bytes at the end of `text` may be the beginning of a tag.
fn half_tag(text: &str) -> usize {
    let beginning = |tag: &str| (1..tag.len()).rev().find(|&n| text.ends_with(&tag[..n])).unwrap_or(0);
    TAGS.into_iter().map(beginning).max().unwrap_or(0)
}
