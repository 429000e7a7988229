//! Whisper in whisper.cpp: one context and one state, used again and again.

use std::ffi::c_void;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use whisper_rs::{
    FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperState, WhisperTokenId,
};

use super::attempt::{Attempt, DecodedToken, Span, token_limit};
use super::backend::{AsrBackend, DecodeEffort};
use super::context::Context;
use super::guard::{self, Guard, RetryLimit};
use super::header::WhisperDims;
use super::idle::idle_cores;
use super::language::{AsrLanguage, OtherLanguage, share};
use super::verdict::{self, Decoded};
use super::{AsrError, Cancel};
use crate::config::AsrPlan;
use crate::types::{Bytes, Ms};

/// Whisper model loaded into whisper.cpp.
pub struct WhisperCpp {
    // The state comes before the context it points into: fields are dropped in order.
    state: WhisperState,
    context: WhisperContext,
    plan: AsrPlan,
    sizes: Context,
    /// Language of the transcription; the last one detected when it is detected automatically.
    language: AsrLanguage,
    /// Parameters for each language used so far, without timestamps: whisper-rs leaks the string of
    /// each that it makes.
    params: Vec<(AsrLanguage, FullParams<'static, 'static>)>,
}

/// The decoder's judgement of the sound before the first text token.
struct Impression {
    no_speech: f32,
    /// Language, where the decoder is certain of one.
    language: Option<AsrLanguage>,
    other_language: Option<OtherLanguage>,
}

/// Options of one transcription.
#[derive(Clone, Copy)]
struct Task {
    positions: usize,
    patience: RetryLimit,
    timed: bool,
}

impl WhisperCpp {
    /// Bytes that `model` will hold once loaded, caches and buffers included.
    pub fn planned_bytes(model: &Path) -> Result<Bytes, AsrError> {
        Ok(WhisperDims::read(model)?.planned_bytes())
    }

    pub fn load(model: &Path, plan: &AsrPlan) -> Result<Self, AsrError> {
        whisper_rs::install_logging_hooks();
        let dims = WhisperDims::checked(model)?;
        let fail = |why: String| AsrError::Load { model: model.to_owned(), why };
        let mut parameters = WhisperContextParameters::default();
        // On a CPU flash attention does not use the tiled kernels, and the whole takes 1.8 times as
        // long.
        parameters.use_gpu(false).flash_attn(false);
        let context = WhisperContext::new_with_params(model, parameters).map_err(|error| fail(error.to_string()))?;
        let language = AsrLanguage::planned(plan, context.is_multilingual(), model)?;
        let state = context.create_state().map_err(|error| fail(error.to_string()))?;
        Ok(WhisperCpp {
            state,
            context,
            plan: plan.clone(),
            sizes: Context::new(dims.width(), dims.audio_positions()),
            language,
            params: Vec::new(),
        })
    }

    fn attempt(&mut self, samples: &[f32], task: Task, cancel: &Cancel) -> Result<Decoded, AsrError> {
        if cancel.is_cancelled() {
            return Err(AsrError::Cancelled);
        }
        let Task { positions, patience, timed } = task;
        let end_of_text = self.context.token_eot();
        let guard = Guard { patience, end_of_text, vocabulary: self.context.n_vocab() as usize };
        let mut params = self.params();
        params.set_n_threads(self.threads() as i32);
        params.set_audio_ctx(positions as i32);
        params.set_no_timestamps(!timed);
        params.set_single_segment(!timed);
        let limit = token_limit(samples.len());
        params.set_max_tokens(limit as i32);
        // SAFETY: whisper.cpp calls both only inside `full` below, which `cancel` and `guard`
        // outlive; `aborted` and `filter` read what these pointers point to, and nothing writes to
        // it but the atomic itself.
        unsafe {
            params.set_abort_callback(Some(aborted));
            params.set_abort_callback_user_data(std::ptr::from_ref(cancel.flag()).cast_mut().cast());
            params.set_filter_logits_callback(Some(guard::filter));
            params.set_filter_logits_callback_user_data(std::ptr::from_ref(&guard).cast_mut().cast());
        }
        let done = self.state.full(params, samples);
        if cancel.is_cancelled() {
            return Err(AsrError::Cancelled);
        }
        done.map_err(|error| AsrError::Run { why: error.to_string() })?;
        Ok(collect(&self.state, end_of_text, task, limit).decoded())
    }

    /// Parameters for the current language, made once.
    fn params(&mut self) -> FullParams<'static, 'static> {
        if let Some((_, params)) = self.params.iter().find(|(language, _)| *language == self.language) {
            return params.clone();
        }
        let params = greedy(Some(self.language.code()));
        self.params.push((self.language, params.clone()));
        params
    }

    /// Number of threads: the idle cores, but at least the number that the plan allows on a busy
    /// machine. whisper.cpp's threads wait for each other in a busy loop, so more than the idle
    /// cores would slow it down.
    fn threads(&self) -> usize {
        let (least, most) = (self.plan.threads_beside, self.plan.threads);
        idle_cores().map_or(least, |idle| idle.clamp(least, most))
    }

    /// Asks the decoder for its first token on the sound that was just encoded: is it speech, and
    /// in which language? It costs one token. whisper.cpp's own no-speech probability is taken some
    /// tokens later, where it is always near zero; OpenAI takes it here.
    fn first_impression(&mut self) -> Result<Impression, AsrError> {
        let fail = |error: whisper_rs::WhisperError| AsrError::Run { why: error.to_string() };
        self.state.decode(&[self.context.token_sot()], 0, self.threads()).map_err(fail)?;
        let logits = self.state.get_logits().map_err(fail)?;
        let silence = share(logits.iter().copied(), logits.get(self.context.token_nosp() as usize).copied());
        let languages = (0..=whisper_rs::get_lang_max_id()).map(|id| self.context.token_lang(id) as usize);
        let languages: Vec<f32> = languages.map_while(|token| logits.get(token).copied()).collect();
        let other_language = self.language.other(&languages).filter(|_| self.context.is_multilingual());
        Ok(Impression { no_speech: silence, language: AsrLanguage::detected(&languages), other_language })
    }
}

impl AsrBackend for WhisperCpp {
    fn read(
        &mut self,
        samples: &[f32],
        effort: DecodeEffort,
        timed: bool,
        cancel: &Cancel,
    ) -> Result<Decoded, AsrError> {
        let fitted = self.sizes.fitted(samples.len());
        let task = Task { positions: fitted, patience: RetryLimit::Short, timed };
        let mut decoded = self.attempt(samples, task, cancel)?;
        let Impression { no_speech, language, other_language } = self.first_impression()?;
        if self.language.follow(language, &self.plan, self.context.is_multilingual()) {
            decoded = self.attempt(samples, task, cancel)?;
        }
        let is_noise = verdict::is_noise(no_speech, decoded.logprob, &self.plan);
        for (positions, patience) in self.sizes.more(fitted) {
            if effort == DecodeEffort::Draft || !decoded.circled || is_noise {
                break;
            }
            decoded = self.attempt(samples, Task { positions, patience, ..task }, cancel)?;
        }
        Ok(Decoded { no_speech, other_language: other_language.filter(|_| self.plan.language.is_some()), ..decoded })
    }

    /// Whether a cancelled run stops at once. The abort callback is called between passes, and the
    /// pass over the sound takes most of the time.
    fn stops_at_once(&self) -> bool {
        false
    }

    fn language(&self) -> AsrLanguage {
        self.language
    }

    fn understand_in(&mut self, language: AsrLanguage) {
        self.language = language;
    }
}

/// Parameters of one greedy pass: no timestamps, no context carried over, no output, and none of
/// whisper.cpp's own retries, since this module decides on them.
fn greedy(language: Option<&'static str>) -> FullParams<'static, 'static> {
    let mut params = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
    params.set_language(language);
    params.set_translate(false);
    params.set_no_context(true);
    params.set_no_timestamps(true);
    params.set_single_segment(true);
    params.set_suppress_blank(true);
    params.set_suppress_nst(true);
    params.set_temperature(0.0);
    params.set_temperature_inc(0.0);
    params.set_logprob_thold(f32::NEG_INFINITY);
    params.set_no_speech_thold(1.0);
    params.set_print_progress(false);
    params.set_print_realtime(false);
    params.set_print_special(false);
    params.set_print_timestamps(false);
    params
}

/// Abort callback of whisper.cpp: true ends the call.
///
/// # Safety
/// `flag` points to an [`AtomicBool`].
unsafe extern "C" fn aborted(flag: *mut c_void) -> bool {
    // SAFETY: promised by the caller.
    unsafe { &*flag.cast::<AtomicBool>() }.load(Ordering::Relaxed)
}

fn collect(state: &WhisperState, end_of_text: WhisperTokenId, task: Task, limit: usize) -> Attempt {
    let Task { patience, timed, .. } = task;
    let (mut tokens, mut spans) = (Vec::new(), Vec::new());
    for segment in state.as_iter() {
        let from = tokens.len();
        for token in (0..segment.n_tokens()).filter_map(|index| segment.get_token(index)) {
            let id = token.token_id();
            // With timestamps, after which it writes no end of the text.
            if timed && id >= end_of_text {
                continue;
            }
            let bytes = token.to_bytes().ok().filter(|_| id < end_of_text).unwrap_or_default().to_vec();
            tokens.push(DecodedToken { id, logprob: token.token_data().plog, bytes });
        }
        if timed {
            let [start, end] = [segment.start_timestamp(), segment.end_timestamp()].map(|time| Ms(time as f64 * 10.0));
            spans.push(Span { start, end, tokens: from..tokens.len() });
        }
    }
    let ended = tokens.last().is_none_or(|token| token.id == end_of_text);
    let ran_out = if timed { tokens.len() >= limit } else { !ended };
    Attempt { tokens, spans, circled: false }.tidied(end_of_text, patience, ran_out)
}
