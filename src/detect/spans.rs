//! Ranges of a recording that hold speech.

use std::ops::Range;

use super::{DetectError, FRAME, Segmenter, SileroVad, SpeechEvent, VadState};
use crate::config::DetectPlan;

/// Ranges of `samples` (16 kHz) that hold speech, with their padding: in order, not overlapping.
pub fn speech_spans(samples: &[f32], plan: &DetectPlan, vad: &mut SileroVad) -> Result<Vec<Range<usize>>, DetectError> {
    let (mut state, mut segmenter) = (VadState::default(), Segmenter::new(plan));
    let mut spans = Vec::new();
    let mut frame = [0.0; FRAME];
    for chunk in samples.chunks(FRAME) {
        frame[..chunk.len()].copy_from_slice(chunk);
        frame[chunk.len()..].fill(0.0);
        if let Some(SpeechEvent::TurnEnded(turn)) = segmenter.push(vad.step(&mut state, &frame)?) {
            spans.push(turn.keep);
        }
    }
    spans.extend(segmenter.finish().map(|turn| turn.keep));
    let within = |at: u64| (at as usize).min(samples.len());
    Ok(spans.into_iter().map(|span| within(span.start)..within(span.end)).collect())
}
