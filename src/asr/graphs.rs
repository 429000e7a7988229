//! Whisper as two ONNX graphs in eight bits: an encoder and a decoder.
//!
//! The store makes them (`store::import::whisper::onnx` states their inputs and outputs). The
//! vocabulary comes from the ggml file beside them.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use ort::session::{RunOptions, Session, SessionInputValue, SessionOutputs};
use ort::value::{DynValue, Tensor, TensorRef};

use super::attempt::{Attempt, DecodedToken, MAY_HAVE_ENDED, Span, begins_again, token_limit};
use super::backend::{AsrBackend, DecodeEffort};
use super::context::Context;
use super::guard::{self, RetryLimit};
use super::header::WhisperDims;
use super::language::{AsrLanguage, OtherLanguage, share};
use super::timestamps::Timestamps;
use super::verdict::{self, Decoded};
use super::vocabulary::WhisperVocabulary;
use super::{AsrError, Cancel};
use crate::config::AsrPlan;
use crate::mel::{HOP, MELS, Mel};
use crate::memory;
use crate::onnx::{Onnx, OnnxError};
use crate::types::{Bytes, Ms, SampleRate};

/// Feature frames per encoder position.
const FRAMES: usize = 2;

/// Loaded graphs of a Whisper model.
pub struct Graphs {
    encoder: Session,
    decoder: Session,
    files: [PathBuf; 2],
    mel: Mel,
    vocabulary: WhisperVocabulary,
    timestamps: Timestamps,
    dims: WhisperDims,
    names: Names,
    plan: AsrPlan,
    /// Language of the transcription; the last one detected when it is detected automatically.
    language: AsrLanguage,
    multilingual: bool,
}

/// Names of the decoder's caches, two for each layer.
struct Names {
    /// Caches of the cross-attention: outputs of the encoder.
    cross: Vec<String>,
    past: Vec<String>,
    present: Vec<String>,
}

/// Output of a decoder pass: logits and caches.
struct Step {
    /// Logits, a row for each token requested.
    logits: Vec<Vec<f32>>,
    past: Vec<DynValue>,
}

/// Text as the decoder wrote it, before any check.
struct Writing {
    attempt: Attempt,
    no_speech: f32,
    /// Other language that the sound seems to be in, if any.
    other_language: Option<OtherLanguage>,
}

/// Options of one transcription.
#[derive(Clone, Copy)]
struct Task {
    /// Largest number of tokens, timestamps included.
    limit: usize,
    patience: RetryLimit,
    /// End of the sound, where timestamps are written.
    timed: Option<Ms>,
}

impl Graphs {
    /// Paths of the graphs that belong to the ggml file `model`.
    pub fn beside(model: &Path) -> [PathBuf; 2] {
        ["encoder.onnx", "decoder.onnx"].map(|name| model.with_file_name(name))
    }

    /// Bytes that the graphs hold when they are loaded and have run.
    pub fn planned_bytes(model: &Path) -> Result<Bytes, AsrError> {
        let size = |file: PathBuf| match std::fs::metadata(&file) {
            Ok(about) => Ok(about.len()),
            Err(source) => Err(AsrError::Read { model: file, source }),
        };
        let [encoder, decoder] = Self::beside(model).map(size);
        Ok(WhisperDims::read(model)?.planned_bytes_of_graphs(encoder? + decoder?))
    }

    pub fn load(onnx: &Onnx, model: &Path, plan: &AsrPlan) -> Result<Self, AsrError> {
        let (dims, tokens) = WhisperDims::with_tokens(model)?;
        let vocabulary = WhisperVocabulary::new(tokens, dims.vocabulary())
            .map_err(|why| AsrError::Format { model: model.to_owned(), why })?;
        let language = AsrLanguage::planned(plan, dims.is_multilingual(), model)?;
        let files = Self::beside(model);
        let [encoder, decoder] = files.each_ref().map(|file| onnx.session(file, plan.threads));
        let mut graphs = Graphs {
            encoder: encoder?,
            decoder: decoder?,
            files,
            mel: Mel::default(),
            timestamps: vocabulary.timestamps(),
            vocabulary,
            names: Names::of(dims.decoder_layers()),
            multilingual: dims.is_multilingual(),
            dims,
            plan: plan.clone(),
            language,
        };
        graphs.check(model)?;
        graphs.warm_up()?;
        // Frees the files as they were read: 65 MB for base.
        memory::give_back_freed();
        Ok(graphs)
    }

    /// Transcribes silence, so that the first question does not pay for one-time costs.
    fn warm_up(&mut self) -> Result<(), AsrError> {
        let cancel = Cancel::default();
        let run = Run::new(&cancel)?;
        let sound = self.hear(&[], self.context().fitted(0), &run)?;
        self.begin(&sound, false, &run).map(drop)
    }

    fn context(&self) -> Context {
        Context::new(self.dims.width(), self.dims.audio_positions())
    }

    /// Refuses graphs that do not match the ggml file.
    fn check(&self, model: &Path) -> Result<(), AsrError> {
        let sides = [(&self.encoder, &self.files[0]), (&self.decoder, &self.files[1])];
        for (session, file) in sides {
            let (inputs, outputs) = (session.inputs(), session.outputs());
            let has = |name: &str| inputs.iter().chain(outputs).any(|outlet| outlet.name() == name);
            if let Some(name) = self.names.cross.iter().find(|name| !has(name)) {
                let why = format!("it has no {name}");
                return Err(AsrError::Mismatch { graph: file.clone(), model: model.to_owned(), why });
            }
        }
        let logits = self.decoder.outputs().iter().find(|outlet| outlet.name() == "logits");
        let shape = logits.and_then(|outlet| outlet.dtype().tensor_shape()).map(|shape| shape.to_vec());
        let vocabulary = self.dims.vocabulary() as i64;
        if shape.as_ref().and_then(|shape| shape.last()) != Some(&vocabulary) {
            let why = format!("its logits are {shape:?}, the model has {vocabulary} tokens");
            return Err(AsrError::Mismatch { graph: self.files[1].clone(), model: model.to_owned(), why });
        }
        Ok(())
    }

    /// Runs the encoder with so many positions; returns the caches of the cross-attention.
    fn hear(&mut self, samples: &[f32], positions: usize, run: &Run) -> Result<Vec<DynValue>, AsrError> {
        let frames = positions * FRAMES;
        let features = self.mel.features(&samples[..samples.len().min(frames * HOP)], frames);
        let mut hear = || -> ort::Result<Vec<DynValue>> {
            let mel = TensorRef::from_array_view(([1, MELS, frames], &features[..]))?;
            let mut outputs = self.encoder.run_with_options(ort::inputs!["mel" => mel], &run.options)?;
            Ok(take(&mut outputs, &self.names.cross))
        };
        hear().map_err(|error| run.failed(&self.files[0], &error))
    }

    /// Transcribes the encoded sound, in its detected language where the plan asks for detection.
    fn write(&mut self, sound: &[DynValue], task: Task, run: &Run) -> Result<Writing, AsrError> {
        let timed = task.timed.is_some();
        let mut step = self.begin(sound, timed, run)?;
        let languages = self.vocabulary.languages();
        let heard = AsrLanguage::detected(step.logits[0].get(languages).unwrap_or_default());
        if self.language.follow(heard, &self.plan, self.multilingual) {
            step = self.begin(sound, timed, run)?;
        }
        let silence = step.logits[0].get(self.vocabulary.no_speech()).copied();
        let no_speech = share(step.logits[0].iter().copied(), silence);
        let languages = step.logits[0].get(self.vocabulary.languages()).unwrap_or_default();
        let other_language = self.language.other(languages).filter(|_| self.multilingual);
        let attempt = self.write_tokens(step, sound, task, run)?;
        Ok(Writing { attempt, no_speech, other_language })
    }

    /// Decodes the tokens that follow the first pass.
    fn write_tokens(&mut self, first: Step, sound: &[DynValue], task: Task, run: &Run) -> Result<Attempt, AsrError> {
        let end_of_text = self.vocabulary.end_of_text() as i32;
        let prompt = self.prompt(task.timed.is_some()).len();
        let (mut step, mut written, mut text) = (first, Vec::new(), Text::default());
        while written.len() < task.limit {
            let row = step.logits.last_mut().map_or(&mut [][..], |row| row);
            match task.timed {
                Some(last) => self.timestamps.constrain(row, &written, last),
                None => self.timestamps.forbid(row),
            }
            let token = match guard::circle(&text.ids, task.patience) {
                Some(_) => self.token(end_of_text as usize, 0.0),
                None => self.next(row, &text.tokens, task.timed.is_none()),
            };
            let id = token.id;
            written.push(id);
            match self.timestamps.time(id) {
                Some(time) => text.stamp(time),
                None => text.push(token),
            }
            if id == end_of_text || written.len() == task.limit {
                text.ran_out = id != end_of_text;
                break;
            }
            step = self.step(&[i64::from(id)], prompt + written.len() - 1, &[0], step.past, sound, run)?;
        }
        Ok(text.finish(end_of_text, task))
    }

    fn prompt(&self, timed: bool) -> Vec<i64> {
        self.vocabulary.prompt(self.multilingual.then_some(self.language.0), timed)
    }

    /// Runs the first pass: the judgement of the sound before a language is set, and the logits of
    /// the first token.
    fn begin(&mut self, sound: &[DynValue], timed: bool, run: &Run) -> Result<Step, AsrError> {
        let prompt = self.prompt(timed);
        let (heads, width) = (self.dims.heads(), self.dims.width());
        let nothing = || Tensor::<f32>::from_array(([1, heads, 0, width / heads], Vec::new()));
        let past: ort::Result<Vec<DynValue>> = self.names.past.iter().map(|_| Ok(nothing()?.into_dyn())).collect();
        let past = past.map_err(|error| run.failed(&self.files[1], &error))?;
        let last = prompt.len() as i64 - 1;
        self.step(&prompt, 0, &[0, last], past, sound, run)
    }

    /// Runs one pass over `tokens`, the first of which has position `place`. Returns logits for the
    /// `rows` of them.
    fn step(
        &mut self,
        tokens: &[i64],
        place: usize,
        rows: &[i64],
        past: Vec<DynValue>,
        sound: &[DynValue],
        run: &Run,
    ) -> Result<Step, AsrError> {
        let places: Vec<i64> = (place..place + tokens.len()).map(|place| place as i64).collect();
        let Names { cross, past: names, present } = &self.names;
        let vocabulary = self.dims.vocabulary();
        let pass = || -> ort::Result<Option<Step>> {
            let mut inputs: Vec<(Cow<str>, SessionInputValue)> = ort::inputs![
                "tokens" => TensorRef::from_array_view(([1, tokens.len()], tokens))?,
                "places" => TensorRef::from_array_view(([1, tokens.len()], &places[..]))?,
                "rows" => TensorRef::from_array_view(([rows.len()], rows))?,
            ];
            inputs.extend(cross.iter().zip(sound).map(|(name, value)| (name.into(), value.into())));
            inputs.extend(names.iter().zip(past).map(|(name, value)| (name.into(), value.into())));
            let mut outputs = self.decoder.run_with_options(inputs, &run.options)?;
            let past = take(&mut outputs, present);
            let Some(logits) = outputs.get("logits") else { return Ok(None) };
            let (_, numbers) = logits.try_extract_tensor::<f32>()?;
            let logits: Vec<_> = numbers.chunks_exact(vocabulary).map(<[f32]>::to_vec).collect();
            Ok((logits.len() == rows.len() && past.len() == present.len()).then_some(Step { logits, past }))
        };
        let wrong = || AsrError::Run { why: format!("{} lacks outputs", self.files[1].display()) };
        pass().map_err(|error| run.failed(&self.files[1], &error))?.ok_or_else(wrong)
    }

    /// Picks the most probable token that may come next. A text that would begin again ends there,
    /// if the end is probable enough. With timestamps a sentence that is spoken twice has a time of
    /// its own, so the repetition guard decides instead.
    fn next(&self, logits: &mut [f32], written: &[DecodedToken], may_end_early: bool) -> DecodedToken {
        self.vocabulary.suppress(logits, written.is_empty());
        let end_of_text = self.vocabulary.end_of_text();
        let best = logits.iter().copied().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
        let (id, logit) = best.unwrap_or((end_of_text, 0.0));
        let token = self.token(id, share(logits.iter().copied(), Some(logit)).ln());
        if !may_end_early || !begins_again(written, &token) {
            return token;
        }
        let end = share(logits.iter().copied(), logits.get(end_of_text).copied());
        if end < MAY_HAVE_ENDED { token } else { self.token(end_of_text, end.ln()) }
    }

    fn token(&self, id: usize, logprob: f32) -> DecodedToken {
        DecodedToken { id: id as i32, logprob, bytes: self.vocabulary.bytes(id).to_vec() }
    }
}

impl AsrBackend for Graphs {
    fn read(
        &mut self,
        samples: &[f32],
        effort: DecodeEffort,
        timed: bool,
        cancel: &Cancel,
    ) -> Result<Decoded, AsrError> {
        let run = Run::new(cancel)?;
        let _watched = cancel.watch(&run.options);
        let timed = timed.then(|| SampleRate::HEARING.duration(samples.len()));
        let task = Task { limit: token_limit(samples.len()), patience: RetryLimit::Short, timed };
        let context = self.context();
        let fitted = context.fitted(samples.len());
        let sound = self.hear(samples, fitted, &run)?;
        let Writing { mut attempt, no_speech, other_language } = self.write(&sound, task, &run)?;
        let is_noise = verdict::is_noise(no_speech, attempt.decoded().logprob, &self.plan);
        for (positions, patience) in context.more(fitted) {
            if effort == DecodeEffort::Draft || !attempt.circled || is_noise {
                break;
            }
            let sound = self.hear(samples, positions, &run)?;
            attempt = self.write(&sound, Task { patience, ..task }, &run)?.attempt;
        }
        Ok(Decoded { no_speech, other_language, ..attempt.decoded() })
    }

    fn stops_at_once(&self) -> bool {
        true
    }

    fn language(&self) -> AsrLanguage {
        self.language
    }

    fn understand_in(&mut self, language: AsrLanguage) {
        self.language = language;
    }
}

/// Text and its times while they are decoded.
#[derive(Default)]
struct Text {
    tokens: Vec<DecodedToken>,
    ids: Vec<i32>,
    spans: Vec<Span>,
    /// Start of the current segment, and the number of its first token.
    open: Option<(Ms, usize)>,
    /// Whether the token limit ended it.
    ran_out: bool,
}

impl Text {
    fn push(&mut self, token: DecodedToken) {
        self.ids.push(token.id);
        self.tokens.push(token);
    }

    /// Takes a timestamp, which begins a segment, or ends the one that has text.
    fn stamp(&mut self, time: Ms) {
        match self.open.take() {
            Some((start, from)) if from < self.tokens.len() => {
                self.spans.push(Span { start, end: time, tokens: from..self.tokens.len() });
            }
            _ => self.open = Some((time, self.tokens.len())),
        }
    }

    /// Ends the text. A segment that is still open lasts as long as the sound.
    fn finish(mut self, end_of_text: i32, task: Task) -> Attempt {
        if let Some(last) = task.timed {
            self.stamp(last);
        }
        let Text { tokens, spans, ran_out, .. } = self;
        Attempt { tokens, spans, circled: false }.tidied(end_of_text, task.patience, ran_out)
    }
}

/// State of one recognition: how its passes are stopped, and why they may have stopped.
struct Run<'c> {
    options: std::sync::Arc<RunOptions>,
    cancel: &'c Cancel,
}

impl<'c> Run<'c> {
    fn new(cancel: &'c Cancel) -> Result<Self, AsrError> {
        let options = RunOptions::new().map_err(|error| AsrError::Run { why: error.to_string() })?;
        Ok(Run { options: std::sync::Arc::new(options), cancel })
    }

    fn failed(&self, file: &Path, error: &ort::Error) -> AsrError {
        match OnnxError::of_memory(file, &error.to_string()) {
            _ if self.cancel.is_cancelled() => AsrError::Cancelled,
            Some(memory) => memory.into(),
            None => AsrError::Run { why: format!("{}: {error}", file.display()) },
        }
    }
}

impl Names {
    fn of(layers: usize) -> Self {
        let both = |kind: &str| {
            (0..layers).flat_map(|layer| ["k", "v"].map(|part| format!("{kind}_{part}_{layer}"))).collect()
        };
        Names { cross: both("cross"), past: both("past"), present: both("present") }
    }
}

/// Takes the named outputs, as far as they exist.
fn take(outputs: &mut SessionOutputs, names: &[String]) -> Vec<DynValue> {
    names.iter().filter_map(|name| outputs.remove(name)).collect()
}
