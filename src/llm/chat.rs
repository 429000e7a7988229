//! Chat as a library: messages in, an answer out, whole or as a stream.
//!
//! ```no_run
//! use sotto::llm::{Chat, ChatMessage, ChatSettings, SamplingOptions};
//!
//! let mut chat = Chat::from_pretrained("Qwen3.5-0.8B-int8", ChatSettings::default())?;
//! let mut messages =
//!     vec![ChatMessage::system("Answer briefly."), ChatMessage::user("What is Rust?")];
//! let reply = chat.generate(&messages, &[], &SamplingOptions::default())?;
//! println!("{}", reply.text);
//!
//! messages.extend([reply.message(), ChatMessage::user("Who made it?")]);
//! for piece in chat.generate_stream(&messages, &[], &SamplingOptions::default())? {
//!     print!("{}", piece?.text());
//! }
//! # Ok::<(), sotto::llm::LlmError>(())
//! ```
//! The caller owns the messages and sends all of them with each call: the old ones unchanged, new
//! ones after them. The part in common with the call before is not computed again. An answer that
//! is sent back as it came ([`ChatReply::message`]) is recognised by its tokens, and so are the
//! same messages sent again for another answer. Messages that change earlier text are rendered
//! anew, which is correct and takes longer. So are answers given with thinking on: the model's
//! format leaves old thoughts out, so the text after them is computed again.

mod seen;
mod stream;

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::LlmError;
use super::conversation::GenerationStats;
use super::loaded::{Llm, Prepared};
use super::notes::Note;
use super::presets::SamplingOptions;
use super::prompt_cache::{CacheNote, PromptCache, SystemPrompt};
use super::source::ModelSource;
use super::state::{SequenceState, SuspendedState};
use super::template::{ChatMessage, MessageRole, Tool};
use super::tools::ToolParser;
use super::window::Window;
use crate::config;
use crate::memory::{self, Budget, Permit};
use crate::types::{Bytes, Ms};
use seen::{Request, Seen};
pub use stream::{ChatDelta, ChatReply, ChatStream};

/// Settings a model is loaded with.
#[derive(Clone, Debug)]
pub struct ChatSettings {
    pub threads: usize,
    /// Largest number of tokens of prompt and answer together; `None` takes 8,192, or the context
    /// the model was trained for if that is less.
    pub context: Option<usize>,
    /// Number format of the KV cache.
    pub kv_cache: config::KvType,
    /// Memory budget that the model reserves from.
    pub budget: Budget,
    /// Whether to use speculative decoding where it is faster; answers are the same.
    pub speculative_decoding: config::SpeculativeDecoding,
    /// Folder for computed system prompts and its limit in bytes; `None` stores none.
    pub prompt_cache: Option<(PathBuf, Bytes)>,
}

impl Default for ChatSettings {
    /// Default settings: up to four of the machine's cores, no memory limit, nothing on disk.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        ChatSettings {
            threads: cores.min(4),
            context: None,
            kv_cache: config::KvType::F16,
            speculative_decoding: config::SpeculativeDecoding::Auto,
            budget: Budget::new(Bytes(u64::MAX)),
            prompt_cache: None,
        }
    }
}

/// A model that answers messages. It can be unloaded, and later continues the same conversation.
pub struct Chat {
    path: PathBuf,
    settings: ChatSettings,
    held: Held,
    /// The last request with its answer.
    seen: Option<Seen>,
    notes: Vec<Note>,
}

/// Memory contents: the loaded model, or a suspended conversation.
enum Held {
    Loaded(Box<Loaded>),
    /// A suspended conversation, which continues after a reload, with the permit for its memory.
    Unloaded(Option<(SuspendedState, Permit)>),
}

/// A model and the computed state of the conversation.
struct Loaded {
    llm: Llm,
    state: SequenceState,
}

impl Chat {
    /// Loads a GGUF file, or a folder with safetensors, `config.json` and `tokenizer.json`.
    pub fn from_pretrained(path: impl AsRef<Path>, settings: ChatSettings) -> Result<Self, LlmError> {
        let path = path.as_ref().to_owned();
        let mut chat = Chat { path, settings, held: Held::Unloaded(None), seen: None, notes: Vec::new() };
        chat.reload()?;
        Ok(chat)
    }

    pub fn is_loaded(&self) -> bool {
        matches!(self.held, Held::Loaded(_))
    }

    /// Largest number of tokens of prompt and answer together; 0 while the model is not loaded.
    pub fn context(&self) -> usize {
        match &self.held {
            Held::Loaded(loaded) => loaded.llm.context(),
            Held::Unloaded(_) => 0,
        }
    }

    /// Frees the memory of the model. The conversation's state stays in its smallest form; if the
    /// budget does not grant even that, it is computed again later.
    pub fn unload(&mut self) {
        self.held = match std::mem::replace(&mut self.held, Held::Unloaded(None)) {
            Held::Loaded(loaded) => Held::Unloaded(loaded.suspend(&self.settings.budget)),
            unloaded => unloaded,
        };
        memory::give_back_freed();
    }

    /// Loads the model again, if it is not loaded. If the budget does not grant both the model and
    /// the suspended conversation, the conversation is computed again.
    pub fn reload(&mut self) -> Result<(), LlmError> {
        let Held::Unloaded(parked) = &mut self.held else { return Ok(()) };
        let source = ModelSource::open(&self.path)?;
        let settings = self.settings.of_model(&source);
        let prepared = Prepared::new(source, settings)?;
        let permit = permit(&self.settings.budget, prepared.planned(), parked)?;
        let llm = prepared.load(permit)?;
        self.notes.extend(llm.notes().iter().cloned().map(Note::from));
        // If the model has changed meanwhile, the conversation starts from an empty state.
        let woken = parked.take().and_then(|(parked, _permit)| parked.resume(&llm.stamp, llm.model_config()).ok());
        self.seen = self.seen.take().filter(|seen| seen.stamp == llm.stamp);
        let state = woken.unwrap_or_else(|| llm.state());
        self.held = Held::Loaded(Box::new(Loaded { llm, state }));
        Ok(())
    }

    /// Drops the computed state and the last request, and frees their memory.
    pub fn reset_state(&mut self) {
        self.seen = None;
        if let Held::Loaded(loaded) = std::mem::replace(&mut self.held, Held::Unloaded(None)) {
            let Loaded { llm, state } = *loaded;
            // Dropped before the new one is made: the permit covers only one.
            drop(state);
            memory::give_back_freed();
            let state = llm.state();
            self.held = Held::Loaded(Box::new(Loaded { llm, state }));
        }
    }

    /// Returns the notes about the model and the prompt cache since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Bytes held now: weights, tokenizer and the state of the conversation.
    pub fn memory_footprint(&self) -> Bytes {
        match &self.held {
            Held::Loaded(loaded) => Bytes(loaded.state.bytes() as u64 + loaded.llm.bytes().0),
            Held::Unloaded(parked) => Bytes(parked.as_ref().map_or(0, |(parked, _)| parked.bytes() as u64)),
        }
    }

    /// Returns the answer to `messages`.
    pub fn generate(
        &mut self,
        messages: &[ChatMessage],
        tools: &[Tool],
        options: &SamplingOptions,
    ) -> Result<ChatReply, LlmError> {
        let mut stream = self.generate_stream(messages, tools, options)?;
        stream.try_for_each(|delta| delta.map(drop))?;
        Ok(stream.into_reply())
    }

    /// Returns the answer to `messages` as a stream. Nothing is computed between two pieces, or
    /// after the stream is dropped; the conversation then keeps the pieces that were returned.
    pub fn generate_stream(
        &mut self,
        messages: &[ChatMessage],
        tools: &[Tool],
        options: &SamplingOptions,
    ) -> Result<ChatStream<'_>, LlmError> {
        options.check()?;
        let started = Instant::now();
        let Held::Loaded(loaded) = &mut self.held else {
            return Err(LlmError::NotLoaded { path: self.path.clone() });
        };
        let request = Request { messages, tools, thinking: loaded.llm.format.thinking(options.thinking()) };
        let window = Window { context: loaded.state.context(), max_tokens: options.max_tokens };
        let asked = Seen::new(&loaded.llm, self.seen.as_ref(), request, window)?;
        let (begun, notes) = match &self.settings.prompt_cache {
            Some((dir, limit)) => loaded.begin(request, &PromptCache::open(dir, *limit))?,
            None => (0, Vec::new()),
        };
        self.notes.extend(notes.into_iter().map(Note::from));
        let prefilled_tokens = begun + loaded.llm.compute(&mut loaded.state, &asked.0.prompt);
        loaded.state.mark_turn();
        let stats =
            GenerationStats { prefilled_tokens, prefill: Ms::from(started.elapsed()), ..GenerationStats::default() };
        let parser = (!tools.is_empty()).then(|| ToolParser::new(tools));
        Ok(ChatStream::new(loaded, &mut self.seen, asked, parser, options, stats))
    }
}

impl ChatSettings {
    /// Completes these settings with defaults from the model.
    fn of_model(&self, source: &ModelSource) -> config::LlmPlan {
        config::LlmPlan {
            model: source.path().display().to_string(),
            system_prompt: String::new(),
            threads: self.threads,
            priority: config::Priority::Normal,
            context: self.context,
            kv_cache: self.kv_cache,
            speculative_decoding: self.speculative_decoding,
            prompt_cache: Bytes(0),
            max_tokens: SamplingOptions::default().max_tokens,
            sampling: SamplingOptions::default().sampling(),
        }
    }
}

impl Loaded {
    /// Unloads the model and keeps the conversation, if there is one and the budget grants it.
    fn suspend(self, budget: &Budget) -> Option<(SuspendedState, Permit)> {
        let Loaded { llm, state } = self;
        if state.is_empty() {
            return None;
        }
        let parked = state.suspend(&llm.stamp);
        // Freed first: the conversation may need the bytes of this permit.
        drop(llm);
        let permit = budget.reserve("the conversation", Bytes(parked.bytes() as u64)).ok()?;
        Some((parked, permit))
    }

    /// Brings the state to the prompt of `request`; a stored beginning in `cache` is not computed
    /// again. Returns the number of tokens computed.
    fn begin(&mut self, request: Request, cache: &PromptCache) -> Result<(usize, Vec<CacheNote>), LlmError> {
        let Loaded { llm, state } = self;
        let system = request.messages.first().filter(|message| message.role == MessageRole::System);
        if !state.is_empty() || (system.is_none() && request.tools.is_empty()) {
            return Ok((0, Vec::new()));
        }
        let text = system.map_or("", |message| &message.content);
        let Some(prompt) = SystemPrompt::new(&llm.format, &llm.tokenizer, text, request.tools)? else {
            return Ok((0, Vec::new()));
        };
        let (begun, computed, notes) = llm.begin(&prompt, cache);
        *state = begun;
        Ok((computed, notes))
    }
}

/// Reserves memory to load a model. Drops the suspended conversation if that frees enough.
fn permit(budget: &Budget, planned: Bytes, parked: &mut Option<(SuspendedState, Permit)>) -> Result<Permit, LlmError> {
    let what = "the language model";
    let refused = match budget.reserve(what, planned) {
        Ok(permit) => return Ok(permit),
        Err(refused) => refused,
    };
    let kept = parked.as_ref().map_or(Bytes(0), |(_, permit)| permit.bytes());
    if refused.free.0.saturating_add(kept.0) < planned.0 {
        return Err(refused.into());
    }
    *parked = None;
    Ok(budget.reserve(what, planned)?)
}

#[cfg(test)]
mod tests;
