//! Microphone that reads a WAV file and loudspeaker that writes one: the simulated card without a
//! room between them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cpal::SampleFormat;

use super::room::SimulatedRoom;
use super::{
    AudioStream, CaptureProducer, Card, Clock, DeviceError, DeviceInfo, Direction, Moment, PlaybackConsumer, Simulated,
    SimulatedDevice, StreamFormat,
};
use crate::audio::{AudioError, Clip, LONGEST, WavTarget, load_at};
use crate::types::SampleRate;

/// Card of two files. Time passes only by [`FileCard::advance`].
pub struct FileCard {
    card: Simulated,
    question: Duration,
    answer: Option<WavTarget>,
    rate: SampleRate,
}

impl FileCard {
    /// Opens the card. The microphone delivers `question` from the beginning, and then silence. The
    /// loudspeaker takes sound at `rate`, and what it played is written to `answer`.
    pub fn open(question: &Path, answer: Option<&Path>, rate: SampleRate) -> Result<Self, AudioError> {
        let Clip { samples, .. } = load_at(question, LONGEST, SampleRate::HEARING)?;
        let answer = answer.map(WavTarget::claim).transpose()?;
        let device = |direction, name, rate| SimulatedDevice::new(direction, name, rate, 1, SampleFormat::F32);
        let hearing = SampleRate::HEARING;
        let devices = vec![device(Direction::Input, "file", hearing.0), device(Direction::Output, "file", rate.0)];
        let card = Simulated::new(devices, SimulatedRoom::HEADPHONES);
        card.say(Moment::default(), hearing, &samples);
        if answer.is_some() {
            card.record();
        }
        let question = Duration::from_secs_f64(samples.len() as f64 / f64::from(hearing.0));
        Ok(FileCard { card, question, answer, rate })
    }

    /// Length of the question.
    pub fn question(&self) -> Duration {
        self.question
    }

    pub fn advance(&self, span: Duration) {
        self.card.advance(span);
    }

    /// Writes everything that the loudspeaker has played so far, silences included.
    pub fn finish(self) -> Result<(), AudioError> {
        let Some(target) = self.answer else { return Ok(()) };
        let mut wav = target.write_at(self.rate)?;
        wav.write(&self.card.recorded(Moment::default(), self.card.clock().now(), self.rate))?;
        wav.finish()
    }
}

impl Card for FileCard {
    fn clock(&self) -> Arc<dyn Clock> {
        self.card.clock()
    }

    fn devices(&self) -> Result<Vec<DeviceInfo>, DeviceError> {
        self.card.devices()
    }

    fn open_input(
        &self,
        name: &str,
        connect: &mut dyn FnMut(StreamFormat, &str) -> CaptureProducer,
    ) -> Result<Box<dyn AudioStream>, DeviceError> {
        self.card.open_input(name, connect)
    }

    fn open_output(
        &self,
        name: &str,
        connect: &mut dyn FnMut(StreamFormat, &str) -> PlaybackConsumer,
    ) -> Result<Box<dyn AudioStream>, DeviceError> {
        self.card.open_output(name, connect)
    }
}
