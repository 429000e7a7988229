//! Loaded Whisper model: windows go to the backend that runs it, and the results are judged and
//! joined.

use std::ops::Range;
use std::path::Path;

use super::backend::{AsrBackend, DecodeEffort};
use super::cpp::WhisperCpp;
use super::graphs::Graphs;
use super::verdict::{self, Decoded, Doubt, NoSpeech, Verdict};
use super::{AsrError, Cancel, Transcript, TranscriptSegment, coverage, windows};
use crate::config::AsrPlan;
use crate::memory::Permit;
use crate::onnx::Onnx;
use crate::types::{Bytes, SampleRate};

/// A loaded Whisper model.
pub struct Whisper {
    engine: Box<dyn AsrBackend>,
    plan: AsrPlan,
    _permit: Permit,
}

impl Whisper {
    /// Bytes that the ggml file `model` will hold once loaded by whisper.cpp, caches and buffers
    /// included.
    pub fn planned_bytes(model: &Path) -> Result<Bytes, AsrError> {
        WhisperCpp::planned_bytes(model)
    }

    /// Bytes that the graphs beside the ggml file `model` will hold once loaded by ONNX Runtime.
    pub fn planned_bytes_of_graphs(model: &Path) -> Result<Bytes, AsrError> {
        Graphs::planned_bytes(model)
    }

    /// Whether `encoder.onnx` and `decoder.onnx` lie beside the ggml file `model`.
    pub fn has_graphs(model: &Path) -> bool {
        Graphs::beside(model).iter().all(|file| file.is_file())
    }

    /// Loads a ggml file into whisper.cpp.
    pub fn load(model: &Path, plan: &AsrPlan, permit: Permit) -> Result<Whisper, AsrError> {
        let engine = Box::new(WhisperCpp::load(model, plan)?);
        Ok(Whisper { engine, plan: plan.clone(), _permit: permit })
    }

    /// Loads the graphs beside the ggml file `model`, from which only the vocabulary is read.
    pub fn load_graphs(onnx: &Onnx, model: &Path, plan: &AsrPlan, permit: Permit) -> Result<Whisper, AsrError> {
        let engine = Box::new(Graphs::load(onnx, model, plan)?);
        Ok(Whisper { engine, plan: plan.clone(), _permit: permit })
    }

    /// Transcribes a sound at 16 kHz of any length. A sound longer than 28 s is cut where it is
    /// quietest.
    pub fn transcribe(&mut self, samples: &[f32], cancel: &Cancel) -> Result<Transcript, AsrError> {
        self.transcribe_with_care(samples, &whole(samples), DecodeEffort::Full, cancel, &mut |_, _| ())
    }

    /// Whether it can transcribe while somebody still speaks. That requires a cancelled run to stop
    /// at once, as in ONNX Runtime, so that a partial transcription delays nothing. whisper.cpp has
    /// to finish its pass over the sound, half a second or more.
    pub fn can_transcribe_partially(&self) -> bool {
        self.engine.stops_at_once()
    }

    /// Transcribes a sound that is not complete, in one attempt. Whether it ends or is cancelled,
    /// it has no effect on later transcriptions.
    pub fn transcribe_partial(&mut self, samples: &[f32], cancel: &Cancel) -> Result<Transcript, AsrError> {
        let before = self.engine.language();
        let transcript =
            self.transcribe_with_care(samples, &whole(samples), DecodeEffort::Draft, cancel, &mut |_, _| ());
        self.engine.understand_in(before);
        transcript
    }

    /// Transcribes only the `spans` of a sound in which the voice activity detector found speech:
    /// in order, not overlapping, in samples. Times in the transcript count from the start of
    /// `samples`.
    pub fn transcribe_spans(
        &mut self,
        samples: &[f32],
        spans: &[Range<usize>],
        cancel: &Cancel,
    ) -> Result<Transcript, AsrError> {
        self.transcribe_spans_watched(samples, spans, cancel, &mut |_, _| ())
    }

    /// Does the same as [`Whisper::transcribe_spans`], and reports after each window the sample up
    /// to which the sound is transcribed, and the text so far.
    pub fn transcribe_spans_watched(
        &mut self,
        samples: &[f32],
        spans: &[Range<usize>],
        cancel: &Cancel,
        watch: &mut dyn FnMut(usize, Transcript),
    ) -> Result<Transcript, AsrError> {
        if spans.is_empty() {
            let why = verdict::without_listening(samples).unwrap_or(NoSpeech::NoVoice);
            return Ok(assemble(vec![Piece::nothing(0..samples.len(), why)], self.engine.language().code()));
        }
        self.transcribe_with_care(samples, spans, DecodeEffort::Full, cancel, watch)
    }

    fn transcribe_with_care(
        &mut self,
        samples: &[f32],
        spans: &[Range<usize>],
        effort: DecodeEffort,
        cancel: &Cancel,
        watch: &mut dyn FnMut(usize, Transcript),
    ) -> Result<Transcript, AsrError> {
        let (mut pieces, mut from) = (Vec::new(), 0);
        while let Some(window) = windows::next(samples, spans, from) {
            from = self.read_window(samples, window, effort, cancel, &mut pieces)?;
            watch(from, assemble(pieces.clone(), self.engine.language().code()));
        }
        Ok(assemble(pieces, self.engine.language().code()))
    }

    /// Adds the text of a window to `pieces`, and returns the sample at which the next window
    /// begins: its end, or the end of its text, if that comes before the end of the voice.
    fn read_window(
        &mut self,
        samples: &[f32],
        window: Range<usize>,
        effort: DecodeEffort,
        cancel: &Cancel,
        pieces: &mut Vec<Piece>,
    ) -> Result<usize, AsrError> {
        // Checked before the features are computed, which cannot be stopped.
        if cancel.is_cancelled() {
            return Err(AsrError::Cancelled);
        }
        let sound = &samples[window.clone()];
        // Sound that cannot be speech never reaches Whisper.
        if let Some(nothing) = verdict::without_listening(sound) {
            pieces.push(Piece::nothing(window, nothing));
            return Ok(pieces[pieces.len() - 1].at.end);
        }
        let decoded = self.read(sound, effort, cancel)?;
        let verdict = self.verdict(&decoded, sound);
        let mut gaps = match (effort, &verdict) {
            (DecodeEffort::Full, Verdict::Certain | Verdict::Doubtful(_)) => coverage::gaps(sound, &decoded),
            _ => Vec::new(),
        };
        let last = decoded.segments.last().map_or(0, |segment| SampleRate::HEARING.samples(segment.end));
        let untold = gaps.pop_if(|gap| gap.end + STEP > sound.len() && gap.start >= last && last >= PROGRESS);
        let mut found = Piece::of(decoded, verdict, &window);
        for gap in gaps {
            found.extend(self.read_gap(samples, window.start + gap.start..window.start + gap.end, cancel)?);
        }
        found.sort_by_key(|piece| piece.at.start);
        pieces.append(&mut found);
        Ok(match untold {
            Some(_) => windows::quietest_near(samples, window.start + last).max(window.start + PROGRESS),
            None => window.end,
        })
    }

    /// Transcribes a window once; a second time, with timestamps, if the text is too short for the
    /// voice in it.
    fn read(&mut self, sound: &[f32], effort: DecodeEffort, cancel: &Cancel) -> Result<Decoded, AsrError> {
        let timed = sound.len() > UNTIMED;
        let decoded = self.engine.read(sound, effort, timed, cancel)?;
        if timed || effort == DecodeEffort::Draft || !coverage::is_thin(sound, &decoded.text) {
            return Ok(decoded);
        }
        let again = self.engine.read(sound, effort, true, cancel)?;
        let more = coverage::letters(&again.text) * 5 > coverage::letters(&decoded.text) * 6;
        Ok(if more { again } else { decoded })
    }

    /// Transcribes voice that a text leaves out. The result is empty where it is no speech, or
    /// short and doubtful.
    fn read_gap(&mut self, samples: &[f32], gap: Range<usize>, cancel: &Cancel) -> Result<Vec<Piece>, AsrError> {
        let sound = &samples[gap.start.saturating_sub(MARGIN)..(gap.end + MARGIN).min(samples.len())];
        let decoded = self.engine.read(sound, DecodeEffort::Full, false, cancel)?;
        let verdict = self.verdict(&decoded, sound);
        let counts = match verdict {
            Verdict::Certain => true,
            Verdict::Doubtful(_) => gap.len() > LONG_GAP,
            Verdict::Nothing(_) => false,
        };
        Ok(if counts { Piece::of(decoded, verdict, &gap) } else { Vec::new() })
    }

    fn verdict(&self, decoded: &Decoded, sound: &[f32]) -> Verdict {
        let length = SampleRate::HEARING.duration(sound.len());
        match verdict::verdict(decoded, length, &self.plan) {
            Verdict::Certain if coverage::is_incomplete(sound, &decoded.text) => {
                Verdict::Doubtful(Doubt::TooLittleText)
            }
            verdict => verdict,
        }
    }
}

/// Longest window transcribed without timestamps, 12 s: in longer ones Whisper leaves out sentences
/// without them. With them it makes a few more errors in short ones: base in 3.5 instead of 2.8 %
/// of 565 words in 41 utterances, if the limit is 8 s.
const UNTIMED: usize = 12 * 16_000;
/// Least length of a text, 1 s, from whose end a window is transcribed again.
const PROGRESS: usize = 16_000;
/// Precision of the end of a window, 20 ms.
const STEP: usize = 320;
/// Sound on each side of a gap that is transcribed with it, 200 ms.
const MARGIN: usize = 3_200;
/// Least length of a gap, 1.5 s, whose doubtful text counts.
const LONG_GAP: usize = 24_000;

/// Whole sound as one span.
fn whole(samples: &[f32]) -> Vec<Range<usize>> {
    std::iter::once(0..samples.len()).collect()
}

/// Piece of text, or the reason why there is none.
#[derive(Clone)]
struct Piece {
    /// Range of samples.
    at: Range<usize>,
    /// Text, mean log-probability and no-speech probability.
    said: Option<(String, f32, f32)>,
    ending: Option<f32>,
    verdict: Verdict,
}

impl Piece {
    fn nothing(at: Range<usize>, why: NoSpeech) -> Piece {
        Piece { at, said: None, ending: None, verdict: Verdict::Nothing(why) }
    }

    /// Pieces of a window: its segments, or all of it where there are none. The last has the ending
    /// of the whole result.
    fn of(decoded: Decoded, verdict: Verdict, window: &Range<usize>) -> Vec<Piece> {
        let Decoded { text, logprob, no_speech, ending, segments, .. } = decoded;
        let sample = |time| (window.start + SampleRate::HEARING.samples(time)).min(window.end);
        let mut pieces: Vec<Piece> = segments
            .into_iter()
            .map(|segment| Piece {
                at: sample(segment.start)..sample(segment.end),
                said: Some((segment.text, segment.logprob, no_speech)),
                ending: None,
                verdict: verdict.clone(),
            })
            .collect();
        if pieces.is_empty() {
            pieces.push(Piece { at: window.clone(), said: Some((text, logprob, no_speech)), ending: None, verdict });
        }
        if let Some(last) = pieces.last_mut() {
            last.ending = ending;
        }
        pieces
    }
}

/// Joins all pieces to a transcript: their texts in order, and the least certain of their verdicts
/// among those that hold words. The verdict is "nothing" only when none does.
fn assemble(pieces: Vec<Piece>, language: &str) -> Transcript {
    let verdict = verdict::overall(pieces.iter().map(|piece| &piece.verdict));
    let said = |piece: &&Piece| !matches!(piece.verdict, Verdict::Nothing(_));
    let ending = pieces.iter().rev().find(said).and_then(|piece| piece.ending);
    let segments = pieces.into_iter().filter(|piece| said(&piece)).filter_map(|piece| {
        let (text, logprob, no_speech) = piece.said?;
        Some(TranscriptSegment {
            start: SampleRate::HEARING.duration(piece.at.start),
            end: SampleRate::HEARING.duration(piece.at.end),
            confidence: logprob.exp(),
            no_speech,
            text,
        })
    });
    let segments: Vec<TranscriptSegment> = segments.collect();
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
