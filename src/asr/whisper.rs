//! A loaded Whisper: windows go to the engine that runs it, and what comes back is judged and joined.

use std::ops::Range;
use std::path::Path;

use super::cpp::WhisperCpp;
use super::graphs::Graphs;
use super::judge::{self, NoSpeech, Reading, Verdict};
use super::language::Language;
use super::{AsrError, Cancel, Segment, Transcript, windows};
use crate::config::Asr;
use crate::memory::Permit;
use crate::onnx::Onnx;
use crate::types::{Bytes, SampleRate};

/// How much is done for a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Care {
    /// One attempt: the sound is not over.
    Draft,
    /// As many attempts as it takes.
    Full,
}

/// What runs Whisper.
pub(super) trait Engine: Send {
    /// What a window of at most 28 s at 16 kHz says.
    fn read(&mut self, samples: &[f32], care: Care, cancel: &Cancel) -> Result<Reading, AsrError>;

    /// Whether a run that is cancelled stops at once.
    fn stops_at_once(&self) -> bool;

    /// The language it understands in, or understood in last when it is to be detected.
    fn language(&self) -> Language;

    /// From now on it understands in this one.
    fn understand_in(&mut self, language: Language);
}

/// A loaded Whisper model.
pub struct Whisper {
    engine: Box<dyn Engine>,
    plan: Asr,
    _permit: Permit,
}

impl Whisper {
    /// What the ggml file `model` will hold once loaded by whisper.cpp, caches and buffers included.
    pub fn planned_bytes(model: &Path) -> Result<Bytes, AsrError> {
        WhisperCpp::planned_bytes(model)
    }

    /// What the graphs beside the ggml file `model` will hold once loaded by ONNX Runtime.
    pub fn planned_bytes_of_graphs(model: &Path) -> Result<Bytes, AsrError> {
        Graphs::planned_bytes(model)
    }

    /// Whether `encoder.onnx` and `decoder.onnx` lie beside the ggml file `model`.
    pub fn has_graphs(model: &Path) -> bool {
        Graphs::beside(model).iter().all(|file| file.is_file())
    }

    /// Loads a ggml file into whisper.cpp.
    pub fn load(model: &Path, plan: &Asr, permit: Permit) -> Result<Whisper, AsrError> {
        let engine = Box::new(WhisperCpp::load(model, plan)?);
        Ok(Whisper { engine, plan: plan.clone(), _permit: permit })
    }

    /// Loads the graphs beside the ggml file `model`, which is asked for its vocabulary alone.
    pub fn load_graphs(onnx: &Onnx, model: &Path, plan: &Asr, permit: Permit) -> Result<Whisper, AsrError> {
        let engine = Box::new(Graphs::load(onnx, model, plan)?);
        Ok(Whisper { engine, plan: plan.clone(), _permit: permit })
    }

    /// Recognises a sound at 16 kHz of any length. Longer than 28 s, it is cut where it is quietest.
    pub fn transcribe(&mut self, samples: &[f32], cancel: &Cancel) -> Result<Transcript, AsrError> {
        self.transcribe_windows(samples, &windows::cut(samples), Care::Full, cancel, &mut |_, _| ())
    }

    /// Whether it can read along while somebody speaks: a run that is cancelled stops at once, as it does in ONNX Runtime,
    /// so what is read along holds nothing up. whisper.cpp has to finish its pass over the sound, half a second or more.
    pub fn reads_along(&self) -> bool {
        self.engine.stops_at_once()
    }

    /// Recognises a sound that is not over, in one attempt. Whether it ends or is cancelled, what is recognised after it
    /// is as if it had never been.
    pub fn transcribe_so_far(&mut self, samples: &[f32], cancel: &Cancel) -> Result<Transcript, AsrError> {
        let before = self.engine.language();
        let transcript = self.transcribe_windows(samples, &windows::cut(samples), Care::Draft, cancel, &mut |_, _| ());
        self.engine.understand_in(before);
        transcript
    }

    /// Recognises only the `spans` of a sound in which voice activity heard somebody: in order, not overlapping, in
    /// samples. Times in the transcript count from the start of `samples`.
    pub fn transcribe_spans(
        &mut self,
        samples: &[f32],
        spans: &[Range<usize>],
        cancel: &Cancel,
    ) -> Result<Transcript, AsrError> {
        self.transcribe_spans_watched(samples, spans, cancel, &mut |_, _| ())
    }

    /// As [`Whisper::transcribe_spans`], and shows after each window up to which sample the sound is read, and what was said
    /// so far.
    pub fn transcribe_spans_watched(
        &mut self,
        samples: &[f32],
        spans: &[Range<usize>],
        cancel: &Cancel,
        watch: &mut dyn FnMut(usize, Transcript),
    ) -> Result<Transcript, AsrError> {
        self.transcribe_windows(samples, &windows::gather(samples, spans), Care::Full, cancel, watch)
    }

    fn transcribe_windows(
        &mut self,
        samples: &[f32],
        windows: &[Range<usize>],
        care: Care,
        cancel: &Cancel,
        watch: &mut dyn FnMut(usize, Transcript),
    ) -> Result<Transcript, AsrError> {
        let mut pieces = Vec::with_capacity(windows.len());
        for window in windows {
            // Before its features are computed: nothing stops that.
            if cancel.is_cancelled() {
                return Err(AsrError::Cancelled);
            }
            let samples = &samples[window.clone()];
            // Sound in which nobody can be speaking never reaches Whisper.
            let reading = match judge::without_listening(samples) {
                Some(nothing) => Err(nothing),
                None => Ok(self.engine.read(samples, care, cancel)?),
            };
            let length = SampleRate::HEARING.duration(window.len());
            let verdict = judge::verdict(&reading, length, &self.plan);
            pieces.push((window.clone(), reading, verdict));
            watch(window.end, assemble(pieces.clone(), self.engine.language().code()));
        }
        Ok(assemble(pieces, self.engine.language().code()))
    }
}

type Piece = (Range<usize>, Result<Reading, NoSpeech>, Verdict);

/// The transcript of all windows: their texts in order, and the least certain of their verdicts among those that hold
/// words. Only when none does, nothing was said.
fn assemble(pieces: Vec<Piece>, language: &str) -> Transcript {
    let verdict = judge::overall(pieces.iter().map(|(_, _, verdict)| verdict));
    let said = pieces.iter().rev().find(|(_, _, verdict)| !matches!(verdict, Verdict::Nothing(_)));
    let ending = said.and_then(|(_, reading, _)| reading.as_ref().ok()?.ending);
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
        ending,
        segments,
        verdict,
    }
}
