//! A language model in memory, and the memory it needs.

use std::path::Path;

use sotto_kernels::{Best, Pool};

use super::LlmError;
use super::ends::Ends;
use super::model::Model;
use super::model_config::ModelConfig;
use super::notes::ModelNote;
use super::prompt_cache::{CacheNote, PromptCache, SystemPrompt};
use super::sampler::Sampler;
use super::source::ModelSource;
use super::speculation::Speculator;
use super::state::{KvCacheType, SequenceState, Stamp};
use super::template::{ChatFormat, ChatMessage, Thinking, Tool};
use super::tokenizer::{Tokenizer, TokenizerFault};
use crate::config::{self, SpeculativeDecoding};
use crate::memory::{self, Permit};
use crate::priority;
use crate::types::Bytes;

/// Memory needed on top for any model: thread stacks, the kernels' panels, code pages, the
/// tokenizer's pattern, allocator overhead. SmolLM2 with a full context of 2,048 held 1.2 MiB more
/// than the sum of its parts.
const OVERHEAD: u64 = 4 * Bytes::MIB;

/// Bytes for each token if the head is screened: its bound, and its share of the working memory.
const SCREEN_BYTES_PER_TOKEN: u64 = 5;

/// A model ready to answer, with the permit for its memory.
pub struct Llm {
    pub(super) model: Model,
    pub(super) tokenizer: Tokenizer,
    pub(super) format: ChatFormat,
    pub(super) settings: config::LlmPlan,
    /// Identity of the model, which stored states must match.
    pub(super) stamp: Stamp,
    pub(super) speculator: Speculator,
    /// Tokens that end a sentence.
    pub(super) ends: Ends,
    /// Computed system prompts on disk, if any are kept.
    pub(super) prompt_cache: Option<PromptCache>,
    cache_notes: Vec<CacheNote>,
    notes: Vec<ModelNote>,
    planned: Bytes,
    _permit: Permit,
}

/// A model with checked headers and no loaded weights: its memory needs are known.
pub(super) struct Prepared {
    source: ModelSource,
    model_config: ModelConfig,
    settings: config::LlmPlan,
    /// Whether to load the model's own draft block.
    drafting: bool,
    notes: Vec<ModelNote>,
    planned: Bytes,
}

impl Prepared {
    pub fn new(source: ModelSource, settings: config::LlmPlan) -> Result<Self, LlmError> {
        let (mut settings, model_config, mut notes) = (settings, source.model_config()?, source.notes());
        notes.extend(fit_context(&source, &model_config, &mut settings)?);
        let drafting = settings.speculative_decoding == SpeculativeDecoding::Auto && source.drafts();
        let planned = planned(&source, &model_config, &settings, drafting)?;
        Ok(Prepared { source, model_config, settings, drafting, notes, planned })
    }

    /// See [`Llm::planned_bytes`].
    pub fn planned(&self) -> Bytes {
        self.planned
    }

    /// See [`Llm::load`].
    pub fn load(self, permit: Permit) -> Result<Llm, LlmError> {
        let Prepared { source, model_config, settings, drafting, notes, planned } = self;
        if permit.bytes() < planned {
            return Err(LlmError::Permit { path: source.path().to_owned(), granted: permit.bytes(), planned });
        }
        let tokenizer = source.tokenizer()?;
        let (rows, tokens) = (model_config.vocabulary, tokenizer.used());
        if tokens > rows {
            let fault = TokenizerFault::TooMany { rows, tokens };
            return Err(LlmError::DamagedTokenizer { path: source.path().to_owned(), fault });
        }
        let format = source.format(&model_config, &tokenizer)?;
        memory::give_back_freed();
        // The thread that answers lowers its own priority and reports a refusal by the system.
        let wanted = settings.priority;
        let begin = move || drop(priority::take(wanted));
        let mut model = source.load_on(Pool::started_by(settings.threads, begin), drafting)?;
        let stamp = Stamp::new(&source, &model)?;
        let speculator = Speculator::new(&mut model, tokenizer.used(), &settings);
        let ends = Ends::of(&tokenizer);
        Ok(Llm {
            model,
            tokenizer,
            format,
            settings,
            stamp,
            speculator,
            ends,
            prompt_cache: None,
            cache_notes: Vec::new(),
            notes,
            planned,
            _permit: permit,
        })
    }
}

impl Llm {
    /// Returns the most memory that [`Llm::load`] and one session over the full context will
    /// hold: mapped file, keys and values, activations, tokenizer.
    pub fn planned_bytes(path: &Path, settings: &config::LlmPlan) -> Result<Bytes, LlmError> {
        Ok(Prepared::new(ModelSource::open(path)?, settings.clone())?.planned)
    }

    /// Maps the file, checks all of it against its own metadata and brings the weights into memory.
    pub fn load(path: &Path, settings: &config::LlmPlan, permit: Permit) -> Result<Self, LlmError> {
        Prepared::new(ModelSource::open(path)?, settings.clone())?.load(permit)
    }

    pub fn planned(&self) -> Bytes {
        self.planned
    }

    /// Takes the system prompts of new sessions from `cache` from now on, and stores them there.
    pub fn set_prompt_cache(&mut self, cache: PromptCache) {
        self.prompt_cache = Some(cache);
    }

    /// Returns the notes about the prompt cache since the last call.
    pub fn take_cache_notes(&mut self) -> Vec<CacheNote> {
        std::mem::take(&mut self.cache_notes)
    }

    /// Notes about the model.
    pub fn notes(&self) -> &[ModelNote] {
        &self.notes
    }

    /// Largest number of tokens of prompt and answer together.
    pub fn context(&self) -> usize {
        self.settings.context()
    }

    pub fn model_config(&self) -> &ModelConfig {
        self.model.model_config()
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Name of the instruction set in use.
    pub fn kernels(&self) -> &'static str {
        self.model.simd().name()
    }

    /// Creates an empty state, for work below the level of a conversation.
    pub fn state(&self) -> SequenceState {
        SequenceState::with_cache(self.model.model_config(), self.context(), self.kv_cache())
    }

    /// Number format of the KV cache.
    pub fn kv_cache(&self) -> KvCacheType {
        self.settings.kv_cache.into()
    }

    /// Largest number of bytes of one session. [`Llm::planned_bytes`] counts the first one; further
    /// ones are for their owner to reserve.
    pub fn session_bytes(&self) -> Bytes {
        let planned = SequenceState::planned_bytes_with(self.model_config(), self.context(), self.kv_cache());
        planned.map_or(Bytes(u64::MAX), |bytes| Bytes(bytes as u64))
    }

    /// Creates a sampler that only chooses tokens in this model's tokenizer.
    pub(super) fn sampler(&self, sampling: &config::Sampling) -> Sampler {
        Sampler::new(sampling).within(self.tokenizer.used())
    }

    /// Computes `tokens` after those of `state`; [`Llm::logits`] then returns the logits of the
    /// last.
    ///
    /// Panics when the tokens do not fit the context or are not of the vocabulary.
    pub fn forward(&mut self, state: &mut SequenceState, tokens: &[u32]) {
        self.model.forward(state, tokens);
    }

    /// Does [`Llm::forward`] with logits for the best tokens only: see [`Model::forward_best`].
    pub fn forward_best(&mut self, state: &mut SequenceState, tokens: &[u32], best: Best) {
        self.model.forward_best(state, tokens, best);
    }

    /// Logits after the last position of `state`; see [`Model::logits`].
    pub fn logits(&mut self, state: &SequenceState) -> Option<&mut [f32]> {
        self.model.logits(state)
    }

    /// Logits after the last position of `state`, of the best tokens at least; see
    /// [`Model::best_logits`].
    pub fn best_logits(&mut self, state: &SequenceState) -> Option<&mut [f32]> {
        self.model.best_logits(state)
    }

    /// Brings `state` to `prompt` with its logits available; computes only the tokens after the
    /// common beginning. Returns the number of tokens computed.
    pub(super) fn compute(&mut self, state: &mut SequenceState, prompt: &[u32]) -> usize {
        let known = state.tokens().iter().zip(prompt).take_while(|(a, b)| a == b).count();
        self.rollback(state, known);
        if known == prompt.len() {
            return usize::from(self.model.recompute_logits(state));
        }
        self.forward(state, &prompt[known..]);
        prompt.len() - known
    }

    /// Returns a state after `prompt`, and the number of tokens computed: the state stored in the
    /// prompt cache, or one computed now and stored there.
    pub(super) fn start(&mut self, prompt: &SystemPrompt) -> (SequenceState, usize) {
        let form = (self.context(), self.kv_cache());
        let get = |cache: &PromptCache| cache.get(&self.stamp, self.model.model_config(), form, prompt.tokens());
        let found = self.prompt_cache.as_ref().map(get).unwrap_or_default();
        self.cache_notes.extend(found.notes);
        let mut state = found.state.unwrap_or_else(|| self.state());
        let computed = self.compute(&mut state, prompt.tokens());
        state.mark_turn();
        if let Some(cache) = self.prompt_cache.as_ref().filter(|_| computed > 0) {
            self.cache_notes.extend(cache.put(&self.stamp, prompt, &state).err());
        }
        (state, computed)
    }

    /// Renders the tokens of a prompt for the next answer to `messages`.
    pub(super) fn prompt(
        &self,
        messages: &[ChatMessage],
        tools: &[Tool],
        thinking: Thinking,
    ) -> Result<Vec<u32>, LlmError> {
        self.format.prompt(&self.tokenizer, &self.format.render(messages, tools, thinking)?)
    }

    /// Returns the tokens of an answer cut to `heard`: the `tokens` that lie within it, and the
    /// remaining text tokenized anew. `None` if that text cannot be tokenized.
    pub(super) fn tokens_heard(&self, tokens: &[u32], heard: &str) -> Option<Vec<u32>> {
        let mut rest = heard.as_bytes();
        let mut kept = 0;
        while let Some(more) = tokens.get(kept).and_then(|&token| rest.strip_prefix(self.tokenizer.bytes(token))) {
            rest = more;
            kept += 1;
        }
        // If a token ended inside a character, the rest begins inside it: that token is dropped
        // too.
        while !heard.is_char_boundary(heard.len() - rest.len()) {
            kept -= 1;
            rest = &heard.as_bytes()[heard.len() - rest.len() - self.tokenizer.bytes(tokens[kept]).len()..];
        }
        let rest = self.tokenizer.encode(std::str::from_utf8(rest).ok()?).ok()?;
        Some([&tokens[..kept], &rest].concat())
    }

    /// Bytes held now: the weights, what all sessions share, and an estimate for the tokenizer.
    /// Sessions are not included.
    pub fn bytes(&self) -> Bytes {
        let tokenizer = Tokenizer::held_bytes(self.tokenizer.vocabulary());
        Bytes((self.model.bytes() as u64 + tokenizer).saturating_add(self.shared_bytes().0))
    }

    /// Bytes of the workspace and of speculative decoding, which all sessions share.
    pub fn shared_bytes(&self) -> Bytes {
        Bytes((self.model.workspace_bytes() as u64).saturating_add(self.speculator.bytes()))
    }

    /// Rolls back to the first `len` positions, bit-identical to never having computed the rest;
    /// see [`Model::rollback`].
    pub fn rollback(&mut self, state: &mut SequenceState, len: usize) {
        self.model.rollback(state, len);
    }
}

/// Checks the context against the one the model was trained for. A requested context that is larger
/// is refused; the default is reduced.
fn fit_context(
    source: &ModelSource,
    model_config: &ModelConfig,
    settings: &mut config::LlmPlan,
) -> Result<Option<ModelNote>, LlmError> {
    let (asked, own, path) = (settings.context, model_config.context, || source.path().to_owned());
    let context = settings.context();
    if context <= own {
        return Ok(None);
    }
    if asked.is_some() {
        return Err(LlmError::Context { path: path(), asked: context, limit: own });
    }
    settings.context = Some(own);
    Ok(Some(ModelNote::Context { path: path(), own, usual: context }))
}

fn planned(
    source: &ModelSource,
    model_config: &ModelConfig,
    settings: &config::LlmPlan,
    drafting: bool,
) -> Result<Bytes, LlmError> {
    let too_large = || source.unsupported("a cache too large to be counted", "a smaller context");
    let kind = KvCacheType::from(settings.kv_cache);
    let state = SequenceState::planned_bytes_with(model_config, settings.context(), kind).ok_or_else(too_large)?;
    let work = Model::planned_workspace_bytes(model_config).ok_or_else(too_large)?;
    let tokenizer = Tokenizer::held_bytes(model_config.vocabulary);
    let screen = model_config.vocabulary as u64 * SCREEN_BYTES_PER_TOKEN;
    let ahead = Speculator::planned_bytes(model_config, settings, drafting);
    let weights = source.resident_bytes(drafting);
    let running = [state as u64, work as u64, ahead, tokenizer, screen].into_iter().fold(weights, u64::saturating_add);
    // Memory for building the tokenizer is freed before the first weight is read.
    Ok(Bytes(running.max(Tokenizer::building_bytes(model_config.vocabulary)).saturating_add(OVERHEAD)))
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::super::testing;
    use super::super::{ChatRequest, ChatSession, LlmError, SamplingOptions};
    use super::*;
    use crate::memory::Budget;

    fn load(file: &[u8], budget: Bytes) -> Result<Llm, LlmError> {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), file).unwrap();
        let permit = Budget::new(budget).reserve("tiny", budget).unwrap();
        Llm::load(path.path(), &testing::settings(64, 4), permit)
    }

    #[test]
    fn a_model_is_loaded_only_under_a_permit_that_covers_it() {
        for family in ["llama", "qwen35"] {
            let file = testing::model(family).build();
            let planned = load(&file, Bytes::mib(64)).unwrap().planned();
            assert!(planned.0 > file.len() as u64 && planned < Bytes::mib(6), "{family} {planned}");
            assert!(load(&file, planned).is_ok());
            assert!(matches!(load(&file, Bytes(planned.0 - 1)), Err(LlmError::Permit { .. })));
        }
    }

    #[test]
    fn a_vocabulary_of_another_size_than_the_embedding_is_refused() {
        let file = testing::model_without_embedding("llama");
        let refused = load(&file.tensor("token_embd.weight", &[32, 5], &[0.0; 160]).build(), Bytes::mib(64));
        let message = refused.err().unwrap().to_string();
        assert!(message.contains("263 tokens") && message.contains("5 rows"), "{message}");
    }

    #[test]
    fn the_usual_context_gives_way_and_one_asked_for_does_not() {
        // The model was trained for 256.
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), testing::model("llama").build()).unwrap();
        for (asked, context, noted) in
            [(None, Some(256), true), (Some(128), Some(128), false), (Some(300), None, false)]
        {
            let settings = config::LlmPlan { context: asked, ..testing::settings(64, 4) };
            let permit = Budget::new(Bytes::mib(64)).reserve("tiny", Bytes::mib(64)).unwrap();
            let loaded = Llm::load(path.path(), &settings, permit);
            assert_eq!(loaded.as_ref().map(Llm::context).ok(), context, "{asked:?}");
            match loaded {
                Ok(llm) => assert_eq!(matches!(llm.notes(), [ModelNote::Context { own: 256, .. }]), noted, "{asked:?}"),
                Err(error) => assert!(error.to_string().contains("trained for 256"), "{error}"),
            }
        }
    }

    proptest::proptest! {
        /// A damaged file is refused, or gives meaningless answers; it never panics.
        #[test]
        fn damage_anywhere_never_panics(
            hits in proptest::collection::vec((0usize..200_000, 0u8..=255), 1..5),
            family in proptest::sample::select(vec!["qwen2", "qwen35"]),
        ) {
            let mut file = testing::model(family).build();
            for (at, byte) in hits {
                let at = at % file.len();
                file[at] = byte;
            }
            if let Ok(mut llm) = load(&file, Bytes::mib(64)) {
                let options = SamplingOptions { max_tokens: 4, ..SamplingOptions::default() };
                let request = ChatRequest { messages: &[ChatMessage::user("Hi")], tools: &[], options: &options };
                let _ = ChatSession::new().generate(&mut llm, &request, &mut |_| ControlFlow::Continue(()));
            }
        }
    }
}
