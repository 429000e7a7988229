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
//! The caller owns the messages and sends all of them each time, those before unchanged and new
//! ones behind them. What they have in common with the call before is not computed again: an answer
//! that is sent back as it came ([`ChatReply::message`]) is known by its tokens, and so are the
//! same messages once more, for another answer. Messages that change what was said before are
//! rendered anew, which is right and takes longer. So are answers that were to be thought about
//! first: the model's format leaves old thoughts out, so what followed is computed once more
//! without.

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
use super::speculation::Speculator;
use super::state::{SequenceState, SuspendedState};
use super::template::{ChatMessage, MessageRole, Tool};
use super::tools::ToolParser;
use super::window::Window;
use crate::config;
use crate::memory::{self, Budget, Permit};
use crate::types::{Bytes, Ms};
use seen::{Request, Seen};
pub use stream::{ChatDelta, ChatReply, ChatStream};

/// What a model is loaded with.
#[derive(Clone, Debug)]
pub struct ChatSettings {
    pub threads: usize,
    /// Most tokens of prompt and answer together; `None` takes 8,192, or what the model was trained
    /// for if that is less.
    pub context: Option<usize>,
    /// What keys and values are kept as.
    pub kv_cache: config::KvType,
    /// What the model asks for its memory.
    pub budget: Budget,
    /// Whether tokens are computed ahead where that pays; answers are the same.
    pub speculative_decoding: config::SpeculativeDecoding,
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
            kv_cache: config::KvType::F16,
            speculative_decoding: config::SpeculativeDecoding::Auto,
            budget: Budget::new(Bytes(u64::MAX)),
            prompt_cache: None,
        }
    }
}

/// A model that answers messages. It can be unloaded and goes on later where it was.
pub struct Chat {
    path: PathBuf,
    settings: ChatSettings,
    held: Held,
    /// The last request, its answer among it.
    seen: Option<Seen>,
    notes: Vec<Note>,
}

/// What is in memory.
enum Held {
    Loaded(Box<Loaded>),
    /// What was computed, so that the conversation goes on after a reload, with its right to be in
    /// memory.
    Unloaded(Option<(SuspendedState, Permit)>),
}

/// A model, and what it has computed of the conversation.
struct Loaded {
    llm: Llm,
    state: SequenceState,
    ahead: Speculator,
}

impl Loaded {
    fn new(llm: Llm, state: SequenceState) -> Box<Self> {
        let ahead = Speculator::new(&llm);
        Box::new(Loaded { llm, state, ahead })
    }
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

    /// Most tokens of prompt and answer together; 0 while the model is not loaded.
    pub fn context(&self) -> usize {
        match &self.held {
            Held::Loaded(loaded) => loaded.llm.context(),
            Held::Unloaded(_) => 0,
        }
    }

    /// Gives the model's memory back. What was computed of the conversation stays, in its smallest
    /// form; should the budget not even grant that, it will be computed again.
    pub fn unload(&mut self) {
        self.held = match std::mem::replace(&mut self.held, Held::Unloaded(None)) {
            Held::Loaded(loaded) => Held::Unloaded(loaded.suspend(&self.settings.budget)),
            unloaded => unloaded,
        };
        memory::give_back_freed();
    }

    /// Loads the model again, if it is not loaded. Where the budget does not grant both the model
    /// and the conversation that was kept, the conversation is computed again.
    pub fn reload(&mut self) -> Result<(), LlmError> {
        let Held::Unloaded(parked) = &mut self.held else { return Ok(()) };
        let source = ModelSource::open(&self.path)?;
        let settings = self.settings.of_model(&source);
        let prepared = Prepared::new(source, settings)?;
        let permit = permit(&self.settings.budget, prepared.planned(), parked)?;
        let llm = prepared.load(permit)?;
        self.notes.extend(llm.notes().iter().cloned().map(Note::from));
        // A model that has changed meanwhile begins anew.
        let woken = parked.take().and_then(|(parked, _permit)| parked.resume(&llm.stamp, llm.model_config()).ok());
        self.seen = self.seen.take().filter(|seen| seen.stamp == llm.stamp);
        let state = woken.unwrap_or_else(|| llm.state());
        self.held = Held::Loaded(Loaded::new(llm, state));
        Ok(())
    }

    /// Forgets what was computed and said, and gives the memory of it back.
    pub fn reset_state(&mut self) {
        self.seen = None;
        if let Held::Loaded(loaded) = std::mem::replace(&mut self.held, Held::Unloaded(None)) {
            let Loaded { llm, state, ahead } = *loaded;
            // Before there is another: the permit covers one.
            drop((state, ahead));
            memory::give_back_freed();
            let state = llm.state();
            self.held = Held::Loaded(Loaded::new(llm, state));
        }
    }

    /// What there is to say about the model and about the prompt cache since the last time.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Bytes that are held now: weights, tokenizer and what is computed of the conversation.
    pub fn memory_footprint(&self) -> Bytes {
        match &self.held {
            Held::Loaded(loaded) => Bytes(loaded.state.bytes() as u64 + loaded.llm.bytes().0 + loaded.ahead.bytes()),
            Held::Unloaded(parked) => Bytes(parked.as_ref().map_or(0, |(parked, _)| parked.bytes() as u64)),
        }
    }

    /// The answer to `messages`.
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

    /// The answer to `messages`, piece by piece. Nothing is computed between two pieces, and
    /// nothing more once the stream is dropped; the conversation then keeps what came out of it.
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
    /// The house's settings for a model, with what the model itself leaves open.
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
    /// Gives the model back and keeps the conversation, if there is one and the budget grants it.
    fn suspend(self, budget: &Budget) -> Option<(SuspendedState, Permit)> {
        let Loaded { llm, state, .. } = self;
        if state.is_empty() {
            return None;
        }
        let parked = state.suspend(&llm.stamp);
        // Its permit may be what the conversation needs.
        drop(llm);
        let permit = budget.reserve("the conversation", Bytes(parked.bytes() as u64)).ok()?;
        Some((parked, permit))
    }

    /// What the cache knows of the beginning of a conversation need not be computed. Says how many
    /// tokens of it had to be.
    fn begin(&mut self, request: Request, cache: &PromptCache) -> Result<(usize, Vec<CacheNote>), LlmError> {
        let Loaded { llm, state, .. } = self;
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

/// The right to load a model. A conversation that was kept gives way to it where that is enough.
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
