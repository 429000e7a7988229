//! whisper.cpp at work: one context, one state, used again and again.

use std::ffi::c_void;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use whisper_rs::{
    FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperState, WhisperTokenId,
};

use super::guard::{self, Guard, Patience};
use super::header::Blueprint;
use super::judge::{self, Reading, Verdict};
use super::{AsrError, Cancel, Segment, Transcript, windows};
use crate::config::Asr;
use crate::memory::Permit;
use crate::types::{Bytes, SampleRate};

/// Encoder positions per second of sound, and what is added so that the sound ends before the context does.
const POSITIONS_PER_SECOND: usize = 50;
const MARGIN: usize = 32;
/// Encoder positions are rounded up to this: whole tiles for the matrix kernels.
const POSITION_STEP: usize = 64;
/// The smallest encoder context: below it Whisper loses words.
const LEAST_POSITIONS: usize = 256;
/// Tokens that a sound may become: a margin, and what the quickest speaker of a language in small tokens needs.
const TOKENS_AT_LEAST: usize = 24;
const TOKENS_PER_SECOND: usize = 16;
/// Below this share another language is not believed.
const SURE_OF_LANGUAGE: f32 = 0.5;

/// A loaded Whisper model.
pub struct Whisper {
    // Before the context it points into: fields are dropped in order.
    state: WhisperState,
    context: WhisperContext,
    plan: Asr,
    audio_positions: usize,
    /// The language to understand in, as an index of whisper.cpp's; the last one heard when it is to be detected.
    language: usize,
    /// One for each language that was needed: whisper-rs leaks the string of each it makes.
    params: Vec<(usize, FullParams<'static, 'static>)>,
    _permit: Permit,
}

/// One pass over a window.
struct Attempt {
    tokens: Vec<Token>,
    no_speech: f32,
    /// The guard or the token limit ended it.
    circled: bool,
}

struct Token {
    id: WhisperTokenId,
    logprob: f32,
    bytes: Vec<u8>,
}

impl Whisper {
    /// What `model` will hold once loaded, caches and buffers included.
    pub fn planned_bytes(model: &Path) -> Result<Bytes, AsrError> {
        Ok(Blueprint::read(model)?.planned_bytes())
    }

    pub fn load(model: &Path, plan: &Asr, permit: Permit) -> Result<Whisper, AsrError> {
        whisper_rs::install_logging_hooks();
        let blueprint = Blueprint::read(model)?;
        let fail = |why: String| AsrError::Load { model: model.to_owned(), why };
        let mut parameters = WhisperContextParameters::default();
        // Flash attention is slower on a processor: 1.9 times with the tiled kernels.
        parameters.use_gpu(false).flash_attn(false);
        let context = WhisperContext::new_with_params(model, parameters).map_err(|error| fail(error.to_string()))?;
        let language = language_of(plan, context.is_multilingual(), model)?;
        let state = context.create_state().map_err(|error| fail(error.to_string()))?;
        Ok(Whisper {
            state,
            context,
            plan: plan.clone(),
            audio_positions: blueprint.audio_positions(),
            language,
            params: Vec::new(),
            _permit: permit,
        })
    }

    /// Recognises a sound at 16 kHz of any length. Longer than 28 s, it is cut where it is quietest.
    pub fn transcribe(&mut self, samples: &[f32], cancel: &Cancel) -> Result<Transcript, AsrError> {
        self.transcribe_windows(samples, &windows::cut(samples), cancel)
    }

    /// Recognises only the `spans` of a sound in which voice activity heard somebody: in order, not overlapping, in
    /// samples. Times in the transcript count from the start of `samples`.
    pub fn transcribe_spans(
        &mut self,
        samples: &[f32],
        spans: &[Range<usize>],
        cancel: &Cancel,
    ) -> Result<Transcript, AsrError> {
        self.transcribe_windows(samples, &windows::gather(samples, spans), cancel)
    }

    fn transcribe_windows(
        &mut self,
        samples: &[f32],
        windows: &[Range<usize>],
        cancel: &Cancel,
    ) -> Result<Transcript, AsrError> {
        let mut pieces = Vec::with_capacity(windows.len());
        for window in windows {
            let reading = self.read_window(&samples[window.clone()], cancel)?;
            let length = SampleRate::HEARING.duration(window.len());
            let verdict = judge::verdict(&reading, length, &self.plan);
            pieces.push((window.clone(), reading, verdict));
        }
        let language = whisper_rs::get_lang_str(self.language as i32).unwrap_or("en");
        Ok(assemble(pieces, language))
    }

    /// What one window says. Sound in which nobody can be speaking never reaches Whisper.
    fn read_window(&mut self, samples: &[f32], cancel: &Cancel) -> Result<Result<Reading, judge::NoSpeech>, AsrError> {
        if let Some(nothing) = judge::without_listening(samples) {
            return Ok(Err(nothing));
        }
        let fitted = self.fitted_positions(samples.len());
        let mut attempt = self.attempt(samples, fitted, Patience::Short, cancel)?;
        if self.correct_language()? {
            attempt = self.attempt(samples, fitted, Patience::Short, cancel)?;
        }
        if fitted < self.audio_positions && judge::worth_another_look(&attempt.reading(), &self.plan) {
            let second = self.attempt(samples, self.audio_positions, Patience::Long, cancel)?;
            if second.reading().logprob >= attempt.reading().logprob || attempt.circled {
                attempt = second;
            }
        }
        Ok(Ok(attempt.reading()))
    }

    /// The encoder context for so many samples. Its work grows with more than the square of it.
    fn fitted_positions(&self, samples: usize) -> usize {
        let needed = (samples * POSITIONS_PER_SECOND).div_ceil(SampleRate::HEARING.0 as usize) + MARGIN;
        needed.next_multiple_of(POSITION_STEP).clamp(LEAST_POSITIONS, self.audio_positions)
    }

    fn attempt(
        &mut self,
        samples: &[f32],
        positions: usize,
        patience: Patience,
        cancel: &Cancel,
    ) -> Result<Attempt, AsrError> {
        if cancel.is_cancelled() {
            return Err(AsrError::Cancelled);
        }
        let limit = TOKENS_AT_LEAST + samples.len() * TOKENS_PER_SECOND / SampleRate::HEARING.0 as usize;
        let end_of_text = self.context.token_eot();
        let guard = Guard { patience, end_of_text, vocabulary: self.context.n_vocab() as usize };
        let mut params = self.params();
        params.set_audio_ctx(positions as i32);
        params.set_max_tokens(limit as i32);
        // SAFETY: whisper.cpp calls both only inside `full` below, which `cancel` and `guard` outlive; `aborted` and
        // `filter` read what these pointers point to, and nothing writes to it but the atomic itself.
        unsafe {
            params.set_abort_callback(Some(aborted));
            params.set_abort_callback_user_data(std::ptr::from_ref::<AtomicBool>(&cancel.0).cast_mut().cast());
            params.set_filter_logits_callback(Some(guard::filter));
            params.set_filter_logits_callback_user_data(std::ptr::from_ref(&guard).cast_mut().cast());
        }
        let done = self.state.full(params, samples);
        if cancel.is_cancelled() {
            return Err(AsrError::Cancelled);
        }
        done.map_err(|error| AsrError::Run { why: error.to_string() })?;
        Ok(Attempt::collect(&self.state, end_of_text, patience))
    }

    /// The parameters for the present language, made once.
    fn params(&mut self) -> FullParams<'static, 'static> {
        if let Some((_, params)) = self.params.iter().find(|(language, _)| *language == self.language) {
            return params.clone();
        }
        let params = greedy(self.plan.threads, whisper_rs::get_lang_str(self.language as i32));
        self.params.push((self.language, params.clone()));
        params
    }

    /// If the language is to be detected, asks the decoder about the sound that was just encoded, which costs one
    /// token. True when it was another than thought, and all has to be read again.
    fn correct_language(&mut self) -> Result<bool, AsrError> {
        if self.plan.language.is_some() || !self.context.is_multilingual() {
            return Ok(false);
        }
        let fail = |error: whisper_rs::WhisperError| AsrError::Run { why: error.to_string() };
        self.state.decode(&[self.context.token_sot()], 0, self.plan.threads).map_err(fail)?;
        let logits = self.state.get_logits().map_err(fail)?;
        let languages = (0..=whisper_rs::get_lang_max_id())
            .filter_map(|id| Some((id as usize, *logits.get(self.context.token_lang(id) as usize)?)));
        let Some((language, share)) = most_likely(languages) else { return Ok(false) };
        let another = language != self.language && share >= SURE_OF_LANGUAGE;
        if another {
            self.language = language;
        }
        Ok(another)
    }
}

/// The index of the planned language. Until one is detected, English is assumed.
fn language_of(plan: &Asr, multilingual: bool, model: &Path) -> Result<usize, AsrError> {
    let code = plan.language.as_deref().unwrap_or("en");
    let refuse = || AsrError::Language { language: code.to_owned() };
    // whisper.cpp also takes whole English names; a code has at most three letters.
    if code.is_empty() || code.len() > 3 || !code.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Err(refuse());
    }
    if !multilingual && code != "en" {
        return Err(AsrError::EnglishOnly { model: PathBuf::from(model), language: code.to_owned() });
    }
    whisper_rs::get_lang_id(code).and_then(|id| usize::try_from(id).ok()).ok_or_else(refuse)
}

/// One greedy pass, no timestamps, nothing carried over, nothing printed, and no second thoughts of whisper.cpp's own:
/// whether to try again is decided here.
fn greedy(threads: usize, language: Option<&'static str>) -> FullParams<'static, 'static> {
    let mut params = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
    params.set_n_threads(threads.clamp(1, 64) as i32);
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

/// whisper.cpp's abort callback: true ends the call.
///
/// # Safety
/// `flag` points to an [`AtomicBool`].
unsafe extern "C" fn aborted(flag: *mut c_void) -> bool {
    // SAFETY: promised by the caller.
    unsafe { &*flag.cast::<AtomicBool>() }.load(Ordering::Relaxed)
}

/// The index of the largest logit, and its share among those given.
fn most_likely(logits: impl Iterator<Item = (usize, f32)> + Clone) -> Option<(usize, f32)> {
    let (best, highest) = logits.clone().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    let sum: f32 = logits.map(|(_, logit)| (logit - highest).exp()).sum();
    Some((best, 1.0 / sum))
}

impl Attempt {
    fn collect(state: &WhisperState, end_of_text: WhisperTokenId, patience: Patience) -> Self {
        let mut attempt = Attempt { tokens: Vec::new(), no_speech: 0.0, circled: false };
        for segment in state.as_iter() {
            attempt.no_speech = attempt.no_speech.max(segment.no_speech_probability());
            for token in (0..segment.n_tokens()).filter_map(|index| segment.get_token(index)) {
                let bytes = token.to_bytes().map(<[u8]>::to_vec).unwrap_or_default();
                attempt.tokens.push(Token { id: token.token_id(), logprob: token.token_data().plog, bytes });
            }
        }
        attempt.tidy(end_of_text, patience);
        attempt
    }

    /// Leaves a circle that was stopped going round once. A text without an end ran into the limit.
    fn tidy(&mut self, end_of_text: WhisperTokenId, patience: Patience) {
        let text = self.tokens.iter().position(|token| token.id >= end_of_text);
        let ended = text.is_some();
        let ids: Vec<_> = self.tokens[..text.unwrap_or(self.tokens.len())].iter().map(|token| token.id).collect();
        let kept = guard::without_circle(&ids, patience);
        self.circled = kept < ids.len() || (!ended && !self.tokens.is_empty());
        self.tokens.drain(kept..ids.len());
    }

    fn reading(&self) -> Reading {
        let count = self.tokens.len().max(1) as f32;
        let text: Vec<u8> =
            self.tokens.iter().filter(|t| !t.bytes.starts_with(b"[_")).flat_map(|t| t.bytes.clone()).collect();
        Reading {
            text: String::from_utf8_lossy(&text).trim().to_owned(),
            logprob: self.tokens.iter().map(|token| token.logprob).sum::<f32>() / count,
            no_speech: self.no_speech,
            circled: self.circled,
        }
    }
}

type Piece = (Range<usize>, Result<Reading, judge::NoSpeech>, Verdict);

/// The transcript of all windows: their texts in order, and the least certain of their verdicts among those that hold
/// words. Only when none does, nothing was said.
fn assemble(pieces: Vec<Piece>, language: &str) -> Transcript {
    let verdict = judge::overall(pieces.iter().map(|(_, _, verdict)| verdict));
    let heard = pieces.into_iter().filter_map(|(window, reading, verdict)| {
        let reading = reading.ok().filter(|_| !matches!(verdict, Verdict::Nothing(_)))?;
        Some(Segment {
            start: SampleRate::HEARING.duration(window.start),
            end: SampleRate::HEARING.duration(window.end),
            confidence: reading.logprob.exp(),
            no_speech: reading.no_speech,
            text: reading.text,
            verdict,
        })
    });
    let segments: Vec<Segment> = heard.collect();
    let weight: f64 = segments.iter().map(|s| s.end.0 - s.start.0).sum();
    let logprob: f64 = segments.iter().map(|s| f64::from(s.confidence).ln() * (s.end.0 - s.start.0)).sum();
    Transcript {
        text: segments.iter().map(|segment| segment.text.as_str()).collect::<Vec<_>>().join(" "),
        language: language.to_owned(),
        confidence: if weight > 0.0 { (logprob / weight).exp() as f32 } else { 0.0 },
        segments,
        verdict,
    }
}
