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
//! A chat owns a model and one [`ChatSession`], which says what is computed again and what is not.
//! For several conversations on one model, share an [`Llm`] between sessions.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::LlmError;
use super::loaded::{Llm, Prepared};
use super::notes::Note;
use super::presets::SamplingOptions;
use super::prompt_cache::PromptCache;
use super::session::{ChatReply, ChatRequest, ChatSession, ChatStream};
use super::source::ModelSource;
use super::template::{ChatMessage, Tool};
use crate::config;
use crate::memory::{self, Budget, Permit};
use crate::types::Bytes;

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
    /// The model; `None` while it is unloaded.
    llm: Option<Box<Llm>>,
    session: ChatSession,
    notes: Vec<Note>,
}

impl Chat {
    /// Loads a GGUF file, or a folder with safetensors, `config.json` and `tokenizer.json`.
    pub fn from_pretrained(path: impl AsRef<Path>, settings: ChatSettings) -> Result<Self, LlmError> {
        let path = path.as_ref().to_owned();
        let mut chat = Chat { path, settings, llm: None, session: ChatSession::new(), notes: Vec::new() };
        chat.reload()?;
        Ok(chat)
    }

    pub fn is_loaded(&self) -> bool {
        self.llm.is_some()
    }

    /// Largest number of tokens of prompt and answer together; 0 while the model is not loaded.
    pub fn context(&self) -> usize {
        self.llm.as_ref().map_or(0, |llm| llm.context())
    }

    /// Frees the memory of the model. The conversation's state stays in its smallest form; if the
    /// budget does not grant even that, it is computed again later.
    pub fn unload(&mut self) {
        if let Some(mut llm) = self.llm.take() {
            self.session.finish(&mut llm);
            // Freed first: the conversation may need the bytes of this permit.
            drop(llm);
            self.session.park(&self.settings.budget);
        }
        memory::give_back_freed();
    }

    /// Loads the model again, if it is not loaded. If the budget does not grant both the model and
    /// the suspended conversation, the conversation is computed again, as it is if another model
    /// has taken the place of the first.
    pub fn reload(&mut self) -> Result<(), LlmError> {
        if self.is_loaded() {
            return Ok(());
        }
        let source = ModelSource::open(&self.path)?;
        let settings = self.settings.of_model(&source);
        let prepared = Prepared::new(source, settings)?;
        let permit = self.permit(prepared.planned())?;
        let mut llm = prepared.load(permit)?;
        if let Some((dir, limit)) = &self.settings.prompt_cache {
            llm.set_prompt_cache(PromptCache::open(dir, *limit));
        }
        self.notes.extend(llm.notes().iter().cloned().map(Note::from));
        self.llm = Some(Box::new(llm));
        Ok(())
    }

    /// Drops the computed state and the last request, and frees their memory.
    pub fn reset_state(&mut self) {
        self.session.reset();
        memory::give_back_freed();
    }

    /// Returns the notes about the model and the prompt cache since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        let cache = self.llm.as_mut().map(|llm| llm.take_cache_notes()).unwrap_or_default();
        std::mem::take(&mut self.notes).into_iter().chain(cache.into_iter().map(Note::from)).collect()
    }

    /// Bytes held now: weights, workspace, tokenizer and the state of the conversation.
    pub fn memory_footprint(&self) -> Bytes {
        Bytes(self.llm.as_ref().map_or(0, |llm| llm.bytes().0) + self.session.bytes().0)
    }

    /// Returns the answer to `messages`.
    pub fn generate(
        &mut self,
        messages: &[ChatMessage],
        tools: &[Tool],
        options: &SamplingOptions,
    ) -> Result<ChatReply, LlmError> {
        let (llm, session) = self.loaded()?;
        let request = ChatRequest { messages, tools, options };
        session.generate(llm, &request, &mut |_| ControlFlow::Continue(()))
    }

    /// Returns the answer to `messages` as a stream: see [`ChatSession::stream`].
    pub fn generate_stream(
        &mut self,
        messages: &[ChatMessage],
        tools: &[Tool],
        options: &SamplingOptions,
    ) -> Result<ChatStream<'_>, LlmError> {
        let (llm, session) = self.loaded()?;
        session.stream(llm, &ChatRequest { messages, tools, options })
    }

    fn loaded(&mut self) -> Result<(&mut Llm, &mut ChatSession), LlmError> {
        match &mut self.llm {
            Some(llm) => Ok((llm, &mut self.session)),
            None => Err(LlmError::NotLoaded { path: self.path.clone() }),
        }
    }

    /// Reserves memory to load a model. Drops the suspended conversation if that frees enough.
    fn permit(&mut self, planned: Bytes) -> Result<Permit, LlmError> {
        let (what, budget) = ("the language model", &self.settings.budget);
        let refused = match budget.reserve(what, planned) {
            Ok(permit) => return Ok(permit),
            Err(refused) => refused,
        };
        if refused.free.0.saturating_add(self.session.bytes().0) < planned.0 {
            return Err(refused.into());
        }
        self.session.drop_suspended();
        Ok(budget.reserve(what, planned)?)
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

#[cfg(test)]
mod tests;
