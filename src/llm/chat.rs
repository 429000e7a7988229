//! Chat as a library: messages in, an answer out, whole or as a stream.
//!
//! ```no_run
//! use sotto::llm::{Chat, ChatSettings, Message, SamplingOptions};
//!
//! let mut chat = Chat::from_pretrained("Qwen3.5-0.8B-int8", ChatSettings::default())?;
//! let mut messages = vec![Message::system("Answer briefly."), Message::user("What is Rust?")];
//! let reply = chat.generate(&messages, &[], &SamplingOptions::default())?;
//! println!("{}", reply.text);
//!
//! messages.extend([reply.message(), Message::user("Who made it?")]);
//! for piece in chat.generate_stream(&messages, &[], &SamplingOptions::default())? {
//!     print!("{}", piece?.text());
//! }
//! # Ok::<(), sotto::llm::LlmError>(())
//! ```
//! The caller owns the messages and sends all of them each time. What they have in common with the call before is not
//! computed again: an answer that is sent back as it came ([`Reply::message`]) is known by its tokens. The one exception
//! are answers that were thought about first: the model's format leaves old thoughts out, so what followed a thought is
//! computed once more without it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::LlmError;
use super::conversation::Stats;
use super::loaded::Llm;
use super::presets::SamplingOptions;
use super::prompt_cache::{CacheNote, PromptCache, SystemPrompt};
use super::sampler::Sampler;
use super::source::Source;
use super::state::{Parked, State};
use super::template::{Message, Role, Tool, ToolCall};
use super::thinking::Piece;
use super::tools::{Part, ToolParser};
use super::window::Window;
use super::writer::{Finish, Limits, Step, Writer};
use crate::config;
use crate::memory::{self, Budget, Permit};
use crate::types::{Bytes, Ms};

/// Tokens of prompt and answer together, where nothing else is asked for.
const CONTEXT: usize = 8192;

/// What a model is loaded with.
#[derive(Clone, Debug)]
pub struct ChatSettings {
    pub threads: usize,
    /// Most tokens of prompt and answer together; `None` takes 8,192, or what the model was trained for if that is less.
    pub context: Option<usize>,
    /// What keys and values are kept as.
    pub kv: config::Kv,
    /// What the model asks for its memory.
    pub budget: Budget,
    /// Where computed system prompts are kept, and how many bytes of them; `None` keeps none.
    pub prompt_cache: Option<(PathBuf, Bytes)>,
}

impl Default for ChatSettings {
    /// Up to four of the machine's cores, as much memory as it takes, and nothing on disk.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        ChatSettings {
            threads: cores.min(4),
            context: None,
            kv: config::Kv::F16,
            budget: Budget::new(Bytes(u64::MAX)),
            prompt_cache: None,
        }
    }
}

/// A model that answers messages. It can be unloaded and goes on later where it was.
pub struct Chat {
    path: PathBuf,
    settings: ChatSettings,
    llm: Option<Llm>,
    /// What is computed, while the model is loaded.
    state: Option<State>,
    /// The same while it is not, so that a conversation goes on after a reload, with its right to be in memory.
    parked: Option<(Parked, Permit)>,
    seen: Option<Seen>,
    notes: Vec<CacheNote>,
}

/// The messages whose tokens are known, the last answer among them.
struct Seen {
    messages: Vec<Message>,
    tools: Vec<Tool>,
    tokens: Vec<u32>,
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    Text(String),
    /// What the model thinks before it answers.
    Thought(String),
    Call(ToolCall),
    /// A call of a tool that cannot be understood, and why.
    BrokenCall(String),
}

impl Delta {
    /// What is to be shown to a person: empty for thoughts and calls.
    pub fn text(&self) -> &str {
        if let Delta::Text(text) = self { text } else { "" }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub text: String,
    pub thought: String,
    pub tool_calls: Vec<ToolCall>,
    pub broken_calls: Vec<String>,
    pub finish: Finish,
    /// Tokens of the answer, thoughts included.
    pub tokens: usize,
    pub prompt_tokens: usize,
    /// Those of the prompt that had to be computed now.
    pub prefilled_tokens: usize,
    /// Turns, the oldest, that no longer fitted the context and were left out.
    pub dropped_turns: usize,
    pub stats: Stats,
}

impl Reply {
    /// The answer as a message, for the next call.
    pub fn message(&self) -> Message {
        let reasoning = (!self.thought.is_empty()).then(|| self.thought.clone());
        Message { reasoning, tool_calls: self.tool_calls.clone(), ..Message::assistant(self.text.clone()) }
    }

    fn add(&mut self, delta: &Delta) {
        match delta {
            Delta::Text(text) => self.text.push_str(text),
            Delta::Thought(text) => self.thought.push_str(text),
            Delta::Call(call) => self.tool_calls.push(call.clone()),
            Delta::BrokenCall(why) => self.broken_calls.push(why.clone()),
        }
    }
}

/// Messages in tokens, and how they fit.
struct Prompt {
    tokens: Vec<u32>,
    dropped_turns: usize,
    /// Tokens left for the answer.
    room: usize,
}

impl Chat {
    /// Loads a GGUF file, or a folder with safetensors, `config.json` and `tokenizer.json`.
    pub fn from_pretrained(path: impl AsRef<Path>, settings: ChatSettings) -> Result<Self, LlmError> {
        let path = path.as_ref().to_owned();
        let mut chat = Chat { path, settings, llm: None, state: None, parked: None, seen: None, notes: Vec::new() };
        chat.reload()?;
        Ok(chat)
    }

    pub fn is_loaded(&self) -> bool {
        self.llm.is_some()
    }

    /// Gives the model's memory back. What was computed of the conversation stays, in its smallest form; should the
    /// budget not even grant that, it will be computed again.
    pub fn unload(&mut self) {
        let (Some(llm), Some(state)) = (self.llm.take(), self.state.take()) else { return };
        if !state.is_empty() {
            let parked = state.park(&llm.stamp);
            drop(llm);
            let permit = self.settings.budget.reserve("the conversation", Bytes(parked.bytes() as u64));
            self.parked = permit.ok().map(|permit| (parked, permit));
        }
        memory::give_back_freed();
    }

    /// Loads the model again, if it is not loaded.
    pub fn reload(&mut self) -> Result<(), LlmError> {
        if self.is_loaded() {
            return Ok(());
        }
        let settings = self.model_settings()?;
        let planned = Llm::planned_bytes(&self.path, &settings)?;
        let permit = self.settings.budget.reserve("the language model", planned)?;
        let llm = Llm::load(&self.path, &settings, permit)?;
        // A model that has changed meanwhile begins anew.
        let woken = self.parked.take().and_then(|(parked, _)| parked.wake(&llm.stamp, llm.blueprint()).ok());
        self.state = Some(woken.unwrap_or_else(|| llm.state()));
        self.llm = Some(llm);
        Ok(())
    }

    /// Forgets what was computed and said.
    pub fn reset_state(&mut self) {
        (self.seen, self.parked) = (None, None);
        self.state = self.llm.as_ref().map(Llm::state);
    }

    /// What there is to say about the prompt cache since the last time.
    pub fn take_notes(&mut self) -> Vec<CacheNote> {
        std::mem::take(&mut self.notes)
    }

    /// Bytes that are held now: weights, tokenizer and what is computed of the conversation.
    pub fn memory_footprint(&self) -> Bytes {
        let parked = self.parked.as_ref().map_or(0, |(parked, _)| parked.bytes());
        let state = self.state.as_ref().map_or(parked, State::bytes);
        Bytes(state as u64 + self.llm.as_ref().map_or(0, |llm| llm.bytes().0))
    }

    /// The answer to `messages`.
    pub fn generate(
        &mut self,
        messages: &[Message],
        tools: &[Tool],
        options: &SamplingOptions,
    ) -> Result<Reply, LlmError> {
        let mut stream = self.generate_stream(messages, tools, options)?;
        stream.try_for_each(|delta| delta.map(drop))?;
        Ok(stream.into_reply())
    }

    /// The answer to `messages`, piece by piece. Nothing is computed between two pieces, and nothing more once the stream
    /// is dropped; the conversation then keeps what came out of it.
    pub fn generate_stream(
        &mut self,
        messages: &[Message],
        tools: &[Tool],
        options: &SamplingOptions,
    ) -> Result<Stream<'_>, LlmError> {
        options.check()?;
        let started = Instant::now();
        let prompt = self.prompt(messages, tools, options)?;
        self.begin_with_the_system_prompt(messages, tools)?;
        let (Some(llm), Some(state)) = (&self.llm, &mut self.state) else { return Err(self.not_loaded()) };
        let prefilled_tokens = llm.compute(state, &prompt.tokens);
        state.mark_turn();
        let mut sampler = llm.sampler(&options.sampling());
        let limits = Limits { tokens: prompt.room, thought: options.max_thinking_tokens };
        let writer = Writer::new(llm, &mut sampler, options.thinking(), limits);
        let reply = Reply {
            text: String::new(),
            thought: String::new(),
            tool_calls: Vec::new(),
            broken_calls: Vec::new(),
            finish: Finish::Cancelled,
            tokens: 0,
            prompt_tokens: prompt.tokens.len(),
            prefilled_tokens,
            dropped_turns: prompt.dropped_turns,
            stats: Stats { prefill: Ms::from(started.elapsed()), ..Stats::default() },
        };
        Ok(Stream {
            chat: self,
            sampler,
            writer,
            parser: (!tools.is_empty()).then(|| ToolParser::new(tools)),
            waiting: VecDeque::new(),
            ended: false,
            reply,
            asked: Seen { messages: messages.to_vec(), tools: tools.to_vec(), tokens: prompt.tokens },
            started: Instant::now(),
        })
    }

    /// What the cache knows of the beginning of a conversation need not be computed.
    fn begin_with_the_system_prompt(&mut self, messages: &[Message], tools: &[Tool]) -> Result<(), LlmError> {
        let Some((dir, limit)) = &self.settings.prompt_cache else { return Ok(()) };
        let (Some(llm), Some(state)) = (&self.llm, &mut self.state) else { return Ok(()) };
        let system = messages.first().filter(|message| message.role == Role::System);
        if !state.is_empty() || (system.is_none() && tools.is_empty()) {
            return Ok(());
        }
        let text = system.map_or("", |message| &message.content);
        if let Some(prompt) = SystemPrompt::new(&llm.format, &llm.tokenizer, text, tools)? {
            let (begun, _, notes) = llm.begin(&prompt, &PromptCache::open(dir, *limit));
            *state = begun;
            self.notes.extend(notes);
        }
        Ok(())
    }

    fn not_loaded(&self) -> LlmError {
        LlmError::NotLoaded { path: self.path.clone() }
    }

    /// The house's settings for the model, with what the model itself leaves open.
    fn model_settings(&self) -> Result<config::Llm, LlmError> {
        let context = match self.settings.context {
            Some(context) => context,
            None => Source::open(&self.path)?.blueprint()?.context.min(CONTEXT),
        };
        Ok(config::Llm {
            model: self.path.display().to_string(),
            system_prompt: String::new(),
            threads: self.settings.threads,
            context,
            kv: self.settings.kv,
            prompt_cache: Bytes(0),
            max_tokens: SamplingOptions::default().max_tokens,
            sampling: SamplingOptions::default().sampling(),
        })
    }

    /// The tokens of `messages`. Where they do not fit, the oldest turns are left out, whole, never the system prompt.
    fn prompt(&self, messages: &[Message], tools: &[Tool], options: &SamplingOptions) -> Result<Prompt, LlmError> {
        let (Some(llm), Some(state)) = (&self.llm, &self.state) else { return Err(self.not_loaded()) };
        let window = Window { context: state.context(), max_tokens: options.max_tokens };
        let known = self.known(llm, messages, tools, options)?;
        let mut tokens = known.map_or_else(|| llm.prompt(messages, tools, options.thinking()), Ok)?;
        let mut dropped_turns = 0;
        if window.is_full(tokens.len()) {
            let mut rest = messages.to_vec();
            while window.is_crowded(tokens.len()) {
                let Some(shorter) = without_oldest_turn(&rest) else { break };
                rest = shorter;
                dropped_turns += 1;
                tokens = llm.prompt(&rest, tools, options.thinking())?;
            }
        }
        let room = window.room(tokens.len())?;
        Ok(Prompt { tokens, dropped_turns, room })
    }

    /// The tokens of what was seen already, and behind them those of what is new.
    fn known(
        &self,
        llm: &Llm,
        messages: &[Message],
        tools: &[Tool],
        options: &SamplingOptions,
    ) -> Result<Option<Vec<u32>>, LlmError> {
        let Some(seen) = self.seen.as_ref().filter(|seen| seen.tools == tools) else { return Ok(None) };
        let Some(new) = messages.strip_prefix(&seen.messages[..]) else { return Ok(None) };
        let more = llm.format.more(new, options.thinking()).map(|more| llm.format.tokens(&llm.tokenizer, &more));
        let more = more.transpose()?;
        Ok(more.map(|more| [&seen.tokens[..], &more].concat()))
    }
}

/// `None` where there is but one turn left.
fn without_oldest_turn(messages: &[Message]) -> Option<Vec<Message>> {
    let is_question = |message: &Message| message.role == Role::User;
    let mut questions = messages.iter().enumerate().filter(|(_, message)| is_question(message)).map(|(at, _)| at);
    let (first, second) = (questions.next()?, questions.next()?);
    Some([&messages[..first], &messages[second..]].concat())
}

/// An answer on its way. An iterator over its pieces; dropping it stops the model.
pub struct Stream<'c> {
    chat: &'c mut Chat,
    sampler: Sampler,
    writer: Writer,
    parser: Option<ToolParser>,
    waiting: VecDeque<Delta>,
    ended: bool,
    reply: Reply,
    asked: Seen,
    started: Instant,
}

impl Stream<'_> {
    /// What came out so far.
    pub fn reply(&self) -> &Reply {
        &self.reply
    }

    /// Ends the stream here.
    pub fn into_reply(mut self) -> Reply {
        self.close();
        self.reply.clone()
    }

    fn step(&mut self) -> Result<(), LlmError> {
        let (Some(llm), Some(state)) = (&self.chat.llm, &mut self.chat.state) else {
            return Err(self.chat.not_loaded());
        };
        match self.writer.step(llm, state, &mut self.sampler)? {
            Step::Nothing => {}
            Step::Piece(Piece::Thought(thought)) => self.waiting.push_back(Delta::Thought(thought)),
            Step::Piece(Piece::Answer(text)) => match &mut self.parser {
                Some(parser) => self.waiting.extend(parser.push(&text).into_iter().map(Delta::from)),
                None => self.waiting.push_back(Delta::Text(text)),
            },
            Step::End(finish) => {
                let rest = self.parser.as_mut().map(ToolParser::finish).unwrap_or_default();
                self.waiting.extend(rest.into_iter().map(Delta::from));
                self.ended = true;
                self.reply.finish = finish;
            }
        }
        Ok(())
    }

    /// Figures of the answer, and what the chat will know of it at the next call.
    fn close(&mut self) {
        self.reply.tokens = self.writer.tokens().len();
        self.reply.stats.steps = self.writer.steps();
        self.reply.stats.decode = Ms::from(self.started.elapsed());
        self.chat.seen = self.seen();
    }

    fn seen(&self) -> Option<Seen> {
        let llm = self.chat.llm.as_ref()?;
        // Old thoughts are left out of a prompt, so the tokens of this answer will not come again.
        let comes_again = self.reply.thought.is_empty() && self.reply.broken_calls.is_empty();
        let whole = self.ended && self.waiting.is_empty();
        if !comes_again || !(whole || self.reply.tool_calls.is_empty()) {
            return None;
        }
        let answer = match whole {
            true => self.writer.tokens().to_vec(),
            false => llm.tokens_heard(self.writer.tokens(), &self.reply.text)?,
        };
        let tokens = [&self.asked.tokens[..], &answer].concat().into_iter().chain(llm.format.closing()).collect();
        let messages = self.asked.messages.iter().cloned().chain([self.reply.message()]).collect();
        Some(Seen { messages, tools: self.asked.tools.clone(), tokens })
    }
}

impl Iterator for Stream<'_> {
    type Item = Result<Delta, LlmError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.waiting.is_empty() && !self.ended {
            if let Err(error) = self.step() {
                self.ended = true;
                return Some(Err(error));
            }
        }
        let delta = self.waiting.pop_front()?;
        self.reply.add(&delta);
        Some(Ok(delta))
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

impl From<Part> for Delta {
    fn from(part: Part) -> Self {
        match part {
            Part::Text(text) => Delta::Text(text),
            Part::Call(call) => Delta::Call(call),
            Part::Broken { why } => Delta::BrokenCall(why),
        }
    }
}

#[cfg(test)]
mod tests;
