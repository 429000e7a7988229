//! Cache of computed system prompts on disk.
//!
//! The system prompt and the tool descriptions are the same in every session, and their prefill is
//! most of the work before the first word. So their state is stored, and later sessions start from
//! it.
//!
//! **Private.** Nothing from a conversation is ever written: [`PromptCache::put`] takes a state
//! only together with the [`SystemPrompt`] it was computed from, which is made of the configuration
//! and the tools alone, and refuses a state with any further token. Only current positions are
//! written, not those rolled back. Files are readable by their owner alone (0600, in a folder of
//! 0700).
//!
//! **Correct.** A file is named by [`Stamp`] and prompt. It is used only if its stamp is the whole
//! one of the model, its tokens are the beginning of those requested (all are compared), and its
//! checksum matches. Template and text need no key of their own: together they make the tokens.
//! Files that fail a check are deleted, reported to the caller, and computed anew.
//!
//! **Bounded.** All files together stay below a limit; the least recently used go first. Files are
//! written beside their destination and then renamed, so another process sees a complete file or
//! none, and a reader of a removed file can finish reading it. They are not synced: after a power
//! failure a torn file fails its checksum.

mod folder;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::LlmError;
use super::model_config::ModelConfig;
use super::state::{CheckpointRange, KvCacheType, Peek, SequenceState, Stamp, StateError};
use super::template::{ChatFormat, Tool};
use super::tokenizer::Tokenizer;
use crate::types::Bytes;
use folder::PromptCacheFolder;

/// The beginning of every conversation as tokens: system prompt and tools, and no messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemPrompt(Vec<u32>);

impl SystemPrompt {
    /// Renders the configured system prompt and the tools, which may be none; `None` if there are
    /// tools and the model's chat format does not support them.
    pub fn new(
        format: &ChatFormat,
        tokenizer: &Tokenizer,
        text: &str,
        tools: &[Tool],
    ) -> Result<Option<Self>, LlmError> {
        if tools.is_empty() {
            return Self::of_text(format, tokenizer, text).map(Some);
        }
        let Some(segments) = format.system_with_tools(text, tools) else { return Ok(None) };
        format.prompt(tokenizer, &segments).map(|tokens| Some(SystemPrompt(tokens)))
    }

    /// Renders the configured system prompt alone.
    pub fn of_text(format: &ChatFormat, tokenizer: &Tokenizer, text: &str) -> Result<Self, LlmError> {
        format.system(tokenizer, text).map(SystemPrompt)
    }

    pub fn tokens(&self) -> &[u32] {
        &self.0
    }
}

/// A folder of computed system prompts.
pub struct PromptCache {
    folder: PromptCacheFolder,
    limit: Bytes,
}

/// A note about the cache for the user; the conversation continues in any case.
#[derive(Debug, thiserror::Error)]
pub enum CacheNote {
    #[error("the prompt cache {path} cannot be used: {source}; the system prompt is computed instead")]
    Unusable { path: PathBuf, source: io::Error },
    #[error("the stored prompt {path} was deleted: {fault}")]
    Deleted { path: PathBuf, fault: StateError },
    #[error("the state was not stored: it holds more than the system prompt")]
    NotThePrompt,
    #[error(
        "the system prompt was not stored: it takes {size} of the {limit} of [llm] prompt_cache; raise it (--set \
         llm.prompt_cache, or ChatSettings::prompt_cache in a program)"
    )]
    TooLarge { size: Bytes, limit: Bytes },
}

/// Result of [`PromptCache::get`].
#[derive(Default)]
pub struct CachedState {
    /// State after the longest stored beginning of the prompt, marked as the end of a turn; `None`
    /// if there is none.
    pub state: Option<SequenceState>,
    pub notes: Vec<CacheNote>,
}

/// Returns the folder for computed prompts: systemd's `$CACHE_DIRECTORY`, else the user's own cache
/// folder; `None` if neither is known. The configured folder of models is not used: several people
/// may share it.
pub fn prompts_dir(lookup: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let var = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // systemd joins several directories with colons; the first belongs to this program.
    let service = var("CACHE_DIRECTORY").and_then(|dirs| Some(PathBuf::from(dirs.to_str()?.split(':').next()?)));
    // The XDG specification says to ignore a relative path.
    let user = var("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let own = user.or_else(|| var("HOME").map(|home| home.join(".cache")));
    service.or_else(|| own.map(|cache| cache.join("sotto"))).map(|dir| dir.join("prompts"))
}

impl PromptCache {
    /// Opens the cache in `dir` with a total of at most `limit`. Creates nothing before the first
    /// file is stored.
    pub fn open(dir: &Path, limit: Bytes) -> PromptCache {
        PromptCache { folder: PromptCacheFolder::new(dir), limit }
    }

    /// Returns the state of the longest stored beginning of `tokens`, for a model of this stamp and
    /// configuration.
    pub fn get(
        &self,
        stamp: &Stamp,
        model_config: &ModelConfig,
        form: (usize, KvCacheType),
        tokens: &[u32],
    ) -> CachedState {
        let mut found = CachedState::default();
        if self.limit == Bytes(0) {
            return found;
        }
        let files = match self.folder.files(&stamp.short()) {
            Ok(files) => files,
            Err(source) => {
                found.notes.push(self.unusable(source));
                return found;
            }
        };
        let mut beginnings = Vec::new();
        for file in files {
            match beginning(&file.path, stamp, tokens) {
                Ok(Some(len)) => beginnings.push((len, file.path)),
                Ok(None) => {}
                Err(fault) => found.notes.extend(self.delete(file.path, fault)),
            }
        }
        beginnings.sort_by_key(|(len, _)| std::cmp::Reverse(*len));
        for (_, path) in beginnings {
            match read(&path, stamp, model_config, form) {
                Ok(mut state) => {
                    state.mark_turn();
                    self.folder.touch(&path);
                    found.state = Some(state);
                    break;
                }
                // Stored by a session with other settings: unusable here, but not damaged.
                Err(StateError::Kind { .. } | StateError::TooLong { .. }) => {}
                Err(fault) => found.notes.extend(self.delete(path, fault)),
            }
        }
        found
    }

    /// Stores `state`, which has computed `prompt` and nothing else. A failure does not affect the
    /// conversation.
    pub fn put(&self, stamp: &Stamp, prompt: &SystemPrompt, state: &SequenceState) -> Result<(), CacheNote> {
        if self.limit == Bytes(0) || prompt.0.is_empty() {
            return Ok(());
        }
        if state.tokens() != prompt.tokens() {
            return Err(CacheNote::NotThePrompt);
        }
        let size = Bytes(state.written_bytes(CheckpointRange::None) as u64);
        if size > self.limit {
            return Err(CacheNote::TooLarge { size, limit: self.limit });
        }
        let name = name(stamp, state);
        let write = |to: &mut File| state.write_to(stamp, CheckpointRange::None, to);
        let stored = self.folder.make_room(self.limit, size, &name).and_then(|()| self.folder.write(&name, write));
        stored.map_err(|source| self.unusable(source))
    }

    fn unusable(&self, source: io::Error) -> CacheNote {
        CacheNote::Unusable { path: self.folder.path().to_owned(), source }
    }

    /// Deletes a damaged file. One that is gone already or cannot be read is ignored.
    fn delete(&self, path: PathBuf, fault: StateError) -> Option<CacheNote> {
        match fault {
            StateError::Read(error) if error.kind() == io::ErrorKind::NotFound => None,
            StateError::Read(source) => Some(CacheNote::Unusable { path, source }),
            fault => {
                self.folder.remove(&path);
                Some(CacheNote::Deleted { path, fault })
            }
        }
    }
}

/// Name from the model, the number format of the KV cache, and the prompt; an equal name is
/// replaced.
fn name(stamp: &Stamp, state: &SequenceState) -> String {
    let mut hasher = Sha256::new();
    hasher.update(format!("{:?}", state.kind()));
    state.tokens().iter().for_each(|token| hasher.update(token.to_le_bytes()));
    let hash: String = hasher.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{hash}{}", stamp.short(), folder::EXTENSION)
}

/// Returns the number of tokens in the file, if they are the beginning of `tokens`.
fn beginning(path: &Path, stamp: &Stamp, tokens: &[u32]) -> Result<Option<usize>, StateError> {
    let mut file = BufReader::new(folder::open(path)?);
    let mut read = || -> Result<Option<usize>, StateError> {
        let peek = Peek::read_from(&mut file)?;
        if !peek.is_of(stamp) || peek.len() > tokens.len() {
            return Ok(None);
        }
        let mut stored = Vec::new();
        peek.read_tokens(&mut file, &mut stored)?;
        Ok(tokens.starts_with(&stored).then_some(stored.len()))
    };
    read().map_err(StateError::or_short)
}

fn read(
    path: &Path,
    stamp: &Stamp,
    model_config: &ModelConfig,
    (context, kind): (usize, KvCacheType),
) -> Result<SequenceState, StateError> {
    SequenceState::read_from(stamp, model_config, context, kind, folder::open(path)?)
}

#[cfg(test)]
mod tests;
