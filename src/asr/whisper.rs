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
use super::idle::idle_cores;
use super::judge::{self, NoSpeech, Reading, Verdict};
use super::{AsrError, Cancel, Segment, Transcript, windows};
use crate::config::Asr;
use crate::memory::Permit;
use crate::types::{Bytes, SampleRate};

/// Encoder positions per second of sound, and what is added so that the sound ends before the context does.
const POSITIONS_PER_SECOND: usize = 50;
const MARGIN: usize = 32;
/// Encoder positions are rounded up to this: whole tiles for the matrix kernels.
const POSITION_STEP: usize = 64;
/// The smallest encoder context, by the width of the model. With less, tiny goes in circles in one of six utterances.
const LEAST_POSITIONS: usize = 256;
const LEAST_POSITIONS_TINY: usize = 512;
const TINY: usize = 384;
/// A context in which circles are rare in any model.
const SAFE_POSITIONS: usize = 512;
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
    least_positions: usize,
    /// The language to understand in, as an index of whisper.cpp's; the last one heard when it is to be detected.
    language: usize,
    /// One for each language that was needed: whisper-rs leaks the string of each it makes.
    params: Vec<(usize, FullParams<'static, 'static>)>,
    _permit: Permit,
}

/// What the decoder thinks before it writes anything.
struct Impression {
    no_speech: f32,
    /// The language, where it is sure of one.
    language: Option<usize>,
}

/// The tokens of one pass over a window.
struct Attempt {
    tokens: Vec<Token>,
    /// The guard or the token limit ended it.
    circled: bool,
}

struct Token {
    id: WhisperTokenId,
    logprob: f32,
    /// Empty for tokens that are no text. A character may be spread over several.
    bytes: Vec<u8>,
}

impl Whisper {
    /// What `model` will hold once loaded, caches and buffers included.
    pub fn planned_bytes(model: &Path) -> Result<Bytes, AsrError> {
        Ok(Blueprint::read(model)?.planned_bytes())
    }

    pub fn load(model: &Path, plan: &Asr, permit: Permit) -> Result<Whisper, AsrError> {
        whisper_rs::install_logging_hooks();
        let blueprint = Blueprint::checked(model)?;
        let fail = |why: String| AsrError::Load { model: model.to_owned(), why };
        let mut parameters = WhisperContextParameters::default();
        // On a processor flash attention does not use the tiled kernels, and the whole takes 1.8 times as long.
        parameters.use_gpu(false).flash_attn(false);
        let context = WhisperContext::new_with_params(model, parameters).map_err(|error| fail(error.to_string()))?;
        let language = language_of(plan, context.is_multilingual(), model)?;
        let state = context.create_state().map_err(|error| fail(error.to_string()))?;
        Ok(Whisper {
            state,
            context,
            plan: plan.clone(),
            audio_positions: blueprint.audio_positions(),
            least_positions: if blueprint.width() > TINY { LEAST_POSITIONS } else { LEAST_POSITIONS_TINY },
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
    fn read_window(&mut self, samples: &[f32], cancel: &Cancel) -> Result<Result<Reading, NoSpeech>, AsrError> {
        if let Some(nothing) = judge::without_listening(samples) {
            return Ok(Err(nothing));
        }
        let fitted = self.fitted_positions(samples.len());
        let mut reading = self.attempt(samples, fitted, Patience::Short, cancel)?;
        let Impression { no_speech, language } = self.first_impression()?;
        if self.is_another(language) {
            reading = self.attempt(samples, fitted, Patience::Short, cancel)?;
        }
        for (positions, patience) in self.more_positions(fitted) {
            if !reading.circled || no_speech > self.plan.max_no_speech {
                break;
            }
            reading = self.attempt(samples, positions, patience, cancel)?;
        }
        Ok(Ok(Reading { no_speech, ..reading }))
    }

    /// If the language is to be detected and is now sure to be another than thought, takes it up; all has to be read
    /// again then.
    fn is_another(&mut self, language: Option<usize>) -> bool {
        let wanted = self.plan.language.is_none() && self.context.is_multilingual();
        match language {
            Some(language) if wanted && language != self.language => {
                self.language = language;
                true
            }
            _ => false,
        }
    }

    /// The encoder context for so many samples. Its work grows with more than the square of it.
    fn fitted_positions(&self, samples: usize) -> usize {
        let needed = (samples * POSITIONS_PER_SECOND).div_ceil(SampleRate::HEARING.0 as usize) + MARGIN;
        needed.next_multiple_of(POSITION_STEP).clamp(self.least_positions, self.audio_positions)
    }

    /// What is tried, in order, when the text went in circles with the fitted context.
    fn more_positions(&self, fitted: usize) -> impl Iterator<Item = (usize, Patience)> + use<> {
        let whole = self.audio_positions;
        let twice = (2 * fitted).max(SAFE_POSITIONS).min(whole);
        let steps = [(twice, Patience::Short), (whole, Patience::Long)];
        steps.into_iter().filter(move |&(positions, patience)| {
            positions > fitted && (patience == Patience::Long || positions < whole)
        })
    }

    fn attempt(
        &mut self,
        samples: &[f32],
        positions: usize,
        patience: Patience,
        cancel: &Cancel,
    ) -> Result<Reading, AsrError> {
        if cancel.is_cancelled() {
            return Err(AsrError::Cancelled);
        }
        let limit = TOKENS_AT_LEAST + samples.len() * TOKENS_PER_SECOND / SampleRate::HEARING.0 as usize;
        let end_of_text = self.context.token_eot();
        let guard = Guard { patience, end_of_text, vocabulary: self.context.n_vocab() as usize };
        let mut params = self.params();
        params.set_n_threads(self.threads() as i32);
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
        Ok(Attempt::collect(&self.state, end_of_text, patience).reading())
    }

    /// The parameters for the present language, made once.
    fn params(&mut self) -> FullParams<'static, 'static> {
        if let Some((_, params)) = self.params.iter().find(|(language, _)| *language == self.language) {
            return params.clone();
        }
        let params = greedy(whisper_rs::get_lang_str(self.language as i32));
        self.params.push((self.language, params.clone()));
        params
    }

    /// Its threads wait for each other in a loop, so there are no more of them than idle cores, down to those that the
    /// plan allows on a machine at work.
    fn threads(&self) -> usize {
        let (least, most) = (self.plan.threads_beside, self.plan.threads);
        idle_cores().map_or(least, |idle| idle.clamp(least, most))
    }

    /// Asks the decoder for its first word on the sound that was just encoded, which costs one token: is it speech, and
    /// in which language? whisper.cpp's own no-speech probability is taken some tokens later, where it is always near
    /// zero; this is where OpenAI takes it.
    fn first_impression(&mut self) -> Result<Impression, AsrError> {
        let fail = |error: whisper_rs::WhisperError| AsrError::Run { why: error.to_string() };
        self.state.decode(&[self.context.token_sot()], 0, self.threads()).map_err(fail)?;
        let logits = self.state.get_logits().map_err(fail)?;
        let silence = share(logits.iter().copied(), logits.get(self.context.token_nosp() as usize).copied());
        let languages = (0..=whisper_rs::get_lang_max_id())
            .filter_map(|id| Some((id as usize, *logits.get(self.context.token_lang(id) as usize)?)));
        let best = languages.clone().max_by(|(_, a), (_, b)| a.total_cmp(b));
        let sure = share(languages.map(|(_, logit)| logit), best.map(|(_, logit)| logit));
        let language = best.filter(|_| sure >= SURE_OF_LANGUAGE).map(|(language, _)| language);
        Ok(Impression { no_speech: silence, language })
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

/// whisper.cpp's abort callback: true ends the call.
///
/// # Safety
/// `flag` points to an [`AtomicBool`].
unsafe extern "C" fn aborted(flag: *mut c_void) -> bool {
    // SAFETY: promised by the caller.
    unsafe { &*flag.cast::<AtomicBool>() }.load(Ordering::Relaxed)
}

/// The probability of one logit among all.
fn share(logits: impl Iterator<Item = f32> + Clone, one: Option<f32>) -> f32 {
    let Some(one) = one else { return 0.0 };
    let highest = logits.clone().fold(f32::NEG_INFINITY, f32::max);
    (one - highest).exp() / logits.map(|logit| (logit - highest).exp()).sum::<f32>()
}

impl Attempt {
    fn collect(state: &WhisperState, end_of_text: WhisperTokenId, patience: Patience) -> Self {
        let mut tokens = Vec::new();
        for segment in state.as_iter() {
            for token in (0..segment.n_tokens()).filter_map(|index| segment.get_token(index)) {
                let id = token.token_id();
                let bytes = token.to_bytes().ok().filter(|_| id < end_of_text).unwrap_or_default().to_vec();
                tokens.push(Token { id, logprob: token.token_data().plog, bytes });
            }
        }
        Attempt { tokens, circled: false }.tidied(end_of_text, patience)
    }

    /// Leaves a circle that was stopped going round once. A text without an end ran into the limit.
    fn tidied(mut self, end_of_text: WhisperTokenId, patience: Patience) -> Self {
        let end = self.tokens.iter().position(|token| token.id >= end_of_text);
        let ids: Vec<_> = self.tokens[..end.unwrap_or(self.tokens.len())].iter().map(|token| token.id).collect();
        let kept = guard::without_circle(&ids, patience);
        self.circled = kept < ids.len() || (end.is_none() && !ids.is_empty());
        self.tokens.drain(kept..ids.len());
        self
    }

    fn reading(&self) -> Reading {
        let text: Vec<u8> = self.tokens.iter().flat_map(|token| token.bytes.iter().copied()).collect();
        let sum: f32 = self.tokens.iter().map(|token| token.logprob).sum();
        Reading {
            text: judge::words(&String::from_utf8_lossy(&text)),
            logprob: sum / self.tokens.len().max(1) as f32,
            no_speech: 0.0,
            circled: self.circled,
        }
    }
}

type Piece = (Range<usize>, Result<Reading, NoSpeech>, Verdict);

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
