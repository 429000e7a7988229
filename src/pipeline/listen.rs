//! Listening stage: runs the frames of a clip through the voice activity detector, as fast as
//! possible or at the pace of a microphone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::stage::{Result, VoiceActivityDetector};
use crate::config::DetectPlan;
use crate::detect::{FRAME, Segmenter, SpeechEvent, speech_end};
use crate::types::{Ms, SampleRate};

/// Pace at which the samples of a file reach the detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaybackPace {
    /// As fast as possible: the quickest answer to a file.
    Fast,
    /// A second of sound takes a second, as with a microphone, so that the measured latency is that
    /// of a conversation.
    RealTime,
}

/// Report of the listening stage to the coordinator.
#[derive(Clone, Debug)]
pub enum SpeechUpdate {
    /// Speech has paused. The clip is all of it so far, and the turn may be over.
    Paused(SpeechClip),
    /// Speech goes on: results for the utterance so far are no longer valid.
    Resumed,
    /// The silence was long enough to end the turn.
    Decided,
    /// The file has ended.
    EndOfFile,
}

/// Speech of a turn so far.
#[derive(Clone, Debug)]
pub struct SpeechClip {
    /// 16 kHz mono, with a little of the sound around the speech.
    pub samples: Arc<[f32]>,
    /// Length of the speech, pauses included.
    pub length: Ms,
    /// Time at which its last sample arrived.
    pub last_sample_at: Instant,
}

/// Runs `samples` (16 kHz) through the voice activity detector and reports with `tell`, until the
/// clip ends or is no longer `wanted`.
pub fn listen(
    samples: &[f32],
    pace: PlaybackPace,
    plan: &DetectPlan,
    detector: &mut dyn VoiceActivityDetector,
    wanted: &dyn Fn() -> bool,
    tell: &mut dyn FnMut(SpeechUpdate),
) -> Result<()> {
    detector.reset();
    let mut ear = Ear { samples, plan, clock: Clock::start(pace), first: None, speaking: false };
    let mut segmenter = Segmenter::new(plan);
    let mut frame = [0.0; FRAME];
    for chunk in samples.chunks(FRAME) {
        frame[..chunk.len()].copy_from_slice(chunk);
        frame[chunk.len()..].fill(0.0);
        ear.clock.wait_for_frame();
        if !wanted() {
            return Ok(());
        }
        let event = segmenter.push(detector.step(&frame)?);
        event.into_iter().flat_map(|event| ear.detect(event)).for_each(&mut *tell);
    }
    let open = segmenter.finish().map(SpeechEvent::TurnEnded);
    open.into_iter().flat_map(|event| ear.detect(event)).chain([SpeechUpdate::EndOfFile]).for_each(tell);
    Ok(())
}

/// Converter of the segmenter's positions to clips of speech.
struct Ear<'a> {
    samples: &'a [f32],
    plan: &'a DetectPlan,
    clock: Clock,
    /// Start of the question's first speech, as a sample index.
    first: Option<usize>,
    /// Whether there is speech whose pause was not yet reported.
    speaking: bool,
}

impl Ear<'_> {
    fn detect(&mut self, event: SpeechEvent) -> Vec<SpeechUpdate> {
        match event {
            SpeechEvent::Started { at } => {
                self.speaking = true;
                let reopened = self.first.is_some();
                self.first.get_or_insert(at as usize);
                if reopened { vec![SpeechUpdate::Resumed] } else { vec![] }
            }
            SpeechEvent::Paused { at } => {
                self.speaking = false;
                vec![SpeechUpdate::Paused(self.utterance(at as usize))]
            }
            SpeechEvent::Resumed { .. } => {
                self.speaking = true;
                vec![SpeechUpdate::Resumed]
            }
            SpeechEvent::TurnEnded(turn) => {
                let untold =
                    std::mem::take(&mut self.speaking).then(|| SpeechUpdate::Paused(self.utterance(turn.end as usize)));
                untold.into_iter().chain([SpeechUpdate::Decided]).collect()
            }
        }
    }

    fn utterance(&self, end: usize) -> SpeechClip {
        // Limited to the frames so far: a microphone cannot look ahead.
        let heard = (self.clock.frames_in.len() * FRAME).min(self.samples.len());
        let end = end.min(heard);
        let start = self.first.unwrap_or(end).min(end);
        let last = speech_end(&self.samples[..heard], end).max(start);
        let speech_pad = SampleRate::HEARING.samples(self.plan.speech_pad);
        let kept = start.saturating_sub(speech_pad)..(end + speech_pad).min(heard);
        SpeechClip {
            samples: self.samples[kept].into(),
            length: SampleRate::HEARING.duration(last - start),
            last_sample_at: self.clock.entered(last),
        }
    }
}

/// Arrival time of each frame.
struct Clock {
    pace: PlaybackPace,
    start: Instant,
    frames_in: Vec<Instant>,
}

impl Clock {
    fn start(pace: PlaybackPace) -> Self {
        Clock { pace, start: Instant::now(), frames_in: Vec::new() }
    }

    /// Waits until a microphone would have delivered the whole next frame.
    fn wait_for_frame(&mut self) {
        if self.pace == PlaybackPace::RealTime {
            let due = self.start + span((self.frames_in.len() + 1) * FRAME);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        self.frames_in.push(Instant::now());
    }

    /// Arrival time of `sample`: by the pace of the microphone, or with its frame.
    fn entered(&self, sample: usize) -> Instant {
        match self.pace {
            PlaybackPace::RealTime => self.start + span(sample),
            PlaybackPace::Fast => {
                let frame = (sample / FRAME).min(self.frames_in.len().saturating_sub(1));
                self.frames_in.get(frame).copied().unwrap_or(self.start)
            }
        }
    }
}

fn span(samples: usize) -> Duration {
    Duration::from_secs_f64(samples as f64 / f64::from(SampleRate::HEARING.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// Detector that finds no voice and counts its frames.
    struct Counts(usize);

    impl VoiceActivityDetector for Counts {
        fn step(&mut self, _frame: &[f32; FRAME]) -> Result<f32> {
            self.0 += 1;
            Ok(0.0)
        }

        fn reset(&mut self) {}
    }

    #[test]
    fn silence_is_not_listened_to_once_nobody_wants_it() {
        let plan = config::load(&config::Sources { cores: 1, ..Default::default() }).unwrap().plan.detect;
        let mut detector = Counts(0);
        let asked = std::cell::Cell::new(0);
        let wanted = || asked.replace(asked.get() + 1) < 3;
        let mut told = Vec::new();
        listen(&[0.0; 100 * FRAME], PlaybackPace::Fast, &plan, &mut detector, &wanted, &mut |heard| told.push(heard))
            .unwrap();
        assert_eq!((detector.0, told.len()), (3, 0));
    }
}
